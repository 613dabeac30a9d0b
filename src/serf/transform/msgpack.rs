//! Go's encoding: a type byte and MessagePack.

use super::{
    DIMENSIONS_MAX, FILTERS_MAX, KEYS_MAX, PUSH_PULL_EVENTS_MAX, PUSH_PULL_ITEMS_MAX,
    PUSH_PULL_SLOTS_MAX, TAGS_MAX, TransformDelegate, TransformError,
};
use crate::{
    msgpack::{Bin, Error, Reader, Value, Writer, message},
    serf::{
        Coordinate, Filter, LamportTime, Message, Tags,
        message::{
            Join, KeyRequest, Keys, Leave, MemberRecord, NodeKeyResponse, PushPull, Query,
            QueryResponse, RecentEvent, Relay, UserEvent, UserEvents,
        },
    },
};

/// The encoding of Go's Serf: written as by its current release, read from any release.
#[derive(Clone, Copy, Debug, Default)]
pub struct MsgpackTransform;

impl TransformDelegate for MsgpackTransform {
    fn encode_message(&self, message: &Message<'_>, out: &mut Vec<u8>) {
        let (kind, value): (u8, &dyn Encode) = match message {
            Message::Leave(value) => (0, value),
            Message::Join(value) => (1, value),
            Message::PushPull(value) => (2, value),
            Message::UserEvent(value) => (3, value),
            Message::Query(value) => (4, value),
            Message::QueryResponse(value) => (5, value),
            Message::ConflictResponse(value) => (6, value),
            Message::KeyRequest(value) => (7, value),
            Message::KeyResponse(value) => (8, value),
            Message::Relay(value) => (9, value),
        };
        out.push(kind);
        value.write(&mut Writer::new(out));
        if let Message::Relay(relay) = message {
            out.extend_from_slice(relay.message);
        }
    }

    fn decode_message<'a>(&self, input: &'a [u8]) -> Result<Message<'a>, TransformError> {
        let (&kind, body) = input.split_first().ok_or(TransformError::Empty)?;
        let reader = &mut Reader::new(body);
        Ok(match kind {
            0 => Message::Leave(Value::decode(reader)?),
            1 => Message::Join(Value::decode(reader)?),
            2 => Message::PushPull(Value::decode(reader)?),
            3 => Message::UserEvent(Value::decode(reader)?),
            4 => Message::Query(Value::decode(reader)?),
            5 => Message::QueryResponse(Value::decode(reader)?),
            6 => Message::ConflictResponse(Value::decode(reader)?),
            7 => Message::KeyRequest(Value::decode(reader)?),
            8 => Message::KeyResponse(Value::decode(reader)?),
            9 => {
                let mut relay = Relay::decode(reader)?;
                relay.message = reader.rest();
                Message::Relay(relay)
            }
            kind => return Err(TransformError::UnknownType(kind)),
        })
    }

    // serf/serf.go: encodeTags.
    fn encode_tags(&self, version: u8, tags: &Tags, out: &mut Vec<u8>) {
        if version < 3 {
            out.extend_from_slice(tags.get("role").unwrap_or_default().as_bytes());
            return;
        }
        out.push(TAGS_MAGIC);
        let mut writer = Writer::new(out);
        writer.map(tags.iter().len());
        for (name, value) in tags.iter() {
            writer.str(name);
            writer.str(value);
        }
    }

    // serf/serf.go: decodeTags.
    fn decode_tags(&self, meta: &[u8]) -> (Tags, Option<TransformError>) {
        let body = match meta.split_first() {
            Some((&TAGS_MAGIC, body)) => body,
            Some(_) | None => {
                let role = String::from_utf8_lossy(meta).into_owned();
                return (Tags::from_pairs([("role".to_owned(), role)]), None);
            }
        };
        let mut tags = Vec::new();
        let result = Reader::new(body).map(|reader, name| {
            let value = reader.str()?;
            if tags.len() == TAGS_MAX {
                return Err(Error::TooMany);
            }
            tags.push((lossy(name), lossy(value)));
            Ok(())
        });
        (Tags::from_pairs(tags), result.err().map(TransformError::from))
    }

    fn encode_filter(&self, filter: &Filter<'_>, out: &mut Vec<u8>) {
        match filter {
            Filter::Nodes(names) => {
                out.push(0);
                let mut writer = Writer::new(out);
                writer.array(names.len());
                names.iter().for_each(|name| writer.str(name));
            }
            Filter::Tag { tag, expr } => {
                out.push(1);
                TagFilter { expr, tag }.encode(&mut Writer::new(out));
            }
        }
    }

    fn decode_filter<'a>(&self, input: &'a [u8]) -> Result<Filter<'a>, TransformError> {
        let (&kind, body) = input.split_first().ok_or(TransformError::Empty)?;
        let reader = &mut Reader::new(body);
        Ok(match kind {
            0 => Filter::Nodes(list(reader, PUSH_PULL_ITEMS_MAX, Reader::str)?),
            1 => {
                let TagFilter { expr, tag } = TagFilter::decode(reader)?;
                Filter::Tag { tag, expr }
            }
            kind => return Err(TransformError::UnknownType(kind)),
        })
    }

    fn encode_coordinate(&self, coordinate: &Coordinate, out: &mut Vec<u8>) {
        out.push(PING_VERSION);
        coordinate.encode(&mut Writer::new(out));
    }

    fn decode_coordinate(&self, input: &[u8]) -> Result<Coordinate, TransformError> {
        let (&version, body) = input.split_first().ok_or(TransformError::Empty)?;
        if version != PING_VERSION {
            return Err(TransformError::Version(version));
        }
        Ok(Coordinate::decode(&mut Reader::new(body))?)
    }
}

