//! Recent events: what was seen already, and what push/pulls carry. Go: `eventBuffer`.

use std::{borrow::Cow, cmp::Reverse, collections::BTreeSet, hash::BuildHasher as _};

use super::{LamportTime, message, ring::Admission};
use crate::{base::SeededHash, msgpack::Bin};

/// Recent events, stored by Lamport time modulo the length. Go: `eventBuffer`, whose slots are
/// unbounded.
///
/// Each event is recorded by a digest, so that it is delivered once, and by its text, so that
/// push/pulls carry it. When memory is short, texts are evicted first, the largest before others.
pub(crate) struct EventRing {
    slots: Vec<Slot>,
    /// Set while memory is short.
    by_size: Option<BySize>,
    bytes: usize,
    /// Times before this were evicted to make room: events with such times are refused.
    floor: LamportTime,
    hash: SeededHash,
    /// Memory of the last text that went, for the next one.
    spare: Vec<u8>,
}

/// Texts by size, the oldest of equal size last; then slot and index in the slot.
type BySize = BTreeSet<(usize, Reverse<LamportTime>, usize, usize)>;

/// The events of one time; none: the time is meaningless.
#[derive(Default)]
struct Slot {
    ltime: LamportTime,
    events: Vec<Recent>,
}

struct Recent {
    digest: u64,
    text: Option<Text>,
}

/// Name and payload of an event, side by side.
struct Text {
    bytes: Vec<u8>,
    name_len: usize,
    /// Nil and empty payloads are the same event, but are forwarded as received.
    is_nil: bool,
}

impl EventRing {
    /// Creates a ring for `len` Lamport times, at least one. Peers must not know `seed`.
    pub(crate) fn new(len: usize, seed: u64) -> Self {
        let mut slots = Vec::new();
        slots.resize_with(len.max(1), Slot::default);
        let (floor, hash) = (LamportTime(0), SeededHash(seed));
        Self { slots, by_size: None, bytes: 0, floor, hash, spare: Vec::new() }
    }

    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    /// Records an event, unless it is recorded already or there is no room.
    pub(super) fn admit(&mut self, event: &message::UserEvent<'_>) -> Admission {
        let digest = self.hash.hash_one((event.name, event.payload.as_slice()));
        if event.ltime < self.floor {
            return Admission::Full;
        }
        let index = self.index(event.ltime);
        match self.slots.get(index).filter(|slot| slot.has(event.ltime)) {
            Some(slot) => {
                if slot.events.iter().any(|recent| recent.is(digest, event)) {
                    return Admission::Duplicate;
                }
                if slot.events.len() >= SLOT_EVENTS_MAX {
                    return Admission::Full;
                }
            }
            // The slot holds an older time, or none.
            None => self.clear(index),
        }
        let size = Text::bytes_of(event);
        let keeps_text = self.make_room(size);
        // A digest is more important than any text.
        while !self.make_room(0) {
            if !self.forget_oldest(event.ltime) {
                return Admission::Full;
            }
        }
        let Some(slot) = self.slots.get_mut(index) else { return Admission::Full };
        slot.ltime = event.ltime;
        self.bytes += DIGEST_BYTES;
        if keeps_text {
            self.bytes += size;
            if let Some(by_size) = &mut self.by_size {
                by_size.insert((size, Reverse(event.ltime), index, slot.events.len()));
            }
        }
        let text = keeps_text.then(|| Text::of(event, std::mem::take(&mut self.spare)));
        slot.events.push(Recent { digest, text });
        Admission::New
    }

    fn index(&self, ltime: LamportTime) -> usize {
        usize::try_from(ltime.0 % self.slots.len() as u64).unwrap_or(0)
    }

