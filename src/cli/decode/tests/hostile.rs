//! Input that no implementation sends.

use super::making::{A, B, DIALER, Pcap, lines, recorded, records, text};
use crate::{
    base::{Rng, repaints},
    cli::decode::{Format, Options},
    wire::encode_compound,
};

#[test]
fn nothing_from_the_network_reaches_the_terminal_as_it_is() {
    let name = "\u{1b}[2J\r\n\u{202e}x\u{9b}\u{feff}\"\\ \u{7f}";
    let event = |name: &[u8]| {
        [
            &[8, 3, 0x82, 0xa4][..],
            b"Name",
            &[0xd9, name.len() as u8],
            name,
            &[0xa7],
            b"Payload",
            &[0xd9, name.len() as u8],
            name,
        ]
        .concat()
    };
    let mut pcap = Pcap::new(1);
    pcap.udp(A, B, &event(name.as_bytes())).udp(A, B, &event(b"\xff\x1b"));
    pcap.udp(A, B, &[&[0xf4, name.len() as u8], name.as_bytes(), &event(b"x")].concat());
    let unknown = [&[0, 0x82, 0xa5][..], b"SeqNo\x07\xa3\x1b[m\x01"].concat();
    pcap.udp(A, B, &unknown);
    for format in [Format::Text, Format::Json] {
        let lines = text(&pcap.bytes, &Options { format, ..Options::default() });
        assert_eq!(lines.lines().count(), 4, "{lines}");
        assert!(!lines.chars().any(|c| c != '\n' && repaints(c)), "{lines}");
    }
    let records = records(&pcap.bytes, Options::default());
    assert_eq!(records[0]["fields"]["name"], name, "JSON gives back what was sent");
    assert_eq!(records[1]["fields"]["name"]["hex"], "ff1b");
}

/// Blocks of pcapng that are too short to have their lengths, or longer than any.
#[test]
fn blocks_of_impossible_lengths_end_the_capture() {
    let word = u32::to_le_bytes;
    let head = [0x0a0d_0d0a, 28, 0x1a2b_3c4d, 1, u32::MAX, u32::MAX, 28].map(word).concat();
    let end = |kind, len| {
        let block = [kind, len, len].map(word).concat();
        let (_, end) = lines(&[&head[..], &block].concat(), &Options::default());
        end.err().map(|error| error.to_string())
    };
    let broken = Some("a record is broken".to_owned());
    for kind in [4, 5, 9, 0x0a, 0x0bad, 0x8000_0001, 0x1234] {
        for len in [0, 8, 11] {
            assert_eq!(end(kind, len), broken, "{kind:x} {len}");
        }
        assert_eq!(end(kind, 12), None, "{kind:x}");
        assert!(end(kind, u32::MAX).is_some(), "{kind:x}");
    }
    // An interface and packets.
    for kind in [1, 3, 6] {
        for len in [0, 8, 11, 12, u32::MAX] {
            assert!(end(kind, len).is_some(), "{kind:x} {len}");
        }
    }
}

#[test]
fn a_packet_that_unpacks_without_end_is_cut_off() {
    let mut message = vec![0, 0x80];
    for _ in 0..12 {
        let mut compound = Vec::new();
        encode_compound(&vec![message; 4], &mut compound);
        message = compound;
        if message.len() > 60_000 {
            break;
        }
    }
    let lines = text(
        &Pcap::new(101).udp(A, B, &message[..message.len().min(65_000)]).bytes,
        &Options::default(),
    );
    assert!(lines.lines().count() <= 1100, "{}", lines.lines().count());
    assert!(lines.contains("undecodable"), "{}", lines.len());
}

#[test]
fn broken_captures_neither_panic_nor_go_on_for_ever() {
    let mut pcap = Pcap::new(1);
    for (kind, bytes, _) in recorded() {
        match kind.as_str() {
            "packet" => pcap.udp(A, B, &bytes),
            "stream" => pcap.stream(&bytes, b""),
            _ => pcap.stream(b"\xf4\x03rec\x00\x80", &bytes),
        };
    }
    let mut rng = Rng::from_u64(3);
    for _ in 0..60 {
        let mut broken = pcap.bytes.clone();
        for _ in 0..=rng.below(20) {
            let at = rng.below(broken.len());
            broken[at] ^= 1 << rng.below(8);
        }
        for format in [Format::Text, Format::Json] {
            let _ = lines(&broken, &Options { format, ..Options::default() });
        }
    }
    for junk in [&b""[..], b"\x0a\x0d\x0d\x0a", b"\x1f\x8b\x08", b"GIF89a", &[0; 100]] {
        assert!(lines(junk, &Options::default()).1.is_err(), "{junk:?}");
    }
}

#[test]
fn connections_without_end_are_given_up() {
    let mut pcap = Pcap::new(101);
    for port in 1..=5000 {
        pcap.tcp(&format!("10.0.0.1:{port}"), B, "S", 0, b"");
        pcap.tcp(&format!("10.0.0.1:{port}"), B, "A", 2, b"out of order");
    }
    // A connection with more pending data than is kept.
    for at in 0..2000 {
        pcap.tcp(DIALER, B, "A", 1000 * at + 10 * u32::from(at > 0), &[0; 990]);
    }
    let (lines, summary) = lines(&pcap.bytes, &Options::default());
    assert!(summary.unwrap().contains("connections given up"));
    assert!(lines.contains("too many connections"), "{}", lines.len());
    assert!(lines.contains("never came") || lines.contains("not captured"), "{}", lines.len());
}

/// Headers may end within the packet or be in a wrong place: nothing behind them is read.
#[test]
fn cut_off_extension_headers_of_ipv6_are_not_read_beyond_the_packet() {
    // Hop by hop, routing, fragment, authentication, destination options.
    let kinds = [0, 43, 44, 51, 60];
    let mut pcap = Pcap::new(101);
    let mut count = 0;
    for first in kinds {
        for second in kinds {
            for length in [0, 1, 4, 255] {
                let header = |next| [&[next, length][..], &[0; 14]].concat();
                let whole = [header(second), header(17), vec![0; 2_100]].concat();
                for len in (0..40).chain([2_047, 2_048, 2_064, 2_100]) {
                    let mut packet = vec![0x60, 0, 0, 0, 0, 0, first, 64];
                    packet[4..6].copy_from_slice(&(len as u16).to_be_bytes());
                    packet.extend([0x20; 32]);
                    packet.extend(&whole[..len]);
                    pcap.raw(&packet);
                    count += 1;
                }
            }
        }
    }
    assert_eq!(count, 4_400);
    assert_eq!(text(&pcap.bytes, &Options::default()), "");
}
