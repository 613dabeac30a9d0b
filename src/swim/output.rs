//! What goes out of the engine, and what comes back from streams.

use std::net::SocketAddr;

use bytes::Bytes;

use super::Error;
use crate::{
    base::Instant,
    wire::{StreamError, StreamMessage},
};

/// Names one stream for as long as it is open. Even: opened by us; odd: accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId(pub u64);

/// Names an operation that ends later, with a [`Done`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OpId(pub u64);

/// An effect for the driver.
#[derive(Debug)]
pub enum Output {
    /// Send a datagram.
    Packet {
        /// Destination.
        to: SocketAddr,
        /// Sealed bytes.
        data: Vec<u8>,
    },
    /// Connect, send `message` (plaintext; the driver seals it with the codec of
    /// [`super::Swim::stream_codec`]), and unless `reply` is false read one message.
    /// All of it must end by `deadline`, or fail.
    Open {
        /// For the inputs that follow.
        id: StreamId,
        /// Destination.
        to: SocketAddr,
        /// Plaintext message, type byte first; push/pulls share one buffer.
        message: Bytes,
        /// Whether one message is read after sending.
        reply: bool,
        /// End of the connect and of the exchange.
        deadline: Instant,
    },
    /// Send a plaintext message on an accepted stream, by `deadline`, and close it.
    Reply {
        /// An accepted stream.
        id: StreamId,
        /// Plaintext message, type byte first; answers to push/pulls share one buffer.
        message: Bytes,
        /// End of the exchange.
        deadline: Instant,
    },
    /// Close a stream without sending anything.
    Close {
        /// Either kind.
        id: StreamId,
    },
}

/// An operation that ended: a push/pull was merged, a broadcast reached its transmit limit, a
/// message was sent.
#[derive(Debug)]
pub struct Done {
    /// Given when it began.
    pub op: OpId,
    /// How it ended.
    pub result: Result<(), Error>,
}

/// What happened on a stream.
#[derive(Debug)]
pub enum StreamInput {
    /// A connection was accepted; its first message follows later or never.
    Accepted {
        /// The peer.
        from: SocketAddr,
    },
    /// The peer's message is whole.
    Message(StreamMessage),
    /// The peer's bytes made no message; answered with an error reply where Go answers.
    Broken(StreamError),
    /// Everything that was to be sent is with the kernel (streams without a reply).
    Sent,
    /// Connect, read or write failed, the peer closed early, or the deadline passed.
    Failed {
        /// Whether the connection was established.
        connected: bool,
        /// Text for logs, as the system gives it.
        error: String,
    },
}
