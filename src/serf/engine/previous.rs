//! The peers of an earlier run.

use std::net::SocketAddr;

use crate::{
    serf::{context::Context, peers::NamedAddr},
    swim::OpId,
};

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
    named: NamedAddr,
    pub(super) addr: SocketAddr,
}

impl Peer {
    pub(super) fn name(&self) -> &str {
        self.named.name()
    }
}

impl Rejoin {
    pub(super) fn new(cx: &mut Context) -> Self {
        let Some(snapshot) = &cx.delivery.snapshot else { return Self::default() };
        let [alive, failed] = snapshot.peers().map(|list| {
            let mut peers = Vec::with_capacity(list.len());
            let others = list.iter().filter(|named| *named.name() != *cx.name);
            peers.extend(others.filter_map(|named| {
                Some(Peer { addr: named.addr().parse().ok()?, named: named.clone() })
            }));
            cx.rng.shuffle(&mut peers);
            peers
        });
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
