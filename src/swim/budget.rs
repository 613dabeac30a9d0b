//! Limits on the work that one datagram causes: a few bytes must not cost many, here or elsewhere.

use crate::{
    base::{PRINTABLE_BYTES_MAX, error_texts, printable_text},
    wire::{DecodeError, limits::DATAGRAM_BYTES_MAX},
};

/// Counted down while a datagram is taken apart.
#[derive(Debug)]
pub(super) struct Budget {
    /// Bytes that compressed messages may still unpack to. Nested ones multiply, so without a
    /// common budget one small packet could keep the node busy for hours.
    pub(super) unpacked: usize,
    parts: usize,
    answers: usize,
    echo: usize,
    gossip: bool,
    dropped: usize,
    first: Option<Dropped>,
}

/// Why a part of a datagram, or all of it, is not handled.
#[derive(Debug)]
pub(super) enum Dropped {
    Undecodable(DecodeError),
    TooDeep,
    UnpacksToTooMuch,
    TooManyParts,
    /// Its name, printable.
    UnexpectedNode(String),
}

error_texts! {
    Dropped {
        Self::Undecodable(error) => "{}", printable_text(error, 2 * PRINTABLE_BYTES_MAX);
        Self::TooDeep => "nested too deeply";
        Self::UnpacksToTooMuch => "unpacks to too much";
        Self::TooManyParts => "too many parts";
        Self::UnexpectedNode(name) => "Got ping for unexpected node '{name}'";
    }
}

impl From<DecodeError> for Dropped {
    fn from(error: DecodeError) -> Self {
        Self::Undecodable(error)
    }
}

impl Budget {
    /// For a datagram of `len` bytes.
    pub(super) fn new(len: usize) -> Self {
        Self {
            unpacked: UNPACKED_BYTES_MAX,
            parts: PARTS_MAX,
            answers: ANSWERS_MAX,
            echo: len,
            gossip: true,
            dropped: 0,
            first: None,
        }
    }

    /// Whether one more message may be looked at.
    pub(super) fn take_part(&mut self) -> bool {
        if self.parts == 0 {
            self.drop_part(Dropped::TooManyParts);
            self.dropped = self.dropped.max(DROPPED_MAX);
        }
        let some = !self.is_spent();
        self.parts = self.parts.saturating_sub(1);
        some
    }

    /// Whether one more ping or indirect ping is answered.
    pub(super) fn take_answer(&mut self) -> bool {
        let some = self.answers > 0;
        self.answers = self.answers.saturating_sub(1);
        some
    }

    /// Whether a packet of `bytes` may go to an address that is not a member's.
    pub(super) fn take_echo(&mut self, bytes: usize) -> bool {
        let enough = bytes <= self.echo;
        if enough {
            self.echo -= bytes;
        }
        enough
    }

    /// Whether gossip may ride along with an answer to a member.
    pub(super) fn take_gossip(&mut self) -> bool {
        std::mem::take(&mut self.gossip)
    }

    /// Notes a part that is not handled.
    pub(super) fn drop_part(&mut self, reason: Dropped) {
        self.dropped += 1;
        self.first.get_or_insert(reason);
    }

    /// Whether the rest of the datagram is not worth looking at.
    pub(super) fn is_spent(&self) -> bool {
        self.dropped >= DROPPED_MAX
    }

    /// Whether a part of the datagram was not handled.
    pub(super) fn has_dropped(&self) -> bool {
        self.dropped > 0
    }

    /// The first reason, and how many parts were not handled, if any.
    pub(super) fn take_dropped(&mut self) -> Option<(Dropped, usize)> {
        let first = self.first.take()?;
        Some((first, self.dropped))
    }
}

/// What messages of the layer above to addresses that are not a member's may cost: about as many
/// bytes as came in, so that nobody is hit harder through us.
#[derive(Debug)]
pub(super) struct Credit(usize);

impl Default for Credit {
    fn default() -> Self {
        Self(CREDIT_BYTES_MAX)
    }
}

impl Credit {
    /// A datagram of so many bytes came in.
    pub(super) fn earn(&mut self, bytes: usize) {
        self.0 = self.0.saturating_add(bytes).min(CREDIT_BYTES_MAX);
    }

    /// Whether a packet of so many bytes may go out.
    pub(super) fn spend(&mut self, bytes: usize) -> bool {
        let left = self.0.checked_sub(bytes + CREDIT_PACKET_BYTES);
        self.0 = left.unwrap_or(self.0);
        left.is_some()
    }
}

/// Bytes that all compressed messages of one datagram may unpack to.
const UNPACKED_BYTES_MAX: usize = 4 * DATAGRAM_BYTES_MAX;
/// Messages in one datagram, the compounds around them included. Go sends at most 255 in one.
const PARTS_MAX: usize = 512;
/// Pings and indirect pings in one datagram that are answered. Real packets carry one.
const ANSWERS_MAX: usize = 4;
/// Parts that could not be handled, after which the rest of a datagram is dropped.
const DROPPED_MAX: usize = 16;
/// Credit that is kept while nobody asks: a dozen acks of queries.
const CREDIT_BYTES_MAX: usize = 2 * 1024;
/// What a packet costs beside its bytes.
const CREDIT_PACKET_BYTES: usize = 128;
