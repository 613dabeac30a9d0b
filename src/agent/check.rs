//! Checks a configuration without opening sockets: the checks that the agent makes before it
//! starts, and all of `serf validate`.

use std::{collections::BTreeMap, io, net::Ipv4Addr, path::Path};

use tracing::info;

use super::{
    AgentError, Settings,
    access::Authenticator,
    files,
    ipc::{Listener, Taken},
    mdns,
    seeds::{self, Checked},
    settings::{RpcAddr, Sandbox},
};
use crate::{
    base::{Instant, go_net},
    driver::{Config, has_private_ip},
    serf,
    transport::{Network, check_dialled},
};

/// The verdict on a configuration with which the agent starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// What fails later, as far as it can be known.
    pub warnings: Vec<String>,
    /// What only a start can find out.
    pub unchecked: Vec<String>,
}

/// Makes the checks of the agent's start, in its order and with its errors, and changes nothing.
///
/// # Errors
/// The reason for which the agent would not start.
pub fn check(settings: &Settings) -> Result<Verdict, AgentError> {
    let mut config = node_config(settings)?.into_engine();
    let failed = |error: serf::Error| AgentError::Start(error.to_string());
    serf::check_config(&config).map_err(failed)?;
    if let Some(path) = &settings.snapshot_path {
        files::check_file(path).map_err(|error| snapshot_failure(path, &error))?;
    }
    // Any address will do: the real one is known once the socket is bound.
    config.swim.advertise_addr = vec![127, 0, 0, 1];
    config.swim.advertise_port = settings.bind.addr.port().max(1);
    serf::Engine::build(config, Instant::ZERO, None).map_err(failed)?;
    mdns::check(settings)?;
    Authenticator::open(settings)?;
    check_listeners(settings)?;
    let mut start = seeds::check(&settings.start_join);
    if let Some(failure) = start.failure.take() {
        return Err(failure);
    }
    let retry = seeds::check(&settings.reloadable.retry.addrs);
    let warnings = warnings(settings, &start, &retry);
    let joined = [start.open, retry.open].concat();
    Ok(Verdict { warnings, unchecked: unchecked(settings, &joined) })
}

/// The node's configuration, including the contents of the tags and keyring files.
///
/// # Errors
/// A file cannot be read or decoded.
pub(super) fn node_config(settings: &Settings) -> Result<Config, AgentError> {
    let mut config = settings.node.clone();
    if let Some(path) = &settings.tags_file {
        config.tags = match files::read_tags(path)? {
            Some(tags) => {
                info!(target: "agent", "Restored {} tag(s) from {}", tags.len(), path.display());
                tags
            }
            None => BTreeMap::new(),
        };
    }
    if let Some(path) = &settings.keyring_file {
        config.keyring = files::read_keyring(path)?;
        let count = config.keyring.keys().count();
        info!(target: "agent", "Restored keyring with {count} keys from {}", path.display());
    }
    Ok(config)
}

pub(super) fn snapshot_failure(path: &Path, error: &io::Error) -> AgentError {
    let (path, error) = (path.display(), go_net::error_text(error));
    let reason = format!("Failed to setup snapshot: failed to open snapshot: open {path}: {error}");
    AgentError::Start(reason)
}

/// Whether the agent can bind its listeners beside each other.
fn check_listeners(settings: &Settings) -> Result<(), AgentError> {
    let mut taken = vec![Taken::Tcp(settings.bind.addr)];
    Listener::check(&settings.rpc_addr, &mut taken).map_err(AgentError::Rpc)?;
    Listener::check(&settings.http_addr, &mut taken).map_err(AgentError::Http)
}

