//! User events: sends, receives once, and remembers them.

use std::{borrow::Cow, cmp::Reverse, collections::BTreeSet, hash::BuildHasher as _};

use bytes::Bytes;
use tracing::warn;

use super::{
    Error, Event, EventName, LamportTime, Message, Oversize, UserEvent,
    admission::check_event,
    broadcasts::{Broadcasts, QueueKind},
    context::Context,
    message,
    ring::{Admission, is_too_old},
};
use crate::{
    base::{SeededHash, mutated, printable},
    msgpack::Bin,
};

/// Recent events, stored by Lamport time modulo the length. Go: `eventBuffer`, whose slots are
/// unbounded.
///
/// Each event is recorded by a digest, so that it is delivered once, and by its text, so that
/// push/pulls carry it. When memory is short, texts are evicted first, the largest before others.
pub(crate) struct EventRing {
    slots: Vec<Option<Slot>>,
    /// Texts by size, the oldest of equal size last; then slot and index in the slot.
    by_size: BTreeSet<(usize, Reverse<LamportTime>, usize, usize)>,
    bytes: usize,
    /// Times before this were evicted to make room: events with such times are refused.
    floor: LamportTime,
    hash: SeededHash,
}

struct Slot {
    ltime: LamportTime,
    events: Vec<Recent>,
}

struct Recent {
    digest: u64,
    text: Option<Box<Text>>,
}

struct Text {
    name: Bytes,
    /// Nil and empty payloads are the same event, but are forwarded as received.
    payload: Option<Bytes>,
}

impl EventRing {
    /// Creates a ring for `len` Lamport times, at least one. Peers must not know `seed`.
    pub(crate) fn new(len: usize, seed: u64) -> Self {
        let mut slots = Vec::new();
        slots.resize_with(len.max(1), || None);
        let (by_size, hash) = (BTreeSet::new(), SeededHash(seed));
        Self { slots, by_size, bytes: 0, floor: LamportTime(0), hash }
    }

    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    fn admit(&mut self, event: &message::UserEvent<'_>) -> Admission {
        let digest = self.hash.hash_one((event.name, event.payload.as_slice()));
        if event.ltime < self.floor {
            return Admission::Full;
        }
        let index = usize::try_from(event.ltime.0 % self.slots.len() as u64).unwrap_or(0);
        match self.slots.get(index).and_then(Option::as_ref) {
            Some(slot) if slot.ltime == event.ltime => {
                if slot.events.iter().any(|recent| recent.is(digest, event)) {
                    return Admission::Duplicate;
                }
                if slot.events.len() >= SLOT_EVENTS_MAX {
                    return Admission::Full;
                }
            }
            // The slot holds an older time.
            _ => self.clear(index),
        }
        let text = Text::of(event);
        let keeps_text = self.make_room(text.bytes());
        // A digest is more important than any text.
        while !self.make_room(0) {
            if !self.forget_oldest(event.ltime) {
                return Admission::Full;
            }
        }
        let Some(slot) = self.slots.get_mut(index) else { return Admission::Full };
        let slot = slot.get_or_insert_with(|| Slot { ltime: event.ltime, events: Vec::new() });
        self.bytes += DIGEST_BYTES;
        if keeps_text {
            self.bytes += text.bytes();
            let place = (text.bytes(), Reverse(event.ltime), index, slot.events.len());
            self.by_size.insert(place);
        }
        slot.events.push(Recent { digest, text: keeps_text.then(|| Box::new(text)) });
        Admission::New
    }

    /// Makes room for a digest and a text of `bytes` by evicting texts that are not smaller;
    /// returns whether there is room.
    fn make_room(&mut self, bytes: usize) -> bool {
        while self.bytes + DIGEST_BYTES + bytes > RING_BYTES_MAX {
            let largest = self.by_size.last().filter(|(size, ..)| *size >= bytes);
            let Some((size, _, index, place)) = largest.copied() else { return false };
            self.by_size.pop_last();
            self.bytes -= size;
            let slot = self.slots.get_mut(index).and_then(Option::as_mut);
            if let Some(recent) = slot.and_then(|slot| slot.events.get_mut(place)) {
                recent.text = None;
            }
        }
        true
    }

