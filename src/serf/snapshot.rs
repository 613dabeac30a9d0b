//! The state kept across restarts: Go's snapshot file, read and written as lines.
//!
//! In addition to Go's lines, comment lines (which Go skips) store our incarnation and failed
//! peers.

use std::{fmt::Write as _, sync::Arc, time::Duration};

use super::{
    Event, LamportTime, MemberEventKind, SnapshotOp,
    peers::{NamedAddr, Peers},
    replay::{FAILED, FORGOTTEN, INCARNATION, LINE_BYTES, Replay},
};
use crate::base::Instant;

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
                self.file.alive.insert(name, &addr);
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

    /// The peers that are alive and those that have failed.
    pub(crate) fn peers(&self) -> [&Peers; 2] {
        [&self.file.alive, &self.file.failed]
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
        if self.file.failed.remove(name) {
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
        for (name, addr) in alive.iter().map(NamedAddr::pair) {
            let _ = writeln!(text, "alive: {name} {addr}");
        }
        let _ = writeln!(text, "clock: {}", clock.0);
        let _ = writeln!(text, "event-clock: {}", event_clock.0);
        let _ = writeln!(text, "query-clock: {}", query_clock.0);
        for (name, addr) in failed.iter().map(NamedAddr::pair) {
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

/// Go: `clockUpdateInterval`, `flushInterval`.
const CLOCK_INTERVAL: Duration = Duration::from_millis(500);
/// Go: the buffer of its `bufio.Writer`.
const BUFFER_BYTES: usize = 4_096;
/// Go: `snapshotCompactionThreshold` and the default of `minCompactSize`.
const COMPACT_BYTES_MIN: usize = 128 * 1024;
/// Least time between two rewrites of the file.
const COMPACT_INTERVAL: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests;
