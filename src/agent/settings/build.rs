//! All settings of the agent.

use std::{collections::BTreeMap, net::SocketAddr, path::PathBuf, time::Duration};

use super::{
    address::{self, Bind, Interface, RpcAddr},
    discovery::{Mdns, host_name},
    node::{self, Profile},
    reloadable::{Notices, Reloadable},
    sandbox::Sandbox,
    tls::TlsFiles,
};
use crate::{
    agent::{
        AgentError, FileConfig, KEYS,
        config::{Origin, Shape},
        log::{Facility, Level},
        secrets,
        telemetry::check_label,
    },
    base::{Secret, go_duration::GoDuration},
    driver::Config,
};

/// The agent's validated settings. Only what depends on the system can still fail: files, sockets,
/// name resolution.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Configuration of the node, without the contents of the tags and keyring files.
    pub node: Config,
    /// Timing preset.
    pub profile: Profile,
    /// Address of the gossip sockets.
    pub bind: Bind,
    /// Announced address.
    pub advertise: Option<SocketAddr>,
    /// Tags file.
    pub tags_file: Option<PathBuf>,
    /// Keyring file.
    pub keyring_file: Option<PathBuf>,
    /// Snapshot file.
    pub snapshot_path: Option<PathBuf>,
    /// Address of the RPC listener.
    pub rpc_addr: RpcAddr,
    /// Address of the HTTP listener.
    pub http_addr: RpcAddr,
    /// Labels of all metrics for scrapers.
    pub metrics_label: BTreeMap<String, String>,
    /// Token of RPC and HTTP clients; empty: none is required.
    pub rpc_auth: Secret,
    /// File of further tokens.
    pub rpc_tokens_file: Option<PathBuf>,
    /// Files of the RPC under TLS.
    pub rpc_tls: TlsFiles,
    /// Files of HTTP under TLS.
    pub http_tls: TlsFiles,
    /// Log commands that change something.
    pub audit: bool,
    /// Whether the agent restricts itself.
    pub sandbox: Sandbox,
    /// Further paths that it may use then.
    pub sandbox_paths: Vec<PathBuf>,
    /// Least severe level of log lines at the start.
    pub log_level: Level,
    /// Log lines are JSON objects.
    pub log_json: bool,
    /// Also log to syslog, under this facility.
    pub syslog: Option<Facility>,
    /// Host and port of a statsite server.
    pub statsite_addr: Option<String>,
    /// Host and port of a statsd server.
    pub statsd_addr: Option<String>,
    /// Time limit of a handler; `None`: no limit.
    pub handler_timeout: Option<Duration>,
    /// Handlers that may run at the same time; 1 keeps Go's order.
    pub handler_concurrency: usize,
    /// Addresses to join at the start; one must answer.
    pub start_join: Vec<String>,
    /// Deliver user events from before a join.
    pub replay: bool,
    /// Time between look-ups of seeds that can change, once joined; zero: never.
    pub rejoin_interval: Duration,
    /// Time between beacons; `None`: none.
    pub beacon_interval: Option<Duration>,
    /// Discover other agents by multicast DNS.
    pub mdns: Option<Mdns>,
    /// Settings that SIGHUP changes.
    pub reloadable: Reloadable,
}

