//! The public handle.

use std::{collections::BTreeMap, fmt, sync::Arc};

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot, watch};

use super::{
    Addresses, Counters, Error, EventStream, MemberWatch, QueryHandle, StopReason, Subscribe,
    UserEventSpec,
    command::{Change, Command, Question, Read},
    shared::Shared,
};
use crate::serf::{
    Coordinate, Member, OldEvents, Prune, QueryId, QueryParams, Roster, SerfState, Tags,
};

/// Handle of a running node: cheap to clone (a few reference counts), safe to share. The node stops
/// when the last handle is dropped: its tasks end, its sockets are closed, its files are written.
/// Other nodes take that for a failure unless [`Serf::leave`] was called before.
///
/// All methods are cancel-safe: if a future is dropped, the operation it started continues and only
/// the result is lost. A future dropped while it waits for its turn (behind 1024 other commands)
/// has started nothing. After the end of the node, calls fail with [`Error::Shutdown`] or return
/// nothing. Go: `serf/serf.go:Serf`.
#[derive(Clone)]
pub struct Serf {
    pub(super) commands: mpsc::Sender<Command>,
    pub(super) shared: Arc<Shared>,
    pub(super) stopped: watch::Receiver<Option<StopReason>>,
    /// Increases with each change of the members.
    pub(super) members: watch::Receiver<u64>,
}

impl Serf {
    /// Joins through `entries` (`[name/]host[:port]`; the default port is ours): contacts all of
    /// them, one after the other, and returns how many addresses were contacted. One success is
    /// enough. Events from before the join are not delivered. The time limit of each address is
    /// [`Timing::tcp_timeout`] (10 s on a LAN), that of each host name 10 s.
    ///
    /// The entries are remembered: if the node finds itself alone later, it contacts them again.
    /// Go: `serf/serf.go:Join`.
    ///
    /// # Errors
    /// No address was contacted (see [`Error::Join`]), or the node has left or was shut down. It is
    /// not an error if only some were not contacted.
    ///
    /// [`Timing::tcp_timeout`]: crate::engine::Timing::tcp_timeout
    #[doc(alias = "Join")]
    pub async fn join<I>(&self, entries: I) -> Result<usize, Error>
    where
        I: IntoIterator<Item: AsRef<str>>,
    {
        self.start_join(entries, OldEvents::Ignore).await
    }

