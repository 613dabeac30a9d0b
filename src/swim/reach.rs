//! Live peers that do not answer direct probes, and what is still received from them: helps an
//! operator to find a firewall. The protocol does not use it.

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc};

use crate::base::Instant;

/// Peers with failed direct probes; empty in a healthy cluster.
#[derive(Debug, Default)]
pub(super) struct Reach {
    peers: BTreeMap<Arc<str>, Peer>,
}

#[derive(Debug)]
struct Peer {
    addr: SocketAddr,
    trouble: Trouble,
}

/// What is known of a peer since its last direct answer over UDP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(not(feature = "agent"), allow(dead_code))]
pub(crate) struct Trouble {
    /// Time of the first failed probe.
    pub(crate) since: Instant,
    /// Consecutive probes without a direct answer.
    pub(crate) probes: u32,
    /// Number of these probes answered on a stream.
    pub(crate) by_tcp: u32,
    /// Number of these probes answered through helpers.
    pub(crate) by_others: u32,
    /// Datagrams received from the peer.
    pub(crate) heard: u32,
}

/// Outcome of a probe without a direct ack in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// Acked through a helper.
    Indirectly,
    /// Answered on a stream only.
    ByTcp,
    /// Not answered.
    Unanswered,
}

impl Reach {
    /// A probe was acked directly.
    pub(super) fn fine(&mut self, name: &str) {
        if !self.peers.is_empty() {
            self.peers.remove(name);
        }
    }

    /// A probe was not acked directly.
    pub(super) fn failed(&mut self, now: Instant, name: &Arc<str>, addr: SocketAddr, how: Ended) {
        if self.peers.len() >= PEERS_MAX && !self.peers.contains_key(name) {
            // The evicted peer is recorded again if its probes still fail.
            self.peers.pop_first();
        }
        let trouble = Trouble { since: now, probes: 0, by_tcp: 0, by_others: 0, heard: 0 };
        let peer = self.peers.entry(Arc::clone(name)).or_insert(Peer { addr, trouble });
        peer.addr = addr;
        peer.trouble.probes = peer.trouble.probes.saturating_add(1);
        match how {
            Ended::Indirectly => peer.trouble.by_others = peer.trouble.by_others.saturating_add(1),
            Ended::ByTcp => peer.trouble.by_tcp = peer.trouble.by_tcp.saturating_add(1),
            Ended::Unanswered => {}
        }
    }

    /// An authentic datagram (accepted label and key) was received from an address.
    pub(super) fn heard(&mut self, from: SocketAddr) {
        for peer in self.peers.values_mut().filter(|peer| peer.addr == from) {
            peer.trouble.heard = peer.trouble.heard.saturating_add(1);
        }
    }

    /// The recorded peers, sorted by name.
    #[cfg_attr(not(feature = "agent"), allow(dead_code))]
    pub(super) fn troubles(&self) -> impl Iterator<Item = (&Arc<str>, Trouble)> {
        self.peers.iter().map(|(name, peer)| (name, peer.trouble))
    }
}

/// Most peers recorded; each costs a comparison for each datagram.
const PEERS_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trouble_is_noted_until_a_direct_answer_and_memory_is_bounded() {
        let mut reach = Reach::default();
        let addr: SocketAddr = "10.0.0.2:7946".parse().unwrap();
        let name: Arc<str> = "b".into();
        reach.heard(addr);
        for how in [Ended::ByTcp, Ended::Indirectly, Ended::Unanswered] {
            reach.failed(Instant::ZERO, &name, addr, how);
            reach.heard(addr);
            reach.heard("10.0.0.3:7946".parse().unwrap());
        }
        let (_, trouble) = reach.troubles().next().unwrap();
        assert_eq!(
            (trouble.probes, trouble.by_tcp, trouble.by_others, trouble.heard),
            (3, 1, 1, 3)
        );
        reach.fine("b");
        assert_eq!(reach.troubles().count(), 0);
        for n in 0..=PEERS_MAX {
            reach.failed(Instant::ZERO, &format!("{n}").into(), addr, Ended::ByTcp);
        }
        assert_eq!(reach.troubles().count(), PEERS_MAX);
    }
}
