//! The probe order: a random order of the slots that takes no memory.

use crate::base::Rng;

/// A keyed permutation of the numbers below a power of two, which covers all slots. Places of the
/// order whose slot is free are passed over.
#[cfg_attr(feature = "sim", derive(Clone))]
#[derive(Debug, Default)]
pub(super) struct Order {
    key: u64,
    bits: u32,
    /// The next place.
    next: u32,
}

impl Order {
    /// The number of places.
    pub(super) fn places(&self) -> u32 {
        1 << self.bits
    }

    /// Begins a round over this many slots, in a new order.
    pub(super) fn begin(&mut self, slots: u32, rng: &mut Rng) {
        *self = Self { key: rng.u64(), bits: bits(slots), next: 0 };
    }

    /// A slot has been added. If there was no place for it, a new round begins; otherwise it has a
    /// random place in this round, which may have passed.
    pub(super) fn cover(&mut self, slots: u32, rng: &mut Rng) {
        if bits(slots) > self.bits {
            self.begin(slots, rng);
        }
    }

    /// The slot at the next place; `None` at the end of the round.
    pub(super) fn advance(&mut self) -> Option<u32> {
        let place = self.next;
        (place < self.places()).then(|| {
            self.next += 1;
            self.at(place)
        })
    }

    /// Goes back by some places.
    pub(super) fn go_back(&mut self, places: u32) {
        self.next = self.next.saturating_sub(places);
    }

    /// Each step can be undone, so that each slot has exactly one place.
    fn at(&self, place: u32) -> u32 {
        let (mask, shift) = (self.places() - 1, self.bits.div_ceil(2).max(1));
        let (mut slot, mut key) = (place, self.key);
        for _ in 0..STEPS {
            key = key.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
            let mixed = key ^ key >> 32;
            slot = slot.wrapping_add((mixed >> 16) as u32).wrapping_mul(mixed as u32 | 1) & mask;
            slot ^= slot >> shift;
        }
        slot
    }
}

fn bits(slots: u32) -> u32 {
    slots.max(1).next_power_of_two().trailing_zeros()
}

/// After this many steps all orders of few slots occur.
const STEPS: usize = 6;

#[cfg(test)]
mod tests {
    use super::*;

    fn round(order: &mut Order) -> Vec<u32> {
        std::iter::from_fn(|| order.advance()).collect()
    }

    #[test]
    fn each_round_has_every_slot_once() {
        let mut rng = Rng::from_u64(1);
        for slots in [0, 1, 2, 3, 5, 16, 17, 1_000, 4_096] {
            let mut order = Order::default();
            order.begin(slots, &mut rng);
            let first = round(&mut order);
            assert_eq!(first.len() as u32, order.places());
            order.begin(slots, &mut rng);
            let mut second = round(&mut order);
            assert!(slots < 16 || first != second, "{slots} slots: the same order again");
            second.sort_unstable();
            assert_eq!(second, (0..order.places()).collect::<Vec<_>>());
        }
    }

    /// Goal: which slot comes when, and which one follows it, is as good as random.
    #[test]
    fn all_places_and_all_successors_are_equally_likely() {
        const SLOTS: usize = 16;
        let mut rng = Rng::from_u64(2);
        let mut order = Order::default();
        let (mut places, mut pairs) = ([[0_u32; SLOTS]; SLOTS], [[0_u32; SLOTS]; SLOTS]);
        for _ in 0..16_000 {
            order.begin(SLOTS as u32, &mut rng);
            let slots = round(&mut order);
            for (place, slot) in slots.iter().enumerate() {
                places[place][*slot as usize] += 1;
            }
            for pair in slots.windows(2) {
                pairs[pair[0] as usize][pair[1] as usize] += 1;
            }
        }
        // 1,000 expected of each; the standard deviation is 31.
        assert!(places.iter().flatten().all(|n| (850..1_150).contains(n)), "{places:?}");
        for (first, row) in pairs.iter().enumerate() {
            let others = row.iter().enumerate().filter(|(second, _)| *second != first);
            assert!(others.clone().all(|(_, n)| (800..1_200).contains(n)), "{first}: {row:?}");
        }
    }

    #[test]
    fn a_slot_without_a_place_begins_a_round_and_others_do_not() {
        let mut rng = Rng::from_u64(3);
        let mut order = Order::default();
        order.begin(3, &mut rng);
        let first = order.advance();
        order.cover(4, &mut rng);
        assert_eq!(round(&mut order).len(), 3, "the round goes on after {first:?}");
        order.cover(5, &mut rng);
        assert_eq!(round(&mut order).len(), 8);
        order.go_back(1);
        assert_eq!(round(&mut order).len(), 1);
    }
}
