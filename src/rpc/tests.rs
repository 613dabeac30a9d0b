//! Goal: the codec writes Go's bytes and accepts more. Bytes are from `testdata/rpc.json`.

use std::collections::BTreeMap;

use serde::{Serialize, de::DeserializeOwned};

use super::{protocol::*, *};
use crate::serf;

// parity: rpc: Encoder golden vectors
#[test]
fn every_head_vector_is_encoded_byte_for_byte() {
    let mut vectors = head_vectors();
    let mut check = Check { vectors: &mut vectors };
    for (seq, command) in (1..).zip([
        "handshake",
        "auth",
        "event",
        "force-leave",
        "join",
        "members",
        "members-filtered",
        "stream",
        "monitor",
        "stop",
        "leave",
        "query",
        "respond",
        "install-key",
        "list-keys",
        "tags",
        "stats",
        "get-coordinate",
    ]) {
        assert!(Command::from_name(command).is_some(), "{command}");
        check.value(command, "header", RequestHeader::new(command, seq));
    }
    members_and_joins(&mut check);
    events_and_queries(&mut check);
    keys_tags_and_figures(&mut check);
    let header = |seq, error: &str| ResponseHeader { seq, error: error.into() };
    check.value("ok", "header", header(1, ""));
    check.value("err", "header", header(2, errors::AUTH_REQUIRED));
    check.value("err 33 chars (str8)", "header", header(1, errors::STREAM_EXISTS));
    check.value("seq 300", "header", header(300, ""));
    assert!(vectors.is_empty(), "not checked: {vectors:?}");
}

