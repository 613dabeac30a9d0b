//! Bytes made by Go, decoded and encoded.

use serde_json::Value as Json;

use crate::{
    msgpack::{Reader, Value},
    wire::{
        crypto::{self, SealVersion, Sealer},
        stream::StreamCodec,
        *,
    },
};

#[test]
fn every_memberlist_vector_encodes_and_decodes_as_in_go() {
    let vectors = vectors("memberlist.json");
    assert_eq!(vectors.len(), 99);
    for vector in &vectors {
        let name = text(vector, "name");
        let hex = unhex(&text(vector, "hex"));
        let input = &vector["input"];
        match text(vector, "kind").as_str() {
            "message" => check_message(&name, input, &hex),
            "message-prefix" => check_prefix(&name, input, &hex),
            "stream-part" => {
                check_stream_part(&name, input, &hex, true);
                if let Some(old) = vector["hex_msgpack_v0_5"].as_str() {
                    check_stream_part(&name, input, &unhex(old), false);
                }
            }
            "compound" => check_compound(&name, input, &hex),
            "compress" => check_compress(&vectors, &name, input, &hex),
            "encrypt" => check_encrypt(&name, input, &hex),
            "packet" => check_packet(&name, input, &hex),
            "stream" => check_stream(&name, input, &hex),
            kind => panic!("{name}: unknown kind {kind}"),
        }
    }
}

#[test]
fn every_decode_case_has_go_s_verdict() {
    let cases = vectors("decode-cases.json");
    assert_eq!(cases.len(), 49);
    for case in &cases {
        let input = unhex(&text(case, "hex"));
        let got = match text(case, "struct").as_str() {
            "suspect" => decode::<Suspect<'_>>(&input).map(|s| {
                format!(
                    "suspect{{Incarnation:{:#x}, Node:{}, From:{}}}",
                    s.incarnation.0,
                    go_str(s.node),
                    go_str(s.from)
                )
            }),
            "ackResp" => decode::<Ack<'_>>(&input).map(|a| {
                format!("ackResp{{SeqNo:{:#x}, Payload:{}}}", a.seq_no.0, go_bytes(&a.payload))
            }),
            "alive" => decode::<Alive<'_>>(&input).map(|a| {
                format!(
                    "alive{{Incarnation:{:#x}, Node:{}, Addr:{}, Port:{:#x}, Meta:{}, Vsn:{}}}",
                    a.incarnation.0,
                    go_str(a.node),
                    go_bytes(&a.addr),
                    a.port,
                    go_bytes(&a.meta),
                    go_bytes(&a.vsn)
                )
            }),
            "ping" => decode::<Ping<'_>>(&input).map(|p| {
                format!(
                    "ping{{SeqNo:{:#x}, Node:{}, SourceAddr:{}, SourcePort:{:#x}, SourceNode:{}}}",
                    p.seq_no.0,
                    go_str(p.node),
                    go_bytes(&p.source_addr),
                    p.source_port,
                    go_str(p.source_node)
                )
            }),
            "pushPullHeader" => decode::<PushPullHeader>(&input).map(|h| {
                format!(
                    "pushPullHeader{{Nodes:{}, UserStateLen:{}, Join:{}}}",
                    h.nodes, h.user_state_len, h.join
                )
            }),
            "compress" => decode::<Compress<'_>>(&input).map(|_| "compress".to_owned()),
            other => panic!("unknown struct {other}"),
        };
        let name = text(case, "name");
        let go = &case["go_msgpack_v2"];
        match got {
            Ok(got) => {
                assert_eq!(go["ok"], true, "{name}: Go refuses");
                assert_eq!(got, text(go, "result"), "{name}");
            }
            Err(error) => {
                assert_eq!(go["ok"], false, "{name}: {error}, but Go accepts");
                assert_eq!(error.to_string(), text(go, "error"), "{name}");
            }
        }
    }
}

