//! The public handle.

use std::{
    collections::BTreeMap,
    fmt,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot, watch};

use super::{
    Builder, Config, Error, EventStream, JoinError, KeyManager, MemberWatch, QueryHandle,
    StopReason, Subscribe, clock,
    node::{Node, Outcome},
    subscribers::Hub,
    task::Command,
};
use crate::{
    serf::{self, Completion, Coordinate, Member, QueryId, QueryParams, SerfState, Tags},
    swim,
};

/// Handle of a running node: cheap to clone (a few reference counts), safe to share. The node
/// stops when the last one is dropped: its tasks end, its sockets are free, its files are written.
/// The others take that for a crash unless [`Serf::leave`] came before.
///
/// All methods are cancel-safe: what was begun goes on if its future is dropped, and only the
/// result is lost. A future dropped while it waits for its turn (behind 1024 other commands) has
/// begun nothing. Calls after the end of the node fail with [`Error::Shutdown`] or give nothing.
/// Go: `serf/serf.go:Serf`.
#[derive(Clone)]
pub struct Serf {
    pub(super) commands: mpsc::Sender<Command>,
    pub(super) shared: Arc<Shared>,
    pub(super) stopped: watch::Receiver<Option<StopReason>>,
    /// Grows with each change of the members.
    pub(super) members: watch::Receiver<u64>,
}

/// Where a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Addresses {
    /// What others are given.
    pub advertised: SocketAddr,
    /// What the sockets are bound to.
    pub bound: SocketAddr,
}

/// Counters of both engines since the start.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Counters {
    /// Of Serf's engine.
    pub serf: serf::Stats,
    /// Of the membership engine.
    pub swim: swim::Stats,
}

/// A user event to send.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct UserEventSpec {
    name: Vec<u8>,
    payload: Bytes,
    coalesce: bool,
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

/// What handles may look at without asking the engine.
pub(super) struct Shared {
    pub(super) hub: Arc<Hub>,
    state: watch::Sender<SerfState>,
    name: Arc<str>,
    addresses: Addresses,
    /// Our record at the start, and then at the end.
    local: Mutex<Arc<Member>>,
}

impl Shared {
    pub(super) fn new(hub: Arc<Hub>, addresses: Addresses, local: Arc<Member>) -> Self {
        let (state, _) = watch::channel(SerfState::Alive);
        let name = Arc::clone(&local.name);
        Self { hub, name, state, addresses, local: Mutex::new(local) }
    }

    pub(super) fn set_state(&self, state: SerfState) {
        self.state.send_if_modified(|old| std::mem::replace(old, state) != state);
    }