fn members_and_joins(check: &mut Check<'_>) {
    check.value("handshake", "body", Handshake { version: 1 });
    check.value("auth", "body", Auth { auth_key: "s3cret".into() });
    let event = EventRequest { name: "deploy".into(), payload: blob("abc"), coalesce: true };
    check.value("event", "body", event.clone());
    let event = EventRequest { payload: Blob::default(), coalesce: false, ..event };
    check.value("event nil-payload", "body", event);
    check.value("force-leave", "body", ForceLeave { node: "n2".into(), prune: true });
    let existing = Some(vec!["127.0.0.3:7946".into()]);
    check.value("join", "body", Join { existing, replay: false });
    check.value("join Num=1", "body", JoinResponse { num: 1 });
    check.value("join Num=200 (signed int16!)", "body", JoinResponse { num: 200 });
    let members = |members| MembersResponse { members };
    check.value("members", "body", members(vec![member(&[127, 0, 0, 2])]));
    let v6 = [0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
    check.value("members ipv6", "body", members(vec![member(&v6)]));
    check.value("members empty", "body", members(Vec::new()));
    let filtered = |tags, status: &str, name: &str| MembersFiltered {
        tags,
        status: status.into(),
        name: name.into(),
    };
    let role = |value: &str| Some(BTreeMap::from([("role".to_owned(), value.to_owned())]));
    check.value("members-filtered", "body", filtered(role("w.*"), "alive", "a"));
    let none = filtered(Some(BTreeMap::new()), "", "");
    check.value("members-filtered (CLI no filters)", "body", none);
}

fn events_and_queries(check: &mut Check<'_>) {
    let role = |value: &str| Some(BTreeMap::from([("role".to_owned(), value.to_owned())]));
    check.value("stream", "body", Stream { r#type: "member-join,user:deploy".into() });
    let user = UserEventRecord {
        event: "user".into(),
        l_time: 300,
        name: "deploy".into(),
        payload: blob("foo"),
        coalesce: true,
    };
    check.value("user", "record", user.clone());
    let user = UserEventRecord { l_time: 3, payload: Blob::default(), ..user };
    check.value("user nil-payload", "record", user);
    let joined = vec![member(&[127, 0, 0, 2])];
    let joined = MemberEventRecord { event: "member-join".into(), members: joined };
    check.value("member-join", "record", joined);
    let query = QueryEventRecord {
        event: "query".into(),
        id: 1,
        l_time: 20,
        name: "load".into(),
        payload: blob("15m"),
    };
    check.value("query", "record", query);
    check.value("monitor", "body", Monitor { log_level: "INFO".into() });
    let log = "2026/11/22 13:39:34 [INFO] agent: Serf agent starting".into();
    check.value("log", "record", LogRecord { log });
    check.value("stop", "body", Stop { stop: 8 });
    let query = Query { request_ack: true, name: "load".into(), ..Query::default() };
    check.value("query defaults", "body", query.clone());
    let short = Query { payload: blob("1m"), timeout: 200_000_000, ..query.clone() };
    check.value("query (Timeout 200ms = signed int32)", "body", short);
    let long = Query {
        filter_nodes: Some(vec!["a".into()]),
        filter_tags: role("web"),
        request_ack: false,
        relay_factor: 2,
        timeout: 15_000_000_000,
        ..query
    };
    check.value("query (Timeout 15s = signed int64)", "body", long);
    let record = |kind: &str, from: &str, payload| QueryRecord {
        r#type: kind.into(),
        from: from.into(),
        payload,
    };
    check.value("ack", "record", record("ack", "a", Blob::default()));
    check.value("response", "record", record("response", "a", blob("1.02\n")));
    check.value("done", "record", record("done", "", Blob::default()));
}

fn keys_tags_and_figures(check: &mut Check<'_>) {
    check.value("respond", "body", Respond { id: 1023, payload: blob("my response") });
    let key = "5K9OtfP7efFrNKe5WCQvXvnaXJ5cWP0SvXiwe0kkjM4=";
    check.value("install-key/use-key/remove-key", "body", Key { key: key.into() });
    let ok = KeyResponse { num_nodes: 2, num_resp: 2, ..KeyResponse::default() };
    check.value("key ok (Keys nil)", "body", ok);
    let list = KeyResponse {
        keys: Some([(key.to_owned(), 200)].into()),
        num_nodes: 200,
        num_resp: 200,
        ..KeyResponse::default()
    };
    check.value("list-keys (NumNodes 200 = signed int16)", "body", list);
    let set = Some(BTreeMap::from([("tag1".to_owned(), "val1".to_owned())]));
    let tags = Tags { tags: set, delete_tags: Some(vec!["tag2".into()]) };
    check.value("tags", "body", tags.clone());
    check.value("tags nil-delete", "body", Tags { delete_tags: None, ..tags });
    let stats: Stats = [("agent".to_owned(), [("name".to_owned(), "a".to_owned())].into())].into();
    check.value("stats (excerpt)", "body", stats);
    check.value("get-coordinate", "body", GetCoordinate { node: "n1".into() });
    let coord = Coordinate { vec: Some(vec![0.0; 8]), error: 1.5, adjustment: 0.0, height: 1e-5 };
    check.value("get-coordinate", "body", CoordinateResponse { coord, ok: true });
    check.value("get-coordinate unknown", "body", CoordinateResponse::default());
}

#[test]
fn members_are_written_from_their_records_as_go_writes_them() {
    let record = |addr: &[u8]| serf::Member {
        name: "a".into(),
        addr: addr.into(),
        port: 7946,
        tags: BTreeMap::from([("role".to_owned(), "web".to_owned())]).into(),
        status: serf::MemberStatus::Alive,
        vsn: crate::wire::Vsn([1, 5, 2, 2, 5, 5]),
    };
    let mapped = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 127, 0, 0, 2];
    for addr in [&[127, 0, 0, 2][..], &mapped] {
        let mut out = Vec::new();
        encode_members([record(addr)].iter(), &mut out);
        let mut expected = Vec::new();
        encode(&[member(&[127, 0, 0, 2])][..], &mut expected);
        assert_eq!(hex::encode(out), hex::encode(expected));
    }
}

// parity: rpc: Lenient decoding
#[test]
fn bodies_are_read_leniently() {
    // An array in declaration order, a `str` payload, nil for absent, unknown keys, wide integers.
    let array: EventRequest = read("93a3666f6fa3616263c3");
    let expected = EventRequest { name: "foo".into(), payload: blob("abc"), coalesce: true };
    assert_eq!(array, expected);
    let nil: EventRequest = read("83a44e616d65c0a75061796c6f6164c0a8436f616c65736365c0");
    assert_eq!(nil, EventRequest::default());
    let header: RequestHeader =
        read("83a3536571cf0000000000000007a158c0c407436f6d6d616e64c4046a6f696e");
    assert_eq!(header, RequestHeader::new("join", 7));
    // Keys are case-sensitive.
    let header: RequestHeader = read("82a3736571 07a7636f6d6d616e64a46a6f696e");
    assert_eq!(header, RequestHeader::default());
    let num: JoinResponse = read("81a34e756dccc8");
    assert_eq!(num.num, 200);
    assert!(decode::<RequestHeader>(&[0x81, 0xa3, b'S', b'e', b'q', 0xff]).is_err());
}

#[tokio::test]
async fn values_are_cut_from_pieces_and_limits_hold() {
    let mut bytes = Vec::new();
    encode(&RequestHeader::new("join", 300), &mut bytes);
    let one = bytes.len();
    bytes.extend_from_within(..);
    for piece in 1..bytes.len() {
        let mut io = tokio_test_io(&bytes, piece);
        for _ in 0..2 {
            assert_eq!(io.next(100).await.unwrap().unwrap(), &bytes[..one]);
        }
        assert!(io.next(100).await.unwrap().is_none());
    }
    let mut io = FrameReader::new(&bytes[..one - 1]);
    assert!(matches!(io.next(100).await, Err(RpcError::Truncated)));
    let mut io = FrameReader::new(&bytes[..]);
    assert!(matches!(io.next(one - 1).await, Err(RpcError::TooLarge { .. })));
    // A length beyond the limit is refused as soon as the header is read.
    let mut io = FrameReader::new(&b"\xdb\xff\xff\xff\xff"[..]);
    assert!(matches!(io.next(1000).await, Err(RpcError::TooLarge { .. })));
}

struct Pieces<'a> {
    rest: &'a [u8],
    piece: usize,
}

impl tokio::io::AsyncRead for Pieces<'_> {
    fn poll_read(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
        out: &mut tokio::io::ReadBuf<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        let (now, rest) = self.rest.split_at(self.piece.min(self.rest.len()));
        out.put_slice(now);
        self.rest = rest;
        std::task::Poll::Ready(Ok(()))
    }
}

