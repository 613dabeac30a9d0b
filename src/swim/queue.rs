//! Broadcast queues: of the membership engine and of the layer above. Go: `queue.go`,
//! `TransmitLimitedQueue`.
//!
//! Own messages are kept apart from relayed ones: excess messages of peers delay and displace only
//! relayed ones.

use std::{cmp::Reverse, collections::BTreeMap, sync::Arc};

use bytes::Bytes;

use super::{
    OpId,
    relayed::{Key, Relayed},
};

/// `mult × ⌈log10(n + 1)⌉`: how often each message is sent. Go: `util.go`, `retransmitLimit`.
pub fn retransmit_limit(mult: u32, n: usize) -> u32 {
    let scale = ((n as f64) + 1.0).log10().ceil();
    mult.saturating_mul(scale as u32)
}

/// A queue whose items are dropped after a number of transmits that grows with the cluster.
#[derive(Debug, Default)]
pub(crate) struct BroadcastQueue {
    own: Tiers,
    relayed: Relayed,
    /// Own items that may be dropped, by sequence number, i.e. by age.
    own_by_age: BTreeMap<u64, Key>,
    /// The same items, by transmits and then age.
    own_in_turn: BTreeMap<(u32, u64), Key>,
    /// Items that have a topic.
    by_topic: BTreeMap<Arc<str>, Key>,
    last_id: u64,
    /// Memory for what a packet leaves to be sent again.
    again: Again,
    /// Memory of all items, and of own ones, in bytes.
    bytes: usize,
    own_bytes: usize,
    /// Operations whose message was sent for the last time or dropped.
    ended: Vec<(OpId, Fate)>,
}

type Tiers = BTreeMap<Key, Item>;

/// Messages that were put in a packet and are to be sent again.
#[derive(Debug, Default)]
struct Again {
    own: Vec<(Key, Item)>,
    relayed: Vec<Key>,
    /// The texts of the relayed ones, one after the other.
    bytes: Vec<u8>,
}

/// A message of this node.
#[derive(Debug)]
struct Item {
    message: Bytes,
    /// The operation that waits for its last transmit.
    op: Option<OpId>,
    topic: Option<Arc<str>>,
}

/// How a broadcast ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// Sent as often as intended, or replaced by a newer message.
    Sent,
    /// Dropped earlier, because the queue was full.
    Dropped,
}

/// Order in which a packet is filled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// Go's order: the longest first, of any author.
    Longest,
    /// Only own messages, in Go's order.
    Own,
    /// Own messages without a topic, the oldest first.
    OwnOldest,
    /// The shortest first, the oldest of equal ones first.
    Shortest,
}

impl Item {
    fn bytes(&self) -> usize {
        bytes_of(self.message.len())
    }
}

impl BroadcastQueue {
    /// Memory of own items.
    #[cfg(all(feature = "driver", not(target_family = "wasm")))]
    pub(crate) fn own_bytes(&self) -> usize {
        self.own_bytes
    }

    pub(crate) fn own_len(&self) -> usize {
        self.own.len()
    }

    /// Queues a message of this node, with the operation that waits for its last transmit.
    pub(crate) fn push(&mut self, message: Bytes, op: Option<OpId>) {
        self.add(Item { message, op, topic: None });
    }

    /// Queues a message that replaces the one with the same topic, which ends. It is never dropped:
    /// the caller limits the number of topics.
    pub(crate) fn push_about(&mut self, topic: Arc<str>, message: Bytes, op: Option<OpId>) {
        if let Some(key) = self.by_topic.get(&topic).copied()
            && let Some(item) = self.remove_own(&key)
        {
            self.end_own(&key, &item, Fate::Sent);
        }
        self.add(Item { message, op, topic: Some(topic) });
    }

    /// Queues a message of a peer.
    pub(crate) fn relay(&mut self, message: &[u8]) {
        let key = self.new_key(message.len());
        self.bytes += bytes_of(message.len());
        self.relayed.insert(key, message);
    }

