//! Configuration that was judged: no state in here is illegal.

use std::{
    collections::BTreeMap,
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use zeroize::Zeroizing;

use super::{AgentError, EventScript, FileConfig, KEYS, Shape, log::Level, secrets};
use crate::{
    base::{
        Secret, go_base64,
        go_duration::GoDuration,
        go_net::{self, AddressFault},
    },
    driver::Config,
    swim::Cidr,
    transport::{self, Network, Prefer},
};

/// Timing presets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Profile {
    /// One site.
    #[default]
    Lan,
    /// Several sites.
    Wan,
    /// One machine.
    Local,
}

impl Profile {
    /// As written in configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::Lan => "lan",
            Self::Wan => "wan",
            Self::Local => "local",
        }
    }
}

/// How agents on one network find each other.
#[derive(Clone, Debug)]
pub struct Mdns {
    /// Name that they have in common.
    pub cluster: String,
    /// Where it is asked and answered; the system's choice unless set.
    pub interface: Option<MdnsInterface>,
    /// Do not ask by IPv4.
    pub disable_ipv4: bool,
    /// Do not ask by IPv6.
    pub disable_ipv6: bool,
    /// Deliver events from before a join.
    pub replay: bool,
}

/// A network interface for multicasts.
#[derive(Clone, Copy, Debug)]
pub struct MdnsInterface {
    /// Its number.
    pub index: u32,
    /// Its first address of that family.
    pub ipv4: Option<Ipv4Addr>,
}

/// Everything the agent runs by.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What was written, for the node's own settings.
    pub written: FileConfig,
    /// Name; the host's unless set.
    pub node_name: String,
    /// Tags, the role among them.
    pub tags: BTreeMap<String, String>,
    /// Bound gossip address.
    pub bind: SocketAddr,
    /// The same as Go shows it.
    pub bind_shown: String,
    /// Where it was taken from an interface.
    pub bind_from_interface: Option<String>,
    /// Announced address.
    pub advertise: Option<SocketAddr>,
    /// Gossip key.
    pub encrypt_key: Option<Key>,
    /// Keyring file.
    pub keyring_file: Option<PathBuf>,
    /// Tags file.
    pub tags_file: Option<PathBuf>,
    /// `syslog_facility` where `enable_syslog` is set.
    pub syslog: Option<String>,
    /// `statsite_addr`: host and port of a statsite server.
    pub statsite_addr: Option<String>,
    /// `statsd_addr`: host and port of a statsd server.
    pub statsd_addr: Option<String>,
    /// Snapshot file.
    pub snapshot_path: Option<PathBuf>,
    /// `host:port`, `unix:PATH` or `off`.
    pub rpc_addr: String,
    /// Token; empty: none.
    pub rpc_auth: Secret,
    /// Least level on the console.
    pub log_level: Level,
    /// One JSON object a line.
    pub log_json: bool,
    /// Timing preset.
    pub profile: Profile,
    /// Handlers, in order.
    pub scripts: Vec<EventScript>,
    /// Longest run of a handler; `None`: no bound.
    pub handler_timeout: Option<Duration>,
    /// Handlers that may run at a time for different events; 1 keeps Go's order.
    pub handler_concurrency: usize,
    /// Addresses of which one must answer at the start.
    pub start_join: Vec<String>,
    /// Addresses tried until one answers.
    pub retry_join: Vec<String>,
    /// Time between those attempts.
    pub retry_interval: Duration,
    /// Retries before giving up; 0: never.
    pub retry_max: u64,
    /// Deliver events from before a join.
    pub replay: bool,
    /// SIGTERM leaves first.
    pub leave_on_terminate: bool,
    /// SIGINT does not leave.
    pub skip_leave_on_interrupt: bool,
    /// Compress gossip.
    pub compression: bool,
    /// Find other agents by multicast DNS.
    pub mdns: Option<Mdns>,
}

