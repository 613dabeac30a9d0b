//! Encodes our own state for push/pulls a few rows at a time, so that a large state does not delay
//! other work. Go: `net.go`, `sendLocalState`, which encodes it in a goroutine.

use std::net::SocketAddr;

use super::{OpId, StreamId, table::Table};
use crate::wire::{PushPull, PushPullBuilder};

/// Our state and the progress of its encoding. Each row is encoded as it is at that time.
#[derive(Debug)]
pub(super) struct Encoding {
    pub(super) join: bool,
    /// Generation of the table when encoding began.
    pub(super) generation: u64,
    pub(super) rows: PushPullBuilder,
    /// Slot of the next row. Rows added to earlier slots are left to the next state.
    slot: u32,
    pub(super) waiting: Vec<Waiting>,
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

impl Encoding {
    /// `rows` is empty.
    pub(super) fn new(
        join: bool,
        generation: u64,
        rows: PushPullBuilder,
        waiting: Waiting,
    ) -> Self {
        Self { join, generation, rows, slot: 0, waiting: vec![waiting] }
    }

    /// Encodes some rows; returns whether they were the last.
    pub(super) fn add_rows(&mut self, table: &Table) -> bool {
        let end = self.rows.rows_bytes() + SLICE_BYTES;
        for (count, (slot, row)) in table.rows_from(self.slot).enumerate() {
            if count == ROWS_AT_ONCE || self.rows.rows_bytes() >= end {
                self.slot = slot;
                return false;
            }
            self.rows.push(&row.to_wire());
        }
        true
    }
}

/// Bytes encoded in one turn, which takes less than a millisecond. A state of at most this size is
/// encoded at once.
pub(super) const SLICE_BYTES: usize = 512 * 1024;
const ROWS_AT_ONCE: usize = 4_096;
