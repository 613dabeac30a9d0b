//! Go's vectors, and the conformance check for every transform.

use std::collections::BTreeMap;

use super::*;
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

#[test]
fn msgpack_transform_conforms() {
    conforms(&MsgpackTransform);
}

#[test]
fn lpe_transform_conforms() {
    conforms(&LpeTransform);
}

#[test]
fn go_vectors_decode_and_encode() {
    let messages = golden_messages();
    let mut seen = 0;
    for (name, message) in &messages {
        let vector = vector(name);
        let mut out = Vec::new();
        MsgpackTransform.encode_message(message, &mut out);
        // Only decoded, never encoded: a nil list.
        if name != "pushpull_nil_members" {
            assert_eq!(hex::encode(&out), vector.hex, "{name}: encoding");
        }
        for hex in [Some(&vector.hex), vector.old.as_ref()].into_iter().flatten() {
            let raw = hex::decode(hex).unwrap();
            assert_eq!(MsgpackTransform.decode_message(&raw).as_ref(), Ok(message), "{name}");
            seen += 1;
        }
    }
    assert!(seen > messages.len(), "vectors of the older codec are read too");
}

#[test]
fn every_vector_of_a_message_is_known() {
    let known: Vec<String> = golden_messages().into_iter().map(|(name, _)| name).collect();
    for vector in vectors() {
        let name = vector["name"].as_str().unwrap();
        let elsewhere = ["filter_", "tags_", "ping_", "snapshot_", "coordinate_"];
        if !elsewhere.iter().any(|prefix| name.starts_with(prefix)) {
            assert!(known.iter().any(|known| known == name), "{name} is not tested");
        }
    }
}

#[test]
fn go_filters_tags_and_coordinates_decode_and_encode() {
    for (name, filter) in [
        ("filter_node", Filter::Nodes(vec![b"foo", b"bar"])),
        ("filter_tag", Filter::Tag { tag: b"role", expr: b"^web" }),
    ] {
        let raw = hex::decode(vector(name).hex).unwrap();
        let mut out = Vec::new();
        MsgpackTransform.encode_filter(&filter, &mut out);
        assert_eq!(out, raw, "{name}");
        assert_eq!(MsgpackTransform.decode_filter(&raw), Ok(filter));
    }
    let long = "dd8a91f6-ca32-30e0-983c-8f309d653045";
    for (name, version, tags) in [
        ("tags_v4_one", 4, &[("role", "web")][..]),
        ("tags_v4_empty", 4, &[]),
        ("tags_v4_emptyvalue", 4, &[("segment", "")]),
        ("tags_v4_long", 4, &[("id", long)]),
    ] {
        let raw = hex::decode(vector(name).hex).unwrap();
        let tags = tags_of(tags);
        let mut out = Vec::new();
        MsgpackTransform.encode_tags(version, &tags, &mut out);
        assert_eq!(out, raw, "{name}");
        assert_eq!(MsgpackTransform.decode_tags(&raw), (tags, None));
    }
    let (nil, error) =
        MsgpackTransform.decode_tags(&hex::decode(vector("tags_v4_nil").hex).unwrap());
    assert!(nil.is_empty() && error.is_none());

    let mut out = Vec::new();
    MsgpackTransform.encode_tags(2, &tags_of(&[("role", "web"), ("x", "y")]), &mut out);
    assert_eq!(hex::encode(&out), vector("tags_v2_role").hex);
    assert_eq!(MsgpackTransform.decode_tags(&out), (tags_of(&[("role", "web")]), None));
    assert_eq!(MsgpackTransform.decode_tags(b""), (tags_of(&[("role", "")]), None));

    let populated = Coordinate {
        vec: vec![0.34, 0.68, 0.003, 0.01, 0.05, 0.1, 0.34, -0.06],
        error: 0.5,
        adjustment: 0.1,
        height: 0.02,
    };
    for (name, coordinate) in
        [("ping_payload_origin", Coordinate::origin()), ("ping_payload", populated)]
    {
        let raw = hex::decode(vector(name).hex).unwrap();
        let mut out = Vec::new();
        MsgpackTransform.encode_coordinate(&coordinate, &mut out);
        assert_eq!(hex::encode(&out), hex::encode(&raw), "{name}");
        assert_eq!(MsgpackTransform.decode_coordinate(&raw), Ok(coordinate));
    }
    assert_eq!(MsgpackTransform.decode_coordinate(&[2]), Err(TransformError::Version(2)));
}