impl Settings {
    /// Judges a configuration; gives it with warnings to print.
    ///
    /// # Errors
    /// The first setting that cannot work, in Go's order.
    pub fn build(written: FileConfig) -> Result<(Self, Vec<String>), AgentError> {
        let mut warnings = Vec::new();
        let text = |name: &str| written.text(name).map(str::to_owned);
        let node_name = match text("node_name") {
            Some(name) => name,
            None => host_name()?,
        };
        let scripts = judge_scripts(&written)?;
        let interface = written.text("interface").map(Interface::find).transpose()?;
        let mdns = judge_mdns(&written)?;
        let tags = tags(&written, &mut warnings);
        let retry_interval = at_least_a_second(&written, "retry_interval", 30, &mut warnings);
        at_least_a_second(&written, "broadcast_timeout", 5, &mut warnings);
        let snapshot_path = text("snapshot_path").map(PathBuf::from);
        if written.bool("rejoin_after_leave") == Some(true) && snapshot_path.is_none() {
            warnings.push("Warning: 'RejoinAfterLeave' enabled without snapshot file".to_owned());
        }
        let log_level = judge_level(&written)?;
        let bind = judge_bind(&written, interface)?;
        let advertise = judge_advertise(&written)?;
        let encrypt_key = written.text("encrypt_key").map(encryption_key).transpose()?;
        let rpc_auth = secrets::resolve("rpc_auth", written.text("rpc_auth").unwrap_or_default())?;
        let profile = judge_profile(&written)?;
        refuse_negative(&written)?;
        let positive = |name: &str| {
            written.number(name).and_then(|number| u64::try_from(number).ok()).unwrap_or(0)
        };
        let settings = Self {
            node_name,
            tags,
            bind: bind.addr,
            bind_shown: bind.shown,
            bind_from_interface: bind.from_interface,
            advertise,
            encrypt_key,
            keyring_file: text("keyring_file").map(PathBuf::from),
            tags_file: text("tags_file").map(PathBuf::from),
            syslog: (written.bool("enable_syslog") == Some(true))
                .then(|| text("syslog_facility").unwrap_or_else(|| "LOCAL0".to_owned())),
            statsite_addr: text("statsite_addr"),
            statsd_addr: text("statsd_addr"),
            snapshot_path,
            rpc_addr: text("rpc_addr").unwrap_or_else(|| "127.0.0.1:7373".to_owned()),
            rpc_auth,
            log_level,
            log_json: written.bool("log_json").unwrap_or(false),
            profile,
            scripts,
            handler_timeout: Some(positive("handler_timeout"))
                .filter(|ns| *ns > 0)
                .map(Duration::from_nanos),
            handler_concurrency: positive("handler_concurrency").clamp(1, 256) as usize,
            start_join: written.list("start_join").to_vec(),
            retry_join: written.list("retry_join").to_vec(),
            retry_interval,
            retry_max: positive("retry_max_attempts"),
            replay: written.bool("replay_on_join").unwrap_or(false),
            leave_on_terminate: written.bool("leave_on_terminate").unwrap_or(false),
            skip_leave_on_interrupt: written.bool("skip_leave_on_interrupt").unwrap_or(false),
            compression: written.bool("enable_compression").unwrap_or(true),
            mdns,
            written,
        };
        settings.cidrs()?;
        Ok((settings, warnings))
    }

