//! A compact encoding for clusters without Go nodes: fields in a fixed order, integers as varints,
//! byte strings preceded by their length.

use std::borrow::Cow;

use super::{
    DIMENSIONS_MAX, FILTERS_MAX, KEYS_MAX, PUSH_PULL_EVENTS_MAX, PUSH_PULL_ITEMS_MAX,
    PUSH_PULL_SLOTS_MAX, TAGS_MAX, TransformDelegate, TransformError,
};
use crate::{
    msgpack::Bin,
    serf::{
        Coordinate, Filter, LamportTime, Message, Tags,
        message::{
            Join, KeyRequest, Keys, Leave, MemberRecord, NodeKeyResponse, PushPull, Query,
            QueryResponse, RecentEvent, Relay, UserEvent, UserEvents,
        },
    },
};

/// Length-prefixed encoding: about half the bytes of [`super::MsgpackTransform`], and not
/// understood by Go. All members of a cluster must use it.
#[derive(Clone, Copy, Debug, Default)]
pub struct LpeTransform;

type Result<T> = std::result::Result<T, TransformError>;

impl TransformDelegate for LpeTransform {
    fn encode_message(&self, message: &Message<'_>, out: &mut Vec<u8>) {
        match message {
            Message::Leave(Leave { ltime, node, prune }) => {
                out.push(0);
                (ltime, node, prune).put(out);
            }
            Message::Join(Join { ltime, node }) => {
                out.push(1);
                (ltime, node).put(out);
            }
            Message::PushPull(state) => {
                out.push(2);
                (&state.ltime, &state.status_ltimes, &state.left_members).put(out);
                (&state.event_ltime, &state.events, &state.query_ltime).put(out);
            }
            Message::UserEvent(UserEvent { ltime, name, payload, coalesce }) => {
                out.push(3);
                (ltime, name, payload).put(out);
                coalesce.put(out);
            }
            Message::Query(query) => {
                out.push(4);
                (&query.ltime, &query.id, &query.addr).put(out);
                (&query.port, &query.source_node, &query.filters).put(out);
                (&query.flags, &query.relay_factor, &query.timeout_ns).put(out);
                (&query.name, &query.payload).put(out);
            }
            Message::QueryResponse(QueryResponse { ltime, id, from, flags, payload }) => {
                out.push(5);
                (ltime, id, from).put(out);
                (flags, payload).put(out);
            }
            Message::ConflictResponse(record) => {
                out.push(6);
                record.put(out);
            }
            Message::KeyRequest(KeyRequest { key }) => {
                out.push(7);
                key.put(out);
            }
            Message::KeyResponse(NodeKeyResponse { result, message, keys, primary_key }) => {
                out.push(8);
                (result, message, primary_key).put(out);
                keys.0.put(out);
            }
            Message::Relay(Relay { dest_addr, dest_port, dest_name, message }) => {
                out.push(9);
                (dest_addr, dest_port, dest_name).put(out);
                out.extend_from_slice(message);
            }
        }
    }

