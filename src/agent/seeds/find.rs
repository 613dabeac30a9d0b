//! Resolves seeds to addresses.

use std::{fs::File, io::Read as _, net::SocketAddr, process::Stdio, time::Duration};

use tokio::{io::AsyncReadExt as _, process::Command, time::timeout};

use super::{
    dns,
    seed::{Source, Trust},
};
use crate::{base::go_net, transport};

/// The addresses that seeds currently resolve to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Entries for a join, in order, without duplicates.
    pub addrs: Vec<String>,
    /// Why some seeds have no address.
    pub errors: Vec<String>,
}

impl Found {
    fn add(&mut self, found: Result<Vec<String>, String>) {
        match found {
            Ok(addrs) => {
                for addr in addrs {
                    if self.addrs.len() < ADDRS_MAX && !self.addrs.contains(&addr) {
                        self.addrs.push(addr);
                    }
                }
            }
            Err(error) => self.errors.push(error),
        }
    }

    /// All errors in one text.
    pub fn error(&self) -> String {
        match self.errors.as_slice() {
            [] => "the seeds name no address".to_owned(),
            errors => errors.join("; "),
        }
    }
}

/// Resolves all seeds.
pub async fn find(seeds: &[String], trust: Trust) -> Found {
    let mut found = Found::default();
    for seed in seeds {
        match Source::parse(seed, trust) {
            // As in Go: duplicates are kept.
            Ok(Source::Address(text)) => found.addrs.push(text),
            Ok(Source::File(path)) => found.add_lines(lines_of_file(&path).await).await,
            Ok(Source::Exec(command)) => found.add_lines(lines_of_command(&command).await).await,
            Ok(source) => found.add(addresses(source).await),
            Err(error) => found.errors.push(error),
        }
    }
    found
}

impl Found {
    /// Adds the addresses in the lines of a file or of a program's output.
    async fn add_lines(&mut self, lines: Result<String, String>) {
        let text = match lines {
            Ok(text) => text,
            Err(error) => return self.errors.push(error),
        };
        for line in seeds_in(&text) {
            match Source::parse(line, Trust::Remote) {
                Ok(source) => self.add(addresses(source).await),
                Err(error) => self.errors.push(error),
            }
        }
    }
}

/// The addresses of a source other than a file or a program.
async fn addresses(source: Source) -> Result<Vec<String>, String> {
    match source {
        Source::Address(text) => Ok(vec![text]),
        Source::Dns(name) => hosts(&name).await,
        Source::SrvNames(name) => {
            let targets = dns::services(&name).await?;
            Ok(targets.iter().map(|target| format!("{}:{}", target.host, target.port)).collect())
        }
        Source::Srv(name) => {
            let (mut addrs, mut last) = (Vec::new(), None);
            for target in dns::services(&name).await? {
                match hosts(&format!("{}:{}", target.host, target.port)).await {
                    Ok(found) => addrs.extend(found),
                    Err(error) => last = Some(error),
                }
            }
            match last {
                Some(error) if addrs.is_empty() => Err(error),
                _ => Ok(addrs),
            }
        }
        Source::File(text) | Source::Exec(text) => Err(format!("'{text}' names no address")),
    }
}

/// All addresses of `host[:port]`. The join adds this agent's port where there is none.
async fn hosts(text: &str) -> Result<Vec<String>, String> {
    let (host, port) = host_and_port(text)?;
    let owned = host.to_owned();
    let resolving = tokio::task::spawn_blocking(move || transport::host_addrs(&owned, 0));
    let ips = resolving.await.map_err(|error| error.to_string())??;
    let shown = ips.into_iter().map(|addr| match (port, addr.ip()) {
        (Some(port), ip) => SocketAddr::new(ip, port).to_string(),
        (None, ip) if ip.is_ipv6() => format!("[{ip}]"),
        (None, ip) => ip.to_string(),
    });
    Ok(shown.collect())
}

/// Splits `host[:port]`.
pub(super) fn host_and_port(text: &str) -> Result<(&str, Option<u16>), String> {
    match text.rsplit_once(':') {
        None => Ok((text, None)),
        Some((host, port)) => match port.parse() {
            Ok(port) => Ok((host, Some(port))),
            Err(_) => Err(format!("address {text}: invalid port")),
        },
    }
}

async fn lines_of_file(path: &str) -> Result<String, String> {
    let owned = path.to_owned();
    let read = tokio::task::spawn_blocking(move || text_of_file(&owned)).await;
    read.map_err(|error| error.to_string())?
}