impl Settings {
    /// Validates a configuration, in Go's order.
    ///
    /// # Errors
    /// The first invalid setting.
    pub fn build(written: FileConfig, notices: &mut Notices) -> Result<Self, AgentError> {
        let name = written.node_name.clone().unwrap_or_else(host_name);
        let reloadable = Reloadable::build(&written, notices)?;
        let interface = written.interface.as_deref().map(Interface::find).transpose()?;
        let mdns = Mdns::build(&written);
        let log_level = level(&written)?;
        let bind = Bind::build(written.bind.as_deref(), interface)?;
        notices.interface = bind.interface_notice();
        let advertise = written.advertise.as_deref().map(address::advertised).transpose()?;
        let key = written.encrypt_key.as_ref().map(node::encryption_key).transpose()?;
        let rpc_auth = match &written.rpc_auth {
            Some(token) => secrets::resolve("rpc_auth", token.expose())?,
            None => Secret::default(),
        };
        for name in written.metrics_label.keys() {
            check_label(name).map_err(AgentError::Invalid)?;
        }
        let profile = Profile::build(written.profile.as_deref())?;
        refuse_negative(&written)?;
        let sandbox = Sandbox::build(written.sandbox.as_deref())?;
        let cidrs = address::cidrs(&written.cidrs_allowed)?;
        let syslog = written.enable_syslog.then(|| facility(&written)).transpose()?;
        refuse_two_sources(&written, &reloadable)?;

        let mut node = profile.config(name);
        node.protocol = node::protocol(written.protocol)?;
        node.cidrs_allowed = cidrs;
        node.tags = reloadable.tags.clone();
        node.keyring = key.map(|key| node::keyring(&key)).transpose()?.unwrap_or_default();
        node::apply(&written, &mut node);
        Ok(Self {
            node,
            profile,
            bind,
            advertise,
            tags_file: written.tags_file.map(PathBuf::from),
            keyring_file: written.keyring_file.map(PathBuf::from),
            snapshot_path: written.snapshot_path.map(PathBuf::from),
            rpc_addr: RpcAddr::new(written.rpc_addr),
            http_addr: RpcAddr::http(written.http_addr),
            metrics_label: written.metrics_label,
            rpc_auth,
            rpc_tokens_file: written.rpc_tokens_file.map(PathBuf::from),
            rpc_tls: TlsFiles::new(
                "rpc_tls",
                [written.rpc_tls_cert, written.rpc_tls_key, written.rpc_tls_client_ca],
            ),
            http_tls: TlsFiles::new(
                "http_tls",
                [written.http_tls_cert, written.http_tls_key, written.http_tls_client_ca],
            ),
            audit: written.audit,
            sandbox,
            sandbox_paths: written.sandbox_paths.into_iter().map(PathBuf::from).collect(),
            log_level,
            log_json: written.log_json,
            syslog,
            statsite_addr: written.statsite_addr,
            statsd_addr: written.statsd_addr,
            handler_timeout: written.handler_timeout.map(GoDuration::to_std),
            handler_concurrency: handlers(written.handler_concurrency),
            rejoin_interval: written.rejoin_interval.map_or(REJOIN_INTERVAL, GoDuration::to_std),
            beacon_interval: beacon_interval(written.beacon_interval),
            start_join: written.start_join,
            replay: written.replay_on_join,
            mdns,
            reloadable,
        })
    }
}

/// The level of log lines.
///
/// # Errors
/// The level does not exist.
pub(in crate::agent) fn level(written: &FileConfig) -> Result<Level, AgentError> {
    let name = written.log_level.as_deref().unwrap_or("INFO").to_uppercase();
    Level::from_name(&name).ok_or(AgentError::LogLevel(name))
}

fn facility(written: &FileConfig) -> Result<Facility, AgentError> {
    let name = written.syslog_facility.as_deref().unwrap_or("LOCAL0");
    Facility::from_name(name)
        .map_err(|error| AgentError::Invalid(format!("Syslog setup failed: {error}")))
}

fn handlers(written: Option<i64>) -> usize {
    let written = usize::try_from(written.unwrap_or(1)).unwrap_or(1);
    written.clamp(1, HANDLERS_MAX)
}

fn beacon_interval(written: Option<GoDuration>) -> Option<Duration> {
    let interval = written.map(GoDuration::to_std).filter(|interval| !interval.is_zero());
    interval.map(|interval| interval.max(BEACON_INTERVAL_MIN))
}

/// Refuses negative values of settings that Go does not have. Go's own settings keep Go's
/// behaviour.
fn refuse_negative(written: &FileConfig) -> Result<(), AgentError> {
    for key in KEYS.iter().filter(|key| key.origin == Origin::Ours) {
        let value = written.value(key.name);
        let Some(number @ ..0) = value.and_then(|value| value.as_i64()) else { continue };
        let is_time = key.shape == Shape::Duration;
        let shown = if is_time { GoDuration(number).to_string() } else { number.to_string() };
        return Err(AgentError::Invalid(format!("Invalid {}: {shown} is negative", key.name)));
    }
    Ok(())
}

/// Refuses tags and keys that are both in the configuration and in a file.
fn refuse_two_sources(written: &FileConfig, reloadable: &Reloadable) -> Result<(), AgentError> {
    let refuse = |text: &str| Err(AgentError::Setup(text.to_owned()));
    if written.tags_file.is_some() && !reloadable.tags.is_empty() {
        return refuse("Tags config not allowed while using tag files");
    }
    if written.keyring_file.is_some() && written.encrypt_key.is_some() {
        return refuse("Encryption key not allowed while using a keyring");
    }
    Ok(())
}

