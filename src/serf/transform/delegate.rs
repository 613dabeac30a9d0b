//! What a serialization must be able to do.

use super::TransformError;
use crate::serf::{Coordinate, Filter, Message, Tags};

/// Turns Serf's messages, tags, filters and coordinates into bytes and back.
///
/// All members of a cluster must use the same one;
/// [`MsgpackTransform`](super::MsgpackTransform) is what Go speaks. The type byte that begins a
/// message is part of the encoding, but a transform must keep it first: `0` to `9` in the order of
/// [`Message`].
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
