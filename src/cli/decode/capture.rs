//! Reads packets from a file or a pipe, in pcap or pcapng.

use std::io::{self, Read};

use pcap_parser::{
    Block, EPB_MAGIC, IDB_MAGIC, PcapError, PcapHeader, SHB_MAGIC, SPB_MAGIC, nom, parse_block_be,
    parse_block_le, parse_pcap_frame, parse_pcap_frame_be, parse_pcap_frame_modified,
    parse_pcap_header, traits::PcapNGPacketBlock as _,
};

use crate::{
    base::{error_texts, go_net},
    wire::DecodeError,
};

/// A captured packet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Packet<'a> {
    /// Nanoseconds since 1970, in UTC.
    pub(super) time_ns: i128,
    /// Type of the outermost header: a `LINKTYPE_` number.
    pub(super) link: i32,
    /// The captured bytes.
    pub(super) data: &'a [u8],
}

/// Why a capture cannot be read to its end.
#[derive(Debug)]
#[non_exhaustive]
pub enum CaptureError {
    /// The file or pipe cannot be read.
    Read(io::Error),
    /// The input is neither pcap nor pcapng.
    NoCapture,
    /// A record is inconsistent.
    Broken,
    /// The input ends inside a record.
    Truncated,
    /// A record is larger than any packet requires.
    RecordTooLarge,
    /// More interfaces than the limit.
    TooManyInterfaces,
    /// The label is invalid.
    Label(DecodeError),
}

error_texts! {
    CaptureError {
        Self::Read(error) => "{}", go_net::error_text(error);
        Self::NoCapture => "neither pcap nor pcapng";
        Self::Broken => "a record is broken";
        Self::Truncated => "the file ends inside a record";
        Self::RecordTooLarge => "a record is larger than any packet";
        Self::TooManyInterfaces => "too many interfaces";
        Self::Label(error) => "{error}";
    }
}

impl std::error::Error for CaptureError {}

/// Reads packets one by one. Holds one record, of at most [`RECORD_BYTES_MAX`].
pub(super) struct Capture<R> {
    input: R,
    buf: Vec<u8>,
    taken: usize,
    format: Format,
}

enum Format {
    Unknown,
    Pcap(PcapHeader),
    PcapNg(Section),
}

/// Parameters of a pcapng section for the packets that follow.
#[derive(Default)]
struct Section {
    big_endian: bool,
    interfaces: Vec<Interface>,
}

#[derive(Clone, Copy)]
struct Interface {
    link: i32,
    /// Clock units in a second.
    resolution: u128,
    offset_s: i64,
    /// Most captured bytes of a packet; 0: all.
    snap: u32,
}

/// A parsed record: its length, and its packet, if any.
struct Parsed {
    len: usize,
    packet: Option<Found>,
}

/// Position of a packet in the record.
struct Found {
    time_ns: i128,
    link: i32,
    start: usize,
    len: usize,
}

impl<R: Read> Capture<R> {
    pub(super) fn new(input: R) -> Self {
        Self { input, buf: Vec::new(), taken: 0, format: Format::Unknown }
    }

