//! Resolves seeds to addresses.

use std::{
    fs::File,
    io::Read as _,
    net::{IpAddr, SocketAddr},
    process::Stdio,
    time::Duration,
};

use tokio::{
    io::AsyncReadExt as _,
    process::{ChildStderr, Command},
    time::timeout,
};

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

/// Splits `host[:port]`; an address of IPv6 loses its brackets.
pub(super) fn host_and_port(text: &str) -> Result<(&str, Option<u16>), String> {
    let (host, port) = match text.rsplit_once(':') {
        // An address of IPv6 without a port.
        _ if text.ends_with(']') || text.parse::<IpAddr>().is_ok() => (text, None),
        Some((host, port)) => (host, Some(port)),
        None => (text, None),
    };
    if host.is_empty() {
        return Err(format!("'{text}': a name is missing"));
    }
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    match port.map(str::parse).transpose() {
        Ok(port) => Ok((host, port)),
        Err(_) => Err(format!("address {text}: invalid port")),
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
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| fail(&go_net::error_text(&error)))?;
    let group = child.id();
    let (output, errors) = (child.stdout.take(), child.stderr.take());
    let mut said = Vec::new();
    let run = async {
        let run = async {
            let mut text = Vec::new();
            if let Some(output) = output {
                output.take(TEXT_BYTES_MAX).read_to_end(&mut text).await?;
            }
            Ok::<_, std::io::Error>((child.wait().await?, text))
        };
        let (mut run, mut tail) =
            (std::pin::pin!(run), std::pin::pin!(keep_tail(errors, &mut said)));
        tokio::select! {
            biased;
            done = &mut run => {
                // A process in the background may keep the pipe open.
                let _ = timeout(TAIL_TIME, tail).await;
                done
            }
            () = &mut tail => run.await,
        }
    };
    match timeout(COMMAND_TIME, run).await {
        Ok(Ok((status, text))) if status.success() => {
            String::from_utf8(text).map_err(|_| fail("prints no UTF-8"))
        }
        Ok(Ok((status, _))) => match last_line(&said) {
            Some(line) => Err(fail(&format!("{status}: {line}"))),
            None => Err(fail(&status.to_string())),
        },
        Ok(Err(error)) => Err(fail(&go_net::error_text(&error))),
        Err(_) => {
            // A process started by the shell keeps the pipe open.
            end_group(group);
            Err(fail(&format!("has not ended after {} s", COMMAND_TIME.as_secs())))
        }
    }
}

/// Reads what a program reports on its standard error, and keeps the end.
async fn keep_tail(errors: Option<ChildStderr>, tail: &mut Vec<u8>) {
    let Some(mut errors) = errors else { return };
    let mut buf = [0; TAIL_BYTES_MAX];
    while let Ok(len @ 1..) = errors.read(&mut buf).await {
        tail.extend_from_slice(buf.get(..len).unwrap_or_default());
        tail.drain(..tail.len().saturating_sub(TAIL_BYTES_MAX));
    }
}

/// The last line of a program's report, without control characters, which could forge log lines.
fn last_line(said: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(said);
    let line = text.lines().map(str::trim).rfind(|line| !line.is_empty())?;
    Some(line.chars().filter(|c| !c.is_control()).collect())
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
/// Most bytes of a command's report that are kept for the error.
const TAIL_BYTES_MAX: usize = 256;
/// How long after the end of a command its report is awaited.
const TAIL_TIME: Duration = Duration::from_millis(100);

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

    #[tokio::test]
    async fn a_command_that_fails_is_reported_with_its_last_words() {
        let command = |text: &str| format!("exec:{text}");
        // The second writes more than a pipe holds; the pipe of the third stays open.
        let long = "i=0; while [ $i -lt 2000 ]; do echo '{\"error\": \"no such cluster\"}' >&2; \
                    i=$((i + 1)); done; exit 4";
        let seeds = [
            "echo one >&2; printf 'a\\033[2Jb\\n\\n' >&2; exit 3",
            long,
            "sleep 5 >/dev/null & echo late >&2; kill -9 $$",
            "echo quiet >&2; echo 10.0.0.1",
        ];
        let found = local(&seeds.map(command)).await;
        assert_eq!(found.addrs, ["10.0.0.1"]);
        let ends = [
            "': exit status: 3: a[2Jb",
            "': exit status: 4: {\"error\": \"no such cluster\"}",
            "': signal: 9 (SIGKILL): late",
        ];
        assert_eq!(found.errors.len(), ends.len(), "{:?}", found.errors);
        for (error, end) in found.errors.iter().zip(ends) {
            assert!(error.ends_with(end), "{error}");
        }
    }

    #[tokio::test]
    async fn addresses_in_the_place_of_names_stay_as_they_are() {
        let seeds = ["10.0.0.1", "10.0.0.1:7", "::1", "[::1]", "[::1]:7", "fd00::2"];
        let found = local(&seeds.map(|addr| format!("dns+{addr}"))).await;
        assert_eq!(found.errors, [""; 0]);
        assert_eq!(found.addrs, ["10.0.0.1", "10.0.0.1:7", "[::1]", "[::1]:7", "[fd00::2]"]);
        let found = local(&["dns+:7946".to_owned()]).await;
        assert_eq!(found.errors, ["':7946': a name is missing"]);
    }
}
