//! Messages waiting to be piggybacked. Go: memberlist's `TransmitLimitedQueue` as Serf uses it:
//! no message replaces another.

use std::{cmp::Reverse, collections::BTreeMap};

use bytes::Bytes;

use crate::swim::OpId;

/// A queue whose items leave after a number of transmits that grows with the cluster.
#[derive(Default)]
pub(crate) struct BroadcastQueue {
    items: BTreeMap<Key, Item>,
    next_id: u64,
    again: Vec<(Key, Item)>,
    /// Memory of all items.
    bytes: usize,
}

/// Served first: fewest transmits, then longest, then newest.
type Key = (u32, Reverse<usize>, Reverse<u64>);

struct Item {
    message: Bytes,
    /// Operation that waits for the last transmit.
    notify: Option<OpId>,
}

impl Item {
    fn bytes(&self) -> usize {
        self.message.len() + ITEM_OVERHEAD
    }
}

impl BroadcastQueue {
    pub(crate) fn push(&mut self, message: Bytes, notify: Option<OpId>) {
        if self.items.is_empty() {
            self.next_id = 0;
        }
        self.next_id += 1;
        let key = (0, Reverse(message.len()), Reverse(self.next_id));
        let item = Item { message, notify };
        self.bytes += item.bytes();
        self.items.insert(key, item);
    }

    /// Drops the most transmitted while all take more than their share of memory; gives how many.
    /// Go looks at the length alone, and every half a minute.
    pub(crate) fn shed(&mut self, finished: &mut Vec<OpId>) -> u64 {
        let mut dropped = 0;
        while self.bytes > BYTES_MAX && self.drop_last(finished) {
            dropped += 1;
        }
        dropped
    }

    fn drop_last(&mut self, finished: &mut Vec<OpId>) -> bool {
        let Some((_, item)) = self.items.pop_last() else { return false };
        self.bytes -= item.bytes();
        finished.extend(item.notify);
        true
    }

    /// Emits messages whose length plus `overhead` fit together in `limit`; gives the bytes used.
    /// Operations whose message left for good are appended to `finished`.
    pub(crate) fn take(
        &mut self,
        overhead: usize,
        limit: usize,
        transmits_max: u32,
        finished: &mut Vec<OpId>,
        emit: &mut dyn FnMut(&[u8]),
    ) -> usize {
        let mut used = 0;
        let (Some(first), Some(last)) = (self.items.keys().next(), self.items.keys().next_back())
        else {
            return 0;
        };
        for tier in first.0..=last.0 {
            let mut from = None;
            while let Some(free) = limit.checked_sub(used + overhead).filter(|free| *free > 0) {
                let start = from.unwrap_or((tier, Reverse(free), Reverse(u64::MAX)));
                let start = start.max((tier, Reverse(free), Reverse(u64::MAX)));
                let end = (tier + 1, Reverse(usize::MAX), Reverse(u64::MAX));
                let Some(key) = self.items.range(start..end).next().map(|(key, _)| *key) else {
                    break;
                };
                let Some(item) = self.items.remove(&key) else { break };
                emit(&item.message);
                used += overhead + item.message.len();
                if tier + 1 >= transmits_max {
                    self.bytes -= item.bytes();
                    finished.extend(item.notify);
                } else {
                    self.again.push(((tier + 1, key.1, key.2), item));
                }
                from = Some(key);
            }
        }
        self.items.extend(self.again.drain(..));
        used
    }

    /// Drops the most transmitted until `len_max` remain.
    pub(crate) fn prune(&mut self, len_max: usize, finished: &mut Vec<OpId>) {
        while self.items.len() > len_max && self.drop_last(finished) {}
    }

    pub(crate) fn len(&self) -> usize {
        self.items.len()
    }
}

/// Most memory of one queue.
const BYTES_MAX: usize = 32 * 1024 * 1024;
/// What an item takes beside its message, about.
const ITEM_OVERHEAD: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_served_in_go_order() {
        let mut queue = BroadcastQueue::default();
        for message in ["aaaa", "bbbbbbbb", "cc", "dddd"] {
            queue.push(Bytes::from_static(message.as_bytes()), None);
        }
        let mut finished = Vec::new();
        let mut take = || {
            let mut sent = Vec::new();
            queue.take(2, 14, 100, &mut finished, &mut |message| {
                sent.push(String::from_utf8(message.to_vec()).unwrap());
            });
            sent
        };
        assert_eq!(take(), ["bbbbbbbb", "cc"]);
        assert_eq!(take(), ["dddd", "aaaa"]);
        assert_eq!(take(), ["bbbbbbbb", "cc"]);
    }

    #[test]
    fn waiting_operation_is_told_at_the_last_transmit() {
        let mut queue = BroadcastQueue::default();
        queue.push(Bytes::from_static(b"x"), Some(OpId(7)));
        let mut finished = Vec::new();
        for round in 1..=3 {
            assert!(finished.is_empty(), "told before round {round}");
            queue.take(3, 100, 3, &mut finished, &mut |_| {});
        }
        assert_eq!(finished, [OpId(7)]);
        assert_eq!(queue.len(), 0);
    }

    #[test]
    fn no_message_takes_the_place_of_another() {
        let mut queue = BroadcastQueue::default();
        queue.push(Bytes::from_static(b"old"), Some(OpId(1)));
        let mut finished = Vec::new();
        // The packet takes all that waits, and all of it comes back.
        queue.take(0, 3, 3, &mut finished, &mut |_| {});
        queue.push(Bytes::from_static(b"new"), Some(OpId(2)));
        let mut sent = Vec::new();
        for _ in 0..5 {
            queue.take(0, 3, 3, &mut finished, &mut |message| sent.push(message.to_vec()));
        }
        assert_eq!(sent, [b"new", b"new", b"old", b"new", b"old"]);
        assert_eq!(finished, [OpId(2), OpId(1)]);
    }

    #[test]
    fn pruning_drops_the_most_transmitted() {
        let mut queue = BroadcastQueue::default();
        queue.push(Bytes::from_static(b"old"), Some(OpId(1)));
        let mut finished = Vec::new();
        queue.take(0, 100, 10, &mut finished, &mut |_| {});
        queue.push(Bytes::from_static(b"new"), Some(OpId(2)));
        queue.prune(1, &mut finished);
        assert_eq!(finished, [OpId(1)]);
        assert_eq!(queue.len(), 1);
    }

    #[test]
    fn a_flood_is_held_only_up_to_a_share_of_memory() {
        let mut queue = BroadcastQueue::default();
        let (mut finished, mut dropped) = (Vec::new(), 0);
        let message = Bytes::from(vec![0; 1_000]);
        for _ in 0..40_000 {
            queue.push(message.clone(), None);
            dropped += queue.shed(&mut finished);
            queue.take(0, 2_000, 3, &mut finished, &mut |_| {});
            assert!(queue.bytes <= BYTES_MAX);
        }
        assert_eq!(queue.bytes, queue.items.values().map(Item::bytes).sum::<usize>());
        assert_eq!(queue.len(), BYTES_MAX / (1_000 + ITEM_OVERHEAD));
        assert!(dropped > 0);
        queue.prune(0, &mut finished);
        assert_eq!(queue.bytes, 0);
    }
}
