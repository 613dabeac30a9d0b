//! Finds the slot of a name in a table.

#[cfg(feature = "sim")]
use std::sync::Arc;

use hashbrown::HashTable;

/// Slots by the hash of their names. Who asks checks the name in the slot.
#[cfg_attr(feature = "sim", derive(Clone))]
#[derive(Debug, Default)]
pub(crate) struct Names {
    own: HashTable<Named>,
    /// Names that all nodes of a simulation know from the start. An entry stays when its row is
    /// removed; then the slot has another name, or none.
    #[cfg(feature = "sim")]
    shared: Option<Arc<HashTable<Named>>>,
}

/// A slot and the hash of its name: when the table grows, no row is looked at.
#[cfg_attr(feature = "sim", derive(Clone))]
#[derive(Debug)]
struct Named {
    hash: u32,
    slot: u32,
}

impl Names {
    /// A slot with this hash of which `is_it` returns true.
    #[inline]
    pub(crate) fn find(&self, hash: u32, is_it: impl Fn(u32) -> bool) -> Option<u32> {
        let same = |named: &Named| named.hash == hash && is_it(named.slot);
        let found = self.own.find(spread(hash), same);
        #[cfg(feature = "sim")]
        let found = found.or_else(|| self.shared.as_ref()?.find(spread(hash), same));
        found.map(|named| named.slot)
    }

    pub(crate) fn insert(&mut self, hash: u32, slot: u32) {
        self.own.insert_unique(spread(hash), Named { hash, slot }, |named| spread(named.hash));
    }

    pub(crate) fn remove(&mut self, hash: u32, slot: u32) {
        if let Ok(entry) = self.own.find_entry(spread(hash), |named| named.slot == slot) {
            entry.remove();
        }
    }

    /// Lets later copies share the names known so far.
    #[cfg(feature = "sim")]
    pub(crate) fn share(&mut self) {
        debug_assert!(self.shared.is_none(), "shared once, when all names are known");
        self.shared = Some(Arc::new(std::mem::take(&mut self.own)));
    }
}

/// A hash of which the upper and the lower bits count.
fn spread(hash: u32) -> u64 {
    u64::from(hash) << 32 | u64::from(hash)
}

#[cfg(all(test, feature = "sim"))]
mod tests {
    use super::*;

    /// Goal: entries that copies share do not bring back a name whose row is gone.
    #[test]
    fn shared_names_are_found_as_long_as_their_slots_have_them() {
        let mut names = Names::default();
        (0..100).for_each(|slot| names.insert(slot * 7, slot));
        names.share();
        let mut copy = names.clone();
        assert!((0..100).all(|slot| copy.find(slot * 7, |found| found == slot) == Some(slot)));
        assert_eq!(copy.find(3, |_| true), None);
        // The row of slot 5 goes, and its name comes back in slot 200.
        copy.remove(35, 5);
        assert_eq!(copy.find(35, |slot| slot != 5), None);
        copy.insert(35, 200);
        assert_eq!(copy.find(35, |slot| slot != 5), Some(200));
        assert_eq!(names.find(35, |_| true), Some(5), "other copies keep theirs");
        copy.remove(35, 200);
        assert_eq!(copy.find(35, |slot| slot != 5), None);
    }
}
