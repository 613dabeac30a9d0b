//! Capture files, link types, fragments and segments.

use serde_json::json;

use super::{
    go::difference,
    making::{A, B, DIALER, Pcap, VLAN, lines, recorded, recorded_stream, records, text, udp},
};
use crate::cli::decode::Options;

#[test]
fn what_go_nodes_sent_says_the_same_as_to_go_on_every_link() {
    for link in [1, VLAN, 113, 276, 0, 101] {
        let mut wanted = Vec::new();
        let mut pcap = Pcap::new(link);
        for (kind, bytes, messages) in recorded() {
            match kind.as_str() {
                "packet" => pcap.udp(A, B, &bytes),
                "stream" => pcap.stream(&bytes, b""),
                // The label header, and a message.
                _ => pcap.stream(b"\xf4\x03rec\x00\x80", &bytes),
            };
            if kind == "reply" {
                wanted.push(json!({"type": "ping", "fields": {}}));
            }
            wanted.extend(messages);
        }
        let records = records(&pcap.bytes, Options::default());
        assert_eq!(records.len(), wanted.len(), "link {link}");
        for (record, wanted) in records.iter().zip(&wanted) {
            assert!(record["problem"].is_null(), "{record}");
            assert_eq!(difference(record, wanted), None, "{record}\n{wanted}");
        }
    }
}

#[test]
fn pcapng_of_both_byte_orders_says_the_same_as_pcap() {
    let ping = [0, 0x81, 0xa5, b'S', b'e', b'q', b'N', b'o', 7];
    let packet = udp(A, B, &ping);
    let block = |big: bool, kind: u32, body: &[u8]| {
        let len = 12 + body.len().next_multiple_of(4) as u32;
        let word = |word: u32| if big { word.to_be_bytes() } else { word.to_le_bytes() };
        let mut bytes = [word(kind), word(len)].concat();
        bytes.extend(body);
        bytes.resize(len as usize - 4, 0);
        bytes.extend(word(len));
        bytes
    };
    let file = |big: bool| {
        let word = |word: u32| if big { word.to_be_bytes() } else { word.to_le_bytes() };
        let half = |half: u16| if big { half.to_be_bytes() } else { half.to_le_bytes() };
        let section = [&word(0x1a2b_3c4d)[..], &half(1), &half(0), &[0xff; 8]].concat();
        // Nanoseconds.
        let option = [&half(9)[..], &half(1), &[9, 0, 0, 0], &half(0), &half(0)].concat();
        let interface = [&half(101)[..], &half(0), &word(0), &option].concat();
        let time = 1_000_000_000_001_000_000_u64;
        let len = packet.len() as u32;
        let header = [0, (time >> 32) as u32, time as u32, len, len].map(word).concat();
        [
            block(big, 0x0a0d_0d0a, &section),
            block(big, 1, &interface),
            block(big, 0x0bad, b"unknown"),
            // Names and processes, whose contents are none.
            block(big, 4, &[0xff; 6]),
            block(big, 0x8000_0001, &[]),
            block(big, 6, &[header, packet.clone()].concat()),
        ]
        .concat()
    };
    let mut pcap = Pcap::new(101);
    let expected = text(&pcap.ip(&packet).bytes, &Options::default());
    assert_eq!(
        expected,
        "2001-09-09T01:46:40.001000Z 10.0.0.1:7946 -> 10.0.0.2:7946 udp ping seq_no=7\n"
    );
    for big in [false, true] {
        assert_eq!(text(&file(big), &Options::default()), expected, "big-endian: {big}");
        // Two concatenated files, with each byte read separately.
        let twice = [file(big), file(!big)].concat();
        assert_eq!(text(&twice, &Options::default()).lines().count(), 2);
    }
}

#[test]
fn a_capture_that_is_cut_off_gives_what_came_before() {
    let mut pcap = Pcap::new(1);
    for (kind, bytes, _) in recorded().into_iter().take(6) {
        if kind == "packet" {
            pcap.udp(A, B, &bytes);
        } else {
            pcap.stream(&bytes, b"");
        }
    }
    let (whole, _) = lines(&pcap.bytes, &Options::default());
    for len in 0..pcap.bytes.len() {
        let (part, result) = lines(&pcap.bytes[..len], &Options::default());
        let complete = part.lines().filter(|line| !line.contains(" incomplete ")).count();
        let same =
            part.lines().zip(whole.lines()).take_while(|(part, whole)| part == whole).count();
        assert_eq!(same, complete, "{len}");
        assert!(len >= 24 || result.is_err(), "{len}");
    }
}