    fn new_key(&mut self, len: usize) -> Key {
        if self.is_empty() {
            self.last_id = 0;
        }
        self.last_id += 1;
        (0, Reverse(len), Reverse(self.last_id))
    }

    fn add(&mut self, item: Item) {
        let key = self.new_key(item.message.len());
        self.bytes += item.bytes();
        self.own_bytes += item.bytes();
        if let Some(topic) = &item.topic {
            self.by_topic.insert(Arc::clone(topic), key);
        }
        self.insert_own(key, item);
    }

    fn insert_own(&mut self, key: Key, item: Item) {
        if item.topic.is_none() {
            self.own_by_age.insert(key.2.0, key);
            self.own_in_turn.insert((key.0, key.2.0), key);
        }
        self.own.insert(key, item);
    }

    fn remove_own(&mut self, key: &Key) -> Option<Item> {
        let own = self.own.remove(key)?;
        self.own_in_turn.remove(&(key.0, key.2.0));
        Some(own)
    }

    /// Ends an item that was removed.
    fn end_own(&mut self, key: &Key, item: &Item, fate: Fate) {
        self.bytes -= item.bytes();
        self.own_bytes -= item.bytes();
        if let Some(topic) = &item.topic {
            self.by_topic.remove(topic);
        }
        self.own_by_age.remove(&key.2.0);
        self.ended.extend(item.op.map(|op| (op, fate)));
    }

    /// Operations whose message has ended since the last call.
    pub(crate) fn take_ended(&mut self) -> impl Iterator<Item = (OpId, Fate)> + '_ {
        self.ended.drain(..)
    }

    /// Drops items while the queue exceeds its memory limit; returns the number of dropped items.
    /// Items of peers are dropped first, the largest before others, so that large messages never
    /// displace small ones; then own items, the oldest first. Go limits only the number of items,
    /// every 30 seconds.
    pub(crate) fn shed(&mut self) -> u64 {
        let mut dropped = 0;
        while self.bytes > BYTES_MAX && self.drop_one(self.relayed.largest()) {
            dropped += 1;
        }
        dropped
    }

    /// Drops items until `len_max` remain: items of peers first, the most transmitted before
    /// others, and of these the largest.
    pub(crate) fn prune(&mut self, len_max: usize) {
        while self.len() > len_max && self.drop_one(self.relayed.most_sent()) {}
    }

    /// Drops a message of a peer or, without one, the oldest of ours; returns whether there was
    /// one.
    fn drop_one(&mut self, relayed: Option<Key>) -> bool {
        if let Some(key) = relayed {
            self.bytes -= bytes_of(key.1.0);
            return self.relayed.remove(&key, None);
        }
        let Some(key) = self.own_by_age.values().next().copied() else { return false };
        let Some(item) = self.remove_own(&key) else { return false };
        self.end_own(&key, &item, Fate::Dropped);
        true
    }

    /// Emits messages whose length plus `overhead` fit together in `limit`, for a packet that goes
    /// to `copies` nodes, which are as many transmits; returns the bytes used.
    pub(crate) fn take(
        &mut self,
        order: Order,
        overhead: usize,
        limit: usize,
        transmits_max: u32,
        copies: u32,
        emit: &mut dyn FnMut(&[u8]),
    ) -> usize {
        let mut used = 0;
        let mut tier = 0;
        let mut again = std::mem::take(&mut self.again);
        while let Some(free) = limit.checked_sub(used + overhead).filter(|free| *free > 0) {
            let Some((key, is_own)) = self.next(order, tier, free) else { break };
            tier = key.0;
            used += overhead + key.1.0;
            let transmits = tier.saturating_add(copies);
            let ends = transmits >= transmits_max;
            // Requeued only after the pass, so that no message is twice in a packet.
            let next_key = (transmits, key.1, key.2);
            if is_own {
                let Some(item) = self.remove_own(&key) else { break };
                emit(&item.message);
                match ends {
                    true => self.end_own(&key, &item, Fate::Sent),
                    false => again.own.push((next_key, item)),
                }
            } else {
                let start = again.bytes.len();
                if !self.relayed.remove(&key, Some(&mut again.bytes)) {
                    break;
                }
                emit(again.bytes.get(start..).unwrap_or_default());
                if ends {
                    self.bytes -= bytes_of(key.1.0);
                    again.bytes.truncate(start);
                } else {
                    again.relayed.push(next_key);
                }
            }
        }
        self.requeue(&mut again);
        self.again = again;
        used
    }

    fn requeue(&mut self, again: &mut Again) {
        for (key, item) in again.own.drain(..) {
            if let Some(known) = item.topic.as_ref().and_then(|topic| self.by_topic.get_mut(topic))
            {
                *known = key;
            }
            self.insert_own(key, item);
        }
        // The last ones are the oldest: then each comes after those that are there.
        for key in again.relayed.drain(..).rev() {
            let start = again.bytes.len() - key.1.0;
            self.relayed.insert(key, again.bytes.get(start..).unwrap_or_default());
            again.bytes.truncate(start);
        }
    }

    /// The next item of at most `free` bytes, in `tier` or a later tier, and whether it is our own.
    fn next(&self, order: Order, tier: u32, free: usize) -> Option<(Key, bool)> {
        let own = |key| (key, true);
        match order {
            Order::Own => longest(&self.own, tier, free).map(own),
            Order::OwnOldest => {
                let mut oldest = self.own_in_turn.range((tier, 0)..).take(LOOKED_AT_MAX);
                oldest.find(|(_, key)| key.1.0 <= free).map(|(_, key)| own(*key))
            }
            Order::Longest => {
                let ours = longest(&self.own, tier, free).map(own);
                let theirs = self.relayed.longest(tier, free).map(|key| (key, false));
                ours.into_iter().chain(theirs).min()
            }
            Order::Shortest => {
                let ours = shortest(&self.own, tier, free).map(own);
                let theirs = self.relayed.shortest(tier, free).map(|key| (key, false));
                let both = ours.into_iter().chain(theirs);
                both.min_by_key(|(key, _)| (key.0, key.1.0, key.2.0))
            }
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.own.len() + self.relayed.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.own.is_empty() && self.relayed.is_empty()
    }

    /// Bytes of all messages, with `overhead` added for each.
    pub(crate) fn message_bytes(&self, overhead: usize) -> usize {
        (self.bytes + self.len() * overhead).saturating_sub(self.len() * ITEM_OVERHEAD)
    }

    /// Transmit count and message of all items, in Go's order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, &[u8])> {
        let own = self.own.iter().map(|(key, item)| (*key, &*item.message));
        let mut items: Vec<_> = own.chain(self.relayed.iter()).collect();
        items.sort_unstable_by_key(|(key, _)| *key);
        items.into_iter().map(|(key, message)| (key.0, message))
    }
}

