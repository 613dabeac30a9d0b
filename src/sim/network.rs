//! The virtual network: determines the fate of datagrams and stream segments.

use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

use crate::base::Rng;

/// Behaviour of a link in one direction.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Link {
    /// Minimum delay of a datagram; at least 10 µs. Default 500 µs.
    pub latency: Duration,
    /// Mean of the exponentially distributed additional delay. Default 100 µs.
    pub jitter: Duration,
    /// Share of datagrams that are lost; default 0.
    pub loss: f64,
    /// Share of datagrams that arrive twice; default 0.
    pub duplication: f64,
    /// Share of datagrams that are delayed by up to [`Link::reorder_delay`]; default 0.
    pub reordering: f64,
    /// Largest additional delay of a reordered datagram; default 50 ms.
    pub reorder_delay: Duration,
    /// Bytes per second of one stream; default 125 MB/s.
    pub bandwidth: u64,
}

impl Default for Link {
    fn default() -> Self {
        Self {
            latency: Duration::from_micros(500),
            jitter: Duration::from_micros(100),
            loss: 0.0,
            duplication: 0.0,
            reordering: 0.0,
            reorder_delay: Duration::from_millis(50),
            bandwidth: 125_000_000,
        }
    }
}

impl Link {
    /// A link between sites: 40 ms each way, 5 ms jitter.
    pub fn wan() -> Self {
        Self {
            latency: Duration::from_millis(40),
            jitter: Duration::from_millis(5),
            ..Self::default()
        }
    }
}

/// Traffic that a partition blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Traffic {
    /// Datagrams and streams.
    All,
    /// Datagrams only: like a firewall that only allows TCP.
    Udp,
    /// Streams only.
    Tcp,
}

/// Links and partitions. Each node is in one of 64 groups; all start in group 0.
#[derive(Clone, Debug)]
pub struct Network {
    link: Link,
    /// Links between groups that differ from `link`.
    links: BTreeMap<(u8, u8), Link>,
    /// Additional loss of single nodes, for sending and receiving.
    lossy: BTreeMap<u32, f64>,
    groups: Vec<u8>,
    /// Bytes per second of all streams that a node sends, together; unlimited by default.
    uplink: Option<u64>,
    /// If bit `b` of `cut_udp[a]` is set, no datagram passes from group a to group b.
    cut_udp: [u64; GROUPS],
    cut_tcp: [u64; GROUPS],
}

/// Arrival times of a datagram, relative to its sending.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Lost,
    Once(u64),
    Twice(u64, u64),
}

impl Network {
    /// Creates a network of equal links.
    #[doc(hidden)]
    pub fn new(link: Link) -> Self {
        Self {
            link,
            links: BTreeMap::new(),
            lossy: BTreeMap::new(),
            groups: Vec::new(),
            uplink: None,
            cut_udp: [0; GROUPS],
            cut_tcp: [0; GROUPS],
        }
    }

    /// Changes the default link, which applies to groups without a link of their own.
    pub fn set_link(&mut self, link: Link) {
        self.link = link;
    }

    /// The default link.
    #[doc(hidden)]
    pub fn link(&self) -> Link {
        self.link
    }

    /// Changes the link from one group to another, in that direction only.
    pub fn set_group_link(&mut self, from: u8, to: u8, link: Link) {
        self.links.insert((from % GROUPS as u8, to % GROUPS as u8), link);
    }

    /// Loses this share of a node's datagrams in both directions, in addition to its links' loss.
    pub fn set_node_loss(&mut self, node: u32, loss: f64) {
        if loss > 0.0 {
            self.lossy.insert(node, loss);
        } else {
            self.lossy.remove(&node);
        }
    }

    /// Puts a node in a group (0 to 63).
    pub fn set_group(&mut self, node: u32, group: u8) {
        let index = node as usize;
        if self.groups.len() <= index {
            self.groups.resize(index + 1, 0);
        }
        self.groups[index] = group % GROUPS as u8;
    }

    /// Lets all streams that a node sends share this many bytes per second.
    pub(crate) fn set_uplink(&mut self, bytes_per_second: u64) {
        self.uplink = Some(bytes_per_second.max(1));
    }

    /// Nanoseconds for which this many bytes occupy a node's own end of its link.
    pub(crate) fn uplink_nanos(&self, bytes: usize) -> u64 {
        let Some(uplink) = self.uplink else { return 0 };
        (bytes as u64).saturating_mul(1_000_000_000) / uplink
    }

    /// The group of a node.
    #[doc(hidden)]
    pub fn group(&self, node: u32) -> u8 {
        self.groups.get(node as usize).copied().unwrap_or(0)
    }