impl From<Error> for TransformError {
    fn from(error: Error) -> Self {
        Self::Malformed(error.to_string())
    }
}

/// [`Value::encode`] as an object-safe trait.
trait Encode {
    fn write(&self, writer: &mut Writer<'_>);
}

impl<'a, T: Value<'a>> Encode for T {
    fn write(&self, writer: &mut Writer<'_>) {
        self.encode(writer);
    }
}

#[derive(Default)]
struct TagFilter<'a> {
    expr: &'a [u8],
    tag: &'a [u8],
}

message! {
    impl<'a> TagFilter<'a> {
        wire: { expr: "Expr", tag: "Tag" },
        declared: ["Tag", "Expr"],
    }
}

message! {
    impl<'a> Leave<'a> {
        wire: { ltime: "LTime", node: "Node", prune: "Prune" },
        declared: ["LTime", "Node", "Prune"],
    }
}

message! {
    impl<'a> Join<'a> {
        wire: { ltime: "LTime", node: "Node" },
        declared: ["LTime", "Node"],
    }
}

message! {
    impl<'a> PushPull<'a> {
        wire: {
            event_ltime: "EventLTime",
            events: "Events",
            ltime: "LTime",
            left_members: "LeftMembers",
            query_ltime: "QueryLTime",
            status_ltimes: "StatusLTimes",
        },
        declared: [
            "LTime", "StatusLTimes", "LeftMembers", "EventLTime", "Events", "QueryLTime",
        ],
    }
}

message! {
    impl<'a> UserEvents<'a> {
        wire: { events: "Events", ltime: "LTime" },
        declared: ["LTime", "Events"],
    }
}

message! {
    impl<'a> RecentEvent<'a> {
        wire: { name: "Name", payload: "Payload" },
        declared: ["Name", "Payload"],
    }
}

message! {
    impl<'a> UserEvent<'a> {
        wire: { coalesce: "CC", ltime: "LTime", name: "Name", payload: "Payload" },
        declared: ["LTime", "Name", "Payload", "CC"],
    }
}

message! {
    impl<'a> Query<'a> {
        wire: {
            addr: "Addr",
            filters: "Filters",
            flags: "Flags",
            id: "ID",
            ltime: "LTime",
            name: "Name",
            payload: "Payload",
            port: "Port",
            relay_factor: "RelayFactor",
            source_node: "SourceNode",
            timeout_ns: "Timeout",
        },
        declared: [
            "LTime", "ID", "Addr", "Port", "SourceNode", "Filters", "Flags", "RelayFactor",
            "Timeout", "Name", "Payload",
        ],
    }
}