    /// Makes room for a digest and a text of `bytes` by evicting texts that are not smaller;
    /// returns whether there is room.
    fn make_room(&mut self, bytes: usize) -> bool {
        while self.bytes + DIGEST_BYTES + bytes > RING_BYTES_MAX {
            let by_size = self.by_size.get_or_insert_with(|| sorted(&self.slots));
            let largest = by_size.last().filter(|(size, ..)| *size >= bytes);
            let Some((size, _, index, place)) = largest.copied() else { return false };
            by_size.pop_last();
            self.bytes -= size;
            let slot = self.slots.get_mut(index);
            if let Some(recent) = slot.and_then(|slot| slot.events.get_mut(place)) {
                recent.text = None;
            }
        }
        true
    }

    /// Evicts the oldest time, if there is one before `ltime`.
    fn forget_oldest(&mut self, ltime: LamportTime) -> bool {
        let times = self.slots.iter().enumerate().filter(|(_, slot)| !slot.events.is_empty());
        let oldest = times.map(|(at, slot)| (slot.ltime, at)).min();
        let Some((time, at)) = oldest.filter(|(time, _)| *time < ltime) else { return false };
        self.clear(at);
        self.floor = LamportTime(time.0.saturating_add(1));
        true
    }

    fn clear(&mut self, index: usize) {
        let Some(old) = self.slots.get_mut(index) else { return };
        for (place, recent) in old.events.drain(..).enumerate() {
            self.bytes -= DIGEST_BYTES;
            let Some(text) = recent.text else { continue };
            self.bytes -= text.bytes();
            if let Some(by_size) = &mut self.by_size {
                by_size.remove(&(text.bytes(), Reverse(old.ltime), index, place));
            }
            self.spare = text.bytes;
        }
        // The next time has few events, too, as a rule.
        old.events.shrink_to(EVENTS_KEPT_MAX);
        if self.bytes < RING_BYTES_MAX / 2 {
            self.by_size = None;
        }
    }

    /// Whether an event is already recorded at its time.
    pub(super) fn holds(&self, event: &message::UserEvent<'_>) -> bool {
        let digest = self.hash.hash_one((event.name, event.payload.as_slice()));
        let slot = self.slots.get(self.index(event.ltime));
        slot.filter(|slot| slot.has(event.ltime))
            .is_some_and(|slot| slot.events.iter().any(|recent| recent.is(digest, event)))
    }

    /// The ring's contents for a push/pull.
    pub(crate) fn to_message(&self) -> Vec<Option<message::UserEvents<'_>>> {
        self.slots.iter().map(Slot::to_message).collect()
    }
}

fn sorted(slots: &[Slot]) -> BySize {
    let texts = slots.iter().enumerate().flat_map(|(index, slot)| {
        let events = slot.events.iter().enumerate();
        events.filter_map(move |(place, recent)| {
            Some((recent.text.as_ref()?.bytes(), Reverse(slot.ltime), index, place))
        })
    });
    texts.collect()
}

impl Slot {
    /// Whether there are events of this time.
    fn has(&self, ltime: LamportTime) -> bool {
        self.ltime == ltime && !self.events.is_empty()
    }

    fn to_message(&self) -> Option<message::UserEvents<'_>> {
        let events = self.events.iter().filter_map(Recent::to_message).collect();
        let has_events = !self.events.is_empty();
        has_events.then_some(message::UserEvents { ltime: self.ltime, events })
    }
}

impl Recent {
    fn is(&self, digest: u64, event: &message::UserEvent<'_>) -> bool {
        let same =
            |text: &Text| text.name() == event.name && text.payload() == event.payload.as_slice();
        self.digest == digest && self.text.as_ref().is_none_or(same)
    }

    fn to_message(&self) -> Option<message::RecentEvent<'_>> {
        let text = self.text.as_ref()?;
        let payload = Bin((!text.is_nil).then(|| Cow::Borrowed(text.payload())));
        Some(message::RecentEvent { name: text.name(), payload })
    }
}

impl Text {
    /// `spare` is used if it has about the right size.
    fn of(event: &message::UserEvent<'_>, spare: Vec<u8>) -> Self {
        let (name, payload) = (event.name, event.payload.as_slice());
        let len = name.len() + payload.len();
        let fits = (len..=len + SPARE_BYTES_MAX).contains(&spare.capacity());
        let mut bytes = if fits { spare } else { Vec::with_capacity(len) };
        bytes.clear();
        bytes.extend_from_slice(name);
        bytes.extend_from_slice(payload);
        Self { bytes, name_len: name.len(), is_nil: event.payload.0.is_none() }
    }