    /// Evicts the oldest time, if there is one before `ltime`.
    fn forget_oldest(&mut self, ltime: LamportTime) -> bool {
        let times = self.slots.iter().enumerate();
        let oldest = times.filter_map(|(at, slot)| Some((slot.as_ref()?.ltime, at))).min();
        let Some((time, at)) = oldest.filter(|(time, _)| *time < ltime) else { return false };
        self.clear(at);
        self.floor = LamportTime(time.0.saturating_add(1));
        true
    }

    fn clear(&mut self, index: usize) {
        let Some(old) = self.slots.get_mut(index).and_then(Option::take) else { return };
        for (place, recent) in old.events.iter().enumerate() {
            self.bytes -= DIGEST_BYTES;
            if let Some(text) = &recent.text {
                self.bytes -= text.bytes();
                self.by_size.remove(&(text.bytes(), Reverse(old.ltime), index, place));
            }
        }
    }

    /// Whether an event is already recorded at its time.
    fn holds(&self, event: &message::UserEvent<'_>) -> bool {
        let digest = self.hash.hash_one((event.name, event.payload.as_slice()));
        let index = usize::try_from(event.ltime.0 % self.slots.len() as u64).unwrap_or(0);
        let slot = self.slots.get(index).and_then(Option::as_ref);
        slot.filter(|slot| slot.ltime == event.ltime)
            .is_some_and(|slot| slot.events.iter().any(|recent| recent.is(digest, event)))
    }

    /// The ring's contents for a push/pull.
    pub(crate) fn to_message(&self) -> Vec<Option<message::UserEvents<'_>>> {
        self.slots.iter().map(|slot| slot.as_ref().map(Slot::to_message)).collect()
    }
}

impl Slot {
    fn to_message(&self) -> message::UserEvents<'_> {
        let events = self.events.iter().filter_map(Recent::to_message).collect();
        message::UserEvents { ltime: self.ltime, events }
    }
}

impl Recent {
    fn is(&self, digest: u64, event: &message::UserEvent<'_>) -> bool {
        let same = |text: &Text| {
            text.name == event.name
                && text.payload.as_deref().unwrap_or_default() == event.payload.as_slice()
        };
        self.digest == digest && self.text.as_deref().is_none_or(same)
    }

    fn to_message(&self) -> Option<message::RecentEvent<'_>> {
        let text = self.text.as_deref()?;
        let payload = Bin(text.payload.as_deref().map(Cow::Borrowed));
        Some(message::RecentEvent { name: &text.name, payload })
    }
}

impl Text {
    fn of(event: &message::UserEvent<'_>) -> Self {
        Self {
            name: Bytes::copy_from_slice(event.name),
            payload: event.payload.0.as_deref().map(Bytes::copy_from_slice),
        }
    }

    fn bytes(&self) -> usize {
        self.name.len() + self.payload.as_ref().map_or(0, Bytes::len) + TEXT_OVERHEAD
    }
}

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
        let name = EventName::from(event.name);
        cx.names.count(name.text(), |counts| counts.events += 1);
        let event = UserEvent {
            ltime: event.ltime,
            name,
            payload: Bytes::copy_from_slice(event.payload.as_slice()),
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
/// Most events of one Lamport time.
const SLOT_EVENTS_MAX: usize = 4_096;
/// Most of our events that share a Lamport time.
const SHARED_MAX: usize = 128;
/// Memory limit of the ring; its contents must also fit into a push/pull.
const RING_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Approximate memory of an event's digest, and of its text in addition to the bytes.
const DIGEST_BYTES: usize = 32;
const TEXT_OVERHEAD: usize = 160;
