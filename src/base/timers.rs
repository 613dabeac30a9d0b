//! All deadlines of one engine in one heap.

use std::{cmp::Reverse, collections::BinaryHeap};

use super::Instant;

/// A heap of deadlines. Timers are not cancelled: the handler checks whether a fired timer still
/// applies, which is cheaper than removing it from the heap.
#[derive(Debug)]
pub(crate) struct Timers<T> {
    heap: BinaryHeap<Reverse<(Instant, u64, T)>>,
    set: u64,
}

impl<T: Ord> Default for Timers<T> {
    fn default() -> Self {
        Self { heap: BinaryHeap::new(), set: 0 }
    }
}

impl<T: Ord> Timers<T> {
    pub(crate) fn set(&mut self, at: Instant, timer: T) {
        self.set += 1;
        self.heap.push(Reverse((at, self.set, timer)));
    }

    pub(crate) fn next(&self) -> Option<Instant> {
        self.heap.peek().map(|Reverse((at, ..))| *at)
    }

    /// Removes the earliest due timer; timers of the same instant come in the order they were set.
    pub(crate) fn pop_due(&mut self, now: Instant) -> Option<(Instant, T)> {
        if self.next()? > now {
            return None;
        }
        self.heap.pop().map(|Reverse((at, _, timer))| (at, timer))
    }

    /// Keeps only the timers for which `keep` returns true.
    #[cfg(any(test, feature = "sim"))]
    pub(crate) fn retain(&mut self, keep: impl Fn(&T) -> bool) {
        self.heap.retain(|Reverse((.., timer))| keep(timer));
    }

    /// All timers, in arbitrary order.
    #[cfg(test)]
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Instant, &T)> {
        self.heap.iter().map(|Reverse((at, _, timer))| (*at, timer))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timers_fire_by_time_and_then_in_the_order_they_were_set() {
        let mut timers = Timers::default();
        for (at, name) in [(2, "c"), (1, "b"), (1, "a"), (3, "d")] {
            timers.set(Instant::from_nanos(at), name);
        }
        assert_eq!(timers.next(), Some(Instant::from_nanos(1)));
        let now = Instant::from_nanos(2);
        let fired: Vec<_> = std::iter::from_fn(|| timers.pop_due(now)).collect();
        let at = Instant::from_nanos;
        assert_eq!(fired, [(at(1), "b"), (at(1), "a"), (at(2), "c")]);
        assert_eq!(timers.iter().collect::<Vec<_>>(), [(at(3), &"d")]);
    }
}
