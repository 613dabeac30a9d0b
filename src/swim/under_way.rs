//! Activities in progress with peers: open streams, relayed pings, states being merged.

use std::{net::SocketAddr, time::Duration};

use super::{Exchange, OpId, answers::AnswerId, relays::Share};
use crate::{
    base::Instant,
    wire::{PushPull, SeqNo},
};

/// An open stream.
#[derive(Debug)]
pub(super) enum Stream {
    /// Opened for a push/pull; `op` is the operation that waits for it, if any.
    PushPull { op: Option<OpId>, to: SocketAddr, began: Instant, join: bool },
    /// Opened for the stream ping of a probe.
    Ping(StreamPing),
    /// Accepted; `answer` is set once we answer a push/pull.
    Inbound { from: SocketAddr, answer: Option<AnswerId> },
    /// Accepted; the answer to its push/pull is being encoded.
    Waiting { from: SocketAddr },
}

/// The ping by stream of a probe.
#[derive(Debug)]
pub(super) struct StreamPing {
    pub(super) seq_no: SeqNo,
    pub(super) to: SocketAddr,
    pub(super) deadline: Instant,
    /// How long the probe takes.
    pub(super) interval: Duration,
}

/// A ping sent on behalf of another node.
#[derive(Debug)]
pub(super) struct Relay {
    /// Destination of the answer.
    pub(super) route: Route,
    /// Released when the ping ends.
    pub(super) share: Share,
    /// Sequence number of the request.
    pub(super) seq_no: SeqNo,
    /// Whether the requester wants a nack.
    pub(super) nack: bool,
}

/// Destination of an answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Route {
    pub(super) to: SocketAddr,
    /// Whether a listed node has this address. Other addresses receive no gossip, and no more bytes
    /// than they sent.
    pub(super) member: bool,
}

/// A peer's state and the progress of its merge.
#[derive(Debug)]
pub(super) struct Merge {
    pub(super) state: PushPull,
    pub(super) exchange: Exchange,
    /// The operation that waits for the exchange, if any.
    pub(super) op: Option<OpId>,
    /// Offset of the next row.
    pub(super) at: usize,
}
