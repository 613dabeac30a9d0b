//! One TCP exchange: framing, encryption, compression, and the three requests it can carry.

use bytes::Bytes;

use super::{DecodeError, Incarnation, NodeState, SeqNo};
use crate::base::Rng;

/// Which end of the connection we are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Connected; writes the label header; expects none in the reply.
    Dialer,
    /// Accepted; expects the label header; writes none.
    Acceptor,
}

/// Immutable snapshot of label, keys and compression. `Clone` is one reference count.
#[derive(Clone)]
pub struct StreamCodec {}

impl StreamCodec {
    /// Appends what goes over the connection for one plaintext `message` (type byte first):
    /// label header (dialer only), then the message compressed and sealed.
    pub fn seal(&self, rng: &mut Rng, role: Role, message: &[u8], out: &mut Vec<u8>) {
        let _ = (rng, role, message, out);
        todo!()
    }
}

/// What one end sent, whole and checked; rows of a push/pull are still encoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StreamMessage {
    /// A ping, to be answered with an ack on the same connection.
    Ping {
        /// Of the ping.
        seq_no: SeqNo,
        /// Whom it is meant for.
        node: Vec<u8>,
    },
    /// Reply to a ping.
    Ack {
        /// Of the ping.
        seq_no: SeqNo,
    },
    /// Either half of a push/pull.
    PushPull(PushPull),
    /// A user message; never answered.
    User(Bytes),
    /// Refusal of our request.
    Error(String),
}

/// The body of a push/pull: rows proven decodable, and the user state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PushPull {
    /// Whether the exchange is a join.
    pub join: bool,
    /// Number of rows.
    pub row_count: usize,
    /// Rows, back to back.
    pub rows: Bytes,
    /// State of the layer above; may be empty.
    pub user_state: Bytes,
}

impl PushPull {
    /// Decodes the rows one by one.
    pub fn rows(&self) -> impl Iterator<Item = Result<NodeState<'_>, DecodeError>> {
        std::iter::empty()
    }

    /// Appends a whole push/pull message, type byte included.
    pub fn encode<'a>(
        join: bool,
        rows: impl ExactSizeIterator<Item = NodeState<'a>>,
        user_state: &[u8],
        out: &mut Vec<u8>,
    ) {
        let _ = (join, rows, user_state, out, Incarnation(0));
        todo!()
    }
}

/// Why an exchange ended without a message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StreamError {
    /// Close without a word.
    #[error("{0}")]
    Close(DecodeError),
    /// Tell the peer with an error reply (sealed like any message), then close.
    #[error("{0}")]
    Refuse(DecodeError),
}

/// Incremental decoder of what one end sends: feed it what the socket gives.
///
/// Holds at most the frame's proven size; never waits for the end of the stream.
pub struct StreamDecoder {}

impl StreamDecoder {
    /// A decoder for the other end's bytes, seen from `role`.
    pub fn new(codec: StreamCodec, role: Role) -> Self {
        let _ = (codec, role);
        todo!()
    }

    /// Takes more bytes; gives the message once it is whole. Bytes after it are ignored.
    ///
    /// # Errors
    /// See [`StreamError`]; the decoder is of no use afterwards.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<Option<StreamMessage>, StreamError> {
        let _ = bytes;
        todo!()
    }

    /// Bytes held now; for the global budget.
    pub fn buffered(&self) -> usize {
        todo!()
    }
}
