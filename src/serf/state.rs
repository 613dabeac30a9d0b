//! Everything the engine knows except the layer below, which it is the host of.

use std::{
    collections::{BTreeMap, VecDeque},
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use tracing::{error, warn};

use super::{
    Completion, Config, Coordinate, Error, Event, LamportTime, Member, MemberEvent,
    MemberEventKind, Message, Output, QueryId, SerfState, Tags,
    admission::{self, Refusal},
    ahead::Ahead,
    coalesce::{MemberCoalescer, UserCoalescer},
    conflict::Conflict,
    coordinate::Vivaldi,
    heal::Remembered,
    intents::RecentIntents,
    internal_query::{InternalQuery, InternalRequest, PREFIX},
    keys::KeyOps,
    lamport::LamportClock,
    logs::Logs,
    membership::Members,
    query::Asked,
    received::{QueryRing, Received},
    regex::{RegexCache, WorkBucket},
    snapshot::Snapshot,
    stats::Stats,
    user_event::EventRing,
};
use crate::{
    base::{Instant, Rng, Timers, mutated, printable},
    swim::{Author, BroadcastQueue, Fate, OpId, Order, retransmit_limit},
};

/// The engine's own state.
pub(crate) struct State {
    pub(crate) config: Config,
    pub(crate) name: Arc<str>,
    /// Time of the call under way.
    pub(crate) now: Instant,
    pub(crate) rng: Rng,
    pub(crate) life: SerfState,
    /// Our tags as announced.
    pub(crate) tags: Tags,
    /// The same, encoded.
    pub(crate) meta: Arc<[u8]>,
    /// Our record until the layer below announces us.
    pub(crate) unannounced: Arc<Member>,
    pub(crate) clock: LamportClock,
    pub(crate) event_clock: LamportClock,
    pub(crate) query_clock: LamportClock,
    /// Members whose clocks are far ahead of ours.
    pub(crate) ahead: Ahead,
    pub(crate) event_min_time: LamportTime,
    pub(crate) query_min_time: LamportTime,
    /// A join that ignores old events is under way.
    pub(crate) join_ignores_old: bool,
    /// [`Action::BroadcastJoin`] is queued.
    pub(crate) refuting: bool,
    pub(crate) members: Members,
    pub(crate) intents: RecentIntents,
    pub(crate) events: EventRing,
    pub(crate) queries: QueryRing,
    /// Queries that we asked.
    pub(crate) asked: Asked,
    /// Queries that we may answer.
    pub(crate) received: Received,
    pub(crate) regexes: RegexCache,
    /// What may still be spent on the expressions of peers.
    pub(crate) filter_work: WorkBucket,
    pub(crate) conflict: Conflict,
    pub(crate) keys: KeyOps,
    pub(crate) vivaldi: Option<Vivaldi>,
    pub(crate) coordinates: BTreeMap<Arc<str>, Coordinate>,
    pub(crate) member_coalescer: Option<MemberCoalescer>,
    pub(crate) user_coalescer: Option<UserCoalescer>,
    pub(crate) snapshot: Option<Snapshot>,
    pub(crate) remembered: Remembered,
    pub(crate) intent_queue: BroadcastQueue,
    pub(crate) query_queue: BroadcastQueue,
    pub(crate) event_queue: BroadcastQueue,
    /// Largest message that fits a packet of gossip.
    pub(crate) broadcast_bytes_max: usize,
    /// The last packet was filled the other way round, see [`State::fill_packet`].
    pub(crate) others_turn: bool,
    /// Operations whose broadcast ended, and how.
    pub(crate) finished: Vec<(OpId, Fate)>,
    pub(crate) outputs: VecDeque<Output>,
    /// What is to be asked of the layer below after the call under way.
    pub(crate) actions: VecDeque<Action>,
    pub(crate) timers: Timers<Timer>,
    pub(crate) stats: Stats,
    pub(crate) logs: Logs,
    /// User events and queries by name since the driver last asked.
    pub(crate) named: BTreeMap<Arc<str>, NameCounts>,
    /// The last meta decoded and its tags: clusters have few distinct ones.
    pub(crate) last_tags: Option<(Arc<[u8]>, Tags)>,
}

/// Work that needs the layer below.
#[derive(Debug)]
pub(crate) enum Action {
    /// Announce ourselves again: somebody claims that we leave.
    BroadcastJoin,
    /// A user message in one packet.
    Send { to: SocketAddr, message: Vec<u8> },
    /// A user message to ourselves.
    Loopback(Vec<u8>),
    /// A `_serf_` query arrived.
    Internal(InternalRequest),
    /// Somebody claims our name: ask the others.
    Vote,
    /// Try to reach a peer again.
    Reconnect { to: SocketAddr, node: Arc<str> },
    /// Nobody else is alive: join again through what was given to joins.
    RejoinSeeds,
    /// Exchange states with a member now.
    Sync { to: SocketAddr, node: Arc<str> },
    /// The layer below may know a member that we pruned.
    Recheck(Arc<str>),
}

/// What happens at a time.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Timer {
    Reap,
    Reconnect,
    QueueCheck,
    Snapshot,
    /// A query that we asked ends.
    Query(QueryId),
    /// An operation has waited long enough.
    Op(OpId),
    /// The keyring file takes too long.
    Storing(OpId),
    /// The next peer of the snapshot.
    Rejoin,
    /// A member whose clocks were ahead is asked again.
    AskClocks(Arc<str>),
    /// A leaving member is erased.
    Prune(Arc<str>),
}

