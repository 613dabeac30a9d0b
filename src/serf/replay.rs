//! Reading the lines of a snapshot file.

use std::{borrow::Cow, hash::BuildHasher as _, sync::Arc};

use hashbrown::HashTable;
use tracing::{info, warn};

use super::{
    LamportTime,
    peers::{NamedAddr, Peers},
};
use crate::base::SeededHash;

/// Contents of a snapshot file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Replay {
    /// Addresses of alive members, by name.
    pub(crate) alive: Peers,
    /// Addresses of failed members, by name.
    pub(crate) failed: Peers,
    /// Last member time.
    pub(crate) clock: LamportTime,
    /// Last event time.
    pub(crate) event_clock: LamportTime,
    /// Last query time.
    pub(crate) query_clock: LamportTime,
    /// Our last incarnation.
    pub(crate) incarnation: u32,
    /// Whether the last line is incomplete.
    pub(super) torn: bool,
}

impl Replay {
    /// Reads a file. Never fails: invalid lines are skipped and logged, and an incomplete last line
    /// is ignored. `seed` prevents peers from choosing names that collide. Go:
    /// `serf/snapshot.go:replay`.
    pub(crate) fn read(file: &[u8], rejoin_after_leave: bool, seed: u64) -> Self {
        // A file has some lines for each member.
        let alive = Alive::new(file.len() / LINE_BYTES, seed);
        let mut lines = Lines { alive, replay: Self::default(), rejoin_after_leave };
        let mut rest = file;
        while let Some((line, others)) = split_line(rest) {
            lines.read(line);
            rest = others;
        }
        let Lines { alive, replay, .. } = lines;
        Self { alive: alive.into_peers(), torn: !rest.is_empty(), ..replay }
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

    pub(super) fn add_failed(&mut self, name: &str, addr: &str) {
        self.failed.insert(name, addr);
        if self.failed.len() > FAILED_MAX {
            self.failed.pop_first();
        }
    }
}

/// The state while a file is being read.
struct Lines<'f> {
    alive: Alive<'f>,
    replay: Replay,
    rejoin_after_leave: bool,
}

impl<'f> Lines<'f> {
    fn read(&mut self, line: &'f [u8]) {
        let replay = &mut self.replay;
        if let Some(peer) = line.strip_prefix(b"alive: ") {
            let Some(space) = last_space(peer) else {
                warn!(target: "serf", "Failed to parse address: {}", lossy(line));
                return;
            };
            let line = Line { peer, space };
            if !replay.failed.is_empty() {
                replay.failed.remove(&lossy(line.name()));
            }
            self.alive.insert(line);
        } else if let Some(time) = line.strip_prefix(b"clock: ") {
            set_clock(&mut replay.clock, "clock", time);
        } else if let Some(name) = line.strip_prefix(b"not-alive: ") {
            self.alive.remove(name);
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
            replay.comment(&lossy(comment));
        } else {
            warn!(target: "serf", "Unrecognized snapshot line: {}", lossy(line));
        }
    }
}

/// Alive members while a file is being read. Unlike the list that is made of it in the end, it is
/// quick to change, for a file names each member many times: a lookup touches little memory, and
/// the file only for names that are longer than their heads.
struct Alive<'f> {
    /// Places in `seen`.
    places: HashTable<usize>,
    seen: Vec<Seen<'f>>,
    hash: NameHash,
}

struct Seen<'f> {
    head: [u64; 2],
    /// The last one about this member.
    line: Line<'f>,
}

/// Name, space, address.
#[derive(Clone, Copy)]
struct Line<'f> {
    peer: &'f [u8],
    space: usize,
}

impl<'f> Alive<'f> {
    fn new(members: usize, seed: u64) -> Self {
        Self {
            places: HashTable::with_capacity(members),
            seen: Vec::with_capacity(members),
            hash: NameHash::new(seed),
        }
    }

    #[inline]
    fn insert(&mut self, line: Line<'f>) {
        let head = line.head();
        let (key, place) = self.find(head, line.name());
        match place {
            Some(place) => {
                if let Some(seen) = self.seen.get_mut(place) {
                    seen.line = line;
                }
            }
            None => {
                let (seen, hash) = (&self.seen, &self.hash);
                let rehash = |place: &usize| seen.get(*place).map_or(0, |it| it.key(hash));
                self.places.insert_unique(key, self.seen.len(), rehash);
                self.seen.push(Seen { head, line });
            }
        }
    }

    fn remove(&mut self, name: &[u8]) {
        let (key, Some(place)) = self.find(head(name), name) else { return };
        if let Ok(entry) = self.places.find_entry(key, |it| *it == place) {
            entry.remove();
        }
        self.seen.swap_remove(place);
        // The last one has taken its place.
        if let Some(moved) = self.seen.get(place) {
            let from = self.seen.len();
            if let Some(it) = self.places.find_mut(moved.key(&self.hash), |it| *it == from) {
                *it = place;
            }
        }
    }

    fn clear(&mut self) {
        self.places.clear();
        self.seen.clear();
    }

    /// The key of a name and where it is.
    #[inline]
    fn find(&self, head: [u64; 2], name: &[u8]) -> (u64, Option<usize>) {
        let key = self.hash.key(head, name);
        let same = |place: &usize| {
            self.seen.get(*place).is_some_and(|seen| {
                seen.head == head
                    && seen.line.space == name.len()
                    && (name.len() <= HEAD_BYTES || seen.line.name() == name)
            })
        };
        (key, self.places.find(key, same).copied())
    }

