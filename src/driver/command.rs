//! Requests of handles to the engine's task, as data.

#[cfg(feature = "agent")]
use std::time::Duration;
use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use tokio::sync::oneshot;

use super::{Counters, Error, UserEventSpec, callers::Reply, query_handle::QueryHandle};
use crate::serf::{
    self, Coordinate, KeyOp, KeyResponse, Member, OldEvents, Prune, QueryId, QueryParams, Roster,
};
#[cfg(feature = "agent")]
use crate::swim;

/// One request. The engine's task processes it without waiting.
pub(super) enum Command {
    /// Starts a join; the reply is the number of addresses that were contacted.
    Join { entries: Vec<String>, old: OldEvents, reply: Reply<usize> },
    /// Starts a key operation; the reply is sent when it ends.
    Keys { op: KeyOp, relay_factor: u8, reply: Reply<KeyResponse> },
    /// Starts a change; the reply is sent when it has been sent to other nodes.
    Change(Change, Reply<()>),
    /// Reads state; the reply is sent at once.
    Read(Read),
    /// Sends user events, in this order; one result for each.
    SendEvents(Vec<UserEventSpec>, oneshot::Sender<Vec<Result<(), serf::Error>>>),
    /// Asks a query.
    Query(Question, oneshot::Sender<Result<QueryHandle, Error>>),
    /// Answers a received query.
    Respond(QueryId, Bytes, oneshot::Sender<Result<(), serf::Error>>),
    /// Ends a query of ours.
    CloseQuery(QueryId),
    /// Stops the node.
    Stop,
    /// Inspects the node, for tests.
    #[cfg(all(test, feature = "tokio"))]
    Inspect(Box<Look>),
}

/// A change that other nodes must learn of.
pub(super) enum Change {
    Leave,
    SetTags(BTreeMap<String, String>),
    UpdateTags(Box<ChangeTags>),
    ForceLeave { name: String, prune: Prune },
}

/// A test's function that inspects the node.
#[cfg(all(test, feature = "tokio"))]
pub(super) type Look = dyn FnOnce(&mut dyn std::any::Any) + Send;

/// A caller's function that changes the tags.
pub(super) type ChangeTags = dyn FnOnce(&mut BTreeMap<String, String>) + Send;

/// The state to read, with the channel for the answer.
pub(super) enum Read {
    Members(oneshot::Sender<Roster>),
    Member(String, oneshot::Sender<Option<Arc<Member>>>),
    LocalMember(oneshot::Sender<Arc<Member>>),
    Stats(oneshot::Sender<BTreeMap<&'static str, String>>),
    Coordinate(String, oneshot::Sender<Option<Coordinate>>),
    Counters(oneshot::Sender<Counters>),
    Encrypted(oneshot::Sender<bool>),
    /// Whether the newest keys have not been written yet.
    #[cfg(feature = "agent")]
    KeysUnwritten(oneshot::Sender<bool>),
    /// Messages that all members have encrypted with the primary key, if they are too many.
    #[cfg(feature = "agent")]
    KeyUse(oneshot::Sender<Option<u64>>),
    /// Live peers that do not answer direct probes, and for how long.
    #[cfg(feature = "agent")]
    Troubles(oneshot::Sender<Vec<(Arc<str>, swim::Trouble, Duration)>>),
}

/// A query to ask.
pub(super) struct Question {
    pub(super) name: Vec<u8>,
    pub(super) payload: Bytes,
    pub(super) params: QueryParams,
}
