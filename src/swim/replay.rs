//! Replay protection: with encryption, an exact copy of a packet is dropped for a minute. Go has no
//! counterpart; the wire format is unchanged, since each packet has its own nonce anyway.

use std::{hash::BuildHasher as _, mem, time::Duration};

use crate::{
    base::{Instant, SeededHash},
    wire::Seal,
};

/// Packets seen in the current and the previous period. Only packets that a key has decrypted are
/// recorded, so that outsiders cannot fill it.
#[derive(Debug)]
pub(super) struct ReplayFilter {
    hash: SeededHash,
    current: Fingerprints,
    previous: Fingerprints,
    since: Instant,
}

impl ReplayFilter {
    /// `seed` makes fingerprints unpredictable.
    pub(super) fn new(seed: u64, now: Instant) -> Self {
        Self {
            hash: SeededHash(seed),
            current: Fingerprints::default(),
            previous: Fingerprints::default(),
            since: now,
        }
    }

    /// Records a packet by its seal; returns `false` if it was seen before.
    pub(super) fn admit(&mut self, now: Instant, seal: &Seal) -> bool {
        let age = now - self.since;
        if age >= PERIOD || self.current.len >= PACKETS_MAX {
            mem::swap(&mut self.current, &mut self.previous);
            self.current.clear();
            if age >= 2 * PERIOD {
                self.previous.clear();
            }
            self.since = now;
        }
        let fingerprint = self.hash.hash_one(seal).max(1);
        !self.previous.contains(fingerprint) && self.current.insert(fingerprint)
    }
}

/// A hash set with open addressing: zero marks a free slot; at most half of the slots are used.
#[derive(Debug, Default)]
struct Fingerprints {
    slots: Vec<u64>,
    len: usize,
}

impl Fingerprints {
    /// The slot of a fingerprint, or the free one where it belongs.
    fn slot(&self, fingerprint: u64) -> Option<usize> {
        let mask = self.slots.len().checked_sub(1)?;
        let start = fingerprint as usize;
        (0..self.slots.len()).map(|step| start.wrapping_add(step) & mask).find(|at| {
            self.slots.get(*at).is_some_and(|slot| matches!(*slot, 0) || *slot == fingerprint)
        })
    }

    fn contains(&self, fingerprint: u64) -> bool {
        let slot = self.slot(fingerprint).and_then(|at| self.slots.get(at));
        slot.is_some_and(|slot| *slot == fingerprint)
    }

    /// Returns `false` if it was already present.
    fn insert(&mut self, fingerprint: u64) -> bool {
        if self.len * 2 >= self.slots.len() {
            self.grow();
        }
        let Some(slot) = self.slot(fingerprint).and_then(|at| self.slots.get_mut(at)) else {
            return true;
        };
        let new = *slot == 0;
        *slot = fingerprint;
        self.len += usize::from(new);
        new
    }

    fn grow(&mut self) {
        let size = (self.slots.len() * 2).max(SLOTS_MIN);
        let old = mem::replace(&mut self.slots, vec![0; size]);
        self.len = 0;
        for fingerprint in old.into_iter().filter(|slot| *slot != 0) {
            self.insert(fingerprint);
        }
    }

    fn clear(&mut self) {
        self.slots.fill(0);
        self.len = 0;
    }
}

/// A copy is detected for one to two periods.
const PERIOD: Duration = Duration::from_secs(60);
/// Most packets recorded in one period, which then ends early: 2 MiB. That is 2,184 packets a
/// second.
const PACKETS_MAX: usize = 131_072;
const SLOTS_MIN: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    fn seal(i: u32) -> Seal {
        let mut nonce = [0; 12];
        nonce[..4].copy_from_slice(&i.to_be_bytes());
        Seal { nonce, tag: [0; 16] }
    }

    #[test]
    fn a_copy_is_known_for_a_minute_and_not_for_three() {
        // A packet at the beginning, in the middle and at the end of a period.
        for first in [0, 30, 59] {
            for (later, known) in [(0, true), (1, true), (59, true), (60, true), (180, false)] {
                let start = Instant::from_nanos(1);
                let mut filter = ReplayFilter::new(7, start);
                let at = start + Duration::from_secs(first);
                assert!(filter.admit(at, &seal(1)));
                for second in 0..later {
                    filter.admit(at + Duration::from_secs(second), &seal(1_000 + second as u32));
                }
                let again = !filter.admit(at + Duration::from_secs(later), &seal(1));
                assert_eq!(again, known, "at {first} s, {later} s later");
            }
        }
    }

    #[test]
    fn memory_is_bounded_and_the_newest_are_known() {
        let mut filter = ReplayFilter::new(7, Instant::ZERO);
        let count = 5 * PACKETS_MAX as u32 / 2;
        assert!((0..count).all(|i| filter.admit(Instant::ZERO, &seal(i))));
        for set in [&filter.current, &filter.previous] {
            assert!(set.slots.len() <= 2 * PACKETS_MAX, "{} slots", set.slots.len());
        }
        let newest = count - PACKETS_MAX as u32..count;
        assert!(newest.into_iter().all(|i| !filter.admit(Instant::ZERO, &seal(i))));
        assert!(filter.admit(Instant::ZERO, &seal(0)), "the oldest are forgotten");
    }
}
