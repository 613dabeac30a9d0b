//! Describes the contents of messages under the names of their fields.

use std::borrow::Cow;

use super::{
    field::{Field, Fields, Key},
    record::Kind,
};
use crate::{
    base::go_base64,
    msgpack::{Bin, Reader},
    serf::{
        Coordinate, Filter, InternalQuery, LamportTime, Message as SerfMessage, MsgpackTransform,
        TransformDelegate as _, message,
    },
    wire::{Keyring, Message, NodeState, PushPull},
};

/// A description of a message that contains no other message.
pub(super) struct Described<'a> {
    pub(super) kind: Kind,
    pub(super) fields: Fields<'a>,
    pub(super) problem: Option<String>,
}

impl<'a> Described<'a> {
    fn new(kind: Kind, fields: Fields<'a>) -> Self {
        Self { kind, fields, problem: None }
    }

    /// The description of data that could not be decoded.
    pub(super) fn failed(kind: Kind, problem: String) -> Self {
        Self { kind, fields: Fields::default(), problem: Some(problem) }
    }
}

/// Describes one of memberlist's messages; `body` follows its type byte. `None` if it contains
/// other messages.
pub(super) fn memberlist<'a>(message: Message<'a>, body: &'a [u8]) -> Option<Described<'a>> {
    let fields = Fields::default();
    let uint = |value: u32| Field::Uint(value.into());
    let port = |value: u16| Field::Uint(value.into());
    let (kind, fields) = match message {
        Message::Ping(ping) => (
            Kind::Ping,
            fields
                .with("seq_no", uint(ping.seq_no.0))
                .with("node", Field::Node(ping.node))
                .with("source_node", Field::Node(ping.source_node))
                .with("source_addr", Field::address(ping.source_addr.as_slice()))
                .with("source_port", port(ping.source_port)),
        ),
        Message::IndirectPing(ping) => (
            Kind::IndirectPing,
            fields
                .with("seq_no", uint(ping.seq_no.0))
                .with("node", Field::Node(ping.node))
                .with("target", Field::address(ping.target.as_slice()))
                .with("port", port(ping.port))
                .with("nack", Field::Bool(ping.nack))
                .with("source_node", Field::Node(ping.source_node))
                .with("source_addr", Field::address(ping.source_addr.as_slice()))
                .with("source_port", port(ping.source_port)),
        ),
        Message::Ack(ack) => {
            let payload = match MsgpackTransform.decode_coordinate(ack.payload.as_slice()) {
                Ok(coordinate) => coordinate_fields(coordinate),
                Err(_) => bytes(ack.payload),
            };
            (Kind::Ack, fields.with("seq_no", uint(ack.seq_no.0)).with("payload", payload))
        }
        Message::Nack(nack) => (Kind::Nack, fields.with("seq_no", uint(nack.seq_no.0))),
        Message::Suspect(suspect) => (
            Kind::Suspect,
            fields
                .with("node", Field::Node(suspect.node))
                .with("incarnation", uint(suspect.incarnation.0))
                .with("from", Field::Node(suspect.from)),
        ),
        Message::Dead(dead) => (
            Kind::Dead,
            fields
                .with("node", Field::Node(dead.node))
                .with("incarnation", uint(dead.incarnation.0))
                .with("from", Field::Node(dead.from)),
        ),
        Message::Alive(alive) => (
            Kind::Alive,
            fields
                .with("node", Field::Node(alive.node))
                .with("incarnation", uint(alive.incarnation.0))
                .with("addr", Field::address(alive.addr.as_slice()))
                .with("port", port(alive.port))
                .with("tags", tags(alive.meta.as_slice()))
                .with("vsn", versions(alive.vsn.as_slice())),
        ),
        Message::Compound(_) | Message::User(_) | Message::Compress(_) => return None,
    };
    let mut described = Described::new(kind, fields);
    described.problem = unknown(&described.fields, body);
    Some(described)
}

/// Describes a message of the layer above; if it is not Serf's, as a user message.
pub(super) fn user<'a>(message: &'a [u8], keyring: &Keyring) -> Described<'a> {
    match serf(message, keyring) {
        Ok(described) => described,
        Err(reason) => Described::new(
            Kind::User,
            Fields::default()
                .with("payload", Field::Bytes(message.into()))
                .with("reason", Field::Text(reason)),
        ),
    }
}

