//! Writes given bytes as captures in tcpdump's format.

use std::net::SocketAddrV4;

/// A capture in pcap, of bare IPv4 packets.
pub struct Pcap {
    bytes: Vec<u8>,
    packets: u32,
}

impl Pcap {
    /// An empty capture.
    #[must_use]
    pub fn new() -> Self {
        let mut bytes = Vec::new();
        bytes.extend(0xa1b2_c3d4_u32.to_le_bytes());
        bytes.extend([2, 0, 4, 0]);
        for word in [0, 0, 262_144, LINK_RAW] {
            bytes.extend(word.to_le_bytes());
        }
        Self { bytes, packets: 0 }
    }

    /// The file so far.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Adds a datagram of UDP, a millisecond after the last packet.
    pub fn datagram(&mut self, from: SocketAddrV4, to: SocketAddrV4, data: &[u8]) {
        let mut header = Vec::new();
        for half in [from.port(), to.port(), length(UDP_BYTES + data.len()), 0] {
            header.extend(half.to_be_bytes());
        }
        self.packet(from, to, UDP, &[&header, data].concat());
    }

    /// Adds a whole TCP connection: the data of the dialer, then the reply.
    pub fn stream(&mut self, from: SocketAddrV4, to: SocketAddrV4, sent: &[u8], replied: &[u8]) {
        self.segment(from, to, SYN, 0, &[]);
        self.segment(to, from, SYN | ACK, 0, &[]);
        for (from, to, bytes) in [(from, to, sent), (to, from, replied)] {
            let mut seq = 1;
            for part in bytes.chunks(SEGMENT_BYTES) {
                self.segment(from, to, ACK, seq, part);
                seq += u32::from(length(part.len()));
            }
            self.segment(from, to, FIN | ACK, seq, &[]);
        }
    }

    fn segment(&mut self, from: SocketAddrV4, to: SocketAddrV4, flags: u8, seq: u32, data: &[u8]) {
        let mut header = Vec::new();
        header.extend(from.port().to_be_bytes());
        header.extend(to.port().to_be_bytes());
        header.extend(seq.to_be_bytes());
        header.extend(1_u32.to_be_bytes());
        // Five words of header, no options; a window; neither checksum nor urgent bytes.
        header.extend([5 << 4, flags, 0xff, 0xff, 0, 0, 0, 0]);
        self.packet(from, to, TCP, &[&header, data].concat());
    }

    fn packet(&mut self, from: SocketAddrV4, to: SocketAddrV4, protocol: u8, payload: &[u8]) {
        self.packets += 1;
        let len = length(IP_BYTES + payload.len());
        let micros = self.packets * 1000;
        for word in [1_000_000_000 + micros / 1_000_000, micros % 1_000_000] {
            self.bytes.extend(word.to_le_bytes());
        }
        for word in [u32::from(len); 2] {
            self.bytes.extend(word.to_le_bytes());
        }
        self.bytes.extend([0x45, 0]);
        self.bytes.extend(len.to_be_bytes());
        self.bytes.extend([0, 0, 0, 0, 64, protocol, 0, 0]);
        self.bytes.extend(from.ip().octets());
        self.bytes.extend(to.ip().octets());
        self.bytes.extend(payload);
    }
}

impl Default for Pcap {
    fn default() -> Self {
        Self::new()
    }
}

fn length(bytes: usize) -> u16 {
    bytes.try_into().expect("no packet is larger")
}

/// LINKTYPE_RAW: an IP packet without a header before it.
const LINK_RAW: u32 = 101;
const IP_BYTES: usize = 20;
const UDP_BYTES: usize = 8;
const SEGMENT_BYTES: usize = 1460;
const TCP: u8 = 6;
const UDP: u8 = 17;
const FIN: u8 = 0x01;
const SYN: u8 = 0x02;
const ACK: u8 = 0x10;
