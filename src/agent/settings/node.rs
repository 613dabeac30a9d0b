//! The configuration of the node.

use std::time::Duration;

use zeroize::Zeroizing;

use crate::{
    agent::{AgentError, FileConfig, secrets},
    base::{Secret, go_base64, go_duration::GoDuration},
    driver::{Config, Limits, Timing},
    wire::Keyring,
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
    pub(super) fn build(written: Option<&str>) -> Result<Self, AgentError> {
        match written.unwrap_or("lan") {
            "lan" => Ok(Self::Lan),
            "wan" => Ok(Self::Wan),
            "local" => Ok(Self::Local),
            other => Err(AgentError::Invalid(format!("Unknown profile: {other}"))),
        }
    }

    /// The name used in configurations.
    pub fn name(self) -> &'static str {
        match self {
            Self::Lan => "lan",
            Self::Wan => "wan",
            Self::Local => "local",
        }
    }

    pub(super) fn config(self, name: String) -> Config {
        match self {
            Self::Lan => Config::lan(name),
            Self::Wan => Config::wan(name),
            Self::Local => Config::local(name),
        }
    }
}

/// Validates the version of Serf's protocol.
pub(super) fn protocol(written: Option<i64>) -> Result<u8, AgentError> {
    let out_of_range = |what: &str, number: i64| {
        Err(AgentError::Start(format!(
            "Protocol version '{number}' too {what}. Must be in range: [2, 5]"
        )))
    };
    match written {
        None => Ok(5),
        Some(number @ ..2) => out_of_range("low", number),
        Some(number @ 6..) => out_of_range("high", number),
        Some(number) => Ok(number as u8),
    }
}

/// Decodes a key, given in base64 or in a file.
pub(super) fn encryption_key(written: &Secret) -> Result<Zeroizing<Vec<u8>>, AgentError> {
    let text = secrets::resolve("encryption key", written.expose())?;
    let key = go_base64::decode(text.expose())
        .map_err(|error| AgentError::Invalid(format!("Invalid encryption key: {error}")))?;
    Ok(key.into())
}

/// Creates a keyring with one key.
pub(super) fn keyring(key: &[u8]) -> Result<Keyring, AgentError> {
    // Go detects a wrong size when it starts the node.
    Keyring::build(&[], key)
        .map_err(|error| AgentError::Start(format!("Failed to create memberlist: {error}")))
}

/// Applies the written settings on top of the profile.
pub(super) fn apply(written: &FileConfig, config: &mut Config) {
    config.compression = written.enable_compression.unwrap_or(true).into();
    config.label = written.label.clone().unwrap_or_default();
    config.rejoin_after_leave = written.rejoin_after_leave;
    config.resolve_name_conflicts = !written.disable_name_resolution;
    config.coordinates = !written.disable_coordinates;
    config.validate_node_names = written.validate_node_names;
    config.zone_gossip = written.zone_gossip;
    config.fast_detection = written.fast_detection;
    apply_timing(written, &mut config.timing);
    apply_limits(written, &mut config.limits);
}

fn apply_timing(written: &FileConfig, timing: &mut Timing) {
    let set = |target: &mut Duration, written: Option<GoDuration>| {
        *target = written.map_or(*target, GoDuration::to_std);
    };
    set(&mut timing.dead_node_reclaim_time, written.dead_node_reclaim_time);
    set(&mut timing.gossip_interval, written.gossip_interval);
    set(&mut timing.gossip_to_the_dead_time, written.gossip_to_the_dead_time);
    set(&mut timing.probe_interval, written.probe_interval);
    set(&mut timing.probe_timeout, written.probe_timeout);
    set(&mut timing.push_pull_interval, written.push_pull_interval);
    set(&mut timing.tcp_timeout, written.tcp_timeout);
    set(&mut timing.reconnect_interval, written.reconnect_interval);
    set(&mut timing.reconnect_timeout, written.reconnect_timeout);
    set(&mut timing.tombstone_timeout, written.tombstone_timeout);
    set(&mut timing.broadcast_timeout, written.broadcast_timeout);
    timing.broadcast_timeout = timing.broadcast_timeout.max(Duration::from_secs(1));

    let count = |written: Option<i64>, default: u32| {
        written.map_or(default, |number| u32::try_from(number).unwrap_or(u32::MAX))
    };
    timing.retransmit_mult = count(written.retransmit_mult, timing.retransmit_mult);
    timing.suspicion_mult = count(written.suspicion_mult, timing.suspicion_mult);
    let nodes = |written: Option<i64>, default: usize| {
        written.map_or(default, |number| usize::try_from(number).unwrap_or(usize::MAX))
    };
    timing.gossip_nodes = nodes(written.gossip_nodes, timing.gossip_nodes);
    timing.indirect_checks = nodes(written.indirect_checks, timing.indirect_checks);

    // Go's agent sets these in every profile.
    timing.coalesce_period = Duration::from_secs(3);
    timing.quiescent_period = Duration::from_secs(1);
    timing.user_coalesce_period = Duration::from_secs(3);
    timing.user_quiescent_period = Duration::from_secs(1);
}

fn apply_limits(written: &FileConfig, limits: &mut Limits) {
    let set = |target: &mut usize, written: Option<i64>| {
        *target = written.map_or(*target, |number| usize::try_from(number).unwrap_or(0));
    };
    set(&mut limits.query_response_size, written.query_response_size_limit);
    set(&mut limits.query_size, written.query_size_limit);
    set(&mut limits.user_event_size, written.user_event_size_limit);
}
