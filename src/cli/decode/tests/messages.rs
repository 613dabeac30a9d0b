//! Layers, messages, filters, statistics.

use serde_json::Value;

use super::making::{A, B, Pcap, recorded, records, text};
use crate::{
    base::Rng,
    cli::decode::{Filter, Format, Options},
    serf::{
        Message, MsgpackTransform, TransformDelegate as _,
        message::{Bin, KeyRequest, Keys, NodeKeyResponse, Query, QueryResponse},
    },
    wire::{CodecConfig, Compression, Keyring, PacketCodec, Ping, PushPull, Role, SeqNo},
};

fn codec(label: &str, keys: &[Vec<u8>], protocol_version: u8) -> PacketCodec {
    let keyring = Keyring::build(keys, keys.first().map_or(&[], Vec::as_slice)).unwrap();
    PacketCodec::build(CodecConfig {
        label: label.into(),
        keyring,
        verify_incoming: true,
        verify_outgoing: true,
        compression: Compression::Lzw,
        protocol_version,
    })
    .unwrap()
}

fn ring(keys: &[Vec<u8>]) -> Keyring {
    Keyring::build(keys, &keys[0]).unwrap()
}

fn ping(node: &[u8]) -> Vec<u8> {
    let mut message = Vec::new();
    Ping { seq_no: SeqNo(7), node, ..Ping::default() }.encode(&mut message);
    message
}

fn user(message: &Message<'_>) -> Vec<u8> {
    let mut bytes = vec![8];
    MsgpackTransform.encode_message(message, &mut bytes);
    bytes
}

fn of(message: &[u8]) -> Value {
    records(&Pcap::new(1).udp(A, B, message).bytes, Options::default()).remove(0)
}

#[test]
fn every_layer_is_named_with_the_key_that_fitted() {
    let keys: Vec<_> = [16, 24, 32].map(|len| vec![len; len.into()]).into();
    let mut rng = Rng::from_u64(1);
    let node = [b'n'; 100];
    for (label, version) in [("", 2), ("dc1", 2), ("dc1", 1)] {
        for (at, key) in keys.iter().enumerate() {
            let mut codec = codec(label, std::slice::from_ref(key), version);
            let mut packet = Vec::new();
            codec.seal(&mut rng, &ping(&node), true, &mut packet);
            let options = Options { keyring: ring(&keys), ..Options::default() };
            let record = records(&Pcap::new(1).udp(A, B, &packet).bytes, options).remove(0);
            let mut layers = vec![format!("encrypt:{}", u8::from(version > 1))];
            layers.extend(["crc", "compress"].map(str::to_owned));
            if !label.is_empty() {
                layers.insert(0, format!("label:{label}"));
                assert_eq!(record["label"], label);
            }
            assert_eq!(record["layers"], serde_json::json!(layers), "{record}");
            assert_eq!(record["key"], at + 1);
            assert_eq!(record["type"], "ping");
            // With other keys, and with none.
            for known in [&keys[(at + 1) % 3..=(at + 1) % 3], &[]] {
                let keyring = if known.is_empty() { Keyring::default() } else { ring(known) };
                let options = Options { keyring, ..Options::default() };
                let record = records(&Pcap::new(1).udp(A, B, &packet).bytes, options).remove(0);
                assert_eq!(record["type"], "encrypted", "{record}");
                assert_eq!(record["problem"], "no key opens it");
                let header = if label.is_empty() { 0 } else { 2 + label.len() };
                assert_eq!(
                    record["fields"],
                    serde_json::json!({"received": packet.len() - header})
                );
            }
        }
    }
}

