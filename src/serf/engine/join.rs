//! Joins: contact their entries one after the other; several joins may run at a time.

use std::{
    collections::VecDeque,
    net::{IpAddr, SocketAddr},
};

use tracing::{debug, warn};

use super::{Engine, joins::Join};
use crate::{
    base::Instant,
    serf::{Completion, Error, OldEvents, Output, SerfState},
    swim::{self, JoinErrors, OpId},
};

impl Engine {
    /// Joins through `entries` (`[name/]host[:port]`; the default port is ours): contacts all their
    /// addresses, one after the other. Completes with [`Completion::Joined`], or with
    /// [`Error::Join`] if no address could be contacted. Joins do not wait for each other. Go:
    /// `memberlist.go: Join`.
    ///
    /// # Errors
    /// The node is not alive, or too many joins are running.
    pub fn start_join(
        &mut self,
        now: Instant,
        entries: &[String],
        old: OldEvents,
    ) -> Result<OpId, Error> {
        if self.state.cx.life != SerfState::Alive {
            return Err(Error::Left);
        }
        if self.joins.under_way.len() >= JOINS_MAX {
            return Err(Error::TooManyJoins);
        }
        for entry in entries {
            if self.joins.seeds.len() < SEEDS_MAX {
                self.joins.seeds.insert(entry.clone());
            }
        }
        self.begin(now);
        let ignore_old = old == OldEvents::Ignore;
        let op = self.begin_join(entries.iter().cloned().collect(), ignore_old, false);
        self.settle();
        Ok(op)
    }

    /// Continues a join with the driver's answer to [`Output::Resolve`].
    pub fn resolved(&mut self, now: Instant, op: OpId, result: Result<Vec<IpAddr>, String>) {
        self.begin(now);
        let Some(join) = self.joins.under_way.get_mut(&op) else { return };
        match result {
            Ok(ips) => {
                let port = join.port;
                join.addrs.extend(ips.into_iter().map(|ip| SocketAddr::new(ip, port)));
            }
            Err(error) => {
                warn!(target: "memberlist", "failed to resolve {}: {error}", join.entry);
                join.errors.unresolved(&join.entry, &error);
            }
        }
        self.join_next(op);
        self.settle();
    }

    /// Joins again through the entries of earlier joins, unless such a join is running.
    pub(super) fn rejoin_seeds(&mut self) {
        let under_way = self.joins.under_way.values().any(|join| join.own);
        if !under_way && !self.joins.seeds.is_empty() {
            debug!(target: "serf", "no other member is alive, joining again");
            let entries = self.joins.seeds.iter().cloned().collect();
            self.begin_join(entries, true, true);
        }
    }

    fn begin_join(&mut self, entries: VecDeque<String>, ignore_old: bool, own: bool) -> OpId {
        let op = self.new_op();
        let join = Join {
            own,
            ignore_old,
            entries,
            entry: String::new(),
            name: String::new(),
            port: 0,
            addrs: VecDeque::new(),
            contacted: 0,
            errors: JoinErrors::default(),
        };
        self.joins.under_way.insert(op, join);
        self.join_next(op);
        op
    }

    /// Contacts the next address, requests the resolution of the next name, or ends the join.
    fn join_next(&mut self, op: OpId) {
        let (now, default_port) = (self.state.cx.now, self.state.cx.config.swim.bind_port);
        let Some(join) = self.joins.under_way.get_mut(&op) else { return };
        if join.addrs.is_empty()
            && let Some(host) = join.next_entry(default_port)
        {
            self.state.cx.effects.outputs.push_back(Output::Resolve { op, host });
            return;
        }
        if let Some(to) = join.addrs.front() {
            let waits_for = self.swim.start_push_pull(now, *to, &join.name, true, &mut self.state);
            self.waiting.insert(waits_for, Some(op));
        } else {
            self.end_join(op);
        }
    }

    /// An exchange of a join has ended: continues the join. Returns whether `op` is a join.
    pub(super) fn join_exchanged(&mut self, op: OpId, error: Option<&swim::Error>) -> bool {
        let Some(join) = self.joins.under_way.get_mut(&op) else { return false };
        if let Some(addr) = join.addrs.pop_front() {
            match error {
                Some(error) => {
                    debug!(target: "memberlist", "failed to join {addr}: {error}");
                    join.errors.unreachable(&addr, error);
                }
                None => {
                    join.contacted += 1;
                    self.state.members.remembered.add_seed(addr);
                }
            }
        }
        self.join_next(op);
        true
    }

    /// Ends a join; announces us if an address was contacted. Go: `serf/serf.go:Join`.
    fn end_join(&mut self, op: OpId) {
        let Some(join) = self.joins.under_way.remove(&op) else { return };
        if join.contacted > 0 && self.state.cx.life == SerfState::Alive {
            let join = self.state.broadcast_join();
            self.swim.send_user_to_few(&join);
        }
        if join.own {
            return;
        }
        let result = if join.contacted == 0 && !join.errors.is_empty() {
            Err(Error::Join(join.errors.0))
        } else {
            Ok(Completion::Joined { contacted: join.contacted })
        };
        self.state.cx.effects.complete(op, result);
    }
}

/// Most joins running at a time; each has one exchange.
const JOINS_MAX: usize = 256;
/// Most entries of joins remembered.
const SEEDS_MAX: usize = 64;
