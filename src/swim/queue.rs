//! Broadcasts waiting to be piggybacked. Go: `queue.go`, `TransmitLimitedQueue`.

use std::{cmp::Reverse, collections::BTreeMap, ops::Bound, sync::Arc};

use super::OpId;

/// `mult × ⌈log10(n + 1)⌉`: how often each message is sent. Go: `util.go`, `retransmitLimit`.
pub fn retransmit_limit(mult: u32, n: usize) -> u32 {
    let scale = ((n as f64) + 1.0).log10().ceil();
    mult.saturating_mul(scale as u32)
}

/// Served first: fewest transmits, then the longest, then the newest.
type Key = (u32, Reverse<usize>, Reverse<u64>);

/// One broadcast per node: a newer one about the same node replaces the queued one.
#[derive(Debug, Default)]
pub(super) struct BroadcastQueue {
    items: BTreeMap<Key, Item>,
    by_name: BTreeMap<Arc<str>, Key>,
    pushed: u64,
    resent: Vec<(Key, Item)>,
}

#[derive(Debug)]
struct Item {
    name: Arc<str>,
    message: Box<[u8]>,
    notify: Option<OpId>,
}

impl BroadcastQueue {
    /// Queues a message about `name`; what it replaces is finished: its `notify` is returned.
    pub(super) fn push(
        &mut self,
        name: Arc<str>,
        message: &[u8],
        notify: Option<OpId>,
    ) -> Option<OpId> {
        let replaced = self.by_name.get(&name).and_then(|key| self.items.remove(key));
        if self.items.is_empty() {
            self.pushed = 0;
        }
        self.pushed += 1;
        let key = (0, Reverse(message.len()), Reverse(self.pushed));
        self.by_name.insert(Arc::clone(&name), key);
        self.items.insert(key, Item { name, message: message.into(), notify });
        replaced.and_then(|item| item.notify)
    }

    /// Takes messages whose lengths plus `overhead` each fit into `limit`, and gives what it used.
    /// `finished` receives the operations whose message has now been sent `transmits` times.
    pub(super) fn take(
        &mut self,
        overhead: usize,
        limit: usize,
        transmits: u32,
        finished: &mut Vec<OpId>,
        emit: &mut dyn FnMut(&[u8]),
    ) -> usize {
        let mut used = 0_usize;
        let Some(mut tier) = self.items.first_key_value().map(|(key, _)| key.0) else { return 0 };
        loop {
            let free = limit.saturating_sub(used).saturating_sub(overhead);
            if free == 0 {
                break;
            }
            // The first of this tier that is short enough, else the first of a later tier.
            let from = (tier, Reverse(free), Reverse(u64::MAX));
            let next = self.items.range((Bound::Included(from), Bound::Unbounded)).next();
            let Some(&key) = next.map(|(key, _)| key) else { break };
            if key.0 != tier {
                tier = key.0;
                continue;
            }
            let Some(item) = self.items.remove(&key) else { break };
            emit(&item.message);
            used += overhead + item.message.len();
            let sent = key.0 + 1;
            if sent >= transmits {
                self.by_name.remove(&item.name);
                finished.extend(item.notify);
            } else {
                // Back only after the pass, so that no message stands in a packet twice.
                self.resent.push(((sent, key.1, key.2), item));
            }
        }
        for (key, item) in self.resent.drain(..) {
            if let Some(known) = self.by_name.get_mut(&item.name) {
                *known = key;
            }
            self.items.insert(key, item);
        }
        used
    }

    pub(super) fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.items.len()
    }

    /// Transmits and message, in the order they are served.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &[u8])> {
        self.items.iter().map(|(key, item)| (key.0, &*item.message))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn taken(queue: &mut BroadcastQueue, overhead: usize, limit: usize, times: u32) -> Vec<String> {
        let mut parts = Vec::new();
        queue.take(overhead, limit, times, &mut Vec::new(), &mut |message| {
            parts.push(String::from_utf8_lossy(message).into_owned());
        });
        parts
    }

    #[test]
    fn order_is_fewest_transmits_then_longest_then_newest() {
        // Goal: the sequence that Go printed for the same pushes and limits.
        let mut queue = BroadcastQueue::default();
        for message in ["aaaa", "bbbbbbbb", "cc", "dddd"] {
            queue.push(message.into(), message.as_bytes(), None);
        }
        assert_eq!(taken(&mut queue, 2, 14, 10), ["bbbbbbbb", "cc"]);
        assert_eq!(taken(&mut queue, 2, 14, 10), ["dddd", "aaaa"]);
        assert_eq!(taken(&mut queue, 2, 14, 10), ["bbbbbbbb", "cc"]);
    }

    #[test]
    fn a_newer_message_about_a_node_replaces_the_queued_one() {
        let mut queue = BroadcastQueue::default();
        assert_eq!(queue.push("n".into(), b"old", Some(OpId(1))), None);
        assert_eq!(queue.push("n".into(), b"new", None), Some(OpId(1)));
        assert_eq!(taken(&mut queue, 0, 100, 1), ["new"]);
        assert_eq!(queue.len(), 0);
    }

    #[test]
    fn a_message_is_finished_at_its_transmit_limit() {
        let mut queue = BroadcastQueue::default();
        queue.push("n".into(), b"x", Some(OpId(7)));
        let mut finished = Vec::new();
        for round in 1..=3 {
            queue.take(2, 100, 3, &mut finished, &mut |_| {});
            assert_eq!(finished.is_empty(), round < 3);
        }
        assert_eq!(finished, [OpId(7)]);
    }

    #[test]
    fn transmit_limit_is_go_s() {
        let table = [(0, 0), (1, 4), (9, 4), (10, 8), (99, 8), (100, 12), (999, 12), (1000, 16)];
        for (n, limit) in table {
            assert_eq!(retransmit_limit(4, n), limit, "n = {n}");
        }
    }

    proptest! {
        #[test]
        fn nothing_exceeds_the_limit_and_everything_is_sent_often_enough(
            lengths in prop::collection::vec(1_usize..60, 1..40),
            limit in 70_usize..200,
            transmits in 1_u32..5,
        ) {
            let mut queue = BroadcastQueue::default();
            for (index, len) in lengths.iter().enumerate() {
                queue.push(index.to_string().into(), &vec![index as u8; *len], None);
            }
            let mut sent = vec![0; lengths.len()];
            for _ in 0..lengths.len() * transmits as usize {
                let mut total = 0;
                queue.take(2, limit, transmits, &mut Vec::new(), &mut |message| {
                    total += message.len() + 2;
                    sent[usize::from(message[0])] += 1;
                });
                prop_assert!(total <= limit);
            }
            prop_assert!(sent.iter().all(|times| *times == transmits));
            prop_assert_eq!(queue.len(), 0);
        }
    }
}
