//! What Go reports of a stream that ends, or fails, inside a message.

use super::{Stage, StreamDecoder};
use crate::{
    msgpack::{self, At, Reader, Value},
    wire::{Ack, Compress, DecodeError, ErrorReply, NodeState, Ping, PushPullHeader, UserHeader},
};

/// How Go's reader stands at the end of what has arrived.
#[derive(Debug)]
pub(crate) struct Cut {
    /// Why Go stops if nothing follows: the end of the input, or a value that it refuses although
    /// the message is incomplete.
    pub(crate) error: DecodeError,
    /// The number of bytes that Go's MessagePack decoder has read, if that is what reads here: it
    /// puts this in front of all errors but the end of the input.
    decoded: Option<usize>,
}

impl Cut {
    /// Why Go stops if reading fails for this reason, or if the input ends.
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
}

impl StreamDecoder {
    /// How Go's reader stands here.
    pub(crate) fn cut(&self) -> Cut {
        match self.stage {
            Stage::Compressed => self.cut_value::<Compress<'_>>(),
            Stage::Ping => self.cut_value::<Ping<'_>>(),
            Stage::Ack => self.cut_value::<Ack<'_>>(),
            Stage::Error => self.cut_value::<ErrorReply<'_>>(),
            Stage::PushPullHeader => self.cut_value::<PushPullHeader>(),
            Stage::Rows { .. } => self.cut_value::<NodeState<'_>>(),
            Stage::UserHeader => self.cut_value::<UserHeader>(),
            // Go: `io.ReadAtLeast`.
            Stage::UserState { .. } | Stage::User { .. } if !self.rest().is_empty() => {
                Cut { error: DecodeError::Truncated, decoded: None }
            }
            Stage::UserState { .. }
            | Stage::User { .. }
            | Stage::Label
            | Stage::Outer
            | Stage::Encrypted
            | Stage::Inner
            | Stage::Packed { .. }
            | Stage::Done => Cut { error: DecodeError::End, decoded: None },
        }
    }

    /// The same inside a value of this type, which Go decodes as its bytes arrive.
    fn cut_value<'a, T: Value<'a>>(&'a self) -> Cut {
        let before = self.taken.saturating_sub(self.body);
        let mut reader = Reader::new(self.rest());
        let result = T::decode(&mut reader);
        let error = result.err().unwrap_or(msgpack::Error::Truncated).after(before);
        Cut { error: error.into(), decoded: Some(before + reader.position()) }
    }
}
