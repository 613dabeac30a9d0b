//! User events: sending, receiving once, remembering.

use std::sync::Arc;

use bytes::Bytes;
use tracing::warn;

use super::{
    Error, Event, LamportTime, Message, UserEvent, message,
    state::{QueueKind, State},
};
use crate::{
    base::{Instant, mutated, printable},
    msgpack::Bin,
};

/// Recent events by event time modulo the length. Go: `eventBuffer`, whose slots are unbounded.
pub(crate) struct EventRing {
    slots: Vec<Option<Slot>>,
    bytes: usize,
    /// Times before this were forgotten for want of room: their events are not taken any more.
    floor: LamportTime,
}

struct Slot {
    ltime: LamportTime,
    events: Vec<Recent>,
}

struct Recent {
    name: Bytes,
    /// Nil and empty are one event, but go on as they came.
    payload: Option<Bytes>,
}

/// What the ring says about an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Admission {
    New,
    Duplicate,
    /// No room to remember it, so it cannot be told from its duplicates.
    Full,
}

impl EventRing {
    /// A ring for `len` event times, at least one.
    pub(crate) fn new(len: usize) -> Self {
        let mut slots = Vec::new();
        slots.resize_with(len.max(1), || None);
        Self { slots, bytes: 0, floor: LamportTime(0) }
    }

    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    fn admit(&mut self, event: &message::UserEvent<'_>) -> Admission {
        let payload = event.payload.as_slice();
        let size = event.name.len() + payload.len() + EVENT_OVERHEAD;
        if event.ltime < self.floor || size > EVENT_BYTES_MAX {
            return Admission::Full;
        }
        let index = usize::try_from(event.ltime.0 % self.slots.len() as u64).unwrap_or(0);
        match self.slots.get(index).and_then(Option::as_ref) {
            Some(slot) if slot.ltime == event.ltime => {
                let same = |recent: &Recent| {
                    recent.name == event.name
                        && recent.payload.as_deref().unwrap_or_default() == payload
                };
                if slot.events.iter().any(same) {
                    return Admission::Duplicate;
                }
                if slot.events.len() >= SLOT_EVENTS_MAX {
                    return Admission::Full;
                }
            }
            // Of another round.
            _ => self.clear(index),
        }
        while self.bytes + size > RING_BYTES_MAX {
            if !self.forget_oldest(event.ltime) {
                return Admission::Full;
            }
        }
        let Some(slot) = self.slots.get_mut(index) else { return Admission::Full };
        let slot = slot.get_or_insert_with(|| Slot { ltime: event.ltime, events: Vec::new() });
        slot.events.push(Recent {
            name: Bytes::copy_from_slice(event.name),
            payload: event.payload.0.as_deref().map(Bytes::copy_from_slice),
        });
        self.bytes += size;
        Admission::New
    }

    /// Makes room by forgetting the oldest time, if there is one before `ltime`.
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
        self.bytes -= old.events.iter().map(Recent::bytes).sum::<usize>().min(self.bytes);
    }

    /// The ring as it goes into a push/pull.
    pub(crate) fn to_message(&self) -> Vec<Option<message::UserEvents<'_>>> {
        self.slots
            .iter()
            .map(|slot| {
                slot.as_ref().map(|slot| message::UserEvents {
                    ltime: slot.ltime,
                    events: slot.events.iter().map(Recent::to_message).collect(),
                })
            })
            .collect()
    }
}

impl Recent {
    fn bytes(&self) -> usize {
        self.name.len() + self.payload.as_ref().map_or(0, Bytes::len) + EVENT_OVERHEAD
    }

    fn to_message(&self) -> message::RecentEvent<'_> {
        message::RecentEvent {
            name: &self.name,
            payload: Bin(self.payload.as_deref().map(std::borrow::Cow::Borrowed)),
        }
    }
}

