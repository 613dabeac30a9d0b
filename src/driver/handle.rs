//! The public handle.

use std::{collections::BTreeMap, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use bytes::Bytes;

use crate::serf::{Config, Event, KeyResponse, Member, Query, QueryParams, QueryUpdate, SerfState};

/// What went wrong with a call on a handle.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The engine refused.
    #[error("{0}")]
    Serf(#[from] crate::serf::Error),
    /// The node was shut down.
    #[error("serf is shut down")]
    Shutdown,
    /// A socket or file failed.
    #[error("{context}: {source}")]
    Io {
        /// What was tried.
        context: String,
        /// The system's reason.
        source: std::io::Error,
    },
}

/// A join that did not reach everyone. Go returns a count and an error together.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct JoinError {
    /// Nodes contacted.
    pub contacted: usize,
    /// Go's text of the collected errors.
    pub message: String,
}

/// Starts a node. Made by [`Serf::builder`].
pub struct Builder {
    /// Engine settings.
    pub config: Config,
    /// Address to bind; port 0: the system picks one.
    pub bind: SocketAddr,
    /// Address to announce; `None`: chosen as Go does.
    pub advertise: Option<SocketAddr>,
    /// Snapshot file.
    pub snapshot_path: Option<PathBuf>,
    /// File that receives the keys whenever they change.
    pub keyring_file: Option<PathBuf>,
}

impl Builder {
    /// Binds the sockets, replays the snapshot and starts the node.
    ///
    /// # Errors
    /// A bad configuration, an address in use, an unreadable snapshot.
    pub async fn start(self) -> Result<Serf, Error> {
        todo!()
    }
}

/// Handle of a running node: cheap to clone, safe to share. The node stops when the last one is
/// dropped.
#[derive(Clone)]
pub struct Serf {}

/// What happens when a subscriber's queue is full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LagPolicy {
    /// Drop the oldest event and tell the count as [`Event::Lagged`] before the next one.
    #[default]
    DropOldest,
    /// Drop the newest event, and tell likewise.
    DropNewest,
}

/// How to subscribe.
#[derive(Clone, Copy, Debug)]
pub struct Subscribe {
    /// Events held for a slow subscriber; 4096.
    pub capacity: usize,
    /// What happens beyond that.
    pub policy: LagPolicy,
}

impl Default for Subscribe {
    fn default() -> Self {
        Self { capacity: 4096, policy: LagPolicy::DropOldest }
    }
}

/// A subscriber's events.
pub struct EventStream {}

impl EventStream {
    /// The next event; `None` after the shutdown. Cancel-safe.
    pub async fn recv(&mut self) -> Option<Event> {
        todo!()
    }

    /// Events this subscriber lost so far.
    pub fn lost(&self) -> u64 {
        todo!()
    }
}

/// A query we asked.
pub struct QueryHandle {}

impl QueryHandle {
    /// The next ack or answer; after [`QueryUpdate::Finished`], `None`. Cancel-safe.
    pub async fn recv(&mut self) -> Option<QueryUpdate> {
        todo!()
    }

    /// Time until the deadline when it was asked.
    pub fn timeout(&self) -> Duration {
        todo!()
    }
}

/// Result of a key operation: the response is there even if some nodes failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyOutcome {
    /// Per-node results.
    pub response: KeyResponse,
    /// Go's summary, if not all nodes succeeded.
    pub error: Option<String>,
}

/// Changes keys in the whole cluster. Made by [`Serf::key_manager`].
pub struct KeyManager {}

impl KeyManager {
    /// Runs one operation. Operations of one node run one after the other.
    ///
    /// # Errors
    /// The key is not base64, or the node is shut down.
    pub async fn run(&self, op: crate::serf::KeyOp, relay_factor: u8) -> Result<KeyOutcome, Error> {
        let _ = (op, relay_factor);
        todo!()
    }
}

