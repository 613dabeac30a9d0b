//! The interface of a serialization.

use super::TransformError;
use crate::serf::{Coordinate, Filter, Message, Tags};

/// Serializes Serf's messages, tags, filters and coordinates.
///
/// All members of a cluster must use the same transform;
/// [`MsgpackTransform`](super::MsgpackTransform) is Go's. The type byte of a message is part of the
/// encoding, but must remain the first byte: `0` to `9` in the order of [`Message`].
pub trait TransformDelegate: Send + Sync {
    /// Appends `message`, starting with the type byte.
    fn encode_message(&self, message: &Message<'_>, out: &mut Vec<u8>);

    /// Decodes one message. Must use bounded memory for any input.
    ///
    /// # Errors
    /// The input is not a message.
    fn decode_message<'a>(&self, input: &'a [u8]) -> Result<Message<'a>, TransformError>;

    /// Appends the node meta for `tags`, in the form of protocol `version` (2 to 5).
    fn encode_tags(&self, version: u8, tags: &Tags, out: &mut Vec<u8>);

    /// Decodes node meta of any version. Never fails: unreadable entries are skipped and reported
    /// in the second value.
    fn decode_tags(&self, meta: &[u8]) -> (Tags, Option<TransformError>);

    /// Appends one filter of a query.
    fn encode_filter(&self, filter: &Filter<'_>, out: &mut Vec<u8>);

    /// Decodes one filter.
    ///
    /// # Errors
    /// An unknown kind or a malformed body: such a filter matches no node.
    fn decode_filter<'a>(&self, input: &'a [u8]) -> Result<Filter<'a>, TransformError>;

    /// Appends a coordinate as the payload of an ack.
    fn encode_coordinate(&self, coordinate: &Coordinate, out: &mut Vec<u8>);

    /// Decodes the payload of an ack, which is not empty. The coordinate is not validated.
    ///
    /// # Errors
    /// Another version, or a malformed payload.
    fn decode_coordinate(&self, input: &[u8]) -> Result<Coordinate, TransformError>;
}