impl State {
    /// Go: `serf/serf.go:UserEvent`.
    pub(crate) fn user_event(
        &mut self,
        now: Instant,
        name: &str,
        payload: &[u8],
        coalesce: bool,
    ) -> Result<(), Error> {
        let limit = self.config.user_event_size_limit;
        let size = name.len() + payload.len();
        if size > limit {
            return Err(Error::Invalid(format!(
                "user event exceeds configured limit of {limit} bytes before encoding"
            )));
        }
        if size > USER_EVENT_BYTES_MAX {
            return Err(Error::Invalid(format!(
                "user event exceeds sane limit of {USER_EVENT_BYTES_MAX} bytes before encoding"
            )));
        }
        let event = message::UserEvent {
            ltime: self.event_clock.time(),
            name: name.as_bytes(),
            payload: payload.into(),
            coalesce,
        };
        let mut raw = Vec::with_capacity(size + 64);
        self.config.transform.encode_message(&Message::UserEvent(event.clone()), &mut raw);
        if raw.len() > limit {
            return Err(Error::Invalid(format!(
                "encoded user event exceeds configured limit of {limit} bytes after encoding"
            )));
        }
        if raw.len() > USER_EVENT_BYTES_MAX {
            return Err(Error::Invalid(format!(
                "encoded user event exceeds reasonable limit of {USER_EVENT_BYTES_MAX} bytes \
                 after encoding"
            )));
        }
        self.event_clock.increment();
        self.handle_user_event(now, &event);
        if !mutated!(self.config.swim, EventKeptBack) {
            self.broadcast(QueueKind::Event, raw.into(), None);
        }
        Ok(())
    }

    /// An event arrived, or is our own; gives whether to gossip it on.
    /// Go: `serf/serf.go:handleUserEvent`.
    pub(crate) fn handle_user_event(
        &mut self,
        now: Instant,
        event: &message::UserEvent<'_>,
    ) -> bool {
        self.event_clock.witness(event.ltime);
        if event.ltime < self.event_min_time {
            return false;
        }
        if is_too_old(self.event_clock.time(), event.ltime, self.events.len()) {
            if self.logs.old.admit(self.now) {
                warn!(
                    target: "serf",
                    "received old event {} from time {} (current: {})",
                    printable(event.name), event.ltime.0, self.event_clock.time().0
                );
            }
            return false;
        }
        match self.events.admit(event) {
            Admission::New => {}
            Admission::Duplicate if mutated!(self.config.swim, EventTwice) => {}
            Admission::Duplicate => return false,
            Admission::Full => {
                self.stats.dropped_events += 1;
                return false;
            }
        }
        self.stats.events += 1;
        let name: Arc<str> = String::from_utf8_lossy(event.name).into();
        self.count_name(&name, |counts| counts.events += 1);
        let event = UserEvent {
            ltime: event.ltime,
            name,
            payload: Bytes::copy_from_slice(event.payload.as_slice()),
            coalesce: event.coalesce,
        };
        self.emit(now, Event::User(event));
        // This bug would never come to an end.
        !mutated!(self.config.swim, EventTwice)
    }
}

/// Whether a ring of `len` no longer remembers `ltime`.
pub(crate) fn is_too_old(clock: LamportTime, ltime: LamportTime, len: usize) -> bool {
    // Equal to Go's `cur > N && ltime < cur - N`.
    clock.0.checked_sub(len as u64).is_some_and(|oldest| ltime.0 < oldest)
}

/// Largest user event that can be configured. Go: `UserEventSizeLimit`.
pub(crate) const USER_EVENT_BYTES_MAX: usize = 9 * 1024;
/// Most events of one event time.
const SLOT_EVENTS_MAX: usize = 4_096;
/// Most memory of the ring; it must also fit into a push/pull.
const RING_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Most memory of one event, with what it takes beside its bytes.
const EVENT_BYTES_MAX: usize = 64 * 1024;
/// What an event takes beside its bytes, about.
const EVENT_OVERHEAD: usize = 64;
