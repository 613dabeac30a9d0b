//! Outputs of the engine and inputs from its streams.

use std::net::SocketAddr;

use bytes::Bytes;

use super::Error;
#[cfg(feature = "sim")]
use crate::wire::PushPull;
use crate::{
    base::Instant,
    wire::{StreamError, StreamMessage},
};

/// Identifies a stream while it is open. Even: opened by this node; odd: accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId(pub u64);

/// Identifies an operation until its [`Done`].
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
    /// Connect, send `message` (plaintext; the driver encrypts it with the codec of
    /// [`super::Swim::stream_codec`]) and, if `reply`, read one message. The exchange fails if it
    /// is not complete by `deadline`.
    Open {
        /// Id for the inputs that follow.
        id: StreamId,
        /// Destination.
        to: SocketAddr,
        /// Plaintext message, type byte first; push/pulls share one buffer.
        message: Bytes,
        /// Whether one message is read after sending.
        reply: bool,
        /// Deadline of the connect and the exchange.
        deadline: Instant,
    },
    /// Send a plaintext message on an accepted stream, by `deadline`, and close it.
    Reply {
        /// An accepted stream.
        id: StreamId,
        /// Plaintext message, type byte first; answers to push/pulls share one buffer.
        message: Bytes,
        /// Deadline of the exchange.
        deadline: Instant,
    },
    /// Close a stream without sending anything.
    Close {
        /// A stream of either kind.
        id: StreamId,
    },
}

/// A push/pull of which the rows are shared.
#[cfg(feature = "sim")]
#[derive(Clone, Debug)]
pub struct Shared {
    /// The state, as the receiver merges it.
    pub state: PushPull,
    /// Length of the encoded message.
    pub bytes: usize,
}

/// A completed operation: a push/pull was merged, a broadcast reached its transmit limit, or a
/// message was sent.
#[derive(Debug)]
pub struct Done {
    /// The id returned when it was started.
    pub op: OpId,
    /// How it ended.
    pub result: Result<(), Error>,
}

/// What happened on a stream.
#[derive(Debug)]
pub enum StreamInput {
    /// A connection was accepted; its first message may follow.
    Accepted {
        /// The peer.
        from: SocketAddr,
    },
    /// The peer's message is complete.
    Message(StreamMessage),
    /// The peer's bytes could not be decoded; answered with an error reply where Go does.
    Broken(StreamError),
    /// All data was passed to the kernel (streams without a reply).
    Sent,
    /// Connect, read or write failed, the peer closed early, or the deadline passed.
    Failed {
        /// Whether the connection was established.
        connected: bool,
        /// Text for logs, as the system gives it.
        error: String,
    },
}
