//! All members, sorted by name: readers keep them as they are while the engine changes its own.

use std::sync::Arc;

use super::Member;

/// The members at one point in time, sorted by name. `Clone` costs one reference count.
///
/// While somebody holds it, the table copies what it changes: the list of pages once, and each page
/// once. So a reader holds at most the old pages and the records that have been replaced since.
#[derive(Clone, Debug, Default)]
pub(crate) struct Roster {
    pages: Arc<Vec<Page>>,
    len: usize,
    generation: u64,
}

/// Up to [`PAGE_MAX`] members; never empty.
type Page = Arc<Vec<Arc<Member>>>;

/// How far a reader has come in a roster.
#[cfg(feature = "agent")]
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Place {
    page: usize,
    row: usize,
}

impl Roster {
    #[cfg(any(test, all(feature = "driver", not(target_family = "wasm"))))]
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Increases with each change of a record.
    #[cfg(feature = "agent")]
    pub(crate) fn generation(&self) -> u64 {
        self.generation
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<Member>> {
        self.pages.iter().flat_map(|page| page.iter())
    }

    #[cfg(all(feature = "driver", not(target_family = "wasm")))]
    pub(crate) fn to_vec(&self) -> Vec<Arc<Member>> {
        let mut all = Vec::with_capacity(self.len);
        self.pages.iter().for_each(|page| all.extend_from_slice(page));
        all
    }

    /// The member at a place, which moves on to the next.
    #[cfg(feature = "agent")]
    pub(crate) fn next(&self, place: &mut Place) -> Option<&Arc<Member>> {
        let page = self.pages.get(place.page)?;
        let member = page.get(place.row)?;
        place.row += 1;
        if place.row == page.len() {
            *place = Place { page: place.page + 1, row: 0 };
        }
        Some(member)
    }

    /// Whether there is a member at a place.
    #[cfg(feature = "agent")]
    pub(crate) fn has(&self, place: Place) -> bool {
        place.page < self.pages.len()
    }
}

/// The roster of a table, with the slot of each member in it.
#[derive(Default)]
pub(crate) struct Sorted {
    roster: Roster,
    /// One for each page.
    index: Vec<Index>,
}

/// What only the table knows of a page.
struct Index {
    /// Name of its first member.
    first: Arc<str>,
    /// Slot of each member.
    slots: Vec<u32>,
}

impl Sorted {
    pub(crate) fn roster(&self) -> &Roster {
        &self.roster
    }

    /// The slots of all members, in the order of their names.
    pub(crate) fn slots(&self) -> impl Iterator<Item = u32> {
        self.index.iter().flat_map(|index| index.slots.iter().copied())
    }

    /// The page that has or would have a name.
    fn page_of(&self, name: &str) -> usize {
        self.index.partition_point(|index| *index.first <= *name).saturating_sub(1)
    }

    /// Page and row of a listed member. Its slot is found without a look at other members, which
    /// are all over the memory.
    fn find(&self, name: &str, slot: u32) -> Option<(usize, usize)> {
        let page = self.page_of(name);
        let row = self.index.get(page)?.slots.iter().position(|other| *other == slot)?;
        Some((page, row))
    }

    /// The members of a page and their slots, for a change.
    fn page(&mut self, at: usize) -> Option<(&mut Vec<Arc<Member>>, &mut Index)> {
        self.roster.generation += 1;
        let page = Arc::make_mut(&mut self.roster.pages).get_mut(at)?;
        Some((Arc::make_mut(page), self.index.get_mut(at)?))
    }

    /// Adds a member that is not in the table.
    pub(crate) fn insert(&mut self, member: Arc<Member>, slot: u32) {
        let mut at = self.page_of(&member.name);
        let page = self.roster.pages.get(at);
        let mut row = page.map_or(0, |page| page.partition_point(|m| m.name < member.name));
        self.roster.len += 1;
        if let Some(page) = page
            && page.len() >= PAGE_MAX
        {
            if row < page.len() {
                self.split(at, PAGE_MAX / 2);
                if row >= PAGE_MAX / 2 {
                    (at, row) = (at + 1, row - PAGE_MAX / 2);
                }
            } else {
                // What is added in the order of the names fills its pages.
                (at, row) = (at + 1, 0);
                if self.roster.pages.get(at).is_none_or(|next| next.len() >= PAGE_MAX) {
                    return self.add_page(at, vec![member], vec![slot]);
                }
            }
        }
        let Some((members, index)) = self.page(at) else {
            return self.add_page(at, vec![member], vec![slot]);
        };
        if row == 0 {
            index.first = Arc::clone(&member.name);
        }
        if members.len() == members.capacity() {
            members.reserve_exact(PAGE_STEP);
            index.slots.reserve_exact(PAGE_STEP);
        }
        members.insert(row, member);
        index.slots.insert(row, slot);
    }