/// How often a name came in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NameCounts {
    /// `serf.events.<name>`
    pub events: u64,
    /// `serf.queries.<name>`, internal and filtered ones too.
    pub queries: u64,
}

/// The three broadcast queues, in the order they are served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum QueueKind {
    Intent,
    Query,
    Event,
}

impl State {
    /// Queues a message to be gossiped, if a packet can hold it: others would wait for ever.
    pub(crate) fn broadcast(&mut self, kind: QueueKind, message: Bytes, author: Author) {
        if message.len() > self.broadcast_bytes_max {
            self.stats.dropped_broadcasts += 1;
            if let Author::Own(op) = author {
                warn!(
                    target: "serf",
                    bytes = message.len(), max = self.broadcast_bytes_max,
                    "Message does not fit a packet and is not gossiped"
                );
                self.finished.extend(op.map(|op| (op, Fate::Dropped)));
            }
            return;
        }
        let queue = self.queue(kind);
        queue.push(message, author);
        let dropped = queue.shed();
        self.stats.dropped_broadcasts += dropped;
        self.collect_ended();
    }

    /// Notes the operations whose broadcasts ended.
    fn collect_ended(&mut self) {
        for queue in [&mut self.intent_queue, &mut self.query_queue, &mut self.event_queue] {
            self.finished.extend(queue.take_ended());
        }
    }

    pub(crate) fn queue(&mut self, kind: QueueKind) -> &mut BroadcastQueue {
        match kind {
            QueueKind::Intent => &mut self.intent_queue,
            QueueKind::Query => &mut self.query_queue,
            QueueKind::Event => &mut self.event_queue,
        }
    }

    pub(crate) fn emit_member(&mut self, now: Instant, kind: MemberEventKind, member: Arc<Member>) {
        self.emit(now, Event::Member(MemberEvent { kind, members: vec![member] }));
    }

