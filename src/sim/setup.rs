//! Creates clusters, most of them already formed when the run begins.

use std::time::Duration;

use super::{Link, Network, SwimNode, World, WorldConfig, address_of};
use crate::{
    base::{Instant, Rng},
    swim::{Cast, Config},
    wire::Compression,
};

/// A cluster of bare membership engines.
#[derive(Clone)]
pub struct ClusterSpec {
    /// Number of nodes.
    pub nodes: u32,
    /// Seed of all random choices.
    pub seed: u64,
    /// Number of threads; does not affect the result.
    pub threads: usize,
    /// Links at the start.
    pub link: Link,
    /// Settings of every node; name, address and seed are replaced.
    pub config: Config,
    /// Number of trace lines to keep.
    pub trace_lines: usize,
    /// Number of zones that the nodes are in, by turns, at most 64; 0: none. `config` determines
    /// whether gossip follows them.
    pub zones: u8,
    /// Number of nodes, from the first, that are without `fast_detection`, as Go's are.
    pub plain: u32,
}

impl ClusterSpec {
    /// LAN settings without compression, which takes time and does not affect the measured values.
    pub fn lan(nodes: u32, seed: u64) -> Self {
        Self::with_config(nodes, seed, Config::lan("template"))
    }

    /// The settings of a profile (lan, wan or local); `None` for other names.
    pub fn with_profile(nodes: u32, seed: u64, profile: &str) -> Option<Self> {
        let config = match profile {
            "lan" => Config::lan("template"),
            "wan" => Config::wan("template"),
            "local" => Config::local("template"),
            _ => return None,
        };
        Some(Self::with_config(nodes, seed, config))
    }

    /// The given settings, but without compression.
    pub fn with_config(nodes: u32, seed: u64, mut config: Config) -> Self {
        config.codec.compression = Compression::None;
        let link = Link::default();
        Self { nodes, seed, threads: 1, link, config, trace_lines: 0, zones: 0, plain: 0 }
    }

    /// Settings of one node that was started `life` times before.
    pub fn node_config(&self, index: u32, moves: u8, life: u32) -> Config {
        let mut seed = [0; 32];
        Rng::from_u64(self.seed ^ (u64::from(life) << 40) ^ u64::from(index)).fill(&mut seed);
        let addr = address_of(index, moves);
        let advertise_addr = match addr.ip() {
            std::net::IpAddr::V4(ip) => ip.octets().to_vec(),
            std::net::IpAddr::V6(ip) => ip.octets().to_vec(),
        };
        Config {
            name: SwimNode::name_of(index).into(),
            advertise_addr,
            advertise_port: addr.port(),
            bind_port: addr.port(),
            seed,
            fast_detection: self.config.fast_detection && index >= self.plain,
            ..self.config.clone()
        }
    }

    fn zone(&self, index: u32) -> Option<u8> {
        (self.zones > 0).then(|| (index % u32::from(self.zones)) as u8)
    }

    /// Starts one node.
    pub fn build_node(&self, index: u32, moves: u8, life: u32, now: Instant) -> SwimNode {
        SwimNode::build(index, self.zone(index), self.node_config(index, moves, life), now)
            .expect("the settings of a simulated node are sound")
    }

    /// The network with no node yet.
    pub(super) fn build_empty(&self) -> World<SwimNode> {
        let config = WorldConfig {
            seed: self.seed,
            threads: self.threads,
            trace_lines: self.trace_lines,
            ..WorldConfig::default()
        };
        let mut network = Network::new(self.link);
        for index in 0..self.nodes {
            if let Some(zone) = self.zone(index) {
                network.set_group(index, zone);
            }
        }
        World::new(config, network)
    }

    /// Starts all nodes; each already knows all others, and has nothing queued.
    pub fn build(&self) -> World<SwimNode> {
        let mut world = self.build_empty();
        let mut cast = Cast::default();
        for index in 0..self.nodes {
            let zone = self.zone(index);
            let meta = zone.as_slice();
            cast.add(&self.node_config(index, 0, 0), meta, SwimNode::zone_of(meta));
        }
        cast.complete();
        for index in 0..self.nodes {
            let mut node = self.build_node(index, 0, 0, Instant::ZERO);
            node.preload(Instant::ZERO, &cast);
            world.add(node);
        }
        world
    }
}

/// Time after which a preloaded cluster has spread its probes evenly.
pub const WARM_UP: Duration = Duration::from_secs(5);
