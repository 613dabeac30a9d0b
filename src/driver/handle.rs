//! The public handle.

use std::{collections::BTreeMap, fmt, sync::Arc};

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot, watch};

use super::{
    Addresses, Counters, Error, EventStream, MemberWatch, QueryHandle, StopReason, Subscribe,
    UserEventSpec,
    command::{Command, Operation, Question, Read},
    shared::Shared,
};
use crate::serf::{
    Completion, Coordinate, Member, OldEvents, Prune, QueryId, QueryParams, SerfState, Tags,
};

/// Handle of a running node: cheap to clone (a few reference counts), safe to share. The node
/// stops when the last one is dropped: its tasks end, its sockets are free, its files are written.
/// The others take that for a crash unless [`Serf::leave`] came before.
///
/// All methods are cancel-safe: what was started goes on if its future is dropped, and only the
/// result is lost. A future dropped while it waits for its turn (behind 1024 other commands) has
/// started nothing. Calls after the end of the node fail with [`Error::Shutdown`] or give nothing.
/// Go: `serf/serf.go:Serf`.
#[derive(Clone)]
pub struct Serf {
    pub(super) commands: mpsc::Sender<Command>,
    pub(super) shared: Arc<Shared>,
    pub(super) stopped: watch::Receiver<Option<StopReason>>,
    /// Grows with each change of the members.
    pub(super) members: watch::Receiver<u64>,
}

impl Serf {
    /// Joins through `entries` (`[name/]host[:port]`; without a port ours is assumed), all of them
    /// one after the other, and gives how many addresses were contacted. One is enough. Events
    /// from before the join are not delivered. Each address has [`Timing::tcp_timeout`] (10 s on a
    /// LAN), each host name 10 s.
    ///
    /// What was joined is remembered: should the node find itself alone later, it asks there again.
    /// Go: `serf/serf.go:Join`.
    ///
    /// # Errors
    /// Nobody was contacted (see [`Error::Join`]), or the node has left or was shut down.
    /// That some were not contacted is no error.
    ///
    /// [`Timing::tcp_timeout`]: crate::engine::Timing::tcp_timeout
    #[doc(alias = "Join")]
    pub async fn join<I>(&self, entries: I) -> Result<usize, Error>
    where
        I: IntoIterator<Item: AsRef<str>>,
    {
        self.start_join(entries, OldEvents::Ignore).await
    }

    /// As [`Serf::join`], and delivers the recent user events that the others still remember.
    ///
    /// # Errors
    /// As [`Serf::join`].
    pub async fn join_with_replay<I>(&self, entries: I) -> Result<usize, Error>
    where
        I: IntoIterator<Item: AsRef<str>>,
    {
        self.start_join(entries, OldEvents::Deliver).await
    }

