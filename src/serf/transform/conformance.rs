//! A conformance check for authors of transforms.

use std::borrow::Cow;

use super::{TransformDelegate, TransformError};
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

/// Checks that a transform decodes what it encoded, keeps the type byte first, and refuses
/// truncated messages and unknown types. [`super::MsgpackTransform`] and [`super::LpeTransform`]
/// pass it; call it in a test of your own transform.
///
/// It does not check how much time or memory hostile input costs: use fuzzing for that.
///
/// # Panics
/// If the transform does not conform; the text says where.
pub fn assert_transform_conforms(transform: &dyn TransformDelegate) {
    for message in messages() {
        assert_message_survives(transform, &message);
    }
    for filter in [
        Filter::Nodes(vec![]),
        Filter::Nodes(vec![b"a", b"", &[b'x'; 300]]),
        Filter::Tag { tag: b"role", expr: b"^web.*" },
        Filter::Tag { tag: b"", expr: b"" },
    ] {
        let mut raw = Vec::new();
        transform.encode_filter(&filter, &mut raw);
        assert_eq!(transform.decode_filter(&raw).as_ref(), Ok(&filter));
        for (cut, part) in prefixes(&raw, raw.len()) {
            assert!(transform.decode_filter(part).is_err(), "{filter:?} cut at {cut}");
        }
    }
    assert_eq!(transform.decode_tags(&[]).1, None, "a node without meta is no failure");
    for tags in [
        tags_of(&[]),
        tags_of(&[("role", "web")]),
        tags_of(&[("a", ""), ("b", "é"), ("", "x")]),
        tags_of(&[("long", &"x".repeat(400))]),
    ] {
        let mut raw = Vec::new();
        transform.encode_tags(5, &tags, &mut raw);
        assert_eq!(transform.decode_tags(&raw), (tags, None));
    }
    for value in [0.0, -1.5, f64::MIN_POSITIVE, f64::MAX] {
        let coordinate =
            Coordinate { vec: vec![value; 8], error: value, adjustment: 1.0, height: 2.0 };
        let mut raw = Vec::new();
        transform.encode_coordinate(&coordinate, &mut raw);
        assert_eq!(transform.decode_coordinate(&raw).as_ref(), Ok(&coordinate));
        for (cut, part) in prefixes(&raw, raw.len()).skip(1) {
            assert!(transform.decode_coordinate(part).is_err(), "{coordinate:?} cut at {cut}");
        }
    }
    assert_eq!(transform.decode_message(&[]), Err(TransformError::Empty));
    for kind in 10..=255 {
        let raw = [kind, 0x80];
        assert_eq!(transform.decode_message(&raw), Err(TransformError::UnknownType(kind)));
    }
}

/// Checks one message.
///
/// # Panics
/// If the transform does not conform.
pub(super) fn assert_message_survives(transform: &dyn TransformDelegate, message: &Message<'_>) {
    // Encoding must append and leave existing bytes unchanged.
    let mut out = vec![0xee];
    transform.encode_message(message, &mut out);
    let Some((0xee, raw)) = out.split_first() else { panic!("{message:?}: output overwritten") };
    assert_eq!(raw.first(), Some(&kind(message)), "{message:?}: type byte");
    assert_eq!(transform.decode_message(raw).as_ref(), Ok(message));
    // The relayed message has no length of its own, so truncation may go unnoticed.
    let whole = match message {
        Message::Relay(relay) => raw.len() - relay.message.len(),
        _ => raw.len(),
    };
    for (cut, part) in prefixes(raw, whole) {
        assert!(transform.decode_message(part).is_err(), "{message:?} cut at {cut}");
    }
}

fn kind(message: &Message<'_>) -> u8 {
    match message {
        Message::Leave(_) => 0,
        Message::Join(_) => 1,
        Message::PushPull(_) => 2,
        Message::UserEvent(_) => 3,
        Message::Query(_) => 4,
        Message::QueryResponse(_) => 5,
        Message::ConflictResponse(_) => 6,
        Message::KeyRequest(_) => 7,
        Message::KeyResponse(_) => 8,
        Message::Relay(_) => 9,
    }
}

/// The first `end` proper prefixes, with their lengths.
fn prefixes(raw: &[u8], end: usize) -> impl Iterator<Item = (usize, &[u8])> {
    (0..end).filter_map(|cut| Some((cut, raw.get(..cut)?)))
}

fn tags_of(pairs: &[(&str, &str)]) -> Tags {
    Tags::from_pairs(pairs.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())))
}

