//! Rejoins the peers of the snapshot after a restart.

use std::net::SocketAddr;

use tracing::{debug, info, warn};

use super::*;

/// Peers of the snapshot, and how far the rejoin is.
#[derive(Default)]
pub(super) struct Rejoin {
    /// Those that were alive, the next one last.
    alive: Vec<Peer>,
    /// Those that had failed: for when none of the others answers.
    failed: Vec<Peer>,
    under_way: Option<(OpId, Peer)>,
    joined: bool,
    /// Unknown peers still to be contacted after the first has answered.
    more: u8,
}

struct Peer {
    name: String,
    addr: SocketAddr,
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

    fn next(&mut self) -> Option<Peer> {
        self.alive.pop().or_else(|| if self.joined { None } else { self.failed.pop() })
    }
}

impl Engine {
    /// Peers of the snapshot that [`Engine::start_rejoin`] has not tried yet, the next one first.
    pub fn previous_peers(&self) -> impl Iterator<Item = (&str, SocketAddr)> {
        let peers = self.rejoin.alive.iter().rev().chain(self.rejoin.failed.iter().rev());
        peers.map(|peer| (&*peer.name, peer.addr))
    }

    /// Goes through the peers of the snapshot in random order until one answers; does nothing
    /// without a snapshot. As in Go this is no join of Serf: no join intent is sent.
    ///
    /// Go stops there. When a whole cluster restarts at once, everybody then has one peer, and the
    /// cluster comes back in pieces; so peers that are still strangers after that are asked too,
    /// slowly and only a few. Go: `serf/serf.go:handleRejoin`.
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
            if self.rejoin.joined && self.state.members.table.get(&peer.name).is_some() {
                continue;
            }
            let Peer { name, addr } = &peer;
            info!(target: "serf", "Attempting re-join to previously known node: {name}: {addr}");
            let now = self.state.cx.now;
            let op = self.swim.start_push_pull(now, *addr, name, true, &mut self.state);
            self.rejoin.under_way = Some((op, peer));
            return;
        }
        if self.rejoin.joined {
            self.rejoin = Rejoin::default();
        } else {
            warn!(target: "serf", "Failed to re-join any previously known node");
        }
    }

    /// Whether the operation of the layer below was one of ours; it has ended.
    pub(super) fn rejoin_done(&mut self, op: OpId, error: Option<&swim::Error>) -> bool {
        let Some((_, peer)) = self.rejoin.under_way.take_if(|(waiting, _)| *waiting == op) else {
            return false;
        };
        let Peer { name, addr } = peer;
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

/// Strangers asked after the first answer. With `k` random edges a node, a cluster of any size is
/// in one piece almost surely for `k` above two; the rest is for peers that no longer exist.
const STRANGERS_MAX: u8 = 8;
/// Gossip of those who have answered gets this time to make strangers known.
const STRANGER_PAUSE: Duration = Duration::from_secs(1);
const STRANGER_JITTER_MILLIS: usize = 1_000;
