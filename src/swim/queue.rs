//! Broadcast queues: of the membership engine and of the layer above. Go: `queue.go`,
//! `TransmitLimitedQueue`.
//!
//! Own messages are kept apart from relayed ones: excess messages of peers delay and displace only
//! relayed ones.

use std::{cmp::Reverse, collections::BTreeMap, sync::Arc};

use bytes::Bytes;

use super::OpId;

/// `mult × ⌈log10(n + 1)⌉`: how often each message is sent. Go: `util.go`, `retransmitLimit`.
pub fn retransmit_limit(mult: u32, n: usize) -> u32 {
    let scale = ((n as f64) + 1.0).log10().ceil();
    mult.saturating_mul(scale as u32)
}

/// A queue whose items are dropped after a number of transmits that grows with the cluster.
#[derive(Debug, Default)]
pub(crate) struct BroadcastQueue {
    own: Tiers,
    relayed: Tiers,
    /// Own items that may be dropped, by sequence number, i.e. by age.
    own_by_age: BTreeMap<u64, Key>,
    /// The same items, by transmits and then age.
    own_in_turn: BTreeMap<(u32, u64), Key>,
    /// Items that have a topic.
    by_topic: BTreeMap<Arc<str>, Key>,
    last_id: u64,
    again: Vec<(Key, Item)>,
    /// Memory of all items, and of own ones, in bytes.
    bytes: usize,
    own_bytes: usize,
    /// Operations whose message was sent for the last time or dropped.
    ended: Vec<(OpId, Fate)>,
}

type Tiers = BTreeMap<Key, Item>;

/// Order of sending: fewest transmits first, then the longest, then the newest. Go:
/// `limitedBroadcast.Less`.
type Key = (u32, Reverse<usize>, Reverse<u64>);

#[derive(Debug)]
struct Item {
    message: Bytes,
    author: Author,
    topic: Option<Arc<str>>,
}