    /// Sorted, so that the hash order is not observable.
    fn into_peers(self) -> Peers {
        let Self { seen, places, .. } = self;
        drop(places);
        let number = |[high, low]: [u64; 2]| u128::from(high) << 64 | u128::from(low);
        let mut sorted: Vec<_> = seen.into_iter().map(|it| (number(it.head), it.line)).collect();
        // Most names differ in their first bytes, which are compared with one operation.
        sorted.sort_unstable_by(|(head, line), (other, others)| {
            head.cmp(other).then_with(|| line.name().cmp(others.name()))
        });
        let mut text = String::with_capacity(sorted.iter().map(|(_, line)| line.peer.len()).sum());
        let mut parts = Vec::with_capacity(sorted.len());
        for (_, line) in sorted {
            let (start, peer) = (text.len(), lossy(line.peer));
            // What is replaced has another length.
            let space = match &peer {
                Cow::Borrowed(_) => line.space,
                Cow::Owned(peer) => peer.rfind(' ').unwrap_or(line.space),
            };
            text.push_str(&peer);
            parts.push([start, start + space, text.len()]);
        }
        let text: Arc<str> = text.into();
        Peers::new(parts.into_iter().map(|part| NamedAddr::part(&text, part)))
    }
}

impl Seen<'_> {
    fn key(&self, hash: &NameHash) -> u64 {
        hash.key(self.head, self.line.name())
    }
}

impl<'f> Line<'f> {
    fn name(&self) -> &'f [u8] {
        self.peer.get(..self.space).unwrap_or_default()
    }

    /// As [`head`] of the name, without a loop.
    #[inline]
    fn head(&self) -> [u64; 2] {
        let Some(bytes) = self.peer.first_chunk::<HEAD_BYTES>() else { return head(self.name()) };
        let after = if self.space < HEAD_BYTES { u128::MAX >> (8 * self.space) } else { 0 };
        let head = u128::from_be_bytes(*bytes) & !after;
        [(head >> 64) as u64, head as u64]
    }
}

/// The first bytes of a name, which order names as the whole does, unless they are the same.
fn head(name: &[u8]) -> [u64; 2] {
    let mut head = [0; HEAD_BYTES];
    head.iter_mut().zip(name).for_each(|(to, from)| *to = *from);
    let head = u128::from_be_bytes(head);
    [(head >> 64) as u64, head as u64]
}

/// A hash that peers cannot predict: the upper half of a sum of the parts of a name, each times a
/// random number ("multilinear hashing"). Any two names have the same one with a probability of
/// 2^-32. The parts are the head, a SipHash of what follows the head, and the length.
struct NameHash {
    factors: [u64; 8],
    long: SeededHash,
}

impl NameHash {
    fn new(seed: u64) -> Self {
        let long = SeededHash(seed);
        Self { factors: std::array::from_fn(|number| long.hash_one(number)), long }
    }

    #[inline]
    fn key(&self, [high, low]: [u64; 2], name: &[u8]) -> u64 {
        let rest = match name.get(HEAD_BYTES..) {
            None | Some([]) => 0,
            Some(rest) => self.long.hash_one(rest),
        };
        let parts = [high >> 32, high, low >> 32, low, rest >> 32, rest, name.len() as u64, 1];
        let product = |(factor, part): (&u64, u64)| factor.wrapping_mul(part & 0xffff_ffff);
        let products = self.factors.iter().zip(parts).map(product);
        let hash = products.fold(0, u64::wrapping_add) >> 32;
        // The table takes bits of both ends.
        hash << 32 | hash
    }
}

/// The first line, without its end, and the rest; `None` where no line ends. Lines are short: eight
/// bytes are looked at together, which finds an end sooner than a search made for long texts.
pub(super) fn split_line(text: &[u8]) -> Option<(&[u8], &[u8])> {
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

/// Where the last space is. An address is short: eight bytes are looked at together.
fn last_space(text: &[u8]) -> Option<usize> {
    const LOW: u64 = u64::from_le_bytes([0x7f; 8]);
    let mut before = text;
    while let Some((rest, bytes)) = before.split_last_chunk::<8>() {
        let differs = u64::from_le_bytes(*bytes) ^ u64::from_le_bytes([b' '; 8]);
        // The highest bit of each byte says whether it is zero.
        let spaces = !(((differs & LOW) + LOW) | differs | LOW);
        if spaces != 0 {
            return Some(rest.len() + (7 - spaces.leading_zeros() as usize / 8));
        }
        before = rest;
    }
    before.iter().rposition(|byte| *byte == b' ')
}

fn set_clock(clock: &mut LamportTime, what: &str, text: &[u8]) {
    if let Some(time) = number(text) {
        *clock = LamportTime(time);
        return;
    }
    match std::str::from_utf8(text).unwrap_or("?").parse() {
        Ok(time) => *clock = LamportTime(time),
        Err(error) => warn!(target: "serf", "Failed to convert {what} time: {error}"),
    }
}

/// Digits that are few enough for any value of theirs.
fn number(text: &[u8]) -> Option<u64> {
    if text.is_empty() || text.len() > DIGITS_MAX {
        return None;
    }
    text.iter().try_fold(0, |number, byte| {
        let digit = byte.wrapping_sub(b'0');
        (digit < 10).then(|| number * 10 + u64::from(digit))
    })
}

/// As text; what is none is replaced, as a reader of the file would see it.
fn lossy(bytes: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(bytes)
}

/// Bytes of a name that are kept with its place.
const HEAD_BYTES: usize = 16;
/// All numbers of 19 digits fit into 64 bits.
const DIGITS_MAX: usize = 19;
pub(super) const INCARNATION: &str = " ruserf incarnation: ";
pub(super) const FAILED: &str = " ruserf failed: ";
pub(super) const FORGOTTEN: &str = " ruserf forgotten: ";
/// Most failed peers remembered.
pub(super) const FAILED_MAX: usize = 1_024;
/// Go: `snapshotBytesPerNode`.
pub(super) const LINE_BYTES: usize = 128;
