//! Messages of peers that wait to be relayed. All events of a flood pass here, so a message is
//! copied into memory that is there already, and neither its arrival nor its end allocates.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, VecDeque},
};

/// Order of sending: fewest transmits first, then the longest, then the newest. Go:
/// `limitedBroadcast.Less`.
pub(super) type Key = (u32, Reverse<usize>, Reverse<u64>);

/// Messages in the order in which they are sent.
#[derive(Debug, Default)]
pub(super) struct Relayed {
    /// By transmits and length.
    bins: BTreeMap<(u32, Reverse<usize>), Bin>,
    len: usize,
}

/// Messages of one length that were sent equally often.
#[derive(Debug, Default)]
struct Bin {
    /// Sequence number and place of each message, from the oldest to the newest.
    order: VecDeque<(u64, u32)>,
    /// All messages, one after the other.
    bytes: Vec<u8>,
    /// Places of messages that were removed.
    free: Vec<u32>,
}

impl Relayed {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(super) fn insert(&mut self, (transmits, Reverse(len), Reverse(id)): Key, message: &[u8]) {
        debug_assert_eq!(message.len(), len, "the key has its length");
        let bin = self.bins.entry((transmits, Reverse(len))).or_default();
        bin.insert(id, message);
        self.len += 1;
    }

    /// Removes the newest or the oldest message of its kind, and appends it to `out`; returns
    /// whether it was one of these.
    pub(super) fn remove(&mut self, key: &Key, out: Option<&mut Vec<u8>>) -> bool {
        let (transmits, len, Reverse(id)) = *key;
        let Some(bin) = self.bins.get_mut(&(transmits, len)) else { return false };
        if !bin.remove(id, len.0, out) {
            return false;
        }
        self.len -= 1;
        if bin.order.is_empty() {
            self.bins.remove(&(transmits, len));
        }
        true
    }

    /// The first message that fits, in `tier` or a later tier.
    pub(super) fn longest(&self, tier: u32, free: usize) -> Option<Key> {
        self.longest_bin(tier, free).and_then(|(bin, items)| Some(key(bin, items.order.back()?)))
    }

    /// The shortest message, the oldest of equal ones, of the first tier, from `tier` on, that has
    /// a message that fits.
    pub(super) fn shortest(&self, tier: u32, free: usize) -> Option<Key> {
        let ((tier, len), _) = self.longest_bin(tier, free)?;
        let (bin, items) = self.bins.range((tier, len)..=(tier, Reverse(0))).next_back()?;
        Some(key(*bin, items.order.front()?))
    }

    fn longest_bin(&self, mut tier: u32, free: usize) -> Option<((u32, Reverse<usize>), &Bin)> {
        loop {
            let (bin, items) = self.bins.range((tier, Reverse(free))..).next()?;
            if bin.0 == tier || bin.1.0 <= free {
                return Some((*bin, items));
            }
            tier = bin.0;
        }
    }

    /// The oldest of the largest messages of any tier; of those of several tiers the one that was
    /// sent most often.
    pub(super) fn largest(&self) -> Option<Key> {
        // In a flood nothing is sent as fast as it comes, and there is one tier.
        let (first, items) = self.bins.first_key_value()?;
        if self.bins.last_key_value().is_some_and(|(last, _)| last.0 == first.0) {
            return Some(key(*first, items.order.front()?));
        }
        let mut largest = None::<(usize, u32)>;
        let mut next = self.bins.keys().next();
        while let Some((tier, len)) = next {
            largest = largest.max(Some((len.0, *tier)));
            let Some(later) = tier.checked_add(1) else { break };
            next = self.bins.range((later, Reverse(usize::MAX))..).next().map(|(bin, _)| bin);
        }
        let (len, tier) = largest?;
        let bin = (tier, Reverse(len));
        Some(key(bin, self.bins.get(&bin)?.order.front()?))
    }