    /// The node's settings over its profile; tags and keys are the caller's business.
    ///
    /// # Errors
    /// The protocol version is out of range.
    pub fn config(&self) -> Result<Config, AgentError> {
        let mut config = match self.profile {
            Profile::Lan => Config::lan(&self.node_name),
            Profile::Wan => Config::wan(&self.node_name),
            Profile::Local => Config::local(&self.node_name),
        };
        let written = &self.written;
        let duration = |name: &str, target: &mut Duration| {
            if let Some(ns) = written.number(name) {
                *target = Duration::from_nanos(u64::try_from(ns).unwrap_or(0));
            }
        };
        config.compression = self.compression.into();
        config.label = written.text("label").unwrap_or_default().to_owned();
        config.cidrs_allowed = self.cidrs()?;
        config.protocol = self.protocol()?;
        config.rejoin_after_leave = written.bool("rejoin_after_leave").unwrap_or(false);
        config.resolve_name_conflicts = !written.bool("disable_name_resolution").unwrap_or(false);
        config.coordinates = !written.bool("disable_coordinates").unwrap_or(false);
        config.validate_node_names = written.bool("validate_node_names").unwrap_or(false);

        let timing = &mut config.timing;
        duration("dead_node_reclaim_time", &mut timing.dead_node_reclaim_time);
        duration("gossip_interval", &mut timing.gossip_interval);
        duration("gossip_to_the_dead_time", &mut timing.gossip_to_the_dead_time);
        duration("probe_interval", &mut timing.probe_interval);
        duration("probe_timeout", &mut timing.probe_timeout);
        duration("push_pull_interval", &mut timing.push_pull_interval);
        duration("tcp_timeout", &mut timing.tcp_timeout);
        let count = |name: &str| {
            written.number(name).map(|number| u32::try_from(number).unwrap_or(u32::MAX))
        };
        let as_usize = |number: u32| usize::try_from(number).unwrap_or(usize::MAX);
        timing.gossip_nodes = count("gossip_nodes").map_or(timing.gossip_nodes, as_usize);
        timing.indirect_checks = count("indirect_checks").map_or(timing.indirect_checks, as_usize);
        timing.retransmit_mult = count("retransmit_mult").unwrap_or(timing.retransmit_mult);
        timing.suspicion_mult = count("suspicion_mult").unwrap_or(timing.suspicion_mult);
        // Go's agent sets these whatever the profile.
        timing.coalesce_period = Duration::from_secs(3);
        timing.quiescent_period = Duration::from_secs(1);
        timing.user_coalesce_period = Duration::from_secs(3);
        timing.user_quiescent_period = Duration::from_secs(1);
        duration("reconnect_interval", &mut timing.reconnect_interval);
        duration("reconnect_timeout", &mut timing.reconnect_timeout);
        duration("tombstone_timeout", &mut timing.tombstone_timeout);
        duration("broadcast_timeout", &mut timing.broadcast_timeout);
        timing.broadcast_timeout = timing.broadcast_timeout.max(Duration::from_secs(1));

        let size = |name: &str, target: &mut usize| {
            if let Some(number) = written.number(name) {
                *target = usize::try_from(number).unwrap_or(0);
            }
        };
        let limits = &mut config.limits;
        size("query_response_size_limit", &mut limits.query_response_size);
        size("query_size_limit", &mut limits.query_size);
        size("user_event_size_limit", &mut limits.user_event_size);
        Ok(config)
    }

    /// Serf's protocol version.
    ///
    /// # Errors
    /// It is out of range.
    pub(super) fn protocol(&self) -> Result<u8, AgentError> {
        let fail = |what: &str, number: i64| {
            Err(AgentError::Invalid(format!(
                "Failed to start the Serf agent: Error creating Serf: Protocol version \
                 '{number}' too {what}. Must be in range: [2, 5]"
            )))
        };
        match self.written.number("protocol") {
            None => Ok(5),
            Some(number @ ..2) => fail("low", number),
            Some(number @ 6..) => fail("high", number),
            Some(number) => Ok(number as u8),
        }
    }

    fn cidrs(&self) -> Result<Vec<Cidr>, AgentError> {
        let parse = |text: &String| {
            let (addr, prefix) = text.split_once('/')?;
            let addr: IpAddr = addr.parse().ok()?;
            let prefix: u8 = prefix.parse().ok()?;
            let longest = if addr.is_ipv4() { 32 } else { 128 };
            (prefix <= longest).then_some(Cidr { addr, prefix })
        };
        let list = self.written.list("cidrs_allowed").iter();
        list.map(|text| {
            parse(text).ok_or_else(|| AgentError::Invalid(format!("invalid CIDR address: {text}")))
        })
        .collect()
    }
}

/// A gossip key: wiped when it is dropped, and shown by no `Debug`.
#[derive(Clone)]
pub struct Key(pub Zeroizing<Vec<u8>>);

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key")
    }
}

fn encryption_key(written: &str) -> Result<Key, AgentError> {
    let text = secrets::resolve("encryption key", written)?;
    let key = go_base64::decode(text.expose())
        .map_err(|error| AgentError::Invalid(format!("Invalid encryption key: {error}")))?;
    Ok(Key(key.into()))
}

/// The role is a tag.
fn tags(written: &FileConfig, warnings: &mut Vec<String>) -> BTreeMap<String, String> {
    let mut tags = written.tags.clone();
    if let Some(role) = written.text("role") {
        warnings.push("Deprecation warning: 'Role' has been replaced with 'Tags'".to_owned());
        tags.insert("role".to_owned(), role.to_owned());
    }
    tags
}

fn judge_scripts(written: &FileConfig) -> Result<Vec<EventScript>, AgentError> {
    let specs = written.list("event_handlers").iter();
    let scripts: Vec<_> = specs.flat_map(|spec| EventScript::parse(spec)).collect();
    match scripts.iter().find(|script| !script.filter.is_valid()) {
        Some(script) => Err(AgentError::Invalid(format!("Invalid event script: {script}"))),
        None => Ok(scripts),
    }
}

