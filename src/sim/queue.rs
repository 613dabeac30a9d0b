//! The event queue: a ring of time buckets, and a heap for later events.

use std::{cmp::Ordering, collections::BinaryHeap};

/// An event of a node.
#[derive(Debug)]
pub(crate) struct Event<K> {
    /// Time in nanoseconds of world time.
    pub(crate) at: u64,
    /// The node that caused it.
    pub(crate) src: u32,
    /// The node that handles it.
    pub(crate) dst: u32,
    /// Number of events that `src` had caused before.
    pub(crate) seq: u64,
    /// Kind of the event.
    pub(crate) kind: K,
}

impl<K> Event<K> {
    // The order does not depend on the assignment of nodes to threads, so that a run gives the same
    // result with any number of threads.
    fn key(&self) -> (u64, u32, u64) {
        (self.at, self.src, self.seq)
    }
}

impl<K> PartialEq for Event<K> {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl<K> Eq for Event<K> {}

impl<K> PartialOrd for Event<K> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<K> Ord for Event<K> {
    // Reversed: `BinaryHeap` returns the greatest first.
    fn cmp(&self, other: &Self) -> Ordering {
        other.key().cmp(&self.key())
    }
}

/// Events by time, ties by source and sequence number.
///
/// Events of the current bucket are in a small heap, those of the next [`BUCKETS`] buckets unsorted
/// in a ring, all others in a big heap. A run of 10,000 nodes has about 20,000 events outstanding
/// of which a hundred are due in any millisecond, so nearly all work is on the small heap.
pub(crate) struct Queue<K> {
    /// Events with `at < horizon`.
    near: BinaryHeap<Event<K>>,
    ring: Vec<Vec<Event<K>>>,
    /// Events beyond the ring.
    far: BinaryHeap<Event<K>>,
    /// Number of the first bucket in the ring.
    first: u64,
    in_ring: usize,
}

impl<K> Queue<K> {
    pub(crate) fn new() -> Self {
        Self {
            near: BinaryHeap::new(),
            ring: (0..BUCKETS).map(|_| Vec::new()).collect(),
            far: BinaryHeap::new(),
            first: 0,
            in_ring: 0,
        }
    }

    pub(crate) fn push(&mut self, event: Event<K>) {
        let bucket = event.at >> BUCKET_SHIFT;
        if bucket < self.first {
            self.near.push(event);
        } else if bucket < self.first + BUCKETS {
            self.ring[(bucket % BUCKETS) as usize].push(event);
            self.in_ring += 1;
        } else {
            self.far.push(event);
        }
    }

    /// The next event, if it is due before `end`.
    pub(crate) fn pop_before(&mut self, end: u64) -> Option<Event<K>> {
        if self.near.is_empty() && !self.advance(end) {
            return None;
        }
        let next = self.near.peek_mut()?;
        if next.at >= end {
            return None;
        }
        Some(std::collections::binary_heap::PeekMut::pop(next))
    }

    /// The node that probably handles the next event.
    pub(crate) fn next_dst(&self) -> Option<u32> {
        self.near.peek().map(|event| event.dst)
    }

    /// Time of the next event.
    pub(crate) fn next_at(&mut self) -> Option<u64> {
        if self.near.is_empty() {
            self.advance(u64::MAX);
        }
        self.near.peek().map(|event| event.at)
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.near.len() + self.in_ring + self.far.len()
    }

    /// Advances the ring until there are near events, but not past the bucket of `end`.
    fn advance(&mut self, end: u64) -> bool {
        let last = end >> BUCKET_SHIFT;
        while self.near.is_empty() && self.first <= last {
            if self.in_ring == 0 {
                // The ring is empty: jump to the next far event.
                let Some(event) = self.far.peek() else { return false };
                let bucket = event.at >> BUCKET_SHIFT;
                if bucket > last {
                    return false;
                }
                self.first = self.first.max(bucket);
            }
            self.refill();
            let slot = &mut self.ring[(self.first % BUCKETS) as usize];
            self.in_ring -= slot.len();
            self.near.extend(slot.drain(..));
            self.first += 1;
        }
        !self.near.is_empty()
    }

    /// Moves far events into the ring once it covers their time.
    fn refill(&mut self) {
        while let Some(event) = self.far.peek() {
            let bucket = event.at >> BUCKET_SHIFT;
            if bucket >= self.first + BUCKETS {
                return;
            }
            if let Some(event) = self.far.pop() {
                self.ring[(bucket % BUCKETS) as usize].push(event);
                self.in_ring += 1;
            }
        }
    }
}

/// A bucket is 2^20 ns, about a millisecond.
const BUCKET_SHIFT: u32 = 20;
/// The ring is about two seconds long.
const BUCKETS: u64 = 2048;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Rng;

    fn event(at: u64, src: u32, seq: u64) -> Event<()> {
        Event { at, src, dst: 0, seq, kind: () }
    }

    #[test]
    fn gives_events_in_the_order_of_a_sort_whatever_the_distance() {
        let mut rng = Rng::from_u64(7);
        let mut queue = Queue::new();
        let mut expected = Vec::new();
        let mut now = 0;
        let mut got = Vec::new();
        for seq in 0..20_000 {
            let span = [1_000, 1_000_000, 3_000_000_000, 600_000_000_000][rng.below(4)];
            let at = now + rng.below(span) as u64;
            let src = rng.below(5) as u32;
            queue.push(event(at, src, seq));
            expected.push((at, src, seq));
            if rng.below(3) == 0 {
                let end = now + rng.below(50_000_000) as u64;
                while let Some(event) = queue.pop_before(end) {
                    assert!(event.at < end);
                    now = event.at;
                    got.push(event.key());
                }
            }
        }
        while let Some(event) = queue.pop_before(u64::MAX) {
            got.push(event.key());
        }
        assert_eq!(got.len(), expected.len());
        assert!(got.windows(2).all(|pair| pair[0].0 <= pair[1].0), "time went back");
        expected.sort_unstable();
        got.sort_unstable();
        assert_eq!(got, expected);
    }

    #[test]
    fn ties_go_by_source_then_by_sequence() {
        let mut queue = Queue::new();
        for (src, seq) in [(2, 0), (1, 9), (1, 3), (0, 7)] {
            queue.push(event(5, src, seq));
        }
        let order: Vec<_> =
            std::iter::from_fn(|| queue.pop_before(6)).map(|e| (e.src, e.seq)).collect();
        assert_eq!(order, [(0, 7), (1, 3), (1, 9), (2, 0)]);
    }

    #[test]
    fn an_end_is_exclusive_and_the_next_time_is_known() {
        let mut queue = Queue::new();
        queue.push(event(10_000_000_000, 0, 0));
        assert!(queue.pop_before(10_000_000_000).is_none());
        assert_eq!(queue.next_at(), Some(10_000_000_000));
        queue.push(event(3, 0, 1));
        assert_eq!(queue.next_at(), Some(3), "an earlier event may still come");
        assert_eq!(queue.len(), 2);
        assert!(queue.pop_before(10_000_000_001).is_some());
    }
}