    /// Sends an event on its way: snapshot, internal queries, coalescers, application.
    pub(crate) fn emit(&mut self, now: Instant, event: Event) {
        let forgets = mutated!(self.config.swim, SnapshotForgets)
            && matches!(&event, Event::Member(event) if event.kind != MemberEventKind::Join);
        if let Some(snapshot) = &mut self.snapshot
            && !forgets
        {
            snapshot.on_event(&event, self.clock.time());
        }
        let event = match event {
            Event::Query(query) => match InternalQuery::parse(query.name.as_bytes()) {
                Some(Ok(kind)) => {
                    let request = InternalRequest { id: query.id, kind, payload: query.payload };
                    return self.actions.push_back(Action::Internal(request));
                }
                Some(Err(rest)) => {
                    if self.logs.old.admit(now) {
                        let rest = printable(rest);
                        warn!(target: "serf", "Unhandled internal query '{PREFIX}{rest}'");
                    }
                    return;
                }
                None => Event::Query(query),
            },
            Event::User(event) if event.coalesce => match &mut self.user_coalescer {
                Some(coalescer) => return coalescer.hold(now, event),
                None => Event::User(event),
            },
            Event::Member(event) => match &mut self.member_coalescer {
                Some(coalescer) => return coalescer.hold(now, event),
                None => Event::Member(event),
            },
            event @ Event::User(_) => event,
        };
        self.outputs.push_back(Output::Event(event));
    }