/// Describes one of Serf's messages, starting with the type byte.
///
/// # Errors
/// The input is not a message.
pub(super) fn serf<'a>(input: &'a [u8], keyring: &Keyring) -> Result<Described<'a>, String> {
    let decoded = MsgpackTransform.decode_message(input);
    let message = decoded.map_err(|error| format!("not a message of Serf: {error}"))?;
    let is_relay = matches!(message, SerfMessage::Relay(_));
    let mut described = serf_message(message, keyring);
    if described.problem.is_none() {
        let body = input.get(1..).unwrap_or_default();
        let len = body.len() - if is_relay { relayed(body) } else { 0 };
        described.problem = unknown(&described.fields, body.get(..len).unwrap_or_default());
    }
    Ok(described)
}

fn serf_message<'a>(message: SerfMessage<'a>, keyring: &Keyring) -> Described<'a> {
    let fields = Fields::default();
    let time = |ltime: LamportTime| Field::Uint(ltime.0);
    let (kind, fields) = match message {
        SerfMessage::Leave(leave) => (
            Kind::Leave,
            fields
                .with("node", Field::Node(leave.node))
                .with("ltime", time(leave.ltime))
                .with("prune", Field::Bool(leave.prune)),
        ),
        SerfMessage::Join(join) => (
            Kind::Join,
            fields.with("node", Field::Node(join.node)).with("ltime", time(join.ltime)),
        ),
        SerfMessage::PushPull(state) => (
            Kind::SerfPushPull,
            fields
                .with("ltime", time(state.ltime))
                .with("event_ltime", time(state.event_ltime))
                .with("query_ltime", time(state.query_ltime))
                .with("status_ltimes", Field::Times(state.status_ltimes))
                .with("left_members", Field::Nodes(state.left_members))
                .with("events", Field::Events(state.events)),
        ),
        SerfMessage::UserEvent(event) => (
            Kind::UserEvent,
            fields
                .with("name", Field::Name(event.name))
                .with("ltime", time(event.ltime))
                .with("coalesce", Field::Bool(event.coalesce))
                .with("payload", bytes(event.payload)),
        ),
        SerfMessage::Query(query) => (Kind::Query, query_fields(query, keyring)),
        SerfMessage::QueryResponse(response) => {
            (Kind::QueryResponse, response_fields(response, keyring))
        }
        SerfMessage::ConflictResponse(record) => {
            (Kind::ConflictResponse, record.map(member_fields).unwrap_or_default())
        }
        SerfMessage::KeyRequest(request) => {
            (Kind::KeyRequest, fields.with("key", key(request.key.as_slice(), keyring)))
        }
        SerfMessage::KeyResponse(response) => (Kind::KeyResponse, keys_fields(&response, keyring)),
        SerfMessage::Relay(relay) => return relay_of(&relay, keyring),
    };
    Described::new(kind, fields)
}

fn keys_fields<'a>(response: &message::NodeKeyResponse<'a>, keyring: &Keyring) -> Fields<'a> {
    let keys = response.keys.0.iter().map(|text| key_text(text, keyring)).collect();
    Fields::default()
        .with("result", Field::Bool(response.result))
        .with("message", Field::Bytes(response.message.into()))
        .with("keys", Field::List(keys))
        .with("primary_key", key_text(response.primary_key, keyring))
}

fn relay_of<'a>(relay: &message::Relay<'a>, keyring: &Keyring) -> Described<'a> {
    let address = Fields::default()
        .with("ip", Field::address(relay.dest_addr.as_slice()))
        .with("port", Field::Int(relay.dest_port));
    let inner = match relay.message.first() {
        // Nested relays would need a stack level each; no implementation sends them.
        Some(&RELAY) => Err("a relay in a relay".to_owned()),
        _ => serf(relay.message, keyring),
    };
    let (message, problem) = match inner {
        Ok(inner) => (nested(inner.kind, inner.fields), inner.problem),
        Err(error) => (Field::Bytes(relay.message.into()), Some(error)),
    };
    let fields = Fields::default()
        .with("dest_name", Field::Node(relay.dest_name))
        .with("dest_addr", Field::Object(address))
        .with("message", message);
    Described { kind: Kind::Relay, fields, problem }
}

