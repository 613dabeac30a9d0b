//! Settings of the membership engine; names and defaults are Go's.

use std::{net::IpAddr, sync::Arc, time::Duration};

use crate::wire::{CodecConfig, Compression, Incarnation};

/// Configuration of one node. Go: `memberlist/config.go`.
#[derive(Clone)]
pub struct Config {
    /// Name of the node, unique in the cluster.
    pub name: Arc<str>,
    /// Address the node announces: the raw 4 or 16 bytes that go on the wire. Go sends 16 bytes
    /// for an auto-detected IPv4 address and 4 for a configured one; peers compare bytes.
    pub advertise_addr: Vec<u8>,
    /// Port the node announces.
    pub advertise_port: u16,
    /// Port assumed for peers that send none. Go: `BindPort`.
    pub bind_port: u16,
    /// 1 to 5, default 2.
    pub protocol_version: u8,
    /// `[min, max, current]` of the layer above; Serf sends `[2, 5, 4 or 5]`.
    pub delegate_protocol: [u8; 3],
    /// Label, keys, compression, verification.
    pub codec: CodecConfig,
    /// Deadline of a stream exchange; LAN 10 s, WAN 30 s, local 1 s.
    pub tcp_timeout: Duration,
    /// Helpers asked to ping a silent node; 3, 3, 1.
    pub indirect_checks: usize,
    /// Factor of the transmit limit; 4, 4, 2.
    pub retransmit_mult: u32,
    /// Factor of the suspicion timeout; 4, 6, 3.
    pub suspicion_mult: u32,
    /// Longest suspicion as a multiple of the shortest; 6.
    pub suspicion_max_timeout_mult: u32,
    /// Time between full syncs, before scaling; 30 s, 60 s, 15 s. Zero: never.
    pub push_pull_interval: Duration,
    /// Wait for a direct ack; 500 ms, 3 s, 200 ms.
    pub probe_timeout: Duration,
    /// Time between probes; 1 s, 5 s, 1 s. Zero: never (and nothing is reaped).
    pub probe_interval: Duration,
    /// Do not use a stream ping as a fallback.
    pub disable_tcp_pings: bool,
    /// Upper bound (exclusive) of the health score; 8.
    pub awareness_max_multiplier: u32,
    /// Targets of a gossip round; 3, 4, 3.
    pub gossip_nodes: usize,
    /// Time between gossip rounds; 200 ms, 500 ms, 100 ms. Zero: never.
    pub gossip_interval: Duration,
    /// How long dead nodes still receive gossip and stay listed; 30 s, 60 s, 15 s.
    pub gossip_to_the_dead_time: Duration,
    /// Bytes of a packet that piggybacked messages may fill; 1400.
    pub udp_buffer_size: usize,
    /// Messages waiting in each hand-off queue; 8192. Go has 1024, and drops what a burst has
    /// beyond them.
    pub handoff_queue_depth: usize,
    /// After this time a dead node's name may be claimed from another address; zero: never.
    pub dead_node_reclaim_time: Duration,
    /// Networks whose nodes are accepted; empty: all.
    pub cidrs_allowed: Vec<Cidr>,
    /// Refuse to talk to peers whose name is unknown.
    pub require_node_names: bool,
    /// Whether the Host's alive filter is consulted (Go: an Alive delegate is set).
    pub filter_alive: bool,
    /// The first incarnation is above this: the last one of an earlier run, zero for none.
    pub incarnation_min: Incarnation,
    /// Sequence number before the first ping's; `None`: random.
    pub seq_no_start: Option<u32>,
    /// With at most this many live others, our join or leave is also sent to each of them directly,
    /// as gossip may miss a node in a small cluster. Zero: never.
    pub direct_notices_max: usize,
    /// Seed of every random choice and of the nonces. Must be unpredictable in production.
    pub seed: [u8; 32],
    /// Whether the Host is asked before a join is merged (Go: a Merge delegate is set).
    pub filter_merge: bool,
    /// Most packets that a gossip round sends to one target while the layer above has a backlog; up
    /// to 64 with a long backlog, unless this is 1. Go: 1.
    pub gossip_burst: usize,
    /// Drop exact copies of encrypted packets for a minute. Go has no counterpart.
    pub drop_replays: bool,
    /// Gossip and sync mostly with nodes of the own zone, see [`Host::zone`](super::Host::zone).
    pub zones: bool,
    /// Notice failures sooner: ask helpers after a few round trips, and verify suspicions. Go has
    /// no counterpart.
    pub fast_detection: bool,
    /// Lifeguard component, for experiments: scale the probe interval by the health score.
    pub lha_probe: bool,
    /// Lifeguard component, for experiments: start suspicions at the longest timeout and shorten
    /// it.
    pub lha_suspicion: bool,
    /// Lifeguard component, for experiments: piggyback the suspicion on pings of a suspect.
    pub buddy_system: bool,
    /// Push/pulls pass on pages of rows instead of bytes: for simulations of large clusters, see
    /// [`Swim::take_shared`](super::Swim::take_shared).
    #[cfg(feature = "sim")]
    pub share_pages: bool,
    /// A deliberate bug, to test the simulator.
    #[cfg(feature = "sim")]
    pub mutation: Option<crate::base::Mutation>,
}

