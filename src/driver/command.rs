//! What handles ask of the engine's task, as data.

#[cfg(feature = "agent")]
use std::time::Duration;
use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use tokio::sync::oneshot;

use super::{Counters, Error, UserEventSpec, query_handle::QueryHandle};
use crate::serf::{
    self, Completion, Coordinate, KeyOp, Member, OldEvents, Prune, QueryId, QueryParams,
};
#[cfg(feature = "agent")]
use crate::swim;

/// One request. It is carried out on the engine's task and never waits there.
pub(super) enum Command {
    /// Starts an operation; the reply comes when it ends.
    Start(Operation, oneshot::Sender<Outcome>),
    /// Reads something; the reply comes at once.
    Read(Read),
    /// Sends user events, in this order; one result each.
    SendEvents(Vec<UserEventSpec>, oneshot::Sender<Vec<Result<(), serf::Error>>>),
    /// Asks a query.
    Query(Question, oneshot::Sender<Result<QueryHandle, Error>>),
    /// Answers a query that was received.
    Respond(QueryId, Bytes, oneshot::Sender<Result<(), serf::Error>>),
    /// Ends a query that was asked.
    CloseQuery(QueryId),
    /// Stops the node.
    Stop,
    /// Looks at the node, for tests.
    #[cfg(all(test, feature = "tokio"))]
    Inspect(Box<Look>),
}

/// How an operation ended.
pub(super) type Outcome = Result<Completion, serf::Error>;

/// Work of several steps inside the engine.
pub(super) enum Operation {
    Join { entries: Vec<String>, old: OldEvents },
    Leave,
    SetTags(BTreeMap<String, String>),
    UpdateTags(Box<ChangeTags>),
    ForceLeave { name: String, prune: Prune },
    Keys { op: KeyOp, relay_factor: u8 },
}

/// A look of a test at the node.
#[cfg(all(test, feature = "tokio"))]
pub(super) type Look = dyn FnOnce(&mut dyn std::any::Any) + Send;

/// A caller's change of the tags.
pub(super) type ChangeTags = dyn FnOnce(&mut BTreeMap<String, String>) + Send;

/// What is read, and where the answer goes.
pub(super) enum Read {
    Members(oneshot::Sender<Vec<Arc<Member>>>),
    /// With their generation, unless that is the one given.
    #[cfg(feature = "agent")]
    MembersUnless(Option<u64>, oneshot::Sender<Option<(u64, Vec<Arc<Member>>)>>),
    MembersWhere(Box<dyn Fn(&Member) -> bool + Send>, oneshot::Sender<Vec<Arc<Member>>>),
    Member(String, oneshot::Sender<Option<Arc<Member>>>),
    LocalMember(oneshot::Sender<Arc<Member>>),
    Stats(oneshot::Sender<BTreeMap<&'static str, String>>),
    Coordinate(String, oneshot::Sender<Option<Coordinate>>),
    Counters(oneshot::Sender<Counters>),
    Encrypted(oneshot::Sender<bool>),
    /// Whether the newest keys could not be written yet.
    #[cfg(feature = "agent")]
    KeysUnwritten(oneshot::Sender<bool>),
    /// Live peers whose direct probes are not answered, and for how long.
    #[cfg(feature = "agent")]
    Troubles(oneshot::Sender<Vec<(Arc<str>, swim::Trouble, Duration)>>),
}

/// A query to be asked.
pub(super) struct Question {
    pub(super) name: Vec<u8>,
    pub(super) payload: Bytes,
    pub(super) params: QueryParams,
}
