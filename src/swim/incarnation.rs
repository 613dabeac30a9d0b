//! Which claimed incarnations are accepted, and how the others are verified.
//!
//! Of two messages about a node the one with the higher incarnation wins, and only the node itself
//! raises its incarnation. A forged claim far ahead would therefore silence the node for good: a
//! peer that accepts it ignores everything that the node really sends.
//!
//! - A jump of more than [`JUMP_MAX`] in a claim about another node is accepted only from that
//!   node: it is asked by a push/pull with its known address.
//! - About ourselves, we raise our incarnation above any claim that a peer really holds, as shown
//!   by the answer to our push/pull. Claims in messages, which any sender may have forged, have an
//!   allowance ([`Growth`]); beyond it a random member is asked whether it holds the same claim.
//! - The largest incarnation cannot be exceeded. There, a node's changes are accepted at the same
//!   incarnation, but only from the node itself.

use std::time::Duration;

use tracing::{debug, warn};

use super::{
    Host, NodeStateKind, Swim,
    claim::{JUMP_MAX, Source, Worth},
    row::Row,
    timer::Timer,
};
use crate::{
    base::Instant,
    wire::{Alive, Incarnation, RawAddr},
};

impl Swim {
    /// Classifies an alive message about another node; `reclaims` if another address takes over the
    /// name.
    pub(super) fn weigh(
        &self,
        row: &Row,
        alive: &Alive<'_>,
        source: Source,
        reclaims: bool,
    ) -> Worth {
        let (stored, got) = (row.incarnation, alive.incarnation);
        let addr = RawAddr::from_wire(alive.addr.as_slice());
        let first_hand = source.is_first_hand(addr.and_then(|addr| addr.socket_addr(alive.port)));
        let worth = |is_news: bool| match (is_news, first_hand) {
            (true, _) => Worth::News,
            (false, true) => Worth::News,
            (false, false) => Worth::Doubtful,
        };
        if got > stored || reclaims {
            return worth(plausible(stored, got));
        }
        let differs = row.state != NodeStateKind::Alive
            || *row.record.meta != *alive.meta.as_slice()
            || alive.vsn.as_slice() != row.record.vsn.as_slice();
        if got == stored && !refutable(got) && differs {
            return worth(false);
        }
        Worth::Old
    }

    /// Whether a suspect or dead message is accepted. If a leave is not accepted here, the node is
    /// asked.
    pub(super) fn is_evidence(
        &mut self,
        now: Instant,
        slot: u32,
        incarnation: Incarnation,
        leaves: bool,
        source: Source,
    ) -> bool {
        let Some(row) = self.table.get(slot) else { return false };
        if incarnation < row.incarnation {
            return false;
        }
        let known = source == Source::Own || source.is_first_hand(row.socket_addr());
        let counts = known || (refutable(incarnation) && plausible(row.incarnation, incarnation));
        if !counts {
            self.stats.dropped_inadmissible += 1;
            if leaves && matches!(row.state, NodeStateKind::Alive | NodeStateKind::Suspect) {
                self.check_later(now, slot);
            }
        }
        counts
    }

    /// Raises our incarnation above a claim of others, as far as their allowance permits; `what` is
    /// for the log.
    pub(super) fn outbid(
        &mut self,
        now: Instant,
        claimed: Incarnation,
        source: Source,
        what: std::fmt::Arguments<'_>,
    ) {
        let above = self.incarnation.0.max(claimed.0).saturating_add(1);
        let growth = above - self.incarnation.0;
        let held = matches!(source, Source::Answer(_));
        let may_outbid = held || (refutable(claimed) && self.growth.take(now, growth));
        if !may_outbid {
            self.stats.dropped_inadmissible += 1;
            self.check_later(now, self.me);
            return;
        }
        self.refute(claimed);
        if self.logs.refutes.admit(now) {
            warn!(target: "memberlist", "Refuting {what}");
        }
    }

    /// Raises our incarnation. The incarnation kept for a restart only follows small steps: a large
    /// jump was caused by others, and peers that hold it will send it again.
    pub(super) fn raise_to(&mut self, incarnation: Incarnation) {
        self.incarnation = incarnation;
        if incarnation.0.saturating_sub(self.kept_incarnation.0) <= KEPT_STEP_MAX {
            self.kept_incarnation = self.kept_incarnation.max(incarnation);
        }
    }

    /// The incarnation above which a later run of this node should start.
    pub fn kept_incarnation(&self) -> Incarnation {
        self.kept_incarnation
    }

    /// Schedules a push/pull with a node to verify a claim; for claims about ourselves, with a
    /// random member.
    pub(super) fn check_later(&mut self, now: Instant, slot: u32) {
        if self.checks.len() >= CHECKS_MAX {
            return;
        }
        if self.checks.is_empty() {
            self.timers.set(now.max(self.next_check), Timer::Check);
        }
        self.checks.insert(slot);
    }

    /// Verifies the next claim.
    pub(super) fn check(&mut self, now: Instant, host: &mut dyn Host) {
        let Some(slot) = self.checks.pop_first() else { return };
        self.next_check = now + CHECK_PAUSE;
        if !self.checks.is_empty() {
            self.timers.set(self.next_check, Timer::Check);
        }
        let target = if slot == self.me {
            let Self { table, rng, me, .. } = self;
            let live = |slot, row: &Row| slot != *me && row.state == NodeStateKind::Alive;
            table.sample(1, false, rng, live).first().copied()
        } else {
            Some(slot)
        };
        let row = target.and_then(|slot| self.table.get(slot));
        let Some((name, to)) =
            row.and_then(|row| Some((row.record.name.clone(), row.socket_addr()?)))
        else {
            return;
        };
        debug!(target: "memberlist", "asking {name} about a claim far ahead");
        self.open_push_pull(now, to, &name, None, false, host);
    }
}

fn plausible(stored: Incarnation, got: Incarnation) -> bool {
    got.0 <= stored.0.saturating_add(JUMP_MAX)
}

/// Whether the accused node could still refute at a higher incarnation.
fn refutable(incarnation: Incarnation) -> bool {
    incarnation.0 < u32::MAX
}

/// Larger steps of our own incarnation are not kept for a restart.
const KEPT_STEP_MAX: u32 = 1 << 10;
/// Most nodes waiting to be asked about a claim.
const CHECKS_MAX: usize = 64;
/// Pause between two verifications, each of which is a push/pull.
const CHECK_PAUSE: Duration = Duration::from_secs(2);