fn query_fields<'a>(query: message::Query<'a>, keyring: &Keyring) -> Fields<'a> {
    let internal = InternalQuery::parse(query.name).and_then(Result::ok);
    let payload = match (internal, query.payload) {
        (Some(InternalQuery::Key(_)), Bin(Some(Cow::Borrowed(payload)))) => {
            key_payload(payload, keyring)
        }
        (Some(InternalQuery::Key(_)), Bin(Some(_))) => Field::Text("not shown".to_owned()),
        (Some(InternalQuery::Conflict), Bin(Some(Cow::Borrowed(name)))) => Field::Node(name),
        (_, payload) => bytes(payload),
    };
    Fields::default()
        .with("name", Field::Name(query.name))
        .with("ltime", Field::Uint(query.ltime.0))
        .with("id", Field::Uint(query.id.into()))
        .with("source_node", Field::Node(query.source_node))
        .with("addr", Field::address(query.addr.as_slice()))
        .with("port", Field::Uint(query.port.into()))
        .with("filters", Field::List(query.filters.into_iter().map(filter).collect()))
        .with("flags", Field::Uint(query.flags.into()))
        .with("relay_factor", Field::Uint(query.relay_factor.into()))
        .with("timeout_ns", Field::Int(query.timeout_ns))
        .with("payload", payload)
}

fn response_fields<'a>(response: message::QueryResponse<'a>, keyring: &Keyring) -> Fields<'a> {
    let payload = match response.payload {
        // Go also examines only the first byte: an application's answer may begin with the same
        // one.
        Bin(Some(Cow::Borrowed(payload @ [CONFLICT_RESPONSE | KEY_RESPONSE, _, ..]))) => {
            match serf(payload, keyring) {
                Ok(inner) => nested(inner.kind, inner.fields),
                Err(_) => Field::Bytes(payload.into()),
            }
        }
        payload => bytes(payload),
    };
    Fields::default()
        .with("from", Field::Node(response.from))
        .with("ltime", Field::Uint(response.ltime.0))
        .with("id", Field::Uint(response.id.into()))
        .with("flags", Field::Uint(response.flags.into()))
        .with("payload", payload)
}

fn member_fields(member: message::MemberRecord<'_>) -> Fields<'_> {
    let pairs = member.tags.iter().map(|(name, value)| {
        (String::from_utf8_lossy(name).into_owned(), String::from_utf8_lossy(value).into_owned())
    });
    let tags = Field::Tags(crate::serf::Tags::from_pairs(pairs));
    let uint = |value: u8| Field::Uint(value.into());
    Fields::default()
        .with("name", Field::Node(member.name))
        .with("addr", Field::address(member.addr.as_slice()))
        .with("port", Field::Uint(member.port.into()))
        .with("tags", tags)
        .with("status", Field::Int(member.status))
        .with("protocol_min", uint(member.protocol_min))
        .with("protocol_max", uint(member.protocol_max))
        .with("protocol_cur", uint(member.protocol_cur))
        .with("delegate_min", uint(member.delegate_min))
        .with("delegate_max", uint(member.delegate_max))
        .with("delegate_cur", uint(member.delegate_cur))
}

/// Describes the payload of a key query. An invalid one may still contain a key.
fn key_payload<'a>(payload: &'a [u8], keyring: &Keyring) -> Field<'a> {
    match payload {
        [] => Field::Bytes(payload.into()),
        payload => match serf(payload, keyring) {
            Ok(inner) if inner.kind == Kind::KeyRequest => nested(inner.kind, inner.fields),
            Ok(_) | Err(_) => Field::Text("not shown".to_owned()),
        },
    }
}

fn nested(kind: Kind, fields: Fields<'_>) -> Field<'_> {
    let mut all = Fields::default().with("type", Field::Text(kind.name().to_owned()));
    all.0.extend(fields.0);
    Field::Object(all)
}

fn filter(raw: Bin<'_>) -> Field<'_> {
    let Bin(Some(Cow::Borrowed(raw))) = raw else { return bytes(raw) };
    let fields = Fields::default();
    match MsgpackTransform.decode_filter(raw) {
        Ok(Filter::Nodes(nodes)) => Field::Object(fields.with("nodes", Field::Nodes(nodes))),
        Ok(Filter::Tag { tag, expr }) => Field::Object(
            fields.with("tag", Field::Bytes(tag.into())).with("expr", Field::Bytes(expr.into())),
        ),
        Err(_) => Field::Bytes(raw.into()),
    }
}

/// The fields of a push/pull row.
pub(super) fn row<'a>(row: &'a NodeState<'a>) -> Fields<'a> {
    Fields::default()
        .with("name", Field::Node(row.name))
        .with("addr", Field::address(row.addr.as_slice()))
        .with("port", Field::Uint(row.port.into()))
        .with("state", Field::Int(row.state))
        .with("incarnation", Field::Uint(row.incarnation.0.into()))
        .with("tags", tags(row.meta.as_slice()))
        .with("vsn", versions(row.vsn.as_slice()))
}

/// Describes a push/pull and its user state.
pub(super) fn push_pull<'a>(state: &'a PushPull, keyring: &Keyring) -> Described<'a> {
    let mut fields = Fields::default()
        .with("join", Field::Bool(state.join))
        .with("nodes", Field::Uint(state.row_count as u64))
        .with("rows", Field::Rows(state.clone()));
    let mut problem = None;
    if !state.user_state.is_empty() {
        let value = match serf(&state.user_state, keyring) {
            Ok(inner) => {
                problem = inner.problem;
                nested(inner.kind, inner.fields)
            }
            Err(error) => {
                problem = Some(error);
                Field::Bytes((&*state.user_state).into())
            }
        };
        fields = fields.with("user_state", value);
    }
    Described { kind: Kind::PushPull, fields, problem }
}