#[test]
fn segments_in_any_order_make_the_same_stream() {
    let (stream, messages) = recorded_stream();
    let at = |seq: usize| 1000 + seq as u32;
    let mut orders: Vec<Vec<(usize, usize)>> = Vec::new();
    let third = stream.len() / 3;
    orders.push(vec![(2 * third, stream.len()), (third, 2 * third), (0, third)]);
    // Overlaps, repetitions, one byte at a time.
    orders.push(vec![(third, stream.len()), (third, stream.len()), (0, 2 * third), (0, third)]);
    orders.push((0..stream.len()).rev().map(|at| (at, at + 1)).collect());
    for order in orders {
        let mut pcap = Pcap::new(1);
        pcap.tcp(DIALER, B, "S", 999, b"").tcp(B, DIALER, "SA", 4999, b"");
        for (from, to) in order {
            pcap.tcp(DIALER, B, "A", at(from), &stream[from..to]);
        }
        let records = records(&pcap.bytes, Options::default());
        assert_eq!(records.len(), 1);
        assert_eq!(difference(&records[0], &messages[0]), None);
        assert!(records[0]["problem"].is_null(), "{}", records[0]);
    }
}

#[test]
fn sequence_numbers_wrap_and_ports_are_used_again() {
    let (stream, messages) = recorded_stream();
    let mut pcap = Pcap::new(1);
    for first in [u32::MAX - 3, 77] {
        pcap.tcp(DIALER, B, "S", first, b"").tcp(B, DIALER, "SA", 4999, b"");
        for (at, byte) in stream.iter().enumerate() {
            pcap.tcp(DIALER, B, "A", first.wrapping_add(1 + at as u32), &[*byte]);
        }
    }
    let records = records(&pcap.bytes, Options::default());
    assert_eq!(records.len(), 2 * messages.len());
    assert!(records.iter().all(|record| record["problem"].is_null()), "{records:?}");
}

#[test]
fn a_stream_with_a_hole_is_reported_as_incomplete() {
    let (stream, _) = recorded_stream();
    let half = stream.len() / 2;
    let mut pcap = Pcap::new(1);
    pcap.tcp(DIALER, B, "S", 999, b"").tcp(DIALER, B, "A", 1000, &stream[..half]);
    pcap.tcp(DIALER, B, "A", 1000 + half as u32 + 5, &stream[half + 5..]);
    pcap.tcp(B, DIALER, "R", 0, b"");
    let lines = text(&pcap.bytes, &Options::default());
    let problem = format!("the connection ends; 5 bytes are missing after the first {half}");
    assert!(lines.contains(" incomplete ") && lines.contains(&problem), "{lines}");
    // Without the beginning of the connection.
    let mut pcap = Pcap::new(1);
    pcap.tcp(DIALER, B, "A", 1000, &stream[half..]);
    let lines = text(&pcap.bytes, &Options::default());
    assert!(lines.contains("problem=\"its beginning was not captured\""), "{lines}");
}

#[test]
fn fragments_are_put_together_in_any_order() {
    let event = [&[8, 3, 0x81, 0xa7][..], b"Payload", &[0xda, 4, 0], &[b'x'; 1024]].concat();
    let whole = udp(A, B, &event);
    let (header, payload) = whole.split_at(20);
    let fragment = |from: usize, to: usize| {
        let mut header = header.to_vec();
        let total = (20 + to - from) as u16;
        header[2..4].copy_from_slice(&total.to_be_bytes());
        let more = if to < payload.len() { 0x2000 } else { 0 };
        header[6..8].copy_from_slice(&(more | (from / 8) as u16).to_be_bytes());
        [&header, &payload[from..to]].concat()
    };
    let end = payload.len();
    for order in [[(0, 512), (512, 1000), (1000, end)], [(1000, end), (0, 512), (512, 1000)]] {
        let mut pcap = Pcap::new(1);
        for (from, to) in order {
            pcap.ip(&fragment(from, to));
        }
        let records = records(&pcap.bytes, Options::default());
        assert_eq!(records.len(), 1);
        assert_eq!(records[0]["fields"]["payload"], "x".repeat(1024));
    }
    let mut pcap = Pcap::new(1);
    let (lines, summary) = lines(&pcap.ip(&fragment(0, 512)).bytes, &Options::default());
    assert_eq!(lines, "");
    let summary = summary.unwrap();
    assert!(summary.contains("1 in fragments that are not complete"), "{summary}");
}

#[test]
fn ipv6_carries_the_same() {
    let ping = [0, 0x81, 0xa5, b'S', b'e', b'q', b'N', b'o', 7];
    let packet = udp("[fe80::1]:7946", "[fe80::2]:8301", &ping);
    for link in [1, 101, 113, 276] {
        let lines = text(&Pcap::new(link).ip(&packet).bytes, &Options::default());
        assert!(lines.contains(" [fe80::1]:7946 -> [fe80::2]:8301 udp ping seq_no=7"), "{lines}");
    }
}

#[test]
fn what_the_capture_cut_short_is_said_to_be_incomplete() {
    let (_, packet, _) =
        recorded().into_iter().find(|(kind, ..)| kind == "packet").expect("a packet");
    let whole = udp(A, B, &packet);
    let mut pcap = Pcap::new(101);
    pcap.raw(&whole[..whole.len() - 10]);
    let lines = text(&pcap.bytes, &Options::default());
    assert!(lines.contains(" incomplete ") && lines.contains("all but 10 bytes"), "{lines}");
}
