//! The engine's entry points.

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use tracing::warn;

use super::{
    joins::Joins,
    operation::{Op, Step},
    previous::Rejoin,
};
#[cfg(all(feature = "driver", not(target_family = "wasm")))]
use crate::serf::Roster;
use crate::{
    base::Instant,
    serf::{
        Completion, Config, Coordinate, Error, KeyOp, Member, NameCounts, Output, Prune, QueryId,
        QueryParams, SerfState, Stats, Tags, UserEventSpec, asked::Asker, broadcasts::QueueKind,
        build::build_state, context::encode_tags, key_use::KeyUse, state::State,
        user_event::EventGroup,
    },
    swim::{self, OpId, StreamId, StreamInput, Swim},
    wire::{Keyring, StreamCodec},
};

/// The Serf engine of one member; contains the membership engine.
pub struct Engine {
    pub(super) swim: Swim,
    pub(super) state: State,
    pub(super) ops: BTreeMap<OpId, Op>,
    /// Operations of the layer below, and the operation of ours that waits for each, if any.
    pub(super) waiting: BTreeMap<OpId, Option<OpId>>,
    pub(super) joins: Joins,
    pub(super) next_op: u64,
    /// Our leave intent was dropped before it was sent: peers will report a failure.
    pub(super) leave_dropped: bool,
    pub(super) rejoin: Rejoin,
    pub(super) key_use: KeyUse,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine")
            .field("name", &self.state.cx.name)
            .field("state", &self.state.cx.life)
            .finish_non_exhaustive()
    }
}

impl Engine {
    /// Creates the member from the engines' settings. `snapshot` is the whole snapshot file of an
    /// earlier run, if one is kept; with it, [`Engine::poll_output`] returns snapshot work.
    ///
    /// # Errors
    /// An invalid configuration, with Go's texts.
    #[doc(hidden)]
    pub fn build(config: Config, now: Instant, snapshot: Option<&[u8]>) -> Result<Self, Error> {
        let mut state = build_state(config, now, snapshot)?;
        let swim = Swim::build(state.cx.config.swim.clone(), now, &mut state)?;
        state.broadcasts.bytes_max = swim.broadcast_bytes_max();
        let rejoin = Rejoin::new(&mut state.cx);
        let mut engine = Self {
            swim,
            state,
            ops: BTreeMap::new(),
            waiting: BTreeMap::new(),
            joins: Joins::default(),
            next_op: OWN_OPS,
            leave_dropped: false,
            rejoin,
            key_use: KeyUse::new(now),
        };
        engine.settle();
        Ok(engine)
    }

    /// Handles a received datagram.
    pub fn handle_packet(&mut self, now: Instant, from: SocketAddr, datagram: &[u8]) {
        self.begin(now);
        self.swim.handle_packet(now, from, datagram, &mut self.state);
        self.settle();
    }

    /// Handles an event of a stream.
    pub fn handle_stream(&mut self, now: Instant, id: StreamId, input: StreamInput) {
        self.begin(now);
        self.state.events.join_ignores_old = self.ignores_old(self.swim.stream_op(id));
        self.swim.handle_stream(now, id, input, &mut self.state);
        self.state.events.join_ignores_old = false;
        self.settle();
    }

    /// Whether an exchange ignores old events.
    fn ignores_old(&self, exchange: Option<swim::OpId>) -> bool {
        let join = exchange.and_then(|op| self.waiting.get(&op)).copied().flatten();
        join.is_some_and(|op| self.joins.ignores_old(op))
    }

    /// Drains what the packets of a batch left in the hand-off queues.
    pub fn handle_queued(&mut self, now: Instant) {
        self.handle_some_queued(now, usize::MAX);
    }

    /// The same for at most `max` messages; returns whether others still wait.
    pub fn handle_some_queued(&mut self, now: Instant, max: usize) -> bool {
        if self.swim.has_queued() {
            self.begin(now);
            self.swim.handle_some_queued(now, max, &mut self.state);
            self.settle();
        }
        self.swim.has_queued()
    }

    /// Takes back the buffer of a packet that was sent.
    pub fn recycle(&mut self, packet: Vec<u8>) {
        self.swim.recycle(packet);
    }