/// What does not stop the agent but fails later.
fn warnings(settings: &Settings, start: &Checked, retry: &Checked) -> Vec<String> {
    let mut list = Vec::new();
    for (key, checked) in [("start_join", start), ("retry_join", retry)] {
        list.extend(checked.faults.iter().map(|fault| format!("Warning: {key}: {fault}")));
    }
    let sinks = [
        ("statsite", &settings.statsite_addr, Network::Tcp),
        ("statsd", &settings.statsd_addr, Network::Udp),
    ];
    for (name, addr, network) in sinks {
        let Some(addr) = addr else { continue };
        if let Err(reason) = check_dialled(network, addr) {
            list.push(format!("Warning: Error connecting to {name}! Err: {reason}"));
        }
    }
    for (key, path) in [("tags", &settings.tags_file), ("keyring", &settings.keyring_file)] {
        let Some(path) = path else { continue };
        if let Err(error) = files::check_replaceable(path) {
            let (path, reason) = (path.display(), go_net::error_text(&error));
            list.push(format!("Warning: Failed to write {key} file: open {path}: {reason}"));
        }
    }
    list
}

/// `joined` are the seeds that may have an answer.
fn unchecked(settings: &Settings, joined: &[String]) -> Vec<String> {
    let mut list = vec![format!("whether {} is free for TCP and UDP", settings.bind.shown)];
    // A file is often checked on another host, or where there is no network yet.
    if settings.bind.addr.ip() == Ipv4Addr::UNSPECIFIED
        && settings.advertise.is_none()
        && !has_private_ip()
    {
        let what = "whether the host has a private address to announce (here it has none)";
        list.push(what.to_owned());
    }
    if settings.rpc_addr != RpcAddr::Off {
        list.push(format!("whether {} is free for the RPC", settings.rpc_addr));
    }
    if settings.http_addr != RpcAddr::Off {
        list.push(format!("whether {} is free for HTTP", settings.http_addr));
    }
    if settings.syslog.is_some() {
        list.push("whether syslogd answers".to_owned());
    }
    for (addr, name, network) in [
        (&settings.statsite_addr, "statsite", Network::Tcp),
        (&settings.statsd_addr, "statsd", Network::Udp),
    ] {
        if let Some(addr) = addr.as_ref().filter(|addr| check_dialled(network, addr).is_ok()) {
            list.push(format!("whether {name} answers at {addr}"));
        }
    }
    list.extend(joined.iter().map(|addr| format!("whether a member answers at '{addr}'")));
    if !settings.reloadable.scripts.is_empty() {
        list.push("whether event handlers work".to_owned());
    }
    if settings.sandbox != Sandbox::Off {
        list.push("whether the kernel has a sandbox".to_owned());
    }
    if settings.mdns.is_some() {
        list.push("whether the network carries multicast".to_owned());
    }
    list
}

#[cfg(test)]
mod tests {
    use super::{
        super::{FileConfig, Notices},
        *,
    };

    fn verdict(json: &str) -> Result<Verdict, String> {
        let config = FileConfig::decode(json.as_bytes())?;
        let settings = Settings::build(config, &mut Notices::default());
        let settings = settings.map_err(|error| error.to_string())?;
        check(&settings).map_err(|error| error.to_string())
    }