#[test]
fn both_ends_of_an_encrypted_stream_are_read() {
    let key = vec![9; 32];
    let mut rng = Rng::from_u64(1);
    let mut message = Vec::new();
    PushPull::encode(true, std::iter::empty(), b"", &mut message);
    let codec = codec("dc1", std::slice::from_ref(&key), 2).stream_codec();
    let (mut dialer, mut reply) = (Vec::new(), Vec::new());
    codec.seal(&mut rng, Role::Dialer, &message, &mut dialer);
    codec.seal(&mut rng, Role::Acceptor, &message, &mut reply);
    let capture = std::mem::take(&mut Pcap::new(1).stream(&dialer, &reply).bytes);
    let options = || Options { keyring: ring(std::slice::from_ref(&key)), ..Options::default() };
    let both = records(&capture, options());
    let layers: Vec<_> = both.iter().map(|record| record["layers"].to_string()).collect();
    assert_eq!(layers, [r#"["label:dc1","encrypt:1","compress"]"#, r#"["encrypt:1","compress"]"#]);
    assert!(both.iter().all(|record| record["type"] == "push-pull" && record["key"] == 1));
    // Without its request a reply can only be decrypted with the label option.
    let mut alone = Pcap::new(1);
    alone.stream(b"", &reply);
    assert_eq!(records(&alone.bytes, options())[0]["type"], "encrypted");
    let labelled = Options { label: Some(b"dc1".into()), ..options() };
    assert_eq!(records(&alone.bytes, labelled)[0]["type"], "push-pull");
    // With another label the packets are not gossip.
    let other = Options { label: Some(b"dc2".into()), ..options() };
    assert!(records(&capture, other).is_empty());
    for record in records(&capture, Options::default()) {
        assert_eq!(record["type"], "encrypted");
    }
}

#[test]
fn bytes_that_mean_nothing_are_reported() {
    let problem = |message: &[u8]| of(message)["problem"].as_str().unwrap_or("").to_owned();
    assert_eq!(problem(&ping(b"a")), "");
    assert_eq!(problem(&[&ping(b"a")[..], b"xy"].concat()), "2 bytes after the message");
    let unknown = [&[0, 0x82, 0xa5][..], b"SeqNo\x07\xa3New\x01"].concat();
    assert_eq!(problem(&unknown), "unknown fields: New");
    let join = [8, 1, 0x81, 0xa5, b'L', b'T', b'i', b'm', b'e', 1, 0];
    assert_eq!(problem(&join), "1 bytes after the message");
    assert_eq!(problem(&[7, 1, 0, 1, 11]), "EOF");
    let part = ping(b"");
    let compound = [&[7, 1, 0, part.len() as u8][..], &part[..], b"?"].concat();
    let of_compound = records(&Pcap::new(1).udp(A, B, &compound).bytes, Options::default());
    assert_eq!(of_compound[1]["problem"], "compound of 1 messages and 1 bytes after them");
    assert!(problem(b"GET / HTTP/1.1").contains("HTTP"));
}

#[test]
fn text_has_coordinates_to_the_microsecond_and_json_whole() {
    let height = 0.000_264_894_331_f64;
    let coordinate = [&b"\x01\x81\xa6Height\xcb"[..], &height.to_be_bytes()].concat();
    let ack = [&b"\x02\x82\xa5SeqNo\x07\xa7Payload\xb2"[..], &coordinate].concat();
    let line = text(&Pcap::new(1).udp(A, B, &ack).bytes, &Options::default());
    assert!(line.contains(" height=0.000265}"), "{line}");
    assert_eq!(of(&ack)["fields"]["payload"]["height"], height);
}

#[test]
fn keys_are_never_shown() {
    let (key, other) = (vec![0x41; 32], vec![0x42; 32]);
    let (text_a, text_b) = ("QUFB".repeat(11), "QkJC".repeat(11));
    let (text_a, text_b) = (&text_a[..43], &text_b[..43]);
    let (in_base64, other_in_base64) = (format!("{text_a}="), format!("{text_b}="));
    let mut request = Vec::new();
    let payload = Message::KeyRequest(KeyRequest { key: Bin::from(key.as_slice()) });
    MsgpackTransform.encode_message(&payload, &mut request);
    let mut response = Vec::new();
    let answer = Message::KeyResponse(NodeKeyResponse {
        result: true,
        message: b"",
        keys: Keys(vec![in_base64.as_bytes(), other_in_base64.as_bytes()]),
        primary_key: in_base64.as_bytes(),
    });
    MsgpackTransform.encode_message(&answer, &mut response);
    let mut pcap = Pcap::new(1);
    for name in ["install-key", "use-key", "remove-key", "list-keys"] {
        let name = format!("_serf_{name}");
        for payload in [request.as_slice(), &key, &request[..request.len() - 1], b""] {
            let query =
                Query { name: name.as_bytes(), payload: payload.into(), ..Query::default() };
            pcap.udp(A, B, &user(&Message::Query(query)));
        }
    }
    let response = QueryResponse {
        from: b"b",
        payload: response.as_slice().into(),
        ..QueryResponse::default()
    };
    pcap.udp(B, A, &user(&Message::QueryResponse(response)));
    for format in [Format::Text, Format::Json] {
        let keyring = ring(std::slice::from_ref(&other));
        let options = Options { keyring, format, ..Options::default() };
        let lines = text(&pcap.bytes, &options);
        for secret in ["AAAA", "4141", "BBBB", "QUFB", "QkJC", "4242"] {
            assert!(!lines.contains(secret), "{lines}");
        }
        assert!(lines.contains("key 1, 32 bytes") && lines.contains("unknown key, 32 bytes"));
    }
}

#[test]
fn other_traffic_is_left_alone_and_gossip_on_other_ports_is_found() {
    let (from, to) = ("10.0.0.1:5300", "10.0.0.2:53");
    let mut pcap = Pcap::new(1);
    // DNS queries with every id; NTP, voice, noise.
    for first in 0..=255 {
        pcap.udp(
            from,
            to,
            &[&[first, 0x80, 1, 0, 0, 1][..], &[0; 6], b"\x04serf\x02io\0\0\x01\0\x01"].concat(),
        );
        pcap.udp(from, to, &[first; 48]);
        pcap.tcp(from, to, "A", 1, &[first; 48]);
    }
    assert_eq!(text(&pcap.bytes, &Options::default()), "");
    let mut pcap = Pcap::new(1);
    let mut wanted = 0;
    for (kind, bytes, names) in recorded() {
        if kind == "packet" {
            pcap.udp(from, to, &bytes);
            wanted += names.len();
        }
    }
    assert_eq!(text(&pcap.bytes, &Options::default()).lines().count(), wanted);
    let named = Options { ports: [53].into(), ..Options::default() };
    assert_eq!(text(&Pcap::new(1).udp(from, to, b"?").bytes, &named).lines().count(), 1);
}

#[test]
fn filters_choose_by_type_node_and_name() {
    let mut pcap = Pcap::new(1);
    for (kind, bytes, _) in recorded() {
        match kind.as_str() {
            "packet" => pcap.udp(A, B, &bytes),
            "stream" => pcap.stream(&bytes, b""),
            _ => &mut pcap,
        };
    }
    let all = records(&pcap.bytes, Options::default());
    let chosen = |types: &[&str], nodes: &[&str], names: &[&str]| {
        let [types, nodes, names] = [types, nodes, names]
            .map(|list| list.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>());
        let filter = Filter::build(&types, &nodes, &names).unwrap();
        records(&pcap.bytes, Options { filter, ..Options::default() })
    };
    let count = |kind: &str| all.iter().filter(|record| record["type"] == kind).count();
    assert_eq!(chosen(&[], &[], &[]).len(), all.len());
    assert_eq!(chosen(&["alive"], &[], &[]).len(), count("alive"));
    assert_eq!(chosen(&["Push/Pull"], &[], &[]).len(), count("push-pull"));
    assert_eq!(
        chosen(&["user event", "suspect"], &[], &[]).len(),
        count("user-event") + count("suspect")
    );
    let of_d = chosen(&[], &["d"], &[]);
    assert!(!of_d.is_empty() && of_d.len() < all.len());
    assert!(of_d.iter().all(|record| record.to_string().contains("\"d\"")), "{of_d:?}");
    let deploys = chosen(&["user-event"], &[], &["deploy"]);
    assert!(!deploys.is_empty());
    assert!(deploys.iter().all(|record| record["fields"]["name"] == "deploy"));
    assert!(chosen(&["suspect"], &[], &["deploy"]).is_empty());
    let wrong = Filter::build(&["gossip".to_owned()], &[], &[]).unwrap_err().to_string();
    assert!(wrong.starts_with("no such type: 'gossip'; there are: ping, indirect-ping"), "{wrong}");
}

#[test]
fn figures_count_messages_repetitions_and_round_trips() {
    let mut pcap = Pcap::new(1);
    let ack = [2, 0x81, 0xa5, b'S', b'e', b'q', b'N', b'o', 7];
    let suspect = [3, 0x81, 0xa4, b'N', b'o', b'd', b'e', 0xa1, b'c'];
    pcap.udp(A, B, &ping(b"b")).udp(B, A, &ack).udp(A, B, &suspect).udp(A, B, &suspect);
    pcap.udp(B, A, &suspect).udp(A, B, &ping(b"b"));
    let options = Options { stats: true, ..Options::default() };
    let figures = records(&pcap.bytes, options).remove(0);
    assert_eq!(figures["types"]["suspect"]["messages"], 3);
    assert_eq!(figures["types"]["suspect"]["again"], 1);
    assert_eq!(figures["probes"]["sent"], 2);
    assert_eq!(figures["probes"]["answered"], 1);
    assert_eq!(figures["probes"]["rtt_us"]["median"], 1000);
    let lines = text(&pcap.bytes, &Options { stats: true, ..Options::default() });
    assert!(lines.contains("median 1000, 99 % 1000, max 1000 µs"), "{lines}");
}