fn check_message(name: &str, input: &Json, hex: &[u8]) {
    let [node, from, error] = fields(input, ["Node", "From", "Error"]);
    let [target, source_addr, source_node] = fields(input, ["Target", "SourceAddr", "SourceNode"]);
    let [payload, addr, meta, vsn] = fields(input, ["Payload", "Addr", "Meta", "Vsn"]);
    let seq_no = SeqNo(int(input, "SeqNo") as u32);
    let incarnation = Incarnation(int(input, "Incarnation") as u32);
    let port = int(input, "Port") as u16;
    match hex[0] {
        0 => {
            let (node, source_addr) = (node.as_slice(), source_addr.as_bin());
            let (source_port, source_node) = (source_port(input), source_node.as_slice());
            let ping = Ping { seq_no, node, source_addr, source_port, source_node };
            assert_message(name, hex, &Message::Ping(ping.clone()), |out| ping.encode(out));
        }
        1 => {
            let ping = IndirectPing {
                seq_no,
                target: target.as_bin(),
                port,
                node: node.as_slice(),
                nack: input["Nack"].as_bool().unwrap(),
                source_addr: source_addr.as_bin(),
                source_port: source_port(input),
                source_node: source_node.as_slice(),
            };
            assert_message(name, hex, &Message::IndirectPing(ping.clone()), |out| ping.encode(out));
        }
        2 => {
            let ack = Ack { seq_no, payload: payload.as_bin() };
            assert_message(name, hex, &Message::Ack(ack.clone()), |out| ack.encode(out));
        }
        3 => {
            let suspect = Suspect { incarnation, node: node.as_slice(), from: from.as_slice() };
            assert_message(name, hex, &Message::Suspect(suspect), |out| suspect.encode(out));
        }
        4 => {
            let alive = Alive {
                incarnation,
                node: node.as_slice(),
                addr: addr.as_bin(),
                port,
                meta: meta.as_bin(),
                vsn: vsn.as_bin(),
            };
            assert_message(name, hex, &Message::Alive(alive.clone()), |out| alive.encode(out));
        }
        5 => {
            let dead = Dead { incarnation, node: node.as_slice(), from: from.as_slice() };
            assert_message(name, hex, &Message::Dead(dead), |out| dead.encode(out));
        }
        8 => {
            let payload = Field::of(&input["payload"]);
            assert_eq!(Message::decode(hex), Ok(Message::User(payload.as_slice())), "{name}");
        }
        11 => {
            let nack = Nack { seq_no };
            assert_message(name, hex, &Message::Nack(nack), |out| nack.encode(out));
        }
        13 => {
            let reply = ErrorReply { error: error.as_slice() };
            let mut out = Vec::new();
            reply.encode(&mut out);
            assert_eq!(out, hex, "{name}");
            assert_eq!(decode::<ErrorReply<'_>>(&hex[1..]), Ok(reply), "{name}");
        }
        kind => panic!("{name}: unknown type {kind}"),
    }
}

fn source_port(input: &Json) -> u16 {
    int(input, "SourcePort") as u16
}

fn assert_message(name: &str, hex: &[u8], message: &Message<'_>, encode: impl Fn(&mut Vec<u8>)) {
    let mut out = Vec::new();
    encode(&mut out);
    assert_eq!(hex::encode(&out), hex::encode(hex), "{name}: encode");
    assert_eq!(Message::decode(hex).as_ref(), Ok(message), "{name}: decode");
}

fn check_prefix(name: &str, input: &Json, hex: &[u8]) {
    let node = vec![text(input, "Node_char").as_bytes()[0]; int(input, "Node_len") as usize];
    let suspect = Suspect { node: &node, ..Suspect::default() };
    let mut out = Vec::new();
    suspect.encode(&mut out);
    assert_eq!(out[..48], *hex, "{name}");
    assert_eq!(out.len(), int(input, "total_len") as usize, "{name}");
    assert_eq!(Message::decode(&out), Ok(Message::Suspect(suspect)), "{name}");
}

fn check_stream_part(name: &str, input: &Json, hex: &[u8], current: bool) {
    let mut out = Vec::new();
    if name.starts_with("pushpull_header") {
        let header = PushPullHeader {
            nodes: int(input, "Nodes"),
            user_state_len: int(input, "UserStateLen"),
            join: input["Join"].as_bool().unwrap(),
        };
        header.encode(&mut out);
        assert_eq!(decode::<PushPullHeader>(&hex[1..]), Ok(header), "{name}");
    } else if name.starts_with("user_stream_header") {
        let header = UserHeader { user_msg_len: int(input, "UserMsgLen") };
        header.encode(&mut out);
        assert_eq!(decode::<UserHeader>(&hex[1..]), Ok(header), "{name}");
    } else {
        let row = Row::of(input);
        row.state().encode(&mut out);
        assert_eq!(decode::<NodeState<'_>>(hex), Ok(row.state()), "{name}");
    }
    if current {
        assert_eq!(hex::encode(out), hex::encode(hex), "{name}");
    }
}

fn check_compound(name: &str, input: &Json, hex: &[u8]) {
    let (parts, counts): (Vec<Vec<u8>>, Vec<usize>) = match input["n"].as_u64() {
        Some(n) => (
            (0..n).map(|i| vec![8, i as u8]).collect(),
            input["part_counts"]
                .as_array()
                .unwrap()
                .iter()
                .map(|count| count.as_u64().unwrap() as usize)
                .collect(),
        ),
        None => {
            let parts: Vec<_> = input["parts"]
                .as_array()
                .unwrap()
                .iter()
                .map(|part| Field::of(part).as_slice().to_vec())
                .collect();
            let count = parts.len();
            (parts, vec![count])
        }
    };
    let mut rest = parts.as_slice();
    let mut got_counts = Vec::new();
    let mut last = Vec::new();
    while !rest.is_empty() {
        last.clear();
        let taken = encode_compound(rest, &mut last);
        let Ok(Message::Compound(body)) = Message::decode(&last) else { panic!("{name}") };
        let got: Vec<_> = CompoundParts::parse(body).unwrap().map(Result::unwrap).collect();
        assert_eq!(got, rest[..taken], "{name}");
        got_counts.push(taken);
        rest = &rest[taken..];
    }
    assert_eq!(got_counts, counts, "{name}");
    assert_eq!(hex::encode(last), hex::encode(hex), "{name}");
}

fn check_compress(vectors: &[Json], name: &str, input: &Json, hex: &[u8]) {
    let raw = if let Some(inner) = input["inner"].as_str() {
        let inner = vectors.iter().find(|vector| vector["name"] == inner).unwrap();
        unhex(&text(inner, "hex"))
    } else if input["generator"].is_string() {
        let mut x = 1u64;
        (0..8192)
            .map(|_| {
                x = (1_103_515_245 * x + 12_345) & 0x7fff_ffff;
                (x >> 16) as u8
            })
            .collect()
    } else {
        Field::of(&input["raw"]).as_slice().to_vec()
    };
    let mut out = Vec::new();
    compress::Compressor::new(Compression::Lzw).compress(&raw, &mut out);
    assert_eq!(hex::encode(&out), hex::encode(hex), "{name}: encode");
    let Ok(Message::Compress(body)) = Message::decode(hex) else { panic!("{name}") };
    let mut got = vec![1, 2, 3];
    codec(&Json::Null).decompress(body, &mut got).unwrap();
    assert_eq!(got, raw, "{name}: decode");
}

fn check_encrypt(name: &str, input: &Json, hex: &[u8]) {
    let ring = Keyring::build(&[], text(input, "key_text").as_bytes()).unwrap();
    let (aad, plaintext) = (Field::of(&input["aad"]), Field::of(&input["plaintext"]));
    let version = if hex[0] == 0 { SealVersion::Padded } else { SealVersion::Plain };
    let mut out = Vec::new();
    let cipher = ring.ciphers().next().unwrap();
    let sealer = Sealer::begin(cipher, version, nonce(input), &mut out);
    out.extend_from_slice(plaintext.as_slice());
    sealer.finish(aad.as_slice(), &mut out);
    assert_eq!(hex::encode(&out), hex::encode(hex), "{name}: seal");
    assert_eq!(out.len(), version.sealed_len(plaintext.as_slice().len()), "{name}");
    let range = crypto::open(&ring, aad.as_slice(), &mut out, None).unwrap();
    assert_eq!(&out[range], plaintext.as_slice(), "{name}: open");
}

fn check_packet(name: &str, input: &Json, hex: &[u8]) {
    let message = Field::of(&input["msg"]);
    let mut codec = codec(input);
    let crc = int(input, "target_pmax") >= 5;
    let mut out = Vec::new();
    codec.seal_with_nonce(nonce(input), message.as_slice(), crc, &mut out);
    assert_eq!(hex::encode(&out), hex::encode(hex), "{name}: seal");
    let mut buf = Vec::new();
    let opened = codec.open(hex, &mut buf).unwrap().to_vec();
    let opened = match Message::decode(&opened) {
        Ok(Message::Compress(body)) => {
            let mut unpacked = Vec::new();
            codec.decompress(body, &mut unpacked).unwrap();
            unpacked
        }
        _ => opened,
    };
    assert_eq!(opened, message.as_slice(), "{name}: open");
}

/// A push/pull; identical in all ways of encoding it.
fn encoded<'a>(
    join: bool,
    rows: impl ExactSizeIterator<Item = NodeState<'a>> + Clone,
    user_state: &[u8],
) -> Vec<u8> {
    let mut builder = PushPullBuilder::with_capacity(0);
    rows.clone().for_each(|row| builder.push(&row));
    let mut message = Vec::new();
    PushPull::encode(join, rows, user_state, &mut message);
    assert_eq!(builder.finish(join, user_state), message);
    message
}

fn check_stream(name: &str, input: &Json, hex: &[u8]) {
    let stream: StreamCodec = codec(input).stream_codec();
    let mut message = Vec::new();
    let mut sender = Role::Dialer;
    let expected = match text(input, "what").as_str() {
        "pp" => {
            let rows: Vec<_> = input["nodes"].as_array().unwrap().iter().map(Row::of).collect();
            let join = input["join"].as_bool().unwrap();
            let user_state = text(input, "user_state_text");
            let states = rows.iter().map(Row::state);
            message = encoded(join, states, user_state.as_bytes());
            None
        }
        "user" => {
            let payload = text(input, "payload_text");
            UserHeader { user_msg_len: payload.len() as i64 }.encode(&mut message);
            message.extend_from_slice(payload.as_bytes());
            Some(StreamMessage::User(payload.into_bytes().into()))
        }
        "ping" => {
            let ping = &input["ping"];
            let [node, addr, source] = fields(ping, ["Node", "SourceAddr", "SourceNode"]);
            Ping {
                seq_no: SeqNo(int(ping, "SeqNo") as u32),
                node: node.as_slice(),
                source_addr: addr.as_bin(),
                source_port: int(ping, "SourcePort") as u16,
                source_node: source.as_slice(),
            }
            .encode(&mut message);
            Some(StreamMessage::Ping { seq_no: SeqNo(1), node: b"node-b".to_vec() })
        }
        "ack" => {
            sender = Role::Acceptor;
            Ack { seq_no: SeqNo(1), payload: Bin::NIL }.encode(&mut message);
            Some(StreamMessage::Ack { seq_no: SeqNo(1) })
        }
        "err" => {
            sender = Role::Acceptor;
            ErrorReply { error: b"boom" }.encode(&mut message);
            Some(StreamMessage::Error("boom".to_owned()))
        }
        what => panic!("{name}: unknown {what}"),
    };
    let mut out = Vec::new();
    stream.seal_with_nonce(nonce(input), sender, &message, &mut out);
    assert_eq!(hex::encode(&out), hex::encode(hex), "{name}: seal");

    let receiver = if sender == Role::Dialer { Role::Acceptor } else { Role::Dialer };
    for piece in [1, 2, 7, hex.len()] {
        let mut decoder = StreamDecoder::new(stream.clone(), receiver);
        let mut got = None;
        for bytes in hex.chunks(piece) {
            assert_eq!(got, None, "{name}: early");
            got = decoder.feed(bytes).unwrap();
        }
        let got = got.unwrap_or_else(|| panic!("{name}: not decoded in pieces of {piece}"));
        match (&expected, got) {
            (Some(expected), got) => assert_eq!(got, *expected, "{name}"),
            (None, StreamMessage::PushPull(got)) => {
                let rows: Vec<_> = input["nodes"].as_array().unwrap().iter().map(Row::of).collect();
                let states: Vec<_> = rows.iter().map(Row::state).collect();
                assert_eq!(got.rows().collect::<Result<Vec<_>, _>>().unwrap(), states, "{name}");
                assert_eq!(got.user_state, text(input, "user_state_text"), "{name}");
                assert!(got.join, "{name}");
            }
            (None, got) => panic!("{name}: {got:?}"),
        }
    }
}

fn codec(input: &Json) -> PacketCodec {
    let key = input["key_text"].as_str().unwrap_or_default();
    PacketCodec::build(CodecConfig {
        label: input["label"].as_str().unwrap_or_default().into(),
        keyring: Keyring::build(&[], key.as_bytes()).unwrap(),
        verify_incoming: true,
        verify_outgoing: true,
        compression: input["enable_compression"].as_bool().unwrap_or_default().into(),
        protocol_version: input["protocol_version"].as_u64().unwrap_or(2) as u8,
    })
    .unwrap()
}

fn nonce(input: &Json) -> [u8; 12] {
    match input["nonce"].as_str() {
        Some(_) => Field::of(&input["nonce"]).as_slice().try_into().unwrap(),
        None => [0; 12],
    }
}

fn decode<'a, T: Value<'a>>(input: &'a [u8]) -> Result<T, crate::msgpack::Error> {
    T::decode(&mut Reader::new(input))
}

/// A JSON string, "hex:…" string or null, as bytes.
struct Field(Option<Vec<u8>>);

impl Field {
    fn of(json: &Json) -> Self {
        Self(json.as_str().map(|text| match text.strip_prefix("hex:") {
            Some(hex) => unhex(hex),
            None => text.as_bytes().to_vec(),
        }))
    }

    fn as_slice(&self) -> &[u8] {
        self.0.as_deref().unwrap_or_default()
    }

    fn as_bin(&self) -> Bin<'_> {
        Bin(self.0.as_deref().map(Into::into))
    }
}