/// Author of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Author {
    /// This node, with the operation that waits for the last transmit.
    Own(Option<OpId>),
    /// A peer; this node relays it.
    Peer,
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
        self.message.len() + ITEM_OVERHEAD
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

    /// Queues a message.
    pub(crate) fn push(&mut self, message: Bytes, author: Author) {
        self.add(Item { message, author, topic: None });
    }

    /// Queues a message that replaces the one with the same topic, which ends. It is never dropped:
    /// the caller limits the number of topics.
    pub(crate) fn push_about(&mut self, topic: Arc<str>, message: Bytes, author: Author) {
        if let Some(key) = self.by_topic.get(&topic).copied()
            && let Some(item) = self.remove(&key)
        {
            self.end(&key, &item, Fate::Sent);
        }
        self.add(Item { message, author, topic: Some(topic) });
    }

    fn add(&mut self, item: Item) {
        if self.is_empty() {
            self.last_id = 0;
        }
        self.last_id += 1;
        let key = (0, Reverse(item.message.len()), Reverse(self.last_id));
        self.bytes += item.bytes();
        if let Author::Own(_) = item.author {
            self.own_bytes += item.bytes();
        }
        if let Some(topic) = &item.topic {
            self.by_topic.insert(Arc::clone(topic), key);
        }
        self.insert(key, item);
    }

    fn insert(&mut self, key: Key, item: Item) {
        match item.author {
            Author::Own(_) => {
                if item.topic.is_none() {
                    self.own_by_age.insert(key.2.0, key);
                    self.own_in_turn.insert((key.0, key.2.0), key);
                }
                self.own.insert(key, item);
            }
            Author::Peer => {
                self.relayed.insert(key, item);
            }
        }
    }

    fn remove(&mut self, key: &Key) -> Option<Item> {
        let own = self.own.remove(key);
        if own.is_some() {
            self.own_in_turn.remove(&(key.0, key.2.0));
        }
        own.or_else(|| self.relayed.remove(key))
    }

    /// Ends an item that was removed from its tier.
    fn end(&mut self, key: &Key, item: &Item, fate: Fate) {
        self.bytes -= item.bytes();
        if let Some(topic) = &item.topic {
            self.by_topic.remove(topic);
        }
        if let Author::Own(op) = item.author {
            self.own_bytes -= item.bytes();
            self.own_by_age.remove(&key.2.0);
            self.ended.extend(op.map(|op| (op, fate)));
        }
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
        while self.bytes > BYTES_MAX {
            let largest = tiers(&self.relayed).filter_map(|tier| largest(&self.relayed, tier));
            let largest = largest.max_by_key(|key| (key.1.0, key.0));
            let Some(key) = largest.or_else(|| self.oldest_own()) else { break };
            self.drop_item(&key);
            dropped += 1;
        }
        dropped
    }

    /// Drops items until `len_max` remain: items of peers first, the most transmitted before
    /// others, and of these the largest.
    pub(crate) fn prune(&mut self, len_max: usize) {
        while self.len() > len_max {
            let last = self.relayed.keys().next_back().map(|key| key.0);
            let key = last.and_then(|tier| largest(&self.relayed, tier));
            let Some(key) = key.or_else(|| self.oldest_own()) else { break };
            self.drop_item(&key);
        }
    }

    fn oldest_own(&self) -> Option<Key> {
        self.own_by_age.values().next().copied()
    }

    fn drop_item(&mut self, key: &Key) {
        if let Some(item) = self.remove(key) {
            self.end(key, &item, Fate::Dropped);
        }
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
        while let Some(free) = limit.checked_sub(used + overhead).filter(|free| *free > 0) {
            let Some(key) = self.next(order, tier, free) else { break };
            tier = key.0;
            let Some(item) = self.remove(&key) else { break };
            emit(&item.message);
            used += overhead + item.message.len();
            let transmits = tier.saturating_add(copies);
            if transmits >= transmits_max {
                self.end(&key, &item, Fate::Sent);
            } else {
                // Requeued only after the pass, so that no message is twice in a packet.
                self.again.push(((transmits, key.1, key.2), item));
            }
        }
        let mut again = std::mem::take(&mut self.again);
        for (key, item) in again.drain(..) {
            if let Some(known) = item.topic.as_ref().and_then(|topic| self.by_topic.get_mut(topic))
            {
                *known = key;
            }
            self.insert(key, item);
        }
        self.again = again;
        used
    }

    /// The next item of at most `free` bytes, in `tier` or a later tier.
    fn next(&self, order: Order, tier: u32, free: usize) -> Option<Key> {
        match order {
            Order::Own => longest(&self.own, tier, free),
            Order::OwnOldest => {
                let mut oldest = self.own_in_turn.range((tier, 0)..).take(LOOKED_AT_MAX);
                oldest.find(|(_, key)| key.1.0 <= free).map(|(_, key)| *key)
            }
            Order::Longest => {
                let candidates = [&self.own, &self.relayed].map(|t| longest(t, tier, free));
                candidates.into_iter().flatten().min()
            }
            Order::Shortest => {
                let candidates = [&self.own, &self.relayed].map(|t| shortest(t, tier, free));
                candidates.into_iter().flatten().min_by_key(|key| (key.0, key.1.0, key.2.0))
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
        let mut items: Vec<_> = self.own.iter().chain(&self.relayed).collect();
        items.sort_unstable_by_key(|(key, _)| **key);
        items.into_iter().map(|(key, item)| (key.0, &*item.message))
    }
}

/// The tiers that are not empty.
fn tiers(items: &Tiers) -> impl Iterator<Item = u32> + '_ {
    let mut next = items.keys().next().map(|key| key.0);
    std::iter::from_fn(move || {
        let tier = next?;
        next = items.range(start_of(tier + 1)..).next().map(|(key, _)| key.0);
        Some(tier)
    })
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

/// The oldest of the largest items of a tier.
fn largest(items: &Tiers, tier: u32) -> Option<Key> {
    let (first, _) = items.range(start_of(tier)..start_of(tier + 1)).next()?;
    let end = (tier, first.1, Reverse(0));
    items.range(*first..=end).next_back().map(|(key, _)| *key)
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
