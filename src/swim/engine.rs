//! The engine's entry points.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use super::{Config, Error, Host, NodeView, OpId, Output, StreamId, StreamInput};
use crate::{
    base::Instant,
    wire::{Keyring, StreamCodec},
};

/// One node's membership engine.
pub struct Swim {}

/// Plain counters; the driver exports them under Go's metric names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// `memberlist.udp.sent`, bytes.
    pub udp_sent: u64,
    /// `memberlist.udp.received`, bytes.
    pub udp_received: u64,
    /// `memberlist.msg.alive`.
    pub msg_alive: u64,
    /// `memberlist.msg.suspect`.
    pub msg_suspect: u64,
    /// `memberlist.msg.dead`.
    pub msg_dead: u64,
    /// Packets and messages dropped because they made no sense.
    pub dropped_malformed: u64,
    /// Messages dropped because a hand-off queue was full.
    pub dropped_queue_full: u64,
}

impl Swim {
    /// Makes the node and announces it to itself: `host` sees its own join.
    /// Go: `Create` and `setAlive`.
    ///
    /// # Errors
    /// A configuration that cannot work.
    pub fn build(config: Config, now: Instant, host: &mut dyn Host) -> Result<Self, Error> {
        let _ = (config, now, host);
        todo!()
    }

    /// A datagram arrived. `now` is the time it was read.
    pub fn handle_packet(
        &mut self,
        now: Instant,
        from: SocketAddr,
        datagram: &[u8],
        host: &mut dyn Host,
    ) {
        let _ = (now, from, datagram, host);
        todo!()
    }

    /// Something happened on a stream.
    pub fn handle_stream(
        &mut self,
        now: Instant,
        id: StreamId,
        input: StreamInput,
        host: &mut dyn Host,
    ) {
        let _ = (now, id, input, host);
        todo!()
    }

    /// Time has come: call at or after [`Swim::poll_timeout`], after the socket was drained.
    pub fn handle_timeout(&mut self, now: Instant, host: &mut dyn Host) {
        let _ = (now, host);
        todo!()
    }

    /// The next effect, oldest first.
    pub fn poll_output(&mut self) -> Option<Output> {
        todo!()
    }

    /// When [`Swim::handle_timeout`] wants to be called.
    pub fn poll_timeout(&self) -> Option<Instant> {
        todo!()
    }

    /// Names a stream the driver is about to accept.
    pub fn accept_stream(&mut self) -> StreamId {
        todo!()
    }

    /// Codec for streams opened or accepted from now on.
    pub fn stream_codec(&self) -> StreamCodec {
        todo!()
    }

    /// Starts one push/pull with a resolved address; `name` may be empty.
    /// Go: `pushPullNode`; the driver loops over addresses for a join.
    pub fn start_push_pull(
        &mut self,
        now: Instant,
        to: SocketAddr,
        name: &str,
        join: bool,
        host: &mut dyn Host,
    ) -> OpId {
        let _ = (now, to, name, join, host);
        todo!()
    }

    /// Announces that we leave. Done when the broadcast reached its transmit limit, at once if
    /// nobody else is alive. The caller bounds the wait. Go: `Leave`.
    pub fn start_leave(&mut self, now: Instant, host: &mut dyn Host) -> OpId {
        let _ = (now, host);
        todo!()
    }

    /// Announces changed meta (asked from `host`). Done like [`Swim::start_leave`].
    /// Go: `UpdateNode`.
    pub fn start_update(&mut self, now: Instant, host: &mut dyn Host) -> OpId {
        let _ = (now, host);
        todo!()
    }

    /// Pings an address; done with the round-trip time. Go: `Ping`.
    pub fn start_ping(&mut self, now: Instant, to: SocketAddr, name: &str) -> OpId {
        let _ = (now, to, name);
        todo!()
    }

    /// Sends a user message in one packet to an address, with a CRC if `name` is a known node that
    /// understands it. Go: `SendToAddress`, `SendBestEffort`.
    pub fn send_user(&mut self, now: Instant, to: SocketAddr, name: &str, message: &[u8]) {
        let _ = (now, to, name, message);
        todo!()
    }

    /// Sends a user message on a stream. Go: `SendReliable`.
    pub fn start_send_reliable(&mut self, now: Instant, to: SocketAddr, message: &[u8]) -> OpId {
        let _ = (now, to, message);
        todo!()
    }

    /// Keys in force.
    pub fn keyring(&self) -> &Keyring {
        todo!()
    }

    /// Replaces the keys; streams already open keep the old ones.
    pub fn set_keyring(&mut self, keyring: Keyring) {
        let _ = keyring;
        todo!()
    }

    /// The local node.
    pub fn local(&self) -> NodeView<'_> {
        todo!()
    }

    /// A node by name.
    pub fn node(&self, name: &str) -> Option<NodeView<'_>> {
        let _ = name;
        todo!()
    }

    /// Every node in the table, ourselves and the dead included, in probe order.
    pub fn nodes(&self) -> impl Iterator<Item = NodeView<'_>> {
        std::iter::empty()
    }

    /// Nodes neither dead nor left, ourselves included. Kept as a counter. Go: `NumMembers`.
    pub fn member_count(&self) -> usize {
        todo!()
    }

    /// Nodes in the table, dead and left included: the `n` of every formula. Go: `estNumNodes`.
    pub fn node_count(&self) -> usize {
        todo!()
    }

    /// Health score, 0 is healthy. Go: `GetHealthScore`.
    pub fn health_score(&self) -> u32 {
        todo!()
    }

    /// The name of this node.
    pub fn name(&self) -> &Arc<str> {
        todo!()
    }

    /// The driver's own lateness (how long after a deadline it got to run): feeds the health
    /// score, so that a starved process does not accuse others.
    pub fn note_lateness(&mut self, late: Duration) {
        let _ = late;
        todo!()
    }

    /// Counters since the start.
    pub fn stats(&self) -> Stats {
        todo!()
    }
}
