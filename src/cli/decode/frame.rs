//! Extracts UDP and TCP from captured packets: link headers, IPv4, IPv6, fragments.

use std::net::{IpAddr, SocketAddr};

use etherparse::{
    EtherType, IpNumber, Ipv6ExtensionSlice, Ipv6ExtensionsSlice, LaxNetSlice, LaxSlicedPacket,
    TcpSlice, UdpSlice,
};

use super::{assembly::Assembly, recent::Recent};

/// The data of one packet from one socket to another.
#[derive(Clone, Copy, Debug)]
pub(super) struct Segment<'a> {
    pub(super) from: SocketAddr,
    pub(super) to: SocketAddr,
    pub(super) payload: Payload<'a>,
}

/// The transport's header and data.
#[derive(Clone, Copy, Debug)]
pub(super) enum Payload<'a> {
    /// A datagram, and the number of its missing bytes.
    Udp {
        data: &'a [u8],
        missing: usize,
    },
    Tcp(Tcp<'a>),
}

/// A segment of TCP.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tcp<'a> {
    pub(super) seq: u32,
    pub(super) syn: bool,
    pub(super) ack: bool,
    pub(super) fin: bool,
    pub(super) rst: bool,
    pub(super) data: &'a [u8],
}

/// Why a packet contains nothing to decode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Skipped {
    /// An unknown link type, or a packet of an interface that was not described.
    Link,
    /// Neither IPv4 nor IPv6.
    NotIp,
    /// Neither UDP nor TCP.
    NotTransport,
    /// Truncated or invalid headers.
    Broken,
    /// A fragment; others are still missing.
    Fragment,
    /// A fragment that is inconsistent with others, or exceeds a limit.
    BadFragment,
}

impl Skipped {
    /// Text for the summary.
    pub(super) fn text(self) -> &'static str {
        match self {
            Self::Link => "of unknown links",
            Self::NotIp => "not of IP",
            Self::NotTransport => "of other transports",
            Self::Broken => "with broken headers",
            Self::Fragment => "fragments before the last",
            Self::BadFragment => "fragments that fit nowhere",
        }
    }
}

/// Removes the headers and reassembles fragments.
pub(super) struct Frames {
    fragments: Recent<FragmentId, Partial>,
    whole: Vec<u8>,
    /// Incomplete fragmented packets evicted by newer ones.
    pub(super) fragments_lost: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct FragmentId {
    from: IpAddr,
    to: IpAddr,
    id: u32,
    protocol: u8,
}

#[derive(Default)]
struct Partial {
    assembly: Assembly,
    end: Option<u64>,
    data: Vec<u8>,
}

impl Frames {
    pub(super) fn new() -> Self {
        Self { fragments: Recent::new(FRAGMENTED_MAX), whole: Vec::new(), fragments_lost: 0 }
    }

    /// Number of incomplete fragmented packets.
    pub(super) fn waiting(&self) -> usize {
        self.fragments.len()
    }

    /// Extracts the data of a packet with the given link type.
    ///
    /// # Errors
    /// The packet contains nothing to decode.
    pub(super) fn open<'a>(
        &'a mut self,
        link: i32,
        data: &'a [u8],
    ) -> Result<Segment<'a>, Skipped> {
        let packet = slice(link, data)?;
        let (from, to, fragment) = match packet.net.as_ref().ok_or(Skipped::NotIp)? {
            LaxNetSlice::Ipv4(ip) => {
                let header = ip.header();
                let fragment = (
                    u32::from(header.identification()),
                    u64::from(header.fragments_offset().byte_offset()),
                    header.more_fragments(),
                );
                (header.source_addr().into(), header.destination_addr().into(), fragment)
            }
            LaxNetSlice::Ipv6(ip) => {
                let header = ip.header();
                let fragment = ipv6_fragment(ip.extensions())?.unwrap_or_default();
                (header.source_addr().into(), header.destination_addr().into(), fragment)
            }
            LaxNetSlice::Arp(_) => return Err(Skipped::NotIp),
        };
        let payload = packet.net.as_ref().and_then(LaxNetSlice::ip_payload_ref);
        let payload = payload.ok_or(Skipped::NotIp)?;
        let protocol = payload.ip_number;
        if !payload.fragmented {
            return transport(from, to, protocol, payload.payload);
        }
        let (id, offset, more) = fragment;
        let id = FragmentId { from, to, id, protocol: protocol.0 };
        self.whole = self.fragment(id, offset, more, payload.payload)?;
        transport(from, to, protocol, &self.whole)
    }

    /// Adds a fragment; returns the packet's payload once it is complete.
    fn fragment(
        &mut self,
        id: FragmentId,
        offset: u64,
        more: bool,
        data: &[u8],
    ) -> Result<Vec<u8>, Skipped> {
        if self.fragments.get_mut(&id).is_none()
            && self.fragments.insert(id, Partial::default()).is_some()
        {
            self.fragments_lost += 1;
        }
        let partial = self.fragments.get_mut(&id).ok_or(Skipped::BadFragment)?;
        let end = offset + data.len() as u64;
        if !more {
            partial.end = Some(partial.end.map_or(end, |known| known.min(end)));
        }
        if end > IP_BYTES_MAX || partial.assembly.insert(offset, data).is_err() {
            self.fragments.remove(&id);
            return Err(Skipped::BadFragment);
        }
        while let Some(piece) = partial.assembly.take() {
            partial.data.extend_from_slice(&piece);
        }
        match partial.end {
            Some(end) if partial.assembly.taken() >= end => {
                let whole = self.fragments.remove(&id).ok_or(Skipped::BadFragment)?;
                Ok(whole.data)
            }
            _ => Err(Skipped::Fragment),
        }
    }
}

