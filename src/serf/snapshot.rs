//! What a member remembers across restarts: Go's snapshot file, as lines in and lines out.
//!
//! Beyond Go, comment lines (which Go skips) keep our own incarnation and the failed peers.

use std::{
    collections::{BTreeMap, HashMap},
    fmt::Write as _,
    sync::Arc,
    time::Duration,
};

use tracing::{info, warn};

use super::{Event, LamportTime, MemberEventKind, SnapshotOp};
use crate::base::{Instant, SeededHash};

/// What a snapshot file says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Replay {
    /// Address by name of the members that were alive.
    pub(crate) alive: BTreeMap<String, String>,
    /// Address by name of those that had failed.
    pub(crate) failed: BTreeMap<String, String>,
    /// Last member time.
    pub(crate) clock: LamportTime,
    /// Last event time.
    pub(crate) event_clock: LamportTime,
    /// Last query time.
    pub(crate) query_clock: LamportTime,
    /// Last incarnation of our own.
    pub(crate) incarnation: u32,
    /// Whether the file ends inside a line.
    torn: bool,
}

impl Replay {
    /// Reads a file. Never fails: what makes no sense is skipped and logged, and a last line
    /// without its end does not count. `seed` keeps peers from choosing names that collide.
    /// Go: `serf/snapshot.go:replay`.
    pub(crate) fn read(file: &[u8], rejoin_after_leave: bool, seed: u64) -> Self {
        let file = String::from_utf8_lossy(file);
        let mut lines = Lines {
            alive: HashMap::with_hasher(SeededHash(seed)),
            replay: Self::default(),
            rejoin_after_leave,
        };
        let torn = match file.rsplit_once('\n') {
            Some((whole, torn)) => {
                whole.split('\n').for_each(|line| lines.read(line));
                torn
            }
            None => &*file,
        };
        let Lines { alive, replay, .. } = lines;
        let owned = |(name, addr): (&str, &str)| (name.to_owned(), addr.to_owned());
        // A map of another order: no hash shows.
        Self { alive: alive.into_iter().map(owned).collect(), torn: !torn.is_empty(), ..replay }
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

/// A file as far as it was read.
struct Lines<'f> {
    /// Instead of the replay's, which is slow to change: a file names each member many times.
    alive: HashMap<&'f str, &'f str, SeededHash>,
    replay: Replay,
    rejoin_after_leave: bool,
}

impl<'f> Lines<'f> {
    fn read(&mut self, line: &'f str) {
        let replay = &mut self.replay;
        if let Some(peer) = line.strip_prefix("alive: ") {
            let Some((name, addr)) = peer.rsplit_once(' ') else {
                warn!(target: "serf", "Failed to parse address: {line}");
                return;
            };
            replay.failed.remove(name);
            self.alive.insert(name, addr);
        } else if let Some(name) = line.strip_prefix("not-alive: ") {
            self.alive.remove(name);
        } else if let Some(time) = line.strip_prefix("clock: ") {
            set_clock(&mut replay.clock, "clock", time);
        } else if let Some(time) = line.strip_prefix("event-clock: ") {
            set_clock(&mut replay.event_clock, "event clock", time);
        } else if let Some(time) = line.strip_prefix("query-clock: ") {
            set_clock(&mut replay.query_clock, "query clock", time);
        } else if line.starts_with("coordinate: ") {
            // Old releases of Go wrote these.
        } else if line == "leave" {
            if self.rejoin_after_leave {
                info!(target: "serf", "Ignoring previous leave in snapshot");
                return;
            }
            self.alive.clear();
            *replay = Replay { incarnation: replay.incarnation, ..Replay::default() };
        } else if let Some(comment) = line.strip_prefix('#') {
            replay.comment(comment);
        } else {
            warn!(target: "serf", "Unrecognized snapshot line: {line}");
        }
    }
}

/// The writing side. Lines come out as [`SnapshotOp`]s.
pub(crate) struct Snapshot {
    /// State as the file has it.
    file: Replay,
    rejoin_after_leave: bool,
    /// No member is recorded after a leave.
    leaving: bool,
    /// Bytes in the file.
    offset: usize,
    /// Bytes that it had after it was last written anew.
    compacted: usize,
    /// Not written anew before.
    compacts_after: Instant,
    /// Lines not yet handed out.
    buffer: String,
    ops: Vec<SnapshotOp>,
    /// Next look at the clock.
    next: Instant,
}

impl Snapshot {
    /// Goes on with a file of `len` bytes that said `replay`.
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
            // Go glues its next line to the torn one.
            snapshot.buffer.push('\n');
            snapshot.offset += 1;
        }
        snapshot
    }

    /// An event on its way to the application.
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
        // A line break in a name would let its owner write our file.
        if name.chars().any(char::is_control) {
            return;
        }
        match (kind, member.socket_addr()) {
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

    /// Time has come: the clock is looked at, and lines that wait go out.
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

    /// Remembers our incarnation if it grew.
    pub(crate) fn note_incarnation(&mut self, incarnation: u32) {
        if incarnation > self.file.incarnation {
            self.file.incarnation = incarnation;
            self.append(format_args!("#{INCARNATION}{incarnation}"));
        }
    }

    /// We leave. Go: `Snapshotter.Leave`.
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

    /// The last lines.
    pub(crate) fn finish(&mut self, clock: LamportTime) {
        self.check_clock(clock);
        self.hand_out();
        self.ops.push(SnapshotOp::Sync);
    }

    /// What is to be written, oldest first.
    pub(crate) fn take_ops(&mut self) -> impl Iterator<Item = SnapshotOp> + use<> {
        std::mem::take(&mut self.ops).into_iter()
    }

    /// Whether lines wait for their time. Go buffers 4096 bytes or 500 ms.
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

    /// Writes the file anew once it is twice as large as it need be, so that the cost of that is a
    /// constant for each line. Go's threshold is a number of bytes a member, which long names
    /// exceed. serf/snapshot.go: snapshotMaxSize, compact.
    fn compact_if_large(&mut self, now: Instant) {
        let peers = self.file.alive.len() + self.file.failed.len();
        let max = COMPACT_BYTES_MIN.max(2 * LINE_BYTES * peers).max(2 * self.compacted);
        if self.offset > max && now >= self.compacts_after {
            self.compacts_after = now + COMPACT_INTERVAL;
            self.compact();
        }
    }

    /// Hands out the whole file anew, instead of what was not taken yet.
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

fn set_clock(clock: &mut LamportTime, what: &str, text: &str) {
    match text.parse() {
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
/// The file is written anew at most this often.
const COMPACT_INTERVAL: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests;
