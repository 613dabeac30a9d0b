//! Peers to be contacted again although they are no longer members.

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc, time::Duration};

use super::Member;
use crate::base::Instant;

/// Members that were reaped as failed: after a long partition only this list reunites the parts. Go
/// forgets them when they are reaped. Limited in number and age.
#[derive(Default)]
pub(crate) struct Remembered {
    peers: BTreeMap<Arc<str>, (SocketAddr, Instant)>,
    /// Addresses that a join succeeded with.
    seeds: Vec<SocketAddr>,
}

impl Remembered {
    pub(crate) fn remember(&mut self, now: Instant, member: &Member) {
        let Some(addr) = member.addr() else { return };
        if self.peers.len() >= PEERS_MAX {
            let oldest = self.peers.iter().min_by_key(|(_, (_, at))| *at);
            let oldest = oldest.map(|(name, _)| name.clone());
            if let Some(oldest) = oldest {
                self.peers.remove(&oldest);
            }
        }
        self.peers.insert(member.name.clone(), (addr, now));
    }

    pub(crate) fn forget(&mut self, name: &str) {
        self.peers.remove(name);
    }

    /// Adds an address that a join succeeded with.
    pub(crate) fn add_seed(&mut self, addr: SocketAddr) {
        if !self.seeds.contains(&addr) && self.seeds.len() < SEEDS_MAX {
            self.seeds.push(addr);
        }
    }

    pub(crate) fn seeds(&self) -> &[SocketAddr] {
        &self.seeds
    }

    pub(crate) fn expire(&mut self, now: Instant) {
        self.peers.retain(|_, (_, at)| now.since(*at) <= MEMORY);
    }

    pub(crate) fn len(&self) -> usize {
        self.peers.len()
    }

    pub(crate) fn at(&self, place: usize) -> Option<(&Arc<str>, SocketAddr)> {
        self.peers.iter().nth(place).map(|(name, (addr, _))| (name, *addr))
    }
}

/// Most seeds remembered; they do not expire.
const SEEDS_MAX: usize = 64;
/// Most peers remembered.
const PEERS_MAX: usize = 1_024;
/// How long after the reap a peer is contacted: after a week its address may belong to another
/// node.
const MEMORY: Duration = Duration::from_secs(7 * 24 * 3600);
