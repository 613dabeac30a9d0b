//! Settings of the Serf engine; names and defaults are Go's.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use super::{Delegates, MsgpackTransform, TransformDelegate};
use crate::swim;

/// Configuration of one member. Go: `serf/config.go`.
#[derive(Clone)]
#[allow(missing_debug_implementations)] // hidden type; the public Config has Debug
pub struct Config {
    /// Settings of the layer below; its name is the member's name.
    pub swim: swim::Config,
    /// Tags at the start; 512 bytes when encoded.
    pub tags: BTreeMap<String, String>,
    /// Serf protocol, 2 to 5; the library's default is 4, as in Go, the agent's is 5. Queries need
    /// at least 4.
    pub protocol_version: u8,
    /// Longest wait for a leave, force-leave or tag broadcast; 5 s.
    pub broadcast_timeout: Duration,
    /// Pause at the end of a leave, while the last messages spread; 1 s.
    pub leave_propagate_delay: Duration,
    /// Longest time that member events are delayed, to deliver only the last event of each member
    /// and those of many members together; zero, the default: not coalesced.
    pub coalesce_period: Duration,
    /// Time without a member event after which delayed ones are delivered early; zero: not
    /// coalesced.
    pub quiescent_period: Duration,
    /// Longest time that coalescable user events are delayed, to deliver only the newest of each
    /// name; zero, the default: not coalesced.
    pub user_coalesce_period: Duration,
    /// Time without such an event after which delayed ones are delivered early; zero: not
    /// coalesced.
    pub user_quiescent_period: Duration,
    /// Time between two checks for members to forget; 15 s.
    pub reap_interval: Duration,
    /// Time between attempts to reach a failed member; 30 s.
    pub reconnect_interval: Duration,
    /// How long a failed member is kept; 24 h.
    pub reconnect_timeout: Duration,
    /// How long a left member is kept; 24 h.
    pub tombstone_timeout: Duration,
    /// A failed member that returns within this time counts as flapping; 60 s.
    pub flap_timeout: Duration,
    /// Time between two checks of the queue depths; 30 s.
    pub queue_check_interval: Duration,
    /// Queue depth that is logged as a warning; 128.
    pub queue_depth_warning: usize,
    /// Queue depth to which a queue is pruned; 4096.
    pub queue_depth_max: usize,
    /// If not zero, queues are pruned to `max(this, 2 * members)` instead.
    pub queue_depth_min: usize,
    /// How long an intent about an unknown member is remembered; 5 min.
    pub recent_intent_timeout: Duration,
    /// Number of event times remembered, to deliver each event once; 512. Older events are dropped.
    pub event_buffer: usize,
    /// Number of query times remembered, likewise; 512.
    pub query_buffer: usize,
    /// Factor of the default query timeout, see [`super::QueryParams::timeout`]; 16.
    pub query_timeout_mult: u32,
    /// Largest encoded answer to a query, in bytes; 1024. An answer travels in one packet.
    pub query_response_size_limit: usize,
    /// Largest encoded query, in bytes; 1024.
    pub query_size_limit: usize,
    /// Largest user event, name and payload, in bytes; 512. More than 9216 is refused at the start.
    pub user_event_size_limit: usize,
    /// Keep the peers of the snapshot across a leave, and rejoin them at the next start; false.
    pub rejoin_after_leave: bool,
    /// When another node claims our name, ask the other nodes, and shut down if most of them side
    /// with it; true.
    pub enable_name_conflict_resolution: bool,
    /// Do not maintain network coordinates; false.
    pub disable_coordinates: bool,
    /// Refuse names outside `[A-Za-z0-9.-]{1,128}`, for ourselves and for others; false.
    pub validate_node_names: bool,
    /// Messages with Lamport times further ahead than this are dropped; 2^32.
    pub lamport_jump_max: u64,
    /// Answer a key change only after [`Engine::handle_keyring_stored`] reports the result for the
    /// keyring file; the answer is a failure if that takes more than half the query's time or 10 s.
    /// False: answer at once. The driver sets it if there is a keyring file.
    ///
    /// [`Engine::handle_keyring_stored`]: super::Engine::handle_keyring_stored
    pub keyring_stored: bool,
    /// Serialization of messages, tags and coordinates; all members must use the same.
    /// [`MsgpackTransform`] is Go's.
    pub transform: Arc<dyn TransformDelegate>,
    /// User-supplied delegates.
    pub delegates: Delegates,
}

impl Config {
    /// Go's `DefaultConfig` on top of a membership preset.
    pub fn new(swim: swim::Config) -> Self {
        Self {
            swim,
            tags: BTreeMap::new(),
            protocol_version: 4,
            broadcast_timeout: Duration::from_secs(5),
            leave_propagate_delay: Duration::from_secs(1),
            coalesce_period: Duration::ZERO,
            quiescent_period: Duration::ZERO,
            user_coalesce_period: Duration::ZERO,
            user_quiescent_period: Duration::ZERO,
            reap_interval: Duration::from_secs(15),
            reconnect_interval: Duration::from_secs(30),
            reconnect_timeout: Duration::from_secs(24 * 3600),
            tombstone_timeout: Duration::from_secs(24 * 3600),
            flap_timeout: Duration::from_secs(60),
            queue_check_interval: Duration::from_secs(30),
            queue_depth_warning: 128,
            queue_depth_max: 4096,
            queue_depth_min: 0,
            recent_intent_timeout: Duration::from_secs(300),
            event_buffer: 512,
            query_buffer: 512,
            query_timeout_mult: 16,
            query_response_size_limit: 1024,
            query_size_limit: 1024,
            user_event_size_limit: 512,
            rejoin_after_leave: false,
            enable_name_conflict_resolution: true,
            disable_coordinates: false,
            validate_node_names: false,
            lamport_jump_max: 1 << 32,
            keyring_stored: false,
            transform: Arc::new(MsgpackTransform),
            delegates: Delegates::default(),
        }
    }

    /// For nodes of one local network: [`Config::new`] over [`swim::Config::lan`].
    /// Go: `DefaultConfig`.
    pub fn lan(name: &str) -> Self {
        Self::new(swim::Config::lan(name))
    }

    /// For nodes in different networks: longer intervals and timeouts. Go: `DefaultWANConfig`.
    pub fn wan(name: &str) -> Self {
        Self::new(swim::Config::wan(name))
    }

    /// For nodes on one machine and tests: shorter intervals, fewer copies of each message. Go:
    /// `DefaultLocalConfig`.
    pub fn local(name: &str) -> Self {
        Self::new(swim::Config::local(name))
    }
}