    pub(super) fn local(&self) -> MutexGuard<'_, Arc<Member>> {
        self.local.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Serf {
    /// A builder with defaults: bind `0.0.0.0:7946`, no snapshot, no keyring file.
    /// Go: `serf/serf.go:Create`.
    pub fn builder(config: Config) -> Builder {
        Builder::new(config)
    }

    /// Joins through `entries` (`[name/]host[:port]`; without a port ours is assumed), all of them
    /// one after the other, and gives how many addresses were contacted. One is enough. Events
    /// from before the join are not delivered. Each address has [`Timing::tcp_timeout`] (10 s on a
    /// LAN), each host name 10 s.
    ///
    /// What was joined is remembered: should the node find itself alone later, it asks there again.
    /// Go: `serf/serf.go:Join`.
    ///
    /// # Errors
    /// Nobody was contacted (see [`JoinError::failures`]), or the node has left or was shut down.
    /// That some were not contacted is no error.
    ///
    /// [`Timing::tcp_timeout`]: super::Timing::tcp_timeout
    #[doc(alias = "Join")]
    pub async fn join<I>(&self, entries: I) -> Result<usize, JoinError>
    where
        I: IntoIterator<Item: AsRef<str>>,
    {
        self.start_join(entries, true).await
    }

    /// As [`Serf::join`], and delivers the recent user events that the others still remember.
    ///
    /// # Errors
    /// As [`Serf::join`].
    pub async fn join_with_replay<I>(&self, entries: I) -> Result<usize, JoinError>
    where
        I: IntoIterator<Item: AsRef<str>>,
    {
        self.start_join(entries, false).await
    }

    async fn start_join<I>(&self, entries: I, ignore_old: bool) -> Result<usize, JoinError>
    where
        I: IntoIterator<Item: AsRef<str>>,
    {
        let entries: Vec<_> = entries.into_iter().map(|entry| entry.as_ref().to_owned()).collect();
        let joined = self.operation(move |node, reply| {
            let started = node.engine.start_join(clock::now(), &entries, ignore_old);
            node.wait_for(started, reply);
        });
        match joined.await {
            Ok(Completion::Joined { contacted }) => Ok(contacted),
            Ok(Completion::Done | Completion::Keys { .. }) => Ok(0),
            Err(Error::Serf(serf::Error::Join(errors))) => Err(JoinError::Unreachable(errors)),
            Err(Error::Serf(serf::Error::State(text))) => Err(JoinError::Refused(text)),
            Err(_) => Err(JoinError::Refused("Serf can't Join after Leave or Shutdown")),
        }
    }

    /// Leaves, and then stops the node. Stops it also if the leave was not heard by others in time.
    ///
    /// # Errors
    /// As [`Serf::leave`]; the node is stopped all the same.
    pub async fn leave_and_shutdown(&self) -> Result<(), Error> {
        let left = self.leave().await;
        self.shutdown().await;
        left
    }

    /// Leaves gracefully; the node keeps answering until [`Serf::shutdown`]. Takes two broadcast
    /// timeouts (5 s) and the propagate delay (1 s) at most. Leaving again is a success.
    /// Go: `serf/serf.go:Leave`.
    ///
    /// # Errors
    /// A leave is under way, or the node was shut down.
    pub async fn leave(&self) -> Result<(), Error> {
        self.operation(|node, reply| {
            let started = node.engine.start_leave(clock::now());
            node.wait_for(started, reply);
        })
        .await
        .map(drop)
    }

    /// Stops the node; returns when the sockets are closed and the files written. Does not leave:
    /// without [`Serf::leave`] before it the others see a failure. Idempotent, also from several
    /// clones at once. Go: `serf/serf.go:Shutdown`.
    pub async fn shutdown(&self) {
        // An error: it has stopped already.
        let _ = self.commands.send(Box::new(|node| node.stop(StopReason::Shutdown))).await;
        self.stopped().await;
    }

    /// Resolves when the node has stopped, and says why. Only [`StopReason::Shutdown`] is what
    /// somebody here asked for.
    pub async fn stopped(&self) -> StopReason {
        let mut stopped = self.stopped.clone();
        let reason = stopped.wait_for(Option::is_some).await;
        // An error: the node is gone without having said a reason.
        reason.ok().and_then(|reason| *reason).unwrap_or(StopReason::Aborted)
    }

    /// Sends a user event to all members, ourselves included. Each is delivered, in no order that
    /// nodes agree on; see [`UserEventSpec::coalesce`] for events that replace each other. Returns
    /// when it is on its way: gossip gives no receipt. Go: `serf/serf.go:UserEvent`.
    ///
    /// # Errors
    /// Name and payload exceed [`Limits::user_event_size`](super::Limits::user_event_size) (512
    /// bytes), the encoded event that limit or 9216 bytes, or the node was shut down.
    #[doc(alias = "UserEvent")]
    pub async fn user_event(
        &self,
        name: &str,
        payload: impl Into<Bytes> + Send,
    ) -> Result<(), Error> {
        self.send_event(UserEventSpec::new(name, payload)).await
    }

    /// Sends a user event with options.
    ///
    /// # Errors
    /// As [`Serf::user_event`].
    pub async fn send_event(&self, event: UserEventSpec) -> Result<(), Error> {
        let UserEventSpec { name, payload, coalesce } = event;
        let sent =
            self.call(move |node| node.engine.user_event(clock::now(), &name, payload, coalesce));
        Ok(sent.await??)
    }

    /// Sends several user events at once, in this order; one result each.
    ///
    /// # Errors
    /// Shut down.
    pub async fn user_events(
        &self,
        events: impl IntoIterator<Item = UserEventSpec>,
    ) -> Result<Vec<Result<(), Error>>, Error> {
        let events: Vec<_> = events.into_iter().collect();
        self.call(move |node| {
            let now = clock::now();
            let send = |event: UserEventSpec| {
                let UserEventSpec { name, payload, coalesce } = event;
                Ok(node.engine.user_event(now, &name, payload, coalesce)?)
            };
            events.into_iter().map(send).collect()
        })
        .await
    }

    /// Asks a query of all members that its filters match, ourselves included. The handle gives
    /// the answers. Go: `serf/serf.go:Query`.
    ///
    /// # Errors
    /// The encoded query exceeds [`Limits::query_size`](super::Limits::query_size) (1024 bytes), the protocol version is
    /// below 4, or the node was shut down.
    pub async fn query(
        &self,
        name: impl AsRef<[u8]> + Send,
        payload: impl Into<Bytes> + Send,
        params: QueryParams,
    ) -> Result<QueryHandle, Error> {
        let (name, payload) = (name.as_ref().to_owned(), payload.into());
        let commands = self.commands.downgrade();
        let asked = self.call(move |node| {
            let (id, updates, timeout) = node.query(&name, payload, &params)?;
            // Made here, so that it ends the query even if the caller goes away meanwhile.
            Ok::<_, Error>(QueryHandle { id, updates, timeout, commands })
        });
        asked.await?
    }

    /// Answers a query by its identity, as [`Query::respond`](super::Query::respond) does.
    ///
    /// # Errors
    /// As there.
    pub async fn respond_to(
        &self,
        id: QueryId,
        payload: impl Into<Bytes> + Send,
    ) -> Result<(), Error> {
        let payload = payload.into();
        Ok(self.call(move |node| node.engine.respond(clock::now(), id, &payload)).await??)
    }

    /// Replaces all tags; returns when the change is sent out. Go: `serf/serf.go:SetTags`.
    ///
    /// # Errors
    /// Encoded longer than 512 bytes (nothing has changed), not sent out in
    /// [`Timing::broadcast_timeout`](super::Timing::broadcast_timeout) (changed all the same, and
    /// sent later), or shut down.
    #[doc(alias = "SetTags")]
    pub async fn set_tags(&self, tags: impl Into<Tags>) -> Result<(), Error> {
        let tags = tags.into().into();
        self.operation(|node, reply| {
            let started = node.engine.start_set_tags(clock::now(), tags);
            node.wait_for(started, reply);
        })
        .await
        .map(drop)
    }

    /// Changes some tags. Runs in the engine's turn, so that two callers lose no update of each
    /// other: `change` must be quick.
    ///
    /// # Errors
    /// As [`Serf::set_tags`].
    pub async fn update_tags(
        &self,
        change: impl FnOnce(&mut BTreeMap<String, String>) + Send + 'static,
    ) -> Result<(), Error> {
        self.operation(|node, reply| {
            let mut tags = node.engine.local_member().tags.clone().into();
            change(&mut tags);
            let started = node.engine.start_set_tags(clock::now(), tags);
            node.wait_for(started, reply);
        })
        .await
        .map(drop)
    }

    /// Declares a failed member left, on all nodes. A member that is alive refutes it. An unknown
    /// name is no error. Go: `serf/serf.go:RemoveFailedNode`.
    ///
    /// # Errors
    /// Not sent out in [`Timing::broadcast_timeout`](super::Timing::broadcast_timeout) (done here
    /// all the same), or shut down.
    #[doc(alias = "RemoveFailedNode")]
    pub async fn force_leave(&self, name: &str) -> Result<(), Error> {
        self.remove(name, false).await
    }

    /// As [`Serf::force_leave`], and forgets the member. Go: `RemoveFailedNodePrune`.
    ///
    /// # Errors
    /// As [`Serf::force_leave`].
    #[doc(alias = "RemoveFailedNodePrune")]
    pub async fn force_leave_and_prune(&self, name: &str) -> Result<(), Error> {
        self.remove(name, true).await
    }

    async fn remove(&self, name: &str, prune: bool) -> Result<(), Error> {
        let name = name.to_owned();
        self.operation(move |node, reply| {
            let op = node.engine.start_force_leave(clock::now(), &name, prune);
            node.wait_for(Ok(op), reply);
        })
        .await
        .map(drop)
    }

    /// For key operations; a handle like this one, which keeps the node running. Go: `serf/serf.go:KeyManager`.
    pub fn key_manager(&self) -> KeyManager {
        KeyManager { serf: self.clone(), relay_factor: 0 }
    }

    /// All members, the gone included, sorted by name. Empty after the shutdown.
    /// Go: `serf/serf.go:Members`.
    pub async fn members(&self) -> Vec<Arc<Member>> {
        self.call(|node| node.engine.members().cloned().collect()).await.unwrap_or_default()
    }

    /// The members as by [`Serf::members`] and their generation, unless that is `known`. Of a node
    /// that was shut down: none.
    #[cfg(feature = "agent")]
    pub(crate) async fn members_unless(
        &self,
        known: Option<u64>,
    ) -> Option<(u64, Vec<Arc<Member>>)> {
        let asked = self.call(move |node| {
            let generation = node.engine.members_generation();
            let changed = known != Some(generation);
            changed.then(|| (generation, node.engine.members().cloned().collect()))
        });
        asked.await.unwrap_or_else(|_| Some((0, Vec::new())))
    }

    /// The members that `is_wanted` takes, by name. It runs in the engine's turn and must be quick.
    pub async fn members_where(
        &self,
        is_wanted: impl Fn(&Member) -> bool + Send + 'static,
    ) -> Vec<Arc<Member>> {
        let wanted = self.call(move |node| {
            node.engine.members().filter(|member| is_wanted(member)).cloned().collect()
        });
        wanted.await.unwrap_or_default()
    }

    /// A member by name; `None` also after the shutdown.
    pub async fn member(&self, name: &str) -> Option<Arc<Member>> {
        let name = name.to_owned();
        self.call(move |node| node.engine.member(&name).cloned()).await.ok().flatten()
    }

    /// Our own record; after the shutdown the last one.
    pub async fn local_member(&self) -> Arc<Member> {
        let asked = self.call(|node| Arc::clone(node.engine.local_member())).await;
        asked.unwrap_or_else(|_| Arc::clone(&self.shared.local()))
    }

    /// Tells when the members have changed. Does not keep the node running.
    pub fn watch_members(&self) -> MemberWatch {
        MemberWatch::new(self.commands.downgrade(), self.members.clone())
    }

    /// Figures under Go's keys, for operators. Empty after the shutdown.
    /// Go: `serf/serf.go:Stats`.
    pub async fn stats(&self) -> BTreeMap<String, String> {
        let stats = self.call(|node| node.engine.stats()).await.unwrap_or_default();
        stats.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
    }

    /// The coordinate of a node as last heard, or our own; `None` if unknown or disabled.
    /// Go: `GetCachedCoordinate`.
    pub async fn coordinate(&self, name: &str) -> Option<Coordinate> {
        let name = name.to_owned();
        self.call(move |node| node.engine.coordinate(&name).cloned()).await.ok().flatten()
    }

    /// Counters of both engines since the start.
    ///
    /// # Errors
    /// Shut down.
    pub async fn counters(&self) -> Result<Counters, Error> {
        self.call(|node| Counters {
            serf: node.engine.counters(),
            swim: node.engine.swim_counters(),
        })
        .await
    }

    /// The name of the node.
    pub fn name(&self) -> &Arc<str> {
        &self.shared.name
    }

    /// State of the node's life.
    pub fn state(&self) -> SerfState {
        *self.shared.state.borrow()
    }

    /// Whether there is a keyring with keys. Go: `EncryptionEnabled`.
    pub async fn encryption_enabled(&self) -> bool {
        self.call(|node| !node.engine.keyring().is_empty()).await.unwrap_or_default()
    }

    /// All events from now on, with the default queue of [`Subscribe`].
    #[doc(alias = "EventCh")]
    pub fn events(&self) -> EventStream {
        self.subscribe(Subscribe::default())
    }

    /// Subscribes to all events from now on, for as many subscribers as wanted. A slow one never
    /// delays the node or others, but loses events. Go: `serf.Config.EventCh`.
    pub fn subscribe(&self, options: Subscribe) -> EventStream {
        self.shared.hub.subscribe(options)
    }

    /// The address announced to others, and the bound one.
    pub fn addresses(&self) -> Addresses {
        self.shared.addresses
    }

    /// Runs `work` on the engine's task.
    pub(super) async fn call<R: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Node) -> R + Send + 'static,
    ) -> Result<R, Error> {
        // A caller that went away does not care.
        self.ask_engine(|node, reply| drop(reply.send(work(node)))).await
    }

    pub(super) async fn operation(
        &self,
        start: impl FnOnce(&mut Node, oneshot::Sender<Outcome>) + Send + 'static,
    ) -> Result<Completion, Error> {
        Ok(self.ask_engine(start).await??)
    }

    /// Runs `work` on the engine's task and waits for the reply.
    async fn ask_engine<R: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Node, oneshot::Sender<R>) + Send + 'static,
    ) -> Result<R, Error> {
        let (reply, answer) = oneshot::channel();
        let command = Box::new(|node: &mut Node| work(node, reply));
        self.commands.send(command).await.map_err(|_| Error::Shutdown)?;
        answer.await.map_err(|_| Error::Shutdown)
    }
}

impl fmt::Debug for Serf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Serf")
            .field("name", &self.shared.name)
            .field("state", &self.state())
            .field("addresses", &self.shared.addresses)
            .finish_non_exhaustive()
    }
}