    /// The next packet; `None` at the end. Calls `wait` before it reads input.
    ///
    /// # Errors
    /// The input cannot be read, is not a capture, or ends inside a record.
    pub(super) fn next(
        &mut self,
        mut wait: impl FnMut(),
    ) -> Result<Option<Packet<'_>>, CaptureError> {
        let found = loop {
            let rest = self.buf.get(self.taken..).unwrap_or_default();
            match self.format.parse(rest)? {
                Some(Parsed { len, packet }) => {
                    let start = self.taken;
                    self.taken += len;
                    if let Some(packet) = packet {
                        break Found { start: start + packet.start, ..packet };
                    }
                }
                None if rest.len() >= RECORD_BYTES_MAX => return Err(CaptureError::RecordTooLarge),
                None => {
                    wait();
                    if !self.fill().map_err(CaptureError::Read)? {
                        return self.end();
                    }
                }
            }
        };
        let Found { time_ns, link, start, len } = found;
        let data = self.buf.get(start..start + len).unwrap_or_default();
        Ok(Some(Packet { time_ns, link, data }))
    }

    fn end(&self) -> Result<Option<Packet<'_>>, CaptureError> {
        match (&self.format, self.buf.len() - self.taken) {
            (Format::Unknown, _) => Err(CaptureError::NoCapture),
            (_, 0) => Ok(None),
            _ => Err(CaptureError::Truncated),
        }
    }

    /// Reads more input; returns false at the end.
    fn fill(&mut self) -> io::Result<bool> {
        self.buf.drain(..self.taken);
        self.taken = 0;
        let before = self.buf.len();
        self.buf.resize(before + READ_BYTES, 0);
        let read = loop {
            match self.input.read(self.buf.get_mut(before..).unwrap_or_default()) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => break read,
            }
        };
        self.buf.truncate(before + read.as_ref().copied().unwrap_or(0));
        read.map(|len| len > 0)
    }
}

impl Format {
    /// Parses the record at the start of `input`; `None` if it is incomplete.
    fn parse(&mut self, input: &[u8]) -> Result<Option<Parsed>, CaptureError> {
        match self {
            Self::Unknown => match input {
                [0x0a, 0x0d, 0x0d, 0x0a, ..] => {
                    *self = Self::PcapNg(Section::default());
                    Ok(Some(Parsed { len: 0, packet: None }))
                }
                [_, _, _, _, ..] => {
                    let Some((len, header)) = whole(input, parse_pcap_header(input))? else {
                        return Ok(None);
                    };
                    *self = Self::Pcap(header);
                    Ok(Some(Parsed { len, packet: None }))
                }
                _ => Ok(None),
            },
            Self::Pcap(header) => pcap(header, input),
            Self::PcapNg(section) => section.parse(input),
        }
    }
}

fn pcap(header: &PcapHeader, input: &[u8]) -> Result<Option<Parsed>, CaptureError> {
    let parse = match (header.is_modified_format(), header.is_bigendian()) {
        (true, _) => parse_pcap_frame_modified,
        (false, true) => parse_pcap_frame_be,
        (false, false) => parse_pcap_frame,
    };
    let Some((len, block)) = whole(input, parse(input))? else { return Ok(None) };
    let unit: i128 = if header.is_nanosecond_precision() { 1 } else { 1_000 };
    let packet = Found {
        time_ns: i128::from(block.ts_sec) * NANOS + i128::from(block.ts_usec) * unit,
        // The upper bits are the length of frame check sequences.
        link: header.network.0 & 0xffff,
        start: len - block.data.len(),
        len: block.data.len(),
    };
    Ok(Some(Parsed { len, packet: Some(packet) }))
}

impl Section {
    fn parse(&mut self, input: &[u8]) -> Result<Option<Parsed>, CaptureError> {
        let Some((kind, bytes)) = input.split_first_chunk() else { return Ok(None) };
        let Some((bytes, _)) = bytes.split_first_chunk() else { return Ok(None) };
        let kind = self.number(*kind);
        if ![SHB_MAGIC, IDB_MAGIC, EPB_MAGIC, SPB_MAGIC].contains(&kind) {
            return skipped(self.number(*bytes), input);
        }
        let parse = if self.big_endian { parse_block_be } else { parse_block_le };
        let Some((len, block)) = whole(input, parse(input))? else { return Ok(None) };
        let packet = match block {
            Block::SectionHeader(header) => {
                *self = Self { big_endian: header.big_endian(), interfaces: Vec::new() };
                None
            }
            Block::InterfaceDescription(interface) => {
                if self.interfaces.len() >= INTERFACES_MAX {
                    return Err(CaptureError::TooManyInterfaces);
                }
                self.interfaces.push(Interface {
                    link: interface.linktype.0,
                    resolution: resolution(interface.if_tsresol),
                    offset_s: interface.if_tsoffset,
                    snap: interface.snaplen,
                });
                None
            }
            Block::EnhancedPacket(block) => {
                let interface = self.interfaces.get(block.if_id as usize).copied();
                let interface = interface.unwrap_or_default();
                let data = block.packet_data().len();
                Some(Found {
                    time_ns: interface.time_ns(block.ts_high, block.ts_low),
                    link: interface.link,
                    start: ENHANCED_HEADER_LEN,
                    len: data,
                })
            }
            Block::SimplePacket(block) => {
                let interface = self.interfaces.first().copied().unwrap_or_default();
                let snap = if interface.snap == 0 { u32::MAX } else { interface.snap };
                let data = block.packet_data().len().min(snap as usize);
                Some(Found {
                    time_ns: 0,
                    link: interface.link,
                    start: SIMPLE_HEADER_LEN,
                    len: data,
                })
            }
            _ => None,
        };
        Ok(Some(Parsed { len, packet }))
    }

