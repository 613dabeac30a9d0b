//! Encodes our own state for push/pulls a few pages of the table at a time, so that a large state
//! does not delay other work, and copies pages that have not changed from the last answer. Go:
//! `net.go`, `sendLocalState`, which encodes all rows in a goroutine.

use std::net::SocketAddr;

use super::{
    OpId, StreamId,
    answers::Answer,
    page::{Page, Stamp},
    table::Table,
};
use crate::wire::{PushPull, PushPullBuilder};

/// Our state and the progress of its encoding. Each page is encoded as it is at that time.
#[derive(Debug)]
pub(super) struct Encoding {
    pub(super) join: bool,
    /// Generation of the table when encoding began.
    pub(super) generation: u64,
    pub(super) rows: Rows,
    pub(super) waiting: Vec<Waiting>,
}

/// The rows of a message. Rows added to pages that are encoded already are left to the next state.
#[derive(Debug)]
pub(super) struct Rows {
    pub(super) encoded: PushPullBuilder,
    /// The pages encoded so far.
    pub(super) spans: Vec<Span>,
}

/// A page of the table in a message.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    pub(super) stamp: Stamp,
    pub(super) rows: usize,
    /// Bytes of all rows up to the last one of this page.
    pub(super) end: usize,
}

/// What to do with our state once it is encoded.
#[derive(Debug)]
pub(super) enum Waiting {
    /// Answer a peer, then merge the peer's state.
    Peer { asked: Asked, state: PushPull },
    /// Start a push/pull of our own.
    Own { to: SocketAddr, name: Box<str>, op: Option<OpId> },
}

/// A peer's push/pull that is to be answered.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    pub(super) id: StreamId,
    pub(super) from: SocketAddr,
    pub(super) host_hash: u64,
    /// Bytes that the peer was charged for.
    pub(super) table_bytes: usize,
}

impl Rows {
    /// Creates an empty list with room for about `bytes` bytes of rows and user state.
    pub(super) fn with_capacity(bytes: usize) -> Self {
        Self { encoded: PushPullBuilder::with_capacity(bytes), spans: Vec::new() }
    }

    /// Adds the rows of some pages; returns whether they were the last.
    pub(super) fn add_pages(&mut self, table: &mut Table, last: Option<&Answer>) -> bool {
        let (mut rows, end) = (0, self.encoded.rows_bytes() + SLICE_BYTES);
        for (stamp, page) in table.stamped_pages(self.spans.len()) {
            if rows >= ROWS_AT_ONCE || self.encoded.rows_bytes() >= end {
                return false;
            }
            rows += self.add_page(stamp, page, last);
        }
        true
    }

    /// Adds a page, and returns the number of its rows.
    fn add_page(&mut self, stamp: Stamp, page: &Page, last: Option<&Answer>) -> usize {
        let rows = match last.and_then(|last| last.page(self.spans.len(), stamp)) {
            Some((rows, bytes)) => {
                self.encoded.push_encoded(rows, bytes);
                rows
            }
            None => page.rows().map(|row| self.encoded.push(&row.to_wire())).count(),
        };
        self.spans.push(Span { stamp, rows, end: self.encoded.rows_bytes() });
        rows
    }
}

/// Bytes encoded in one turn, up to the end of a page, which takes less than a millisecond. A state
/// of at most this size is encoded at once.
pub(super) const SLICE_BYTES: usize = 512 * 1024;
const ROWS_AT_ONCE: usize = 4_096;