/// Most handlers that may run at the same time.
const HANDLERS_MAX: usize = 256;
/// Below it beacons would measure the machine rather than gossip.
const BEACON_INTERVAL_MIN: Duration = Duration::from_secs(1);
/// Time between look-ups of seeds that can change.
const REJOIN_INTERVAL: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn build(json: &str) -> Result<(Settings, Notices), String> {
        let mut config = FileConfig { node_name: Some("n".to_owned()), ..FileConfig::default() };
        config.merge(FileConfig::decode(json.as_bytes()).unwrap());
        let mut notices = Notices::default();
        let settings = Settings::build(config, &mut notices);
        Ok((settings.map_err(|error| error.to_string())?, notices))
    }

    /// Goal: no key is read and then ignored. Method: each of them changes what is built.
    #[test]
    fn every_key_changes_what_is_built() {
        for key in KEYS {
            let value = match key.shape {
                Shape::Text | Shape::Secret => json!("x"),
                Shape::Flag | Shape::Switch | Shape::Ignored => json!(true),
                Shape::Int | Shape::Version => json!(7),
                Shape::Duration => json!("77s"),
                Shape::List => json!(["x"]),
                Shape::Map => json!({"a": "b"}),
            };
            let (context, value) = match key.name {
                "bind" | "advertise" => (json!({}), json!("127.0.0.2")),
                "encrypt_key" => (json!({}), json!("wsGlMv8mfgjD1f+CVVMHZA==")),
                "log_level" => (json!({}), json!("warn")),
                "sandbox" => (json!({}), json!("try")),
                "protocol" => (json!({}), json!(3)),
                "profile" => (json!({}), json!("wan")),
                "interface" => (json!({}), json!("lo")),
                "cidrs_allowed" => (json!({}), json!(["10.0.0.0/8"])),
                "enable_compression" => (json!({}), json!(false)),
                "syslog_facility" => (json!({"enable_syslog": true}), json!("MAIL")),
                "mdns.interface" => (json!({"discover": "x"}), json!("lo")),
                "mdns.disable_ipv4" | "mdns.disable_ipv6" => (json!({"discover": "x"}), value),
                _ => (json!({}), value),
            };
            let mut file = context.clone();
            match key.name.split_once('.') {
                Some((object, name)) => file[object] = json!({name: value}),
                None => file[key.name] = value,
            }
            let [plain, changed] = [context, file]
                .map(|file| format!("{:?}", build(&file.to_string()).expect(key.name).0));
            assert_eq!(changed != plain, key.shape != Shape::Ignored, "{}", key.name);
        }
    }

    // parity: agent-net: mdns-iface, disable-ipv4/6 (HEAD)
    #[test]
    fn mistakes_have_the_texts_of_go() {
        for (json, message) in [
            (
                r#"{"event_handlers":["foo=bar.sh"]}"#,
                "Invalid event script: Event 'foo' invoking 'bar.sh'",
            ),
            (
                r#"{"interface":"nope0"}"#,
                "Invalid network interface: route ip+net: no such network interface",
            ),
            (
                r#"{"mdns":{"interface":"lo"}}"#,
                "mDNS interface specified without enabling mDNS discovery",
            ),
            (
                r#"{"log_level":"bogus"}"#,
                "Invalid log level: BOGUS. Valid log levels are: [TRACE DEBUG INFO WARN ERR]",
            ),
            (r#"{"bind":"::1"}"#, "Invalid bind address: address ::1: too many colons in address"),
            (
                r#"{"interface":"lo","bind":"127.0.0.20"}"#,
                "Interface 'lo' has no '127.0.0.20' address",
            ),
            (r#"{"interface":"lo","bind":":7946"}"#, "Interface 'lo' has no '<nil>' address"),
            (r#"{"interface":"lo","bind":"[::]"}"#, "Interface 'lo' has no '::' address"),
            (
                r#"{"bind":"127.0.0.1:no-such"}"#,
                "Invalid bind address: lookup tcp/no-such: unknown port",
            ),
            (r#"{"bind":"127.0.0.1:70000"}"#, "Invalid bind address: address 70000: invalid port"),
            (r#"{"bind":"0177.0.0.1"}"#, "Invalid bind address: lookup 0177.0.0.1: no such host"),
            (
                r#"{"advertise":"1:2:3"}"#,
                "Invalid advertise address: address 1:2:3: too many colons in address",
            ),
            (
                r#"{"encrypt_key":"!"}"#,
                "Invalid encryption key: illegal base64 data at input byte 0",
            ),
            (
                r#"{"discover":"x","mdns":{"interface":"nope0"}}"#,
                "Invalid mDNS network interface: route ip+net: no such network interface",
            ),
            (
                r#"{"discover":"x",
                    "mdns":{"interface":"lo","disable_ipv4":true,"disable_ipv6":true}}"#,
                "Invalid mDNS configuration: both IPv4 and IPv6 are disabled",
            ),
            (r#"{"sandbox":"on"}"#, "Invalid sandbox: 'on' is none of off, try and require"),
            (r#"{"profile":"foo"}"#, "Unknown profile: foo"),
            (r#"{"cidrs_allowed":["10.0.0.0/33"]}"#, "invalid CIDR address: 10.0.0.0/33"),
        ] {
            assert_eq!(build(json).unwrap_err(), message);
        }
    }

    #[test]
    fn handlers_at_the_same_time_are_bounded() {
        let handlers = |json: &str| build(json).unwrap().0.handler_concurrency;
        assert_eq!(handlers("{}"), 1);
        assert_eq!(handlers(r#"{"handler_concurrency":8}"#), 8);
        assert_eq!(handlers(r#"{"handler_concurrency":1e9}"#), HANDLERS_MAX);
    }

    #[test]
    fn beacons_are_off_unless_set_and_a_second_apart_at_least() {
        let interval = |json: &str| build(json).unwrap().0.beacon_interval;
        assert_eq!(interval("{}"), None);
        assert_eq!(interval(r#"{"beacon_interval":"0s"}"#), None);
        assert_eq!(interval(r#"{"beacon_interval":"1ms"}"#), Some(Duration::from_secs(1)));
        assert_eq!(interval(r#"{"beacon_interval":"10s"}"#), Some(Duration::from_secs(10)));
    }

    #[test]
    fn settings_of_our_own_are_not_negative() {
        let ours = KEYS.iter().filter(|key| key.origin == Origin::Ours);
        let numbers = ours.filter(|key| matches!(key.shape, Shape::Int | Shape::Duration));
        let mut refused = 0;
        for key in numbers {
            let (name, is_time) = (key.name, key.shape == Shape::Duration);
            let (written, shown) = if is_time { ("\"-1500ms\"", "-1.5s") } else { ("-1", "-1") };
            let error = build(&format!(r#"{{"{name}":{written}}}"#)).unwrap_err();
            assert_eq!(error, format!("Invalid {name}: {shown} is negative"));
            refused += 1;
        }
        assert!(refused >= 13, "{refused} refused");
        // Go's agent starts with these values.
        for key in ["reconnect_interval", "retry_interval", "broadcast_timeout"] {
            build(&format!(r#"{{"{key}":"-1s"}}"#)).unwrap();
        }
        build(r#"{"retry_max_attempts":-1,"query_size_limit":-1,"user_event_size_limit":-1}"#)
            .unwrap();
    }

    // parity: agent-config: Minimum intervals
    #[test]
    fn low_intervals_roles_and_rejoin_are_warned_about() {
        let (settings, notices) = build(
            r#"{"retry_interval":"5ms","broadcast_timeout":"1ns","role":"web",
                "tags":{"role":"db"},"rejoin_after_leave":true}"#,
        )
        .unwrap();
        assert_eq!(settings.reloadable.retry.interval, Duration::from_secs(1));
        assert_eq!(settings.node.tags["role"], "web");
        assert_eq!(settings.node.timing.broadcast_timeout, Duration::from_secs(1));
        assert_eq!(
            notices.warnings,
            [
                "Deprecation warning: 'Role' has been replaced with 'Tags'",
                "Warning: 'RetryInterval' is too low. Setting to 1s",
                "Warning: 'BroadcastTimeout' is too low. Setting to 1s",
                "Warning: 'RejoinAfterLeave' enabled without snapshot file",
            ]
        );
    }

    // parity: agent-net: interface selection
    #[test]
    fn addresses_take_the_default_port_and_interfaces_give_theirs() {
        let bind = |json: &str| build(json).unwrap().0.bind.addr.to_string();
        assert_eq!(bind("{}"), "0.0.0.0:7946");
        assert_eq!(bind(r#"{"bind":"127.0.0.2"}"#), "127.0.0.2:7946");
        assert_eq!(bind(r#"{"bind":"[::1]"}"#), "[::1]:7946");
        assert_eq!(bind(r#"{"bind":"[::1]:99"}"#), "[::1]:99");
        assert_eq!(bind(r#"{"bind":"[::ffff:127.0.0.1]"}"#), "127.0.0.1:7946");
        assert_eq!(bind(r#"{"bind":"127.0.0.1:"}"#), "127.0.0.1:0");
        assert_eq!(bind(r#"{"bind":"127.0.0.1:https"}"#), "127.0.0.1:443");
        assert_eq!(bind(r#"{"bind":":99"}"#), "[::]:99");
        assert_eq!(build(r#"{"bind":":99"}"#).unwrap().0.bind.shown, ":99");
        assert_eq!(bind(r#"{"interface":"lo"}"#), "127.0.0.1:7946");
    }

    #[test]
    fn protocol_versions_have_a_range() {
        let version = |number| {
            let built = build(&format!(r#"{{"protocol":{number}}}"#));
            built.map(|(settings, _)| settings.node.protocol)
        };
        assert_eq!(version(0), Ok(5));
        assert_eq!(version(3), Ok(3));
        assert!(version(1).unwrap_err().contains("'1' too low. Must be in range: [2, 5]"));
        assert!(version(9).unwrap_err().contains("'9' too high. Must be in range: [2, 5]"));
    }
}
