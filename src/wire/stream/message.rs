//! Messages received over a connection.

#[cfg(feature = "sim")]
use std::{any::Any, sync::Arc};

use bytes::Bytes;

use crate::{
    base::error_texts,
    msgpack::{Reader, Value, Writer},
    wire::{
        DecodeError, NodeState, PushPullHeader, SeqNo, Versions, crypto::Sealed, message::kind,
    },
};

/// A complete, validated message of one end; the rows of a push/pull are still encoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StreamMessage {
    /// A ping, to be answered with an ack on the same connection. Only an acceptor receives it.
    #[doc(hidden)]
    Ping {
        /// Sequence number of the ping.
        seq_no: SeqNo,
        /// The node the ping is for.
        node: Vec<u8>,
    },
    /// Reply to a ping. Only a dialer receives it.
    #[doc(hidden)]
    Ack {
        /// Sequence number of the ping.
        seq_no: SeqNo,
    },
    /// Either half of a push/pull.
    #[doc(hidden)]
    PushPull(PushPull),
    /// A user message; never answered. Only an acceptor receives it. An empty one is not delivered.
    #[doc(hidden)]
    User(Bytes),
    /// The peer refused our request. Only a dialer receives it.
    #[doc(hidden)]
    Error(String),
}

impl StreamMessage {
    /// The type byte with which the message begins on the wire.
    pub(crate) fn type_byte(&self) -> u8 {
        match self {
            Self::Ping { .. } => kind::PING,
            Self::Ack { .. } => kind::ACK,
            Self::PushPull(_) => kind::PUSH_PULL,
            Self::User(_) => kind::USER,
            Self::Error(_) => kind::ERROR,
        }
    }

    /// Replaces the buffers that the message holds, e.g. to tie another value to their lifetime.
    #[must_use]
    pub fn map_buffers(mut self, change: impl Fn(Bytes) -> Bytes) -> Self {
        match &mut self {
            Self::PushPull(state) => {
                state.rows = change(std::mem::take(&mut state.rows));
                state.user_state = change(std::mem::take(&mut state.user_state));
            }
            Self::User(message) => *message = change(std::mem::take(message)),
            Self::Ping { .. } | Self::Ack { .. } | Self::Error(_) => {}
        }
        self
    }

    /// Approximate memory that the message holds, in bytes.
    #[doc(hidden)]
    pub fn held_bytes(&self) -> usize {
        match self {
            Self::Ping { node, .. } => node.len(),
            Self::Ack { .. } => 0,
            Self::PushPull(state) => state.rows.len() + state.user_state.len(),
            Self::User(message) => message.len(),
            Self::Error(text) => text.len(),
        }
    }
}

/// The body of a push/pull: rows that are known to be decodable, and the user state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PushPull {
    /// Whether the exchange is a join.
    pub join: bool,
    /// Number of rows.
    pub row_count: usize,
    /// Encoded rows, one after the other.
    pub rows: Bytes,
    /// Versions of all rows.
    pub versions: Versions,
    /// State of the layer above; may be empty.
    pub user_state: Bytes,
    /// The rows that stand for encoded ones, in simulations.
    #[cfg(feature = "sim")]
    #[doc(hidden)]
    pub shared: Option<SharedRows>,
}

/// Rows that simulated nodes share, in the form that the engine gives them.
#[cfg(feature = "sim")]
#[doc(hidden)]
#[derive(Clone, Debug)]
pub struct SharedRows(Arc<dyn Any + Send + Sync>);

#[cfg(feature = "sim")]
impl SharedRows {
    pub(crate) fn new<T: Any + Send + Sync>(rows: T) -> Self {
        Self(Arc::new(rows))
    }

    pub(crate) fn get<T: Any + Send + Sync>(&self) -> Option<Arc<T>> {
        Arc::clone(&self.0).downcast().ok()
    }
}

#[cfg(feature = "sim")]
impl PartialEq for SharedRows {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

#[cfg(feature = "sim")]
impl Eq for SharedRows {}

impl PushPull {
    /// Decodes the rows one by one.
    pub fn rows(&self) -> impl Iterator<Item = Result<NodeState<'_>, DecodeError>> {
        let mut reader = Reader::new(&self.rows);
        (0..self.row_count).map(move |_| Ok(NodeState::decode(&mut reader)?))
    }

    /// Iterates over the rows from offset `start`, which is 0 or was returned with a row; yields
    /// each row and the offset after it.
    pub fn rows_from(
        &self,
        start: usize,
    ) -> impl Iterator<Item = (Result<NodeState<'_>, DecodeError>, usize)> {
        let rest = self.rows.get(start..).unwrap_or_default();
        let mut reader = Reader::new(rest);
        std::iter::from_fn(move || {
            let more = reader.position() < rest.len();
            more.then(|| {
                let row = NodeState::decode(&mut reader).map_err(DecodeError::from);
                (row, start + reader.position())
            })
        })
    }