fn judge_level(written: &FileConfig) -> Result<Level, AgentError> {
    let name = written.text("log_level").unwrap_or("INFO").to_uppercase();
    Level::from_name(&name).ok_or(AgentError::LogLevel(name))
}

fn judge_profile(written: &FileConfig) -> Result<Profile, AgentError> {
    match written.text("profile").unwrap_or("lan") {
        "lan" => Ok(Profile::Lan),
        "wan" => Ok(Profile::Wan),
        "local" => Ok(Profile::Local),
        other => Err(AgentError::Invalid(format!("Unknown profile: {other}"))),
    }
}

/// The address to bind.
struct Bind {
    addr: SocketAddr,
    shown: String,
    /// The name of the interface that it was taken from.
    from_interface: Option<String>,
}

fn judge_bind(written: &FileConfig, interface: Option<Interface>) -> Result<Bind, AgentError> {
    let found = gossip_addr(written.text("bind").unwrap_or("0.0.0.0"))
        .map_err(|error| AgentError::Invalid(format!("Invalid bind address: {error}")))?;
    if let Some(interface) = interface {
        return interface.bind(&found);
    }
    let (addr, shown) = match found {
        GossipAddr::Any { port } => {
            (SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), port), format!(":{port}"))
        }
        GossipAddr::One(addr) => (addr, addr.to_string()),
    };
    Ok(Bind { addr, shown, from_interface: None })
}

fn judge_advertise(written: &FileConfig) -> Result<Option<SocketAddr>, AgentError> {
    let Some(text) = written.text("advertise") else { return Ok(None) };
    match gossip_addr(text) {
        Ok(GossipAddr::One(addr)) => Ok(Some(addr)),
        // Go finds that out when it starts the node.
        Ok(GossipAddr::Any { .. }) => Err(AgentError::Invalid(
            "Failed to start the Serf agent: Error creating Serf: Failed to create memberlist: \
             Failed to get final advertise address: failed to parse advertise address \"<nil>\""
                .to_owned(),
        )),
        Err(error) => Err(AgentError::Invalid(format!("Invalid advertise address: {error}"))),
    }
}

/// Numbers and times that only we have; a negative one would be taken for none, or for the largest.
/// Those of Go do what they do there.
fn refuse_negative(written: &FileConfig) -> Result<(), AgentError> {
    for key in KEYS.iter().filter(|key| OWN_NUMBERS.contains(&key.name)) {
        let Some(number @ ..0) = written.number(key.name) else { continue };
        let is_time = key.shape == Shape::Duration;
        let shown = if is_time { GoDuration(number).to_string() } else { number.to_string() };
        return Err(AgentError::Invalid(format!("Invalid {}: {shown} is negative", key.name)));
    }
    Ok(())
}

const OWN_NUMBERS: [&str; 13] = [
    "dead_node_reclaim_time",
    "gossip_interval",
    "gossip_nodes",
    "gossip_to_the_dead_time",
    "probe_interval",
    "probe_timeout",
    "push_pull_interval",
    "tcp_timeout",
    "indirect_checks",
    "retransmit_mult",
    "suspicion_mult",
    "handler_timeout",
    "handler_concurrency",
];

/// An address for gossip.
enum GossipAddr {
    /// No host was written.
    Any {
        port: u16,
    },
    One(SocketAddr),
}

/// Go's rule for gossip addresses: port 7946 unless given, names are resolved. Go: `AddrParts`.
fn gossip_addr(text: &str) -> Result<GossipAddr, String> {
    let missing =
        go_net::split_host_port(text).is_err_and(|error| error.fault == AddressFault::MissingPort);
    let text = if missing { format!("{text}:7946") } else { text.to_owned() };
    let found = transport::resolve(Network::Tcp, &text)?;
    Ok(match found.one(Prefer::Written) {
        // A zone is lost, as it is in Go.
        Some(addr) => GossipAddr::One(SocketAddr::new(addr.ip(), addr.port())),
        None => GossipAddr::Any { port: found.port },
    })
}

struct Interface {
    name: String,
    addrs: Vec<IpAddr>,
}

impl Interface {
    fn find(name: &str) -> Result<Self, AgentError> {
        let all = if_addrs::get_if_addrs().unwrap_or_default();
        let addrs: Vec<_> =
            all.iter().filter(|found| found.name == name).map(if_addrs::Interface::ip).collect();
        if addrs.is_empty() && !std::path::Path::new("/sys/class/net").join(name).exists() {
            return Err(AgentError::Invalid(
                "Invalid network interface: route ip+net: no such network interface".to_owned(),
            ));
        }
        Ok(Self { name: name.to_owned(), addrs })
    }

