//! User events: sends, receives once, and remembers them.

use std::borrow::Cow;

use bytes::Bytes;
use tracing::warn;

use super::{
    Error, Event, LamportTime, Message, Oversize, UserEvent,
    admission::check_event,
    broadcasts::{Broadcasts, QueueKind},
    context::Context,
    event_ring::EventRing,
    message,
    ring::{Admission, is_too_old},
};
use crate::{
    base::{mutated, printable},
    msgpack::Bin,
};

/// Events of this node that are sent as a batch. They share Lamport times, so that a burst of many
/// thousands stays within the times that receivers remember. A coalescable event has a time of its
/// own, since the latest time wins; so has an event that equals an earlier one.
#[derive(Default)]
pub(crate) struct EventGroup {
    /// The time of the last event, and how many more events may share it.
    shared: Option<(LamportTime, usize)>,
}

impl EventGroup {
    /// The time that the next event may share, given the clock.
    fn time(&self, clock: LamportTime) -> Option<LamportTime> {
        let (time, left) = self.shared?;
        // Otherwise other nodes have moved the clock.
        (left > 0 && time.0.checked_add(1) == Some(clock.0)).then_some(time)
    }

    fn sent(&mut self, time: LamportTime) {
        self.shared = match self.shared {
            Some((shared, left)) if shared == time => Some((time, left.saturating_sub(1))),
            _ => Some((time, SHARED_MAX - 1)),
        };
    }
}

/// User events: which are accepted, and which were already seen.
pub(crate) struct UserEvents {
    /// Events with an earlier Lamport time are not delivered.
    pub(crate) min_time: LamportTime,
    /// Whether a join that ignores old events is in progress.
    pub(crate) join_ignores_old: bool,
    pub(crate) ring: EventRing,
}

impl UserEvents {
    pub(crate) fn new(min_time: LamportTime, ring: EventRing) -> Self {
        Self { min_time, join_ignores_old: false, ring }
    }

    /// Creates, delivers and gossips an event. Go: `serf/serf.go:UserEvent`, which gives each event
    /// a Lamport time of its own.
    ///
    /// # Errors
    /// The event is too large; Go's texts.
    pub(crate) fn send(
        &mut self,
        cx: &mut Context,
        broadcasts: &mut Broadcasts,
        group: &mut EventGroup,
        (name, payload, coalesce): (&[u8], &[u8], bool),
    ) -> Result<(), Error> {
        let limit = cx.config.user_event_size_limit;
        let size = name.len() + payload.len();
        // At most `USER_EVENT_BYTES_MAX`, as validated at the start.
        Oversize::UserEvent.check(size, limit)?;
        let clock = cx.clocks.event.time();
        let mut event =
            message::UserEvent { ltime: clock, name, payload: payload.into(), coalesce };
        if let Some(time) = group.time(clock).filter(|_| !coalesce) {
            event.ltime = time;
            if self.ring.holds(&event) {
                event.ltime = clock;
            }
        }
        let mut raw = Vec::with_capacity(size + 64);
        cx.config.transform.encode_message(&Message::UserEvent(event.clone()), &mut raw);
        Oversize::EncodedUserEvent.check(raw.len(), limit)?;
        if event.ltime == clock {
            cx.clocks.event.increment();
        }
        if !coalesce {
            group.sent(event.ltime);
        }
        self.handle(cx, &event);
        if !mutated!(cx.config.swim, EventKeptBack) {
            broadcasts.push(cx, QueueKind::Event, raw.into(), None);
        }
        Ok(())
    }

    /// Delivers an event of ours or a peer's, if it is new; returns whether to gossip it. Go:
    /// `serf/serf.go:handleUserEvent`.
    pub(crate) fn handle(&mut self, cx: &mut Context, event: &message::UserEvent<'_>) -> bool {
        cx.clocks.event.witness(event.ltime);
        if event.ltime < self.min_time {
            return false;
        }
        if is_too_old(cx.clocks.event.time(), event.ltime, self.ring.len()) {
            if cx.logs.old.admit(cx.now) {
                warn!(
                    target: "serf",
                    "received old event {} from time {} (current: {})",
                    printable(event.name), event.ltime.0, cx.clocks.event.time().0
                );
            }
            return false;
        }
        match self.ring.admit(event) {
            Admission::New => {}
            Admission::Duplicate if mutated!(cx.config.swim, EventTwice) => {}
            Admission::Duplicate => return false,
            Admission::Full => {
                cx.stats.dropped_events += 1;
                return false;
            }
        }
        cx.stats.events += 1;
        let name = cx.names.count(event.name, |counts| counts.events += 1);
        let event = UserEvent {
            ltime: event.ltime,
            name,
            payload: match event.payload.as_slice() {
                // It may be kept while others go.
                payload if event.coalesce => Bytes::copy_from_slice(payload),
                payload => cx.payloads.copy(payload),
            },
            coalesce: event.coalesce,
        };
        cx.emit(Event::User(event));
        // Otherwise this mutation would never terminate.
        !mutated!(cx.config.swim, EventTwice)
    }

    /// Handles the recent events in a peer's push/pull.
    pub(crate) fn merge(&mut self, cx: &mut Context, slots: &[Option<message::UserEvents<'_>>]) {
        let jump_max = cx.config.lamport_jump_max;
        let mut left = MERGED_MAX;
        for slot in slots.iter().flatten() {
            if !cx.clocks.event.is_plausible(slot.ltime, jump_max) {
                cx.stats.dropped_implausible += 1;
                continue;
            }
            cx.stats.dropped_events += slot.events.len().saturating_sub(left) as u64;
            for event in slot.events.iter().take(left) {
                left -= 1;
                if let Err(refusal) = check_event(event.name, event.payload.as_slice()) {
                    cx.refuse(&refusal);
                    continue;
                }
                let payload = event.payload.0.as_deref().map(Cow::Borrowed);
                let event = message::UserEvent {
                    ltime: slot.ltime,
                    name: event.name,
                    payload: Bin(payload),
                    coalesce: false,
                };
                self.handle(cx, &event);
            }
        }
    }
}

/// Most events of one push/pull that are examined: about ten milliseconds of work. A well-behaved
/// peer's ring holds a few thousand.
pub(crate) const MERGED_MAX: usize = 16_384;
/// Most of our events that share a Lamport time.
const SHARED_MAX: usize = 128;
