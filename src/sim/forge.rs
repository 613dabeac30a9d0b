//! An adversary that forges datagrams from a grammar of everything a node may receive.
//!
//! ```text
//! packet      = message | compound of 2 to 8 messages
//! message     = ping | indirect ping | ack | nack | suspect | alive | dead | user | noise
//! name        = any node | one of eight that do not exist
//! incarnation = 0 | the node's own, plus 0, 1, 7, 2^23, 2^24 | the last
//! address     = the node's | the adversary's | that of a bystander outside of the cluster
//! ```

use std::{collections::BTreeSet, net::SocketAddr};

use super::{Oracle, SwimNode, address_of};
use crate::{
    base::Rng,
    wire::{Ack, Alive, Bin, Dead, Incarnation, IndirectPing, Nack, Ping, SeqNo, Suspect},
};

/// Forges datagrams.
pub(crate) struct Forger {
    rng: Rng,
    adversary: u32,
    nodes: u32,
    ghosts: BTreeSet<usize>,
    /// Increasing number for news about ghosts, so that each is newer than the last.
    news: u32,
}

impl Forger {
    pub(crate) fn new(seed: u64, adversary: u32, nodes: u32) -> Self {
        let rng = Rng::from_u64(seed ^ 0xf026e);
        Self { rng, adversary, nodes, ghosts: BTreeSet::new(), news: 0 }
    }

    /// Number of names made up so far.
    pub(crate) fn ghosts(&self) -> usize {
        self.ghosts.len()
    }

    /// Forges a datagram; returns it with the address that it claims to come from.
    pub(crate) fn datagram(&mut self, oracle: &Oracle) -> (SocketAddr, Vec<u8>) {
        let from = match self.rng.below(4) {
            0 => BYSTANDER.into(),
            _ => address_of(self.adversary, 0),
        };
        if self.rng.below(3) > 0 {
            return (from, self.message(oracle));
        }
        let parts: Vec<_> = (0..2 + self.rng.below(7)).map(|_| self.message(oracle)).collect();
        let mut packet = vec![COMPOUND, parts.len() as u8];
        packet.extend(parts.iter().flat_map(|part| (part.len() as u16).to_be_bytes()));
        packet.extend(parts.concat());
        (from, packet)
    }

    fn message(&mut self, oracle: &Oracle) -> Vec<u8> {
        let mut out = Vec::new();
        let node = self.name();
        // Never the node itself: a forged leave frees its name for the next node that claims it,
        // which no rule can prevent.
        let accuser = self.name();
        let accuser = if accuser == node { "nobody".to_owned() } else { accuser };
        let incarnation = self.incarnation(oracle, &node);
        let (node, accuser) = (node.as_bytes(), accuser.as_bytes());
        let addr = self.addr();
        let ip = |addr: SocketAddr| match addr.ip() {
            std::net::IpAddr::V4(ip) => ip.octets().to_vec(),
            std::net::IpAddr::V6(ip) => ip.octets().to_vec(),
        };
        let seq_no = SeqNo(self.rng.below(200) as u32);
        match self.rng.below(9) {
            0 => Ping {
                seq_no,
                node,
                source_addr: ip(BYSTANDER.into()).as_slice().into(),
                source_port: BYSTANDER.1,
                source_node: accuser,
            }
            .encode(&mut out),
            1 => IndirectPing {
                seq_no,
                target: ip(BYSTANDER.into()).as_slice().into(),
                port: BYSTANDER.1,
                node,
                nack: self.rng.below(2) == 0,
                source_addr: ip(addr).as_slice().into(),
                source_port: addr.port(),
                source_node: accuser,
            }
            .encode(&mut out),
            2 => Ack { seq_no, payload: Bin::from(&b"x"[..]) }.encode(&mut out),
            3 => Nack { seq_no }.encode(&mut out),
            4 => Suspect { incarnation, node, from: accuser }.encode(&mut out),
            5 | 6 => Alive {
                incarnation,
                node,
                addr: ip(addr).as_slice().into(),
                port: addr.port(),
                meta: b"forged".as_slice().into(),
                vsn: [1, 5, 2, 0, 0, 0].as_slice().into(),
            }
            .encode(&mut out),
            7 => Dead { incarnation, node, from: accuser }.encode(&mut out),
            _ => {
                out.resize(1 + self.rng.below(60), 0);
                self.rng.fill(&mut out);
                // Keeps the type byte of noise within the known kinds, except user messages, which
                // belong to the layer above.
                out[0] %= 13;
            }
        }
        out
    }

    fn name(&mut self) -> String {
        match self.rng.below(3) {
            0 => {
                let ghost = self.rng.below(GHOSTS);
                self.ghosts.insert(ghost);
                format!("ghost-{ghost}")
            }
            _ => SwimNode::name_of(self.rng.below(self.nodes as usize) as u32),
        }
    }

    fn incarnation(&mut self, oracle: &Oracle, name: &str) -> Incarnation {
        let Some(truth) = oracle.truth(SwimNode::index_of(name)) else {
            self.news += 1;
            return Incarnation(self.news);
        };
        let own = truth.incarnation_max;
        Incarnation(match self.rng.below(8) {
            0 => 0,
            1 | 2 => own,
            3 => own.saturating_add(1),
            4 => own.saturating_add(7),
            5 => own.saturating_add(1 << 23),
            6 => own.saturating_add(1 << 24),
            _ => u32::MAX,
        })
    }

    fn addr(&mut self) -> SocketAddr {
        match self.rng.below(2) {
            0 => address_of(self.rng.below(self.nodes as usize) as u32, 0),
            _ => address_of(self.adversary, 0),
        }
    }
}

const COMPOUND: u8 = 7;
/// An address outside the cluster that never requested anything.
const BYSTANDER: ([u8; 4], u16) = ([203, 0, 113, 9], 9);
/// Most names that are made up.
const GHOSTS: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Message;

    #[test]
    fn most_of_what_is_forged_can_be_read_and_a_seed_gives_one_run() {
        let oracle = Oracle::new(5);
        let draw = |seed| {
            let mut forger = Forger::new(seed, 0, 5);
            (0..500).map(|_| forger.datagram(&oracle).1).collect::<Vec<_>>()
        };
        let (a, b) = (draw(1), draw(2));
        assert_eq!(a, draw(1));
        assert_ne!(a, b);
        let read = a.iter().filter(|packet| Message::decode(packet).is_ok()).count();
        assert!(read > 400, "{read} of 500 can be read");
    }
}
