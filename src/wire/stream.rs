//! One TCP exchange: framing, encryption, compression, and the three requests it can carry.

mod decoder;

use std::sync::Arc;

use bytes::Bytes;

use super::{
    CodecConfig, DecodeError, NodeState, PushPullHeader, SeqNo, Versions,
    cipher::NONCE_LEN,
    compress::Compressor,
    crypto::{Sealed, Sealer},
    label,
    message::kind,
};
use crate::{
    base::{Rng, error_texts},
    msgpack::{Reader, Value, Writer},
};

pub use decoder::{Decoded, StreamDecoder};

/// Which end of the connection we are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Connected; writes the label header; expects none in the reply.
    Dialer,
    /// Accepted; expects the label header; writes none.
    Acceptor,
}

/// Immutable snapshot of label, keys and compression. `Clone` is one reference count.
#[derive(Clone, Debug)]
pub struct StreamCodec {
    config: Arc<CodecConfig>,
}

impl StreamCodec {
    pub(super) fn new(config: Arc<CodecConfig>) -> Self {
        Self { config }
    }

    /// Whether there are keys.
    #[doc(hidden)]
    pub fn encrypts(&self) -> bool {
        !self.config.keyring.is_empty()
    }

    /// Whether it is the same snapshot.
    #[doc(hidden)]
    pub fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.config, &other.config)
    }

    /// Appends what goes over the connection for one plaintext `message` (type byte first):
    /// label header (dialer only), then the message compressed and sealed.
    pub fn seal(&self, rng: &mut Rng, role: Role, message: &[u8], out: &mut Vec<u8>) {
        let mut nonce = [0; NONCE_LEN];
        if self.config.sealing_key().is_some() {
            rng.fill(&mut nonce);
        }
        self.seal_with_nonce(nonce, role, message, out);
    }

    pub(super) fn seal_with_nonce(
        &self,
        nonce: [u8; NONCE_LEN],
        role: Role,
        message: &[u8],
        out: &mut Vec<u8>,
    ) {
        let config = &*self.config;
        if role == Role::Dialer {
            label::encode(&config.label, out);
        }
        let mut compressor = Compressor::new(config.compression);
        let Some(cipher) = config.sealing_key() else {
            if !compressor.compress(message, out) {
                out.extend_from_slice(message);
            }
            return;
        };
        let mut compressed = Vec::new();
        let message = match compressor.compress(message, &mut compressed) {
            true => &compressed,
            false => message,
        };
        drop(compressor);
        let len = config.seal_version().sealed_len(message.len());
        out.reserve(FRAME_LEN + len);
        // Every sender keeps its state under the 20 MiB that peers accept.
        debug_assert!(u32::try_from(len).is_ok(), "frame of {len} bytes");
        let frame = frame(len as u32);
        out.extend_from_slice(&frame);
        let sealer = Sealer::begin(cipher, config.seal_version(), nonce, out);
        out.extend_from_slice(message);
        Aad::new(frame, &config.label).with(|aad| sealer.finish(aad, out));
    }
}

/// What one end sent, whole and checked; rows of a push/pull are still encoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StreamMessage {
    /// A ping, to be answered with an ack on the same connection. Only an acceptor gets it.
    #[doc(hidden)]
    Ping {
        /// Of the ping.
        seq_no: SeqNo,
        /// The node that it is for.
        node: Vec<u8>,
    },
    /// Reply to a ping. Only a dialer gets it.
    #[doc(hidden)]
    Ack {
        /// Of the ping.
        seq_no: SeqNo,
    },
    /// Either half of a push/pull.
    #[doc(hidden)]
    PushPull(PushPull),
    /// A user message; never answered. Only an acceptor gets it. An empty one is not delivered.
    #[doc(hidden)]
    User(Bytes),
    /// Refusal of our request. Only a dialer gets it.
    #[doc(hidden)]
    Error(String),
}

impl StreamMessage {
    /// Changes the buffers that the message holds, such as to tie something to their life.
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

    /// Bytes of memory that the message holds, about.
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

/// The body of a push/pull: rows proven decodable, and the user state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PushPull {
    /// Whether the exchange is a join.
    pub join: bool,
    /// Number of rows.
    pub row_count: usize,
    /// Rows, back to back.
    pub rows: Bytes,
    /// Of all rows together.
    pub versions: Versions,
    /// State of the layer above; may be empty.
    pub user_state: Bytes,
}

impl PushPull {
    /// Decodes the rows one by one.
    pub fn rows(&self) -> impl Iterator<Item = Result<NodeState<'_>, DecodeError>> {
        let mut reader = Reader::new(&self.rows);
        (0..self.row_count).map(move |_| Ok(NodeState::decode(&mut reader)?))
    }

    /// The rows from a place on, which is 0 or came with a row: each, and the place behind it.
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

    /// The body as the decoder would give it.
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
        Self { join, row_count, rows: bytes.into(), versions, user_state }
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

/// Why an exchange ended without a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StreamError {
    /// Close without a reply.
    #[doc(hidden)]
    Close(DecodeError),
    /// Send the peer an error reply (sealed like any message), then close.
    #[doc(hidden)]
    Refuse(DecodeError),
}

error_texts! {
    StreamError {
        Self::Close(error) => "{error}";
        Self::Refuse(error) => "{error}";
    }
}

impl std::error::Error for StreamError {}

/// What else a stream holds beside its message.
#[cfg_attr(not(feature = "agent"), allow(dead_code))]
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    /// Encryption.
    pub(crate) sealed: Option<Sealed>,
    /// Whether the message was compressed.
    pub(crate) compressed: bool,
    /// The MessagePack value that follows the type byte: all of a ping, an ack and an error reply,
    /// the header of the others.
    pub(crate) header: Vec<u8>,
    /// Bytes that followed the message and mean nothing.
    pub(crate) surplus: usize,
}

/// Additional authenticated data of a stream: the frame's first five bytes, then the label.
struct Aad {
    bytes: [u8; FRAME_LEN + super::limits::LABEL_BYTES_MAX],
    len: usize,
}

impl Aad {
    fn new(frame: [u8; FRAME_LEN], label: &[u8]) -> Self {
        let mut bytes = [0; FRAME_LEN + super::limits::LABEL_BYTES_MAX];
        let parts = frame.iter().chain(label);
        let len = bytes.iter_mut().zip(parts).map(|(to, from)| *to = *from).count();
        Self { bytes, len }
    }

    fn with<T>(&self, use_aad: impl FnOnce(&[u8]) -> T) -> T {
        use_aad(self.bytes.get(..self.len).unwrap_or_default())
    }
}

fn frame(len: u32) -> [u8; FRAME_LEN] {
    let [a, b, c, d] = len.to_be_bytes();
    [kind::ENCRYPT, a, b, c, d]
}

/// Type byte and length of an encrypted frame.
const FRAME_LEN: usize = 5;