/// Describes an error reply; `body` is its MessagePack value.
pub(super) fn error_reply(text: String) -> Described<'static> {
    let text = Field::Bytes(text.into_bytes().into());
    Described::new(Kind::Error, Fields::default().with("error", text))
}

fn tags(meta: &[u8]) -> Field<'static> {
    match meta {
        [] => Field::Tags(crate::serf::Tags::default()),
        meta => match MsgpackTransform.decode_tags(meta) {
            (tags, None) => Field::Tags(tags),
            // Not Serf's: the meta of another program on top of memberlist.
            (_, Some(_)) => Field::Bytes(meta.to_vec().into()),
        },
    }
}

fn versions(vsn: &[u8]) -> Field<'static> {
    Field::List(vsn.iter().map(|&part| Field::Uint(part.into())).collect())
}

fn coordinate_fields(coordinate: Coordinate) -> Field<'static> {
    let vec = coordinate.vec.into_iter().map(Field::Float).collect();
    Field::Object(
        Fields::default()
            .with("vec", Field::List(vec))
            .with("error", Field::Float(coordinate.error))
            .with("adjustment", Field::Float(coordinate.adjustment))
            .with("height", Field::Float(coordinate.height)),
    )
}

fn bytes(bin: Bin<'_>) -> Field<'_> {
    Field::Bytes(bin.0.unwrap_or_default())
}

fn key(bytes: &[u8], keyring: &Keyring) -> Field<'static> {
    let number = keyring.keys().position(|known| known == bytes).map(|at| at + 1);
    Field::Key(Key { bytes: bytes.len(), number })
}

fn key_text(text: &[u8], keyring: &Keyring) -> Field<'static> {
    let decoded = std::str::from_utf8(text).ok().and_then(|text| go_base64::decode(text).ok());
    match decoded {
        Some(bytes) => key(&bytes, keyring),
        None => Field::Key(Key { bytes: text.len(), number: None }),
    }
}

/// Length of the message after a relay's header.
fn relayed(body: &[u8]) -> usize {
    let mut reader = Reader::new(body);
    if reader.skip().is_ok() { reader.rest().len() } else { 0 }
}

/// Describes unknown contents of a message: additional fields, bytes after it.
fn unknown(fields: &Fields<'_>, body: &[u8]) -> Option<String> {
    let mut reader = Reader::new(body);
    let mut others = Vec::new();
    if reader.peek().is_some_and(|first| first & 0xf0 == 0x80 || matches!(first, 0xde | 0xdf)) {
        let known = |key: &[u8]| fields.0.iter().any(|(name, _)| is_name_of(name, key));
        let walked = reader.map(|reader, key| {
            if !known(key) && others.len() < UNKNOWN_SHOWN_MAX {
                others.push(String::from_utf8_lossy(key).into_owned());
            }
            reader.skip()
        });
        walked.ok()?;
    } else {
        reader.skip().ok()?;
    }
    match (others.is_empty(), reader.rest().len()) {
        (true, 0) => None,
        (true, len) => Some(format!("{len} bytes after the message")),
        (false, 0) => Some(format!("unknown fields: {}", others.join(", "))),
        (false, len) => {
            Some(format!("unknown fields: {}; {len} bytes after them", others.join(", ")))
        }
    }
}

/// Whether Go's key corresponds to our field name: equal letters, ignoring underscores.
fn is_name_of(name: &str, key: &[u8]) -> bool {
    let renamed = match key {
        b"CC" => "coalesce",
        b"Meta" => "tags",
        b"Timeout" => "timeout_ns",
        _ => "",
    };
    let letters = name.bytes().filter(|&byte| byte != b'_');
    name == renamed || letters.eq(key.iter().map(u8::to_ascii_lowercase))
}

const CONFLICT_RESPONSE: u8 = 6;
const KEY_RESPONSE: u8 = 8;
const RELAY: u8 = 9;
/// Most names of unknown fields that are shown.
const UNKNOWN_SHOWN_MAX: usize = 8;
