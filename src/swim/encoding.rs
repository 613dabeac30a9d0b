//! Our own state while it is encoded for push/pulls, some rows at a time, so that a large one does
//! not hold up other work. Go: `net.go`, `sendLocalState`, which encodes all of it in a goroutine.

use std::net::SocketAddr;

use super::{OpId, StreamId, table::Table};
use crate::wire::{PushPull, PushPullBuilder};

/// Our state, and how far it is encoded. Each row is as it was in its turn.
#[derive(Debug)]
pub(super) struct Encoding {
    pub(super) join: bool,
    /// Of the table, at the beginning.
    pub(super) generation: u64,
    pub(super) rows: PushPullBuilder,
    /// The slot of the next row. Rows that come into earlier slots are left to the next state.
    slot: u32,
    pub(super) waiting: Vec<Waiting>,
}

/// Who waits for our state.
#[derive(Debug)]
pub(super) enum Waiting {
    /// A peer, whose own state is merged once it is answered.
    Peer { asked: Asked, state: PushPull },
    /// A push/pull of ours.
    Own { to: SocketAddr, name: Box<str>, op: Option<OpId> },
}

/// A peer's push/pull that is to be answered.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    pub(super) id: StreamId,
    pub(super) from: SocketAddr,
    pub(super) host_hash: u64,
    /// Bytes that it was charged for.
    pub(super) table_bytes: usize,
}

impl Encoding {
    /// `rows` are none yet.
    pub(super) fn new(
        join: bool,
        generation: u64,
        rows: PushPullBuilder,
        waiting: Waiting,
    ) -> Self {
        Self { join, generation, rows, slot: 0, waiting: vec![waiting] }
    }

    /// Encodes some rows; whether they were the last.
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

/// What is encoded in one turn: below a millisecond. A state of no more than these bytes is
/// encoded at once.
pub(super) const SLICE_BYTES: usize = 512 * 1024;
const ROWS_AT_ONCE: usize = 4_096;
