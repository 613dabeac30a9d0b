//! Merges a peer's state a few rows at a time, so that a large state does not delay other work. Go:
//! `net.go`, `mergeRemoteState`; `state.go`, `mergeState`.

use std::{sync::Arc, time::Duration};

use super::{Error, Exchange, Host, OpId, Swim, claim::Source, timer::Timer, under_way::Merge};
#[cfg(feature = "sim")]
use crate::wire::SharedRows;
use crate::{
    base::{Instant, mutated},
    wire::{Alive, NodeState, NodeStateKind, PushPull},
};

impl Swim {
    /// Merges a peer's state: the first [`ROWS_AT_ONCE`] rows now, the others later. `op` completes
    /// at the end.
    pub(super) fn merge(
        &mut self,
        now: Instant,
        state: PushPull,
        exchange: Exchange,
        op: Option<OpId>,
        host: &mut dyn Host,
    ) -> Result<(), Error> {
        self.verify_state(&state, exchange, host)?;
        self.merge_rows(now, Merge { state, exchange, op, at: 0 }, host);
        Ok(())
    }

    /// Queues a state that came with a peer's request, behind the merges in progress.
    pub(super) fn merge_later(
        &mut self,
        now: Instant,
        state: PushPull,
        exchange: Exchange,
        host: &mut dyn Host,
    ) -> Result<(), Error> {
        self.verify_state(&state, exchange, host)?;
        self.queue_merge(now, Merge { state, exchange, op: None, at: 0 });
        Ok(())
    }

    fn verify_state(
        &self,
        state: &PushPull,
        exchange: Exchange,
        host: &mut dyn Host,
    ) -> Result<(), Error> {
        self.verify_peer(state, exchange)?;
        if state.join && self.config.filter_merge {
            self.check_merge(state, host)?;
        }
        Ok(())
    }

    fn queue_merge(&mut self, now: Instant, merge: Merge) {
        if self.merges.is_empty() {
            self.timers.set(now + PAUSE, Timer::Merge);
        }
        self.merges.push_back(merge);
    }

    /// Merges the next rows of the oldest state.
    pub(super) fn merge_next(&mut self, now: Instant, host: &mut dyn Host) {
        let Some(merge) = self.merges.pop_front() else { return };
        if !self.merges.is_empty() {
            self.timers.set(now + PAUSE, Timer::Merge);
        }
        self.merge_rows(now, merge, host);
    }

    /// The operation that the next call of [`Swim::handle_timeout`] may complete, if any.
    pub fn merging(&self) -> Option<OpId> {
        self.merges.front()?.op
    }

    fn merge_rows(&mut self, now: Instant, mut merge: Merge, host: &mut dyn Host) {
        let Merge { state, exchange, .. } = &merge;
        let source = match exchange.ours {
            true => Source::Answer(exchange.peer),
            false => Source::Anybody,
        };
        #[cfg(feature = "sim")]
        if let Some(pages) = merge.state.shared.as_ref().and_then(SharedRows::get::<Vec<_>>) {
            return match self.merge_pages(now, &mut merge, &pages, source, host) {
                true => self.end_merge(&merge, host),
                false => self.queue_merge(now, merge),
            };
        }
        let me = Arc::clone(&self.config.name);
        let (mut next, mut ended) = (merge.at, true);
        for (count, (row, end)) in state.rows_from(merge.at).enumerate() {
            if count == ROWS_AT_ONCE {
                ended = false;
                break;
            }
            let Ok(row) = row else { break }; // the decoder has validated them all
            self.merge_row(now, &row, source, &me, host);
            next = end;
        }
        if !ended {
            merge.at = next;
            return self.queue_merge(now, merge);
        }
        self.end_merge(&merge, host);
    }

    fn end_merge(&mut self, merge: &Merge, host: &mut dyn Host) {
        let Merge { state, exchange, op, .. } = merge;
        if !state.user_state.is_empty() {
            host.merge_remote_state(&state.user_state, *exchange);
        }
        if exchange.ours && exchange.join {
            self.send_alive_to_few();
        }
        if let Some(op) = *op {
            self.done(op, Ok(()));
        }
    }

    pub(super) fn merge_row(
        &mut self,
        now: Instant,
        row: &NodeState<'_>,
        source: Source,
        me: &str,
        host: &mut dyn Host,
    ) {
        if mutated!(self.config, MergeNothing) {
            return;
        }
        let name = std::str::from_utf8(row.name).unwrap_or_default();
        let Some(state) = NodeStateKind::from_wire(row.state) else { return };
        match state {
            NodeStateKind::Alive => {
                let alive = Alive {
                    incarnation: row.incarnation,
                    node: row.name,
                    addr: row.addr.clone(),
                    port: self.fix_port(row.port),
                    meta: row.meta.clone(),
                    vsn: row.vsn.clone(),
                };
                self.alive(now, &alive, None, source, host);
            }
            // A dead row only makes the node suspect, so that it can refute.
            NodeStateKind::Suspect | NodeStateKind::Dead => {
                self.suspect(now, name, row.incarnation, me, source);
            }
            NodeStateKind::Left => self.dead(now, name, row.incarnation, name, None, source, host),
        }
    }
}

/// Rows merged in one turn: a few milliseconds of work if all are new.
pub(super) const ROWS_AT_ONCE: usize = 512;
/// Pause for other work before the next rows.
pub(super) const PAUSE: Duration = Duration::from_millis(1);