    /// Blocks traffic from one group to another, in that direction only.
    pub fn cut(&mut self, from: u8, to: u8, traffic: Traffic) {
        let (from, bit) = (from as usize % GROUPS, 1 << (to as usize % GROUPS));
        if traffic != Traffic::Tcp {
            self.cut_udp[from] |= bit;
        }
        if traffic != Traffic::Udp {
            self.cut_tcp[from] |= bit;
        }
    }

    /// Ends all partitions and puts all nodes back in group 0.
    pub fn heal(&mut self) {
        self.cut_udp = [0; GROUPS];
        self.cut_tcp = [0; GROUPS];
        self.groups.clear();
    }

    /// Whether streams pass from one node to the other.
    #[doc(hidden)]
    pub fn stream_passes(&self, from: u32, to: u32) -> bool {
        let (from, to) = (self.group(from) as usize, self.group(to) as usize);
        self.cut_tcp[from] >> to & 1 == 0
    }

    /// Whether datagrams pass from one node to the other, apart from losses.
    #[doc(hidden)]
    pub fn datagram_passes(&self, from: u32, to: u32) -> bool {
        let (from, to) = (self.group(from) as usize, self.group(to) as usize);
        self.cut_udp[from] >> to & 1 == 0
    }

    /// The minimum delay between any two nodes: limits how far threads may diverge.
    pub(crate) fn latency_min(&self) -> u64 {
        self.links
            .values()
            .chain([&self.link])
            .map(|link| nanos(link.latency))
            .min()
            .unwrap_or(LATENCY_MIN)
            .max(LATENCY_MIN)
    }

    /// Draws the fate of a datagram.
    pub(crate) fn datagram(&self, rng: &mut Rng, from: u32, to: u32) -> Fate {
        if !self.datagram_passes(from, to) {
            return Fate::Lost;
        }
        let link = self.link_between(from, to);
        let extra = if self.lossy.is_empty() {
            0.0
        } else {
            let loss = |node| self.lossy.get(&node).copied().unwrap_or(0.0);
            1.0 - (1.0 - loss(from)) * (1.0 - loss(to))
        };
        if chance(rng, link.loss) || chance(rng, extra) {
            return Fate::Lost;
        }
        let first = delay(rng, link);
        if chance(rng, link.duplication) {
            return Fate::Twice(first, delay(rng, link));
        }
        Fate::Once(first)
    }

    /// Draws the delay of a stream segment of this size; `None` if it never arrives.
    ///
    /// A loss appears as the delay of a retransmission: 200 ms, doubling.
    pub(crate) fn segment(&self, rng: &mut Rng, from: u32, to: u32, bytes: usize) -> Option<u64> {
        if !self.stream_passes(from, to) {
            return None;
        }
        let link = self.link_between(from, to);
        let mut wait = nanos(link.latency).max(LATENCY_MIN) + exponential(rng, link.jitter);
        wait += (bytes as u64).saturating_mul(1_000_000_000) / link.bandwidth.max(1);
        let mut retransmission = 200_000_000;
        let mut tries = 0;
        while tries < 6 && chance(rng, link.loss) {
            wait += retransmission;
            retransmission *= 2;
            tries += 1;
        }
        (tries < 6).then_some(wait)
    }

    fn link_between(&self, from: u32, to: u32) -> &Link {
        if self.links.is_empty() {
            return &self.link;
        }
        self.links.get(&(self.group(from), self.group(to))).unwrap_or(&self.link)
    }
}

/// The virtual address of a node: 10.0.0.1 for node 0, and so on, port 7946.
///
/// `moves` counts how often the node has changed its address: 11.0.0.1, ...
pub fn address_of(node: u32, moves: u8) -> SocketAddr {
    let [_, b, c, d] = (node + 1).to_be_bytes();
    SocketAddr::from(([10 + moves, b, c, d], 7946))
}

/// The node with a virtual address, and how often it had moved; `None` if no node has it.
pub fn node_at(addr: SocketAddr) -> Option<(u32, u8)> {
    let std::net::IpAddr::V4(ip) = addr.ip().to_canonical() else { return None };
    let [a, b, c, d] = ip.octets();
    let node = u32::from_be_bytes([0, b, c, d]).checked_sub(1)?;
    (addr.port() == 7946).then_some(())?;
    Some((node, a.checked_sub(10)?))
}