    /// Moves the members of a page from a row on to a new one after it.
    fn split(&mut self, at: usize, row: usize) {
        let Some((members, index)) = self.page(at) else { return };
        let (moved, slots) = (members.split_off(row), index.slots.split_off(row));
        members.shrink_to_fit();
        index.slots.shrink_to_fit();
        self.add_page(at + 1, moved, slots);
    }

    fn add_page(&mut self, at: usize, members: Vec<Arc<Member>>, slots: Vec<u32>) {
        let Some(first) = members.first() else { return };
        self.roster.generation += 1;
        self.index.insert(at, Index { first: Arc::clone(&first.name), slots });
        Arc::make_mut(&mut self.roster.pages).insert(at, Arc::new(members));
    }

    /// Replaces the record of a member.
    pub(crate) fn replace(&mut self, member: Arc<Member>, slot: u32) {
        let Some((at, row)) = self.find(&member.name, slot) else { return };
        if let Some((members, _)) = self.page(at)
            && let Some(old) = members.get_mut(row)
        {
            *old = member;
        }
    }

    /// Notes a new slot of a member.
    pub(crate) fn set_slot(&mut self, name: &str, before: u32, after: u32) {
        let Some((at, row)) = self.find(name, before) else { return };
        if let Some(slot) = self.index.get_mut(at).and_then(|index| index.slots.get_mut(row)) {
            *slot = after;
        }
    }

    pub(crate) fn remove(&mut self, name: &str, slot: u32) {
        let Some((at, row)) = self.find(name, slot) else { return };
        let Some((members, index)) = self.page(at) else { return };
        members.remove(row);
        index.slots.remove(row);
        if let (0, Some(first)) = (row, members.first()) {
            index.first = Arc::clone(&first.name);
        }
        let len = members.len();
        self.roster.len -= 1;
        if len == 0 {
            self.take_page(at);
        } else if len < PAGE_MAX / 4 {
            self.merge(at);
            self.merge(at.wrapping_sub(1));
        }
    }

    /// Merges a page with the next if both together are short, so that many removals leave few
    /// pages.
    fn merge(&mut self, at: usize) {
        let mut next = self.roster.pages.iter().skip(at).map(|page| page.len());
        let (Some(len), Some(other)) = (next.next(), next.next()) else { return };
        if len + other > PAGE_MAX / 2 {
            return;
        }
        let Some((moved, mut slots)) = self.take_page(at + 1) else { return };
        if let Some((members, index)) = self.page(at) {
            members.extend_from_slice(&moved);
            index.slots.append(&mut slots);
        }
    }

    fn take_page(&mut self, at: usize) -> Option<(Page, Vec<u32>)> {
        let pages = Arc::make_mut(&mut self.roster.pages);
        (at < pages.len().min(self.index.len()))
            .then(|| (pages.remove(at), self.index.remove(at).slots))
    }
}

/// For tests of readers.
#[cfg(test)]
impl Roster {
    /// As after a change.
    #[cfg(feature = "agent")]
    pub(crate) fn touch(&mut self) {
        self.generation += 1;
    }
}

#[cfg(test)]
impl FromIterator<Arc<Member>> for Roster {
    fn from_iter<I: IntoIterator<Item = Arc<Member>>>(members: I) -> Self {
        let mut sorted = Sorted::default();
        members.into_iter().for_each(|member| sorted.insert(member, 0));
        sorted.roster
    }
}

/// Most members in a page: what a change copies while a reader holds the page.
const PAGE_MAX: usize = 128;
/// Rows for which a full page gets room.
const PAGE_STEP: usize = 16;

#[cfg(test)]
mod tests;