/// Messages of every type, with edge cases for each field: empty, smallest and largest integers,
/// bytes that are not UTF-8.
fn messages() -> Vec<Message<'static>> {
    let mut all = Vec::new();
    for ltime in [0, 1, 127, 128, 65_536, 1 << 32, u64::MAX].map(LamportTime) {
        for node in [&b""[..], b"node-a", &[0xff; 300]] {
            all.push(Message::Join(Join { ltime, node }));
            all.push(Message::Leave(Leave { ltime, node, prune: ltime.0 % 2 == 1 }));
        }
    }
    for payload in payloads() {
        for coalesce in [false, true] {
            let payload = payload.clone();
            let event = UserEvent { ltime: LamportTime(3), name: b"deploy", payload, coalesce };
            all.push(Message::UserEvent(event));
        }
    }
    all.extend(states());
    all.extend(queries());
    all.extend(key_messages());
    all
}

/// Nil and empty are different.
fn payloads() -> [Bin<'static>; 4] {
    [Bin::NIL, b""[..].into(), b"v1"[..].into(), bytes((0..=255).collect())]
}

fn bytes(bytes: Vec<u8>) -> Bin<'static> {
    Bin(Some(Cow::Owned(bytes)))
}

fn states() -> [Message<'static>; 2] {
    let events = payloads().map(|payload| RecentEvent { name: b"deploy", payload }).to_vec();
    let full = PushPull {
        ltime: LamportTime(42),
        status_ltimes: vec![(b"a", LamportTime(15)), (b"b", LamportTime(u64::MAX))],
        left_members: vec![b"a", b""],
        event_ltime: LamportTime(50),
        events: vec![
            None,
            Some(UserEvents { ltime: LamportTime(45), events }),
            Some(UserEvents { ltime: LamportTime(46), events: vec![] }),
            None,
        ],
        query_ltime: LamportTime(100),
    };
    [Message::PushPull(PushPull::default()), Message::PushPull(full)]
}

fn queries() -> Vec<Message<'static>> {
    let plain = Query {
        ltime: LamportTime(5),
        id: u32::MAX,
        addr: b"\x7f\0\0\x01"[..].into(),
        port: u16::MAX,
        source_node: b"node-a",
        filters: vec![],
        flags: 0,
        relay_factor: 0,
        timeout_ns: 15_000_000_000,
        name: b"uptime",
        payload: b"now"[..].into(),
    };
    let full = Query {
        addr: bytes([0; 15].into_iter().chain([1]).collect()),
        filters: vec![b"one"[..].into(), b"two"[..].into()],
        flags: Query::ACK | Query::NO_BROADCAST,
        relay_factor: u8::MAX,
        payload: Bin::NIL,
        ..plain.clone()
    };
    let mut all = vec![Message::Query(Query::default()), Message::Query(full)];
    for timeout_ns in [i64::MIN, -1, 0, 127, 128, i64::MAX] {
        all.push(Message::Query(Query { timeout_ns, ..plain.clone() }));
    }
    for payload in payloads() {
        for flags in [0, Query::ACK] {
            let payload = payload.clone();
            let (ltime, id, from) = (LamportTime(5), 7, &b"node-b"[..]);
            let answer = QueryResponse { ltime, id, from, flags, payload };
            all.push(Message::QueryResponse(answer));
        }
    }
    for dest_port in [0, 80, 7946, 65_535] {
        let dest_addr = b"\x7f\0\0\x01"[..].into();
        let relay = Relay { dest_addr, dest_port, dest_name: b"node-a", message: b"\x05raw" };
        all.push(Message::Relay(relay));
    }
    all
}

fn key_messages() -> Vec<Message<'static>> {
    let member = MemberRecord {
        name: b"node-a",
        addr: b"\x0a\0\0\x01"[..].into(),
        port: 7946,
        tags: vec![(b"role", b"web")],
        status: 1,
        protocol_min: 1,
        protocol_max: 5,
        protocol_cur: 2,
        delegate_min: 2,
        delegate_max: 5,
        delegate_cur: 4,
    };
    let mut all = vec![Message::ConflictResponse(None), Message::ConflictResponse(Some(member))];
    for key in [0, 16, 32] {
        let key = bytes(vec![0xa5; key]);
        all.push(Message::KeyRequest(KeyRequest { key }));
    }
    let failed = NodeKeyResponse { message: b"no keyring", ..NodeKeyResponse::default() };
    let key = b"AAECAwQFBgcICQoLDA0ODw==";
    let listed = NodeKeyResponse {
        result: true,
        message: b"",
        keys: Keys(vec![key, b"x"]),
        primary_key: key,
    };
    all.extend([failed, listed].map(Message::KeyResponse));
    all
}
