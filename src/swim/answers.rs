//! Answers to push/pulls: encoded once for all that ask while nothing changes.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use bytes::Bytes;

use super::encoding::Encoding;
use crate::{
    base::Instant,
    wire::limits::{DECOMPRESSED_BYTES_MAX, STREAM_BYTES_MAX},
};

/// The last encoded states, and how many bytes of them are on their way.
#[derive(Debug, Default)]
pub(super) struct Answers {
    /// The last one without and with the flag that marks a join.
    last: [Option<Answer>; 2],
    /// States that are not encoded to their end: without the flag of a join, or with it.
    pub(super) encodings: VecDeque<Encoding>,
    /// How many streams send each buffer, and its bytes.
    sending: BTreeMap<AnswerId, (usize, usize)>,
    sending_bytes: usize,
    next: u64,
    /// Of the last answer: its state of the layer above.
    user_bytes: usize,
    /// When hosts, by hash, have their whole allowance again; empty until the first asks.
    whole_at: Vec<Instant>,
}

/// Names one encoded state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct AnswerId(u64);

/// A whole push/pull message and what it was made of.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub(super) id: AnswerId,
    pub(super) message: Bytes,
    encoded: Instant,
    join: bool,
    /// Of the table.
    generation: u64,
    /// Where the state of the layer above begins.
    user_at: usize,
}

/// What an answer is to say.
#[derive(Clone, Copy, Debug)]
pub(super) struct State<'a> {
    pub(super) now: Instant,
    pub(super) join: bool,
    /// Of the table.
    pub(super) generation: u64,
    /// State of the layer above.
    pub(super) user_state: &'a [u8],
}

impl Answers {
    /// The last message, if it is so large that it is not encoded anew for each change. While too
    /// much is on its way, the last one of any size, unless that is older than `age_max`: senders
    /// end within that time, too, so that not more than two of them add to [`SENDING_BYTES_MAX`].
    pub(super) fn recent(&self, now: Instant, join: bool, age_max: Duration) -> Option<&Answer> {
        let last = self.last.get(usize::from(join))?.as_ref()?;
        let (size, age) = (last.message.len(), now - last.encoded);
        let large = size >= LARGE_BYTES_MIN && age < LARGE_AGE_MAX;
        let pressed = self.sending_bytes.saturating_add(size) > SENDING_BYTES_MAX;
        (large || (pressed && age < age_max)).then_some(last)
    }

    /// Whether the last message was made of the present table.
    pub(super) fn has_table(&self, join: bool, generation: u64) -> bool {
        let last = self.last.get(usize::from(join)).and_then(Option::as_ref);
        last.is_some_and(|last| last.generation == generation)
    }

    /// The message that says this, if it is kept; from now on it is a recent one.
    pub(super) fn same(&mut self, state: &State<'_>) -> Option<Answer> {
        let State { now, join, generation, user_state } = *state;
        let last = self.last.get_mut(usize::from(join))?.as_mut()?;
        let same = last.generation == generation
            && last.message.get(last.user_at..).is_some_and(|kept| kept == user_state);
        if !same {
            return None;
        }
        last.encoded = now;
        Some(last.clone())
    }

    /// Whether a host may be given an answer of a table of so many bytes, before the work of
    /// encoding it: compressing and sealing it is work for each stream, too.
    pub(super) fn allow(&mut self, now: Instant, host_hash: u64, table: usize) -> bool {
        let later = self.later(now, host_hash, table.saturating_add(self.user_bytes));
        let allowed = later - now <= NANOS_PER_BYTE * BYTES_AT_ONCE;
        if allowed {
            self.set_whole_at(host_hash, later);
        }
        allowed
    }

    /// Charges a host that was allowed an answer for what it has beyond what was expected.
    pub(super) fn charge(&mut self, now: Instant, host_hash: u64, table: usize, answer: &Answer) {
        let user_bytes = answer.message.len() - answer.user_at;
        let unforeseen = answer.message.len().saturating_sub(table + self.user_bytes);
        self.user_bytes = user_bytes;
        let later = self.later(now, host_hash, unforeseen);
        self.set_whole_at(host_hash, later);
    }

    /// When a host that is given so much has its whole allowance again.
    fn later(&self, now: Instant, host_hash: u64, bytes: usize) -> Instant {
        let whole_at = self.whole_at.get(host_hash as usize % HOSTS).copied();
        whole_at.unwrap_or(Instant::ZERO).max(now) + NANOS_PER_BYTE * bytes as u32
    }

    fn set_whole_at(&mut self, host_hash: u64, at: Instant) {
        self.whole_at.resize(HOSTS, Instant::ZERO);
        if let Some(whole_at) = self.whole_at.get_mut(host_hash as usize % HOSTS) {
            *whole_at = at;
        }
    }

    /// An answer made anew; kept from [`Answers::begin`] on.
    pub(super) fn make(&mut self, state: &State<'_>, message: Bytes) -> Answer {
        self.next += 1;
        Answer {
            id: AnswerId(self.next),
            encoded: state.now,
            join: state.join,
            generation: state.generation,
            user_at: message.len().saturating_sub(state.user_state.len()),
            message,
        }
    }

    /// A stream begins to send an answer.
    pub(super) fn begin(&mut self, answer: &Answer) {
        let bytes = answer.message.len();
        let (streams, _) = self.sending.entry(answer.id).or_insert((0, bytes));
        *streams += 1;
        if *streams == 1 {
            self.sending_bytes += bytes;
            if let Some(last) = self.last.get_mut(usize::from(answer.join)) {
                *last = Some(answer.clone());
            }
        }
    }

    /// A stream has sent it, or failed. An answer that no stream sends is dropped.
    pub(super) fn end(&mut self, id: AnswerId) {
        let Some((streams, bytes)) = self.sending.get_mut(&id) else { return };
        *streams -= 1;
        if *streams == 0 {
            self.sending_bytes -= *bytes;
            self.sending.remove(&id);
            for last in &mut self.last {
                drop(last.take_if(|answer| answer.id == id));
            }
        }
    }
}

/// Why no peer could read this state, if that is so.
pub(super) fn too_large(message: usize, user_state: usize) -> Option<String> {
    let (what, size, max) = if user_state > STREAM_BYTES_MAX {
        ("user state", user_state, STREAM_BYTES_MAX)
    } else if message > DECOMPRESSED_BYTES_MAX {
        ("state", message, DECOMPRESSED_BYTES_MAX)
    } else {
        return None;
    };
    Some(format!("{what} of {size} bytes is larger than the {max} bytes that peers accept"))
}

/// What one host is given: 64 MiB at once and about 8 MiB a second. That is any number of small
/// clusters' states, and of the largest one every five seconds.
const BYTES_AT_ONCE: u32 = 64 * 1024 * 1024;
const NANOS_PER_BYTE: Duration = Duration::from_nanos(120);
const HOSTS: usize = 256;
/// An answer of this size is given for a while, whatever changes: making one takes milliseconds.
const LARGE_BYTES_MIN: usize = 1024 * 1024;
const LARGE_AGE_MAX: Duration = Duration::from_secs(1);
/// Bytes of distinct answers on their way at once, before streams share one that is not the newest.
const SENDING_BYTES_MAX: usize = 24 * 1024 * 1024;
