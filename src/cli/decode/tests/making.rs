//! Creates captures for the tests.

use std::net::SocketAddr;

use etherparse::PacketBuilder;
use serde_json::Value;

use crate::cli::decode::{CaptureError, Format, Options, decode};

pub(super) const A: &str = "10.0.0.1:7946";
pub(super) const B: &str = "10.0.0.2:7946";
/// Address of the dialer.
pub(super) const DIALER: &str = "10.0.0.1:40000";

/// A capture in pcap, little-endian, with microseconds.
pub(super) struct Pcap {
    pub(super) bytes: Vec<u8>,
    link: u32,
    packets: u32,
}

impl Pcap {
    pub(super) fn new(link: u32) -> Self {
        let mut bytes = Vec::new();
        let kind = if link == VLAN { 1 } else { link };
        for word in [0xa1b2_c3d4, 0x0004_0002, 0, 0, 262_144, kind] {
            bytes.extend(u32::to_le_bytes(word));
        }
        Self { bytes, link, packets: 0 }
    }

    /// Adds an IP packet with the link header, a millisecond after the last one.
    pub(super) fn ip(&mut self, packet: &[u8]) -> &mut Self {
        let kind: [u8; 2] = if packet[0] >> 4 == 4 { [8, 0] } else { [0x86, 0xdd] };
        let header = match self.link {
            0 => vec![2, 0, 0, 0],
            1 => [&[0; 12], &kind[..]].concat(),
            101 => Vec::new(),
            113 => [&[0; 14], &kind[..]].concat(),
            276 => [&kind[..], &[0; 18]].concat(),
            VLAN => [&[0; 12], &[0x81, 0, 0, 7][..], &kind[..]].concat(),
            link => panic!("{link}"),
        };
        self.raw(&[&header, packet].concat())
    }

    pub(super) fn raw(&mut self, frame: &[u8]) -> &mut Self {
        self.packets += 1;
        let len = frame.len() as u32;
        for word in [1_000_000_000, self.packets * 1000, len, len] {
            self.bytes.extend(u32::to_le_bytes(word));
        }
        self.bytes.extend(frame);
        self
    }

    pub(super) fn udp(&mut self, from: &str, to: &str, data: &[u8]) -> &mut Self {
        let packet = udp(from, to, data);
        self.ip(&packet)
    }

    /// A TCP segment at `seq` with the named flags: S, A, F, R.
    pub(super) fn tcp(
        &mut self,
        from: &str,
        to: &str,
        flags: &str,
        seq: u32,
        data: &[u8],
    ) -> &mut Self {
        let (from, to) = (addr(from), addr(to));
        let mut builder = ip(from, to).tcp(from.port(), to.port(), seq, 1000);
        for flag in flags.chars() {
            builder = match flag {
                'S' => builder.syn(),
                'A' => builder.ack(1),
                'F' => builder.fin(),
                'R' => builder.rst(),
                flag => panic!("{flag}"),
            };
        }
        let mut packet = Vec::new();
        builder.write(&mut packet, data).unwrap();
        self.ip(&packet)
    }

    /// A whole connection: the dialer's data, then the reply.
    pub(super) fn stream(&mut self, dialer: &[u8], reply: &[u8]) -> &mut Self {
        self.tcp(DIALER, B, "S", 999, b"").tcp(B, DIALER, "SA", 4999, b"");
        for (at, part) in dialer.chunks(700).enumerate() {
            self.tcp(DIALER, B, "A", 1000 + 700 * at as u32, part);
        }
        for (at, part) in reply.chunks(700).enumerate() {
            self.tcp(B, DIALER, "A", 5000 + 700 * at as u32, part);
        }
        self.tcp(DIALER, B, "FA", 1000 + dialer.len() as u32, b"");
        self.tcp(B, DIALER, "FA", 5000 + reply.len() as u32, b"")
    }
}

pub(super) fn udp(from: &str, to: &str, data: &[u8]) -> Vec<u8> {
    let (from, to) = (addr(from), addr(to));
    let mut packet = Vec::new();
    ip(from, to).udp(from.port(), to.port()).write(&mut packet, data).unwrap();
    packet
}

fn ip(from: SocketAddr, to: SocketAddr) -> etherparse::PacketBuilderStep<etherparse::IpHeaders> {
    match (from, to) {
        (SocketAddr::V4(from), SocketAddr::V4(to)) => {
            PacketBuilder::ipv4(from.ip().octets(), to.ip().octets(), 64)
        }
        (SocketAddr::V6(from), SocketAddr::V6(to)) => {
            PacketBuilder::ipv6(from.ip().octets(), to.ip().octets(), 64)
        }
        mixed => panic!("{mixed:?}"),
    }
}

fn addr(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

pub(super) fn lines(capture: &[u8], options: &Options) -> (String, Result<String, CaptureError>) {
    let mut text = String::new();
    let input: Box<dyn std::io::Read> = Box::new(std::io::Cursor::new(capture.to_vec()));
    let result = decode([input], options, &mut |lines| text.push_str(lines));
    (text, result)
}

/// The records of a complete capture in JSON.
pub(super) fn records(capture: &[u8], options: Options) -> Vec<Value> {
    let options = Options { format: Format::Json, ..options };
    let (text, result) = lines(capture, &options);
    result.unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The lines of text of a complete capture.
pub(super) fn text(capture: &[u8], options: &Options) -> String {
    let (text, result) = lines(capture, options);
    result.unwrap();
    text
}

/// Recorded from real Go nodes: kind of capture, bytes, and what Go decoded in them.
pub(super) fn recorded() -> Vec<(String, Vec<u8>, Vec<Value>)> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/recorded.json");
    let all: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let recorded = all.as_array().unwrap().iter().map(|capture| {
        let bytes = hex::decode(capture["hex"].as_str().unwrap()).unwrap();
        let messages = capture["messages"].as_array().unwrap().clone();
        (capture["capture"].as_str().unwrap().to_owned(), bytes, messages)
    });
    recorded.collect()
}

/// A stream from [`recorded`].
pub(super) fn recorded_stream() -> (Vec<u8>, Vec<Value>) {
    let mut all = recorded().into_iter();
    let (_, stream, messages) = all.find(|(kind, ..)| kind == "stream").unwrap();
    (stream, messages)
}

/// A made-up link type number for Ethernet with a VLAN tag.
pub(super) const VLAN: u32 = 1_000_001;
