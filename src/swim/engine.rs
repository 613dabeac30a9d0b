//! The engine's state and its entry points.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use super::{
    Config, ConfigError, Done, Error, Host, NodeView, OpId, Output, Seal, Stats, StreamId,
    answers::Answers,
    awareness::Awareness,
    budget::{Budget, Credit},
    claim::{Growth, Source},
    config::push_pull_scale,
    handoff::Handoff,
    logs::Logs,
    packet_builder::PacketBuilder,
    probes::Probes,
    queue::BroadcastQueue,
    reach::{Reach, Trouble},
    relays::Relays,
    replay::ReplayFilter,
    suspicion::Suspicion,
    table::Table,
    timer::Timer,
    under_way::{Merge, Relay, Stream},
};
use crate::{
    base::{Instant, Rng, Timers},
    wire::{
        Alive, Incarnation, Keyring, PacketCodec, RawAddr, SeqNo, StreamCodec, Vsn,
        limits::META_BYTES_MAX,
    },
};

/// One node's membership engine.
pub struct Swim {
    pub(super) config: Config,
    pub(super) rng: Rng,
    pub(super) codec: PacketCodec,
    pub(super) table: Table,
    pub(super) timers: Timers<Timer>,
    pub(super) outputs: VecDeque<Output>,
    pub(super) done: VecDeque<Done>,
    pub(super) queue: BroadcastQueue,
    pub(super) handoff: Handoff,
    /// Buffers for packets.
    pub(super) spare: Vec<Vec<u8>>,
    pub(super) awareness: Awareness,
    pub(super) suspicions: BTreeMap<u32, Suspicion>,
    /// Pings in flight on behalf of peers.
    pub(super) relayed: BTreeMap<SeqNo, Relay>,
    pub(super) relays: Relays,
    pub(super) probes: Probes,
    pub(super) streams: BTreeMap<StreamId, Stream>,
    pub(super) inbound_push_pulls: usize,
    /// States of peers that are still being merged.
    pub(super) merges: VecDeque<Merge>,
    pub(super) answers: Answers,
    pub(super) me: u32,
    pub(super) vsn: Vsn,
    pub(super) incarnation: Incarnation,
    pub(super) kept_incarnation: Incarnation,
    pub(super) growth: Growth,
    /// Slots of nodes to be asked about claims.
    pub(super) checks: BTreeSet<u32>,
    pub(super) next_check: Instant,
    /// Protection of the current datagram.
    pub(super) seal: Seal,
    pub(super) seq_no: u32,
    pub(super) leaving: bool,
    pub(super) stats: Stats,
    pub(super) builder: PacketBuilder,
    /// Budget of the current datagram.
    pub(super) budget: Budget,
    pub(super) credit: Credit,
    pub(super) replays: ReplayFilter,
    pub(super) reach: Reach,
    pub(super) logs: Logs,
    next_stream: u64,
    next_op: u64,
}

