//! Validates every Serf message before any of it is stored, forwarded, logged or delivered.
//!
//! Each limit is above what the implementation of any real sender can produce, so that only forged
//! messages exceed it. It applies on every path: packets, streams, push/pulls, relayed messages,
//! and the payloads of internal queries and their answers.

use super::{
    Message, TransformDelegate, TransformError,
    message::{self, kind},
};
use crate::{base::error_texts, swim::check_name, wire::limits::META_BYTES_MAX};

/// Why a message was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// It cannot be decoded.
    Malformed(TransformError),
    /// The message, its name or its payload is larger than any sender makes them.
    Size,
    /// A node name that is invalid.
    Node(&'static str),
    /// An address that does not have 0, 4 or 16 bytes.
    Address,
    /// Too many filters.
    Filters,
}

error_texts! {
    Refusal {
        Self::Malformed(error) => "{error}";
        Self::Size => "larger than any sender makes it";
        Self::Node(fault) => "name of a node {fault}";
        Self::Address => "address is not of 0, 4 or 16 bytes";
        Self::Filters => "more than {FILTERS_MAX} filters";
    }
}

/// Decodes and validates a message.
pub(crate) fn read<'a>(
    transform: &dyn TransformDelegate,
    raw: &'a [u8],
) -> Result<Message<'a>, Refusal> {
    let bytes_max = match raw.first() {
        Some(&kind::PUSH_PULL) => usize::MAX, // bounded by its stream
        Some(&kind::USER_EVENT) => USER_EVENT_BYTES_MAX,
        Some(_) | None => MESSAGE_BYTES_MAX,
    };
    if raw.len() > bytes_max {
        return Err(Refusal::Size);
    }
    let message = transform.decode_message(raw).map_err(Refusal::Malformed)?;
    match &message {
        Message::Leave(leave) => node(leave.node)?,
        Message::Join(join) => node(join.node)?,
        // Its parts are validated one by one when they are merged, so that an invalid one does not
        // affect the others.
        Message::PushPull(_) => {}
        Message::UserEvent(event) => check_event(event.name, event.payload.as_slice())?,
        Message::Query(query) => check_query(query)?,
        Message::QueryResponse(response) => node(response.from)?,
        Message::ConflictResponse(record) => check_record(record.as_ref())?,
        Message::KeyRequest(request) => bytes_at_most(request.key.as_slice(), KEY_TEXT_BYTES_MAX)?,
        Message::KeyResponse(response) => check_key_response(response)?,
        Message::Relay(relay) => {
            node(relay.dest_name)?;
            address(relay.dest_addr.as_slice())?;
        }
    }
    Ok(message)
}

/// A node name as text; empty if the message has none.
pub(crate) fn node_name(name: &[u8]) -> Result<&str, Refusal> {
    if name.is_empty() { Ok("") } else { check_name(name).map_err(Refusal::Node) }
}

/// Validates an event, received alone or in a peer's ring.
pub(crate) fn check_event(name: &[u8], payload: &[u8]) -> Result<(), Refusal> {
    if name.len() + payload.len() > USER_EVENT_BYTES_MAX {
        return Err(Refusal::Size);
    }
    Ok(())
}

fn check_query(query: &message::Query<'_>) -> Result<(), Refusal> {
    node(query.source_node)?;
    address(query.addr.as_slice())?;
    bytes_at_most(query.name, QUERY_NAME_BYTES_MAX)?;
    if query.filters.len() > FILTERS_MAX {
        return Err(Refusal::Filters);
    }
    Ok(())
}

fn check_record(record: Option<&message::MemberRecord<'_>>) -> Result<(), Refusal> {
    let Some(record) = record else { return Ok(()) };
    node(record.name)?;
    address(record.addr.as_slice())?;
    let tags = record.tags.iter().map(|(name, value)| name.len() + value.len());
    if tags.sum::<usize>() > META_BYTES_MAX {
        return Err(Refusal::Size);
    }
    Ok(())
}

fn check_key_response(response: &message::NodeKeyResponse<'_>) -> Result<(), Refusal> {
    bytes_at_most(response.message, KEY_MESSAGE_BYTES_MAX)?;
    let mut keys = response.keys.0.iter().chain([&response.primary_key]);
    keys.try_for_each(|key| bytes_at_most(key, KEY_TEXT_BYTES_MAX))
}

fn node(name: &[u8]) -> Result<(), Refusal> {
    node_name(name).map(drop)
}

fn address(addr: &[u8]) -> Result<(), Refusal> {
    if matches!(addr.len(), 0 | 4 | 16) { Ok(()) } else { Err(Refusal::Address) }
}

fn bytes_at_most(bytes: &[u8], max: usize) -> Result<(), Refusal> {
    if bytes.len() > max { Err(Refusal::Size) } else { Ok(()) }
}

/// Largest user event that can be configured. Go: `UserEventSizeLimit`.
pub(crate) const USER_EVENT_BYTES_MAX: usize = 9 * 1024;
/// Largest message other than push/pulls and events: the content of a datagram. Go's defaults are
/// 1024 bytes for queries and answers, which the sender may raise.
const MESSAGE_BYTES_MAX: usize = 65_507;
/// Longest name of a query.
const QUERY_NAME_BYTES_MAX: usize = USER_EVENT_BYTES_MAX;
/// Most filters in one query; 1024 bytes hold fewer.
pub(crate) const FILTERS_MAX: usize = 64;
/// Longest base64 key in an answer, or key in a request (a request with a wrong key is answered).
const KEY_TEXT_BYTES_MAX: usize = 1_024;
/// Longest text in an answer to a key query.
const KEY_MESSAGE_BYTES_MAX: usize = 4_096;
