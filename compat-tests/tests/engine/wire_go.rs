//! Bytes in both directions: what Rust makes is read by Go and encoded to the same bytes again;
//! what real Go nodes sent is read by Rust.

use std::path::Path;

use compat_tests::go;
use ruserf::{
    base::Rng,
    wire::{
        Ack, Alive, Bin, CodecConfig, Dead, Incarnation, IndirectPing, Keyring, Message, Nack,
        NodeState, PacketCodec, Ping, PushPull, Role, SeqNo, StreamDecoder, Suspect,
        encode_compound,
    },
};
use serde_json::{Value, json};

/// Every combination of the layers, with messages drawn from a seed.
const SEED: u64 = 7;
const MESSAGES_PER_CONFIG: usize = 40;

/// What a current serf says about itself.
const VSN: [u8; 6] = [1, 5, 2, 2, 5, 4];

#[test]
fn go_reads_random_packets_through_every_combination_of_layers() {
    let mut rng = Rng::from_u64(SEED);
    let mut captures = Vec::new();
    for config in configs() {
        let mut codec = PacketCodec::build(config.codec.clone()).unwrap();
        for at in 0..MESSAGES_PER_CONFIG {
            let message = match at % 4 {
                0 => compound(&mut rng),
                _ => message(&mut rng),
            };
            let mut datagram = Vec::new();
            codec.seal(&mut rng, &message, at % 2 == 0, &mut datagram);
            captures.push(config.capture("packet", &datagram));
        }
    }
    assert_readable(&captures);
}

#[test]
fn go_reads_random_streams_of_both_roles() {
    let mut rng = Rng::from_u64(SEED);
    let mut captures = Vec::new();
    for config in configs() {
        let codec = PacketCodec::build(config.codec.clone()).unwrap().stream_codec();
        for (role, kind) in [(Role::Dialer, "stream"), (Role::Acceptor, "reply")] {
            for rows in [0, 1, 127, 128, 400] {
                let mut stream = Vec::new();
                let message = push_pull(&mut rng, rows);
                codec.seal(&mut rng, role, &message, &mut stream);
                captures.push(config.capture(kind, &stream));
            }
        }
    }
    assert_readable(&captures);
}

#[test]
fn rust_reads_what_real_go_nodes_sent() {
    let recorded = testdata("recorded.json");
    let recorded = recorded.as_array().unwrap();
    assert!(recorded.len() > 30);
    for capture in recorded {
        let label = capture["label"].as_str().unwrap().as_bytes().to_vec();
        let codec = CodecConfig { label, ..CodecConfig::default() };
        let mut codec = PacketCodec::build(codec).unwrap();
        let bytes = hex::decode(capture["hex"].as_str().unwrap()).unwrap();
        let wanted = capture["messages"].as_array().unwrap().len();
        let kind = capture["capture"].as_str().unwrap();
        if kind == "packet" {
            let mut buf = Vec::new();
            let opened = codec.open(&bytes, &mut buf).unwrap().to_vec();
            assert_eq!(count(&mut codec, &opened), wanted, "{capture}");
            continue;
        }
        // The dialer's bytes are read by the acceptor, and the other way round.
        let role = if kind == "stream" { Role::Acceptor } else { Role::Dialer };
        let mut decoder = StreamDecoder::new(codec.stream_codec(), role);
        assert!(decoder.feed(&bytes).unwrap().is_some(), "{capture}");
    }
}

#[test]
fn rust_unpacks_what_go_compressed() {
    let vectors = testdata("lzw.json");
    let mut codec = PacketCodec::build(CodecConfig::default()).unwrap();
    for vector in vectors.as_array().unwrap() {
        let message = hex::decode(vector["hex"].as_str().unwrap()).unwrap();
        let mut out = Vec::new();
        codec.decompress(&message[1..], &mut out).unwrap();
        let count = vector["count"].as_u64().unwrap() as usize;
        assert_eq!(out, recipe(vector["name"].as_str().unwrap(), count), "{}", vector["name"]);
    }
}

struct Config {
    codec: CodecConfig,
    keys: Vec<Vec<u8>>,
}

impl Config {
    fn capture(&self, kind: &str, bytes: &[u8]) -> Value {
        let keys: Vec<_> = self.keys.iter().map(go::base64).collect();
        let label = String::from_utf8(self.codec.label.clone()).unwrap();
        json!({"kind": kind, "hex": hex::encode(bytes), "label": label, "keys": keys})
    }
}