/// A network in prefix notation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cidr {
    /// Any address in the network.
    pub addr: IpAddr,
    /// Length of the prefix in bits.
    pub prefix: u8,
}

impl Cidr {
    /// Whether the network contains `ip`; v4-mapped addresses count as IPv4.
    pub fn contains(&self, ip: IpAddr) -> bool {
        fn same(a: u128, b: u128, bits: u32, prefix: u8) -> bool {
            let host_bits = bits.saturating_sub(u32::from(prefix));
            a.checked_shr(host_bits) == b.checked_shr(host_bits)
        }
        match (self.addr.to_canonical(), ip.to_canonical()) {
            (IpAddr::V4(a), IpAddr::V4(b)) => {
                same(u32::from(a).into(), u32::from(b).into(), 32, self.prefix)
            }
            (IpAddr::V6(a), IpAddr::V6(b)) => same(a.into(), b.into(), 128, self.prefix),
            _ => false,
        }
    }
}

impl Config {
    /// Defaults for a local network. Go: `DefaultLANConfig`.
    pub fn lan(name: &str) -> Self {
        Self {
            name: name.into(),
            advertise_addr: Vec::new(),
            advertise_port: 7946,
            bind_port: 7946,
            protocol_version: 2,
            delegate_protocol: [0; 3],
            codec: CodecConfig {
                verify_incoming: true,
                verify_outgoing: true,
                compression: Compression::Lzw,
                protocol_version: 2,
                ..CodecConfig::default()
            },
            tcp_timeout: Duration::from_secs(10),
            indirect_checks: 3,
            retransmit_mult: 4,
            suspicion_mult: 4,
            suspicion_max_timeout_mult: 6,
            push_pull_interval: Duration::from_secs(30),
            probe_timeout: Duration::from_millis(500),
            probe_interval: Duration::from_secs(1),
            disable_tcp_pings: false,
            awareness_max_multiplier: 8,
            gossip_nodes: 3,
            gossip_interval: Duration::from_millis(200),
            gossip_to_the_dead_time: Duration::from_secs(30),
            udp_buffer_size: 1400,
            handoff_queue_depth: 8192,
            dead_node_reclaim_time: Duration::ZERO,
            cidrs_allowed: Vec::new(),
            require_node_names: false,
            filter_alive: false,
            filter_merge: false,
            gossip_burst: 4,
            incarnation_min: Incarnation(0),
            seq_no_start: None,
            direct_notices_max: 10,
            seed: [0; 32],
            drop_replays: true,
            zones: false,
            fast_detection: false,
            lha_probe: true,
            lha_suspicion: true,
            buddy_system: true,
            #[cfg(feature = "sim")]
            share_pages: false,
            #[cfg(feature = "sim")]
            mutation: None,
        }
    }