#[test]
fn tags_that_end_early_keep_what_came_before() {
    let mut raw = Vec::new();
    MsgpackTransform.encode_tags(4, &tags_of(&[("a", "1"), ("b", "2")]), &mut raw);
    raw.pop();
    let (tags, error) = MsgpackTransform.decode_tags(&raw);
    assert_eq!(tags, tags_of(&[("a", "1")]));
    assert!(error.is_some());
}

#[test]
fn struct_as_array_and_unknown_keys_are_read() {
    let join = Message::Join(Join { ltime: LamportTime(7), node: b"n" });
    for hex in ["019207a16e", "0183a54c54696d6507a44e6f6465a16ea3466f6f9301c3c0"] {
        let raw = hex::decode(hex).unwrap();
        assert_eq!(MsgpackTransform.decode_message(&raw).as_ref(), Ok(&join));
    }
    let empty = MsgpackTransform.decode_message(&[1, 0xc0]).unwrap();
    assert_eq!(empty, Message::Join(Join::default()));
}

#[test]
fn counts_are_not_believed() {
    // An array of four billion left members that do not follow.
    let raw = hex::decode("0281ab4c6566744d656d62657273ddffffffff").unwrap();
    assert!(MsgpackTransform.decode_message(&raw).is_err());
    let raw = hex::decode("0281a64576656e7473ddffffffff").unwrap();
    assert!(MsgpackTransform.decode_message(&raw).is_err());
    assert!(LpeTransform.decode_message(b"\x02\x01\xff\xff\xff\xff\x0f").is_err());
}

#[test]
fn too_many_events_are_refused() {
    // 100 slots of 4000 nil events: few bytes, but much memory.
    let mut raw = hex::decode("0281a64576656e7473dc0064").unwrap();
    for _ in 0..100 {
        raw.extend_from_slice(b"\x81\xa6Events\xdc\x0f\xa0");
        raw.extend_from_slice(&[0xc0; 4000]);
    }
    assert!(MsgpackTransform.decode_message(&raw).is_err());
}

proptest::proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(
        raw in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..200),
    ) {
        for transform in [&MsgpackTransform as &dyn TransformDelegate, &LpeTransform] {
            let _ = transform.decode_message(&raw);
            let _ = transform.decode_tags(&raw);
            let _ = transform.decode_filter(&raw);
            let _ = transform.decode_coordinate(&raw);
        }
    }

    #[test]
    fn arbitrary_events_survive(
        ltime in proptest::prelude::any::<u64>(),
        name in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..300),
        payload in proptest::option::of(
            proptest::collection::vec(proptest::prelude::any::<u8>(), 0..300),
        ),
    ) {
        let event = Message::UserEvent(UserEvent {
            ltime: LamportTime(ltime),
            name: &name,
            payload: Bin(payload.as_deref().map(std::borrow::Cow::Borrowed)),
            coalesce: true,
        });
        for transform in [&MsgpackTransform as &dyn TransformDelegate, &LpeTransform] {
            let mut raw = Vec::new();
            transform.encode_message(&event, &mut raw);
            proptest::prop_assert_eq!(transform.decode_message(&raw), Ok(event.clone()));
        }
    }
}

/// Go's messages, in addition to those of the shared check.
fn conforms(transform: &dyn TransformDelegate) {
    conformance::assert_transform_conforms(transform);
    for (_, message) in golden_messages() {
        conformance::assert_message_survives(transform, &message);
    }
}

