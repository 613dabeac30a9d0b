//! Settings of the Serf engine; names and defaults are Go's.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use super::{Delegates, MsgpackTransform, TransformDelegate};
use crate::swim;

/// Configuration of one member. Go: `serf/config.go`.
#[derive(Clone)]
#[allow(missing_debug_implementations)] // hidden; the one of users has it
pub struct Config {
    /// Settings of the layer below; its name is the member's name.
    pub swim: swim::Config,
    /// Tags at the start; 512 bytes when encoded.
    pub tags: BTreeMap<String, String>,
    /// Serf protocol, 2 to 5; the library's default is 4, as Go's, the agent's is 5. Queries need
    /// 4.
    pub protocol_version: u8,
    /// Longest wait for a leave, force-leave or tag broadcast; 5 s.
    pub broadcast_timeout: Duration,
    /// Pause at the end of a leave; 1 s.
    pub leave_propagate_delay: Duration,
    /// Longest time member events are held back, to deliver only the last of a member and many
    /// members at once; zero, the default: not coalesced.
    pub coalesce_period: Duration,
    /// Time without a member event that ends the holding back early; zero: not coalesced.
    pub quiescent_period: Duration,
    /// Longest time user events that allow it are held back, to deliver only the newest of a name;
    /// zero, the default: not coalesced.
    pub user_coalesce_period: Duration,
    /// Time without such an event that ends the holding back early; zero: not coalesced.
    pub user_quiescent_period: Duration,
    /// Time between looks at members to forget; 15 s.
    pub reap_interval: Duration,
    /// Time between attempts to reach a failed member; 30 s.
    pub reconnect_interval: Duration,
    /// How long a failed member is kept; 24 h.
    pub reconnect_timeout: Duration,
    /// How long a left member is kept; 24 h.
    pub tombstone_timeout: Duration,
    /// A failed member that is back within this time has flapped; 60 s.
    pub flap_timeout: Duration,
    /// Time between looks at the queue depths; 30 s.
    pub queue_check_interval: Duration,
    /// Depth that is warned about; 128.
    pub queue_depth_warning: usize,
    /// Depth that is pruned to; 4096.
    pub queue_depth_max: usize,
    /// If not zero, the depth is `max(this, 2 * members)` instead.
    pub queue_depth_min: usize,
    /// How long an intent about an unknown member is remembered; 5 min.
    pub recent_intent_timeout: Duration,
    /// Event times remembered, to deliver each event once; 512. Older events are dropped.
    pub event_buffer: usize,
    /// Query times remembered, likewise; 512.
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
    /// Ask all when another node claims our name, and shut down if most side with it; true.
    pub enable_name_conflict_resolution: bool,
    /// No network coordinates; false.
    pub disable_coordinates: bool,
    /// Refuse names outside `[A-Za-z0-9.-]{1,128}`, ours and those of others; false.
    pub validate_node_names: bool,
    /// Lamport times further ahead than this are ignored; 2^32.
    pub lamport_jump_max: u64,
    /// Answer a request to change keys once [`Engine::handle_keyring_stored`] reports the result
    /// for the keyring file, and with a failure if that takes more than half the query's time or
    /// 10 s; false: at once. The driver sets it if it has such a file.
    ///
    /// [`Engine::handle_keyring_stored`]: super::Engine::handle_keyring_stored
    pub keyring_stored: bool,
    /// How values become bytes; all members must use the same. [`MsgpackTransform`] is Go's.
    pub transform: Arc<dyn TransformDelegate>,
    /// User code that is consulted.
    pub delegates: Delegates,
}

impl Config {
    /// The defaults of Go's `DefaultConfig` over a membership preset.
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

    /// For nodes far from each other: slower and more patient. Go: `DefaultWANConfig`.
    pub fn wan(name: &str) -> Self {
        Self::new(swim::Config::wan(name))
    }

    /// For nodes on one machine and tests: quicker, and with fewer copies of each message.
    /// Go: `DefaultLocalConfig`.
    pub fn local(name: &str) -> Self {
        Self::new(swim::Config::local(name))
    }
}