    /// Defaults for links between sites. Go: `DefaultWANConfig`.
    pub fn wan(name: &str) -> Self {
        Self {
            tcp_timeout: Duration::from_secs(30),
            suspicion_mult: 6,
            push_pull_interval: Duration::from_secs(60),
            probe_timeout: Duration::from_secs(3),
            probe_interval: Duration::from_secs(5),
            gossip_nodes: 4,
            gossip_interval: Duration::from_millis(500),
            gossip_to_the_dead_time: Duration::from_secs(60),
            ..Self::lan(name)
        }
    }

    /// Defaults for one machine. Go: `DefaultLocalConfig`.
    pub fn local(name: &str) -> Self {
        Self {
            tcp_timeout: Duration::from_secs(1),
            indirect_checks: 1,
            retransmit_mult: 2,
            suspicion_mult: 3,
            push_pull_interval: Duration::from_secs(15),
            probe_timeout: Duration::from_millis(200),
            gossip_interval: Duration::from_millis(100),
            gossip_to_the_dead_time: Duration::from_secs(15),
            ..Self::lan(name)
        }
    }
}

/// `interval × (⌈log2 n − log2 32⌉ + 1)` above 32 nodes. Go: `util.go`, `pushPullScale`.
pub fn push_pull_scale(interval: Duration, n: usize) -> Duration {
    let n = n as f64;
    if n <= SCALE_THRESHOLD {
        return interval;
    }
    let factor = (n.log2() - SCALE_THRESHOLD.log2()).ceil() + 1.0;
    interval.saturating_mul(factor as u32)
}

/// Clusters above this size sync less often. Go: `pushPullScaleThreshold`.
const SCALE_THRESHOLD: f64 = 32.0;

#[cfg(test)]
mod tests {
    use super::*;

    // parity: agent-config: profile lan/wan/local
    #[test]
    fn profiles_are_gos() {
        // Goal: the table of memberlist's three default configurations (LAN, WAN, local).
        let ms = |config: &Config| {
            [
                config.tcp_timeout,
                config.push_pull_interval,
                config.probe_interval,
                config.probe_timeout,
                config.gossip_interval,
                config.gossip_to_the_dead_time,
            ]
            .map(|time| time.as_millis())
        };
        let counts = |config: &Config| {
            let (indirect, gossip) = (config.indirect_checks as u32, config.gossip_nodes as u32);
            let max = config.suspicion_max_timeout_mult;
            [indirect, config.retransmit_mult, config.suspicion_mult, max, gossip]
        };
        let (lan, wan, local) = (Config::lan("n"), Config::wan("n"), Config::local("n"));
        assert_eq!(ms(&lan), [10_000, 30_000, 1_000, 500, 200, 30_000]);
        assert_eq!(ms(&wan), [30_000, 60_000, 5_000, 3_000, 500, 60_000]);
        assert_eq!(ms(&local), [1_000, 15_000, 1_000, 200, 100, 15_000]);
        assert_eq!(counts(&lan), [3, 4, 4, 6, 3]);
        assert_eq!(counts(&wan), [3, 4, 6, 6, 4]);
        assert_eq!(counts(&local), [1, 2, 3, 6, 3]);
    }

    #[test]
    fn sync_interval_grows_with_the_logarithm_of_the_cluster() {
        let second = Duration::from_secs(1);
        let table = [(1, 1), (32, 1), (33, 2), (64, 2), (65, 3), (128, 3), (129, 4)];
        for (n, factor) in table {
            assert_eq!(push_pull_scale(second, n), second * factor, "n = {n}");
        }
    }
}