    /// Decodes a message and lets it pass the gate; what is refused is counted.
    pub(crate) fn admit<'a>(&mut self, raw: &'a [u8]) -> Result<Message<'a>, Refusal> {
        admission::read(&*self.config.transform, raw).inspect_err(|refusal| self.refuse(refusal))
    }

    /// Counts something that did not pass the gate.
    pub(crate) fn refuse(&mut self, refusal: &Refusal) {
        let counter = match refusal {
            Refusal::Malformed(_) => &mut self.stats.dropped_malformed,
            Refusal::Size => &mut self.stats.refused_sizes,
            Refusal::Node(_) => &mut self.stats.refused_names,
            Refusal::Address => &mut self.stats.refused_addresses,
            Refusal::Filters => &mut self.stats.refused_filters,
        };
        *counter += 1;
    }

    /// Counts an event or query under its name. Names come from the network: beyond a number of
    /// them nothing is counted until the driver has taken the counts.
    pub(crate) fn count_name(&mut self, name: &Arc<str>, add: impl FnOnce(&mut NameCounts)) {
        if let Some(counts) = self.named.get_mut(name) {
            add(counts);
        } else if self.named.len() < NAMES_MAX && name.len() <= COUNTED_NAME_BYTES_MAX {
            add(self.named.entry(name.clone()).or_default());
        }
    }

    pub(crate) fn complete(&mut self, op: OpId, result: Result<Completion, Error>) {
        self.outputs.push_back(Output::Done { op, result });
    }

    /// Fills a packet: intents first, then queries, then events. Go: `delegate.GetBroadcasts`.
    ///
    /// With a long backlog every other packet is filled the other way round: own messages first,
    /// then those of others from the short ones on. Otherwise a flood of long messages, or of
    /// intents, would keep everything else waiting.
    pub(crate) fn fill_packet(
        &mut self,
        overhead: usize,
        limit: usize,
        emit: &mut dyn FnMut(&[u8]),
    ) {
        let transmits = retransmit_limit(self.config.swim.retransmit_mult, self.members.len());
        let sent = &mut self.stats.msgs_sent;
        let mut emit = |message: &[u8]| {
            sent.count(message.len());
            emit(message);
        };
        let mut queues = [&mut self.intent_queue, &mut self.query_queue, &mut self.event_queue];
        let waiting: usize = queues.iter().map(|queue| queue.message_bytes(overhead)).sum();
        let backlog = BACKLOG_PACKETS * self.broadcast_bytes_max;
        self.others_turn = waiting > backlog && !self.others_turn;
        let passes: &[(usize, Order)] = if self.others_turn {
            &[
                (0, Order::Own),
                (1, Order::Own),
                (2, Order::Own),
                (2, Order::Shortest),
                (1, Order::Shortest),
                (0, Order::Shortest),
            ]
        } else {
            &[(0, Order::Longest), (1, Order::Longest), (2, Order::Longest)]
        };
        let mut used = 0;
        for (queue, order) in passes {
            let Some(queue) = queues.get_mut(*queue) else { continue };
            let free = limit.saturating_sub(used);
            used += queue.take(*order, overhead, free, transmits, &mut emit);
        }
        self.collect_ended();
    }

    /// Warns about long queues and cuts the longest. Go: `serf/serf.go:checkQueueDepth`.
    pub(crate) fn check_queues(&mut self) {
        let config = &self.config;
        let max = match config.queue_depth_min {
            0 => config.queue_depth_max,
            min => min.max(2 * self.members.len()),
        };
        let warning = config.queue_depth_warning;
        for (name, queue) in [
            ("Intent", &mut self.intent_queue),
            ("Event", &mut self.event_queue),
            ("Query", &mut self.query_queue),
        ] {
            let depth = queue.len();
            if depth >= warning {
                warn!(target: "serf", "{name} queue depth: {depth}");
            }
            if depth > max {
                warn!(
                    target: "serf",
                    "{name} queue depth ({depth}) exceeds limit ({max}), dropping messages!"
                );
                queue.prune(max);
            }
        }
        self.collect_ended();
    }

    /// Tags of a node's meta; equal metas in a row share memory.
    pub(crate) fn decode_tags(&mut self, meta: &Arc<[u8]>) -> Tags {
        if let Some((last, tags)) = &self.last_tags
            && last == meta
        {
            return tags.clone();
        }
        let (tags, error) = self.config.transform.decode_tags(meta);
        if let Some(error) = error
            && self.logs.messages.admit(self.now)
        {
            error!(target: "serf", "Failed to decode tags: {error}");
        }
        self.last_tags = Some((meta.clone(), tags.clone()));
        tags
    }

    /// Encodes tags as our meta.
    pub(crate) fn encode_tags(config: &Config, tags: &Tags) -> Result<Arc<[u8]>, Error> {
        let mut meta = Vec::new();
        config.transform.encode_tags(config.protocol_version, tags, &mut meta);
        if meta.len() > crate::wire::limits::META_BYTES_MAX {
            return Err(Error::Invalid(format!(
                "Encoded length of tags exceeds limit of {} bytes",
                crate::wire::limits::META_BYTES_MAX
            )));
        }
        Ok(meta.into())
    }

    /// Next time that something of ours happens.
    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        let timer = self.timers.next();
        let member = self.member_coalescer.as_ref().and_then(MemberCoalescer::deadline);
        let user = self.user_coalescer.as_ref().and_then(UserCoalescer::deadline);
        [timer, member, user].into_iter().flatten().min()
    }

    /// Lets the coalescers go whose time has come.
    pub(crate) fn flush_coalescers(&mut self, now: Instant) {
        let due = |deadline: Option<Instant>| deadline.is_some_and(|deadline| deadline <= now);
        let outputs = &mut self.outputs;
        if let Some(coalescer) = &mut self.user_coalescer
            && due(coalescer.deadline())
        {
            outputs.extend(coalescer.flush().map(|event| Output::Event(Event::User(event))));
        }
        if let Some(coalescer) = &mut self.member_coalescer
            && due(coalescer.deadline())
        {
            let events = coalescer.flush().into_iter();
            outputs.extend(events.map(|event| Output::Event(Event::Member(event))));
        }
    }

    /// Sends a message to a node in one packet; to ourselves without a socket.
    pub(crate) fn send(&mut self, to: SocketAddr, message: Vec<u8>) {
        let own = self.local_member().socket_addr() == Some(to);
        self.actions.push_back(if own {
            Action::Loopback(message)
        } else {
            Action::Send { to, message }
        });
    }

    pub(crate) fn start_timer(&mut self, after: Duration, timer: Timer) {
        self.timers.set(self.now + after, timer);
    }
}

/// Packets that hold what waits before every other one is filled the other way round.
const BACKLOG_PACKETS: usize = 16;
/// Most names counted between two looks.
const NAMES_MAX: usize = 256;
/// Longest name that is counted by itself.
const COUNTED_NAME_BYTES_MAX: usize = 255;

#[cfg(test)]
mod tests;