    fn decode_message<'a>(&self, input: &'a [u8]) -> Result<Message<'a>> {
        let (&kind, mut rest) = input.split_first().ok_or(TransformError::Empty)?;
        let rest = &mut rest;
        Ok(match kind {
            0 => {
                let (ltime, node, prune) = Field::take(rest)?;
                Message::Leave(Leave { ltime, node, prune })
            }
            1 => {
                let (ltime, node) = Field::take(rest)?;
                Message::Join(Join { ltime, node })
            }
            2 => {
                let (ltime, status_ltimes, left_members) = Field::take(rest)?;
                let (event_ltime, events, query_ltime) = Field::take(rest)?;
                let state = PushPull {
                    ltime,
                    status_ltimes,
                    left_members,
                    event_ltime,
                    events,
                    query_ltime,
                };
                Message::PushPull(state)
            }
            3 => {
                let (ltime, name, payload) = Field::take(rest)?;
                let coalesce = Field::take(rest)?;
                Message::UserEvent(UserEvent { ltime, name, payload, coalesce })
            }
            4 => {
                let (ltime, id, addr) = Field::take(rest)?;
                let (port, source_node, filters) = Field::take(rest)?;
                let (flags, relay_factor, timeout_ns) = Field::take(rest)?;
                let (name, payload) = Field::take(rest)?;
                Message::Query(Query {
                    ltime,
                    id,
                    addr,
                    port,
                    source_node,
                    filters,
                    flags,
                    relay_factor,
                    timeout_ns,
                    name,
                    payload,
                })
            }
            5 => {
                let (ltime, id, from) = Field::take(rest)?;
                let (flags, payload) = Field::take(rest)?;
                Message::QueryResponse(QueryResponse { ltime, id, from, flags, payload })
            }
            6 => Message::ConflictResponse(Field::take(rest)?),
            7 => Message::KeyRequest(KeyRequest { key: Field::take(rest)? }),
            8 => {
                let (result, message, primary_key) = Field::take(rest)?;
                let keys = Keys(take_list(rest, KEYS_MAX)?);
                Message::KeyResponse(NodeKeyResponse { result, message, keys, primary_key })
            }
            9 => {
                let (dest_addr, dest_port, dest_name) = Field::take(rest)?;
                Message::Relay(Relay { dest_addr, dest_port, dest_name, message: rest })
            }
            kind => return Err(TransformError::UnknownType(kind)),
        })
    }

    fn encode_tags(&self, _version: u8, tags: &Tags, out: &mut Vec<u8>) {
        put_uint(tags.iter().len() as u64, out);
        for (name, value) in tags.iter() {
            (&name.as_bytes(), &value.as_bytes()).put(out);
        }
    }

    fn decode_tags(&self, meta: &[u8]) -> (Tags, Option<TransformError>) {
        if meta.is_empty() {
            return (Tags::default(), None);
        }
        let pairs: Result<Vec<(&[u8], &[u8])>> = Field::take(&mut { meta });
        let lossy = |bytes| String::from_utf8_lossy(bytes).into_owned();
        match pairs {
            Ok(pairs) => {
                let pairs = pairs.into_iter().map(|(name, value)| (lossy(name), lossy(value)));
                (Tags::from_pairs(pairs), None)
            }
            Err(error) => (Tags::default(), Some(error)),
        }
    }

    fn encode_filter(&self, filter: &Filter<'_>, out: &mut Vec<u8>) {
        match filter {
            Filter::Nodes(names) => {
                out.push(0);
                names.put(out);
            }
            Filter::Tag { tag, expr } => {
                out.push(1);
                (tag, expr).put(out);
            }
        }
    }

    fn decode_filter<'a>(&self, input: &'a [u8]) -> Result<Filter<'a>> {
        let (&kind, mut rest) = input.split_first().ok_or(TransformError::Empty)?;
        Ok(match kind {
            0 => Filter::Nodes(Field::take(&mut rest)?),
            1 => {
                let (tag, expr) = Field::take(&mut rest)?;
                Filter::Tag { tag, expr }
            }
            kind => return Err(TransformError::UnknownType(kind)),
        })
    }

    fn encode_coordinate(&self, coordinate: &Coordinate, out: &mut Vec<u8>) {
        let Coordinate { vec, error, adjustment, height } = coordinate;
        out.push(COORDINATE_VERSION);
        vec.put(out);
        (error, adjustment, height).put(out);
    }

    fn decode_coordinate(&self, input: &[u8]) -> Result<Coordinate> {
        let (&version, mut rest) = input.split_first().ok_or(TransformError::Empty)?;
        if version != COORDINATE_VERSION {
            return Err(TransformError::Version(version));
        }
        let vec = Field::take(&mut rest)?;
        let (error, adjustment, height) = Field::take(&mut rest)?;
        Ok(Coordinate { vec, error, adjustment, height })
    }
}

/// A value that can be encoded.
trait Put {
    fn put(&self, out: &mut Vec<u8>);
}

/// A value that can be decoded. `take` leaves the remaining bytes in `input`.
trait Field<'a>: Sized {
    fn take(input: &mut &'a [u8]) -> Result<Self>;
}

fn put_uint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn take_uint(input: &mut &[u8]) -> Result<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let byte = take_byte(input)?;
        let bits = u64::from(byte & 0x7f);
        if bits << shift >> shift != bits {
            return Err(malformed("integer overflow"));
        }
        value |= bits << shift;
        if byte < 0x80 {
            return Ok(value);
        }
    }
    Err(malformed("integer overflow"))
}

fn take_byte(input: &mut &[u8]) -> Result<u8> {
    let (&byte, rest) = input.split_first().ok_or_else(|| malformed("unexpected end"))?;
    *input = rest;
    Ok(byte)
}

