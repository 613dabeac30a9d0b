//! The rows of our own state in a message, page by page: those of pages that have not changed since
//! the last message are copied from it.

use std::sync::Arc;

use bytes::Bytes;

use super::{
    page::{Page, Stamp},
    table::Table,
};
use crate::wire::PushPullBuilder;

/// The rows of a message. Rows added to pages that are encoded already are left to the next state.
#[derive(Debug)]
pub(super) struct Rows {
    encoded: PushPullBuilder,
    /// The pages encoded so far.
    spans: Vec<Span>,
}

/// The rows of a message that is complete.
#[derive(Clone, Debug)]
pub(super) struct SentRows {
    pub(super) bytes: Bytes,
    /// The pages that they are from; none if the message lacks its rows.
    spans: Arc<[Span]>,
}

/// A page of the table in a message.
#[derive(Clone, Copy, Debug)]
struct Span {
    stamp: Stamp,
    rows: usize,
    /// Bytes of all rows up to the last one of this page.
    end: usize,
}

impl Rows {
    /// Creates an empty list with room for about `bytes` bytes of rows and user state.
    pub(super) fn with_capacity(bytes: usize) -> Self {
        Self { encoded: PushPullBuilder::with_capacity(bytes), spans: Vec::new() }
    }

    /// Creates a list whose message lacks this many rows.
    #[cfg(feature = "sim")]
    pub(super) fn without_rows(rows: usize) -> Self {
        Self { encoded: PushPullBuilder::without_rows(rows), spans: Vec::new() }
    }

    /// Bytes of all rows added so far.
    pub(super) fn bytes(&self) -> usize {
        self.encoded.rows_bytes()
    }

    /// Adds the rows of some pages; returns whether they were the last.
    pub(super) fn add_pages(&mut self, table: &mut Table, last: Option<&SentRows>) -> bool {
        let (mut rows, end) = (0, self.bytes() + SLICE_BYTES);
        for (stamp, page) in table.stamped_pages(self.spans.len()) {
            if rows >= ROWS_AT_ONCE || self.bytes() >= end {
                return false;
            }
            rows += self.add_page(stamp, page, last);
        }
        true
    }

    /// Adds a page, and returns the number of its rows.
    fn add_page(&mut self, stamp: Stamp, page: &Page, last: Option<&SentRows>) -> usize {
        let rows = match last.and_then(|last| last.page(self.spans.len(), stamp)) {
            Some((rows, bytes)) => {
                self.encoded.push_encoded(rows, bytes);
                rows
            }
            None => page.rows().map(|row| self.encoded.push(&row.to_wire())).count(),
        };
        self.spans.push(Span { stamp, rows, end: self.bytes() });
        rows
    }

    /// Returns the whole message, and its rows.
    pub(super) fn finish(self, join: bool, user_state: &[u8]) -> (Bytes, SentRows) {
        let rows_bytes = self.bytes();
        let message = self.encoded.finish(join, user_state);
        let end = message.len().saturating_sub(user_state.len());
        let bytes = message.slice(end.saturating_sub(rows_bytes)..end);
        (message, SentRows { bytes, spans: self.spans.into() })
    }
}

impl SentRows {
    /// Whether the message lacks its rows.
    pub(super) fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// The number of rows of a page, and the rows, if the page has not changed since.
    fn page(&self, index: usize, stamp: Stamp) -> Option<(usize, &[u8])> {
        let span = self.spans.get(index).filter(|span| span.stamp == stamp)?;
        let before = index.checked_sub(1).and_then(|index| self.spans.get(index));
        let start = before.map_or(0, |before| before.end);
        Some((span.rows, self.bytes.get(start..span.end)?))
    }
}

/// Bytes encoded in one turn, up to the end of a page, which takes less than a millisecond. A state
/// of at most this size is encoded at once.
pub(super) const SLICE_BYTES: usize = 512 * 1024;
const ROWS_AT_ONCE: usize = 4_096;