fn configs() -> Vec<Config> {
    let mut list = Vec::new();
    for label in ["", "blue"] {
        for key_len in [0, 16, 24, 32] {
            for protocol_version in [1, 2] {
                for compression in [false, true] {
                    let keys = if key_len == 0 { vec![] } else { vec![vec![9; key_len]] };
                    let keyring = match keys.first() {
                        None => Keyring::default(),
                        Some(key) => Keyring::build(&keys, key).unwrap(),
                    };
                    let codec = CodecConfig {
                        label: label.into(),
                        keyring,
                        verify_incoming: true,
                        verify_outgoing: true,
                        compression: compression.into(),
                        protocol_version,
                    };
                    list.push(Config { codec, keys });
                }
            }
        }
    }
    list
}

fn assert_readable(captures: &[Value]) {
    assert!(!captures.is_empty());
    for (capture, answer) in captures.iter().zip(go::decode(captures)) {
        assert_eq!(answer["readable"], json!(true), "seed {SEED}\n{capture}\n{answer}");
    }
}

/// Names and payloads of all lengths around the edges of the encoding.
fn bytes(rng: &mut Rng) -> Vec<u8> {
    let len = [0, 1, 5, 31, 32, 33, 200, 255, 256, 300][rng.below(10)];
    (0..len).map(|_| b'a' + rng.below(26) as u8).collect()
}

fn number(rng: &mut Rng) -> u32 {
    rng.u32() >> rng.below(32)
}

fn addr(rng: &mut Rng) -> Vec<u8> {
    let mut addr = vec![0; [4, 16][rng.below(2)]];
    rng.fill(&mut addr);
    addr
}

fn bin(bytes: &[u8]) -> Bin<'_> {
    Bin::from(bytes)
}

fn compound(rng: &mut Rng) -> Vec<u8> {
    let parts: Vec<_> = (0..rng.below(8)).map(|_| message(rng)).collect();
    if parts.is_empty() {
        return message(rng);
    }
    let mut out = Vec::new();
    assert_eq!(encode_compound(&parts, &mut out), parts.len());
    out
}

fn message(rng: &mut Rng) -> Vec<u8> {
    let (a, b, meta, from) = (bytes(rng), bytes(rng), bytes(rng), addr(rng));
    let seq_no = SeqNo(number(rng));
    let incarnation = Incarnation(number(rng));
    let port = number(rng) as u16;
    let mut out = Vec::new();
    match rng.below(7) {
        0 => Ping { seq_no, node: &a, source_addr: bin(&from), source_port: port, source_node: &b }
            .encode(&mut out),
        1 => IndirectPing {
            seq_no,
            target: bin(&from),
            port,
            node: &a,
            nack: port.is_multiple_of(2),
            source_addr: Bin::default(),
            source_port: 0,
            source_node: &b,
        }
        .encode(&mut out),
        2 => Ack { seq_no, payload: Bin::default() }.encode(&mut out),
        3 => Nack { seq_no }.encode(&mut out),
        4 => Suspect { incarnation, node: &a, from: &b }.encode(&mut out),
        5 => Dead { incarnation, node: &a, from: &b }.encode(&mut out),
        _ => Alive {
            incarnation,
            node: &a,
            addr: bin(&from),
            port,
            meta: bin(&meta),
            vsn: bin(&VSN),
        }
        .encode(&mut out),
    }
    out
}

fn push_pull(rng: &mut Rng, count: usize) -> Vec<u8> {
    let rows: Vec<_> = (0..count).map(|_| (bytes(rng), addr(rng), number(rng))).collect();
    let rows = rows.iter().map(|(name, addr, number)| NodeState {
        name,
        addr: bin(addr),
        port: *number as u16,
        meta: Bin::default(),
        incarnation: Incarnation(*number),
        state: i64::from(number % 4),
        vsn: bin(&VSN),
    });
    let mut out = Vec::new();
    PushPull::encode(count.is_multiple_of(2), rows, &[0xc1; 300][..count.min(300)], &mut out);
    out
}

/// How many messages there are inside, through compounds and compression.
fn count(codec: &mut PacketCodec, message: &[u8]) -> usize {
    match Message::decode(message).unwrap() {
        Message::Compound(body) => {
            let parts = ruserf::wire::CompoundParts::parse(body).unwrap();
            parts.map(|part| count(codec, part.unwrap())).sum()
        }
        Message::Compress(body) => {
            let mut out = Vec::new();
            codec.decompress(body, &mut out).unwrap();
            count(codec, &out)
        }
        _ => 1,
    }
}

/// The inputs that `lzw.json` describes in words.
fn recipe(name: &str, count: usize) -> Vec<u8> {
    let mut x = 1u32;
    let mut random = || {
        x = x.wrapping_mul(1_103_515_245).wrapping_add(12345) & 0x7fff_ffff;
        (x >> 16) as u8
    };
    (0..count)
        .map(|i| match name {
            _ if name.starts_with("zeros") => 0,
            _ if name.starts_with("random") => random(),
            _ if name.starts_with("counting") => i as u8,
            _ => b"ab"[i / 7 % 2],
        })
        .collect()
}

fn testdata(name: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata").join(name);
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}
