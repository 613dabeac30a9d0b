//! The peers of an earlier run.

use std::{collections::BTreeMap, net::SocketAddr};

use crate::{base::Rng, serf::snapshot::Replay, swim::OpId};

/// Peers of the snapshot and the progress of the rejoin.
#[derive(Default)]
pub(super) struct Rejoin {
    /// Peers that were alive; the next one is last.
    pub(super) alive: Vec<Peer>,
    /// Peers that had failed: tried if none of the others answers.
    pub(super) failed: Vec<Peer>,
    pub(super) under_way: Option<(OpId, Peer)>,
    pub(super) joined: bool,
    /// How many unknown peers are still contacted after the first answer.
    pub(super) more: u8,
}

pub(super) struct Peer {
    pub(super) name: String,
    pub(super) addr: SocketAddr,
}

impl Rejoin {
    pub(super) fn new(previous: Replay, own_name: &str, rng: &mut Rng) -> Self {
        let mut peers = |list: BTreeMap<String, String>| {
            let others = list.into_iter().filter(|(name, _)| name != own_name);
            let peer =
                |(name, addr): (String, String)| Some(Peer { addr: addr.parse().ok()?, name });
            let mut peers: Vec<_> = others.filter_map(peer).collect();
            rng.shuffle(&mut peers);
            peers
        };
        let (alive, failed) = (peers(previous.alive), peers(previous.failed));
        Self { alive, failed, more: STRANGERS_MAX, ..Self::default() }
    }

    pub(super) fn next(&mut self) -> Option<Peer> {
        self.alive.pop().or_else(|| if self.joined { None } else { self.failed.pop() })
    }
}

/// Unknown peers contacted after the first answer. With `k` random edges a node, a cluster of any
/// size is almost surely connected for `k` above two; the rest allows for peers that no longer
/// exist.
const STRANGERS_MAX: u8 = 8;
