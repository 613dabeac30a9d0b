//! A bounded map that evicts its oldest entries.

use std::{
    collections::{HashMap, VecDeque},
    hash::Hash,
};

/// A map of at most `max` entries.
#[derive(Debug)]
pub(super) struct Recent<K, V> {
    entries: HashMap<K, (u64, V)>,
    /// Keys with the numbers of their entries; those of removed entries are cleaned up later.
    order: VecDeque<(u64, K)>,
    number: u64,
    max: usize,
}

impl<K: Hash + Eq + Clone, V> Recent<K, V> {
    pub(super) fn new(max: usize) -> Self {
        Self { entries: HashMap::new(), order: VecDeque::new(), number: 0, max }
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        self.entries.get_mut(key).map(|(_, value)| value)
    }

    pub(super) fn remove(&mut self, key: &K) -> Option<V> {
        self.entries.remove(key).map(|(_, value)| value)
    }

    /// Inserts an entry; returns the evicted one, if any.
    pub(super) fn insert(&mut self, key: K, value: V) -> Option<(K, V)> {
        let full = self.entries.len() >= self.max && !self.entries.contains_key(&key);
        let gone = if full { self.pop_oldest() } else { None };
        self.number += 1;
        self.order.push_back((self.number, key.clone()));
        self.entries.insert(key, (self.number, value));
        if self.order.len() > 2 * self.max {
            let Self { entries, order, .. } = self;
            order.retain(|(number, key)| entries.get(key).is_some_and(|(at, _)| at == number));
        }
        gone
    }

    /// Removes the oldest entry.
    pub(super) fn pop_oldest(&mut self) -> Option<(K, V)> {
        loop {
            let (number, key) = self.order.pop_front()?;
            if self.entries.get(&key).is_some_and(|(at, _)| *at == number) {
                let (_, value) = self.entries.remove(&key)?;
                return Some((key, value));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_entry_goes_and_memory_is_bounded() {
        let mut map = Recent::new(3);
        for n in 0..3 {
            assert_eq!(map.insert(n, n), None);
        }
        assert_eq!(map.insert(1, 10), None, "a known key takes no room");
        assert_eq!(map.insert(3, 3), Some((0, 0)));
        assert_eq!(map.insert(4, 4), Some((2, 2)), "what was put in anew is newer");
        for n in 0..1000 {
            map.remove(&n);
            map.insert(n, n);
            assert!(map.order.len() <= 6 && map.len() <= 3);
        }
        assert_eq!(map.pop_oldest(), Some((997, 997)));
    }
}
