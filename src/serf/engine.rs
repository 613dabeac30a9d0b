//! The engine's entry points.

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use tracing::warn;

use super::{
    Completion, Config, Coordinate, Error, KeyOp, Member, Message, NameCounts, Output, QueryId,
    QueryParams, SerfState, Stats, Tags,
    build::build_state,
    engine::{join::Joins, rejoin::Rejoin},
    message,
    query::Asker,
    snapshot::Replay,
    state::{Action, QueueKind, State, Timer},
};
use crate::{
    base::{Instant, Rng},
    swim::{self, Author, NodeStateKind, OpId, StreamId, StreamInput, Swim},
    wire::{Keyring, StreamCodec},
};

/// One member's Serf engine, the membership engine inside.
pub struct Engine {
    swim: Swim,
    state: State,
    ops: BTreeMap<OpId, Op>,
    /// Operations of the layer below that ours wait for; `None`: nobody waits.
    waiting: BTreeMap<OpId, Option<OpId>>,
    joins: Joins,
    next_op: u64,
    /// Our leave intent was dropped before it was sent: peers will see a failure.
    leave_dropped: bool,
    rejoin: Rejoin,
}

/// An operation that waits for something, at the latest until its deadline.
#[derive(Clone, Copy, Debug)]
struct Op {
    step: Step,
    deadline: Instant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// The leave intent is being gossiped.
    LeaveIntent,
    /// The layer below announces the leave.
    LeaveSwim,
    /// The pause at the end of a leave.
    LeavePause,
    ForceLeave,
    SetTags,
}

impl Engine {
    /// Makes the member. `snapshot` is the whole snapshot file of an earlier run, if one is kept;
    /// with it, snapshot work comes out of [`Engine::poll_output`].
    ///
    /// # Errors
    /// A configuration that cannot work, with Go's texts.
    pub fn build(config: Config, now: Instant, snapshot: Option<&[u8]>) -> Result<Self, Error> {
        let (mut state, previous) = build_state(config, now, snapshot)?;
        let swim = Swim::build(state.config.swim.clone(), now, &mut state)?;
        state.broadcast_bytes_max = swim.broadcast_bytes_max();
        let rejoin = Rejoin::new(previous, &state.name, &mut state.rng);
        let mut engine = Self {
            swim,
            state,
            ops: BTreeMap::new(),
            waiting: BTreeMap::new(),
            joins: Joins::default(),
            next_op: OWN_OPS,
            leave_dropped: false,
            rejoin,
        };
        engine.settle();
        Ok(engine)
    }

    /// A datagram arrived.
    pub fn handle_packet(&mut self, now: Instant, from: SocketAddr, datagram: &[u8]) {
        self.state.now = now;
        self.swim.handle_packet(now, from, datagram, &mut self.state);
        self.settle();
    }

    /// Something happened on a stream.
    pub fn handle_stream(&mut self, now: Instant, id: StreamId, input: StreamInput) {
        self.state.now = now;
        self.state.join_ignores_old = self.ignores_old(self.swim.stream_op(id));
        self.swim.handle_stream(now, id, input, &mut self.state);
        self.state.join_ignores_old = false;
        self.settle();
    }

    /// Whether old events of an exchange are to be ignored.
    fn ignores_old(&self, exchange: Option<swim::OpId>) -> bool {
        let join = exchange.and_then(|op| self.waiting.get(&op)).copied().flatten();
        join.is_some_and(|op| self.joins.ignores_old(op))
    }

    /// Drains what the packets of a batch left in the hand-off queues.
    pub fn handle_queued(&mut self, now: Instant) {
        self.state.now = now;
        self.swim.handle_queued(now, &mut self.state);
        self.settle();
    }

