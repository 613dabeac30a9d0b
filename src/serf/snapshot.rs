//! The state kept across restarts: Go's snapshot file, read and written as lines.
//!
//! In addition to Go's lines, comment lines (which Go skips) store our incarnation and failed
//! peers.

use std::{
    collections::{BTreeMap, HashMap},
    fmt::Write as _,
    sync::Arc,
    time::Duration,
};

use tracing::{info, warn};

use super::{Event, LamportTime, MemberEventKind, SnapshotOp};
use crate::base::{Instant, SeededHash};

/// Contents of a snapshot file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Replay {
    /// Addresses of alive members, by name.
    pub(crate) alive: BTreeMap<String, String>,
    /// Addresses of failed members, by name.
    pub(crate) failed: BTreeMap<String, String>,
    /// Last member time.
    pub(crate) clock: LamportTime,
    /// Last event time.
    pub(crate) event_clock: LamportTime,
    /// Last query time.
    pub(crate) query_clock: LamportTime,
    /// Our last incarnation.
    pub(crate) incarnation: u32,
    /// Whether the last line is incomplete.
    torn: bool,
}

impl Replay {
    /// Reads a file. Never fails: invalid lines are skipped and logged, and an incomplete last line
    /// is ignored. `seed` prevents peers from choosing names that collide. Go:
    /// `serf/snapshot.go:replay`.
    pub(crate) fn read(file: &[u8], rejoin_after_leave: bool, seed: u64) -> Self {
        let mut lines = Lines {
            // A file has some lines for each member.
            alive: HashMap::with_capacity_and_hasher(file.len() / LINE_BYTES, SeededHash(seed)),
            replay: Self::default(),
            rejoin_after_leave,
        };
        let mut rest = file;
        while let Some((line, others)) = split_line(rest) {
            lines.read(line);
            rest = others;
        }
        let Lines { alive, replay, .. } = lines;
        // Sorted, so that the hash order is not observable. Most names differ in their first
        // bytes, which are compared with one operation.
        let mut alive: Vec<_> =
            alive.into_iter().map(|(name, addr)| (head(name), name, addr)).collect();
        alive.sort_unstable();
        let alive = alive.into_iter().map(|(_, name, addr)| (owned(name), owned(addr))).collect();
        Self { alive, torn: !rest.is_empty(), ..replay }
    }

    fn comment(&mut self, comment: &str) {
        if let Some(number) = comment.strip_prefix(INCARNATION) {
            self.incarnation = number.parse().unwrap_or(self.incarnation).max(self.incarnation);
        } else if let Some(peer) = comment.strip_prefix(FAILED) {
            if let Some((name, addr)) = peer.rsplit_once(' ') {
                self.add_failed(name, addr);
            }
        } else if let Some(name) = comment.strip_prefix(FORGOTTEN) {
            self.failed.remove(name);
        }
    }

    fn add_failed(&mut self, name: &str, addr: &str) {
        self.failed.insert(name.to_owned(), addr.to_owned());
        if self.failed.len() > FAILED_MAX {
            self.failed.pop_first();
        }
    }
}

/// The state while a file is being read.
struct Lines<'f> {
    /// Used while reading instead of the replay's map, which is slower to change: a file names each
    /// member many times.
    alive: HashMap<&'f [u8], &'f [u8], SeededHash>,
    replay: Replay,
    rejoin_after_leave: bool,
}

impl<'f> Lines<'f> {
    fn read(&mut self, line: &'f [u8]) {
        let replay = &mut self.replay;
        if let Some(peer) = line.strip_prefix(b"alive: ") {
            let Some(space) = peer.iter().rposition(|byte| *byte == b' ') else {
                warn!(target: "serf", "Failed to parse address: {}", owned(line));
                return;
            };
            let (name, addr) = peer.split_at(space);
            if !replay.failed.is_empty() {
                replay.failed.remove(&owned(name));
            }
            self.alive.insert(name, addr.get(1..).unwrap_or_default());
        } else if let Some(name) = line.strip_prefix(b"not-alive: ") {
            self.alive.remove(name);
        } else if let Some(time) = line.strip_prefix(b"clock: ") {
            set_clock(&mut replay.clock, "clock", time);
        } else if let Some(time) = line.strip_prefix(b"event-clock: ") {
            set_clock(&mut replay.event_clock, "event clock", time);
        } else if let Some(time) = line.strip_prefix(b"query-clock: ") {
            set_clock(&mut replay.query_clock, "query clock", time);
        } else if line.starts_with(b"coordinate: ") {
            // Written by old releases of Go.
        } else if line == b"leave" {
            if self.rejoin_after_leave {
                info!(target: "serf", "Ignoring previous leave in snapshot");
                return;
            }
            self.alive.clear();
            *replay = Replay { incarnation: replay.incarnation, ..Replay::default() };
        } else if let Some(comment) = line.strip_prefix(b"#") {
            replay.comment(&owned(comment));
        } else {
            warn!(target: "serf", "Unrecognized snapshot line: {}", owned(line));
        }
    }
}