fn take_bytes<'a>(input: &mut &'a [u8]) -> Result<&'a [u8]> {
    let len = usize::try_from(take_uint(input)?).unwrap_or(usize::MAX);
    let split = input.split_at_checked(len);
    let (bytes, rest) = split.ok_or_else(|| malformed("unexpected end"))?;
    *input = rest;
    Ok(bytes)
}

/// Decodes a list of at most `max` items; memory grows with the items read, not with the stated
/// count.
fn take_list<'a, T: Field<'a>>(input: &mut &'a [u8], max: usize) -> Result<Vec<T>> {
    let len = usize::try_from(take_uint(input)?).unwrap_or(usize::MAX);
    if len > max {
        return Err(TransformError::TooMany(max));
    }
    let mut items = Vec::new();
    for _ in 0..len {
        items.push(T::take(input)?);
    }
    Ok(items)
}

fn malformed(what: &str) -> TransformError {
    TransformError::Malformed(what.to_owned())
}

impl<T: Put + ?Sized> Put for &T {
    fn put(&self, out: &mut Vec<u8>) {
        (**self).put(out);
    }
}

impl Put for [u8] {
    fn put(&self, out: &mut Vec<u8>) {
        put_uint(self.len() as u64, out);
        out.extend_from_slice(self);
    }
}

impl<'a> Field<'a> for &'a [u8] {
    fn take(input: &mut &'a [u8]) -> Result<Self> {
        take_bytes(input)
    }
}

macro_rules! unsigned {
    ($($ty:ident),*) => {$(
        impl Put for $ty {
            fn put(&self, out: &mut Vec<u8>) {
                put_uint(u64::from(*self), out);
            }
        }

        impl Field<'_> for $ty {
            fn take(input: &mut &[u8]) -> Result<Self> {
                Self::try_from(take_uint(input)?).map_err(|_| malformed("integer overflow"))
            }
        }
    )*};
}

unsigned!(u8, u16, u32, u64);

impl Put for bool {
    fn put(&self, out: &mut Vec<u8>) {
        out.push(u8::from(*self));
    }
}

impl Field<'_> for bool {
    fn take(input: &mut &[u8]) -> Result<Self> {
        match take_byte(input)? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(malformed("no bool")),
        }
    }
}

impl Put for i64 {
    fn put(&self, out: &mut Vec<u8>) {
        put_uint((self << 1 ^ self >> 63) as u64, out);
    }
}

impl Field<'_> for i64 {
    fn take(input: &mut &[u8]) -> Result<Self> {
        let value = take_uint(input)?;
        Ok((value >> 1) as i64 ^ -((value & 1) as i64))
    }
}

impl Put for f64 {
    fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.to_bits().to_be_bytes());
    }
}

impl Field<'_> for f64 {
    fn take(input: &mut &[u8]) -> Result<Self> {
        let split = input.split_first_chunk();
        let (bytes, rest) = split.ok_or_else(|| malformed("unexpected end"))?;
        *input = rest;
        Ok(Self::from_bits(u64::from_be_bytes(*bytes)))
    }
}

impl Put for LamportTime {
    fn put(&self, out: &mut Vec<u8>) {
        self.0.put(out);
    }
}

impl Field<'_> for LamportTime {
    fn take(input: &mut &[u8]) -> Result<Self> {
        u64::take(input).map(Self)
    }
}

impl Put for Bin<'_> {
    fn put(&self, out: &mut Vec<u8>) {
        self.0.as_deref().put(out);
    }
}

impl<'a> Field<'a> for Bin<'a> {
    fn take(input: &mut &'a [u8]) -> Result<Self> {
        Ok(Self(<Option<&[u8]> as Field>::take(input)?.map(Cow::Borrowed)))
    }
}

impl<T: Put> Put for Option<T> {
    fn put(&self, out: &mut Vec<u8>) {
        self.is_some().put(out);
        if let Some(value) = self {
            value.put(out);
        }
    }
}

impl<'a, T: Field<'a>> Field<'a> for Option<T> {
    fn take(input: &mut &'a [u8]) -> Result<Self> {
        if bool::take(input)? { T::take(input).map(Some) } else { Ok(None) }
    }
}

impl<T: Put> Put for Vec<T> {
    fn put(&self, out: &mut Vec<u8>) {
        put_uint(self.len() as u64, out);
        self.iter().for_each(|item| item.put(out));
    }
}

