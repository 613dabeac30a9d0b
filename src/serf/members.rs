//! The table of members.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{LamportTime, Member, MemberStatus};
use crate::base::Instant;

/// All members by name; failed and left members also in the order of their departure.
#[derive(Default)]
pub(crate) struct Members {
    table: BTreeMap<Arc<str>, Entry>,
    /// All names, in no particular order, for random picks.
    order: Vec<Arc<str>>,
    failed: BTreeSet<(Instant, Arc<str>)>,
    left: BTreeSet<(Instant, Arc<str>)>,
    alive: usize,
    generation: u64,
}

/// A member and the time of its status.
pub(crate) struct Entry {
    pub(crate) member: Arc<Member>,
    /// Lamport time of the newest accepted intent.
    pub(crate) status_ltime: LamportTime,
    /// When it left or failed.
    pub(crate) leave_time: Instant,
    /// Index in `order`.
    slot: usize,
}

impl Members {
    pub(crate) fn get(&self, name: &str) -> Option<&Entry> {
        self.table.get(name)
    }

    pub(crate) fn iter(&self) -> impl ExactSizeIterator<Item = &Entry> {
        self.table.values()
    }

    pub(crate) fn len(&self) -> usize {
        self.table.len()
    }

    /// Increases with each change of a record.
    #[cfg(feature = "agent")]
    pub(crate) fn generation(&self) -> u64 {
        self.generation
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

    /// The member at an index below [`Members::len`].
    pub(crate) fn at(&self, place: usize) -> Option<&Entry> {
        self.table.get(self.order.get(place)?)
    }

    /// Adds a member that is not in the table.
    pub(crate) fn insert(&mut self, member: Arc<Member>, status_ltime: LamportTime) {
        let name = member.name.clone();
        debug_assert!(!self.table.contains_key(&name), "member is added twice");
        self.generation += 1;
        self.count(&member, 1);
        let entry =
            Entry { member, status_ltime, leave_time: Instant::ZERO, slot: self.order.len() };
        self.order.push(name.clone());
        self.table.insert(name, entry);
    }

    /// Replaces a member's record and updates the lists. `leave_time` is when the member failed or
    /// left, if it is gone.
    pub(crate) fn replace(&mut self, member: Arc<Member>, leave_time: Instant) {
        let Some(entry) = self.table.get_mut(&member.name) else { return };
        self.generation += 1;
        let old = std::mem::replace(&mut entry.member, member.clone());
        let old_time = std::mem::replace(&mut entry.leave_time, leave_time);
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
        let entry = self.table.remove(name)?;
        self.generation += 1;
        self.order.swap_remove(entry.slot);
        if let Some(moved) = self.order.get(entry.slot)
            && let Some(moved) = self.table.get_mut(moved)
        {
            moved.slot = entry.slot;
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
        if let Some(entry) = self.table.get_mut(name) {
            entry.status_ltime = ltime;
        }
    }
}
