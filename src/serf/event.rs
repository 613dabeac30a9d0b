//! What the application hears.

use std::{fmt, net::SocketAddr, sync::Arc};

use bytes::Bytes;

use super::{LamportTime, Member};
use crate::base::Instant;

/// One event. Own user events and queries are delivered too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Members joined, left, failed, changed or were reaped.
    Member(MemberEvent),
    /// A user event.
    User(UserEvent),
    /// A query, to be answered with its [`Query::id`] before its deadline.
    Query(Query),
}

/// Which change a [`MemberEvent`] tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MemberEventKind {
    /// `member-join`
    Join,
    /// `member-leave`
    Leave,
    /// `member-failed`
    Failed,
    /// `member-update`
    Update,
    /// `member-reap`
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

/// A change of one member, or of several when coalesced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberEvent {
    /// The change.
    pub kind: MemberEventKind,
    /// The members after it (reap: their last record).
    pub members: Vec<Arc<Member>>,
}

/// A user event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserEvent {
    /// Event time.
    pub ltime: LamportTime,
    /// Name; not always UTF-8 on the wire, lossy here.
    pub name: Arc<str>,
    /// Payload.
    pub payload: Bytes,
    /// Whether the sender allows coalescing.
    pub coalesce: bool,
}

/// Names a query that can be answered once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QueryId {
    /// Query time.
    pub ltime: LamportTime,
    /// Random id chosen by the sender.
    pub id: u32,
}

/// A query from a node, maybe ourselves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    /// Identity, for the answer.
    pub id: QueryId,
    /// Name.
    pub name: Arc<str>,
    /// Payload.
    pub payload: Bytes,
    /// Name of the sender.
    pub source_node: Arc<str>,
    /// Where answers go; `None` if the address is malformed.
    pub source_addr: Option<SocketAddr>,
    /// End of the time for an answer.
    pub deadline: Instant,
}
