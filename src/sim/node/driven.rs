//! The face of a node towards the world.

use std::net::SocketAddr;

use super::Observation;
use crate::{
    base::Instant,
    swim::{Output, StreamId, StreamInput},
    wire::StreamCodec,
};

/// A node of the virtual world.
///
/// The methods are those of the engines; an implementation keeps the results that are not for the
/// network. Times are the node's own (see [`crate::sim::World::step_clock`]).
pub trait Node: Send {
    /// A datagram arrived.
    fn handle_packet(&mut self, now: Instant, from: SocketAddr, datagram: &[u8]);
    /// The batch of datagrams is over: drains the hand-off queues.
    fn handle_queued(&mut self, now: Instant);
    /// Something happened on a stream.
    fn handle_stream(&mut self, now: Instant, id: StreamId, input: StreamInput);
    /// Fires all timers due at `now`.
    fn handle_timeout(&mut self, now: Instant);
    /// The next effect on the network.
    fn poll_output(&mut self, now: Instant) -> Option<Output>;
    /// When [`Node::handle_timeout`] wants to be called.
    fn poll_timeout(&self) -> Option<Instant>;
    /// Allocates the id of a stream that is about to be accepted.
    fn accept_stream(&mut self) -> StreamId;
    /// Codec of new streams.
    fn stream_codec(&self) -> StreamCodec;
    /// Takes what the node has seen since the last call, if the world should collect it.
    fn take_observations(&mut self) -> Vec<Observation> {
        Vec::new()
    }
    /// Whether there are observations to take.
    fn has_observations(&self) -> bool {
        false
    }
}