    /// `None`: it has neither an address nor a number.
    fn for_mdns(name: &str) -> Option<MdnsInterface> {
        let all = if_addrs::get_if_addrs().unwrap_or_default();
        let mut addrs = all.iter().filter(|found| found.name == name);
        let index = addrs.clone().find_map(|found| found.index).or_else(|| {
            let path = std::path::Path::new("/sys/class/net").join(name).join("ifindex");
            std::fs::read_to_string(path).ok()?.trim().parse().ok()
        })?;
        let ipv4 = addrs.find_map(|found| match found.ip() {
            IpAddr::V4(ip) => Some(ip),
            IpAddr::V6(_) => None,
        });
        Some(MdnsInterface { index, ipv4 })
    }

    /// The address to bind: `0.0.0.0` stands for the first usable one, others must be one of it.
    fn bind(self, bind: &GossipAddr) -> Result<Bind, AgentError> {
        let invalid = |text: String| Err(AgentError::Invalid(text));
        let name = self.name;
        if self.addrs.is_empty() {
            return invalid(format!("Interface '{name}' has no addresses"));
        }
        let bind = match *bind {
            GossipAddr::Any { .. } => {
                return invalid(format!("Interface '{name}' has no '<nil>' address"));
            }
            GossipAddr::One(bind) => bind,
        };
        if bind.ip() != IpAddr::V4(Ipv4Addr::UNSPECIFIED) {
            return if self.addrs.contains(&bind.ip()) {
                Ok(Bind { addr: bind, shown: bind.to_string(), from_interface: None })
            } else {
                invalid(format!("Interface '{name}' has no '{}' address", bind.ip()))
            };
        }
        let link_local = |ip: &IpAddr| match ip {
            IpAddr::V4(ip) => ip.is_link_local(),
            IpAddr::V6(ip) => ip.is_unicast_link_local(),
        };
        match self.addrs.iter().find(|ip| !link_local(ip)) {
            Some(ip) => {
                let addr = SocketAddr::new(*ip, bind.port());
                Ok(Bind { addr, shown: addr.to_string(), from_interface: Some(name) })
            }
            None => invalid(format!("Failed to find usable address for interface '{name}'")),
        }
    }
}

fn judge_mdns(written: &FileConfig) -> Result<Option<Mdns>, AgentError> {
    let invalid = |text: &str| Err(AgentError::Invalid(text.to_owned()));
    let cluster = written.text("discover");
    let off = |name| written.bool(name) == Some(true);
    let (disable_ipv4, disable_ipv6) = (off("mdns.disable_ipv4"), off("mdns.disable_ipv6"));
    if let Some(interface) = written.text("mdns.interface") {
        if cluster.is_none() {
            return invalid("mDNS interface specified without enabling mDNS discovery");
        }
        if Interface::find(interface).is_err() {
            let text = "Invalid mDNS network interface: route ip+net: no such network interface";
            return invalid(text);
        }
        if disable_ipv4 && disable_ipv6 {
            return invalid("Invalid mDNS configuration: both IPv4 and IPv6 are disabled");
        }
    }
    let Some(cluster) = cluster.map(str::to_owned) else { return Ok(None) };
    let interface = written.text("mdns.interface").or(written.text("interface"));
    let interface = interface.and_then(Interface::for_mdns);
    let replay = written.bool("replay_on_join") == Some(true);
    Ok(Some(Mdns { cluster, interface, disable_ipv4, disable_ipv6, replay }))
}

fn at_least_a_second(
    written: &FileConfig,
    name: &str,
    default_secs: u64,
    warnings: &mut Vec<String>,
) -> Duration {
    let second = Duration::from_secs(1);
    let Some(ns) = written.number(name) else { return Duration::from_secs(default_secs) };
    let value = Duration::from_nanos(u64::try_from(ns).unwrap_or(0));
    if value >= second {
        return value;
    }
    let field = if name == "retry_interval" { "RetryInterval" } else { "BroadcastTimeout" };
    warnings.push(format!("Warning: '{field}' is too low. Setting to 1s"));
    second
}