    async fn start_join<I>(&self, entries: I, old: OldEvents) -> Result<usize, Error>
    where
        I: IntoIterator<Item: AsRef<str>>,
    {
        let entries = entries.into_iter().map(|entry| entry.as_ref().to_owned()).collect();
        match self.operation(Operation::Join { entries, old }).await? {
            Completion::Joined { contacted } => Ok(contacted),
            Completion::Done | Completion::Keys { .. } => Ok(0),
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
    #[doc(alias = "Leave")]
    pub async fn leave(&self) -> Result<(), Error> {
        self.operation(Operation::Leave).await.map(drop)
    }

    /// Stops the node; returns when the sockets are closed and the files written. Does not leave:
    /// without [`Serf::leave`] before it the others see a failure. Idempotent, also from several
    /// clones at once. Go: `serf/serf.go:Shutdown`.
    #[doc(alias = "Shutdown")]
    pub async fn shutdown(&self) {
        // An error: it has stopped already.
        let _ = self.commands.send(Command::Stop).await;
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
    /// Name and payload exceed [`Limits::user_event_size`](crate::engine::Limits::user_event_size)
    /// (512 bytes), the encoded event that limit or 9216 bytes, or the node was shut down.
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
        self.user_events([event]).await?.into_iter().collect()
    }

    /// Sends several user events at once, in this order; one result each. While others are alive
    /// and too many events wait to be gossiped to them, this waits for room.
    ///
    /// # Errors
    /// Shut down.
    pub async fn user_events(
        &self,
        events: impl IntoIterator<Item = UserEventSpec>,
    ) -> Result<Vec<Result<(), Error>>, Error> {
        let events: Vec<_> = events.into_iter().collect();
        let sent = self.command(|reply| Command::SendEvents(events, reply)).await?;
        Ok(sent.into_iter().map(|sent| Ok(sent?)).collect())
    }

    /// Asks a query of all members that its filters match, ourselves included. The handle gives
    /// the answers. Go: `serf/serf.go:Query`.
    ///
    /// # Errors
    /// The encoded query exceeds [`Limits::query_size`](crate::engine::Limits::query_size) (1024
    /// bytes), the protocol version is below 4, or the node was shut down.
    #[doc(alias = "Query")]
    pub async fn query(
        &self,
        name: impl AsRef<[u8]> + Send,
        payload: impl Into<Bytes> + Send,
        params: QueryParams,
    ) -> Result<QueryHandle, Error> {
        let (name, payload) = (name.as_ref().to_owned(), payload.into());
        let question = Question { name, payload, params };
        self.command(|reply| Command::Query(question, reply)).await?
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
        Ok(self.command(|reply| Command::Respond(id, payload, reply)).await??)
    }

    /// Replaces all tags; returns when the change is sent out. Go: `serf/serf.go:SetTags`.
    ///
    /// # Errors
    /// Encoded longer than 512 bytes (nothing has changed), not sent out in
    /// [`Timing::broadcast_timeout`](crate::engine::Timing::broadcast_timeout) (changed all the
    /// same, and sent later), or shut down.
    #[doc(alias = "SetTags")]
    pub async fn set_tags(&self, tags: impl Into<Tags>) -> Result<(), Error> {
        self.operation(Operation::SetTags(tags.into().into())).await.map(drop)
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
        self.operation(Operation::UpdateTags(Box::new(change))).await.map(drop)
    }

    /// Declares a failed member left, on all nodes. A member that is alive refutes it. An unknown
    /// name is no error. Go: `serf/serf.go:RemoveFailedNode`.
    ///
    /// # Errors
    /// Not sent out in [`Timing::broadcast_timeout`](crate::engine::Timing::broadcast_timeout)
    /// (done here all the same), or shut down.
    #[doc(alias = "RemoveFailedNode")]
    pub async fn force_leave(&self, name: &str) -> Result<(), Error> {
        self.remove(name, Prune::No).await
    }

    /// As [`Serf::force_leave`], and forgets the member. Go: `RemoveFailedNodePrune`.
    ///
    /// # Errors
    /// As [`Serf::force_leave`].
    #[doc(alias = "RemoveFailedNodePrune")]
    pub async fn force_leave_and_prune(&self, name: &str) -> Result<(), Error> {
        self.remove(name, Prune::Yes).await
    }

    async fn remove(&self, name: &str, prune: Prune) -> Result<(), Error> {
        let name = name.to_owned();
        self.operation(Operation::ForceLeave { name, prune }).await.map(drop)
    }

    /// All members, the gone included, sorted by name. Empty after the shutdown.
    /// Go: `serf/serf.go:Members`.
    #[doc(alias = "Members")]
    pub async fn members(&self) -> Vec<Arc<Member>> {
        self.read(Read::Members).await.unwrap_or_default()
    }

    /// The members as by [`Serf::members`] and their generation, unless that is `known`. Of a node
    /// that was shut down: none.
    #[cfg(feature = "agent")]
    pub(crate) async fn members_unless(
        &self,
        known: Option<u64>,
    ) -> Option<(u64, Vec<Arc<Member>>)> {
        let asked = self.read(|reply| Read::MembersUnless(known, reply));
        asked.await.unwrap_or_else(|_| Some((0, Vec::new())))
    }

    /// The members that `is_wanted` takes, by name. It runs in the engine's turn and must be quick.
    pub async fn members_where(
        &self,
        is_wanted: impl Fn(&Member) -> bool + Send + 'static,
    ) -> Vec<Arc<Member>> {
        let wanted = Box::new(is_wanted);
        self.read(|reply| Read::MembersWhere(wanted, reply)).await.unwrap_or_default()
    }

    /// A member by name; `None` also after the shutdown.
    pub async fn member(&self, name: &str) -> Option<Arc<Member>> {
        let name = name.to_owned();
        self.read(|reply| Read::Member(name, reply)).await.ok().flatten()
    }

    /// Our own record; after the shutdown the last one.
    #[doc(alias = "LocalMember")]
    pub async fn local_member(&self) -> Arc<Member> {
        let local = self.read(Read::LocalMember).await;
        local.unwrap_or_else(|_| Arc::clone(&self.shared.local()))
    }

    /// Resolves when the members have changed. Does not keep the node running.
    pub fn watch_members(&self) -> MemberWatch {
        MemberWatch::new(self.commands.downgrade(), self.members.clone())
    }

    /// Figures under Go's keys, for operators. Empty after the shutdown.
    /// Go: `serf/serf.go:Stats`.
    #[doc(alias = "Stats")]
    pub async fn stats(&self) -> BTreeMap<String, String> {
        let stats = self.read(Read::Stats).await.unwrap_or_default();
        stats.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
    }

    /// The coordinate of a node as last heard, or our own; `None` if unknown or disabled.
    /// Go: `GetCachedCoordinate`.
    #[doc(alias = "GetCachedCoordinate")]
    pub async fn coordinate(&self, name: &str) -> Option<Coordinate> {
        let name = name.to_owned();
        self.read(|reply| Read::Coordinate(name, reply)).await.ok().flatten()
    }

    /// Counters of both engines since the start.
    ///
    /// # Errors
    /// Shut down.
    pub async fn counters(&self) -> Result<Counters, Error> {
        self.read(Read::Counters).await
    }

    /// The name of the node.
    pub fn name(&self) -> &Arc<str> {
        &self.shared.name
    }

    /// State of the node's life.
    #[doc(alias = "State")]
    pub fn state(&self) -> SerfState {
        *self.shared.state.borrow()
    }

    /// Whether there is a keyring with keys. Go: `EncryptionEnabled`.
    #[doc(alias = "EncryptionEnabled")]
    pub async fn encryption_enabled(&self) -> bool {
        self.read(Read::Encrypted).await.unwrap_or_default()
    }

    /// Live peers whose direct probes are not answered, and for how long.
    #[cfg(feature = "agent")]
    pub(crate) async fn troubles(
        &self,
    ) -> Vec<(Arc<str>, crate::swim::Trouble, std::time::Duration)> {
        self.read(Read::Troubles).await.unwrap_or_default()
    }

    /// Whether the newest keys could not be written to the keyring file yet.
    #[cfg(feature = "agent")]
    pub(crate) async fn keys_unwritten(&self) -> bool {
        self.read(Read::KeysUnwritten).await.unwrap_or_default()
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

    /// Starts an operation and waits for its end.
    pub(super) async fn operation(&self, operation: Operation) -> Result<Completion, Error> {
        Ok(self.command(|reply| Command::Start(operation, reply)).await??)
    }

    async fn read<R>(&self, what: impl FnOnce(oneshot::Sender<R>) -> Read) -> Result<R, Error> {
        self.command(|reply| Command::Read(what(reply))).await
    }

    /// Sends a command to the engine's task and waits for the reply.
    pub(super) async fn command<R>(
        &self,
        command: impl FnOnce(oneshot::Sender<R>) -> Command,
    ) -> Result<R, Error> {
        let (reply, answer) = oneshot::channel();
        self.commands.send(command(reply)).await.map_err(|_| Error::Shutdown)?;
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
