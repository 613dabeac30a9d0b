//! Rejoins the peers of the snapshot after a restart.

use std::{net::SocketAddr, time::Duration};

use tracing::{debug, info, warn};

use super::{Engine, previous::Rejoin};
use crate::{
    base::Instant,
    serf::{SerfState, effects::Timer},
    swim::{self, OpId},
};

impl Engine {
    /// Peers of the snapshot that [`Engine::start_rejoin`] has not tried yet; the next one first.
    pub fn previous_peers(&self) -> impl Iterator<Item = (&str, SocketAddr)> {
        let peers = self.rejoin.alive.iter().rev().chain(self.rejoin.failed.iter().rev());
        peers.map(|peer| (peer.name(), peer.addr))
    }

    /// Contacts the peers of the snapshot in random order until one answers; does nothing without a
    /// snapshot. As in Go, this is not a join of Serf: no join intent is sent.
    ///
    /// Go stops at that point. When a whole cluster restarts at once, every node then has one peer,
    /// and the cluster remains in several parts; so a few more peers that are still unknown after
    /// that are contacted, slowly. Go: `serf/serf.go:handleRejoin`.
    pub fn start_rejoin(&mut self, now: Instant) {
        if self.rejoin.alive.is_empty() && self.rejoin.failed.is_empty() {
            return;
        }
        self.begin(now);
        self.rejoin_next();
        self.settle();
    }

    pub(super) fn rejoin_next(&mut self) {
        if self.state.cx.life != SerfState::Alive || self.rejoin.under_way.is_some() {
            return;
        }
        while let Some(peer) = self.rejoin.next() {
            if self.rejoin.joined && self.state.members.table.get(peer.name()).is_some() {
                continue;
            }
            let (name, addr) = (peer.name(), peer.addr);
            info!(target: "serf", "Attempting re-join to previously known node: {name}: {addr}");
            let now = self.state.cx.now;
            let op = self.swim.start_push_pull(now, addr, name, true, &mut self.state);
            self.rejoin.under_way = Some((op, peer));
            return;
        }
        if self.rejoin.joined {
            self.rejoin = Rejoin::default();
        } else {
            warn!(target: "serf", "Failed to re-join any previously known node");
        }
    }

    /// Handles the end of an operation of the layer below; returns whether it belonged to the
    /// rejoin.
    pub(super) fn rejoin_done(&mut self, op: OpId, error: Option<&swim::Error>) -> bool {
        let Some((_, peer)) = self.rejoin.under_way.take_if(|(waiting, _)| *waiting == op) else {
            return false;
        };
        let (name, addr) = (peer.name(), peer.addr);
        match error {
            Some(error) => debug!(target: "serf", "Failed to re-join {name}: {error}"),
            None => {
                info!(target: "serf", "Re-joined to previously known node: {name}: {addr}");
                self.state.members.remembered.add_seed(addr);
                self.rejoin.joined = true;
            }
        }
        if !self.rejoin.joined {
            self.rejoin_next();
        } else if self.rejoin.more > 0 {
            self.rejoin.more -= 1;
            let jitter = self.state.cx.rng.below(STRANGER_JITTER_MILLIS) as u64;
            let pause = STRANGER_PAUSE + Duration::from_millis(jitter);
            self.state.cx.start_timer(pause, Timer::Rejoin);
        } else {
            self.rejoin = Rejoin::default();
        }
        true
    }
}

/// Pause in which gossip of the peers that answered can make others known.
const STRANGER_PAUSE: Duration = Duration::from_secs(1);
const STRANGER_JITTER_MILLIS: usize = 1_000;
