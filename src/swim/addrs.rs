//! Which addresses are those of listed nodes.

use std::{collections::BTreeSet, net::IpAddr};

/// An address that a node is reached at.
pub(super) type Addr = (IpAddr, u16);

/// The addresses of rows, indexed some at a time when somebody asks: neither the first question
/// nor many new rows make a long turn.
#[cfg_attr(feature = "sim", derive(Clone))]
#[derive(Debug, Default)]
pub(super) struct Addrs {
    /// Those of all slots below `next`. Several nodes may have one address.
    known: BTreeSet<(Addr, u32)>,
    next: u32,
}

impl Addrs {
    /// Whether a row has this address. Rows that are not indexed yet do not count: where many came
    /// at once, the first questions are answered as about strangers. `len` is the number of slots,
    /// and `addr_of` gives the address in one.
    pub(super) fn has(
        &mut self,
        addr: Addr,
        len: u32,
        addr_of: impl Fn(u32) -> Option<Addr>,
    ) -> bool {
        let end = len.min(self.next.saturating_add(ROWS_AT_ONCE));
        for slot in self.next..end {
            self.known.extend(addr_of(slot).map(|addr| (addr, slot)));
        }
        self.next = self.next.max(end);
        self.known.range((addr, 0)..=(addr, u32::MAX)).next().is_some()
    }

    /// A slot has this address from now on.
    pub(super) fn insert(&mut self, addr: Option<Addr>, slot: u32) {
        if slot < self.next {
            self.known.extend(addr.map(|addr| (addr, slot)));
        }
    }

    /// A slot no longer has this address.
    pub(super) fn remove(&mut self, addr: Option<Addr>, slot: u32) {
        if let Some(addr) = addr {
            self.known.remove(&(addr, slot));
        }
    }
}

/// Rows indexed for one question: a millisecond of work.
const ROWS_AT_ONCE: u32 = 4_096;

#[cfg(test)]
mod tests {
    use super::*;

    fn addr(slot: u32) -> Addr {
        (IpAddr::from(slot.to_be_bytes()), 7946)
    }

    /// Goal: a question costs the same work whatever the size of the table.
    #[test]
    fn a_large_table_is_indexed_some_rows_at_a_time() {
        let (mut addrs, len) = (Addrs::default(), 3 * ROWS_AT_ONCE + 1);
        for asked in 1..=4 {
            let last = addrs.has(addr(len - 1), len, |slot| Some(addr(slot)));
            assert_eq!(addrs.known.len() as u32, len.min(asked * ROWS_AT_ONCE));
            assert_eq!(last, asked == 4);
        }
        assert!((0..len).all(|slot| addrs.has(addr(slot), len, |_| unreachable!("indexed"))));
    }

    #[test]
    fn an_address_is_known_until_its_last_node_has_another() {
        let mut addrs = Addrs::default();
        let mut slots = [addr(1), addr(2), addr(1)];
        let ask = |addrs: &mut Addrs, slots: &[Addr; 3], wanted| {
            addrs.has(wanted, 3, |slot| slots.get(slot as usize).copied())
        };
        // Before anybody asked, changes are seen in the rows themselves.
        addrs.remove(Some(addr(1)), 1);
        addrs.insert(Some(addr(2)), 1);
        assert!(ask(&mut addrs, &slots, addr(2)) && !ask(&mut addrs, &slots, addr(3)));
        for slot in [0, 2] {
            assert!(ask(&mut addrs, &slots, addr(1)));
            addrs.remove(Some(addr(1)), slot);
            slots[slot as usize] = addr(3);
            addrs.insert(Some(addr(3)), slot);
        }
        assert!(!ask(&mut addrs, &slots, addr(1)) && ask(&mut addrs, &slots, addr(3)));
    }
}
