//! Our own state for push/pulls while it is being encoded, a few pages of the table at a time, so
//! that a large state does not delay other work. Go: `net.go`, `sendLocalState`, which encodes it
//! in a goroutine.

use std::net::SocketAddr;

use super::{OpId, StreamId, rows::Rows};
use crate::wire::PushPull;

/// Our state and the progress of its encoding. Each page is encoded as it is at that time.
#[derive(Debug)]
pub(super) struct Encoding {
    pub(super) join: bool,
    /// Generation of the table when encoding began.
    pub(super) generation: u64,
    pub(super) rows: Rows,
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