/// The first line, without its end, and the rest; `None` where no line ends. Lines are short: eight
/// bytes are looked at together, which finds an end sooner than a search made for long texts.
fn split_line(text: &[u8]) -> Option<(&[u8], &[u8])> {
    const ONES: u64 = u64::from_le_bytes([1; 8]);
    let mut start = 0;
    while let Some(bytes) = text.get(start..).and_then(|rest| rest.first_chunk::<8>()) {
        // The byte that is zero has its highest bit set, and none before it.
        let differs = u64::from_le_bytes(*bytes) ^ (ONES * u64::from(b'\n'));
        let ends = differs.wrapping_sub(ONES) & !differs & (ONES << 7);
        if ends != 0 {
            start += (ends.trailing_zeros() / 8) as usize;
            return Some((text.get(..start)?, text.get(start + 1..)?));
        }
        start += 8;
    }
    let end = start + text.get(start..)?.iter().position(|byte| *byte == b'\n')?;
    Some((text.get(..end)?, text.get(end + 1..)?))
}

/// The first bytes of a name, which order names as the whole does, unless they are the same.
fn head(name: &[u8]) -> u128 {
    let mut head = [0; 16];
    head.iter_mut().zip(name).for_each(|(to, from)| *to = *from);
    u128::from_be_bytes(head)
}

