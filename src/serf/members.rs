//! The table of members.

use std::{collections::BTreeSet, hash::BuildHasher as _, sync::Arc};

use super::{
    LamportTime, Member, MemberStatus,
    roster::{Roster, Sorted},
};
use crate::base::{Instant, Names, SeededHash};

/// All members by name; failed and left members also in the order of their departure.
pub(crate) struct Members {
    /// By slot, in no particular order; the last entry takes the slot of one that is removed.
    entries: Vec<Entry>,
    names: Names,
    hash: SeededHash,
    /// What readers see.
    sorted: Sorted,
    failed: BTreeSet<(Instant, Arc<str>)>,
    left: BTreeSet<(Instant, Arc<str>)>,
    alive: usize,
}

/// A member and the time of its status.
pub(crate) struct Entry {
    pub(crate) member: Arc<Member>,
    /// Lamport time of the newest accepted intent.
    pub(crate) status_ltime: LamportTime,
    /// When it left or failed.
    pub(crate) leave_time: Instant,
}

impl Members {
    /// `hash_seed` prevents peers from choosing names that collide.
    pub(crate) fn new(hash_seed: u64) -> Self {
        Self {
            entries: Vec::new(),
            names: Names::default(),
            hash: SeededHash(hash_seed),
            sorted: Sorted::default(),
            failed: BTreeSet::new(),
            left: BTreeSet::new(),
            alive: 0,
        }
    }

    fn hash_of(&self, name: &str) -> u32 {
        self.hash.hash_one(name) as u32
    }

    fn slot(&self, name: &str) -> Option<u32> {
        let is_it = |slot| self.entry(slot).is_some_and(|entry| *entry.member.name == *name);
        self.names.find(self.hash_of(name), is_it)
    }

    fn entry(&self, slot: u32) -> Option<&Entry> {
        self.entries.get(slot as usize)
    }

    pub(crate) fn get(&self, name: &str) -> Option<&Entry> {
        self.entry(self.slot(name)?)
    }

    /// All members, sorted by name.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.sorted.slots().filter_map(|slot| self.entry(slot))
    }

    /// All records, sorted by name, for readers that take their time.
    pub(crate) fn roster(&self) -> &Roster {
        self.sorted.roster()
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Number of members with status alive, including ourselves.
    pub(crate) fn alive_count(&self) -> usize {
        self.alive
    }

    /// Failed members, the longest failed first.
    pub(crate) fn failed(&self) -> &BTreeSet<(Instant, Arc<str>)> {
        &self.failed
    }

    /// Left members, the longest left first.
    pub(crate) fn left(&self) -> &BTreeSet<(Instant, Arc<str>)> {
        &self.left
    }

    /// The member at an index below [`Members::len`], for random picks.
    pub(crate) fn at(&self, place: usize) -> Option<&Entry> {
        self.entries.get(place)
    }

    /// Adds a member that is not in the table.
    pub(crate) fn insert(&mut self, member: Arc<Member>, status_ltime: LamportTime) {
        debug_assert!(self.get(&member.name).is_none(), "member is added twice");
        self.count(&member, 1);
        // The engine accepts fewer members than there are slots.
        let slot = self.entries.len() as u32;
        self.names.insert(self.hash_of(&member.name), slot);
        self.sorted.insert(Arc::clone(&member), slot);
        self.entries.push(Entry { member, status_ltime, leave_time: Instant::ZERO });
    }

    /// Replaces a member's record and updates the lists. `leave_time` is when the member failed or
    /// left, if it is gone.
    pub(crate) fn replace(&mut self, member: Arc<Member>, leave_time: Instant) {
        let Some(slot) = self.slot(&member.name) else { return };
        let Some(entry) = self.entries.get_mut(slot as usize) else { return };
        let old = std::mem::replace(&mut entry.member, member.clone());
        let old_time = std::mem::replace(&mut entry.leave_time, leave_time);
        self.sorted.replace(Arc::clone(&member), slot);
        self.count(&old, -1);
        self.unlist(&old, old_time);
        self.count(&member, 1);
        match member.status {
            MemberStatus::Failed => {
                self.failed.insert((leave_time, member.name.clone()));
            }
            MemberStatus::Left => {
                self.left.insert((leave_time, member.name.clone()));
            }
            MemberStatus::None | MemberStatus::Alive | MemberStatus::Leaving => {}
        }
    }

    pub(crate) fn remove(&mut self, name: &str) -> Option<Entry> {
        let slot = self.slot(name)?;
        self.names.remove(self.hash_of(name), slot);
        self.sorted.remove(name, slot);
        let entry = self.entries.swap_remove(slot as usize);
        if let Some(moved) = self.entry(slot) {
            let name = Arc::clone(&moved.member.name);
            let (hash, before) = (self.hash_of(&name), self.entries.len() as u32);
            self.names.remove(hash, before);
            self.names.insert(hash, slot);
            self.sorted.set_slot(&name, before, slot);
        }
        self.count(&entry.member, -1);
        self.unlist(&entry.member, entry.leave_time);
        Some(entry)
    }

    fn unlist(&mut self, member: &Member, leave_time: Instant) {
        match member.status {
            MemberStatus::Failed => {
                self.failed.remove(&(leave_time, member.name.clone()));
            }
            MemberStatus::Left => {
                self.left.remove(&(leave_time, member.name.clone()));
            }
            MemberStatus::None | MemberStatus::Alive | MemberStatus::Leaving => {}
        }
    }

    fn count(&mut self, member: &Member, by: isize) {
        if member.status == MemberStatus::Alive {
            self.alive = self.alive.saturating_add_signed(by);
        }
    }

    pub(crate) fn set_status_ltime(&mut self, name: &str, ltime: LamportTime) {
        let entry = self.slot(name).and_then(|slot| self.entries.get_mut(slot as usize));
        if let Some(entry) = entry {
            entry.status_ltime = ltime;
        }
    }
}