/// Memory that an item is charged for.
fn bytes_of(message_len: usize) -> usize {
    message_len + ITEM_OVERHEAD
}

/// The first item that fits, in `tier` or a later tier.
fn longest(items: &Tiers, mut tier: u32, free: usize) -> Option<Key> {
    loop {
        let from = (tier, Reverse(free), Reverse(u64::MAX));
        let (key, _) = items.range(from..).next()?;
        if key.0 == tier {
            return Some(*key);
        }
        tier = key.0;
        if key.1.0 <= free {
            return Some(*key);
        }
    }
}

/// The shortest item of the first tier, from `tier` on, that has an item that fits.
fn shortest(items: &Tiers, tier: u32, free: usize) -> Option<Key> {
    let first = longest(items, tier, free)?;
    items.range(first..start_of(first.0 + 1)).next_back().map(|(key, _)| *key)
}

fn start_of(tier: u32) -> Key {
    (tier, Reverse(usize::MAX), Reverse(u64::MAX))
}

/// Most of the oldest own items examined to find one that fits.
const LOOKED_AT_MAX: usize = 16;
/// Memory limit of one queue.
const BYTES_MAX: usize = 8 * 1024 * 1024;
/// Approximate memory of an item in addition to its message.
const ITEM_OVERHEAD: usize = 128;

#[cfg(test)]
mod tests;
