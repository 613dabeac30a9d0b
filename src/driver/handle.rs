//! The public handle.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError, atomic::AtomicU8, atomic::Ordering},
    time::Duration,
};

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot, watch};

use super::{
    Builder, EventStream, JoinError, Resolver, Subscribe,
    core::{Command, Core, QUERY_UPDATES_MAX, key_outcome},
    join,
    subscribe::Subscribers,
};
use crate::{
    base::Instant,
    serf::{
        self, Completion, Config, Coordinate, KeyOp, KeyResponse, Member, Query, QueryId,
        QueryParams, QueryUpdate, SerfState,
    },
    swim::{self, OpId},
};

/// What went wrong with a call on a handle.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The engine refused; the node goes on unchanged.
    #[error("{0}")]
    Serf(#[from] serf::Error),
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

/// Handle of a running node: cheap to clone, safe to share. The node stops when the last one is
/// dropped. Every method may be cancelled: what it began goes on without it.
#[derive(Clone)]
pub struct Serf {
    pub(super) shared: Arc<Shared>,
}

/// What all handles of a node share.
pub(super) struct Shared {
    pub(super) commands: mpsc::Sender<Command>,
    pub(super) events: Arc<Subscribers>,
    pub(super) state: AtomicU8,
    pub(super) ended: watch::Receiver<bool>,
    pub(super) bound: SocketAddr,
    pub(super) advertised: SocketAddr,
    pub(super) name: Arc<str>,
    pub(super) resolver: Arc<dyn Resolver>,
    pub(super) join_lock: tokio::sync::Mutex<()>,
    pub(super) key_lock: tokio::sync::Mutex<()>,
    pub(super) seeds: Mutex<Vec<String>>,
}

impl Shared {
    /// Runs `work` on the engine's task.
    pub(super) async fn call<R: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Core, Instant) -> R + Send + 'static,
    ) -> Result<R, Error> {
        let (answer, result) = oneshot::channel();
        let command: Command = Box::new(move |core, now| {
            let _ = answer.send(work(core, now)); // the caller may have lost interest
        });
        self.commands.send(command).await.map_err(|_| Error::Shutdown)?;
        result.await.map_err(|_| Error::Shutdown)
    }

    /// Begins an operation and waits for its end.
    async fn operate(
        &self,
        begin: impl FnOnce(&mut Core, Instant) -> Result<OpId, serf::Error> + Send + 'static,
    ) -> Result<Completion, Error> {
        let (done, result) = oneshot::channel();
        self.call(move |core, now| begin(core, now).map(|op| core.wait_for(op, done))).await??;
        Ok(result.await.map_err(|_| Error::Shutdown)??)
    }

    pub(super) fn remember_seeds(&self, entries: &[String], max: usize) {
        let mut seeds = self.seeds.lock().unwrap_or_else(PoisonError::into_inner);
        for entry in entries {
            if seeds.len() < max && !seeds.contains(entry) {
                seeds.push(entry.clone());
            }
        }
    }

    pub(super) fn seeds(&self) -> Vec<String> {
        self.seeds.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// A query we asked.
pub struct QueryHandle {
    updates: mpsc::Receiver<QueryUpdate>,
    id: QueryId,
    timeout: Duration,
    shared: Arc<Shared>,
}

impl QueryHandle {
    /// The next ack or answer; after [`QueryUpdate::Finished`], `None`. Cancel-safe.
    pub async fn recv(&mut self) -> Option<QueryUpdate> {
        self.updates.recv().await
    }

    /// Time from the asking to the deadline.
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Identity of the query.
    pub fn id(&self) -> QueryId {
        self.id
    }

    /// Ends the query before its time; the summary follows.
    pub async fn close(&self) {
        let id = self.id;
        let _ = self.shared.call(move |core, now| core.engine.close_query(now, id)).await;
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
#[derive(Clone)]
pub struct KeyManager {
    shared: Arc<Shared>,
}

impl KeyManager {
    /// Runs one operation. Operations of one node run one after the other.
    ///
    /// # Errors
    /// The key is not base64, or the node is shut down.
    pub async fn run(&self, op: KeyOp, relay_factor: u8) -> Result<KeyOutcome, Error> {
        let _one_at_a_time = self.shared.key_lock.lock().await;
        let begin = move |core: &mut Core, now| core.engine.start_key_op(now, &op, relay_factor);
        let (response, error) = key_outcome(self.shared.operate(begin).await?);
        Ok(KeyOutcome { response, error })
    }
}

impl Serf {
    /// A builder with defaults: bind `0.0.0.0:7946`.
    pub fn builder(config: Config) -> Builder {
        Builder::new(config)
    }

    /// Joins through `entries` (`[name/]host[:port]`), all of them, and gives how many were
    /// contacted. With `ignore_old`, events from before the join are not delivered. What worked
    /// once is tried again for life when everybody else is gone.
    ///
    /// # Errors
    /// Nobody was contacted.
    pub async fn join(&self, entries: &[String], ignore_old: bool) -> Result<usize, JoinError> {
        let joining = join::join(Arc::clone(&self.shared), entries.to_vec(), ignore_old);
        let ended = |_| JoinError { contacted: 0, message: Error::Shutdown.to_string() };
        tokio::spawn(joining).await.map_err(ended)?
    }

    /// Leaves gracefully; the node keeps answering until [`Serf::shutdown`].
    ///
    /// # Errors
    /// Already leaving, or shut down.
    pub async fn leave(&self) -> Result<(), Error> {
        self.shared.state.store(SerfState::Leaving as u8, Ordering::Relaxed);
        let result = self.shared.operate(|core, now| core.engine.start_leave(now)).await;
        self.refresh_state().await;
        result.map(drop)
    }

    /// Stops the node; returns when everything is stopped. Idempotent.
    pub async fn shutdown(&self) {
        let stop: Command = Box::new(|core, _| core.stop = true);
        let _ = self.shared.commands.send(stop).await;
        self.stopped().await;
    }

    /// Resolves when the node has stopped, for whatever reason (also a lost name vote).
    pub async fn stopped(&self) {
        let mut ended = self.shared.ended.clone();
        let _ = ended.wait_for(|ended| *ended).await; // the sender's end is the node's end
        self.shared.state.store(SerfState::Shutdown as u8, Ordering::Relaxed);
        self.shared.events.end();
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
        let (name, payload) = (name.to_owned(), payload.into());
        self.shared
            .call(move |core, now| core.engine.user_event(now, &name, payload, coalesce))
            .await?
            .map_err(Error::from)
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
        let (name, payload) = (name.to_owned(), payload.into());
        let (sender, updates) = mpsc::channel(QUERY_UPDATES_MAX);
        let (id, timeout) = self
            .shared
            .call(move |core, now| {
                let id = core.engine.query(now, &name, payload, &params)?;
                core.watch_query(id, sender);
                let deadline = core.engine.query_deadline(id).unwrap_or(now);
                Ok::<_, serf::Error>((id, deadline - now))
            })
            .await??;
        Ok(QueryHandle { updates, id, timeout, shared: Arc::clone(&self.shared) })
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
        self.respond_to(query.id, payload).await
    }

    /// Answers a query by its identity.
    ///
    /// # Errors
    /// As [`Serf::respond`].
    pub async fn respond_to(
        &self,
        id: QueryId,
        payload: impl Into<Bytes> + Send,
    ) -> Result<(), Error> {
        let payload = payload.into();
        let respond = move |core: &mut Core, now| core.engine.respond(now, id, &payload);
        self.shared.call(respond).await?.map_err(Error::from)
    }

    /// Replaces all tags.
    ///
    /// # Errors
    /// Too long, not sent out in time, or shut down.
    pub async fn set_tags(&self, tags: BTreeMap<String, String>) -> Result<(), Error> {
        self.shared.operate(move |core, now| core.engine.start_set_tags(now, tags)).await.map(drop)
    }

    /// Declares a failed member left, or with `prune` forgets it.
    ///
    /// # Errors
    /// Not sent out in time, or shut down.
    pub async fn force_leave(&self, name: &str, prune: bool) -> Result<(), Error> {
        let name = name.to_owned();
        let begin =
            move |core: &mut Core, now| Ok(core.engine.start_force_leave(now, &name, prune));
        self.shared.operate(begin).await.map(drop)
    }

    /// For key operations.
    pub fn key_manager(&self) -> KeyManager {
        KeyManager { shared: Arc::clone(&self.shared) }
    }

    /// All members, the gone included, by name. Empty after the shutdown.
    pub async fn members(&self) -> Vec<Arc<Member>> {
        let members = |core: &mut Core, _| core.engine.members().cloned().collect();
        self.shared.call(members).await.unwrap_or_default()
    }

    /// Our own record.
    ///
    /// # Errors
    /// Shut down.
    pub async fn local_member(&self) -> Result<Arc<Member>, Error> {
        self.shared.call(|core, _| Arc::clone(core.engine.local_member())).await
    }

    /// Go's `Stats` keys. Empty after the shutdown.
    pub async fn stats(&self) -> BTreeMap<String, String> {
        let stats = |core: &mut Core, _| {
            core.engine.stats().into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
        };
        self.shared.call(stats).await.unwrap_or_default()
    }

    /// Counters of both engines since the start.
    ///
    /// # Errors
    /// Shut down.
    pub async fn counters(&self) -> Result<(serf::Stats, swim::Stats), Error> {
        self.shared.call(|core, _| (core.engine.counters(), core.engine.swim_counters())).await
    }

    /// The coordinate of a node as last heard, or our own; `None` if unknown or disabled.
    pub async fn coordinate(&self, name: &str) -> Option<Coordinate> {
        let name = name.to_owned();
        let find = move |core: &mut Core, _| core.engine.coordinate(&name).cloned();
        self.shared.call(find).await.ok().flatten()
    }

    /// State of the node's life.
    pub fn state(&self) -> SerfState {
        if *self.shared.ended.borrow() {
            return SerfState::Shutdown;
        }
        match self.shared.state.load(Ordering::Relaxed) {
            1 => SerfState::Leaving,
            2 => SerfState::Left,
            3 => SerfState::Shutdown,
            _ => SerfState::Alive,
        }
    }

    /// Whether there is a keyring.
    pub async fn encryption_enabled(&self) -> bool {
        let enabled = |core: &mut Core, _| !core.engine.keyring().is_empty();
        self.shared.call(enabled).await.unwrap_or_default()
    }

    /// Subscribes to all events from now on. A slow subscriber never delays the node or others.
    pub fn subscribe(&self, options: Subscribe) -> EventStream {
        self.shared.events.add(options, *self.shared.ended.borrow())
    }

    /// The name of the node.
    pub fn name(&self) -> &Arc<str> {
        &self.shared.name
    }

    /// The address announced to others, and the bound one.
    pub fn addresses(&self) -> (SocketAddr, SocketAddr) {
        (self.shared.advertised, self.shared.bound)
    }

    async fn refresh_state(&self) {
        if let Ok(state) = self.shared.call(|core, _| core.engine.state()).await {
            self.shared.state.store(state as u8, Ordering::Relaxed);
        }
    }
}