/// The messages of Go's vectors, by name.
fn golden_messages() -> Vec<(String, Message<'static>)> {
    let xs: &'static [u8] = &[b'x'; 256];
    let mut messages: Vec<(String, Message<'static>)> = Vec::new();
    let mut add = |name: &str, message| messages.push((name.to_owned(), message));
    let leave =
        |ltime, prune| Message::Leave(Leave { ltime: LamportTime(ltime), node: b"node-a", prune });
    add("leave", leave(7, false));
    add("leave_prune", leave(300, true));
    let join = |ltime, node| Message::Join(Join { ltime: LamportTime(ltime), node });
    add("join", join(1, b"node-a"));
    for ltime in [0, 127, 128, 255, 256, 65535, 65536, 4294967295, 4294967296, u64::MAX] {
        add(&format!("join_ltime_{ltime}"), join(ltime, b"n"));
    }
    for len in [0, 31, 32, 255, 256] {
        add(&format!("join_name_len_{len}"), join(1, &xs[..len]));
    }
    add(
        "pushpull_minimal",
        Message::PushPull(PushPull {
            ltime: LamportTime(1),
            status_ltimes: vec![(b"node-a", LamportTime(0))],
            left_members: vec![],
            event_ltime: LamportTime(1),
            events: vec![None; 4],
            query_ltime: LamportTime(1),
        }),
    );
    let recent = |name, payload: Bin<'static>| RecentEvent { name, payload };
    let slot = UserEvents {
        ltime: LamportTime(45),
        events: vec![
            recent(b"deploy", b"abc"[..].into()),
            recent(b"deploy", Bin::NIL),
            recent(b"x", b""[..].into()),
        ],
    };
    add(
        "pushpull_full",
        Message::PushPull(PushPull {
            ltime: LamportTime(42),
            status_ltimes: vec![(b"foo", LamportTime(15))],
            left_members: vec![b"foo"],
            event_ltime: LamportTime(50),
            events: vec![None, Some(slot), None, None],
            query_ltime: LamportTime(100),
        }),
    );
    add("pushpull_nil_members", Message::PushPull(PushPull::default()));
    let event = |name, payload: Bin<'static>, coalesce| {
        Message::UserEvent(UserEvent { ltime: LamportTime(3), name, payload, coalesce })
    };
    add("user_event", event(b"deploy", b"v1.2"[..].into(), true));
    add("user_event_nil_payload", event(b"deploy", Bin::NIL, false));
    add("user_event_empty_payload", event(b"deploy", b""[..].into(), false));
    let binary: Vec<u8> = (0..40u8).map(|n| n.wrapping_add(0xe0)).collect();
    add("user_event_binary_payload", event(b"b", Bin(Some(binary.into())), false));
    golden_queries(&mut add);
    golden_payloads(&mut add);
    messages
}

