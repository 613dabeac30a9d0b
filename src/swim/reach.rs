//! Live peers whose direct probes are not answered, and what still reaches us of them: what an
//! operator needs to find a firewall. Nobody decides anything by it.

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc};

use crate::base::Instant;

/// Peers in trouble; empty in a healthy cluster.
#[derive(Debug, Default)]
pub(super) struct Reach {
    peers: BTreeMap<Arc<str>, Peer>,
}

#[derive(Debug)]
struct Peer {
    addr: SocketAddr,
    trouble: Trouble,
}

/// What is known of a peer since its last direct answer by UDP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(not(feature = "agent"), allow(dead_code))]
pub(crate) struct Trouble {
    /// When the first probe failed.
    pub(crate) since: Instant,
    /// Probes without a direct answer, one after the other.
    pub(crate) probes: u32,
    /// Of those, how many a stream answered.
    pub(crate) by_tcp: u32,
    /// Of those, how many were answered through others.
    pub(crate) by_others: u32,
    /// Datagrams that came from it.
    pub(crate) heard: u32,
}

/// How a probe ended that was not answered directly in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// Its ack came through a helper.
    Indirectly,
    /// Only a stream was answered.
    ByTcp,
    /// Not at all.
    Unanswered,
}

impl Reach {
    /// A probe was answered directly.
    pub(super) fn fine(&mut self, name: &str) {
        if !self.peers.is_empty() {
            self.peers.remove(name);
        }
    }

    /// A probe was not.
    pub(super) fn failed(&mut self, now: Instant, name: &Arc<str>, addr: SocketAddr, how: Ended) {
        if self.peers.len() >= PEERS_MAX && !self.peers.contains_key(name) {
            // The one that is forgotten is noted again if its trouble goes on.
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

    /// A datagram came that the keys and the label let in.
    pub(super) fn heard(&mut self, from: SocketAddr) {
        for peer in self.peers.values_mut().filter(|peer| peer.addr == from) {
            peer.trouble.heard = peer.trouble.heard.saturating_add(1);
        }
    }

    /// The peers, by name.
    #[cfg_attr(not(feature = "agent"), allow(dead_code))]
    pub(super) fn troubles(&self) -> impl Iterator<Item = (&Arc<str>, Trouble)> {
        self.peers.iter().map(|(name, peer)| (name, peer.trouble))
    }
}

/// Peers that are remembered; each costs a comparison for each datagram.
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
