//! Events for the application.

use std::{borrow::Cow, fmt, net::SocketAddr, ops::Deref, sync::Arc};

use bytes::Bytes;

use super::{LamportTime, Member};
use crate::base::Instant;

/// An event for the application. User events and queries of this node are delivered, too.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// Members joined, left, failed, changed or were reaped.
    Member(MemberEvent),
    /// A user event.
    User(UserEvent),
    /// A query, to be answered with its [`Query::id`] before its deadline.
    Query(Query),
}

/// The change that a [`MemberEvent`] reports. Displayed as Go's name of the event, such as
/// `member-join`. Go: `serf/event.go:EventType`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum MemberEventKind {
    /// The member is alive, for the first time or again after it left or failed.
    Join,
    /// The member left gracefully.
    Leave,
    /// The member does not answer and is probed further; a [`Self::Join`] follows if it returns.
    Failed,
    /// The member's tags, address or versions changed.
    Update,
    /// The member was gone for so long (24 h by default) that it was forgotten.
    Reap,
}

impl fmt::Display for MemberEventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Join => "member-join",
            Self::Leave => "member-leave",
            Self::Failed => "member-failed",
            Self::Update => "member-update",
            Self::Reap => "member-reap",
        })
    }
}

/// Name of a user event or a query. Bytes on the wire; in the text form, bytes that are not UTF-8
/// become U+FFFD.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventName {
    text: Arc<str>,
    /// The bytes, if they differ from those of the text.
    raw: Option<Arc<[u8]>>,
}

impl EventName {
    /// The bytes as sent on the wire.
    pub fn as_bytes(&self) -> &[u8] {
        self.raw.as_deref().unwrap_or(self.text.as_bytes())
    }

    pub(crate) fn text(&self) -> &Arc<str> {
        &self.text
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl From<&[u8]> for EventName {
    fn from(bytes: &[u8]) -> Self {
        match String::from_utf8_lossy(bytes) {
            Cow::Borrowed(text) => text.into(),
            Cow::Owned(text) => Self { text: text.into(), raw: Some(bytes.into()) },
        }
    }
}

impl From<&str> for EventName {
    fn from(text: &str) -> Self {
        Self { text: text.into(), raw: None }
    }
}

impl Deref for EventName {
    type Target = str;

    fn deref(&self) -> &str {
        &self.text
    }
}

impl AsRef<[u8]> for EventName {
    fn as_ref(&self) -> &[u8] {
        self.as_bytes()
    }
}

impl PartialEq<str> for EventName {
    fn eq(&self, other: &str) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl PartialEq<&str> for EventName {
    fn eq(&self, other: &&str) -> bool {
        self == *other
    }
}

impl fmt::Display for EventName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text)
    }
}

impl fmt::Debug for EventName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.text, f)
    }
}

/// A change of one member, or the same change of several when coalesced. Go:
/// `serf/event.go:MemberEvent`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MemberEvent {
    /// What changed.
    pub kind: MemberEventKind,
    /// The members after the change (reap: their last record).
    pub members: Vec<Arc<Member>>,
}

/// A user event; delivered at most once on each node, without an order common to all nodes. Go:
/// `serf/event.go:UserEvent`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct UserEvent {
    /// Lamport time at which it was sent: of two events of one node the later one has the larger
    /// time.
    pub ltime: LamportTime,
    /// Name; at most 512 bytes together with the payload, unless the senders' limit is raised.
    pub name: EventName,
    /// Payload.
    pub payload: Bytes,
    /// Whether receivers may deliver only the newest event of this name.
    pub coalesce: bool,
}

/// A user event to send.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct UserEventSpec {
    pub(crate) name: Vec<u8>,
    pub(crate) payload: Bytes,
    pub(crate) coalesce: bool,
}

impl UserEventSpec {
    /// Creates an event that is never coalesced. Names are usually text, but any bytes are
    /// accepted.
    pub fn new(name: impl AsRef<[u8]>, payload: impl Into<Bytes>) -> Self {
        Self { name: name.as_ref().to_owned(), payload: payload.into(), coalesce: false }
    }

    /// Allows receivers with coalescing to deliver only the newest event of this name.
    pub fn coalesce(mut self, coalesce: bool) -> Self {
        self.coalesce = coalesce;
        self
    }
}

/// Identifies a query that can be answered once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QueryId {
    /// Lamport time at which it was asked.
    pub ltime: LamportTime,
    /// Random number chosen by the asking node.
    pub id: u32,
}

/// A query from a node, possibly this one.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Query {
    /// Id, needed for the answer.
    pub id: QueryId,
    /// Name; those that begin with `_serf_` are never delivered.
    pub name: EventName,
    /// Payload.
    pub payload: Bytes,
    /// Name of the asking node.
    pub source_node: Arc<str>,
    /// Address for answers; `None` if it is malformed.
    pub source_addr: Option<SocketAddr>,
    /// Deadline for an answer.
    pub deadline: Instant,
}