macro_rules! lists {
    ($($item:ty: $max:expr),* $(,)?) => {$(
        impl<'a> Field<'a> for Vec<$item> {
            fn take(input: &mut &'a [u8]) -> Result<Self> {
                take_list(input, $max)
            }
        }
    )*};
}

lists! {
    &'a [u8]: PUSH_PULL_ITEMS_MAX,
    (&'a [u8], LamportTime): PUSH_PULL_ITEMS_MAX,
    (&'a [u8], &'a [u8]): TAGS_MAX,
    Bin<'a>: FILTERS_MAX,
    f64: DIMENSIONS_MAX,
    RecentEvent<'a>: PUSH_PULL_EVENTS_MAX,
}

impl<'a> Field<'a> for Vec<Option<UserEvents<'a>>> {
    fn take(input: &mut &'a [u8]) -> Result<Self> {
        let len = usize::try_from(take_uint(input)?).unwrap_or(usize::MAX);
        if len > PUSH_PULL_SLOTS_MAX {
            return Err(TransformError::TooMany(PUSH_PULL_SLOTS_MAX));
        }
        let (mut slots, mut total) = (Self::new(), 0);
        for _ in 0..len {
            let slot = <Option<UserEvents<'_>> as Field>::take(input)?;
            total += slot.as_ref().map_or(0, |slot| slot.events.len());
            if total > PUSH_PULL_EVENTS_MAX {
                return Err(TransformError::TooMany(PUSH_PULL_EVENTS_MAX));
            }
            slots.push(slot);
        }
        Ok(slots)
    }
}

impl Put for UserEvents<'_> {
    fn put(&self, out: &mut Vec<u8>) {
        (&self.ltime, &self.events).put(out);
    }
}

impl<'a> Field<'a> for UserEvents<'a> {
    fn take(input: &mut &'a [u8]) -> Result<Self> {
        let (ltime, events) = Field::take(input)?;
        Ok(Self { ltime, events })
    }
}

impl Put for RecentEvent<'_> {
    fn put(&self, out: &mut Vec<u8>) {
        (&self.name, &self.payload).put(out);
    }
}

impl<'a> Field<'a> for RecentEvent<'a> {
    fn take(input: &mut &'a [u8]) -> Result<Self> {
        let (name, payload) = Field::take(input)?;
        Ok(Self { name, payload })
    }
}

impl Put for MemberRecord<'_> {
    fn put(&self, out: &mut Vec<u8>) {
        (&self.name, &self.addr, &self.port).put(out);
        (&self.tags, &self.status).put(out);
        (&self.protocol_min, &self.protocol_max, &self.protocol_cur).put(out);
        (&self.delegate_min, &self.delegate_max, &self.delegate_cur).put(out);
    }
}

impl<'a> Field<'a> for MemberRecord<'a> {
    fn take(input: &mut &'a [u8]) -> Result<Self> {
        let (name, addr, port) = Field::take(input)?;
        let (tags, status) = Field::take(input)?;
        let (protocol_min, protocol_max, protocol_cur) = Field::take(input)?;
        let (delegate_min, delegate_max, delegate_cur) = Field::take(input)?;
        Ok(Self {
            name,
            addr,
            port,
            tags,
            status,
            protocol_min,
            protocol_max,
            protocol_cur,
            delegate_min,
            delegate_max,
            delegate_cur,
        })
    }
}

impl<A: Put, B: Put> Put for (A, B) {
    fn put(&self, out: &mut Vec<u8>) {
        self.0.put(out);
        self.1.put(out);
    }
}

impl<'a, A: Field<'a>, B: Field<'a>> Field<'a> for (A, B) {
    fn take(input: &mut &'a [u8]) -> Result<Self> {
        Ok((A::take(input)?, B::take(input)?))
    }
}

impl<A: Put, B: Put, C: Put> Put for (A, B, C) {
    fn put(&self, out: &mut Vec<u8>) {
        self.0.put(out);
        self.1.put(out);
        self.2.put(out);
    }
}

impl<'a, A: Field<'a>, B: Field<'a>, C: Field<'a>> Field<'a> for (A, B, C) {
    fn take(input: &mut &'a [u8]) -> Result<Self> {
        Ok((A::take(input)?, B::take(input)?, C::take(input)?))
    }
}

/// First byte of a coordinate.
const COORDINATE_VERSION: u8 = 1;
