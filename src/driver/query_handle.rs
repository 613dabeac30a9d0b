//! Queries of this node.

use std::{
    fmt,
    future::poll_fn,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use futures_core::Stream;

use super::queue::{Next, Queue};
use crate::serf::{QueryId, QueryUpdate};

/// A query of this node: returns acks and answers as they arrive, and a summary at the deadline;
/// also as a [`Stream`]. Dropping it ends the query: later answers are ignored. Does not keep the
/// node running. Go: `serf/query.go:QueryResponse`.
#[doc(alias = "QueryResponse")]
#[must_use = "a query ends when its handle is dropped"]
pub struct QueryHandle {
    pub(super) id: QueryId,
    pub(super) updates: Arc<Queue<QueryUpdate>>,
    pub(super) timeout: Duration,
    /// Ends the query in the engine.
    pub(super) close: Box<dyn Fn(QueryId) + Send + Sync>,
}

/// An answer to a query. With the feature `payload`, a method decodes its payload into a value.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Response {
    /// Name of the answering node.
    pub from: Arc<str>,
    /// Payload of the answer.
    pub payload: Bytes,
}

impl QueryHandle {
    /// The next ack or answer, then [`QueryUpdate::Finished`] with the names of the nodes that sent
    /// neither, then `None`. `None` without `Finished`: the node was shut down. Cancel-safe.
    pub async fn recv(&mut self) -> Option<QueryUpdate> {
        poll_fn(|cx| Pin::new(&mut *self).poll_next(cx)).await
    }

    /// The next answer; skips acks. `None` when the query has ended. Cancel-safe.
    pub async fn response(&mut self) -> Option<Response> {
        loop {
            match self.recv().await? {
                QueryUpdate::Response { from, payload } => return Some(Response { from, payload }),
                QueryUpdate::Ack { .. } => {}
                QueryUpdate::Finished { .. } => return None,
            }
        }
    }

    /// Time limit of the query, counted from its start.
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Id of the query.
    pub fn id(&self) -> QueryId {
        self.id
    }

    /// Number of acks and answers dropped because they were not read in time.
    pub fn lost(&self) -> u64 {
        self.updates.lost()
    }
}

impl Stream for QueryHandle {
    type Item = QueryUpdate;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<QueryUpdate>> {
        loop {
            match ready!(self.updates.poll_next(cx)) {
                Some(Next::Item(update)) => return Poll::Ready(Some(update)),
                Some(Next::Lost(_)) => {}
                None => return Poll::Ready(None),
            }
        }
    }
}

impl fmt::Debug for QueryHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QueryHandle").field("id", &self.id).finish_non_exhaustive()
    }
}

impl Drop for QueryHandle {
    fn drop(&mut self) {
        self.updates.abandon();
        (self.close)(self.id);
    }
}