    /// Fires all timers due at `now`.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.begin(now);
        if self.swim.poll_timeout().is_some_and(|at| at <= now) {
            self.state.events.join_ignores_old = self.ignores_old(self.swim.merging());
            self.swim.handle_timeout(now, &mut self.state);
            self.state.events.join_ignores_old = false;
        }
        self.state.cx.flush_coalescers();
        self.state.cx.logs.report(now);
        while let Some((_, timer)) = self.state.cx.effects.timers.pop_due(now) {
            self.fire(timer);
        }
        self.settle();
    }

    /// The next effect; the oldest first.
    pub fn poll_output(&mut self) -> Option<Output> {
        let own = self.state.cx.effects.outputs.pop_front();
        own.or_else(|| self.swim.poll_output().map(Output::Swim))
    }

    /// When [`Engine::handle_timeout`] is to be called next.
    pub fn poll_timeout(&self) -> Option<Instant> {
        [self.swim.poll_timeout(), self.state.cx.next_timeout()].into_iter().flatten().min()
    }

    /// Allocates the id of a stream that the driver is about to accept.
    pub fn accept_stream(&mut self) -> StreamId {
        self.swim.accept_stream()
    }

    /// Codec for streams opened or accepted from now on.
    pub fn stream_codec(&self) -> StreamCodec {
        self.swim.stream_codec()
    }

    /// Reports the driver's own lateness; see [`Swim::note_lateness`].
    pub fn note_lateness(&mut self, now: Instant, late: Duration) {
        self.swim.note_lateness(now, late);
    }

    /// Starts a graceful leave. Completes after at most two broadcast timeouts and the propagate
    /// delay; at once if we have left before.
    ///
    /// # Errors
    /// Already leaving, or shut down.
    pub fn start_leave(&mut self, now: Instant) -> Result<OpId, Error> {
        match self.state.cx.life {
            SerfState::Alive => {}
            SerfState::Leaving => return Err(Error::Leaving),
            SerfState::Shutdown => return Err(Error::Shutdown),
            SerfState::Left => {
                let op = self.new_op();
                self.state.cx.effects.complete(op, Ok(Completion::Done));
                return Ok(op);
            }
        }
        self.begin(now);
        // Set before the intent is processed: otherwise we would refute it.
        self.state.cx.life = SerfState::Leaving;
        if let Some(snapshot) = &mut self.state.cx.delivery.snapshot {
            snapshot.leave();
        }
        let op = self.new_op();
        let name = self.state.cx.name.clone();
        let raw = self.state.leave_intent(&name, false);
        if self.state.members.has_alive_others() {
            self.wait(op, Step::LeaveIntent, self.state.cx.config.broadcast_timeout);
            self.swim.send_user_to_few(&raw);
            self.state.broadcast(QueueKind::Intent, raw, Some(op));
        } else {
            self.leave_swim(op);
        }
        self.settle();
        Ok(op)
    }

    /// Call this if the driver lost snapshot lines: the whole file is output again, if one is kept.
    pub fn rewrite_snapshot(&mut self) {
        if let Some(snapshot) = &mut self.state.cx.delivery.snapshot {
            snapshot.compact();
        }
        self.settle();
    }

    /// The driver is about to stop: the state becomes `Shutdown`, the last snapshot lines are
    /// output.
    pub fn shut_down(&mut self, now: Instant) {
        self.begin(now);
        if self.state.cx.life == SerfState::Shutdown {
            return;
        }
        if self.state.cx.life != SerfState::Left {
            warn!(target: "serf", "Shutdown without a Leave");
        }
        self.state.cx.life = SerfState::Shutdown;
        self.state.cx.end_coalescers();
        let incarnation = self.swim.kept_incarnation().0;
        let clock = self.state.cx.clocks.member.time();
        if let Some(snapshot) = &mut self.state.cx.delivery.snapshot {
            snapshot.note_incarnation(incarnation);
            snapshot.finish(clock);
        }
        self.settle();
    }

    /// Sends a user event.
    ///
    /// # Errors
    /// The event is too large; Go's texts.
    pub fn user_event(&mut self, now: Instant, event: &UserEventSpec) -> Result<(), Error> {
        self.user_event_of(now, &mut EventGroup::default(), event)
    }

    /// Sends an event of a batch.
    ///
    /// # Errors
    /// The event is too large; Go's texts.
    pub(crate) fn user_event_of(
        &mut self,
        now: Instant,
        group: &mut EventGroup,
        event: &UserEventSpec,
    ) -> Result<(), Error> {
        self.begin(now);
        self.state.user_event_of(group, (&event.name, &event.payload, event.coalesce))?;
        self.settle();
        Ok(())
    }

    /// Whether the gossip queue has room for another event of ours; without room the oldest is
    /// dropped. True if no other node is alive, since nothing is sent then.
    #[cfg(all(feature = "driver", not(target_family = "wasm")))]
    pub(crate) fn has_event_room(&self) -> bool {
        self.swim.member_count() <= 1 || self.state.broadcasts.has_event_room()
    }

    /// Asks a query; its progress is reported as [`Output::Query`].
    ///
    /// # Errors
    /// The query is too large, or the protocol version is below 4.
    pub fn query(
        &mut self,
        now: Instant,
        name: impl AsRef<[u8]>,
        payload: Bytes,
        params: &QueryParams,
    ) -> Result<QueryId, Error> {
        self.begin(now);
        let nodes = self.swim.member_count();
        let id = self.state.ask(nodes, name, &payload, params, Asker::User)?;
        self.settle();
        Ok(id)
    }

    /// Deadline for answers to a query that we asked; `None` once it has ended.
    pub fn query_deadline(&self, id: QueryId) -> Option<Instant> {
        self.state.queries.asked.deadline(id)
    }

    /// Ends a query of ours before its deadline. No more updates follow.
    pub fn close_query(&mut self, now: Instant, id: QueryId) {
        self.begin(now);
        self.state.queries.asked.close(now, id);
    }

    /// Answers a query that was delivered as an event.
    ///
    /// # Errors
    /// The query was answered before, its deadline has passed, or the answer is too large; Go's
    /// texts.
    pub fn respond(&mut self, now: Instant, id: QueryId, payload: &[u8]) -> Result<(), Error> {
        self.begin(now);
        let result = self.state.respond(id, payload);
        self.settle();
        result
    }

    /// Replaces all tags and announces them.
    ///
    /// # Errors
    /// The encoded tags are too long.
    pub fn start_set_tags(
        &mut self,
        now: Instant,
        tags: BTreeMap<String, String>,
    ) -> Result<OpId, Error> {
        let encoded = Tags::from(tags.clone());
        let meta = encode_tags(&self.state.cx.config, &encoded)?;
        self.begin(now);
        self.state.cx.meta = meta;
        self.state.cx.tags = encoded;
        self.state.cx.config.tags = tags;
        let op = self.new_op();
        let waits_for = self.swim.start_update(now, &mut self.state);
        self.waiting.insert(waits_for, Some(op));
        self.wait(op, Step::SetTags, self.state.cx.config.broadcast_timeout);
        self.settle();
        Ok(op)
    }

    /// Declares a failed member left, or forgets it as well.
    pub fn start_force_leave(&mut self, now: Instant, name: &str, prune: Prune) -> OpId {
        self.begin(now);
        let op = self.new_op();
        let raw = self.state.leave_intent(name, prune == Prune::Yes);
        if self.state.members.has_alive_others() {
            self.wait(op, Step::ForceLeave, self.state.cx.config.broadcast_timeout);
            self.state.broadcast(QueueKind::Intent, raw, Some(op));
        } else {
            self.state.cx.effects.complete(op, Ok(Completion::Done));
        }
        self.settle();
        op
    }

    /// Changes or lists keys in the whole cluster. Key operations run one after the other.
    ///
    /// # Errors
    /// The key is not base64; Go's text.
    pub fn start_key_op(
        &mut self,
        now: Instant,
        op: &KeyOp,
        relay_factor: u8,
    ) -> Result<OpId, Error> {
        self.begin(now);
        let id = self.new_op();
        self.state.queue_key_op(id, op, relay_factor)?;
        self.settle();
        Ok(id)
    }

    /// Reports that the keyring file was written after [`Output::KeyringChanged`], or why not (Go's
    /// text). Answers the request that waits for it, with
    /// [`Machine::stores_keyring`](crate::engine::Machine::stores_keyring).
    pub fn handle_keyring_stored(&mut self, now: Instant, op: OpId, stored: Result<(), String>) {
        self.begin(now);
        self.state.keyring_stored(op, stored);
        self.settle();
    }

    /// All members, including ourselves, failed and left ones, sorted by name.
    pub fn members(&self) -> impl Iterator<Item = &Arc<Member>> {
        self.state.members.table.roster().iter()
    }

    /// The same, for readers that keep them.
    #[cfg(all(feature = "driver", not(target_family = "wasm")))]
    pub(crate) fn roster(&self) -> &Roster {
        self.state.members.table.roster()
    }

    /// Keeps the members as a reader does, to measure what that costs the engine.
    #[doc(hidden)]
    #[cfg(feature = "sim")]
    pub fn hold_members(&self) -> impl Send + use<> {
        self.state.members.table.roster().clone()
    }

    /// Live peers that do not answer direct probes, and for how long.
    #[cfg(feature = "agent")]
    pub(crate) fn troubles(&self) -> Vec<(Arc<str>, swim::Trouble, std::time::Duration)> {
        let now = self.state.cx.now;
        let troubles = self.swim.troubles();
        troubles.map(|(name, peer)| (Arc::clone(name), peer, now.since(peer.since))).collect()
    }

    /// Estimate of the messages that all members have encrypted with the primary key, if the key
    /// should be replaced.
    #[cfg(feature = "agent")]
    pub(crate) fn worrying_key_use(&self) -> Option<u64> {
        KeyUse::worrying(self.swim.keyring(), self.swim.member_count())
    }

    /// A member by name.
    pub fn member(&self, name: &str) -> Option<&Arc<Member>> {
        self.state.members.table.get(name).map(|entry| &entry.member)
    }

    /// Our own record.
    pub fn local_member(&self) -> &Arc<Member> {
        self.state.members.local()
    }

    /// Statistics under Go's `Stats` keys, sorted.
    pub fn stats(&self) -> BTreeMap<&'static str, String> {
        let state = &self.state;
        let mut stats = BTreeMap::from([
            ("members", state.members.table.len().to_string()),
            ("failed", state.members.table.failed().len().to_string()),
            ("left", state.members.table.left().len().to_string()),
            ("health_score", self.swim.health_score().to_string()),
            ("member_time", state.cx.clocks.member.time().0.to_string()),
            ("event_time", state.cx.clocks.event.time().0.to_string()),
            ("query_time", state.cx.clocks.query.time().0.to_string()),
            ("intent_queue", state.broadcasts.intents.len().to_string()),
            ("event_queue", state.broadcasts.events.len().to_string()),
            ("query_queue", state.broadcasts.queries.len().to_string()),
            ("encrypted", (!self.swim.keyring().is_empty()).to_string()),
        ]);
        let keyring = self.swim.keyring();
        if !keyring.is_empty() {
            let age = self.key_use.age(state.cx.now).as_secs();
            stats.insert("keys", keyring.keys().count().to_string());
            stats.insert("key_age_seconds", age.to_string());
            stats.insert("key_messages", keyring.messages().to_string());
        }
        if let Some(resets) = state.members.coordinates.resets() {
            stats.insert("coordinate_resets", resets.to_string());
        }
        stats
    }

    /// Counters of this layer.
    pub(crate) fn serf_stats(&self) -> Stats {
        self.state.cx.stats
    }

    /// Number of user events and queries by name since the last call; at most 256 names.
    #[doc(hidden)]
    pub fn take_name_counts(&mut self) -> BTreeMap<Arc<str>, NameCounts> {
        self.state.cx.names.take()
    }

    /// Nodes listed by the layer below.
    #[doc(hidden)]
    #[cfg(feature = "sim")]
    pub fn nodes(&self) -> impl Iterator<Item = swim::NodeView<'_>> {
        self.swim.nodes()
    }

    /// The Lamport clocks of members, events and queries.
    #[doc(hidden)]
    #[cfg(feature = "sim")]
    pub fn clocks(&self) -> [crate::serf::LamportTime; 3] {
        [
            self.state.cx.clocks.member.time(),
            self.state.cx.clocks.event.time(),
            self.state.cx.clocks.query.time(),
        ]
    }

    /// Number of nodes in the layer below: alive, suspect, dead, left.
    #[doc(hidden)]
    pub fn node_states(&self) -> [usize; 4] {
        self.swim.state_counts()
    }

    /// Number of queued broadcasts of the layer below.
    #[doc(hidden)]
    pub fn queued_broadcasts(&self) -> usize {
        self.swim.queued_broadcasts()
    }

    /// Number of queued intents, events and queries.
    #[doc(hidden)]
    pub fn queue_depths(&self) -> [usize; 3] {
        let state = &self.state;
        [
            state.broadcasts.intents.len(),
            state.broadcasts.events.len(),
            state.broadcasts.queries.len(),
        ]
    }

    /// Health score of this node: 0 is healthy, 8 the worst.
    pub fn health_score(&self) -> u32 {
        self.swim.health_score()
    }

    /// Age of the primary key and the number of messages it has encrypted; `None` without keys.
    #[cfg(all(feature = "driver", not(target_family = "wasm")))]
    pub(crate) fn key_use(&self, now: Instant) -> Option<(Duration, u64)> {
        let keyring = self.swim.keyring();
        (!keyring.is_empty()).then(|| (self.key_use.age(now), keyring.messages()))
    }

    /// Counters of the layer below.
    pub(crate) fn swim_stats(&self) -> swim::Stats {
        self.swim.stats()
    }

    /// State of this member.
    pub fn state(&self) -> SerfState {
        self.state.cx.life
    }

    /// The current keys.
    pub fn keyring(&self) -> &Keyring {
        self.swim.keyring()
    }

    /// The last received coordinate of a member, or our own. Go: `GetCachedCoordinate`.
    pub fn coordinate(&self, name: &str) -> Option<&Coordinate> {
        self.state.members.coordinates.get(name)
    }
}

/// Ids of our operations start here; those of the layer below are smaller.
const OWN_OPS: u64 = 1 << 63;