    /// The oldest of the largest messages of those that were sent most often.
    pub(super) fn most_sent(&self) -> Option<Key> {
        let ((tier, _), _) = self.bins.last_key_value()?;
        let (bin, items) = self.bins.range((*tier, Reverse(usize::MAX))..).next()?;
        Some(key(*bin, items.order.front()?))
    }

    /// All messages, in the order in which they are sent.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Key, &[u8])> {
        self.bins.iter().flat_map(|(bin, items)| {
            let newest = items.order.iter().rev();
            newest.map(|item| (key(*bin, item), items.message(item.1, bin.1.0)))
        })
    }
}

fn key((transmits, len): (u32, Reverse<usize>), (id, _): &(u64, u32)) -> Key {
    (transmits, len, Reverse(*id))
}

impl Bin {
    fn insert(&mut self, id: u64, message: &[u8]) {
        let len = message.len();
        let place = match self.free.pop() {
            Some(place) => {
                if let Some(old) = self.bytes.get_mut(range(place, len)) {
                    old.copy_from_slice(message);
                }
                place
            }
            None => {
                // Smaller steps than a vector's own, since a full queue has megabytes.
                if self.bytes.capacity() - self.bytes.len() < len {
                    self.bytes.reserve_exact(len.max(self.bytes.len() / 4));
                }
                self.bytes.extend_from_slice(message);
                self.order.len() as u32
            }
        };
        // A message that was sent again keeps its age.
        match self.order.back() {
            Some((newest, _)) if *newest > id => {
                let at = self.order.partition_point(|(known, _)| *known < id);
                self.order.insert(at, (id, place));
            }
            _ => self.order.push_back((id, place)),
        }
    }

    fn remove(&mut self, id: u64, len: usize, out: Option<&mut Vec<u8>>) -> bool {
        let item = match (self.order.back(), self.order.front()) {
            (Some((newest, _)), _) if *newest == id => self.order.pop_back(),
            (_, Some((oldest, _))) if *oldest == id => self.order.pop_front(),
            _ => None,
        };
        let Some((_, place)) = item else { return false };
        if let Some(out) = out {
            out.extend_from_slice(self.message(place, len));
        }
        self.free.push(place);
        if self.free.len() > FREE_MAX.max(3 * self.order.len()) {
            self.compact(len);
        }
        true
    }

    /// Gives memory back.
    fn compact(&mut self, len: usize) {
        let mut kept = Vec::with_capacity(self.order.len() * len);
        for (at, (_, place)) in self.order.iter_mut().enumerate() {
            kept.extend_from_slice(self.bytes.get(range(*place, len)).unwrap_or_default());
            *place = at as u32;
        }
        (self.bytes, self.free) = (kept, Vec::new());
        self.order.shrink_to_fit();
    }

    fn message(&self, place: u32, len: usize) -> &[u8] {
        self.bytes.get(range(place, len)).unwrap_or_default()
    }
}

fn range(place: u32, len: usize) -> std::ops::Range<usize> {
    let start = place as usize * len;
    start..start + len
}

