//! Events for the application.

use std::{borrow::Cow, fmt, net::SocketAddr, ops::Deref, sync::Arc};

use bytes::Bytes;

use super::{LamportTime, Member};
use crate::base::Instant;

/// One event. Own user events and queries are delivered too.
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

/// Which change a [`MemberEvent`] reports. As text it is Go's name of the event, such as
/// `member-join`. Go: `serf/event.go:EventType`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum MemberEventKind {
    /// It is alive, for the first time or again after it left or failed.
    Join,
    /// It left gracefully.
    Leave,
    /// It answers nobody and is looked for; a [`Self::Join`] follows if it comes back.
    Failed,
    /// Its tags, address or versions changed.
    Update,
    /// It was gone for so long (24 h by default) that it was forgotten.
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

/// Name of a user event or a query. Bytes on the wire; as text, what is not UTF-8 is U+FFFD.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventName {
    text: Arc<str>,
    /// The bytes, where they are not those of the text.
    raw: Option<Arc<[u8]>>,
}

impl EventName {
    /// The bytes of the wire.
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
    /// The change.
    pub kind: MemberEventKind,
    /// The members after it (reap: their last record).
    pub members: Vec<Arc<Member>>,
}

/// A user event, at most once on each node and in no order that nodes agree on. Go:
/// `serf/event.go:UserEvent`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct UserEvent {
    /// Lamport time at which it was sent: of two events of one node the later has the larger.
    pub ltime: LamportTime,
    /// Name; with the payload 512 bytes at most, unless the senders' limit is raised.
    pub name: EventName,
    /// Payload, as it was sent.
    pub payload: Bytes,
    /// Whether the sender lets receivers deliver only the newest event of this name.
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
    /// An event that is always delivered. Names are text, but any bytes are taken.
    pub fn new(name: impl AsRef<[u8]>, payload: impl Into<Bytes>) -> Self {
        Self { name: name.as_ref().to_owned(), payload: payload.into(), coalesce: false }
    }

    /// Lets receivers that coalesce deliver only the newest event of this name.
    pub fn coalesce(mut self, coalesce: bool) -> Self {
        self.coalesce = coalesce;
        self
    }
}

/// Names a query that can be answered once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QueryId {
    /// Lamport time at which it was asked.
    pub ltime: LamportTime,
    /// Random number that the node which asks chose.
    pub id: u32,
}

/// A query from a node, maybe ourselves.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Query {
    /// Identity, for the answer.
    pub id: QueryId,
    /// Name; those that begin with `_serf_` are never delivered.
    pub name: EventName,
    /// Payload, as it was sent.
    pub payload: Bytes,
    /// Name of the node that asks.
    pub source_node: Arc<str>,
    /// Where answers go; `None` if the address is malformed.
    pub source_addr: Option<SocketAddr>,
    /// End of the time for an answer.
    pub deadline: Instant,
}
