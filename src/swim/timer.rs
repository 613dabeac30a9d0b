//! All deadlines of one engine in one heap.

use std::{cmp::Reverse, collections::BinaryHeap};

use super::StreamId;
use crate::{base::Instant, wire::SeqNo};

/// What a deadline is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Timer {
    /// Start the next probe.
    ProbeTick,
    /// The direct ack of the running probe is late: ask helpers.
    ProbeAck(SeqNo),
    /// The running probe is over.
    ProbeEnd(SeqNo),
    /// A relayed ping or an API ping got no answer.
    Handler(SeqNo),
    /// A gossip round.
    Gossip,
    /// A push/pull with a random node.
    PushPull,
    /// The suspicion of the node in this slot runs out.
    Suspicion(u32),
    /// A node is asked about a claim that goes too far to be believed.
    Check,
    /// The reply on an accepted stream should be out: whoever holds it up frees its place.
    Reply(StreamId),
    /// The next rows of a peer's state are due.
    Merge,
}

/// A heap of deadlines. Nothing is cancelled: whoever set a timer checks when it fires whether it
/// still matters, which is cheaper than finding it.
#[derive(Debug, Default)]
pub(super) struct Timers {
    heap: BinaryHeap<Reverse<(Instant, u64, Timer)>>,
    set: u64,
}

impl Timers {
    pub(super) fn set(&mut self, at: Instant, timer: Timer) {
        self.set += 1;
        self.heap.push(Reverse((at, self.set, timer)));
    }

    pub(super) fn next(&self) -> Option<Instant> {
        self.heap.peek().map(|Reverse((at, ..))| *at)
    }

    /// Drops the timers that `keep` refuses.
    pub(super) fn retain(&mut self, keep: impl Fn(Timer) -> bool) {
        self.heap.retain(|Reverse((.., timer))| keep(*timer));
    }

    /// The earliest timer that is due; those of one instant in the order they were set.
    pub(super) fn pop_due(&mut self, now: Instant) -> Option<(Instant, Timer)> {
        if self.next()? > now {
            return None;
        }
        self.heap.pop().map(|Reverse((at, _, timer))| (at, timer))
    }
}
