//! Events for the application.

use std::{fmt, net::SocketAddr, time::Duration};

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};

use super::{Error, clock, command::Command};
use crate::serf::{self, LamportTime, MemberEvent, QueryId, UserEvent};

/// An event for the application. User events and queries of this node are delivered, too.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// Members joined, left, failed, changed or were reaped.
    Member(MemberEvent),
    /// A user event.
    User(UserEvent),
    /// A query, to be answered by [`Query::respond`] before its deadline.
    Query(Query),
    /// The subscriber was too slow: this many events were dropped before the next one.
    Lagged(u64),
}

/// A query from a node, possibly this one. Does not keep the node running.
#[derive(Clone)]
pub struct Query {
    pub(crate) asked: serf::Query,
    commands: mpsc::WeakSender<Command>,
}

impl Query {
    /// Name of the query.
    pub fn name(&self) -> &str {
        &self.asked.name
    }

    /// Name of the query as bytes, which need not be UTF-8.
    pub fn name_bytes(&self) -> &[u8] {
        self.asked.name.as_bytes()
    }

    /// The payload. With the feature `payload`, `payload` decodes it into a value.
    pub fn payload_bytes(&self) -> &Bytes {
        &self.asked.payload
    }

    /// Name of the asking node.
    pub fn source(&self) -> &str {
        &self.asked.source_node
    }

    /// Address for answers; `None` if it is malformed.
    pub fn source_addr(&self) -> Option<SocketAddr> {
        self.asked.source_addr
    }

    /// Id of the query, for [`Serf::respond_to`](super::Serf::respond_to).
    pub fn id(&self) -> QueryId {
        self.asked.id
    }

    /// Lamport time of the query.
    pub fn ltime(&self) -> LamportTime {
        self.asked.id.ltime
    }

    /// Time left for an answer; zero after the deadline.
    #[doc(alias = "Deadline")]
    pub fn time_left(&self) -> Duration {
        self.asked.deadline.since(clock::now())
    }

    /// Answers the query; possible once, before the deadline. Go: `serf/event.go:Query.Respond`.
    ///
    /// # Errors
    /// The query was answered before, its deadline has passed, the answer is larger than
    /// [`Limits::query_response_size`](crate::engine::Limits::query_response_size) (1024 bytes,
    /// encoded), or the node was shut down.
    #[doc(alias = "Respond")]
    pub async fn respond(&self, payload: impl Into<Bytes> + Send) -> Result<(), Error> {
        let (id, payload) = (self.asked.id, payload.into());
        let commands = self.commands.upgrade().ok_or(Error::Shutdown)?;
        let (reply, answer) = oneshot::channel();
        let command = Command::Respond(id, payload, reply);
        commands.send(command).await.map_err(|_| Error::Shutdown)?;
        drop(commands);
        Ok(answer.await.map_err(|_| Error::Shutdown)??)
    }
}

impl Event {
    /// Converts the engine's event for subscribers.
    pub(super) fn new(event: serf::Event, commands: &mpsc::WeakSender<Command>) -> Self {
        match event {
            serf::Event::Member(event) => Self::Member(event),
            serf::Event::User(event) => Self::User(event),
            serf::Event::Query(asked) => Self::Query(Query { asked, commands: commands.clone() }),
        }
    }
}

impl fmt::Debug for Query {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.asked.fmt(f)
    }
}

impl PartialEq for Query {
    fn eq(&self, other: &Self) -> bool {
        self.asked == other.asked
    }
}

impl Eq for Query {}

#[cfg(feature = "serde")]
impl serde::Serialize for Query {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.asked.serialize(serializer)
    }
}

#[cfg(feature = "serde")]
impl serde::Serialize for Event {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Member(event) => {
                serializer.serialize_newtype_variant("Event", 0, "member", event)
            }
            Self::User(event) => serializer.serialize_newtype_variant("Event", 1, "user", event),
            Self::Query(query) => serializer.serialize_newtype_variant("Event", 2, "query", query),
            Self::Lagged(lost) => serializer.serialize_newtype_variant("Event", 3, "lagged", lost),
        }
    }
}