message! {
    impl<'a> QueryResponse<'a> {
        wire: { flags: "Flags", from: "From", id: "ID", ltime: "LTime", payload: "Payload" },
        declared: ["LTime", "ID", "From", "Flags", "Payload"],
    }
}

message! {
    impl<'a> MemberRecord<'a> {
        wire: {
            addr: "Addr",
            delegate_cur: "DelegateCur",
            delegate_max: "DelegateMax",
            delegate_min: "DelegateMin",
            name: "Name",
            port: "Port",
            protocol_cur: "ProtocolCur",
            protocol_max: "ProtocolMax",
            protocol_min: "ProtocolMin",
            status: "Status",
            tags: "Tags",
        },
        declared: [
            "Name", "Addr", "Port", "Tags", "Status", "ProtocolMin", "ProtocolMax",
            "ProtocolCur", "DelegateMin", "DelegateMax", "DelegateCur",
        ],
    }
}

message! {
    impl<'a> KeyRequest<'a> {
        wire: { key: "Key" },
        declared: ["Key"],
    }
}

message! {
    impl<'a> NodeKeyResponse<'a> {
        wire: { keys: "Keys", message: "Message", primary_key: "PrimaryKey", result: "Result" },
        declared: ["Result", "Message", "Keys", "PrimaryKey"],
    }
}

message! {
    impl<'a> Coordinate {
        wire: { adjustment: "Adjustment", error: "Error", height: "Height", vec: "Vec" },
        declared: ["Vec", "Error", "Adjustment", "Height"],
    }
}

// net.UDPAddr inside relayHeader.
#[derive(Default)]
struct UdpAddr<'a> {
    ip: Bin<'a>,
    port: i64,
    zone: &'a [u8],
}

message! {
    impl<'a> UdpAddr<'a> {
        wire: { ip: "IP", port: "Port", zone: "Zone" },
        declared: ["IP", "Port", "Zone"],
    }
}

#[derive(Default)]
struct RelayHeader<'a> {
    dest_addr: UdpAddr<'a>,
    dest_name: &'a [u8],
}

message! {
    impl<'a> RelayHeader<'a> {
        wire: { dest_addr: "DestAddr", dest_name: "DestName" },
        declared: ["DestAddr", "DestName"],
    }
}

impl<'a> Value<'a> for Relay<'a> {
    fn decode(reader: &mut Reader<'a>) -> Result<Self, Error> {
        let RelayHeader { dest_addr, dest_name } = RelayHeader::decode(reader)?;
        Ok(Self { dest_addr: dest_addr.ip, dest_port: dest_addr.port, dest_name, message: &[] })
    }

    fn encode(&self, writer: &mut Writer<'_>) {
        let ip = Bin(self.dest_addr.0.as_deref().map(std::borrow::Cow::Borrowed));
        let dest_addr = UdpAddr { ip, port: self.dest_port, zone: b"" };
        RelayHeader { dest_addr, dest_name: self.dest_name }.encode(writer);
    }
}

impl Value<'_> for LamportTime {
    #[inline]
    fn decode(reader: &mut Reader<'_>) -> Result<Self, Error> {
        reader.u64().map(Self)
    }

    #[inline]
    fn encode(&self, writer: &mut Writer<'_>) {
        writer.uint(self.0);
    }
}

impl<'a> Value<'a> for Vec<&'a [u8]> {
    fn decode(reader: &mut Reader<'a>) -> Result<Self, Error> {
        list(reader, PUSH_PULL_ITEMS_MAX, Reader::str)
    }

    fn encode(&self, writer: &mut Writer<'_>) {
        writer.array(self.len());
        self.iter().for_each(|item| writer.str(item));
    }
}

impl<'a> Value<'a> for Keys<'a> {
    fn decode(reader: &mut Reader<'a>) -> Result<Self, Error> {
        list(reader, KEYS_MAX, Reader::str).map(Self)
    }

    fn encode(&self, writer: &mut Writer<'_>) {
        if self.0.is_empty() {
            return writer.nil();
        }
        self.0.encode(writer);
    }
}

