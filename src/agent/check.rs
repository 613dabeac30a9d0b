//! Checks a configuration without opening sockets: the checks that the agent makes before it
//! starts, and all of `serf validate`.

use std::{collections::BTreeMap, fs, io, net::Ipv4Addr, path::Path};

use tracing::info;

use super::{
    AgentError, Settings, access::Authenticator, files, ipc::Listener, mdns, settings::RpcAddr,
};
use crate::{
    base::{Instant, go_net},
    driver::{Config, has_private_ip},
    serf,
};

/// Makes the checks of the agent's start, in its order and with its errors, and changes nothing.
/// Returns what only a start can find out.
///
/// # Errors
/// The reason for which the agent would not start.
pub fn check(settings: &Settings) -> Result<Vec<String>, AgentError> {
    let mut config = node_config(settings)?.into_engine();
    let failed = |error: serf::Error| AgentError::Start(error.to_string());
    serf::check_config(&config).map_err(failed)?;
    if let Some(path) = &settings.snapshot_path {
        check_file(path).map_err(|error| snapshot_failure(path, &error))?;
    }
    // Any address will do: the real one is known once the socket is bound.
    config.swim.advertise_addr = vec![127, 0, 0, 1];
    config.swim.advertise_port = settings.bind.addr.port().max(1);
    serf::Engine::build(config, Instant::ZERO, None).map_err(failed)?;
    mdns::check(settings)?;
    Authenticator::open(settings)?;
    Listener::check(&settings.rpc_addr).map_err(AgentError::Rpc)?;
    Listener::check(&settings.http_addr).map_err(AgentError::Http)?;
    Ok(unchecked(settings))
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

/// Whether a file can be opened for appending, or created.
fn check_file(path: &Path) -> io::Result<()> {
    match fs::OpenOptions::new().read(true).append(true).open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty());
            fs::metadata(dir.unwrap_or(Path::new("."))).map(drop)
        }
        opened => opened.map(drop),
    }
}

fn unchecked(settings: &Settings) -> Vec<String> {
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
    for (addr, name) in [(&settings.statsite_addr, "statsite"), (&settings.statsd_addr, "statsd")] {
        if let Some(addr) = addr {
            list.push(format!("whether {name} answers at {addr}"));
        }
    }
    let joined = settings.start_join.iter().chain(&settings.reloadable.retry.addrs);
    list.extend(joined.map(|addr| format!("whether a member answers at '{addr}'")));
    if !settings.reloadable.scripts.is_empty() {
        list.push("whether event handlers work".to_owned());
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

    fn verdict(json: &str) -> Result<Vec<String>, String> {
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
        let unchecked = verdict(
            r#"{"bind":"127.0.0.1","rpc_addr":"off","start_join":["a"],"retry_join":["b:1"],
                "event_handlers":["x"]}"#,
        );
        assert_eq!(
            unchecked.unwrap(),
            [
                "whether 127.0.0.1:7946 is free for TCP and UDP",
                "whether a member answers at 'a'",
                "whether a member answers at 'b:1'",
                "whether event handlers work",
            ]
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
