//! Problems that an agent detects in itself and its peers, for `serf doctor`: groups of its
//! statistics that are present only if there is a problem.

use std::{
    collections::BTreeMap,
    fs::OpenOptions,
    path::{Path, PathBuf},
};

use rustix::fs::{Access, AtFlags, CWD, accessat};

use super::{links::directory_of, operations::Agent, settings::RpcAddr, tls::ServerTls};
use crate::{base::go_net, wire::limits};

impl Agent {
    /// Current problems by their names in `cli/commands/doctor/checks.rs`, each with details.
    pub(super) async fn faults(&self) -> BTreeMap<String, String> {
        let settings = &self.settings;
        let mut faults = BTreeMap::new();
        let mut fault = |name: &str, detail: String| drop(faults.insert(name.to_owned(), detail));
        let limit = self.descriptors.limit();
        if limit < DESCRIPTORS_MIN {
            fault("descriptors", limit.to_string());
        }
        if let Ok(counters) = self.serf.counters().await {
            let large = large_state(counters.swim.local_state_bytes);
            large.into_iter().for_each(|detail| fault("push-pull", detail));
        }
        for (name, addr) in [("rpc", &settings.rpc_addr), ("http", &settings.http_addr)] {
            let (auth, is_rpc) = (&self.auth, name == "rpc");
            let tls = if is_rpc { &auth.rpc_tls } else { &auth.http_tls };
            if let RpcAddr::Tcp(addr) = addr
                && !self.auth.is_required()
                && !tls.as_ref().is_some_and(ServerTls::wants_certificates)
                && !is_loopback(addr)
            {
                fault(name, addr.clone());
            }
        }
        if self.serf.keys_unwritten().await {
            let path = settings.keyring_file.as_deref().unwrap_or(Path::new(""));
            fault("keys-unwritten", path.display().to_string());
        }
        if let Some(messages) = self.serf.worrying_key_use().await {
            fault("key-use", messages.to_string());
        }
        if let Some(missing) = service_manager() {
            fault("systemd", missing.to_owned());
        }
        let files = [&settings.snapshot_path, &settings.keyring_file, &settings.tags_file];
        let files: Vec<PathBuf> = files.into_iter().flatten().cloned().collect();
        let unwritable = tokio::task::spawn_blocking(move || unwritable(&files)).await;
        if let Ok(Some(detail)) = unwritable {
            fault("file", detail);
        }
        faults
    }

    /// Peers that do not answer direct probes, with figures.
    pub(super) async fn udp_troubles(&self) -> BTreeMap<String, String> {
        let troubles = self.serf.troubles().await.into_iter();
        let shown = troubles.map(|(name, trouble, age)| {
            let figures = format!(
                "probes={} by_tcp={} by_others={} heard={} seconds={}",
                trouble.probes,
                trouble.by_tcp,
                trouble.by_others,
                trouble.heard,
                age.as_secs()
            );
            (name.to_string(), figures)
        });
        shown.collect()
    }
}

/// Whether the address can only be reached from this machine.
fn is_loopback(addr: &str) -> bool {
    let host = addr.rsplit_once(':').map_or(addr, |(host, _)| host);
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || host.parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback())
}

/// The size of our push/pull state if it is large.
fn large_state(bytes: u64) -> Option<String> {
    let (limit, mib) = (limits::STREAM_BYTES_MAX as u64, bytes as f64 / f64::from(1 << 20));
    let percent = bytes * 100 / limit;
    (bytes >= STATE_BYTES_WARNING).then(|| format!("{mib:.1} MiB, {percent} % of the limit"))
}

/// What is missing in the configuration of systemd, if it is our parent.
fn service_manager() -> Option<&'static str> {
    let set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    // Shells inherit the variable from services.
    let is_service = set("INVOCATION_ID")
        && rustix::process::getppid().is_some_and(rustix::process::Pid::is_init);
    match (is_service, set("NOTIFY_SOCKET"), set("WATCHDOG_USEC")) {
        (false, ..) | (true, true, true) => None,
        (true, false, _) => Some("is not informed when the agent is ready"),
        (true, true, false) => Some("does not notice when the agent hangs"),
    }
}

/// The first of these files that cannot be written, with the reason. Blocks.
fn unwritable(files: &[PathBuf]) -> Option<String> {
    files.iter().find_map(|path| {
        let error = match OpenOptions::new().append(true).open(path) {
            Ok(_) => return None,
            // It can still be created if its directory can be written.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let may = Access::WRITE_OK | Access::EXEC_OK;
                accessat(CWD, directory_of(path), may, AtFlags::EACCESS).err()?.into()
            }
            Err(error) => error,
        };
        Some(format!("{}: {}", path.display(), go_net::error_text(&error)))
    })
}

/// Number of descriptors that suffices for any cluster.
const DESCRIPTORS_MIN: u64 = 1024;
/// Bytes of our push/pull state that cause a warning; the limit is 20 MiB.
const STATE_BYTES_WARNING: u64 = 12 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_this_machine_alone_expose_nothing() {
        for addr in ["127.0.0.1:7373", "[::1]:7373", "localhost:1", "127.9.9.9:7373"] {
            assert!(is_loopback(addr), "{addr}");
        }
        for addr in ["0.0.0.0:7373", "[::]:7373", "10.0.0.1:7373", "host:7373", ":7373"] {
            assert!(!is_loopback(addr), "{addr}");
        }
    }

    #[test]
    fn a_file_without_a_directory_cannot_be_written() {
        let dir = tempfile::tempdir().unwrap();
        let (there, not_yet) = (dir.path().join("a"), dir.path().join("b"));
        std::fs::write(&there, "").unwrap();
        assert_eq!(unwritable(&[there, not_yet, "c".into()]), None);
        let text = unwritable(&[dir.path().join("gone/x")]).unwrap();
        assert!(text.ends_with("gone/x: no such file or directory"), "{text}");
        assert!(unwritable(&[dir.path().to_owned()]).unwrap().ends_with("is a directory"));
    }

    #[test]
    fn a_missing_file_needs_a_directory_that_can_be_written() {
        use std::{fs, os::unix};

        let dir = tempfile::tempdir().unwrap();
        let link = dir.path().join("link");
        unix::fs::symlink("gone/x", &link).unwrap();
        let text = unwritable(std::slice::from_ref(&link)).unwrap();
        assert!(text.ends_with("link: no such file or directory"), "{text}");
        fs::create_dir(dir.path().join("gone")).unwrap();
        assert_eq!(unwritable(&[link]), None);
        let mode = |mode| <fs::Permissions as unix::fs::PermissionsExt>::from_mode(mode);
        fs::set_permissions(dir.path(), mode(0o755)).unwrap();
        let shut = dir.path().join("shut");
        fs::create_dir(&shut).unwrap();
        fs::set_permissions(&shut, mode(0o555)).unwrap();
        // Root may write everywhere: a thread of its own becomes somebody else.
        let check = move || {
            if rustix::process::geteuid().is_root() {
                rustix::thread::set_thread_uid(rustix::process::Uid::from_raw(65_534)).unwrap();
            }
            unwritable(&[shut.join("x")])
        };
        let text = std::thread::spawn(check).join().unwrap().unwrap();
        assert!(text.ends_with("shut/x: permission denied"), "{text}");
    }

    #[test]
    fn a_large_state_is_reported_with_its_size() {
        assert_eq!(large_state(STATE_BYTES_WARNING - 1), None);
        assert_eq!(large_state(13 << 20).unwrap(), "13.0 MiB, 65 % of the limit");
    }
}