fn delay(rng: &mut Rng, link: &Link) -> u64 {
    let mut wait = nanos(link.latency).max(LATENCY_MIN) + exponential(rng, link.jitter);
    if chance(rng, link.reordering) {
        wait += (rng.unit() * link.reorder_delay.as_nanos() as f64) as u64;
    }
    wait
}

fn exponential(rng: &mut Rng, mean: Duration) -> u64 {
    if mean.is_zero() {
        return 0;
    }
    (-(1.0 - rng.unit()).ln() * mean.as_nanos() as f64) as u64
}

fn chance(rng: &mut Rng, probability: f64) -> bool {
    probability > 0.0 && rng.unit() < probability
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

const GROUPS: usize = 64;
const LATENCY_MIN: u64 = 10_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_nodes_map_both_ways() {
        for node in [0, 1, 254, 255, 65_535, 9_999_999] {
            assert_eq!(node_at(address_of(node, 0)), Some((node, 0)));
            assert_eq!(node_at(address_of(node, 3)), Some((node, 3)));
        }
        assert_eq!(node_at("10.0.0.0:7946".parse().unwrap()), None);
        assert_eq!(node_at("10.0.0.1:80".parse().unwrap()), None);
        assert_eq!(node_at("127.0.0.1:7946".parse().unwrap()), Some((0, 117)));
        assert_eq!(node_at("9.0.0.1:7946".parse().unwrap()), None);
        assert_eq!(node_at("[::ffff:10.0.0.1]:7946".parse().unwrap()), Some((0, 0)));
    }

    #[test]
    fn a_link_between_groups_is_that_of_its_direction() {
        let mut network = Network::new(Link::default());
        network.set_group(1, 1);
        network.set_group_link(0, 1, Link::wan());
        let mut rng = Rng::from_u64(1);
        let mut shortest = |from, to| {
            let delay = |_| match network.datagram(&mut rng, from, to) {
                Fate::Once(delay) => delay,
                fate => panic!("{fate:?}"),
            };
            (0..100).map(delay).min().unwrap()
        };
        assert!(shortest(0, 1) >= 40_000_000);
        assert!(shortest(1, 0) < 1_000_000 && shortest(0, 0) < 1_000_000);
    }

    #[test]
    fn loss_duplication_and_delay_have_the_asked_frequencies() {
        let link = Link {
            latency: Duration::from_millis(1),
            jitter: Duration::from_millis(2),
            loss: 0.1,
            duplication: 0.05,
            ..Link::default()
        };
        let network = Network::new(link);
        let mut rng = Rng::from_u64(1);
        let (mut lost, mut twice, mut sum, mut count) = (0, 0, 0.0, 0);
        for _ in 0..100_000 {
            match network.datagram(&mut rng, 0, 1) {
                Fate::Lost => lost += 1,
                Fate::Once(at) => {
                    assert!(at >= 1_000_000);
                    sum += at as f64;
                    count += 1;
                }
                Fate::Twice(..) => twice += 1,
            }
        }
        assert!((9_600..10_400).contains(&lost), "{lost}");
        assert!((4_200..4_800).contains(&twice), "{twice} of 90 % at 5 %");
        let mean = sum / f64::from(count);
        assert!((2.95e6..3.05e6).contains(&mean), "{mean}");
    }

    #[test]
    fn a_cut_has_a_direction_and_a_kind_and_heals() {
        let mut network = Network::new(Link::default());
        let mut rng = Rng::from_u64(1);
        network.set_group(7, 1);
        network.cut(0, 1, Traffic::Udp);
        assert_eq!(network.datagram(&mut rng, 0, 7), Fate::Lost);
        assert_ne!(network.datagram(&mut rng, 7, 0), Fate::Lost);
        assert!(network.segment(&mut rng, 0, 7, 100).is_some(), "streams still pass");
        network.cut(1, 0, Traffic::All);
        assert!(network.segment(&mut rng, 7, 0, 100).is_none());
        network.heal();
        assert_ne!(network.datagram(&mut rng, 0, 7), Fate::Lost);
        assert!(network.segment(&mut rng, 7, 0, 100).is_some());
    }

    #[test]
    fn a_big_segment_takes_its_time_and_loss_costs_retransmissions() {
        let mut network = Network::new(Link { jitter: Duration::ZERO, ..Link::default() });
        let mut rng = Rng::from_u64(1);
        let small = network.segment(&mut rng, 0, 1, 0).unwrap();
        let big = network.segment(&mut rng, 0, 1, 1_250_000).unwrap();
        assert_eq!(big - small, 10_000_000);
        network.set_link(Link { loss: 1.0, ..network.link() });
        assert!(network.segment(&mut rng, 0, 1, 0).is_none());
    }
}