impl Serf {
    /// A builder with defaults: bind `0.0.0.0:7946`.
    pub fn builder(config: Config) -> Builder {
        Builder {
            config,
            bind: SocketAddr::from(([0, 0, 0, 0], 7946)),
            advertise: None,
            snapshot_path: None,
            keyring_file: None,
        }
    }

    /// Joins through `entries` (`[name/]host[:port]`), all of them, and gives how many were
    /// contacted. With `ignore_old`, events from before the join are not delivered.
    ///
    /// # Errors
    /// Nobody was contacted.
    pub async fn join(&self, entries: &[String], ignore_old: bool) -> Result<usize, JoinError> {
        let _ = (entries, ignore_old);
        todo!()
    }

    /// Leaves gracefully; the node keeps answering until [`Serf::shutdown`].
    ///
    /// # Errors
    /// Already leaving, or shut down.
    pub async fn leave(&self) -> Result<(), Error> {
        todo!()
    }

    /// Stops the node; returns when everything is stopped. Idempotent.
    pub async fn shutdown(&self) {
        todo!()
    }

    /// Resolves when the node has stopped, for whatever reason (also a lost name vote).
    pub async fn stopped(&self) {
        todo!()
    }

    /// Sends a user event.
    ///
    /// # Errors
    /// Too large, or shut down.
    pub async fn user_event(
        &self,
        name: &str,
        payload: impl Into<Bytes> + Send,
        coalesce: bool,
    ) -> Result<(), Error> {
        let _ = (name, payload.into(), coalesce);
        todo!()
    }

    /// Asks a query.
    ///
    /// # Errors
    /// Too large, or shut down.
    pub async fn query(
        &self,
        name: &str,
        payload: impl Into<Bytes> + Send,
        params: QueryParams,
    ) -> Result<QueryHandle, Error> {
        let _ = (name, payload.into(), params);
        todo!()
    }

    /// Answers a query.
    ///
    /// # Errors
    /// Already answered, past its deadline, too large, or shut down.
    pub async fn respond(
        &self,
        query: &Query,
        payload: impl Into<Bytes> + Send,
    ) -> Result<(), Error> {
        let _ = (query, payload.into());
        todo!()
    }

    /// Replaces all tags.
    ///
    /// # Errors
    /// Too long, not sent out in time, or shut down.
    pub async fn set_tags(&self, tags: BTreeMap<String, String>) -> Result<(), Error> {
        let _ = tags;
        todo!()
    }

    /// Declares a failed member left, or with `prune` forgets it.
    ///
    /// # Errors
    /// Not sent out in time, or shut down.
    pub async fn force_leave(&self, name: &str, prune: bool) -> Result<(), Error> {
        let _ = (name, prune);
        todo!()
    }

    /// For key operations.
    pub fn key_manager(&self) -> KeyManager {
        todo!()
    }

    /// All members, the gone included, by name. Empty after the shutdown.
    pub async fn members(&self) -> Vec<Arc<Member>> {
        todo!()
    }

    /// Our own record.
    pub async fn local_member(&self) -> Arc<Member> {
        todo!()
    }

    /// Go's `Stats` keys.
    pub async fn stats(&self) -> BTreeMap<String, String> {
        todo!()
    }

    /// The coordinate of a node as last heard, or our own; `None` if unknown or disabled.
    pub async fn coordinate(&self, name: &str) -> Option<crate::serf::Coordinate> {
        let _ = name;
        todo!()
    }

    /// State of the node's life.
    pub fn state(&self) -> SerfState {
        todo!()
    }

    /// Whether there is a keyring.
    pub async fn encryption_enabled(&self) -> bool {
        todo!()
    }

    /// Subscribes to all events from now on. A slow subscriber never delays the node or others.
    pub fn subscribe(&self, options: Subscribe) -> EventStream {
        let _ = options;
        todo!()
    }

    /// The address announced to others, and the bound one.
    pub fn addresses(&self) -> (SocketAddr, SocketAddr) {
        todo!()
    }
}