/// Reads a file of seeds. Blocks.
pub(super) fn text_of_file(path: &str) -> Result<String, String> {
    let mut text = String::new();
    let read =
        File::open(path).and_then(|file| file.take(TEXT_BYTES_MAX).read_to_string(&mut text));
    match read {
        Ok(_) => Ok(text),
        Err(error) => Err(format!("open {path}: {}", go_net::error_text(&error))),
    }
}

/// The seeds in a file, or in a program's output.
pub(super) fn seeds_in(text: &str) -> impl Iterator<Item = &str> {
    let lines = text.lines().map(|line| line.split('#').next().unwrap_or_default().trim());
    lines.filter(|line| !line.is_empty()).take(ADDRS_MAX)
}

/// Runs a command in the shell and returns its output. Its time limit is [`COMMAND_TIME`].
async fn lines_of_command(command: &str) -> Result<String, String> {
    let fail = |reason: &str| format!("'{command}': {reason}");
    let mut child = Command::new("/bin/sh")
        .args(["-c", command])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| fail(&go_net::error_text(&error)))?;
    let group = child.id();
    let output = child.stdout.take();
    let run = async {
        let mut text = Vec::new();
        if let Some(output) = output {
            output.take(TEXT_BYTES_MAX).read_to_end(&mut text).await?;
        }
        Ok::<_, std::io::Error>((child.wait().await?, text))
    };
    match timeout(COMMAND_TIME, run).await {
        Ok(Ok((status, text))) if status.success() => {
            String::from_utf8(text).map_err(|_| fail("prints no UTF-8"))
        }
        Ok(Ok((status, _))) => Err(fail(&status.to_string())),
        Ok(Err(error)) => Err(fail(&go_net::error_text(&error))),
        Err(_) => {
            // A process started by the shell keeps the pipe open.
            end_group(group);
            Err(fail(&format!("has not ended after {} s", COMMAND_TIME.as_secs())))
        }
    }
}

fn end_group(group: Option<u32>) {
    let pid = group.and_then(|group| i32::try_from(group).ok());
    if let Some(pid) = pid.and_then(rustix::process::Pid::from_raw) {
        // It may have ended.
        let _ = rustix::process::kill_process_group(pid, rustix::process::Signal::KILL);
    }
}

/// Most addresses that seeds may resolve to.
const ADDRS_MAX: usize = 256;
/// Most bytes of a file or of a command's output.
const TEXT_BYTES_MAX: u64 = 64 << 10;
const COMMAND_TIME: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    async fn local(seeds: &[String]) -> Found {
        find(seeds, Trust::Local).await
    }

    #[tokio::test]
    async fn files_and_commands_name_addresses_anew_each_time() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("seeds");
        let seeds = [
            format!("file:{}", path.display()),
            "exec:echo 10.0.0.1; echo exec:reboot".to_owned(),
            "10.0.0.9:1".to_owned(),
        ];
        let found = local(&seeds).await;
        assert_eq!(found.addrs, ["10.0.0.1", "10.0.0.9:1"]);
        assert_eq!(found.errors.len(), 2, "{:?}", found.errors);
        std::fs::write(&path, "# all\n 10.0.0.2:7946 # b\n\ndns+localhost:5\n10.0.0.1\n").unwrap();
        let found = local(&seeds).await;
        assert!(found.addrs.starts_with(&["10.0.0.2:7946".to_owned()]), "{found:?}");
        assert!(found.addrs.contains(&"127.0.0.1:5".to_owned()), "{found:?}");
        assert_eq!(found.addrs.iter().filter(|addr| *addr == "10.0.0.1").count(), 1);
    }

    #[tokio::test]
    async fn what_fails_says_why_and_names_nothing() {
        let seeds = ["exec:exit 3", "file:/no/such", "dns+no.such.invalid.:1", "dns+localhost:x"];
        let found = local(&seeds.map(str::to_owned)).await;
        assert_eq!(found.addrs, [""; 0]);
        assert!(found.errors[0].contains("exit status: 3"), "{:?}", found.errors);
        assert_eq!(found.errors[1], "open /no/such: no such file or directory");
        assert!(found.errors[2].contains("lookup no.such.invalid.: "), "{:?}", found.errors);
        assert!(found.errors[3].contains("invalid port"), "{:?}", found.errors);
        assert!(found.error().contains("exit status: 3; open /no/such"));
    }
}