impl Swim {
    /// Creates the node and adds it to its own table: `host` is notified of its own join. Go:
    /// `Create` and `setAlive`.
    ///
    /// # Errors
    /// An invalid configuration: protocol version, label, name, address or meta.
    pub fn build(config: Config, now: Instant, host: &mut dyn Host) -> Result<Self, Error> {
        let version = config.protocol_version;
        if !(PROTOCOL_MIN..=PROTOCOL_MAX).contains(&version) {
            let (min, max) = (PROTOCOL_MIN, PROTOCOL_MAX);
            return Err(ConfigError::Protocol { version, min, max }.into());
        }
        super::name::check_name(config.name.as_bytes()).map_err(|reason| {
            let name = config.name.to_string();
            let reason = format!("node name {name:?}: {reason}");
            ConfigError::InvalidName { name, reason }
        })?;
        let addr = RawAddr::from_wire(&config.advertise_addr)
            .filter(|addr| addr.ip().is_some())
            .ok_or(ConfigError::AdvertiseAddress)?;
        let meta = host.node_meta(META_BYTES_MAX);
        if meta.len() > META_BYTES_MAX {
            return Err(ConfigError::MetaTooLong.into());
        }

        let mut codec_config = config.codec.clone();
        codec_config.protocol_version = version;
        let label = || String::from_utf8_lossy(&config.codec.label).into_owned();
        let codec = PacketCodec::build(codec_config)
            .map_err(|_| ConfigError::LabelTooLong { label: label() })?;
        let mut rng = Rng::from_seed(config.seed);
        let hash_seed = rng.u64();
        let mut swim = Self {
            codec,
            table: Table::new(hash_seed).with_zones(config.zones),
            rng,
            timers: Timers::default(),
            outputs: VecDeque::new(),
            done: VecDeque::new(),
            queue: BroadcastQueue::default(),
            handoff: Handoff::new(config.handoff_queue_depth),
            spare: Vec::new(),
            awareness: Awareness::new(config.awareness_max_multiplier),
            suspicions: BTreeMap::new(),
            relayed: BTreeMap::new(),
            relays: Relays::new(hash_seed),
            probes: Probes::default(),
            streams: BTreeMap::new(),
            inbound_push_pulls: 0,
            merges: VecDeque::new(),
            answers: Answers::default(),
            me: 0,
            vsn: versions(&config),
            incarnation: config.incarnation_min,
            kept_incarnation: config.incarnation_min,
            growth: Growth::new(now),
            checks: BTreeSet::new(),
            next_check: now,
            seal: Seal::NoKeys,
            seq_no: config.seq_no_start.unwrap_or_else(|| random_start(config.seed)),
            leaving: false,
            stats: Stats::default(),
            builder: PacketBuilder::default(),
            budget: Budget::new(0),
            credit: Credit::default(),
            replays: ReplayFilter::new(hash_seed, now),
            reach: Reach::default(),
            logs: Logs::default(),
            next_stream: 1,
            next_op: 0,
            config,
        };
        swim.announce(now, addr.as_slice(), swim.config.advertise_port, &meta, None, host);
        swim.start_ticking(now);
        Ok(swim)
    }

    /// Fires all timers due at `now`. Call it at or after [`Swim::poll_timeout`], after draining
    /// the socket, so that answers which have already arrived count.
    pub fn handle_timeout(&mut self, now: Instant, host: &mut dyn Host) {
        self.handle_queued_alive(now, host);
        while let Some((at, timer)) = self.timers.pop_due(now) {
            match timer {
                Timer::ProbeTick => self.probe_tick(now, at, host),
                Timer::ProbeAck(seq_no) => self.probe_indirectly(now, seq_no, host),
                Timer::ProbeEnd(seq_no) => self.end_probe(now, seq_no, host),
                Timer::Relay(seq_no) => self.expire_relay(seq_no, host),
                Timer::Gossip => self.gossip_tick(now, host),
                Timer::PushPull => self.push_pull_tick(now, host),
                Timer::Suspicion(slot) => self.expire_suspicion(now, slot, host),
                Timer::Verify(slot) => self.verify(now, slot, host),
                Timer::Check => self.check(now, host),
                Timer::Reply(id) => self.forget_inbound(now, id),
                Timer::Merge => self.merge_next(now, host),
                Timer::Encode => self.encode_next(now, host),
            }
        }
        self.logs.report(now);
    }

    /// The next effect; the oldest first.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// The next completed operation; the oldest first.
    pub fn poll_done(&mut self) -> Option<Done> {
        self.done.pop_front()
    }

