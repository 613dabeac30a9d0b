//! What the engine asks the layer above in the middle of a call: memberlist's delegates.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use crate::{
    base::Instant,
    wire::{Incarnation, NodeStateKind, Vsn},
};

/// A node as the engine knows it, lent for one call.
#[derive(Clone, Debug)]
pub struct NodeView<'a> {
    /// Name; clone the `Arc` to keep it.
    pub name: &'a Arc<str>,
    /// Raw address bytes (0, 4 or 16).
    pub addr: &'a [u8],
    /// Port.
    pub port: u16,
    /// Encoded tags; clone the `Arc` to share the memory.
    pub meta: &'a Arc<[u8]>,
    /// Its versions.
    pub vsn: Vsn,
    /// Incarnation.
    pub incarnation: Incarnation,
    /// The true state (Go's delegates always see "alive" here, except the merge delegate).
    pub state: NodeStateKind,
}

/// How a user message came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    /// Who sent the packet, or opened the stream. The sender of a packet in clear can be forged.
    pub from: SocketAddr,
    /// What protected it.
    pub seal: Seal,
}

/// What protects a message on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seal {
    /// One of our keys: only a holder of it can have written the message.
    Key,
    /// Nothing, although we have keys: without `verify_incoming` such messages are let in.
    Clear,
    /// Nothing, as we have no keys.
    NoKeys,
}

/// The push/pull that a peer's state came with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exchange {
    /// The other end; a port of no meaning unless we began.
    pub peer: SocketAddr,
    /// Whether we began it: then the state is the answer of a peer that we chose.
    pub ours: bool,
    /// Whether it is part of a join.
    pub join: bool,
}

/// The layer above. Calls may queue work but must not block; none may call back into the engine.
pub trait Host {
    /// Our encoded tags, at most `limit` bytes. Go: `Delegate.NodeMeta`.
    fn node_meta(&mut self, limit: usize) -> Arc<[u8]>;

    /// A user message arrived, by packet or stream. Go: `Delegate.NotifyMsg`.
    fn on_user_message(&mut self, now: Instant, message: &[u8], origin: Origin);

    /// Fills a packet: calls `emit` with each message to piggyback; the sum of
    /// `message.len() + overhead` must not exceed `limit`. Go: `Delegate.GetBroadcasts`.
    fn take_broadcasts(&mut self, overhead: usize, limit: usize, emit: &mut dyn FnMut(&[u8]));

    /// Bytes of what [`Host::take_broadcasts`] has to give, each message with `overhead`. While
    /// they are many, gossip sends more packets a round.
    fn broadcast_bytes(&self, _overhead: usize) -> usize {
        0
    }

    /// Whether [`Host::take_broadcasts`] may have something to give. Saying no spares an idle
    /// gossip round the choice of its targets; the default always says yes.
    fn has_broadcasts(&self) -> bool {
        true
    }

    /// Appends our state for a push/pull. Go: `Delegate.LocalState`.
    fn local_state(&mut self, join: bool, out: &mut Vec<u8>);

    /// A peer's state arrived (never empty). Go: `Delegate.MergeRemoteState`.
    fn merge_remote_state(&mut self, now: Instant, state: &[u8], exchange: Exchange);

    /// A node became alive from unknown, dead or left. Go: `EventDelegate.NotifyJoin`.
    fn on_join(&mut self, now: Instant, node: &NodeView<'_>);

    /// A node became dead or left. Go: `EventDelegate.NotifyLeave`.
    fn on_leave(&mut self, now: Instant, node: &NodeView<'_>);

    /// A node's meta changed. Go: `EventDelegate.NotifyUpdate`.
    fn on_update(&mut self, now: Instant, node: &NodeView<'_>);

    /// Another address claims a live node's name. Go: `ConflictDelegate.NotifyConflict`.
    fn on_conflict(&mut self, now: Instant, existing: &NodeView<'_>, other: &NodeView<'_>);

    /// Whether a join may be merged; all rows are given. Go: `MergeDelegate.NotifyMerge`.
    ///
    /// # Errors
    /// The reason of the veto; the whole exchange is dropped.
    fn check_merge(&mut self, nodes: &[NodeView<'_>]) -> Result<(), String>;

    /// Whether an alive message may be used; asked only with `Config::filter_alive`.
    /// Go: `AliveDelegate.NotifyAlive`.
    ///
    /// # Errors
    /// The reason of the veto.
    fn check_alive(&mut self, node: &NodeView<'_>) -> Result<(), String>;

    /// Appends the payload of our acks; nothing appended: nil. Go: `PingDelegate.AckPayload`.
    fn ack_payload(&mut self, out: &mut Vec<u8>);

    /// A direct probe was answered in time. Go: `PingDelegate.NotifyPingComplete`.
    fn on_ping_complete(
        &mut self,
        now: Instant,
        node: &NodeView<'_>,
        rtt: Duration,
        payload: &[u8],
    );
}