    #[test]
    fn settings_that_the_agent_refuses_are_refused_without_a_socket() {
        let node = "Failed to start the Serf agent: Error creating Serf: ";
        let setup = "Failed to setup the Serf agent: ";
        let long = format!(r#"{{"tags":{{"a":"{}"}}}}"#, "x".repeat(512));
        for (json, start) in [
            (r#"{"protocol":1}"#, node),
            (r#"{"protocol":9}"#, node),
            (r#"{"encrypt_key":"QUJD"}"#, node),
            (r#"{"tags":{"a":"b"},"tags_file":"/nonexistent"}"#, setup),
            (r#"{"keyring_file":"/nonexistent/k"}"#, setup),
            (
                r#"{"keyring_file":"/nonexistent/k","encrypt_key":"wsGlMv8mfgjD1f+CVVMHZA=="}"#,
                setup,
            ),
            (r#"{"snapshot_path":"/nonexistent/s"}"#, node),
            (r#"{"user_event_size_limit":20000}"#, node),
            (r#"{"node_name":"a\nb"}"#, node),
            (&long, node),
            (r#"{"rpc_addr":"7373"}"#, "Error starting RPC listener: listen tcp: address 7373"),
            (r#"{"rpc_addr":"a:b:c"}"#, "Error starting RPC listener: "),
            (r#"{"rpc_addr":"127.0.0.1:70000"}"#, "Error starting RPC listener: "),
            (r#"{"http_addr":"a:b:c"}"#, "Error starting HTTP listener: "),
            (
                r#"{"rpc_addr":"unix:/nonexistent/x"}"#,
                "Error starting RPC listener: listen unix /nonexistent/x: bind: no such file or \
                 directory",
            ),
            (r#"{"rpc_addr":"unix:"}"#, "Error starting RPC listener: listen unix : bind: no such"),
            (
                r#"{"http_addr":"unix:/dev/null/x"}"#,
                "Error starting HTTP listener: listen unix /dev/null/x: bind: not a directory",
            ),
            (
                r#"{"rpc_addr":"unix:/dev/null"}"#,
                "Error starting RPC listener: listen unix /dev/null: bind: address already in use",
            ),
            (
                r#"{"bind":"127.0.0.1:7373"}"#,
                "Error starting RPC listener: listen tcp 127.0.0.1:7373: bind: address already",
            ),
            (
                r#"{"rpc_addr":":7373","http_addr":"127.0.0.1:7373"}"#,
                "Error starting HTTP listener: listen tcp 127.0.0.1:7373: bind: address already",
            ),
            (
                r#"{"start_join":["1.2.3.4:xx"]}"#,
                "1 error occurred:\n\t* failed to resolve 1.2.3.4:xx",
            ),
            (r#"{"start_join":["file:/nonexistent"]}"#, "open /nonexistent: no such file"),
            (r#"{"start_join":["dns+"]}"#, "'dns+': a name is missing"),
            (r#"{"metrics_label":{"a-b":"c"}}"#, "metrics_label: \"a-b\" is no name of a label"),
            (
                r#"{"metrics_label":{"status":"c"}}"#,
                "metrics_label: metrics have labels \"status\"",
            ),
            (r#"{"advertise":":7946"}"#, node),
            (r#"{"enable_syslog":true,"syslog_facility":"BOGUS"}"#, "Syslog setup failed: "),
        ] {
            let error = verdict(json).expect_err(json);
            assert!(error.starts_with(start), "{json}: {error}");
        }
    }

    #[test]
    fn checks_that_need_a_start_are_listed() {
        let verdict = verdict(
            r#"{"bind":"127.0.0.1","rpc_addr":"off","start_join":["a"],"retry_join":["b:1"],
                "event_handlers":["x"]}"#,
        );
        assert_eq!(
            verdict.unwrap().unchecked,
            [
                "whether 127.0.0.1:7946 is free for TCP and UDP",
                "whether a member answers at 'a'",
                "whether a member answers at 'b:1'",
                "whether event handlers work",
            ]
        );
    }

    #[test]
    fn what_fails_later_is_a_warning_and_no_open_question() {
        let verdict = verdict(
            r#"{"bind":"127.0.0.1","rpc_addr":"off","start_join":["a","1.2.3.4:xx"],
                "retry_join":["/b"],"statsd_addr":"127.0.0.1","statsite_addr":":xx",
                "tags_file":"/nonexistent/t"}"#,
        );
        let verdict = verdict.unwrap();
        assert_eq!(
            verdict.warnings,
            [
                "Warning: start_join: failed to resolve 1.2.3.4:xx: strconv.ParseUint: parsing \
                 \"xx\": invalid syntax",
                "Warning: retry_join: failed to resolve /b: empty node name provided",
                "Warning: Error connecting to statsite! Err: lookup tcp/xx: unknown port",
                "Warning: Error connecting to statsd! Err: address 127.0.0.1: missing port in \
                 address",
                "Warning: Failed to write tags file: open /nonexistent/t: no such file or \
                 directory",
            ]
        );
        assert_eq!(
            verdict.unchecked,
            ["whether 127.0.0.1:7946 is free for TCP and UDP", "whether a member answers at 'a'",]
        );
    }

    #[test]
    fn a_check_creates_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("snapshot");
        verdict(&format!(r#"{{"snapshot_path":{path:?}}}"#)).unwrap();
        assert!(!path.exists());
    }
}
