//! The user's configuration: flat; converted to the engines' configurations at the start.

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use crate::{
    serf::{
        self, AliveDelegate, ConflictDelegate, Delegates, MergeDelegate, ReconnectDelegate, Tags,
        TransformDelegate,
    },
    swim::Cidr,
    wire::{Compression, Keyring},
};

/// Declares a group of settings: each is listed once, with its place in the engines' configuration.
macro_rules! settings {
    (
        $(#[$doc:meta])* $name:ident {
            $($(#[$about:meta])* $field:ident: $ty:ty => $($place:ident).+,)+
        }
    ) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        #[cfg_attr(feature = "serde", derive(serde::Serialize))]
        #[non_exhaustive]
        pub struct $name {
            $($(#[$about])* pub $field: $ty,)+
        }

        impl $name {
            fn of(engine: &serf::Config) -> Self {
                Self { $($field: engine.$($place).+,)+ }
            }

            fn apply(self, engine: &mut serf::Config) {
                $(engine.$($place).+ = self.$field;)+
            }
        }
    };
}

/// Configuration of a node: start with a preset and change what differs. Setters can be chained;
/// all fields are public. Go: `serf/config.go`, `memberlist/config.go`.
///
/// ```
/// use ruserf::Config;
///
/// let mut config = Config::lan("cache-1").tag("role", "cache").label("blue");
/// config.timing.reconnect_timeout = std::time::Duration::from_secs(3600);
/// ```
#[derive(Clone)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Config {
    /// Name of the node, unique in the cluster; 1 to 255 bytes without control characters.
    #[doc(alias = "NodeName")]
    pub name: String,
    /// Tags at the start; at most 512 bytes when encoded.
    pub tags: BTreeMap<String, String>,
    /// Cluster label: messages with another label are refused; at most 255 bytes, empty by default.
    pub label: String,
    /// Keys that encrypt all traffic; empty by default: no encryption.
    #[doc(alias = "SecretKey")]
    #[cfg_attr(feature = "serde", serde(serialize_with = "key_count"))]
    pub keyring: Keyring,
    /// Compression of outgoing messages; LZW. Compressed input is always accepted.
    #[doc(alias = "EnableCompression")]
    #[cfg_attr(feature = "serde", serde(serialize_with = "debug_text"))]
    pub compression: Compression,
    /// Serf protocol, 2 to 5; 4, as in Go's library (Go's agent: 5). Queries need at least 4.
    #[doc(alias = "ProtocolVersion")]
    pub protocol: u8,
    /// Networks whose nodes are accepted; empty, the default: all.
    #[cfg_attr(feature = "serde", serde(serialize_with = "debug_text"))]
    pub cidrs_allowed: Vec<Cidr>,
    /// Refuse names outside `[A-Za-z0-9.-]{1,128}`, for ourselves and for others; false.
    pub validate_node_names: bool,
    /// Keep the peers of the snapshot across a leave, and rejoin them at the next start; false.
    pub rejoin_after_leave: bool,
    /// When another node claims our name, ask the other nodes, and shut down if most of them side
    /// with it; true.
    #[doc(alias = "EnableNameConflictResolution")]
    pub resolve_name_conflicts: bool,
    /// Maintain network coordinates; true.
    #[doc(alias = "DisableCoordinates")]
    pub coordinates: bool,
    /// Refuse plaintext while there are keys; true. Set to false only while a cluster gets its
    /// first key.
    #[doc(alias = "GossipVerifyIncoming")]
    pub verify_incoming: bool,
    /// Encrypt while there are keys; true. Set to false only while a cluster gets its first key.
    #[doc(alias = "GossipVerifyOutgoing")]
    pub verify_outgoing: bool,
    /// Do not use a stream ping when the pings of a probe are not acked; false.
    pub disable_tcp_pings: bool,
    /// Gossip and sync mostly with the members whose tag `zone` is that of this node; false. Needs
    /// the tag. Members without it, and Go's, are reached as before. Go has no counterpart.
    pub zone_gossip: bool,
    /// Notice failures sooner; false. Helpers are asked as soon as an ack is overdue by this node's
    /// own measure, and a suspicion that repeated probes support ends before Go's least time. In
    /// return a node may stop for less long until it is taken for failed. Members need not agree
    /// about it. Go has no counterpart.
    pub fast_detection: bool,
    /// Intervals, timeouts and their factors.
    pub timing: Timing,
    /// Sizes and queue depths.
    pub limits: Limits,
    /// Serialization; all members must use the same. The default is Go's MessagePack.
    #[cfg_attr(feature = "serde", serde(skip))]
    pub transform: Arc<dyn TransformDelegate>,
    /// User-supplied delegates.
    #[cfg_attr(feature = "serde", serde(skip))]
    pub delegates: Delegates,
}

settings! {
    /// Intervals, timeouts and their factors. Three values are those of [`Config::lan`],
    /// [`Config::wan`] and [`Config::local`].
    Timing {
        /// Time between probes; 1 s, 5 s, 1 s. Zero: never, and nothing is reaped.
        probe_interval: Duration => swim.probe_interval,
        /// Wait for a direct ack; 500 ms, 3 s, 200 ms.
        probe_timeout: Duration => swim.probe_timeout,
        /// Helpers asked to ping a silent node; 3, 3, 1.
        indirect_checks: usize => swim.indirect_checks,
        /// Upper bound (exclusive) of the health score, which stretches probes; 8.
        awareness_max_multiplier: u32 => swim.awareness_max_multiplier,
        /// Factor of the suspicion timeout; 4, 6, 3.
        suspicion_mult: u32 => swim.suspicion_mult,
        /// Longest suspicion as a multiple of the shortest; 6.
        suspicion_max_timeout_mult: u32 => swim.suspicion_max_timeout_mult,
        /// Time between gossip rounds; 200 ms, 500 ms, 100 ms. Zero: never.
        gossip_interval: Duration => swim.gossip_interval,
        /// Targets of a gossip round; 3, 4, 3.
        gossip_nodes: usize => swim.gossip_nodes,
        /// Most packets that a gossip round sends to one target while there is a backlog; 4, and up
        /// to 64 with a long one, unless this is 1. Go: 1.
        gossip_burst: usize => swim.gossip_burst,
        /// How long dead nodes still receive gossip and stay listed; 30 s, 60 s, 15 s.
        gossip_to_the_dead_time: Duration => swim.gossip_to_the_dead_time,
        /// Factor of the number of times a message is sent; 4, 4, 2.
        retransmit_mult: u32 => swim.retransmit_mult,
        /// Time between full syncs, before scaling; 30 s, 60 s, 15 s. Zero: never.
        push_pull_interval: Duration => swim.push_pull_interval,
        /// Deadline of a stream exchange; 10 s, 30 s, 1 s.
        tcp_timeout: Duration => swim.tcp_timeout,
        /// After this time a dead node's name may be claimed from another address; zero: never.
        dead_node_reclaim_time: Duration => swim.dead_node_reclaim_time,
        /// Longest wait for a leave, force-leave or tag broadcast; 5 s.
        broadcast_timeout: Duration => broadcast_timeout,
        /// Pause at the end of a leave, while the last messages spread; 1 s.
        leave_propagate_delay: Duration => leave_propagate_delay,
        /// Longest time that member events are delayed, to deliver only the last event of each
        /// member and those of many members together; zero: not coalesced. Go's agent: 3 s.
        coalesce_period: Duration => coalesce_period,
        /// Time without a member event after which delayed ones are delivered early; zero: not
        /// coalesced.
        quiescent_period: Duration => quiescent_period,
        /// Longest time that coalescable user events are delayed, to deliver only the newest of
        /// each name; zero: not coalesced. Go's agent: 3 s.
        user_coalesce_period: Duration => user_coalesce_period,
        /// Time without such an event after which delayed ones are delivered early; zero: not
        /// coalesced.
        user_quiescent_period: Duration => user_quiescent_period,
        /// Time between two checks for members to forget; 15 s.
        reap_interval: Duration => reap_interval,
        /// Time between attempts to reach a failed member; 30 s.
        reconnect_interval: Duration => reconnect_interval,
        /// How long a failed member is kept; 24 h.
        reconnect_timeout: Duration => reconnect_timeout,
        /// How long a left member is kept; 24 h.
        tombstone_timeout: Duration => tombstone_timeout,
        /// A failed member that returns within this time counts as flapping; 60 s.
        flap_timeout: Duration => flap_timeout,
        /// Time between two checks of the queue depths; 30 s.
        queue_check_interval: Duration => queue_check_interval,
        /// How long an intent about an unknown member is remembered; 5 min.
        recent_intent_timeout: Duration => recent_intent_timeout,
        /// Factor of the default query timeout; 16.
        query_timeout_mult: u32 => query_timeout_mult,
    }
}

settings! {
    /// Sizes and queue depths. Other limits on what peers may send are fixed, see ARCHITECTURE.md.
    Limits {
        /// Largest user event, name and payload, in bytes; 512. More than 9216 is refused.
        #[doc(alias = "UserEventSizeLimit")]
        user_event_size: usize => user_event_size_limit,
        /// Largest encoded query, in bytes; 1024.
        #[doc(alias = "QuerySizeLimit")]
        query_size: usize => query_size_limit,
        /// Largest encoded answer to a query, in bytes; 1024. An answer travels in one packet.
        #[doc(alias = "QueryResponseSizeLimit")]
        query_response_size: usize => query_response_size_limit,
        /// Bytes of a packet that piggybacked messages may fill; 1400.
        udp_buffer_size: usize => swim.udp_buffer_size,
        /// Messages that wait in each hand-off queue; 8192.
        handoff_queue_depth: usize => swim.handoff_queue_depth,
        /// Number of event times remembered, to deliver each event once; 512. Older events are
        /// dropped.
        event_buffer: usize => event_buffer,
        /// Number of query times remembered, likewise; 512.
        query_buffer: usize => query_buffer,
        /// Depth of a broadcast queue that is logged as a warning; 128.
        queue_depth_warning: usize => queue_depth_warning,
        /// Depth to which a broadcast queue is pruned; 4096.
        #[doc(alias = "MaxQueueDepth")]
        queue_depth_max: usize => queue_depth_max,
        /// If not zero, queues are pruned to `max(this, 2 * members)` instead.
        #[doc(alias = "MinQueueDepth")]
        queue_depth_min: usize => queue_depth_min,
        /// Messages with Lamport times further ahead than this are dropped; 2^32.
        lamport_jump: u64 => lamport_jump_max,
    }
}

impl Config {
    /// For nodes of one local network. Go: `DefaultConfig`.
    #[doc(alias = "DefaultConfig")]
    pub fn lan(name: impl Into<String>) -> Self {
        Self::over(&serf::Config::lan(&name.into()))
    }

    /// For nodes in different networks: longer intervals and timeouts. Go: `DefaultWANConfig`.
    #[doc(alias = "DefaultWANConfig")]
    pub fn wan(name: impl Into<String>) -> Self {
        Self::over(&serf::Config::wan(&name.into()))
    }

    /// For nodes on one machine and tests: shorter intervals, fewer copies of each message. Go:
    /// `DefaultLocalConfig`.
    #[doc(alias = "DefaultLocalConfig")]
    pub fn local(name: impl Into<String>) -> Self {
        Self::over(&serf::Config::local(&name.into()))
    }

    /// Changes settings that have no setter, within a chain of setters.
    ///
    /// ```
    /// use ruserf::Config;
    ///
    /// let config = Config::lan("cache-1").with(|config| config.protocol = 5).label("blue");
    /// assert_eq!((config.protocol, &*config.label), (5, "blue"));
    /// ```
    #[must_use]
    pub fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    /// Adds a tag; replaces one of the same name.
    #[must_use]
    pub fn tag(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.tags.insert(name.into(), value.into());
        self
    }

    /// Replaces all tags.
    ///
    /// ```
    /// use ruserf::Config;
    ///
    /// let config = Config::lan("cache-1").tags([("role", "cache"), ("zone", "north")]);
    /// assert_eq!(config.tags["zone"], "north");
    /// ```
    #[must_use]
    pub fn tags(mut self, tags: impl Into<Tags>) -> Self {
        self.tags = tags.into().into();
        self
    }

    /// Sets the label.
    #[must_use]
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.label = label.into();
        self
    }

    /// Sets the keys.
    #[must_use]
    pub fn keyring(mut self, keyring: Keyring) -> Self {
        self.keyring = keyring;
        self
    }

    /// Sets the delegate that may veto joins.
    #[must_use]
    pub fn merge_delegate(mut self, delegate: impl MergeDelegate + 'static) -> Self {
        self.delegates.merge = Some(Arc::new(delegate));
        self
    }

    /// Sets the delegate that may veto single nodes.
    #[must_use]
    pub fn alive_delegate(mut self, delegate: impl AliveDelegate + 'static) -> Self {
        self.delegates.alive = Some(Arc::new(delegate));
        self
    }

    /// Sets the delegate that decides how long lost members are kept.
    #[must_use]
    pub fn reconnect_delegate(mut self, delegate: impl ReconnectDelegate + 'static) -> Self {
        self.delegates.reconnect = Some(Arc::new(delegate));
        self
    }

    /// Sets the delegate that is notified of name conflicts.
    #[must_use]
    pub fn conflict_delegate(mut self, delegate: impl ConflictDelegate + 'static) -> Self {
        self.delegates.conflict = Some(Arc::new(delegate));
        self
    }

    /// Sets the serialization.
    #[must_use]
    pub fn transform(mut self, transform: impl TransformDelegate + 'static) -> Self {
        self.transform = Arc::new(transform);
        self
    }

    /// The configuration of the engines; the caller sets addresses and seed.
    #[doc(hidden)]
    pub fn into_engine(self) -> serf::Config {
        let mut engine = serf::Config::lan(&self.name);
        self.timing.apply(&mut engine);
        self.limits.apply(&mut engine);
        engine.tags = self.tags;
        engine.protocol_version = self.protocol;
        engine.rejoin_after_leave = self.rejoin_after_leave;
        engine.enable_name_conflict_resolution = self.resolve_name_conflicts;
        engine.disable_coordinates = !self.coordinates;
        engine.validate_node_names = self.validate_node_names;
        engine.transform = self.transform;
        engine.delegates = self.delegates;
        let swim = &mut engine.swim;
        swim.cidrs_allowed = self.cidrs_allowed;
        swim.disable_tcp_pings = self.disable_tcp_pings;
        swim.zones = self.zone_gossip;
        swim.fast_detection = self.fast_detection;
        swim.codec.label = self.label.into_bytes();
        swim.codec.keyring = self.keyring;
        swim.codec.compression = self.compression;
        swim.codec.verify_incoming = self.verify_incoming;
        swim.codec.verify_outgoing = self.verify_outgoing;
        engine
    }

    /// The user's settings of an engine preset.
    fn over(engine: &serf::Config) -> Self {
        let (swim, codec) = (&engine.swim, &engine.swim.codec);
        Self {
            name: swim.name.to_string(),
            tags: BTreeMap::new(),
            label: String::new(),
            keyring: Keyring::default(),
            compression: codec.compression,
            protocol: engine.protocol_version,
            cidrs_allowed: Vec::new(),
            validate_node_names: engine.validate_node_names,
            rejoin_after_leave: engine.rejoin_after_leave,
            resolve_name_conflicts: engine.enable_name_conflict_resolution,
            coordinates: !engine.disable_coordinates,
            verify_incoming: codec.verify_incoming,
            verify_outgoing: codec.verify_outgoing,
            disable_tcp_pings: swim.disable_tcp_pings,
            zone_gossip: swim.zones,
            fast_detection: swim.fast_detection,
            timing: Timing::of(engine),
            limits: Limits::of(engine),
            transform: Arc::clone(&engine.transform),
            delegates: Delegates::default(),
        }
    }
}

impl From<Config> for serf::Config {
    fn from(config: Config) -> Self {
        config.into_engine()
    }
}

/// Shows the number of keys and which delegates are set, but no key.
impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("name", &self.name)
            .field("tags", &self.tags)
            .field("label", &self.label)
            .field("keyring", &self.keyring)
            .field("compression", &self.compression)
            .field("protocol", &self.protocol)
            .field("cidrs_allowed", &self.cidrs_allowed)
            .field("validate_node_names", &self.validate_node_names)
            .field("rejoin_after_leave", &self.rejoin_after_leave)
            .field("resolve_name_conflicts", &self.resolve_name_conflicts)
            .field("coordinates", &self.coordinates)
            .field("verify_incoming", &self.verify_incoming)
            .field("verify_outgoing", &self.verify_outgoing)
            .field("disable_tcp_pings", &self.disable_tcp_pings)
            .field("zone_gossip", &self.zone_gossip)
            .field("fast_detection", &self.fast_detection)
            .field("timing", &self.timing)
            .field("limits", &self.limits)
            .field("delegates", &self.delegates)
            .finish_non_exhaustive()
    }
}

