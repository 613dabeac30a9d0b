//! The interface between a node and the world.

use std::net::SocketAddr;

use super::Observation;
use crate::{
    base::Instant,
    swim::{Output, Shared, StreamId, StreamInput},
    wire::StreamCodec,
};

/// A node of the virtual world.
///
/// The methods are those of the engines; an implementation keeps the results that are not sent over
/// the network. Times are on the node's own clock (see [`crate::sim::World::step_clock`]).
pub trait Node: Send {
    /// Handles a datagram.
    fn handle_packet(&mut self, now: Instant, from: SocketAddr, datagram: &[u8]);
    /// Handles the messages that a batch of datagrams left in the hand-off queues.
    fn handle_queued(&mut self, now: Instant);
    /// Handles an event of a stream.
    fn handle_stream(&mut self, now: Instant, id: StreamId, input: StreamInput);
    /// Fires all timers due at `now`.
    fn handle_timeout(&mut self, now: Instant);
    /// The next effect on the network.
    fn poll_output(&mut self, now: Instant) -> Option<Output>;
    /// When [`Node::handle_timeout`] is to be called next.
    fn poll_timeout(&self) -> Option<Instant>;
    /// Allocates the id of a stream that is about to be accepted.
    fn accept_stream(&mut self) -> StreamId;
    /// Codec for new streams.
    fn stream_codec(&self) -> StreamCodec;
    /// The state to pass on instead of the message on a stream, if the node shares its rows.
    fn take_shared(&mut self, _id: StreamId) -> Option<Shared> {
        None
    }
    /// Takes the observations since the last call, if the world should collect them; it sets their
    /// time.
    fn take_observations(&mut self) -> Vec<Observation> {
        Vec::new()
    }
    /// Whether there are observations to take.
    fn has_observations(&self) -> bool {
        false
    }
}
