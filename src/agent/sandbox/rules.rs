//! Derives from the settings which files the agent needs.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use crate::agent::{Settings, links::directory_of, settings::RpcAddr};

/// Files and directories with their contents. Missing ones are ignored.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Rules {
    pub(super) read: BTreeSet<PathBuf>,
    /// Readable and writable.
    pub(super) write: BTreeSet<PathBuf>,
    /// Readable and executable.
    pub(super) run: BTreeSet<PathBuf>,
}

impl Rules {
    /// The rules for an agent with its configuration in these files and directories. Not the file
    /// but its directory is allowed, because files are replaced by renaming others; for a link also
    /// the directory of the file to which it leads.
    pub(super) fn of(settings: &Settings, config: &[PathBuf]) -> Self {
        let mut rules = Self::default();
        rules.read.extend(SYSTEM.map(PathBuf::from));
        rules.write.extend(DEVICES.map(PathBuf::from));
        let read = [&settings.rpc_tokens_file].into_iter();
        let tls = [&settings.rpc_tls, &settings.http_tls].into_iter();
        let read = read.chain(tls.flat_map(|tls| [&tls.cert, &tls.key, &tls.client_ca]));
        rules.read.extend(read.flatten().flat_map(|path| directories(path)));
        rules.read.extend(config.iter().flat_map(|path| match path.is_dir() {
            true => [path.clone(), path.clone()],
            false => directories(path),
        }));
        rules.read.extend(std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from));
        let seeds = settings.start_join.iter().chain(&settings.reloadable.retry.addrs);
        let lists = seeds.filter_map(|seed| seed.strip_prefix("file:"));
        rules.read.extend(lists.flat_map(|path| directories(Path::new(path))));
        let write = [&settings.snapshot_path, &settings.keyring_file, &settings.tags_file];
        rules.write.extend(write.into_iter().flatten().flat_map(|path| directories(path)));
        for addr in [&settings.rpc_addr, &settings.http_addr] {
            if let RpcAddr::Unix(path) = addr {
                rules.write.insert(directory(path));
            }
        }
        rules.write.extend(settings.sandbox_paths.iter().cloned());
        if runs_programs(settings) {
            rules.run.insert("/".into());
        }
        rules
    }
}

/// Whether the agent runs programs of the user; it is unknown which files they need.
pub(in crate::agent) fn runs_programs(settings: &Settings) -> bool {
    let reloadable = &settings.reloadable;
    let mut seeds = settings.start_join.iter().chain(&reloadable.retry.addrs);
    !reloadable.scripts.is_empty() || seeds.any(|seed| seed.starts_with("exec:"))
}

/// The directory of a path, and that of the file to which it leads.
fn directories(path: &Path) -> [PathBuf; 2] {
    [directory(path), directory_of(path)]
}

fn directory(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        Some(_) | None => ".".into(),
    }
}

/// Files that the C library reads to resolve names and convert times, the libraries that it loads
/// for that, and files that describe the machine.
const SYSTEM: [&str; 13] = [
    "/etc",
    "/usr/lib",
    "/usr/lib64",
    "/usr/share/zoneinfo",
    "/usr/local/lib",
    "/lib",
    "/lib64",
    "/nix/store",
    "/gnu/store",
    "/proc",
    "/sys",
    "/run/systemd/resolve",
    "/run/resolvconf",
];
const DEVICES: [&str; 6] =
    ["/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/tty"];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::{FileConfig, Notices};

    fn rules(json: &str) -> Rules {
        let config = FileConfig::decode(json.as_bytes()).unwrap();
        let settings = Settings::build(config, &mut Notices::default()).unwrap();
        Rules::of(&settings, &["/c/agent.json".into()])
    }

    #[test]
    fn an_agent_may_write_its_own_files_and_run_nothing() {
        let paths = |set: &BTreeSet<PathBuf>, known: &[&str]| -> Vec<String> {
            let others =
                set.iter().filter(|path| !known.iter().any(|known| *path == Path::new(known)));
            others.map(|path| path.to_str().unwrap().to_owned()).collect()
        };
        let found = rules(
            r#"{"snapshot_path":"/s/a/snap","keyring_file":"keys","tags_file":"/t/tags",
                "rpc_addr":"unix:/r/rpc","http_addr":"127.0.0.1:1","rpc_tokens_file":"/k/tokens",
                "rpc_tls_cert":"/x/c","rpc_tls_key":"/y/k","rpc_tls_client_ca":"/z/a",
                "retry_join":["file:/seeds/list","10.0.0.1"],"sandbox_paths":["/own"]}"#,
        );
        assert_eq!(paths(&found.write, &DEVICES), ["/own", "/r", "/s/a", "/t", "."]);
        assert_eq!(paths(&found.read, &SYSTEM), ["/c", "/k", "/seeds", "/x", "/y", "/z"]);
        assert!(found.run.is_empty());
        for json in [r#"{"event_handlers":["x"]}"#, r#"{"start_join":["exec:x"]}"#] {
            let found = rules(json);
            assert_eq!(paths(&found.run, &[]), ["/"]);
            assert!(paths(&found.write, &DEVICES).is_empty());
        }
    }

    #[test]
    fn a_link_needs_the_directory_to_which_it_leads() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        std::fs::create_dir(at("links")).unwrap();
        // The file is missing until the agent writes it.
        std::os::unix::fs::symlink("../data/snap", at("links/snap")).unwrap();
        std::os::unix::fs::symlink(at("secret/tokens"), at("links/tokens")).unwrap();
        let (snap, tokens) = (at("links/snap"), at("links/tokens"));
        let json = serde_json::json!({"snapshot_path": snap, "rpc_tokens_file": tokens});
        let found = rules(&json.to_string());
        assert!(found.write.contains(&at("links")) && found.write.contains(&at("links/../data")));
        assert!(found.read.contains(&at("secret")) && !found.write.contains(&at("secret")));
    }
}