impl<'a> Value<'a> for Vec<Bin<'a>> {
    fn decode(reader: &mut Reader<'a>) -> Result<Self, Error> {
        list(reader, FILTERS_MAX, Reader::bytes)
    }

    fn encode(&self, writer: &mut Writer<'_>) {
        if self.is_empty() {
            return writer.nil();
        }
        writer.array(self.len());
        self.iter().for_each(|item| item.encode(writer));
    }
}

impl Value<'_> for Vec<f64> {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, Error> {
        list(reader, DIMENSIONS_MAX, Reader::f64)
    }

    fn encode(&self, writer: &mut Writer<'_>) {
        writer.array(self.len());
        self.iter().for_each(|item| writer.f64(*item));
    }
}

impl<'a> Value<'a> for Vec<Option<UserEvents<'a>>> {
    fn decode(reader: &mut Reader<'a>) -> Result<Self, Error> {
        let mut total = 0;
        list(reader, PUSH_PULL_SLOTS_MAX, |reader| {
            let slot: Option<UserEvents<'_>> = Value::decode(reader)?;
            total += slot.as_ref().map_or(0, |slot| slot.events.len());
            if total > PUSH_PULL_EVENTS_MAX { Err(Error::TooMany) } else { Ok(slot) }
        })
    }

    fn encode(&self, writer: &mut Writer<'_>) {
        writer.array(self.len());
        self.iter().for_each(|item| item.encode(writer));
    }
}

impl<'a> Value<'a> for Vec<RecentEvent<'a>> {
    fn decode(reader: &mut Reader<'a>) -> Result<Self, Error> {
        list(reader, PUSH_PULL_EVENTS_MAX, Value::decode)
    }

    fn encode(&self, writer: &mut Writer<'_>) {
        writer.array(self.len());
        self.iter().for_each(|item| item.encode(writer));
    }
}

impl<'a> Value<'a> for Vec<(&'a [u8], LamportTime)> {
    fn decode(reader: &mut Reader<'a>) -> Result<Self, Error> {
        let mut pairs = Self::new();
        reader.map(|reader, name| {
            if pairs.len() == PUSH_PULL_ITEMS_MAX {
                return Err(Error::TooMany);
            }
            pairs.push((name, LamportTime(reader.u64()?)));
            Ok(())
        })?;
        Ok(pairs)
    }

    fn encode(&self, writer: &mut Writer<'_>) {
        writer.map(self.len());
        for (name, ltime) in self {
            writer.str(name);
            writer.uint(ltime.0);
        }
    }
}

impl<'a> Value<'a> for Vec<(&'a [u8], &'a [u8])> {
    fn decode(reader: &mut Reader<'a>) -> Result<Self, Error> {
        let mut pairs = Self::new();
        reader.map(|reader, name| {
            if pairs.len() == TAGS_MAX {
                return Err(Error::TooMany);
            }
            pairs.push((name, reader.str()?));
            Ok(())
        })?;
        Ok(pairs)
    }

    fn encode(&self, writer: &mut Writer<'_>) {
        writer.map(self.len());
        for (name, value) in self {
            writer.str(name);
            writer.str(value);
        }
    }
}

/// Decodes a list of at most `max` items; memory grows with the items read, not with the stated
/// count.
fn list<'a, T>(
    reader: &mut Reader<'a>,
    max: usize,
    mut item: impl FnMut(&mut Reader<'a>) -> Result<T, Error>,
) -> Result<Vec<T>, Error> {
    let mut items = Vec::new();
    reader.array(|reader| {
        if items.len() == max {
            return Err(Error::TooMany);
        }
        items.push(item(reader)?);
        Ok(())
    })?;
    Ok(items)
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// First byte of a meta that holds a map. Go: `tagMagicByte`.
const TAGS_MAGIC: u8 = 255;
/// Go: `PingVersion`.
const PING_VERSION: u8 = 1;