    /// Builds the body as the decoder would return it.
    pub fn from_rows<'a>(
        join: bool,
        rows: impl IntoIterator<Item = NodeState<'a>>,
        user_state: Bytes,
    ) -> Self {
        let (mut bytes, mut row_count, mut versions) = (Vec::new(), 0, Versions::default());
        for row in rows {
            Value::encode(&row, &mut Writer::new(&mut bytes));
            versions.add(row.is_alive(), row.vsn.as_slice());
            row_count += 1;
        }
        Self {
            join,
            row_count,
            rows: bytes.into(),
            versions,
            user_state,
            #[cfg(feature = "sim")]
            shared: None,
        }
    }

    /// Appends a whole push/pull message, type byte included.
    pub fn encode<'a>(
        join: bool,
        rows: impl ExactSizeIterator<Item = NodeState<'a>>,
        user_state: &[u8],
        out: &mut Vec<u8>,
    ) {
        let header = PushPullHeader {
            nodes: rows.len() as i64,
            user_state_len: user_state.len() as i64,
            join,
        };
        header.encode(out);
        let mut writer = Writer::new(out);
        for row in rows {
            Value::encode(&row, &mut writer);
        }
        out.extend_from_slice(user_state);
    }
}

/// Encodes a push/pull message row by row; the number of rows need not be known in advance.
#[derive(Debug)]
pub struct PushPullBuilder {
    /// Space for the header, then the rows.
    bytes: Vec<u8>,
    rows: usize,
}

impl PushPullBuilder {
    /// Creates a builder with room for about `bytes` bytes of rows and user state.
    pub fn with_capacity(bytes: usize) -> Self {
        let mut buffer = Vec::with_capacity(HEADER_BYTES_MAX + bytes);
        buffer.resize(HEADER_BYTES_MAX, 0);
        Self { bytes: buffer, rows: 0 }
    }

    /// Creates a builder whose message lacks this many rows.
    #[cfg(feature = "sim")]
    pub(crate) fn without_rows(rows: usize) -> Self {
        Self { rows, ..Self::with_capacity(0) }
    }

    /// Appends a row.
    pub fn push(&mut self, row: &NodeState<'_>) {
        Value::encode(row, &mut Writer::new(&mut self.bytes));
        self.rows += 1;
    }

    /// Appends this many rows that another builder has encoded.
    pub(crate) fn push_encoded(&mut self, rows: usize, encoded: &[u8]) {
        self.bytes.extend_from_slice(encoded);
        self.rows += rows;
    }

    /// Bytes of all rows added so far.
    pub fn rows_bytes(&self) -> usize {
        self.bytes.len() - HEADER_BYTES_MAX
    }

    /// Returns the whole message, type byte included; identical to the result of
    /// [`PushPull::encode`].
    pub fn finish(mut self, join: bool, user_state: &[u8]) -> Bytes {
        self.bytes.extend_from_slice(user_state);
        let mut header = Vec::with_capacity(HEADER_BYTES_MAX);
        let user_state_len = user_state.len() as i64;
        PushPullHeader { nodes: self.rows as i64, user_state_len, join }.encode(&mut header);
        let start = HEADER_BYTES_MAX.saturating_sub(header.len());
        if let Some(room) = self.bytes.get_mut(start..HEADER_BYTES_MAX) {
            room.copy_from_slice(&header);
        }
        Bytes::from(self.bytes).slice(start..)
    }
}

/// Why an exchange ended without a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StreamError {
    /// Close the connection without a reply.
    #[doc(hidden)]
    Close(DecodeError),
    /// Send the peer an error reply (sealed like any message), then close.
    #[doc(hidden)]
    Refuse(DecodeError),
    /// The body of a request is malformed: close the connection without a reply.
    #[doc(hidden)]
    Body(StreamPart, DecodeError),
    /// The connection of an accepted stream failed, with the reason in Go's words.
    #[doc(hidden)]
    Lost(StreamPart, String),
}

/// What was being read of an accepted stream when it failed. The text is how Go begins the line of
/// its log.
#[doc(hidden)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamPart {
    /// The label header, or the first byte.
    Label,
    /// The layers around the message, or its type.
    Layers,
    /// The body of a ping.
    Ping,
    /// The state of a push/pull.
    PushPull,
    /// A user message.
    User,
}

impl StreamError {
    /// The type byte of a message that may not come here.
    pub(crate) fn invalid_type(&self) -> Option<u8> {
        match self {
            Self::Close(DecodeError::UnsupportedType(kind)) => Some(*kind),
            Self::Close(DecodeError::ForeignProtocol(protocol)) => Some(protocol.first_byte()),
            Self::Close(_) | Self::Refuse(_) | Self::Body(..) | Self::Lost(..) => None,
        }
    }
}

error_texts! {
    StreamError {
        Self::Close(error) => "{error}";
        Self::Refuse(error) => "{error}";
        Self::Body(_, error) => "{error}";
        Self::Lost(_, error) => "{error}";
    }
}

error_texts! {
    StreamPart {
        Self::Label => "failed to receive and remove the stream label header";
        Self::Layers => "failed to receive";
        Self::Ping => "Failed to decode ping";
        Self::PushPull => "Failed to read remote state";
        Self::User => "Failed to receive user message";
    }
}

impl std::error::Error for StreamError {}

/// Properties of a stream besides its message.
#[cfg_attr(not(feature = "agent"), allow(dead_code))]
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    /// Encryption, if any.
    pub(crate) sealed: Option<Sealed>,
    /// Whether the message was compressed.
    pub(crate) compressed: bool,
    /// The MessagePack value after the type byte: the whole body of a ping, an ack or an error
    /// reply, the header of other messages.
    pub(crate) header: Vec<u8>,
    /// Number of bytes after the message, which are ignored.
    pub(crate) surplus: usize,
}

/// Largest header of a push/pull: three keys and two numbers.
const HEADER_BYTES_MAX: usize = 64;
