//! Callbacks from the engine into the layer above: memberlist's delegates.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use crate::wire::{Incarnation, NodeStateKind, Vsn};

/// A node as known to the engine, borrowed for one call.
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
    /// Protocol versions of the node.
    pub vsn: Vsn,
    /// Incarnation.
    pub incarnation: Incarnation,
    /// The true state (Go's delegates always see "alive" here, except the merge delegate).
    pub state: NodeStateKind,
}

/// Origin of a user message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    /// Sender of the packet, or the peer that opened the stream. The sender of a plaintext packet
    /// can be forged.
    pub from: SocketAddr,
    /// Protection of the message.
    pub seal: Seal,
}

/// How a message was protected on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seal {
    /// Encrypted with one of our keys: only a holder of a key can have written it.
    Key,
    /// Plaintext although we have keys, accepted because `verify_incoming` is off.
    Clear,
    /// Plaintext; we have no keys.
    NoKeys,
}

/// The push/pull that delivered a peer's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exchange {
    /// Address of the peer; the port is meaningful only if we initiated the exchange.
    pub peer: SocketAddr,
    /// Whether we initiated it: then the state is the answer of a peer that we chose.
    pub ours: bool,
    /// Whether it is part of a join.
    pub join: bool,
}

/// The layer above. Calls may queue work but must not block; none may call back into the engine.
pub trait Host {
    /// Our encoded tags, at most `limit` bytes. Go: `Delegate.NodeMeta`.
    fn node_meta(&mut self, limit: usize) -> Arc<[u8]>;

    /// The zone that a node with this meta is in, if any; asked only with `Config::zones`.
    fn zone(&self, _meta: &Arc<[u8]>) -> Option<Arc<str>> {
        None
    }

    /// A user message arrived, by packet or stream. Go: `Delegate.NotifyMsg`.
    fn on_user_message(&mut self, message: &[u8], origin: Origin);

    /// Fills a packet that goes to `copies` nodes: calls `emit` with each message to piggyback; the
    /// sum of `message.len() + overhead` must not exceed `limit`. Go: `Delegate.GetBroadcasts`.
    fn take_broadcasts(
        &mut self,
        overhead: usize,
        limit: usize,
        copies: u32,
        emit: &mut dyn FnMut(&[u8]),
    );

    /// Total bytes available to [`Host::take_broadcasts`], with `overhead` added for each message.
    /// Gossip sends more packets a round while there are many.
    fn broadcast_bytes(&self, _overhead: usize) -> usize {
        0
    }

    /// Whether [`Host::take_broadcasts`] may provide messages. Returning false saves an idle gossip
    /// round the selection of targets; the default always returns true.
    fn has_broadcasts(&self) -> bool {
        true
    }

    /// Appends our state for a push/pull. Go: `Delegate.LocalState`.
    fn local_state(&mut self, join: bool, out: &mut Vec<u8>);

    /// A peer's state arrived (never empty). Go: `Delegate.MergeRemoteState`.
    fn merge_remote_state(&mut self, state: &[u8], exchange: Exchange);

    /// A node became alive from unknown, dead or left. Go: `EventDelegate.NotifyJoin`.
    fn on_join(&mut self, node: &NodeView<'_>);

    /// A node became dead or left. Go: `EventDelegate.NotifyLeave`.
    fn on_leave(&mut self, node: &NodeView<'_>);

    /// A node's meta changed. Go: `EventDelegate.NotifyUpdate`.
    fn on_update(&mut self, node: &NodeView<'_>);

    /// Another address claims a live node's name. Go: `ConflictDelegate.NotifyConflict`.
    fn on_conflict(&mut self, existing: &NodeView<'_>, other: &NodeView<'_>);

    /// Whether a join may be merged; `nodes` holds all rows. Go: `MergeDelegate.NotifyMerge`.
    ///
    /// # Errors
    /// The reason for the veto; the whole exchange is dropped.
    fn check_merge(&mut self, nodes: &[NodeView<'_>]) -> Result<(), String>;

    /// Whether an alive message is accepted; called only with `Config::filter_alive`. Go:
    /// `AliveDelegate.NotifyAlive`.
    ///
    /// # Errors
    /// The reason for the veto.
    fn check_alive(&mut self, node: &NodeView<'_>) -> Result<(), String>;

    /// Appends the payload of our acks; if nothing is appended, it is nil. Go:
    /// `PingDelegate.AckPayload`.
    fn ack_payload(&mut self, out: &mut Vec<u8>);

    /// A direct probe was answered in time. Go: `PingDelegate.NotifyPingComplete`.
    fn on_ping_complete(&mut self, node: &NodeView<'_>, rtt: Duration, payload: &[u8]);
}