/// As text; what is none is replaced, as a reader of the file would see it.
fn owned(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The writing side. Produces lines as [`SnapshotOp`]s.
pub(crate) struct Snapshot {
    /// State according to the file.
    file: Replay,
    rejoin_after_leave: bool,
    /// Set by a leave: members are no longer recorded.
    leaving: bool,
    /// Length of the file in bytes.
    offset: usize,
    /// Length of the file after it was last rewritten.
    compacted: usize,
    /// The file is not rewritten before this time.
    compacts_after: Instant,
    /// Lines not yet output.
    buffer: String,
    ops: Vec<SnapshotOp>,
    /// When the clock is checked next.
    next: Instant,
}

impl Snapshot {
    /// Continues a file of `len` bytes with the contents `replay`.
    pub(crate) fn new(replay: Replay, len: usize, rejoin_after_leave: bool, now: Instant) -> Self {
        let torn = replay.torn;
        let mut snapshot = Self {
            file: replay,
            rejoin_after_leave,
            leaving: false,
            offset: len,
            compacted: 0,
            compacts_after: now,
            buffer: String::new(),
            ops: Vec::new(),
            next: now + CLOCK_INTERVAL,
        };
        if torn {
            // Go would append its next line to the incomplete one.
            snapshot.buffer.push('\n');
            snapshot.offset += 1;
        }
        snapshot
    }

    /// Records an event before it is delivered to the application.
    pub(crate) fn on_event(&mut self, event: &Event, clock: LamportTime) {
        match event {
            Event::Member(_) if self.leaving => (),
            Event::Member(event) => {
                for member in &event.members {
                    self.on_member(event.kind, member);
                }
                self.check_clock(clock);
            }
            Event::User(event) if !self.leaving && event.ltime > self.file.event_clock => {
                self.file.event_clock = event.ltime;
                self.append(format_args!("event-clock: {}", event.ltime.0));
            }
            Event::Query(query) if !self.leaving && query.id.ltime > self.file.query_clock => {
                self.file.query_clock = query.id.ltime;
                self.append(format_args!("query-clock: {}", query.id.ltime.0));
            }
            Event::User(_) | Event::Query(_) => {}
        }
    }

    fn on_member(&mut self, kind: MemberEventKind, member: &Arc<super::Member>) {
        let name = &*member.name;
        // A line break in a name would let the member write lines of our file.
        if name.chars().any(char::is_control) {
            return;
        }
        match (kind, member.addr()) {
            (MemberEventKind::Join, Some(addr)) => {
                let addr = addr.to_string();
                self.append(format_args!("alive: {name} {addr}"));
                self.file.failed.remove(name);
                self.file.alive.insert(name.to_owned(), addr);
            }
            (MemberEventKind::Failed, Some(addr)) => {
                self.file.alive.remove(name);
                self.append(format_args!("not-alive: {name}"));
                self.append(format_args!("#{FAILED}{name} {addr}"));
                self.file.add_failed(name, &addr.to_string());
            }
            (MemberEventKind::Leave | MemberEventKind::Failed, _) => {
                self.file.alive.remove(name);
                self.append(format_args!("not-alive: {name}"));
                self.forget_failed(name);
            }
            (MemberEventKind::Reap, _) if member.status == super::MemberStatus::Left => {
                self.forget_failed(name);
            }
            (MemberEventKind::Join | MemberEventKind::Update | MemberEventKind::Reap, _) => {}
        }
    }

    /// The timer fired: checks the clock and outputs buffered lines.
    pub(crate) fn on_timer(&mut self, now: Instant, clock: LamportTime, incarnation: u32) {
        self.next = now + CLOCK_INTERVAL;
        self.check_clock(clock);
        self.note_incarnation(incarnation);
        self.compact_if_large(now);
        self.hand_out();
    }

    pub(crate) fn next(&self) -> Instant {
        self.next
    }

    /// Records our incarnation if it increased.
    pub(crate) fn note_incarnation(&mut self, incarnation: u32) {
        if incarnation > self.file.incarnation {
            self.file.incarnation = incarnation;
            self.append(format_args!("#{INCARNATION}{incarnation}"));
        }
    }

    /// Records our leave. Go: `Snapshotter.Leave`.
    pub(crate) fn leave(&mut self) {
        self.leaving = true;
        if !self.rejoin_after_leave {
            self.file.alive.clear();
            self.file.failed.clear();
        }
        self.append(format_args!("leave"));
        self.hand_out();
        self.ops.push(SnapshotOp::Sync);
    }

    /// Outputs the last lines before a shutdown.
    pub(crate) fn finish(&mut self, clock: LamportTime) {
        self.check_clock(clock);
        self.hand_out();
        self.ops.push(SnapshotOp::Sync);
    }

    /// Operations on the file, the oldest first.
    pub(crate) fn take_ops(&mut self) -> impl Iterator<Item = SnapshotOp> + use<> {
        std::mem::take(&mut self.ops).into_iter()
    }

    /// Outputs the buffered lines. Go buffers 4096 bytes or 500 ms.
    fn hand_out(&mut self) {
        if !self.buffer.is_empty() {
            self.ops.push(SnapshotOp::Append(std::mem::take(&mut self.buffer)));
        }
    }

    fn check_clock(&mut self, clock: LamportTime) {
        let last = LamportTime(clock.0.saturating_sub(1));
        if last > self.file.clock {
            self.file.clock = last;
            self.append(format_args!("clock: {}", last.0));
        }
    }

    fn forget_failed(&mut self, name: &str) {
        if self.file.failed.remove(name).is_some() {
            self.append(format_args!("#{FORGOTTEN}{name}"));
        }
    }

    fn append(&mut self, line: std::fmt::Arguments<'_>) {
        let before = self.buffer.len();
        // Writing to a String cannot fail.
        let _ = writeln!(self.buffer, "{line}");
        self.offset += self.buffer.len() - before;
        if self.buffer.len() >= BUFFER_BYTES {
            self.hand_out();
        }
    }

    /// Rewrites the file once it has twice the necessary size, so that the amortized cost for each
    /// line is constant. Go's threshold is a number of bytes a member, which long names exceed.
    /// serf/snapshot.go: snapshotMaxSize, compact.
    fn compact_if_large(&mut self, now: Instant) {
        let peers = self.file.alive.len() + self.file.failed.len();
        let max = COMPACT_BYTES_MIN.max(2 * LINE_BYTES * peers).max(2 * self.compacted);
        if self.offset > max && now >= self.compacts_after {
            self.compacts_after = now + COMPACT_INTERVAL;
            self.compact();
        }
    }

    /// Outputs the whole file, replacing operations that were not taken yet.
    pub(crate) fn compact(&mut self) {
        let Replay { alive, failed, clock, event_clock, query_clock, incarnation, .. } = &self.file;
        let mut text = String::new();
        for (name, addr) in alive {
            let _ = writeln!(text, "alive: {name} {addr}");
        }
        let _ = writeln!(text, "clock: {}", clock.0);
        let _ = writeln!(text, "event-clock: {}", event_clock.0);
        let _ = writeln!(text, "query-clock: {}", query_clock.0);
        for (name, addr) in failed {
            let _ = writeln!(text, "#{FAILED}{name} {addr}");
        }
        if *incarnation > 0 {
            let _ = writeln!(text, "#{INCARNATION}{incarnation}");
        }
        self.offset = text.len();
        self.compacted = text.len();
        self.buffer.clear();
        self.ops.clear();
        self.ops.push(SnapshotOp::Replace(text));
    }
}

fn set_clock(clock: &mut LamportTime, what: &str, text: &[u8]) {
    match std::str::from_utf8(text).unwrap_or("?").parse() {
        Ok(time) => *clock = LamportTime(time),
        Err(error) => warn!(target: "serf", "Failed to convert {what} time: {error}"),
    }
}

const INCARNATION: &str = " ruserf incarnation: ";
const FAILED: &str = " ruserf failed: ";
const FORGOTTEN: &str = " ruserf forgotten: ";
/// Most failed peers remembered.
const FAILED_MAX: usize = 1_024;
/// Go: `clockUpdateInterval`, `flushInterval`.
const CLOCK_INTERVAL: Duration = Duration::from_millis(500);
/// Go: the buffer of its `bufio.Writer`.
const BUFFER_BYTES: usize = 4_096;
/// Go: `snapshotCompactionThreshold` and the default of `minCompactSize`.
const COMPACT_BYTES_MIN: usize = 128 * 1024;
/// Go: `snapshotBytesPerNode`.
const LINE_BYTES: usize = 128;
/// Least time between two rewrites of the file.
const COMPACT_INTERVAL: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests;