#[cfg(feature = "serde")]
fn key_count<S: serde::Serializer>(keyring: &Keyring, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("{} keys", keyring.keys().count()))
}

#[cfg(feature = "serde")]
fn debug_text<S: serde::Serializer>(
    value: &impl fmt::Debug,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("{value:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_a_preset_is_lost_on_the_way_to_the_engine() {
        for (user, engine) in [
            (Config::lan("n"), serf::Config::lan("n")),
            (Config::wan("n"), serf::Config::wan("n")),
            (Config::local("n"), serf::Config::local("n")),
        ] {
            let built = user.clone().into_engine();
            assert_eq!(Timing::of(&built), Timing::of(&engine));
            assert_eq!(Limits::of(&built), Limits::of(&engine));
            assert_eq!(format!("{:?}", Config::over(&built)), format!("{user:?}"));
        }
    }

    #[test]
    fn what_is_set_reaches_the_engine() {
        let config = Config::lan("n").tag("zone", "gone").tags([("role", "db")]);
        let mut config = config.tag("role", "web").label("blue");
        config.timing.probe_interval = Duration::from_secs(7);
        config.limits.query_size = 99;
        config.coordinates = false;
        config.resolve_name_conflicts = false;
        config.protocol = 5;
        (config.zone_gossip, config.fast_detection) = (true, true);
        let engine = config.into_engine();
        assert_eq!(engine.swim.probe_interval, Duration::from_secs(7));
        assert_eq!(engine.query_size_limit, 99);
        assert!(engine.disable_coordinates && !engine.enable_name_conflict_resolution);
        assert_eq!(engine.protocol_version, 5);
        assert!(engine.swim.zones && engine.swim.fast_detection);
        assert_eq!((&engine.tags["role"][..], &engine.swim.codec.label[..]), ("web", &b"blue"[..]));
        assert_eq!(engine.tags.len(), 1);
    }

    #[test]
    fn each_delegate_reaches_the_engine_as_what_it_is() {
        struct Decides;
        impl ReconnectDelegate for Decides {
            fn reconnect_timeout(&self, _: &crate::serf::Member, _: Duration) -> Duration {
                Duration::from_secs(3)
            }
        }
        let engine = Config::lan("n").reconnect_delegate(Decides).into_engine();
        let delegates = &engine.delegates;
        assert!(delegates.reconnect.is_some());
        assert!(delegates.merge.is_none() && delegates.alive.is_none());
        assert!(delegates.conflict.is_none());
    }

    #[test]
    fn no_key_is_shown() {
        let key = [0xab; 32];
        let config = Config::lan("n").keyring(Keyring::build(&[], &key).unwrap());
        let shown = format!("{config:?}");
        assert!(shown.contains("Keyring { len: 1, .. }"), "{shown}");
        assert!(!shown.contains("171") && !shown.contains("abab"), "{shown}");
    }
}
