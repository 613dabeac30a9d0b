//! Goal: `serf decode` says of a capture of tcpdump what Go's decoder says of the same bytes,
//! message by message. Method: a second reader of captures finds the datagrams and streams for Go;
//! it shares nothing with that of `serf decode`. scripts/consul and scripts/nomad run it on the
//! gossip of real servers.

use std::{
    collections::BTreeMap,
    fmt,
    net::{Ipv4Addr, SocketAddrV4},
};

use compat_tests::{
    pcap::Pcap,
    process::{Kind, serf},
};
use ruserf::{
    base::Rng,
    wire::{
        CodecConfig, Keyring, NodeState, PacketCodec, Ping, PushPullBuilder, Role, SeqNo, Suspect,
        encode_compound,
    },
};
use serde_json::{Value, json};

use super::{captures::read_by_go, decoded::record_unlike};

/// What one side sent: a datagram, or all bytes of its direction of a connection.
struct Sent {
    from: SocketAddrV4,
    to: SocketAddrV4,
    /// packet, stream or reply, as Go's decoder has it.
    kind: &'static str,
    bytes: Vec<u8>,
}

/// A direction of a connection: bytes by their position in the stream.
struct Direction {
    /// Sequence number of the first byte.
    first: u32,
    is_reply: bool,
    parts: BTreeMap<u32, Vec<u8>>,
}