/// A node state of a vector.
struct Row {
    fields: [Field; 4],
    incarnation: u32,
    port: u16,
    state: i64,
}

impl Row {
    fn of(input: &Json) -> Self {
        Self {
            fields: fields(input, ["Addr", "Meta", "Name", "Vsn"]),
            incarnation: int(input, "Incarnation") as u32,
            port: int(input, "Port") as u16,
            state: int(input, "State"),
        }
    }

    fn state(&self) -> NodeState<'_> {
        let [addr, meta, name, vsn] = &self.fields;
        NodeState {
            name: name.as_slice(),
            addr: addr.as_bin(),
            port: self.port,
            meta: meta.as_bin(),
            incarnation: Incarnation(self.incarnation),
            state: self.state,
            vsn: vsn.as_bin(),
        }
    }
}

fn fields<const N: usize>(input: &Json, names: [&str; N]) -> [Field; N] {
    names.map(|name| Field::of(&input[name]))
}

fn go_str(bytes: &[u8]) -> String {
    let mut out = String::from("\"");
    for &byte in bytes {
        match byte {
            b' '..=b'~' => out.push(byte as char),
            _ => out.push_str(&format!("\\x{byte:02x}")),
        }
    }
    out + "\""
}

fn go_bytes(bytes: &Bin<'_>) -> String {
    match &bytes.0 {
        None => "[]uint8(nil)".to_owned(),
        Some(bytes) => {
            let items: Vec<_> = bytes.iter().map(|byte| format!("{byte:#x}")).collect();
            format!("[]uint8{{{}}}", items.join(", "))
        }
    }
}

fn vectors(file: &str) -> Vec<Json> {
    let path = format!("{}/testdata/{file}", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn text(json: &Json, key: &str) -> String {
    json[key].as_str().unwrap_or_else(|| panic!("no {key} in {json}")).to_owned()
}

fn int(json: &Json, key: &str) -> i64 {
    json[key].as_i64().unwrap_or_default()
}

fn unhex(text: &str) -> Vec<u8> {
    hex::decode(text).unwrap()
}
