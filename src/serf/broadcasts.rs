//! Messages waiting to be gossiped: one queue each for intents, queries and events.

use bytes::Bytes;
use tracing::warn;

use super::context::Context;
use crate::swim::{BroadcastQueue, Fate, OpId, Order, retransmit_limit};

/// The three broadcast queues.
pub(crate) struct Broadcasts {
    pub(crate) intents: BroadcastQueue,
    pub(crate) queries: BroadcastQueue,
    pub(crate) events: BroadcastQueue,
    /// Largest message that fits a packet of gossip.
    pub(crate) bytes_max: usize,
    /// Whether the next packet is filled in the other order, see [`Broadcasts::fill_packet`].
    others_turn: bool,
    /// Operations whose broadcast ended, with the outcome.
    finished: Vec<(OpId, Fate)>,
}

/// The queues, in the order they are served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum QueueKind {
    Intent,
    Query,
    Event,
}

impl Broadcasts {
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self {
            intents: BroadcastQueue::default(),
            queries: BroadcastQueue::default(),
            events: BroadcastQueue::default(),
            bytes_max,
            others_turn: false,
            finished: Vec::new(),
        }
    }

    /// Queues a message of ours, with the operation that waits for it, if it fits a packet: a
    /// longer one would wait for ever.
    pub(crate) fn push(
        &mut self,
        cx: &mut Context,
        kind: QueueKind,
        message: Bytes,
        op: Option<OpId>,
    ) {
        if message.len() > self.bytes_max {
            cx.stats.dropped_broadcasts += 1;
            warn!(
                target: "serf",
                bytes = message.len(), max = self.bytes_max,
                "Message does not fit a packet and is not gossiped"
            );
            self.finished.extend(op.map(|op| (op, Fate::Dropped)));
            return;
        }
        let queue = self.queue(kind);
        queue.push(message, op);
        cx.stats.dropped_broadcasts += queue.shed();
        self.collect_ended();
    }

    /// Queues a message of a peer, if it fits a packet.
    pub(crate) fn relay(&mut self, cx: &mut Context, kind: QueueKind, message: &[u8]) {
        if message.len() > self.bytes_max {
            cx.stats.dropped_broadcasts += 1;
            return;
        }
        let queue = self.queue(kind);
        queue.relay(message);
        cx.stats.dropped_broadcasts += queue.shed();
        self.collect_ended();
    }

    pub(crate) fn queue(&mut self, kind: QueueKind) -> &mut BroadcastQueue {
        match kind {
            QueueKind::Intent => &mut self.intents,
            QueueKind::Query => &mut self.queries,
            QueueKind::Event => &mut self.events,
        }
    }

    /// The next operation whose broadcast ended, with the outcome.
    pub(crate) fn pop_finished(&mut self) -> Option<(OpId, Fate)> {
        self.finished.pop()
    }

    /// Whether the queue has room for another event of this node.
    #[cfg(all(feature = "driver", not(target_family = "wasm")))]
    pub(crate) fn has_event_room(&self) -> bool {
        self.events.own_bytes() < OWN_EVENT_BYTES_MAX
    }

    /// Bytes of all queued messages, with `overhead` added for each.
    pub(crate) fn bytes(&self, overhead: usize) -> usize {
        let queues = [&self.intents, &self.queries, &self.events];
        queues.iter().map(|queue| queue.message_bytes(overhead)).sum()
    }

    pub(crate) fn is_empty(&self) -> bool {
        [&self.intents, &self.queries, &self.events].iter().all(|queue| queue.is_empty())
    }

    fn collect_ended(&mut self) {
        for queue in [&mut self.intents, &mut self.queries, &mut self.events] {
            self.finished.extend(queue.take_ended());
        }
    }

    /// Fills a packet: intents first, then queries, then events. Go: `delegate.GetBroadcasts`.
    ///
    /// With a long backlog every other packet is filled in another order: own messages first, then
    /// those of other nodes, the shortest first. Otherwise a flood of long messages, or of intents,
    /// would block all others.
    pub(crate) fn fill_packet(
        &mut self,
        cx: &mut Context,
        members: usize,
        overhead: usize,
        limit: usize,
        copies: u32,
        emit: &mut dyn FnMut(&[u8]),
    ) {
        let transmits = retransmit_limit(cx.config.swim.retransmit_mult, members);
        let sent = &mut cx.stats.msgs_sent;
        let mut emit = |message: &[u8]| {
            (0..copies).for_each(|_| sent.count(message.len()));
            emit(message);
        };
        let waiting = self.bytes(overhead);
        let mut queues = [&mut self.intents, &mut self.queries, &mut self.events];
        let backlog = BACKLOG_PACKETS * self.bytes_max;
        self.others_turn = waiting > backlog && !self.others_turn;
        let passes: &[(usize, Order)] = if self.others_turn {
            &[
                (0, Order::Own),
                (1, Order::Own),
                (2, Order::OwnOldest),
                (2, Order::Shortest),
                (1, Order::Shortest),
                (0, Order::Shortest),
            ]
        } else {
            &[(0, Order::Longest), (1, Order::Longest), (2, Order::Longest)]
        };
        let mut used = 0;
        for (queue, order) in passes {
            let Some(queue) = queues.get_mut(*queue) else { continue };
            let free = limit.saturating_sub(used);
            used += queue.take(*order, overhead, free, transmits, copies, &mut emit);
        }
        self.collect_ended();
    }

    /// Warns about long queues and prunes them. Go: `serf/serf.go:checkQueueDepth`. Own events are
    /// kept while `others` are alive: they are sent soon.
    pub(crate) fn check_depths(&mut self, cx: &Context, members: usize, others: bool) {
        let config = &cx.config;
        let max = match config.queue_depth_min {
            0 => config.queue_depth_max,
            min => min.max(2 * members),
        };
        let warning = config.queue_depth_warning;
        for (name, queue) in [
            ("Intent", &mut self.intents),
            ("Event", &mut self.events),
            ("Query", &mut self.queries),
        ] {
            let depth = queue.len();
            if depth >= warning {
                warn!(target: "serf", "{name} queue depth: {depth}");
            }
            let kept = if name == "Event" && others { queue.own_len() } else { 0 };
            if depth - kept > max {
                warn!(
                    target: "serf",
                    "{name} queue depth ({depth}) exceeds limit ({max}), dropping messages!"
                );
                queue.prune(max + kept);
            }
        }
        self.collect_ended();
    }
}

/// Memory limit of queued own events, half of the queue's: callers wait until there is room.
#[cfg(all(feature = "driver", not(target_family = "wasm")))]
const OWN_EVENT_BYTES_MAX: usize = 4 << 20;
/// Backlog, in packets, from which every other packet is filled in the other order.
const BACKLOG_PACKETS: usize = 16;