fn golden_queries(add: &mut dyn FnMut(&str, Message<'static>)) {
    let plain = Query {
        ltime: LamportTime(5),
        id: 1_234_567,
        addr: [127, 0, 0, 1][..].to_vec().into_bin(),
        port: 7946,
        source_node: b"node-a",
        filters: vec![],
        flags: 0,
        relay_factor: 0,
        timeout_ns: 15_000_000_000,
        name: b"uptime",
        payload: b"now"[..].into(),
    };
    add("query_plain", Message::Query(plain.clone()));
    let filters = ["filter_node", "filter_tag"]
        .map(|name| hex::decode(vector(name).hex).unwrap().into_bin())
        .to_vec();
    let asking = Query { filters, flags: 1, relay_factor: 2, ..plain.clone() };
    add("query_filters_ack_relay", Message::Query(asking));
    let silent = Query { flags: 3, payload: Bin::NIL, ..plain.clone() };
    add("query_ack_nobroadcast", Message::Query(silent));
    for vector in vectors() {
        let name = vector["name"].as_str().unwrap();
        let timeout = name.strip_prefix("query_timeout_").and_then(|n| n.strip_suffix("ns"));
        if let Some(timeout) = timeout {
            let timeout_ns = timeout.parse().unwrap();
            let query = Query { timeout_ns, ..Query::default() };
            add(name, Message::Query(query));
        }
    }
    let v6: &[u8] = &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
    let v6_query = Query { addr: v6.to_vec().into_bin(), ..plain.clone() };
    add("query_ipv6", Message::Query(v6_query));
    let response = QueryResponse {
        ltime: LamportTime(5),
        id: 1_234_567,
        from: b"node-b",
        flags: 0,
        payload: b"up 3 days"[..].into(),
    };
    add("query_response", Message::QueryResponse(response.clone()));
    let ack = QueryResponse { flags: 1, payload: Bin::NIL, ..response.clone() };
    add("query_ack", Message::QueryResponse(ack));
    let ack: &'static [u8] = hex::decode(vector("query_ack").hex).unwrap().leak();
    let local: &[u8] = &[127, 0, 0, 1];
    for (name, addr, dest_port, dest_name) in [
        ("relay_ack", local, 7946, &b"node-a"[..]),
        ("relay_ack_ipv6_lowport", v6, 80, b""),
        ("relay_ack_highport", local, 50000, b"node-a"),
    ] {
        let dest_addr = addr.to_vec().into_bin();
        add(name, Message::Relay(Relay { dest_addr, dest_port, dest_name, message: ack }));
    }
    let conflict: Vec<u8> = hex::decode(vector("conflict_response").hex).unwrap();
    let wrapped = QueryResponse {
        ltime: LamportTime(9),
        id: 77,
        from: b"node-c",
        flags: 0,
        payload: conflict.into_bin(),
    };
    add("conflict_response_wrapped", Message::QueryResponse(wrapped));
}

fn golden_payloads(add: &mut dyn FnMut(&str, Message<'static>)) {
    let member = MemberRecord {
        name: b"node-a",
        addr: [10, 0, 0, 1].to_vec().into_bin(),
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
    add("conflict_response", Message::ConflictResponse(Some(member)));
    add("conflict_response_unknown", Message::ConflictResponse(None));
    let key: Vec<u8> = (0..16).collect();
    let request = |key: Vec<u8>| Message::KeyRequest(KeyRequest { key: key.into_bin() });
    add("key_request_16", request(key.clone()));
    add("key_request_32", request([key.clone(), key].concat()));
    add("key_request_empty", request(vec![]));
    let ok = NodeKeyResponse { result: true, ..NodeKeyResponse::default() };
    add("key_response_ok", Message::KeyResponse(ok));
    let message = b"requested key is not in the keyring";
    let failed = NodeKeyResponse { message, ..NodeKeyResponse::default() };
    add("key_response_err", Message::KeyResponse(failed));
    let key = b"AAECAwQFBgcICQoLDA0ODw==";
    let list =
        NodeKeyResponse { result: true, keys: Keys(vec![key]), primary_key: key, message: b"" };
    add("key_response_list", Message::KeyResponse(list));
}

trait IntoBin {
    fn into_bin(self) -> Bin<'static>;
}

impl IntoBin for Vec<u8> {
    fn into_bin(self) -> Bin<'static> {
        Bin(Some(self.into()))
    }
}

fn tags_of(pairs: &[(&str, &str)]) -> Tags {
    let tags: BTreeMap<String, String> =
        pairs.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
    tags.into()
}

struct Vector {
    hex: String,
    /// The bytes of the older codec, if they differ.
    old: Option<String>,
}

fn vector(name: &str) -> Vector {
    let found = vectors().into_iter().find(|vector| vector["name"] == name);
    let vector = found.unwrap_or_else(|| panic!("no vector {name}"));
    let text = |key: &str| vector[key].as_str().map(str::to_owned);
    Vector { hex: text("hex").unwrap(), old: text("hex_codec_0_5") }
}

fn vectors() -> Vec<serde_json::Value> {
    serde_json::from_str(include_str!("../../../testdata/serf.json")).unwrap()
}

/// The number of short names, which compress to nothing but cost the memory of an entry each, is
/// limited.
#[test]
fn names_of_a_push_pull_are_bounded() {
    let message = |statuses: usize, left: usize| {
        let state = PushPull {
            status_ltimes: vec![(&b"x"[..], LamportTime(5)); statuses],
            left_members: vec![b"x"; left],
            ..PushPull::default()
        };
        let mut out = Vec::new();
        MsgpackTransform.encode_message(&Message::PushPull(state), &mut out);
        MsgpackTransform.decode_message(&out).is_ok()
    };
    assert!(message(PUSH_PULL_ITEMS_MAX, PUSH_PULL_ITEMS_MAX));
    assert!(!message(PUSH_PULL_ITEMS_MAX + 1, 0));
    assert!(!message(0, PUSH_PULL_ITEMS_MAX + 1));
}