    /// As [`Serf::join`], and delivers the recent user events that other nodes still remember.
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
        self.command(|reply| Command::Join { entries, old, reply }).await?
    }

    /// Leaves and then stops the node, even if the leave was not sent in time.
    ///
    /// # Errors
    /// As [`Serf::leave`]; the node is stopped in any case.
    pub async fn leave_and_shutdown(&self) -> Result<(), Error> {
        let left = self.leave().await;
        self.shutdown().await;
        left
    }

    /// Leaves gracefully; the node continues to answer until [`Serf::shutdown`]. Takes at most two
    /// broadcast timeouts (5 s each) and the propagate delay (1 s). Leaving again succeeds. Go:
    /// `serf/serf.go:Leave`.
    ///
    /// # Errors
    /// Another leave is in progress, or the node was shut down.
    #[doc(alias = "Leave")]
    pub async fn leave(&self) -> Result<(), Error> {
        self.change(Change::Leave).await
    }

    /// Stops the node; returns when the sockets are closed and the files written. Does not leave:
    /// without an earlier [`Serf::leave`] other nodes report a failure. Idempotent, even if called
    /// from several clones at once. Go: `serf/serf.go:Shutdown`.
    #[doc(alias = "Shutdown")]
    pub async fn shutdown(&self) {
        // An error means that the node has already stopped.
        let _ = self.commands.send(Command::Stop).await;
        self.stopped().await;
    }

    /// Resolves with the reason when the node has stopped. Only [`StopReason::Shutdown`] is caused
    /// by the application.
    pub async fn stopped(&self) -> StopReason {
        let mut stopped = self.stopped.clone();
        let reason = stopped.wait_for(Option::is_some).await;
        // An error means that the node ended without reporting a reason.
        reason.ok().and_then(|reason| *reason).unwrap_or(StopReason::Aborted)
    }

    /// Sends a user event to all members, including this one. Every event is delivered, without an
    /// order common to all nodes; see [`UserEventSpec::coalesce`] for events that supersede each
    /// other. Returns once the event is queued: gossip gives no receipt. Go:
    /// `serf/serf.go:UserEvent`.
    ///
    /// # Errors
    /// Name and payload exceed [`Limits::user_event_size`](crate::engine::Limits::user_event_size)
    /// (512 bytes), the encoded event exceeds that limit or 9216 bytes, or the node was shut down.
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

    /// Sends several user events, in this order; returns one result for each. While other nodes are
    /// alive and too many events are queued for gossip, this waits until there is room.
    ///
    /// # Errors
    /// The node was shut down.
    pub async fn user_events(
        &self,
        events: impl IntoIterator<Item = UserEventSpec>,
    ) -> Result<Vec<Result<(), Error>>, Error> {
        let events: Vec<_> = events.into_iter().collect();
        let sent = self.command(|reply| Command::SendEvents(events, reply)).await?;
        Ok(sent.into_iter().map(|sent| Ok(sent?)).collect())
    }

    /// Asks a query of all members that match its filters, possibly including this one. The handle
    /// returns the answers. Go: `serf/serf.go:Query`.
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

    /// Answers a query by its id, as [`Query::respond`](super::Query::respond) does.
    ///
    /// # Errors
    /// As [`Query::respond`](super::Query::respond).
    pub async fn respond_to(
        &self,
        id: QueryId,
        payload: impl Into<Bytes> + Send,
    ) -> Result<(), Error> {
        let payload = payload.into();
        Ok(self.command(|reply| Command::Respond(id, payload, reply)).await??)
    }

    /// Replaces all tags; returns when the change has been sent. Go: `serf/serf.go:SetTags`.
    ///
    /// # Errors
    /// The encoded tags are longer than 512 bytes (nothing has changed), the change was not sent
    /// within [`Timing::broadcast_timeout`](crate::engine::Timing::broadcast_timeout) (it has taken
    /// effect and will be sent later), or the node was shut down.
    #[doc(alias = "SetTags")]
    pub async fn set_tags(&self, tags: impl Into<Tags>) -> Result<(), Error> {
        self.change(Change::SetTags(tags.into().into())).await
    }

    /// Changes some tags atomically, so that concurrent callers do not overwrite each other's
    /// changes. `change` runs on the engine's task and must be quick.
    ///
    /// # Errors
    /// As [`Serf::set_tags`].
    pub async fn update_tags(
        &self,
        change: impl FnOnce(&mut BTreeMap<String, String>) + Send + 'static,
    ) -> Result<(), Error> {
        self.change(Change::UpdateTags(Box::new(change))).await
    }

    /// Declares a failed member left, on all nodes. A member that is alive refutes it. An unknown
    /// name is not an error. Go: `serf/serf.go:RemoveFailedNode`.
    ///
    /// # Errors
    /// The message was not sent within
    /// [`Timing::broadcast_timeout`](crate::engine::Timing::broadcast_timeout) (it has taken effect
    /// on this node), or the node was shut down.
    #[doc(alias = "RemoveFailedNode")]
    pub async fn force_leave(&self, name: &str) -> Result<(), Error> {
        self.remove(name, Prune::No).await
    }

    /// As [`Serf::force_leave`], and also forgets the member. Go: `RemoveFailedNodePrune`.
    ///
    /// # Errors
    /// As [`Serf::force_leave`].
    #[doc(alias = "RemoveFailedNodePrune")]
    pub async fn force_leave_and_prune(&self, name: &str) -> Result<(), Error> {
        self.remove(name, Prune::Yes).await
    }

    async fn remove(&self, name: &str, prune: Prune) -> Result<(), Error> {
        let name = name.to_owned();
        self.change(Change::ForceLeave { name, prune }).await
    }

    /// All members, including failed and left ones, sorted by name. Empty after the shutdown. Go:
    /// `serf/serf.go:Members`.
    #[doc(alias = "Members")]
    pub async fn members(&self) -> Vec<Arc<Member>> {
        self.roster().await.to_vec()
    }

    /// The members as they are now; the engine does not wait for who reads them.
    pub(crate) async fn roster(&self) -> Roster {
        self.read(Read::Members).await.unwrap_or_default()
    }

    /// The members for which `is_wanted` returns true, sorted by name. It runs on the task of the
    /// caller.
    pub async fn members_where(
        &self,
        is_wanted: impl Fn(&Member) -> bool + Send + 'static,
    ) -> Vec<Arc<Member>> {
        let members = self.roster().await;
        members.iter().filter(|member| is_wanted(member)).cloned().collect()
    }

    /// A member by name; `None` if it is unknown or the node was shut down.
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

    /// Watches for changes of the members. Does not keep the node running.
    pub fn watch_members(&self) -> MemberWatch {
        MemberWatch::new(self.commands.downgrade(), self.members.clone())
    }

    /// Statistics under Go's keys, for operators. Empty after the shutdown. Go:
    /// `serf/serf.go:Stats`.
    #[doc(alias = "Stats")]
    pub async fn stats(&self) -> BTreeMap<String, String> {
        let stats = self.read(Read::Stats).await.unwrap_or_default();
        stats.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
    }

    /// The last received coordinate of a node, or our own; `None` if it is unknown or coordinates
    /// are disabled. Go: `GetCachedCoordinate`.
    #[doc(alias = "GetCachedCoordinate", alias = "GetCoordinate")]
    pub async fn coordinate(&self, name: &str) -> Option<Coordinate> {
        let name = name.to_owned();
        self.read(|reply| Read::Coordinate(name, reply)).await.ok().flatten()
    }

    /// Counters of both engines since the start.
    ///
    /// # Errors
    /// The node was shut down.
    pub async fn counters(&self) -> Result<Counters, Error> {
        self.read(Read::Counters).await
    }

    /// The name of the node.
    pub fn name(&self) -> &Arc<str> {
        &self.shared.name
    }

    /// State of the node.
    #[doc(alias = "State")]
    pub fn state(&self) -> SerfState {
        *self.shared.state.borrow()
    }

    /// Whether there is a keyring with keys. Go: `EncryptionEnabled`.
    #[doc(alias = "EncryptionEnabled")]
    pub async fn encryption_enabled(&self) -> bool {
        self.read(Read::Encrypted).await.unwrap_or_default()
    }

    /// Live peers that do not answer direct probes, and for how long.
    #[cfg(feature = "agent")]
    pub(crate) async fn troubles(
        &self,
    ) -> Vec<(Arc<str>, crate::swim::Trouble, std::time::Duration)> {
        self.read(Read::Troubles).await.unwrap_or_default()
    }

    /// Whether the newest keys have not been written to the keyring file yet.
    #[cfg(feature = "agent")]
    pub(crate) async fn keys_unwritten(&self) -> bool {
        self.read(Read::KeysUnwritten).await.unwrap_or_default()
    }

    /// Estimate of the messages that all members have encrypted with the primary key, if the key
    /// should be replaced.
    #[cfg(feature = "agent")]
    pub(crate) async fn worrying_key_use(&self) -> Option<u64> {
        self.read(Read::KeyUse).await.ok().flatten()
    }

    /// Subscribes to all events from now on, with the default queue of [`Subscribe`].
    #[doc(alias = "EventCh")]
    pub fn events(&self) -> EventStream {
        self.subscribe(Subscribe::default())
    }

    /// Subscribes to all events from now on; there may be any number of subscribers. A slow
    /// subscriber never delays the node or other subscribers, but loses events. Go:
    /// `serf.Config.EventCh`.
    pub fn subscribe(&self, options: Subscribe) -> EventStream {
        self.shared.hub.subscribe(options)
    }

    /// The advertised and the bound address.
    pub fn addresses(&self) -> Addresses {
        self.shared.addresses
    }

    /// Starts a change and waits until it has been sent.
    async fn change(&self, change: Change) -> Result<(), Error> {
        self.command(|reply| Command::Change(change, reply)).await?
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