/// By carrier, source, destination, and the packet of a datagram.
type Place = (&'static str, String, String, u64);

#[test]
#[ignore = "scripts/consul and scripts/nomad run it, with RUSERF_PCAP and RUSERF_PCAP_KEYS"]
fn named_capture() {
    let file = std::env::var("RUSERF_PCAP").expect("RUSERF_PCAP names a capture");
    let keys = std::env::var("RUSERF_PCAP_KEYS").unwrap_or_default();
    let keys: Vec<_> = keys.split(',').filter(|key| !key.is_empty()).collect();
    let capture = std::fs::read(&file).expect("the capture can be read");
    let (equal, wrong) = unlike_go(&capture, &keys, &decoded(&file, &keys));
    let shown = wrong.iter().take(5).cloned().collect::<Vec<_>>().join("\n");
    assert!(wrong.is_empty(), "{} differences:\n{shown}", wrong.len());
    let all: usize = equal.values().sum();
    assert!(all > 0, "the capture has no gossip");
    println!("ok: Go's decoder says the same of all {all} messages: {equal:?}");
}

/// Method: a capture of encrypted gossip, and the output of `serf decode` with single words
/// changed.
#[test]
fn a_difference_from_go_in_a_capture_is_noticed() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("gossip.pcap");
    let pcap = encrypted_gossip();
    std::fs::write(&path, pcap.bytes()).expect("a file");
    let said = decoded(path.to_str().expect("UTF-8"), &[KEY]);
    let (equal, wrong) = unlike_go(pcap.bytes(), &[KEY], &said);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let kinds: Vec<_> = equal.iter().map(|(kind, count)| (kind.as_str(), *count)).collect();
    assert_eq!(kinds, [("ping", 2), ("push-pull", 2), ("suspect", 1)]);
    for (old, new) in [
        (r#""node":"web-2""#, r#""node":"web-3""#),
        (r#""seq_no":7"#, r#""seq_no":8"#),
        (r#""type":"suspect""#, r#""type":"dead""#),
        (r#""encrypt:1""#, r#""compress""#),
        (r#""packet":1"#, r#""packet":2"#),
        (r#""name":"row-1""#, r#""name":"row-2""#),
    ] {
        let changed = said.replacen(old, new, 1);
        assert_ne!(changed, said, "nothing has {old}");
        assert!(!unlike_go(pcap.bytes(), &[KEY], &changed).1.is_empty(), "{old} as {new}");
    }
    for at in 0..said.lines().count() {
        let mut lines: Vec<_> = said.lines().collect();
        let line = lines.remove(at);
        assert!(!unlike_go(pcap.bytes(), &[KEY], &lines.join("\n")).1.is_empty(), "without {at}");
        lines.extend([line, line]);
        assert!(!unlike_go(pcap.bytes(), &[KEY], &lines.join("\n")).1.is_empty(), "{at} twice");
    }
    assert!(!unlike_go(pcap.bytes(), &[OTHER_KEY], "").1.is_empty(), "Go has another key");
}

/// A ping; a ping and a suspicion in a compound; a push/pull and its reply.
fn encrypted_gossip() -> Pcap {
    let config = CodecConfig {
        keyring: Keyring::from_base64([KEY]).expect("a key"),
        verify_outgoing: true,
        protocol_version: 5,
        ..CodecConfig::default()
    };
    let (mut codec, mut rng) = (PacketCodec::build(config).expect("a codec"), Rng::from_u64(1));
    let at = |last: u8, port| SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, last), port);
    let (mut ping, mut suspect) = (Vec::new(), Vec::new());
    Ping { seq_no: SeqNo(7), node: b"web-2", ..Ping::default() }.encode(&mut ping);
    Suspect { node: b"db-1", from: b"web-1", ..Suspect::default() }.encode(&mut suspect);
    let mut compound = Vec::new();
    encode_compound(&[&ping, &suspect], &mut compound);
    let mut pcap = Pcap::new();
    for message in [ping, compound] {
        let mut packet = Vec::new();
        codec.seal(&mut rng, &message, true, &mut packet);
        pcap.datagram(at(1, 7946), at(2, 7946), &packet);
    }
    let mut sides = [Role::Dialer, Role::Acceptor].map(|role| {
        let mut state = PushPullBuilder::with_capacity(0);
        for name in [&b"row-1"[..], b"row-0"] {
            let meta = [b'x'; 400];
            state.push(&NodeState { name, meta: meta[..].into(), ..NodeState::default() });
        }
        let mut bytes = Vec::new();
        codec.stream_codec().seal(&mut rng, role, &state.finish(true, b""), &mut bytes);
        bytes
    });
    let [request, reply] = &mut sides;
    pcap.stream(at(3, 40_000), at(1, 7946), request, reply);
    pcap
}

/// The records of `serf decode`.
fn decoded(file: &str, keys: &[&str]) -> String {
    let mut args = vec!["decode", "-format", "json"];
    args.extend(keys.iter().flat_map(|key| ["-encrypt", key]));
    args.push(file);
    let said = serf(Kind::Ours, "", &args);
    assert_eq!(said.code, Some(0), "{said:?}");
    said.out
}

/// Compares the records with Go's decoding of the capture: how many messages of each type are
/// equal, and what is not.
fn unlike_go(
    capture: &[u8],
    keys: &[&str],
    records: &str,
) -> (BTreeMap<String, usize>, Vec<String>) {
    let mut ours: BTreeMap<Place, Vec<Value>> = BTreeMap::new();
    for record in records.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON")) {
        let text = |field: &str| record[field].as_str().expect("a text").to_owned();
        let place = match record["carrier"].as_str() {
            Some("udp") => {
                let packet = record["packet"].as_u64().expect("a number");
                ("udp", text("src"), text("dst"), packet)
            }
            _ => ("tcp", text("src"), text("dst"), 0),
        };
        ours.entry(place).or_default().push(record);
    }
    let sent = read(capture);
    let keys: Vec<String> = keys.iter().map(|&key| key.to_owned()).collect();
    let asked: Vec<Value> = sent
        .iter()
        .map(|(_, sent)| {
            json!({"hex": hex::encode(&sent.bytes), "kind": sent.kind, "label": "",
                   "sealed": !keys.is_empty()})
        })
        .collect();
    let (mut equal, mut wrong) = (BTreeMap::new(), Vec::new());
    for ((packet, sent), answer) in sent.iter().zip(read_by_go(&asked, &keys)) {
        if has_problem(&answer) || answer["messages"].as_array().is_none_or(Vec::is_empty) {
            wrong.push(format!("{sent}: Go does not read it: {answer}"));
        }
        let (carrier, packet) = if sent.kind == "packet" { ("udp", *packet) } else { ("tcp", 0) };
        let place = (carrier, sent.from.to_string(), sent.to.to_string(), packet);
        let records = ours.entry(place).or_default();
        for message in answer["messages"].as_array().into_iter().flatten() {
            if records.is_empty() {
                wrong.push(format!("{sent}: no record of {message}"));
                continue;
            }
            let record = records.remove(0);
            match record_unlike(&record, message, &answer) {
                Some(problem) => wrong.push(format!("{sent}: {problem}:\n  {record}\n  {message}")),
                None => {
                    let kind = record["type"].as_str().expect("a type").to_owned();
                    *equal.entry(kind).or_default() += 1;
                }
            }
        }
    }
    wrong.extend(ours.values().flatten().map(|record| format!("Go finds no {record}")));
    (equal, wrong)
}

/// Whether Go names an error or bytes after a message. `readable` also wants the same bytes from
/// the newest encoder: older ones write some numbers in other formats.
fn has_problem(answer: &Value) -> bool {
    match answer {
        Value::Object(parts) => parts.iter().any(|(name, part)| match name.as_str() {
            "error" => !part.as_str().is_some_and(str::is_empty),
            "trailing" => true,
            "fields" => false,
            _ => has_problem(part),
        }),
        Value::Array(parts) => parts.iter().any(has_problem),
        _ => false,
    }
}

/// What was sent, each with the number of its packet; streams by their first one. Knows what
/// tcpdump writes here: little-endian with microseconds, Ethernet or bare IP, version 4, no
/// fragments.
fn read(capture: &[u8]) -> Vec<(u64, Sent)> {
    assert_eq!(capture[..4], 0xa1b2_c3d4_u32.to_le_bytes(), "not a pcap of this kind");
    let header = match little(&capture[20..24]) {
        1 => 14,
        101 => 0,
        link => panic!("link type {link}"),
    };
    let (mut rest, mut number, mut sent) = (&capture[24..], 0, Vec::new());
    let mut open: BTreeMap<(SocketAddrV4, SocketAddrV4), (u64, Direction)> = BTreeMap::new();
    while !rest.is_empty() {
        let (len, whole) = (little(&rest[8..12]), little(&rest[12..16]));
        assert_eq!(len, whole, "a packet was cut");
        let (packet, behind) = rest[16..].split_at(len as usize);
        (rest, number) = (behind, number + 1);
        let ip = &packet[header..];
        assert!(ip[0] >> 4 == 4 && big(&ip[6..8]) & 0x3fff == 0, "no whole packet of IPv4");
        let (head, body) = ip[..usize::from(big(&ip[2..4]))].split_at(usize::from(ip[0] & 15) * 4);
        let addr = |at: usize, port: &[u8]| {
            let ip: [u8; 4] = head[at..at + 4].try_into().expect("four bytes");
            SocketAddrV4::new(ip.into(), big(port))
        };
        let (from, to) = (addr(12, &body[..2]), addr(16, &body[2..4]));
        match head[9] {
            17 => {
                let bytes = body[8..].to_vec();
                sent.push((number, Sent { from, to, kind: "packet", bytes }));
            }
            6 => {
                let seq = u32::from_be_bytes(body[4..8].try_into().expect("four bytes"));
                let (data, flags) = (&body[usize::from(body[12] >> 4) * 4..], body[13]);
                if flags & SYN != 0 {
                    let first = seq.wrapping_add(1);
                    let known = open.get(&(from, to)).is_some_and(|(_, way)| way.first == first);
                    if !known {
                        let way =
                            Direction { first, is_reply: flags & ACK != 0, parts: BTreeMap::new() };
                        let ended = open.insert((from, to), (number, way));
                        sent.extend(ended.and_then(|(at, way)| way.end(from, to).map(|s| (at, s))));
                    }
                } else if let Some((_, way)) = open.get_mut(&(from, to))
                    && !data.is_empty()
                {
                    let part = way.parts.entry(seq.wrapping_sub(way.first)).or_default();
                    if part.len() < data.len() {
                        *part = data.to_vec();
                    }
                }
            }
            protocol => panic!("protocol {protocol}"),
        }
    }
    for ((from, to), (at, way)) in open {
        sent.extend(way.end(from, to).map(|sent| (at, sent)));
    }
    sent.sort_by_key(|(number, _)| *number);
    sent
}

impl Direction {
    /// All bytes, if there are any.
    fn end(self, from: SocketAddrV4, to: SocketAddrV4) -> Option<Sent> {
        let mut bytes: Vec<u8> = Vec::new();
        for (at, part) in self.parts {
            let at = at as usize;
            // Keep-alives repeat a byte from before the beginning.
            if at > u32::MAX as usize / 2 {
                continue;
            }
            assert!(at <= bytes.len(), "{from} -> {to}: a segment was not captured");
            let new = (bytes.len() - at).min(part.len());
            bytes.extend(&part[new..]);
        }
        let kind = if self.is_reply { "reply" } else { "stream" };
        (!bytes.is_empty()).then_some(Sent { from, to, kind, bytes })
    }
}

impl fmt::Display for Sent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hex = hex::encode(&self.bytes[..self.bytes.len().min(32)]);
        write!(f, "{} {} -> {} ({hex}...)", self.kind, self.from, self.to)
    }
}

fn little(bytes: &[u8]) -> u32 {
    u32::from_le_bytes(bytes.try_into().expect("four bytes"))
}

fn big(bytes: &[u8]) -> u16 {
    u16::from_be_bytes(bytes.try_into().expect("two bytes"))
}

const SYN: u8 = 0x02;
const ACK: u8 = 0x10;
const KEY: &str = "T9jncgl9mbLus+baTTa7q7nPSUrXwbDi2dhbtqir37s=";
const OTHER_KEY: &str = "HvY8ubRZMgafUOWvrOadwOckVa1wN3QWAo46FVKbVN8=";
