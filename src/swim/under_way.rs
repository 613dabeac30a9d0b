//! What is under way with a peer: open streams, pings that are relayed, states that are merged.

use std::net::SocketAddr;

use super::{Exchange, OpId, answers::AnswerId, relays::Share};
use crate::{
    base::Instant,
    wire::{PushPull, SeqNo},
};

/// A stream that is open.
#[derive(Debug)]
pub(super) enum Stream {
    /// Opened for a push/pull; `op` if an operation waits for it.
    PushPull { op: Option<OpId>, to: SocketAddr, began: Instant, join: bool },
    /// Opened for the stream ping of a probe.
    Ping { seq_no: SeqNo },
    /// Accepted; `answer` once we are answering a push/pull.
    Inbound { from: SocketAddr, answer: Option<AnswerId> },
    /// Accepted; the answer to its push/pull is being encoded.
    Waiting { from: SocketAddr },
}

/// A ping for another node.
#[derive(Debug)]
pub(super) struct Relay {
    /// Where the answer goes.
    pub(super) route: Route,
    /// Returned when the ping ends.
    pub(super) share: Share,
    /// Of the request.
    pub(super) seq_no: SeqNo,
    /// Whether a nack is wanted.
    pub(super) nack: bool,
}

/// An address that an answer goes to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Route {
    pub(super) to: SocketAddr,
    /// Whether a node is listed with it. Other addresses get no gossip, and no more bytes than they
    /// sent.
    pub(super) member: bool,
}

/// A peer's state, and how far it is merged.
#[derive(Debug)]
pub(super) struct Merge {
    pub(super) state: PushPull,
    pub(super) exchange: Exchange,
    /// The operation that waits for the exchange.
    pub(super) op: Option<OpId>,
    /// Where the next row starts.
    pub(super) at: usize,
}
