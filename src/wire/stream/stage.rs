//! The stages of a stream's decoding, and what Go reports of a stream that ends or fails in one.

use super::StreamPart;
use crate::{
    msgpack::{self, At, Reader, Value},
    wire::{Ack, Compress, DecodeError, ErrorReply, NodeState, Ping, PushPullHeader, UserHeader},
};

/// What the next bytes of a stream are expected to be.
#[derive(Clone, Copy)]
pub(super) enum Stage {
    /// A label header, or the first byte of the outermost layer.
    Label,
    /// The type byte of the outermost layer.
    Outer,
    /// An encrypted frame, including its type byte.
    Encrypted,
    /// The type byte of the request or reply, or of its compressed form.
    Inner,
    /// The body of a compress message.
    Compressed,
    /// The complete body of a compress message, which starts here and extends to the end of the
    /// buffer.
    Packed {
        start: usize,
    },
    Ping,
    Ack,
    Error,
    PushPullHeader,
    Rows {
        header: PushPullHeader,
        start: usize,
        left: usize,
    },
    UserState {
        header: PushPullHeader,
        rows_start: usize,
    },
    UserHeader,
    User {
        len: usize,
    },
    /// A message or an error was returned.
    Done,
}

impl Stage {
    /// What is being read.
    pub(super) fn part(self) -> StreamPart {
        match self {
            Self::Label => StreamPart::Label,
            Self::Ping => StreamPart::Ping,
            Self::PushPullHeader | Self::Rows { .. } | Self::UserState { .. } => {
                StreamPart::PushPull
            }
            Self::UserHeader | Self::User { .. } => StreamPart::User,
            Self::Outer
            | Self::Encrypted
            | Self::Inner
            | Self::Compressed
            | Self::Packed { .. }
            | Self::Ack
            | Self::Error
            | Self::Done => StreamPart::Layers,
        }
    }

    /// What Go reports of a stream that goes on no further than `rest`; `before` bytes of the body
    /// are decoded.
    pub(super) fn cut(self, rest: &[u8], before: usize) -> Cut {
        match self {
            Self::Compressed => Cut::in_value::<Compress<'_>>(rest, before),
            Self::Ping => Cut::in_value::<Ping<'_>>(rest, before),
            Self::Ack => Cut::in_value::<Ack<'_>>(rest, before),
            Self::Error => Cut::in_value::<ErrorReply<'_>>(rest, before),
            Self::PushPullHeader => Cut::in_value::<PushPullHeader>(rest, before),
            Self::Rows { .. } => Cut::in_value::<NodeState<'_>>(rest, before),
            Self::UserHeader => Cut::in_value::<UserHeader>(rest, before),
            // Go: `io.ReadAtLeast`.
            Self::UserState { .. } | Self::User { .. } if !rest.is_empty() => {
                Cut { error: DecodeError::Truncated, decoded: None }
            }
            Self::UserState { .. }
            | Self::User { .. }
            | Self::Label
            | Self::Outer
            | Self::Encrypted
            | Self::Inner
            | Self::Packed { .. }
            | Self::Done => Cut { error: DecodeError::End, decoded: None },
        }
    }
}

/// The end of what has arrived of a stream, as Go reports it.
#[derive(Debug)]
pub(crate) struct Cut {
    /// Why Go stops if nothing follows: the end of the input, or a value that it refuses although
    /// the message is incomplete.
    pub(crate) error: DecodeError,
    /// The number of bytes that Go's MessagePack decoder has read, if that is what reads here: it
    /// puts this in front of all errors but the end of the input.
    #[cfg_attr(not(all(feature = "driver", not(target_family = "wasm"))), allow(dead_code))]
    decoded: Option<usize>,
}

impl Cut {
    /// Why Go stops if reading fails for this reason, or if the input ends.
    #[cfg_attr(not(all(feature = "driver", not(target_family = "wasm"))), allow(dead_code))]
    pub(crate) fn text(&self, failure: Option<String>) -> String {
        match (failure, self.decoded) {
            (Some(failure), None) if !self.is_of_input() => failure,
            (Some(failure), Some(decoded)) if !self.is_of_input() => {
                format!("{}{failure}", At(u32::try_from(decoded).unwrap_or(u32::MAX)))
            }
            _ => self.error.to_string(),
        }
    }

    /// Whether Go refuses what has arrived, whatever follows.
    pub(crate) fn is_of_input(&self) -> bool {
        !self.error.is_end() && self.error != DecodeError::Truncated
    }

    /// The same inside a value of this type, which Go decodes as its bytes arrive.
    fn in_value<'a, T: Value<'a>>(rest: &'a [u8], before: usize) -> Self {
        let mut reader = Reader::new(rest);
        let result = T::decode(&mut reader);
        let error = result.err().unwrap_or(msgpack::Error::Truncated).after(before);
        Self { error: error.into(), decoded: Some(before + reader.position()) }
    }
}
