//! Answers to push/pulls: encoded once and shared by all requesters until the state changes.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use bytes::Bytes;

use super::{
    encoding::Encoding,
    rows::{Rows, SLICE_BYTES, SentRows},
};
use crate::{
    base::Instant,
    wire::limits::{DECOMPRESSED_BYTES_MAX, STREAM_BYTES_MAX},
};

/// The most recently encoded states, and the number of bytes being sent.
#[derive(Debug, Default)]
pub(super) struct Answers {
    /// The last answer without and with the join flag.
    last: [Option<Answer>; 2],
    /// States still being encoded, without or with the join flag.
    pub(super) encodings: VecDeque<Encoding>,
    /// Number of streams that send each buffer, and its length in bytes.
    sending: BTreeMap<AnswerId, (usize, usize)>,
    sending_bytes: usize,
    /// When the last stream began to send one.
    sent: Instant,
    next: u64,
    /// Length of the user state in the last answer, in bytes.
    user_bytes: usize,
    /// When each host, by hash, has its full allowance again; empty until the first request.
    whole_at: Vec<Instant>,
    /// States to be passed on, by the stream that they are for.
    #[cfg(feature = "sim")]
    pub(super) shared: BTreeMap<super::StreamId, super::Shared>,
}

/// Identifies one encoded state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct AnswerId(u64);

/// An encoded push/pull message and what it was encoded from.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub(super) id: AnswerId,
    pub(super) message: Bytes,
    encoded: Instant,
    pub(super) join: bool,
    /// Generation of the table.
    generation: u64,
    /// Offset of the user state in the message.
    user_at: usize,
    pub(super) rows: SentRows,
}

/// The content of an answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct State<'a> {
    pub(super) now: Instant,
    pub(super) join: bool,
    /// Generation of the table.
    pub(super) generation: u64,
    /// State of the layer above.
    pub(super) user_state: &'a [u8],
}

impl Answer {
    /// Whether it is worth its memory while no stream sends it.
    fn is_kept(&self) -> bool {
        !self.rows.is_empty() && self.message.len() <= KEPT_BYTES_MAX
    }

    /// State of the layer above.
    #[cfg(feature = "sim")]
    pub(super) fn user_state(&self) -> Bytes {
        self.message.slice(self.user_at..)
    }
}

impl Answers {
    /// The last message, if it is too large to be encoded again for each change. While too many
    /// bytes are being sent, also a smaller message, unless it is older than `age_max`: streams end
    /// within that time, too, so that [`SENDING_BYTES_MAX`] is exceeded by at most two of them.
    pub(super) fn recent(&self, now: Instant, join: bool, age_max: Duration) -> Option<&Answer> {
        let last = self.last.get(usize::from(join))?.as_ref()?;
        let (size, age) = (last.message.len(), now - last.encoded);
        let large = size >= LARGE_BYTES_MIN && age < LARGE_AGE_MAX;
        let pressed = self.sending_bytes.saturating_add(size) > SENDING_BYTES_MAX;
        (large || (pressed && age < age_max)).then_some(last)
    }

    /// The last message, with or without the join flag.
    pub(super) fn newest(&self) -> Option<&Answer> {
        self.last.iter().flatten().max_by_key(|answer| answer.id)
    }

    /// The rows that the next message may share.
    pub(super) fn last_rows(&self) -> Option<&SentRows> {
        self.newest().map(|answer| &answer.rows)
    }

    /// Whether the last message was encoded from the current table.
    pub(super) fn has_table(&self, join: bool, generation: u64) -> bool {
        let last = self.last.get(usize::from(join)).and_then(Option::as_ref);
        last.is_some_and(|last| last.generation == generation)
    }

    /// The cached message with this content, if any; it then counts as recent.
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

    /// Charges a host for an answer of `table` bytes before the state is encoded; returns whether
    /// its allowance suffices. Each stream also costs compression and encryption.
    pub(super) fn allow(&mut self, now: Instant, host_hash: u64, table: usize) -> bool {
        let later = self.later(now, host_hash, table.saturating_add(self.user_bytes));
        let allowed = later - now <= NANOS_PER_BYTE * BYTES_AT_ONCE;
        if allowed {
            self.set_whole_at(host_hash, later);
        }
        allowed
    }

    /// Charges a host for the bytes of its answer beyond those charged by [`Answers::allow`].
    pub(super) fn charge(&mut self, now: Instant, host_hash: u64, table: usize, answer: &Answer) {
        let user_bytes = answer.message.len() - answer.user_at;
        let excess = answer.message.len().saturating_sub(table + self.user_bytes);
        self.user_bytes = user_bytes;
        let later = self.later(now, host_hash, excess);
        self.set_whole_at(host_hash, later);
    }

    /// When a host that receives this many bytes has its full allowance again.
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

    /// Creates an answer; it is cached once [`Answers::begin`] is called.
    pub(super) fn make(&mut self, state: &State<'_>, rows: Rows) -> Answer {
        let (message, rows) = rows.finish(state.join, state.user_state);
        self.next += 1;
        Answer {
            id: AnswerId(self.next),
            encoded: state.now,
            join: state.join,
            generation: state.generation,
            user_at: message.len().saturating_sub(state.user_state.len()),
            rows,
            message,
        }
    }

    /// Registers a stream that sends an answer.
    pub(super) fn begin(&mut self, now: Instant, answer: &Answer) {
        self.sent = now;
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

    /// A stream has sent the answer or failed. An answer that no stream sends is dropped, unless it
    /// is small: then it is kept for the next request until [`Answers::forget`].
    pub(super) fn end(&mut self, id: AnswerId) {
        let Some((streams, bytes)) = self.sending.get_mut(&id) else { return };
        *streams -= 1;
        if *streams == 0 {
            self.sending_bytes -= *bytes;
            self.sending.remove(&id);
            for last in &mut self.last {
                drop(last.take_if(|answer| answer.id == id && !answer.is_kept()));
            }
        }
    }

    /// Drops answers that no stream sends, unless one was sent less than `age` ago.
    pub(super) fn forget(&mut self, now: Instant, age: Duration) {
        if now - self.sent < age {
            return;
        }
        let Self { last, sending, .. } = self;
        for last in last {
            drop(last.take_if(|answer| !sending.contains_key(&answer.id)));
        }
    }
}

/// Returns an error text if the state is too large for any peer.
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

/// Allowance of one host: 64 MiB at once and about 8 MiB a second. That covers any number of small
/// clusters' states, and the largest state every five seconds.
const BYTES_AT_ONCE: u32 = 64 * 1024 * 1024;
const NANOS_PER_BYTE: Duration = Duration::from_nanos(120);
const HOSTS: usize = 256;
/// An answer of at least this size is reused for a while despite changes: encoding it takes
/// milliseconds.
const LARGE_BYTES_MIN: usize = 1024 * 1024;
const LARGE_AGE_MAX: Duration = Duration::from_secs(1);
/// An answer of at most this size is kept for a while after it was sent. Larger ones take so long
/// to be sent that in a storm of joins the next request comes before the end.
const KEPT_BYTES_MAX: usize = SLICE_BYTES;
/// Bytes of distinct answers being sent at which streams begin to share one that is not the newest.
const SENDING_BYTES_MAX: usize = 24 * 1024 * 1024;
