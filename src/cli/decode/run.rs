//! Decodes captures into lines.

use std::{collections::BTreeSet, fmt::Write as _, io::Read};

use super::{
    capture::{Capture, CaptureError},
    filter::Filter,
    frame::{Frames, Payload},
    gossip::{Gossip, Verdict},
    print,
    record::{Carrier, Record, Seen},
    stats::Stats,
    streams::Streams,
};
use crate::wire::Keyring;

/// Options for decoding a capture.
#[derive(Debug)]
pub struct Options {
    /// Keys, in any order.
    pub keyring: Keyring,
    /// If set, only this label is decoded. It is also used to decrypt replies whose request, which
    /// contains the label, was not captured.
    pub label: Option<Vec<u8>>,
    /// Gossip ports: packets from or to one are reported even if they cannot be decoded.
    pub ports: BTreeSet<u16>,
    /// Selects the messages to report.
    pub filter: Filter,
    /// Output format.
    pub format: Format,
    /// Print statistics at the end instead of messages.
    pub stats: bool,
}

/// Output formats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// For people.
    Text,
    /// For programs.
    Json,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            keyring: Keyring::default(),
            label: None,
            ports: PORTS.into(),
            filter: Filter::default(),
            format: Format::Text,
            stats: false,
        }
    }
}

/// Decodes captures, one after the other as if they were one, and writes lines to `out`, at the
/// latest before it waits for input. Returns a line about packets that were not decoded.
///
/// # Errors
/// A capture cannot be read to its end; earlier packets were decoded.
pub fn decode(
    inputs: impl IntoIterator<Item = Box<dyn Read>>,
    options: &Options,
    out: &mut dyn FnMut(&str),
) -> Result<String, CaptureError> {
    let mut decoder = Decoder::build(options)?;
    let mut result = Ok(());
    for input in inputs {
        result = decoder.capture(input, out);
        if result.is_err() {
            break;
        }
    }
    decoder.end(out);
    result.map(|()| decoder.summary())
}

/// The state kept from packet to packet.
struct Decoder<'o> {
    options: &'o Options,
    frames: Frames,
    gossip: Gossip,
    streams: Streams,
    stats: Stats,
    lines: String,
}

impl<'o> Decoder<'o> {
    fn build(options: &'o Options) -> Result<Self, CaptureError> {
        let (keyring, label) = (options.keyring.clone(), options.label.clone());
        Ok(Self {
            options,
            frames: Frames::new(),
            gossip: Gossip::build(keyring.clone(), label.clone()).map_err(CaptureError::Label)?,
            streams: Streams::new(keyring, label),
            stats: Stats::new(),
            lines: String::new(),
        })
    }

    fn capture(
        &mut self,
        input: Box<dyn Read>,
        out: &mut dyn FnMut(&str),
    ) -> Result<(), CaptureError> {
        let mut capture = Capture::new(input);
        loop {
            if self.lines.len() > LINES_BYTES_MAX {
                self.flush(out);
            }
            let lines = &mut self.lines;
            let packet = capture.next(|| {
                if !lines.is_empty() {
                    out(lines);
                    lines.clear();
                }
            })?;
            let Some(packet) = packet else { return Ok(()) };
            self.packet(packet.time_ns, packet.link, packet.data);
        }
    }

    fn packet(&mut self, time_ns: i128, link: i32, data: &[u8]) {
        let Self { options, frames, gossip, streams, stats, lines } = self;
        stats.packets += 1;
        let segment = match frames.open(link, data) {
            Ok(segment) => segment,
            Err(why) => return stats.skip(why),
        };
        let known = |port| options.ports.contains(&port);
        let (from, to) = (segment.from, segment.to);
        let ports = (known(from.port()), known(to.port()));
        let packet = stats.packets;
        let mut emitter = Emitter { options, stats, lines };
        let mut sink = |record: &Record<'_>| emitter.take(record);
        match segment.payload {
            Payload::Udp { data, missing } => {
                let seen = Seen { packet, time_ns, from, to, carrier: Carrier::Udp };
                let known = ports.0 || ports.1;
                match gossip.open(seen, data, missing, known, &mut sink) {
                    Verdict::Gossip => {
                        stats.datagrams += 1;
                        stats.datagram_bytes += data.len() as u64;
                    }
                    Verdict::Other => stats.other += 1,
                }
            }
            Payload::Tcp(tcp) => {
                let seen = Seen { packet, time_ns, from, to, carrier: Carrier::Tcp };
                streams.segment(seen, ports, tcp, &mut sink);
            }
        }
    }

    fn end(&mut self, out: &mut dyn FnMut(&str)) {
        let Self { options, streams, stats, lines, .. } = self;
        let mut emitter = Emitter { options, stats, lines };
        streams.end(&mut |record| emitter.take(record));
        if options.stats {
            match options.format {
                Format::Text => stats.text(&streams.counts, lines),
                Format::Json => stats.json(&streams.counts, lines),
            }
        }
        self.flush(out);
    }

    fn flush(&mut self, out: &mut dyn FnMut(&str)) {
        if !self.lines.is_empty() {
            out(&self.lines);
            self.lines.clear();
        }
    }

    /// Summarizes what was not decoded, so that nothing is omitted silently.
    fn summary(&self) -> String {
        let stats = &self.stats;
        let mut text = format!("{} packets", stats.packets);
        let mut add = |count: u64, what: &str| {
            if count > 0 {
                let _ = write!(text, ", {count} {what}");
            }
        };
        add(stats.other, "of other traffic");
        for (why, count) in &stats.skipped {
            add(*count, why.text());
        }
        let lost = self.frames.fragments_lost + self.frames.waiting() as u64;
        add(lost, "in fragments that are not complete");
        add(self.streams.counts.evicted, "connections given up");
        text
    }
}

/// Counts and prints the selected records.
struct Emitter<'e> {
    options: &'e Options,
    stats: &'e mut Stats,
    lines: &'e mut String,
}

impl Emitter<'_> {
    fn take(&mut self, record: &Record<'_>) {
        if !self.options.filter.admits(record) {
            return;
        }
        self.stats.add(record);
        if self.options.stats {
            return;
        }
        match self.options.format {
            Format::Text => print::text(record, self.lines),
            Format::Json => print::json(record, self.lines),
        }
    }
}

/// Default ports: Serf; Consul, LAN and WAN; Nomad.
const PORTS: [u16; 4] = [7946, 8301, 8302, 4648];
/// Most bytes of lines that are buffered.
const LINES_BYTES_MAX: usize = 256 * 1024;