    fn name(&self) -> &[u8] {
        self.bytes.get(..self.name_len).unwrap_or_default()
    }

    fn payload(&self) -> &[u8] {
        self.bytes.get(self.name_len..).unwrap_or_default()
    }

    fn bytes(&self) -> usize {
        self.bytes.len() + TEXT_OVERHEAD
    }

    /// What the text of an event will take.
    fn bytes_of(event: &message::UserEvent<'_>) -> usize {
        event.name.len() + event.payload.as_slice().len() + TEXT_OVERHEAD
    }
}

/// Most events of one Lamport time.
const SLOT_EVENTS_MAX: usize = 4_096;
/// Most unused bytes of a text's memory.
const SPARE_BYTES_MAX: usize = 64;
/// Room for events that an empty slot keeps.
const EVENTS_KEPT_MAX: usize = 4;
/// Memory limit of the ring; its contents must also fit into a push/pull.
const RING_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Approximate memory of an event's digest, and of its text in addition to the bytes.
const DIGEST_BYTES: usize = 32;
const TEXT_OVERHEAD: usize = 160;

#[cfg(test)]
mod tests {
    use super::*;

    fn admit(ring: &mut EventRing, ltime: u64, name: &[u8], payload: &[u8]) -> Admission {
        let payload = Bin(Some(Cow::Borrowed(payload)));
        ring.admit(&message::UserEvent {
            ltime: LamportTime(ltime),
            name,
            payload,
            coalesce: false,
        })
    }

    /// Asserts that the counted bytes are those of the events.
    fn assert_counts(ring: &EventRing) {
        let events = || ring.slots.iter().flat_map(|slot| &slot.events);
        let texts = || events().filter_map(|recent| recent.text.as_ref());
        let sum: usize = texts().map(Text::bytes).sum();
        assert_eq!(ring.bytes, sum + DIGEST_BYTES * events().count());
        assert!(ring.bytes <= RING_BYTES_MAX);
        assert!(ring.by_size.as_ref().is_none_or(|by_size| *by_size == sorted(&ring.slots)));
    }

    #[test]
    fn texts_are_evicted_while_memory_is_short_and_the_largest_first() {
        let mut ring = EventRing::new(512, 1);
        for ltime in 1..=500 {
            assert_eq!(admit(&mut ring, ltime, b"small", &ltime.to_le_bytes()), Admission::New);
        }
        assert!(ring.by_size.is_none(), "nothing is sorted while there is room");
        for n in 0..2_000_u64 {
            let payload = n.to_le_bytes().repeat(1_000);
            assert_eq!(admit(&mut ring, 501, b"large", &payload), Admission::New);
            assert_eq!(admit(&mut ring, 501, b"large", &payload), Admission::Duplicate);
        }
        assert_counts(&ring);
        assert!(ring.by_size.is_some());
        let message = ring.to_message();
        let texts = |index: usize| message[index].as_ref().map_or(0, |slot| slot.events.len());
        assert_eq!((1..=500).map(texts).sum::<usize>(), 500);
        assert!((900..1_100).contains(&texts(501)), "{}", texts(501));
        drop(message);
        // An event without its text is still known.
        assert_eq!(
            admit(&mut ring, 501, b"large", &0_u64.to_le_bytes().repeat(1_000)),
            Admission::Duplicate
        );
        // The time after 512 more takes the place: what was sorted goes.
        assert_eq!(admit(&mut ring, 501 + 512, b"later", b""), Admission::New);
        assert_counts(&ring);
        assert!(ring.by_size.is_none());
        let at = ring.index(LamportTime(501 + 512));
        assert!(ring.slots[at].events.capacity() <= EVENTS_KEPT_MAX);
    }
}
