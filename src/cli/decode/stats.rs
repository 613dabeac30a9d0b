//! Statistics of a capture: messages by type, retransmissions, probes.

use std::{collections::BTreeMap, net::SocketAddr};

use serde::Serialize;

use super::{
    field::Fields,
    frame::Skipped,
    print,
    recent::Recent,
    record::{Carrier, Kind, Record},
    streams::Counts,
};
use crate::cli::output::columns;

/// Collects the statistics.
pub(super) struct Stats {
    kinds: BTreeMap<Kind, Tally>,
    /// Messages by sender, to detect retransmissions.
    sent: Recent<(SocketAddr, u64), ()>,
    /// Pings by prober, target and sequence number, with their time.
    pings: Recent<(SocketAddr, SocketAddr, u64), i128>,
    rtts_us: Vec<u64>,
    probes: u64,
    answered: u64,
    pub(super) packets: u64,
    pub(super) other: u64,
    pub(super) skipped: BTreeMap<Skipped, u64>,
    pub(super) datagrams: u64,
    pub(super) datagram_bytes: u64,
}

#[derive(Clone, Copy, Debug, Default, Serialize)]
struct Tally {
    messages: u64,
    bytes: u64,
    again: u64,
}

/// The summary in JSON.
#[derive(Serialize)]
struct Summary {
    packets: u64,
    other_traffic: u64,
    skipped: BTreeMap<&'static str, u64>,
    datagrams: u64,
    datagram_bytes: u64,
    segments: u64,
    segment_bytes: u64,
    segments_again: u64,
    streams_given_up: u64,
    types: BTreeMap<&'static str, Tally>,
    probes: Probes,
}

#[derive(Serialize)]
struct Probes {
    sent: u64,
    answered: u64,
    rtt_us: Option<Rtt>,
}

#[derive(Serialize)]
struct Rtt {
    min: u64,
    median: u64,
    p99: u64,
    max: u64,
}

impl Stats {
    pub(super) fn new() -> Self {
        Self {
            kinds: BTreeMap::new(),
            sent: Recent::new(MESSAGES_MAX),
            pings: Recent::new(PINGS_MAX),
            rtts_us: Vec::new(),
            probes: 0,
            answered: 0,
            packets: 0,
            other: 0,
            skipped: BTreeMap::new(),
            datagrams: 0,
            datagram_bytes: 0,
        }
    }

    pub(super) fn skip(&mut self, why: Skipped) {
        *self.skipped.entry(why).or_default() += 1;
    }

    /// Adds a message.
    pub(super) fn add(&mut self, record: &Record<'_>) {
        let seen = &record.seen;
        let tally = self.kinds.entry(record.kind).or_default();
        tally.messages += 1;
        tally.bytes += record.bytes as u64;
        if is_gossip(record.kind) {
            let key = (seen.from, record.digest);
            match self.sent.get_mut(&key) {
                Some(()) => tally.again += 1,
                None => drop(self.sent.insert(key, ())),
            }
        }
        if seen.carrier == Carrier::Udp {
            self.probe(record);
        }
    }

    /// Matches acks to pings.
    fn probe(&mut self, record: &Record<'_>) {
        let (seen, seq_no) = (&record.seen, seq_no(&record.fields));
        match record.kind {
            Kind::Ping => {
                self.probes += 1;
                self.pings.insert((seen.from, seen.to, seq_no), seen.time_ns);
            }
            Kind::Ack => {
                let Some(began) = self.pings.remove(&(seen.to, seen.from, seq_no)) else { return };
                self.answered += 1;
                let micros = (seen.time_ns - began) / 1000;
                if self.rtts_us.len() < RTTS_MAX
                    && let Ok(micros) = u64::try_from(micros)
                {
                    self.rtts_us.push(micros);
                }
            }
            _ => {}
        }
    }

    fn rtt(&self) -> Option<Rtt> {
        let mut all = self.rtts_us.clone();
        all.sort_unstable();
        let at = |part: usize| all.get((all.len() - 1) * part / 100).copied();
        let [min, median, p99, max] =
            [0, 50, 99, 100].map(|part| if all.is_empty() { None } else { at(part) });
        Some(Rtt { min: min?, median: median?, p99: p99?, max: max? })
    }

    /// Prints the statistics as a line of JSON.
    pub(super) fn json(&self, streams: &Counts, out: &mut String) {
        let skipped = self.skipped.iter().map(|(why, count)| (why.text(), *count));
        let summary = Summary {
            packets: self.packets,
            other_traffic: self.other,
            skipped: skipped.collect(),
            datagrams: self.datagrams,
            datagram_bytes: self.datagram_bytes,
            segments: streams.segments,
            segment_bytes: streams.bytes,
            segments_again: streams.repeated,
            streams_given_up: streams.evicted,
            types: self.kinds.iter().map(|(kind, tally)| (kind.name(), *tally)).collect(),
            probes: Probes { sent: self.probes, answered: self.answered, rtt_us: self.rtt() },
        };
        print::json(&summary, out);
    }

    /// Prints the statistics as tables.
    pub(super) fn text(&self, streams: &Counts, out: &mut String) {
        let mut rows = vec!["Type | Messages | Bytes | Sent again".to_owned()];
        rows.extend(self.kinds.iter().map(|(kind, tally)| {
            let Tally { messages, bytes, again } = tally;
            format!("{} | {messages} | {bytes} | {again}", kind.name())
        }));
        out.push_str(&columns(&rows));
        out.push_str("\n\n");
        let mut rows = vec![
            format!("Datagrams | {} | {} bytes", self.datagrams, self.datagram_bytes),
            format!(
                "Segments | {} | {} bytes, {} sent again",
                streams.segments, streams.bytes, streams.repeated
            ),
            format!("Probes | {} | {} answered", self.probes, self.answered),
        ];
        if let Some(Rtt { min, median, p99, max }) = self.rtt() {
            rows.push(format!(
                "Round trips | {} | min {min}, median {median}, 99 % {p99}, max {max} µs",
                self.rtts_us.len()
            ));
        }
        out.push_str(&columns(&rows));
        out.push('\n');
    }
}

/// Whether a kind is sent several times, to several nodes.
fn is_gossip(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::Suspect
            | Kind::Alive
            | Kind::Dead
            | Kind::User
            | Kind::Leave
            | Kind::Join
            | Kind::UserEvent
            | Kind::Query
    )
}

fn seq_no(fields: &Fields<'_>) -> u64 {
    fields.uint("seq_no").unwrap_or_default()
}

/// Most messages remembered, to detect retransmissions.
const MESSAGES_MAX: usize = 65_536;
/// Most pings waiting for acks.
const PINGS_MAX: usize = 65_536;
/// Most round trips recorded.
const RTTS_MAX: usize = 1_000_000;