    /// Fires all timers due at `now`.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.state.now = now;
        if self.swim.poll_timeout().is_some_and(|at| at <= now) {
            self.state.join_ignores_old = self.ignores_old(self.swim.merging());
            self.swim.handle_timeout(now, &mut self.state);
            self.state.join_ignores_old = false;
        }
        self.state.flush_coalescers(now);
        self.state.logs.report(now);
        while let Some((_, timer)) = self.state.timers.pop_due(now) {
            self.fire(now, timer);
        }
        self.settle();
    }

    /// The next effect, oldest first.
    pub fn poll_output(&mut self) -> Option<Output> {
        let own = self.state.outputs.pop_front();
        own.or_else(|| self.swim.poll_output().map(Output::Swim))
    }

    /// When [`Engine::handle_timeout`] wants to be called.
    pub fn poll_timeout(&self) -> Option<Instant> {
        [self.swim.poll_timeout(), self.state.next_timeout()].into_iter().flatten().min()
    }

    /// Allocates the id of a stream that the driver is about to accept.
    pub fn accept_stream(&mut self) -> StreamId {
        self.swim.accept_stream()
    }

    /// Codec for streams opened or accepted from now on.
    pub fn stream_codec(&self) -> StreamCodec {
        self.swim.stream_codec()
    }

    /// The driver's own lateness; see [`Swim::note_lateness`].
    pub fn note_lateness(&mut self, now: Instant, late: std::time::Duration) {
        self.swim.note_lateness(now, late);
    }

    /// The whole graceful leave; done at the latest after two broadcast timeouts and the
    /// propagate delay. Done at once if we have left before.
    ///
    /// # Errors
    /// Already leaving, or shut down.
    pub fn start_leave(&mut self, now: Instant) -> Result<OpId, Error> {
        match self.state.life {
            SerfState::Alive => {}
            SerfState::Leaving => return Err(Error::State("Leave already in progress")),
            SerfState::Shutdown => return Err(Error::State("Leave called after Shutdown")),
            SerfState::Left => {
                let op = self.new_op();
                self.state.complete(op, Ok(Completion::Done));
                return Ok(op);
            }
        }
        self.state.now = now;
        // Before the intent: otherwise we would refute it.
        self.state.life = SerfState::Leaving;
        if let Some(snapshot) = &mut self.state.snapshot {
            snapshot.leave();
        }
        let op = self.new_op();
        let name = self.state.name.clone();
        let raw = self.state.leave_intent(now, &name, false);
        if self.state.has_alive_members() {
            self.wait(op, Step::LeaveIntent, self.state.config.broadcast_timeout);
            self.swim.send_user_to_few(&raw);
            self.state.broadcast(QueueKind::Intent, raw, Author::Own(Some(op)));
        } else {
            self.leave_swim(op);
        }
        self.settle();
        Ok(op)
    }

    /// The driver lost snapshot lines: the whole file comes out anew, if one is kept.
    pub fn rewrite_snapshot(&mut self) {
        if let Some(snapshot) = &mut self.state.snapshot {
            snapshot.compact();
        }
        self.settle();
    }

    /// The driver is about to stop: state becomes Shutdown, a last snapshot line comes out.
    pub fn shut_down(&mut self, now: Instant) {
        self.state.now = now;
        if self.state.life == SerfState::Shutdown {
            return;
        }
        if self.state.life != SerfState::Left {
            warn!(target: "serf", "Shutdown without a Leave");
        }
        self.state.life = SerfState::Shutdown;
        self.state.flush_coalescers(Instant::FAR_FUTURE);
        let incarnation = self.swim.kept_incarnation().0;
        let clock = self.state.clock.time();
        if let Some(snapshot) = &mut self.state.snapshot {
            snapshot.note_incarnation(incarnation);
            snapshot.finish(clock);
        }
        self.settle();
    }

    /// Sends a user event.
    ///
    /// # Errors
    /// Too large; Go's texts.
    pub fn user_event(
        &mut self,
        now: Instant,
        name: impl AsRef<[u8]>,
        payload: Bytes,
        coalesce: bool,
    ) -> Result<(), Error> {
        self.state.now = now;
        self.state.user_event(now, name, &payload, coalesce)?;
        self.settle();
        Ok(())
    }

    /// Asks a query; progress comes as [`Output::Query`].
    ///
    /// # Errors
    /// Too large, or the protocol version is below 4.
    pub fn query(
        &mut self,
        now: Instant,
        name: impl AsRef<[u8]>,
        payload: Bytes,
        params: &QueryParams,
    ) -> Result<QueryId, Error> {
        self.state.now = now;
        let nodes = self.swim.member_count();
        let id = self.state.ask(now, nodes, name, &payload, params, Asker::User)?;
        self.settle();
        Ok(id)
    }

    /// End of the time for answers to a query we asked; `None` once it is over.
    pub fn query_deadline(&self, id: QueryId) -> Option<Instant> {
        self.state.query_deadline(id)
    }

    /// Ends a query we asked before its time. Nothing more is heard of it.
    pub fn close_query(&mut self, now: Instant, id: QueryId) {
        self.state.now = now;
        self.state.close_query(id);
    }

    /// Answers a query that was delivered as an event.
    ///
    /// # Errors
    /// Already answered, past the deadline, too large; Go's texts.
    pub fn respond(&mut self, now: Instant, id: QueryId, payload: &[u8]) -> Result<(), Error> {
        self.state.now = now;
        let result = self.state.respond(now, id, payload);
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
        let meta = State::encode_tags(&self.state.config, &encoded)?;
        self.state.now = now;
        self.state.meta = meta;
        self.state.tags = encoded;
        self.state.config.tags = tags;
        let op = self.new_op();
        let waits_for = self.swim.start_update(now, &mut self.state);
        self.waiting.insert(waits_for, Some(op));
        self.wait(op, Step::SetTags, self.state.config.broadcast_timeout);
        self.settle();
        Ok(op)
    }

    /// Declares a failed member left, or with `prune` forgets it.
    pub fn start_force_leave(&mut self, now: Instant, name: &str, prune: bool) -> OpId {
        self.state.now = now;
        let op = self.new_op();
        let raw = self.state.leave_intent(now, name, prune);
        if self.state.has_alive_members() {
            self.wait(op, Step::ForceLeave, self.state.config.broadcast_timeout);
            self.state.broadcast(QueueKind::Intent, raw, Author::Own(Some(op)));
        } else {
            self.state.complete(op, Ok(Completion::Done));
        }
        self.settle();
        op
    }

    /// Changes or lists keys in the whole cluster. Operations run one after the other.
    ///
    /// # Errors
    /// The key is not base64; Go's text.
    pub fn start_key_op(
        &mut self,
        now: Instant,
        op: &KeyOp,
        relay_factor: u8,
    ) -> Result<OpId, Error> {
        self.state.now = now;
        let id = self.new_op();
        self.state.queue_key_op(id, op, relay_factor)?;
        self.settle();
        Ok(id)
    }

    /// The keyring file was written after [`Output::KeyringChanged`], or could not be (Go's text).
    /// Answers the request that waits for it, if [`Config::keyring_stored`] is set.
    pub fn handle_keyring_stored(&mut self, now: Instant, op: OpId, stored: Result<(), String>) {
        self.state.now = now;
        self.state.keyring_stored(now, op, stored);
        self.settle();
    }

    /// Every member, ourselves and the gone included, by name.
    pub fn members(&self) -> impl Iterator<Item = &Arc<Member>> {
        self.state.members.iter().map(|entry| &entry.member)
    }

    /// Grows with each change of the members.
    #[cfg(feature = "agent")]
    pub(crate) fn members_generation(&self) -> u64 {
        self.state.members.generation()
    }

    /// A member by name.
    pub fn member(&self, name: &str) -> Option<&Arc<Member>> {
        self.state.members.get(name).map(|entry| &entry.member)
    }

    /// Our own record.
    pub fn local_member(&self) -> &Arc<Member> {
        self.state.local_member()
    }

    /// Go's `Stats` keys, sorted.
    pub fn stats(&self) -> BTreeMap<&'static str, String> {
        let state = &self.state;
        let mut stats = BTreeMap::from([
            ("members", state.members.len().to_string()),
            ("failed", state.members.failed().len().to_string()),
            ("left", state.members.left().len().to_string()),
            ("health_score", self.swim.health_score().to_string()),
            ("member_time", state.clock.time().0.to_string()),
            ("event_time", state.event_clock.time().0.to_string()),
            ("query_time", state.query_clock.time().0.to_string()),
            ("intent_queue", state.intent_queue.len().to_string()),
            ("event_queue", state.event_queue.len().to_string()),
            ("query_queue", state.query_queue.len().to_string()),
            ("encrypted", (!self.swim.keyring().is_empty()).to_string()),
        ]);
        if let Some(vivaldi) = &state.vivaldi {
            stats.insert("coordinate_resets", vivaldi.resets.to_string());
        }
        stats
    }

    /// Counters of this layer.
    pub fn counters(&self) -> Stats {
        self.state.stats
    }

    /// User events and queries by name since the last call; at most 256 names.
    pub fn take_name_counts(&mut self) -> BTreeMap<Arc<str>, NameCounts> {
        std::mem::take(&mut self.state.named)
    }

    /// Nodes as the layer below lists them.
    #[cfg(feature = "sim")]
    pub fn nodes(&self) -> impl Iterator<Item = swim::NodeView<'_>> {
        self.swim.nodes()
    }

    /// The clocks of members, events and queries.
    #[cfg(feature = "sim")]
    pub fn clocks(&self) -> [super::LamportTime; 3] {
        [self.state.clock.time(), self.state.event_clock.time(), self.state.query_clock.time()]
    }

    /// Nodes that the layer below lists: alive, suspect, dead, left.
    pub fn node_states(&self) -> [usize; 4] {
        self.swim.state_counts()
    }

    /// Messages of the layer below that wait to be gossiped.
    pub fn queued_broadcasts(&self) -> usize {
        self.swim.queued_broadcasts()
    }

    /// Messages that wait to be gossiped: intents, events, queries.
    pub fn queue_depths(&self) -> [usize; 3] {
        let state = &self.state;
        [state.intent_queue.len(), state.event_queue.len(), state.query_queue.len()]
    }

    /// How unwell this node is, 0 to 8.
    pub fn health_score(&self) -> u32 {
        self.swim.health_score()
    }

    /// Counters of the layer below.
    pub fn swim_counters(&self) -> swim::Stats {
        self.swim.stats()
    }

    /// State of this member's life.
    pub fn state(&self) -> SerfState {
        self.state.life
    }

    /// Keys in force.
    pub fn keyring(&self) -> &Keyring {
        self.swim.keyring()
    }

    /// The coordinate of a member as last heard, or our own. Go: `GetCachedCoordinate`.
    pub fn coordinate(&self, name: &str) -> Option<&Coordinate> {
        self.state.coordinates.get(name)
    }
}

/// Operations of ours are numbered from here, those of the layer below before it.
const OWN_OPS: u64 = 1 << 63;
mod join;
mod rejoin;
mod steps;
#[cfg(test)]
mod tests;
