//! Limits the work that one datagram can cause: few bytes must not cause much work or traffic.

use crate::{
    base::{PRINTABLE_BYTES_MAX, error_texts, printable_text},
    wire::{DecodeError, Kind, limits::DATAGRAM_BYTES_MAX},
};

/// Counted down while a datagram is processed.
#[derive(Debug)]
pub(super) struct Budget {
    /// Bytes that compressed messages may still decompress to. Nested ones multiply: without a
    /// common budget one small packet could keep the node busy for hours.
    pub(super) unpacked: usize,
    parts: usize,
    answers: usize,
    echo: usize,
    gossip: bool,
    dropped: usize,
    first: Option<Dropped>,
}

/// Why a datagram or a part of it was dropped.
#[derive(Debug)]
pub(super) enum Dropped {
    Undecodable(DecodeError),
    /// The body of a message; the text is how Go begins the line of its log.
    Body(&'static str, DecodeError),
    TooDeep,
    UnpacksToTooMuch,
    TooManyParts,
    /// The name in the message, printable.
    UnexpectedNode(String),
}

error_texts! {
    Dropped {
        Self::Undecodable(error) => "{}", printable_text(error, 2 * PRINTABLE_BYTES_MAX);
        Self::Body(part, error) => "{part}: {}", printable_text(error, 2 * PRINTABLE_BYTES_MAX);
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

impl Dropped {
    /// A message of this kind that cannot be decoded.
    pub(super) fn of(kind: Option<Kind>, error: DecodeError) -> Self {
        let part = match (kind, &error) {
            (None, _) | (_, DecodeError::CompoundTruncated { .. }) => return error.into(),
            (Some(Kind::Ping), _) => "Failed to decode ping request",
            (Some(Kind::IndirectPing), _) => "Failed to decode indirect ping request",
            (Some(Kind::Ack), _) => "Failed to decode ack response",
            (Some(Kind::Nack), _) => "Failed to decode nack response",
            (Some(Kind::Suspect), _) => "Failed to decode suspect message",
            (Some(Kind::Alive), _) => "Failed to decode alive message",
            (Some(Kind::Dead), _) => "Failed to decode dead message",
            (Some(Kind::User), _) => "Failed to decode user message",
            (Some(Kind::Compound), _) => "Failed to decode compound request",
            (Some(Kind::Compress), _) => "Failed to decompress payload",
        };
        Self::Body(part, error)
    }

    /// Whether Go logs it as a warning, or it is a limit of ours.
    pub(super) fn is_warning(&self) -> bool {
        match self {
            Self::Undecodable(
                DecodeError::CompoundTruncated { .. } | DecodeError::Checksum { .. },
            ) => true,
            Self::Undecodable(_) | Self::Body(..) => false,
            Self::TooDeep
            | Self::UnpacksToTooMuch
            | Self::TooManyParts
            | Self::UnexpectedNode(_) => true,
        }
    }
}

impl Budget {
    /// The budget of a datagram of `len` bytes.
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

    /// Takes one message from the budget; returns whether it may be processed.
    pub(super) fn take_part(&mut self) -> bool {
        if self.parts == 0 {
            self.drop_part(Dropped::TooManyParts);
            self.dropped = self.dropped.max(DROPPED_MAX);
        }
        let some = !self.is_spent();
        self.parts = self.parts.saturating_sub(1);
        some
    }

    /// Takes one answer from the budget; returns whether a ping or indirect ping may be answered.
    pub(super) fn take_answer(&mut self) -> bool {
        let some = self.answers > 0;
        self.answers = self.answers.saturating_sub(1);
        some
    }

    /// Takes `bytes` from the budget for packets to addresses of non-members; returns whether it
    /// sufficed.
    pub(super) fn take_echo(&mut self, bytes: usize) -> bool {
        let enough = bytes <= self.echo;
        if enough {
            self.echo -= bytes;
        }
        enough
    }

    /// Whether gossip may be piggybacked on an answer to a member.
    pub(super) fn take_gossip(&mut self) -> bool {
        std::mem::take(&mut self.gossip)
    }

    /// Records a dropped part.
    pub(super) fn drop_part(&mut self, reason: Dropped) {
        self.dropped += 1;
        self.first.get_or_insert(reason);
    }

    /// Whether the rest of the datagram is to be dropped.
    pub(super) fn is_spent(&self) -> bool {
        self.dropped >= DROPPED_MAX
    }

    /// Whether a part of the datagram was dropped.
    pub(super) fn has_dropped(&self) -> bool {
        self.dropped > 0
    }

    /// Returns and clears the first reason and the number of dropped parts, if any.
    pub(super) fn take_dropped(&mut self) -> Option<(Dropped, usize)> {
        let first = self.first.take()?;
        Some((first, self.dropped))
    }
}

/// Limits the bytes sent to addresses of non-members for the layer above to about the bytes
/// received, so that this node cannot amplify an attack.
#[derive(Debug)]
pub(super) struct Credit(usize);

impl Default for Credit {
    fn default() -> Self {
        Self(CREDIT_BYTES_MAX)
    }
}

impl Credit {
    /// Credits a received datagram of `bytes` bytes.
    pub(super) fn earn(&mut self, bytes: usize) {
        self.0 = self.0.saturating_add(bytes).min(CREDIT_BYTES_MAX);
    }

    /// Charges a packet of `bytes` bytes; returns whether the credit sufficed.
    pub(super) fn spend(&mut self, bytes: usize) -> bool {
        let left = self.0.checked_sub(bytes + CREDIT_PACKET_BYTES);
        self.0 = left.unwrap_or(self.0);
        left.is_some()
    }
}

/// Bytes that all compressed messages of one datagram together may decompress to.
const UNPACKED_BYTES_MAX: usize = 4 * DATAGRAM_BYTES_MAX;
/// Most messages in one datagram, including compounds. Go sends at most 255 in one.
const PARTS_MAX: usize = 512;
/// Most pings and indirect pings of one datagram that are answered. Real packets carry one.
const ANSWERS_MAX: usize = 4;
/// After this many dropped parts the rest of a datagram is dropped.
const DROPPED_MAX: usize = 16;
/// Largest unused credit: about a dozen acks of queries.
const CREDIT_BYTES_MAX: usize = 2 * 1024;
/// Cost of a packet in addition to its bytes.
const CREDIT_PACKET_BYTES: usize = 128;
