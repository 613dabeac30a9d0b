//! The serialization seam: how Serf's values become bytes.

#[cfg(any(test, feature = "sim"))]
mod conformance;
mod lpe;
mod msgpack;

#[cfg(any(test, feature = "sim"))]
pub use conformance::assert_transform_conforms;
pub use lpe::LpeTransform;
pub use msgpack::MsgpackTransform;

use super::{Coordinate, Filter, Message, Tags};
use crate::base::error_texts;

/// Turns Serf's messages, tags, filters and coordinates into bytes and back.
///
/// All members of a cluster must use the same one; [`MsgpackTransform`] is what Go speaks. The
/// type byte that begins a message is part of the encoding, but a transform must keep it first:
/// `0` to `9` in the order of [`Message`].
pub trait TransformDelegate: Send + Sync {
    /// Appends `message`, type byte first.
    fn encode_message(&self, message: &Message<'_>, out: &mut Vec<u8>);

    /// Reads one message. Must take bounded memory for any input.
    ///
    /// # Errors
    /// Whatever is no message.
    fn decode_message<'a>(&self, input: &'a [u8]) -> Result<Message<'a>, TransformError>;

    /// Appends the node meta for `tags`, in the form that protocol `version` (2 to 5) asks for.
    fn encode_tags(&self, version: u8, tags: &Tags, out: &mut Vec<u8>);

    /// Reads node meta of any version. Never fails: unreadable entries are skipped and reported in
    /// the second value.
    fn decode_tags(&self, meta: &[u8]) -> (Tags, Option<TransformError>);

    /// Appends one filter of a query.
    fn encode_filter(&self, filter: &Filter<'_>, out: &mut Vec<u8>);

    /// Reads one filter.
    ///
    /// # Errors
    /// An unknown kind or malformed body: such a filter matches no node.
    fn decode_filter<'a>(&self, input: &'a [u8]) -> Result<Filter<'a>, TransformError>;

    /// Appends a coordinate as the payload of an ack.
    fn encode_coordinate(&self, coordinate: &Coordinate, out: &mut Vec<u8>);

    /// Reads the payload of an ack, which is not empty. The coordinate is not validated.
    ///
    /// # Errors
    /// Another version, or malformed.
    fn decode_coordinate(&self, input: &[u8]) -> Result<Coordinate, TransformError>;
}

/// Why bytes were refused.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TransformError {
    /// Nothing where a type byte should be.
    Empty,
    /// A type byte that means nothing.
    UnknownType(u8),
    /// Another version of the ack payload.
    Version(u8),
    /// The body is not what the type says.
    Malformed(String),
    /// More items than any honest peer sends.
    TooMany(usize),
}

error_texts! {
    TransformError {
        Self::Empty => "empty message";
        Self::UnknownType(kind) => "unknown type: {kind}";
        Self::Version(version) => "Unsupported ping version: {version}";
        Self::Malformed(text) => "{text}";
        Self::TooMany(max) => "more than {max} items";
    }
}

impl std::error::Error for TransformError {}

/// Most names, and most left members, in one push/pull: a state of 20 MiB has room for no more
/// names of 32 bytes. Shorter ones are cheap to send and cost the memory of an entry each.
pub(crate) const PUSH_PULL_ITEMS_MAX: usize = 524_288;
/// Most ring slots in one push/pull; Go sends 512.
pub(crate) const PUSH_PULL_SLOTS_MAX: usize = 65_536;
/// Most events in the ring of one push/pull; an honest ring holds a few thousand.
pub(crate) const PUSH_PULL_EVENTS_MAX: usize = 262_144;
/// Most filters in one query.
pub(crate) const FILTERS_MAX: usize = 1_024;
/// Most tags in the meta of one node; 512 bytes hold fewer.
pub(crate) const TAGS_MAX: usize = 512;
/// Most dimensions of a coordinate; Go uses 8.
pub(crate) const DIMENSIONS_MAX: usize = 64;
/// Most keys in one answer; 1024 bytes hold fewer.
pub(crate) const KEYS_MAX: usize = 4_096;

#[cfg(test)]
mod tests;