    /// When [`Swim::handle_timeout`] is to be called next.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.timers.next()
    }

    /// Stops probing, gossip and push/pull permanently. Running probes and exchanges complete,
    /// suspicions continue and messages are answered. For tests that drive the cycles themselves.
    /// Go: `deschedule`.
    #[cfg(any(test, feature = "sim"))]
    pub fn deschedule(&mut self) {
        self.timers
            .retain(|timer| !matches!(timer, Timer::ProbeTick | Timer::Gossip | Timer::PushPull));
    }

    /// Allocates the id of a stream that the driver is about to accept.
    pub fn accept_stream(&mut self) -> StreamId {
        let id = StreamId(self.next_stream | 1);
        self.next_stream += 2;
        id
    }

    /// Codec for streams opened or accepted from now on.
    pub fn stream_codec(&self) -> StreamCodec {
        self.codec.stream_codec()
    }

    /// Announces that we leave. Completes when the broadcast has reached its transmit limit, at
    /// once if no other node is alive; the caller limits the wait. From then on, messages about us
    /// are ignored; pings and push/pulls are still answered. Go: `Leave`.
    pub fn start_leave(&mut self, now: Instant, host: &mut dyn Host) -> OpId {
        let op = self.op();
        if std::mem::replace(&mut self.leaving, true) {
            self.done(op, Ok(()));
            return op;
        }
        let Some(row) = self.table.get(self.me) else { return op };
        let (name, incarnation) = (Arc::clone(&row.record.name), row.incarnation);
        let notify = self.has_live_others().then_some(op);
        self.dead(now, &name, incarnation, &name, notify, Source::Own, host);
        self.send_leave_to_few();
        if notify.is_none() {
            self.done(op, Ok(()));
        }
        op
    }

    /// Announces changed meta, which `host` provides. Completes like [`Swim::start_leave`]. Go:
    /// `UpdateNode`.
    pub fn start_update(&mut self, now: Instant, host: &mut dyn Host) -> OpId {
        let op = self.op();
        let meta = host.node_meta(META_BYTES_MAX);
        if meta.len() > META_BYTES_MAX {
            self.done(op, Err(ConfigError::MetaTooLong.into()));
            return op;
        }
        let Some(row) = self.table.get(self.me) else { return op };
        let (addr, port) = (row.record.addr, row.record.port);
        let notify = self.has_live_others().then_some(op);
        self.announce(now, addr.as_slice(), port, &meta, notify, host);
        if notify.is_none() {
            self.done(op, Ok(()));
        }
        op
    }

    /// Live peers that do not answer direct probes.
    #[cfg_attr(not(feature = "agent"), allow(dead_code))]
    pub(crate) fn troubles(&self) -> impl Iterator<Item = (&Arc<str>, Trouble)> {
        let lives = |name: &str| self.node(name).is_some_and(|node| node.state.is_live());
        self.reach.troubles().filter(move |(name, _)| lives(name))
    }

    /// The current keys.
    pub fn keyring(&self) -> &Keyring {
        &self.codec.config().keyring
    }

    /// Replaces the keys; open streams keep the old ones.
    pub fn set_keyring(&mut self, keyring: Keyring) {
        self.codec.set_keyring(keyring);
    }

    /// The local node.
    #[allow(clippy::missing_panics_doc, clippy::expect_used, reason = "the row is never removed")]
    pub fn local(&self) -> NodeView<'_> {
        self.table.get(self.me).expect("our own row is never removed").view()
    }

    /// A node by name.
    pub fn node(&self, name: &str) -> Option<NodeView<'_>> {
        self.table.get(self.table.find(name)?).map(|row| row.view())
    }

    /// Every node in the table, including ourselves and dead nodes, in arbitrary order.
    pub fn nodes(&self) -> impl Iterator<Item = NodeView<'_>> {
        self.table.rows().map(|row| row.view())
    }

    /// Nodes neither dead nor left, ourselves included. Go: `NumMembers`.
    pub fn member_count(&self) -> usize {
        self.table.live_len()
    }

    /// Nodes in the table, including dead and left ones: the `n` of every formula. Go:
    /// `estNumNodes`.
    pub fn node_count(&self) -> usize {
        self.table.len()
    }

    /// Health score, 0 is healthy. Go: `GetHealthScore`.
    pub fn health_score(&self) -> u32 {
        self.awareness.score()
    }

    /// The name of this node.
    pub fn name(&self) -> &Arc<str> {
        &self.config.name
    }

    /// Number of queued broadcasts. Go: `memberlist.queue.broadcasts`.
    pub fn queued_broadcasts(&self) -> usize {
        self.queue.len()
    }

    /// Queued broadcasts with their transmit counts, in the order they will be sent.
    pub fn broadcasts(&self) -> impl Iterator<Item = (u32, &[u8])> {
        self.queue.iter()
    }

    /// The current settings.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Number of listed nodes: alive, suspect, dead, left.
    pub fn state_counts(&self) -> [usize; 4] {
        self.table.state_counts()
    }

    /// Counters since the start.
    pub fn stats(&self) -> Stats {
        self.stats
    }

    /// Reports how long after a deadline the driver got to run. More than a probe timeout raises
    /// the health score and extends the running probe by that time, so that a starved or stopped
    /// process does not accuse other nodes.
    pub fn note_lateness(&mut self, now: Instant, late: Duration) {
        if late < self.config.probe_timeout || self.config.probe_timeout.is_zero() {
            return;
        }
        if self.config.lha_probe {
            self.awareness.apply(1);
        }
        self.extend_probe(now);
    }

    /// Whether any other node is alive or suspect.
    pub(super) fn has_live_others(&self) -> bool {
        let me_live = self.table.get(self.me).is_some_and(|row| row.state.is_live());
        self.table.live_len() > usize::from(me_live)
    }

    pub(super) fn op(&mut self) -> OpId {
        self.next_op += 1;
        OpId(self.next_op)
    }

    pub(super) fn done(&mut self, op: OpId, result: Result<(), Error>) {
        self.done.push_back(Done { op, result });
    }

    pub(super) fn open_stream(&mut self) -> StreamId {
        let id = StreamId(self.next_stream & !1);
        self.next_stream += 2;
        id
    }

    /// The next sequence number. The first is random, so that an attacker who does not see the ping
    /// cannot ack it.
    pub(super) fn next_seq_no(&mut self) -> SeqNo {
        self.seq_no = self.seq_no.wrapping_add(1);
        SeqNo(self.seq_no)
    }

    /// Announces a changed record of our own, with a higher incarnation.
    fn announce(
        &mut self,
        now: Instant,
        addr: &[u8],
        port: u16,
        meta: &[u8],
        notify: Option<OpId>,
        host: &mut dyn Host,
    ) {
        self.raise_to(Incarnation(self.incarnation.0.saturating_add(1)));
        let (name, vsn) = (Arc::clone(&self.config.name), self.vsn);
        let alive = Alive {
            incarnation: self.incarnation,
            node: name.as_bytes(),
            addr: addr.into(),
            port,
            meta: meta.into(),
            vsn: vsn.as_slice().into(),
        };
        self.alive(now, &alive, notify, Source::Own, host);
        if let Some(me) = self.table.find(&name) {
            self.me = me;
        }
    }

    /// Sets the first tick of each task at a random point of its period, so that nodes started
    /// together do not fire together. Go: `schedule`.
    fn start_ticking(&mut self, now: Instant) {
        let config = &self.config;
        let tasks = [
            (config.probe_interval, Duration::ZERO, Timer::ProbeTick),
            (config.gossip_interval, Duration::ZERO, Timer::Gossip),
            (config.push_pull_interval, config.push_pull_interval, Timer::PushPull),
        ];
        for (period, first, timer) in tasks {
            let off = timer == Timer::Gossip && self.config.gossip_nodes == 0;
            if !period.is_zero() && !off {
                let stagger = period.mul_f64(self.rng.unit());
                self.timers.set(now + first + stagger, timer);
            }
        }
    }

    /// The push/pull interval, scaled to the cluster's size.
    pub(super) fn push_pull_period(&self) -> Duration {
        push_pull_scale(self.config.push_pull_interval, self.table.len())
    }

    /// Returns `port`, or our bind port if it is zero or we speak protocol 1, as in Go.
    pub(super) fn fix_port(&self, port: u16) -> u16 {
        if port == 0 || self.config.protocol_version < 2 { self.config.bind_port } else { port }
    }
}

/// A random first sequence number, from a random stream separate from the engine's.
fn random_start(mut seed: [u8; 32]) -> u32 {
    seed.iter_mut().for_each(|byte| *byte ^= 0xa5);
    Rng::from_seed(seed).u32()
}

/// The versions that this node announces.
pub(super) fn versions(config: &Config) -> Vsn {
    let [delegate_min, delegate_max, delegate_now] = config.delegate_protocol;
    let version = config.protocol_version;
    Vsn([PROTOCOL_MIN, PROTOCOL_MAX, version, delegate_min, delegate_max, delegate_now])
}

/// Protocol versions that this implementation understands. Go: `ProtocolVersionMin`,
/// `ProtocolVersionMax`.
const PROTOCOL_MIN: u8 = 1;
const PROTOCOL_MAX: u8 = 5;