    fn number(&self, bytes: [u8; 4]) -> u32 {
        if self.big_endian { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) }
    }
}

/// Skips a block without packets. The library does not get it: for some kinds its parser trusts a
/// length that it has not checked. Faulty contents of such a block do not end the capture.
fn skipped(bytes: u32, input: &[u8]) -> Result<Option<Parsed>, CaptureError> {
    match bytes as usize {
        0..BLOCK_BYTES_MIN => Err(CaptureError::Broken),
        len if len > RECORD_BYTES_MAX => Err(CaptureError::RecordTooLarge),
        len if len > input.len() => Ok(None),
        len => Ok(Some(Parsed { len, packet: None })),
    }
}

impl Interface {
    fn time_ns(self, high: u32, low: u32) -> i128 {
        let units = u128::from(high) << 32 | u128::from(low);
        let nanos = units.saturating_mul(NANOS as u128) / self.resolution;
        i128::try_from(nanos).unwrap_or(i128::MAX).saturating_add(i128::from(self.offset_s) * NANOS)
    }
}

/// Used for packets whose interface is not described in the file: their headers are unknown.
impl Default for Interface {
    fn default() -> Self {
        Self { link: -1, resolution: 1_000_000, offset_s: 0, snap: 0 }
    }
}

/// Clock units in a second: a power of ten, or of two if the highest bit is set.
fn resolution(option: u8) -> u128 {
    let exponent = u32::from(option & 0x7f);
    let base: u128 = if option & 0x80 == 0 { 10 } else { 2 };
    base.checked_pow(exponent).unwrap_or(u128::MAX)
}

/// The result of a parser with the number of bytes it consumed.
fn whole<'a, T>(
    input: &'a [u8],
    parsed: nom::IResult<&'a [u8], T, PcapError<&'a [u8]>>,
) -> Result<Option<(usize, T)>, CaptureError> {
    match parsed {
        Ok((rest, found)) => Ok(Some((input.len() - rest.len(), found))),
        Err(nom::Err::Incomplete(_)) => Ok(None),
        Err(nom::Err::Error(PcapError::HeaderNotRecognized)) => Err(CaptureError::NoCapture),
        Err(nom::Err::Error(_) | nom::Err::Failure(_)) => Err(CaptureError::Broken),
    }
}

/// Largest record; tcpdump's largest packet has 256 KiB.
const RECORD_BYTES_MAX: usize = 1024 * 1024;
/// Most interfaces in a section of a pcapng file.
const INTERFACES_MAX: usize = 4096;
const READ_BYTES: usize = 64 * 1024;
/// Type, length, and length again.
const BLOCK_BYTES_MIN: usize = 12;
/// Type, length, interface, time (2), captured and original length.
const ENHANCED_HEADER_LEN: usize = 28;
/// Type, length, original length.
const SIMPLE_HEADER_LEN: usize = 12;
const NANOS: i128 = 1_000_000_000;
