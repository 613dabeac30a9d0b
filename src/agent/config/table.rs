//! The table of all settings, from which [`FileConfig`], its decoder, the flags of `serf agent` and
//! the reference are generated.

use std::collections::BTreeMap;

use super::{
    field::Field,
    key::{Key, Origin, Shape},
};
use crate::base::{Secret, go_duration::GoDuration};

/// Rust type of a shape's values.
macro_rules! value_type {
    (Text) => { Option<String> };
    (Secret) => { Option<Secret> };
    (Flag) => { bool };
    (Switch) => { Option<bool> };
    (Int) => { Option<i64> };
    (Version) => { Option<i64> };
    (Duration) => { Option<GoDuration> };
    (List) => { Vec<String> };
    (Map) => { BTreeMap<String, String> };
    (Ignored) => { () };
}

/// Name of a field in files: its own unless another one is given.
macro_rules! name {
    ($field:ident) => {
        stringify!($field)
    };
    ($field:ident $name:literal) => {
        $name
    };
}

/// Declares the settings. A group has an origin and the first version of this program that has it.
/// A row: the documentation, then `field (= "name in files"): Shape, "flag" "placeholder",
/// "default";`.
macro_rules! keys {
    ($($origin:ident $since:literal {$(
        $(#[doc = $doc:literal])+
        $field:ident $(= $name:literal)?: $shape:ident,
        $flag:literal $value:literal, $default:literal;
    )+})+) => {
        /// Settings as written in files and flags. Unset values are `None`, false or empty.
        #[derive(Clone, Debug, Default, PartialEq, Eq)]
        pub struct FileConfig {
            $($($(#[doc = $doc])+ pub $field: value_type!($shape),)+)+
        }

        /// All settings of a configuration file, in Go's order. `mdns.*` are fields of an object
        /// `mdns`.
        pub const KEYS: &[Key] = &[$($(Key {
            name: name!($field $($name)?),
            shape: Shape::$shape,
            flag: $flag,
            value: $value,
            default: $default,
            origin: Origin::$origin,
            since: $since,
            doc: concat!($($doc),+).trim_ascii(),
        },)+)+];

        impl FileConfig {
            /// References to all values, in the order of [`KEYS`].
            pub(super) fn fields(&self) -> [&dyn Field; KEYS.len()] {
                [$($(&self.$field,)+)+]
            }

            pub(super) fn fields_mut(&mut self) -> [&mut dyn Field; KEYS.len()] {
                [$($(&mut self.$field,)+)+]
            }

            /// Merges a later source, by the merge rule of each setting's shape.
            pub fn merge(&mut self, later: Self) {
                $($(Field::merge(&mut self.$field, Shape::$shape, later.$field);)+)+
            }
        }
    };
}

keys! {
    Go "0.2.0" {
        /// Name of the node, unique in the cluster; the host's name unless set.
        node_name: Text, "node" "<name>", "";
        /// Deprecated: the tag `role`. Use `tags`.
        role: Text, "role" "<role>", "";
        /// Do not maintain network coordinates, which `serf rtt` reads.
        disable_coordinates: Flag, "" "", "false";
        /// Tags of the node, names and values.
        tags: Map, "tag" "<key>=<value>", "";
        /// File that keeps tags across restarts; excludes `tags`.
        tags_file: Text, "tags-file" "<file>", "";
        /// Address to listen on for gossip, TCP and UDP.
        bind: Text, "bind" "<addr>", "0.0.0.0:7946";
        /// Address to announce to the other members; the bound one unless set.
        advertise: Text, "advertise" "<addr>", "";
        /// Key in base64 (16, 24 or 32 bytes) that encrypts gossip, as `serf keygen` makes it; or
        /// @FILE, or @credential:NAME.
        encrypt_key: Secret, "encrypt" "<key>", "";
        /// File of keys, rewritten when they change; excludes `encrypt_key`.
        keyring_file: Text, "keyring-file" "<file>", "";
        /// Least severe level of log lines: trace, debug, info, warn or err.
        log_level: Text, "log-level" "<level>", "info";
        /// Address of the RPC listener: host:port, unix:PATH, or off.
        rpc_addr: Text, "rpc-addr" "<addr>", "127.0.0.1:7373";
        /// Token that RPC clients must present; or @FILE, or @credential:NAME. Read at the start
        /// alone.
        rpc_auth: Secret, "" "<token>", "";
        /// Version of Serf's protocol to speak, 2 to 5.
        protocol: Version, "protocol" "<version>", "5";
        /// Deliver user events from before a join.
        replay_on_join: Flag, "replay" "", "false";
        /// Largest encoded response to a query, in bytes.
        query_response_size_limit: Int, "" "<bytes>", "1024";
        /// Largest encoded query, in bytes.
        query_size_limit: Int, "" "<bytes>", "1024";
        /// Largest user event, name and payload, in bytes; at most 9216.
        user_event_size_limit: Int, "" "<bytes>", "512";
        /// Address of a member to join at the start; the agent exits if none answers.
        start_join: List, "join" "<addr>", "";
        /// Script to run for events: [filter,...=]script. A filter is an event such as member-join,
        /// user, user:NAME, query or query:NAME; without one the script runs for all events.
        event_handlers: List, "event-handler" "<spec>", "";
        /// Timing preset: lan, wan or local.
        profile: Text, "profile" "<name>", "lan";
        /// File that remembers the cluster, so that a restarted agent rejoins it.
        snapshot_path: Text, "snapshot" "<file>", "";
        /// Leave the cluster gracefully on SIGTERM.
        leave_on_terminate: Flag, "" "", "false";
        /// Do not leave the cluster gracefully on SIGINT.
        skip_leave_on_interrupt: Flag, "" "", "false";
        /// Discover members by multicast DNS; agents with the same name join each other.
        discover: Text, "discover" "<cluster>", "";
        /// Network interface for multicast DNS; that of `interface` unless set.
        mdns_interface = "mdns.interface": Text, "mdns-iface" "<name>", "";
        /// Do not use multicast DNS over IPv4.
        mdns_disable_ipv4 = "mdns.disable_ipv4": Flag, "mdns-disable-ipv4" "", "false";
        /// Do not use multicast DNS over IPv6.
        mdns_disable_ipv6 = "mdns.disable_ipv6": Flag, "mdns-disable-ipv6" "", "false";
        /// Network interface whose address to bind; with `bind` too, that address has to be one of
        /// the interface.
        interface: Text, "iface" "<name>", "";
        /// Time between attempts to reach failed members.
        reconnect_interval: Duration, "" "<time>", "30s";
        /// Time after which a failed member is removed.
        reconnect_timeout: Duration, "" "<time>", "24h";
        /// Time after which a member that left is removed.
        tombstone_timeout: Duration, "" "<time>", "24h";
        /// Do not ask the cluster when another node claims this node's name.
        disable_name_resolution: Flag, "" "", "false";
        /// Also log to syslog.
        enable_syslog: Flag, "syslog" "", "false";
        /// Facility of lines in syslog: KERN to FTP, LOCAL0 to LOCAL7.
        syslog_facility: Text, "" "<name>", "LOCAL0";
        /// Address of a member to join, retried until one answers.
        retry_join: List, "retry-join" "<addr>", "";
        /// Retries of `retry_join` before the agent exits; 0: no limit.
        retry_max_attempts: Int, "retry-max" "<n>", "0";
        /// Time between attempts of `retry_join`; at least 1s.
        retry_interval: Duration, "retry-interval" "<time>", "30s";
        /// Rejoin the members of the snapshot even after a graceful leave.
        rejoin_after_leave: Flag, "rejoin" "", "false";
        /// Compress gossip.
        enable_compression: Switch, "disable-compression" "", "true";
        /// Address of a statsite server for metrics, host:port.
        statsite_addr: Text, "" "<addr>", "";
        /// Address of a statsd server for metrics, host:port.
        statsd_addr: Text, "" "<addr>", "";
        /// Longest wait for a broadcast to reach the cluster; at least 1s.
        broadcast_timeout: Duration, "broadcast-timeout" "<time>", "5s";
        /// Refuse node names outside [A-Za-z0-9.-]{1,128}.
        validate_node_names: Flag, "" "", "false";
        /// No effect, as in Go.
        msgpackusenewtimeformat: Ignored, "" "", "false";
    }
    Ours "0.2.0" {
        /// Label that all nodes of the cluster share; others are not understood.
        label: Text, "label" "<text>", "";
        /// Time after which a dead node's name may be claimed from another address; 0: never.
        dead_node_reclaim_time: Duration, "dead-node-reclaim-time" "<time>", "0s";
        /// Network whose nodes are admitted; all networks unless one is given.
        cidrs_allowed: List, "cidr-allowed" "<net>", "";
        /// Time between gossip rounds.
        gossip_interval: Duration, "gossip-interval" "<time>", "200ms";
        /// Members that a gossip round sends to.
        gossip_nodes: Int, "" "<n>", "3";
        /// How long dead nodes are still sent gossip.
        gossip_to_the_dead_time: Duration, "" "<time>", "30s";
        /// Time between probes.
        probe_interval: Duration, "probe-interval" "<time>", "1s";
        /// Wait for a direct ack of a probe.
        probe_timeout: Duration, "probe-timeout" "<time>", "500ms";
        /// Time between full state syncs.
        push_pull_interval: Duration, "push-pull-interval" "<time>", "30s";
        /// Deadline of a stream exchange.
        tcp_timeout: Duration, "" "<time>", "10s";
        /// Members that are asked to ping a silent node.
        indirect_checks: Int, "" "<n>", "3";
        /// Factor of the number of times that a message is gossiped.
        retransmit_mult: Int, "" "<n>", "4";
        /// Factor of the suspicion timeout.
        suspicion_mult: Int, "" "<n>", "4";
        /// Address of the HTTP listener for metrics, health and members: host:port or unix:PATH;
        /// none unless set.
        http_addr: Text, "http-addr" "<addr>", "";
        /// File of RPC tokens and client certificates by name, each with what it allows; JSON, read
        /// again when it changes.
        rpc_tokens_file: Text, "rpc-tokens-file" "<file>", "";
        /// Certificate of the RPC in PEM, which puts it under TLS; with its chain. Read again when
        /// it changes.
        rpc_tls_cert: Text, "rpc-tls-cert" "<file>", "";
        /// Private key in PEM of `rpc_tls_cert`.
        rpc_tls_key: Text, "rpc-tls-key" "<file>", "";
        /// Certificates in PEM of which one has to have signed that of each RPC client; others
        /// are not let in.
        rpc_tls_client_ca: Text, "rpc-tls-client-ca" "<file>", "";
        /// Certificate of the HTTP listener in PEM, which puts it under TLS; as `rpc_tls_cert`.
        http_tls_cert: Text, "http-tls-cert" "<file>", "";
        /// Private key in PEM of `http_tls_cert`.
        http_tls_key: Text, "http-tls-key" "<file>", "";
        /// Certificates in PEM of which one has to have signed that of each HTTP client.
        http_tls_client_ca: Text, "http-tls-client-ca" "<file>", "";
        /// Log a line for each RPC command that changes something or is refused: who, what, and
        /// how it went.
        audit: Flag, "audit" "", "false";
        /// Restrict the agent and its handlers to its own files by Landlock: off, try (where the
        /// kernel can) or require.
        sandbox: Text, "sandbox" "<mode>", "off";
        /// Path that is read and written within the sandbox beside the agent's own files.
        sandbox_paths: List, "sandbox-path" "<path>", "";
        /// Labels of every metric at `/metrics`, names and values.
        metrics_label: Map, "metrics-label" "<name>=<value>", "";
        /// Log lines are JSON objects.
        log_json: Flag, "log-json" "", "false";
        /// Longest run of an event handler; 0: no limit.
        handler_timeout: Duration, "handler-timeout" "<time>", "0s";
        /// Event handlers that may run at the same time; 1 keeps Go's order.
        handler_concurrency: Int, "handler-concurrency" "<n>", "1";
        /// Time between look-ups of `retry_join` once joined, if it has dns+, dnssrv+, dnssrvnoa+,
        /// file: or exec:.
        rejoin_interval: Duration, "rejoin-interval" "<time>", "1m";
        /// Time between beacons, by which members measure how fresh their view of the cluster is;
        /// at least 1s; 0: none.
        beacon_interval: Duration, "beacon-interval" "<time>", "0s";
        /// Gossip and sync mostly with the members whose tag `zone` is that of this agent.
        zone_gossip: Flag, "zone-gossip" "", "false";
        /// Notice failures sooner, by time-outs from measured round trips and repeated probes.
        fast_detection: Flag, "fast-detection" "", "false";
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// The help of `serf agent` and the reference are generated from the table.
    #[test]
    fn every_key_is_described() {
        let (mut names, mut flags) = (BTreeSet::new(), BTreeSet::new());
        for key in KEYS {
            let name = key.name;
            assert!(names.insert(name), "{name} twice");
            assert!(key.flag.is_empty() || flags.insert(key.flag), "-{} twice", key.flag);
            assert!(key.doc.ends_with('.') && key.doc.len() > 10, "{name}: {:?}", key.doc);
            assert!(!key.shape.merge_rule().is_empty(), "{name}");
            let is_switch = matches!(key.shape, Shape::Flag | Shape::Switch | Shape::Ignored);
            assert_eq!(key.value.is_empty(), is_switch, "{name}: {:?}", key.value);
            assert!(!is_switch || ["true", "false"].contains(&key.default), "{name}");
        }
    }
}