/// The name of this machine.
pub(super) fn host_name() -> Result<String, AgentError> {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname")
        .or_else(|_| std::fs::read_to_string("/etc/hostname"))
        .or_else(|error| std::env::var("HOSTNAME").map_err(|_| error));
    let name = name.map_err(|error| {
        AgentError::Invalid(format!("Error determining hostname: {}", go_net::error_text(&error)))
    })?;
    Ok(name.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn build(json: &str) -> Result<(Settings, Vec<String>), String> {
        let mut config = FileConfig::default();
        config.set_text("node_name", "n");
        config.merge(FileConfig::decode(json.as_bytes()).unwrap());
        Settings::build(config).map_err(|error| error.to_string())
    }

    // parity: agent-net: mdns-iface, disable-ipv4/6 (HEAD)
    #[test]
    fn mistakes_are_told_in_the_words_of_go() {
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
            (r#"{"profile":"foo"}"#, "Unknown profile: foo"),
            (r#"{"cidrs_allowed":["10.0.0.0/33"]}"#, "invalid CIDR address: 10.0.0.0/33"),
        ] {
            assert_eq!(build(json).unwrap_err(), message);
        }
    }

    #[test]
    fn settings_of_our_own_are_not_negative() {
        let ours = KEYS.iter().skip_while(|key| key.name != "label");
        let numbers = ours.filter(|key| matches!(key.shape, Shape::Int | Shape::Duration));
        let mut refused = 0;
        for key in numbers {
            let (name, is_time) = (key.name, key.shape == Shape::Duration);
            let (written, shown) = if is_time { ("\"-1500ms\"", "-1.5s") } else { ("-1", "-1") };
            let error = build(&format!(r#"{{"{name}":{written}}}"#)).unwrap_err();
            assert_eq!(error, format!("Invalid {name}: {shown} is negative"));
            refused += 1;
        }
        assert_eq!(refused, OWN_NUMBERS.len());
        // Go's agent starts with these.
        for key in ["reconnect_interval", "retry_interval", "broadcast_timeout"] {
            build(&format!(r#"{{"{key}":"-1s"}}"#)).unwrap();
        }
        build(r#"{"retry_max_attempts":-1,"query_size_limit":-1,"user_event_size_limit":-1}"#)
            .unwrap();
    }

    // parity: agent-config: Minimum intervals
    #[test]
    fn low_intervals_roles_and_rejoin_are_warned_about() {
        let (settings, warnings) = build(
            r#"{"retry_interval":"5ms","broadcast_timeout":"1ns","role":"web",
                "tags":{"role":"db"},"rejoin_after_leave":true}"#,
        )
        .unwrap();
        assert_eq!(settings.retry_interval, Duration::from_secs(1));
        assert_eq!(settings.tags["role"], "web");
        let config = settings.config().unwrap();
        assert_eq!(config.timing.broadcast_timeout, Duration::from_secs(1));
        assert_eq!(
            warnings,
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
        let bind = |json: &str| build(json).unwrap().0.bind.to_string();
        assert_eq!(bind("{}"), "0.0.0.0:7946");
        assert_eq!(bind(r#"{"bind":"127.0.0.2"}"#), "127.0.0.2:7946");
        assert_eq!(bind(r#"{"bind":"[::1]"}"#), "[::1]:7946");
        assert_eq!(bind(r#"{"bind":"[::1]:99"}"#), "[::1]:99");
        assert_eq!(bind(r#"{"bind":"[::ffff:127.0.0.1]"}"#), "127.0.0.1:7946");
        assert_eq!(bind(r#"{"bind":"127.0.0.1:"}"#), "127.0.0.1:0");
        assert_eq!(bind(r#"{"bind":"127.0.0.1:https"}"#), "127.0.0.1:443");
        assert_eq!(bind(r#"{"bind":":99"}"#), "[::]:99");
        assert_eq!(build(r#"{"bind":":99"}"#).unwrap().0.bind_shown, ":99");
        assert_eq!(bind(r#"{"interface":"lo"}"#), "127.0.0.1:7946");
    }

    #[test]
    fn protocol_versions_have_a_range() {
        let version = |number| {
            let (settings, _) = build(&format!(r#"{{"protocol":{number}}}"#)).unwrap();
            settings.config().map(|config| config.protocol).map_err(|e| e.to_string())
        };
        assert_eq!(version(0), Ok(5));
        assert_eq!(version(3), Ok(3));
        assert!(version(1).unwrap_err().contains("'1' too low. Must be in range: [2, 5]"));
        assert!(version(9).unwrap_err().contains("'9' too high. Must be in range: [2, 5]"));
    }
}
