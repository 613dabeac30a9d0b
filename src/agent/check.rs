//! What can be said of a configuration without opening a socket: the part of a start that comes
//! before it, and the whole of `serf validate`.

use std::{collections::BTreeMap, fs, io, path::Path};

use tracing::info;

use super::{AgentError, Settings, files, ipc::Listener, log::Syslog, mdns};
use crate::{
    base::{Instant, go_net},
    driver::Config,
    serf,
    wire::Keyring,
};

/// Checks what the agent checks at its start, in its order and words, and changes nothing. Gives
/// what only a start can tell.
///
/// # Errors
/// Why the agent would not start.
pub fn check(settings: &Settings) -> Result<Vec<String>, AgentError> {
    if let Some(facility) = &settings.syslog {
        let checked = Syslog::check(facility);
        checked.map_err(|error| AgentError::Invalid(format!("Syslog setup failed: {error}")))?;
    }
    let config = node_config(settings)?;
    if let Some(path) = &settings.snapshot_path {
        let checked = check_file(path);
        checked.map_err(|error| node_failure(&snapshot_failure(path, &error)))?;
    }
    let mut config = config.into_engine();
    // Any will do: the real one is known when the socket is bound.
    config.swim.advertise_addr = vec![127, 0, 0, 1];
    config.swim.advertise_port = settings.bind.port().max(1);
    serf::Engine::build(config, Instant::ZERO, None)
        .map_err(|error| node_failure(&error.to_string()))?;
    mdns::check(settings)?;
    Listener::check(&settings.rpc_addr)?;
    Ok(unchecked(settings))
}

/// The node's whole configuration, tags and keys included.
///
/// # Errors
/// The first thing that is wrong with it.
pub(super) fn node_config(settings: &Settings) -> Result<Config, AgentError> {
    let setup =
        |error: AgentError| AgentError::Invalid(format!("Failed to setup the Serf agent: {error}"));
    let mut config = settings.config()?;
    config.tags = tags(settings).map_err(setup)?;
    config.keyring = keyring(settings).map_err(setup)?;
    if let Some(key) = &settings.encrypt_key {
        // The size is the node's business, and its error comes when it is made.
        config.keyring = Keyring::build(&[], &key.0)
            .map_err(|error| node_failure(&format!("Failed to create memberlist: {error}")))?;
    }
    Ok(config)
}

/// The node does not start.
pub(super) fn node_failure(reason: &str) -> AgentError {
    let text = format!("Failed to start the Serf agent: Error creating Serf: {reason}");
    AgentError::Invalid(text)
}

pub(super) fn snapshot_failure(path: &Path, error: &io::Error) -> String {
    let (path, error) = (path.display(), go_net::error_text(error));
    format!("Failed to setup snapshot: failed to open snapshot: open {path}: {error}")
}

fn tags(settings: &Settings) -> Result<BTreeMap<String, String>, AgentError> {
    let Some(path) = &settings.tags_file else { return Ok(settings.tags.clone()) };
    if !settings.tags.is_empty() {
        let text = "Tags config not allowed while using tag files";
        return Err(AgentError::File(text.to_owned()));
    }
    let Some(tags) = files::read_tags(path)? else { return Ok(BTreeMap::new()) };
    info!(target: "agent", "Restored {} tag(s) from {}", tags.len(), path.display());
    Ok(tags)
}

fn keyring(settings: &Settings) -> Result<Keyring, AgentError> {
    let Some(path) = &settings.keyring_file else { return Ok(Keyring::default()) };
    if settings.encrypt_key.is_some() {
        let text = "Encryption key not allowed while using a keyring";
        return Err(AgentError::File(text.to_owned()));
    }
    let keyring = files::read_keyring(path)?;
    let count = keyring.keys().count();
    info!(target: "agent", "Restored keyring with {count} keys from {}", path.display());
    Ok(keyring)
}

/// Whether a file can be opened for appending, or made.
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
    let mut list = vec![format!("whether {} is free for TCP and UDP", settings.bind_shown)];
    if settings.rpc_addr != "off" {
        list.push(format!("whether {} is free for the RPC", settings.rpc_addr));
    }
    if settings.syslog.is_some() {
        list.push("whether syslogd answers".to_owned());
    }
    for (addr, name) in [(&settings.statsite_addr, "statsite"), (&settings.statsd_addr, "statsd")] {
        if let Some(addr) = addr {
            list.push(format!("whether {name} answers at {addr}"));
        }
    }
    let joined = settings.start_join.iter().chain(&settings.retry_join);
    list.extend(joined.map(|addr| format!("whether a member answers at '{addr}'")));
    if !settings.scripts.is_empty() {
        list.push("whether event handlers work".to_owned());
    }
    if settings.mdns.is_some() {
        list.push("whether the network carries multicast".to_owned());
    }
    list
}

#[cfg(test)]
mod tests {
    use super::{super::FileConfig, *};

    fn verdict(json: &str) -> Result<Vec<String>, String> {
        let config = FileConfig::decode(json.as_bytes())?;
        let (settings, _) = Settings::build(config).map_err(|error| error.to_string())?;
        check(&settings).map_err(|error| error.to_string())
    }

    #[test]
    fn what_the_agent_refuses_is_refused_without_a_socket() {
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
            (r#"{"advertise":":7946"}"#, node),
            (r#"{"enable_syslog":true,"syslog_facility":"BOGUS"}"#, "Syslog setup failed: "),
        ] {
            let error = verdict(json).expect_err(json);
            assert!(error.starts_with(start), "{json}: {error}");
        }
    }

    #[test]
    fn what_is_left_to_a_start_is_named() {
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
    fn nothing_is_made_by_a_check() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("snapshot");
        verdict(&format!(r#"{{"snapshot_path":{path:?}}}"#)).unwrap();
        assert!(!path.exists());
    }
}
