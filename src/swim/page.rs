//! The rows of the node table, in pages: a page is copied when one of its rows changes while others
//! hold it, too.

use std::sync::Arc;

#[cfg(feature = "sim")]
use super::digest::Digest;
use super::row::Row;

/// Rows by slot.
#[cfg_attr(feature = "sim", derive(Clone))]
#[derive(Debug, Default)]
pub(super) struct Pages {
    pages: Vec<Arc<Page>>,
    /// When each page changed last; of the pages that there were when somebody asked. Not in the
    /// page, which equal tables share, and absent where nobody asks.
    stamps: Vec<Stamp>,
    changes: u64,
    /// All slots in use are below it.
    slots: u32,
}

/// The number of changes of a table until the last one of a page: as long as it stays the same, the
/// page does, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp(u64);

/// The rows of [`ROWS`] consecutive slots.
#[derive(Clone, Debug)]
pub(super) struct Page {
    rows: [Option<Row>; ROWS],
    /// Known of every page that several tables hold.
    #[cfg(feature = "sim")]
    digest: Option<Digest>,
}

impl Pages {
    /// The number of slots, free ones included.
    pub(super) fn slots(&self) -> u32 {
        self.slots
    }

    /// Increases whenever a row may have changed or been added or removed.
    pub(super) fn changes(&self) -> u64 {
        self.changes
    }

    #[inline]
    pub(super) fn get(&self, slot: u32) -> Option<&Row> {
        self.pages.get(slot as usize / ROWS)?.get(slot)
    }

    /// A row, to be changed.
    pub(super) fn get_mut(&mut self, slot: u32) -> Option<&mut Row> {
        self.place_mut(slot)?.as_mut()
    }

    /// Puts a row in a free slot.
    pub(super) fn put(&mut self, slot: u32, row: Row) {
        while self.pages.len() <= slot as usize / ROWS {
            self.pages.push(Arc::default());
        }
        if let Some(place) = self.place_mut(slot) {
            *place = Some(row);
            self.slots = self.slots.max(slot + 1);
        }
    }

    /// Takes the row out of a slot.
    pub(super) fn take(&mut self, slot: u32) -> Option<Row> {
        self.get(slot)?;
        self.place_mut(slot)?.take()
    }

    /// Drops the free slots at the end.
    pub(super) fn trim(&mut self) {
        while let Some(slot) = self.slots.checked_sub(1).filter(|slot| self.get(*slot).is_none()) {
            self.slots = slot;
        }
        self.pages.truncate(self.slots.div_ceil(ROWS as u32) as usize);
    }

    /// The rows from a slot on, with their slots.
    pub(super) fn rows_from(&self, slot: u32) -> impl Iterator<Item = (u32, &Row)> {
        let first = slot as usize / ROWS;
        let pages = self.pages.get(first..).unwrap_or_default();
        let rows = pages.iter().flat_map(|page| &page.rows);
        (first as u32 * ROWS as u32..)
            .zip(rows)
            .skip(slot as usize % ROWS)
            .filter_map(|(slot, row)| Some((slot, row.as_ref()?)))
    }

    /// The pages from this one on, with their stamps.
    pub(super) fn stamped_from(&mut self, first: usize) -> impl Iterator<Item = (Stamp, &Page)> {
        self.stamps.resize(self.pages.len(), Stamp(self.changes));
        let pages = self.pages.iter().map(|page| &**page);
        self.stamps.iter().copied().zip(pages).skip(first)
    }

    /// The pages, in the order of their slots.
    #[cfg(feature = "sim")]
    pub(super) fn pages(&self) -> &[Arc<Page>] {
        &self.pages
    }

    /// Digests the pages that have changed, before they are shared.
    #[cfg(feature = "sim")]
    pub(super) fn digest(&mut self) {
        for page in self.pages.iter_mut().filter(|page| page.digest.is_none()) {
            let digest = Digest::of(page.rows());
            Arc::make_mut(page).digest = Some(digest);
        }
    }

    /// Replaces a page by an equal one.
    #[cfg(feature = "sim")]
    pub(super) fn adopt(&mut self, index: usize, page: &Arc<Page>) {
        if let Some(mine) = self.pages.get_mut(index).filter(|mine| mine.rows == page.rows) {
            *mine = Arc::clone(page);
        }
    }

    fn place_mut(&mut self, slot: u32) -> Option<&mut Option<Row>> {
        let index = slot as usize / ROWS;
        let page = Arc::make_mut(self.pages.get_mut(index)?);
        self.changes += 1;
        if let Some(stamp) = self.stamps.get_mut(index) {
            *stamp = Stamp(self.changes);
        }
        #[cfg(feature = "sim")]
        {
            page.digest = None;
        }
        page.rows.get_mut(slot as usize % ROWS)
    }
}

impl Page {
    #[inline]
    fn get(&self, slot: u32) -> Option<&Row> {
        self.rows.get(slot as usize % ROWS)?.as_ref()
    }

    #[cfg(feature = "sim")]
    pub(super) fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// The rows, in the order of their slots.
    pub(super) fn rows(&self) -> impl Iterator<Item = &Row> {
        self.rows.iter().flatten()
    }
}

impl Default for Page {
    fn default() -> Self {
        Self {
            rows: [const { None }; ROWS],
            #[cfg(feature = "sim")]
            digest: None,
        }
    }
}

/// Rows of a page: a kilobyte.
const ROWS: usize = 64;

#[cfg(test)]
mod tests;