/// Free places that a bin may always have.
const FREE_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The same with a map, which needs memory for each message.
    #[derive(Default)]
    struct Model(BTreeMap<Key, Vec<u8>>);

    impl Model {
        fn first(&self, wanted: impl Fn(&Key) -> bool) -> Option<Key> {
            self.0.keys().find(|key| wanted(key)).copied()
        }

        fn longest(&self, tier: u32, free: usize) -> Option<Key> {
            self.first(|key| key.0 >= tier && key.1.0 <= free)
        }

        fn shortest(&self, tier: u32, free: usize) -> Option<Key> {
            let first = self.longest(tier, free)?;
            self.0.keys().rfind(|key| key.0 == first.0).copied()
        }

        fn largest(&self) -> Option<Key> {
            let by_age = |key: &&Key| (key.1.0, key.0, key.2);
            self.0.keys().max_by_key(by_age).copied()
        }

        fn most_sent(&self) -> Option<Key> {
            let by_age = |key: &&Key| (key.0, key.1.0, key.2);
            self.0.keys().max_by_key(by_age).copied()
        }
    }

    #[derive(Clone, Debug)]
    enum Step {
        New(usize),
        /// Takes the first that fits and puts it back as sent that many times more.
        Send(u32, usize, u32),
        SendShortest(u32, usize, u32),
        DropLargest,
        DropMostSent,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => (0_usize..6).prop_map(Step::New),
            2 => (0_u32..4, 0_usize..7, 1_u32..3).prop_map(|(t, f, c)| Step::Send(t, f, c)),
            1 => (0_u32..4, 0_usize..7, 1_u32..3).prop_map(|(t, f, c)| Step::SendShortest(t, f, c)),
            1 => Just(Step::DropLargest),
            1 => Just(Step::DropMostSent),
        ]
    }

    proptest! {
        #[test]
        fn order_is_that_of_sorted_messages(steps in prop::collection::vec(step(), 1..400)) {
            let (mut relayed, mut model) = (Relayed::default(), Model::default());
            let mut id = 0_u64;
            for step in steps {
                let (expected, got) = match step {
                    Step::New(len) => {
                        id += 1;
                        let key = (0, Reverse(len), Reverse(id));
                        let message = vec![id as u8; len];
                        relayed.insert(key, &message);
                        model.0.insert(key, message);
                        continue;
                    }
                    Step::Send(tier, free, _) => {
                        (model.longest(tier, free), relayed.longest(tier, free))
                    }
                    Step::SendShortest(tier, free, _) => {
                        (model.shortest(tier, free), relayed.shortest(tier, free))
                    }
                    Step::DropLargest => (model.largest(), relayed.largest()),
                    Step::DropMostSent => (model.most_sent(), relayed.most_sent()),
                };
                prop_assert_eq!(got, expected);
                let Some(key) = got else { continue };
                let mut out = Vec::new();
                prop_assert!(relayed.remove(&key, Some(&mut out)));
                prop_assert_eq!(model.0.remove(&key), Some(out.clone()));
                if let Step::Send(.., times) | Step::SendShortest(.., times) = step {
                    let again = (key.0 + times, key.1, key.2);
                    relayed.insert(again, &out);
                    model.0.insert(again, out);
                }
                prop_assert_eq!(relayed.len(), model.0.len());
                prop_assert!(!relayed.remove(&(9, Reverse(1), Reverse(0)), None));
            }
            let all: Vec<_> = relayed.iter().map(|(key, text)| (key, text.to_vec())).collect();
            prop_assert_eq!(all, model.0.into_iter().collect::<Vec<_>>());
        }
    }

    #[test]
    fn memory_follows_what_waits() {
        let mut relayed = Relayed::default();
        let bytes = |relayed: &Relayed| -> usize {
            let of = |bin: &Bin| {
                bin.bytes.capacity() + 16 * bin.order.capacity() + 4 * bin.free.capacity()
            };
            relayed.bins.values().map(of).sum()
        };
        let key = |id: u64| (0, Reverse(100), Reverse(id));
        for id in 0..40_000 {
            relayed.insert(key(id), &[7; 100]);
        }
        assert!(bytes(&relayed) < 40_000 * 160, "{}", bytes(&relayed));
        // One comes and the oldest goes: nothing grows.
        let full = bytes(&relayed);
        for id in 40_000..200_000 {
            relayed.insert(key(id), &[7; 100]);
            assert!(relayed.remove(&relayed.largest().unwrap(), None));
        }
        assert!(bytes(&relayed) <= full + 16 * 40_000, "{}", bytes(&relayed));
        while relayed.len() > 10 {
            let oldest = relayed.largest().unwrap();
            assert!(relayed.remove(&oldest, None));
        }
        assert!(bytes(&relayed) < 100_000, "{}", bytes(&relayed));
        let texts: Vec<_> = relayed.iter().map(|(key, text)| (key.2.0, text[99])).collect();
        assert_eq!(texts, (199_990..200_000).rev().map(|id| (id, 7)).collect::<Vec<_>>());
    }
}