/// Removes the link header. The numbers are those of `LINKTYPE_`.
fn slice(link: i32, data: &[u8]) -> Result<LaxSlicedPacket<'_>, Skipped> {
    let ether = |at: usize, header: usize| {
        let kind = data.get(at..at + 2).and_then(|kind| kind.first_chunk()).copied();
        let kind = EtherType(u16::from_be_bytes(kind.ok_or(Skipped::Broken)?));
        let rest = data.get(header..).ok_or(Skipped::Broken)?;
        Ok(LaxSlicedPacket::from_ether_type(kind, rest))
    };
    let ip = |header: usize| {
        let rest = data.get(header..).ok_or(Skipped::Broken)?;
        match rest.first().map(|first| first >> 4) {
            Some(4 | 6) => LaxSlicedPacket::from_ip(rest).map_err(|_| Skipped::Broken),
            Some(_) => Err(Skipped::NotIp),
            None => Err(Skipped::Broken),
        }
    };
    match link {
        ETHERNET => LaxSlicedPacket::from_ethernet(data).map_err(|_| Skipped::Broken),
        LINUX_SLL => ether(14, 16),
        LINUX_SLL2 => ether(0, 20),
        NULL | LOOP => ip(4),
        RAW | RAW_BSD | RAW_OPENBSD | IPV4 | IPV6 => ip(0),
        _ => Err(Skipped::Link),
    }
}

/// Identification, offset and "more fragments" of the fragment header, if there is one.
///
/// The headers are checked a second time: a lenient slice may end within them, and its iterator
/// reads on without a check.
fn ipv6_fragment(lenient: &Ipv6ExtensionsSlice<'_>) -> Result<Option<(u32, u64, bool)>, Skipped> {
    let Some(first) = lenient.first_header() else { return Ok(None) };
    let checked = Ipv6ExtensionsSlice::from_slice(first, lenient.slice());
    let (headers, ..) = checked.map_err(|_| Skipped::Broken)?;
    Ok(headers.into_iter().find_map(|next| match next {
        Ipv6ExtensionSlice::Fragment(next) => Some((
            next.identification(),
            u64::from(next.fragment_offset().byte_offset()),
            next.more_fragments(),
        )),
        _ => None,
    }))
}

fn transport(
    from: IpAddr,
    to: IpAddr,
    protocol: IpNumber,
    payload: &[u8],
) -> Result<Segment<'_>, Skipped> {
    match protocol {
        IpNumber::UDP => {
            let udp = UdpSlice::from_slice_lax(payload).map_err(|_| Skipped::Broken)?;
            let data = udp.payload();
            let length = usize::from(udp.length()).saturating_sub(UDP_HEADER_LEN);
            Ok(Segment {
                from: SocketAddr::new(from, udp.source_port()),
                to: SocketAddr::new(to, udp.destination_port()),
                payload: Payload::Udp { data, missing: length.saturating_sub(data.len()) },
            })
        }
        IpNumber::TCP => {
            let tcp = TcpSlice::from_slice(payload).map_err(|_| Skipped::Broken)?;
            // Data that was not captured is treated like that of a lost segment.
            Ok(Segment {
                from: SocketAddr::new(from, tcp.source_port()),
                to: SocketAddr::new(to, tcp.destination_port()),
                payload: Payload::Tcp(Tcp {
                    seq: tcp.sequence_number(),
                    syn: tcp.syn(),
                    ack: tcp.ack(),
                    fin: tcp.fin(),
                    rst: tcp.rst(),
                    data: tcp.payload(),
                }),
            })
        }
        _ => Err(Skipped::NotTransport),
    }
}

const NULL: i32 = 0;
const ETHERNET: i32 = 1;
/// Number of raw IP in the files of some systems.
const RAW_BSD: i32 = 12;
const RAW_OPENBSD: i32 = 14;
const RAW: i32 = 101;
const LOOP: i32 = 108;
const LINUX_SLL: i32 = 113;
const IPV4: i32 = 228;
const IPV6: i32 = 229;
const LINUX_SLL2: i32 = 276;
const UDP_HEADER_LEN: usize = 8;
/// Most incomplete fragmented packets; the oldest are evicted.
const FRAGMENTED_MAX: usize = 64;
/// Largest IP packet.
const IP_BYTES_MAX: u64 = 65_535;