fn tokio_test_io(rest: &[u8], piece: usize) -> FrameReader<Pieces<'_>> {
    FrameReader::new(Pieces { rest, piece })
}

struct Check<'v> {
    vectors: &'v mut Vec<(String, Vec<u8>)>,
}

impl Check<'_> {
    /// Compares with the next unused vector of this name and kind, in both directions.
    fn value<T>(&mut self, name: &str, kind: &str, value: T)
    where
        T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug,
    {
        let mut encoded = Vec::new();
        encode(&value, &mut encoded);
        let key = format!("{kind} {name}");
        let at = self.vectors.iter().position(|(vector, _)| *vector == key);
        let (_, bytes) = self.vectors.remove(at.unwrap_or_else(|| panic!("no vector {key}")));
        assert_eq!(hex::encode(&encoded), hex::encode(&bytes), "{key}");
        assert_eq!(decode::<T>(&bytes).unwrap(), value, "{key}");
    }
}

fn head_vectors() -> Vec<(String, Vec<u8>)> {
    let vectors: Vec<serde_json::Value> =
        serde_json::from_str(include_str!("../../testdata/rpc.json")).unwrap();
    let text = |vector: &serde_json::Value, key: &str| vector[key].as_str().unwrap().to_owned();
    let heads = vectors.iter().filter(|vector| text(vector, "name").starts_with("head/"));
    heads
        .map(|vector| {
            let description = text(vector, "description");
            let (_, name) = description.split_once("): ").unwrap();
            (name.to_owned(), hex::decode(text(vector, "hex")).unwrap())
        })
        .collect()
}

fn read<T: DeserializeOwned>(hex_text: &str) -> T {
    decode(&hex::decode(hex_text.replace(' ', "")).unwrap()).unwrap()
}

fn blob(text: &str) -> Blob {
    Blob(text.as_bytes().to_vec())
}

fn member(addr: &[u8]) -> Member {
    Member {
        name: "a".into(),
        addr: Blob(addr.to_vec()),
        port: 7946,
        tags: [("role".to_owned(), "web".to_owned())].into(),
        status: "alive".into(),
        protocol_min: 1,
        protocol_max: 5,
        protocol_cur: 2,
        delegate_min: 2,
        delegate_max: 5,
        delegate_cur: 5,
    }
}

#[test]
fn query_has_what_its_parameters_say() {
    let all = Query::new("load", "now", &serf::QueryParams::default());
    assert_eq!((all.filter_nodes, all.timeout, all.request_ack), (None, 0, false));
    assert_eq!((all.name, all.payload), ("load".into(), Blob(b"now".to_vec())));

    let params = serf::QueryParams::default()
        .filter_node("a")
        .filter_tag("role", "web")
        .relay_factor(2)
        .request_ack(true)
        .timeout(std::time::Duration::from_millis(1500));
    let some = Query::new("load", "", &params);
    assert_eq!(some.filter_nodes, Some(vec!["a".to_owned()]));
    assert_eq!(some.filter_tags, Some([("role".to_owned(), "web".to_owned())].into()));
    assert_eq!((some.relay_factor, some.request_ack, some.timeout), (2, true, 1_500_000_000));
    let long = serf::QueryParams::default().timeout(std::time::Duration::MAX);
    assert_eq!(Query::new("x", "", &long).timeout, i64::MAX);
}
