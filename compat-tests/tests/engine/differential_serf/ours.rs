//! Our engine in virtual time, driven by the same steps as Go's serf.

use std::{
    collections::{BTreeMap, VecDeque},
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use compat_tests::go;
use ruserf::{
    base::{Instant, Rng},
    serf::{
        Completion, Config, Engine, Error, Event, KeyOp, Member, MergeDelegate, Message,
        MsgpackTransform, OldEvents, Output, Prune, QueryId, QueryParams, QueryUpdate,
        ReconnectDelegate, SerfState, SnapshotOp, TransformDelegate, UserEventSpec,
    },
    swim::{OpId, Output as SwimOutput, StreamId, StreamInput},
    wire::{self, CodecConfig, Keyring, PacketCodec, Role, StreamMessage},
};
use serde_json::{Value, json};

use super::{
    step::{Query, STRANGER, Step},
    view::{Sent, decode_stream},
};

/// One engine with what came out of it since the last look.
pub(crate) struct Ours {
    engine: Engine,
    now: Instant,
    merges: Merges,
    /// The snapshot file, if one is kept.
    snapshot: Option<String>,
    pub(crate) events: Vec<Value>,
    /// What in Go comes from goroutines of its own, in no order.
    pub(crate) progress: Vec<Value>,
    pub(crate) sent: Sent,
    reply: Option<Vec<u8>>,
    peers: BTreeMap<SocketAddr, Vec<u8>>,
    answer: Option<(String, Duration)>,
    nonces: Rng,
    /// Answers that are thought about.
    thinking: VecDeque<(Instant, QueryId, String)>,
    asked: BTreeMap<QueryId, String>,
    ops: BTreeMap<OpId, &'static str>,
    streams: VecDeque<(StreamId, StreamInput)>,
}

impl Ours {
    /// An engine with the options that Go's node has.
    pub(crate) fn start(options: &Value) -> Self {
        let now = Instant::ZERO + Duration::from_secs(1_000);
        let merges = Merges::default();
        let snapshot = options.get("snapshot_path").and_then(Value::as_str);
        let snapshot = snapshot.map(|path| std::fs::read_to_string(path).unwrap_or_default());
        let file = snapshot.as_deref().map(str::as_bytes);
        let engine = Engine::build(config(options, &merges), now, file).expect("the engine starts");
        let think = options["answer_ms"].as_u64().unwrap_or(0);
        let answer = options["answer"].as_str();
        let mut ours = Self {
            engine,
            now,
            snapshot,
            merges,
            events: Vec::new(),
            progress: Vec::new(),
            sent: Sent::default(),
            reply: None,
            peers: BTreeMap::new(),
            answer: answer.map(|text| (text.to_owned(), Duration::from_millis(think))),
            nonces: Rng::from_u64(1),
            thinking: VecDeque::new(),
            asked: BTreeMap::new(),
            ops: BTreeMap::new(),
            streams: VecDeque::new(),
        };
        ours.drain();
        ours
    }

    pub(crate) fn engine(&self) -> &Engine {
        &self.engine
    }

    /// The snapshot file as it is now.
    pub(crate) fn snapshot(&self) -> &str {
        self.snapshot.as_deref().expect("a snapshot is kept")
    }

    /// A datagram, of a stranger unless it answers a query.
    pub(crate) fn packet(&mut self, bytes: &[u8]) {
        self.packet_from(sender(bytes), bytes);
    }

    /// A datagram of somebody.
    pub(crate) fn packet_from(&mut self, from: SocketAddr, bytes: &[u8]) {
        let sealed = self.seal(bytes);
        self.engine.handle_packet(self.now, from, &sealed);
        self.engine.handle_queued(self.now);
        self.drain();
    }

    /// Under our key, if there is one: what comes in clear has no say about keys.
    fn seal(&mut self, bytes: &[u8]) -> Vec<u8> {
        let config = CodecConfig {
            keyring: self.engine.keyring().clone(),
            verify_outgoing: true,
            protocol_version: 2,
            ..CodecConfig::default()
        };
        let mut codec = PacketCodec::build(config).expect("no label");
        let mut sealed = Vec::new();
        codec.seal(&mut self.nonces, bytes, false, &mut sealed);
        sealed
    }

    /// A peer dials, writes these bytes and reads our answer.
    pub(crate) fn stream(&mut self, bytes: &[u8]) -> Vec<u8> {
        let id = self.engine.accept_stream();
        let from = STRANGER.parse().expect("an address");
        self.engine.handle_stream(self.now, id, StreamInput::Accepted { from });
        let input = match decode_stream(bytes, Role::Acceptor) {
            Some(state) => StreamInput::Message(StreamMessage::PushPull(state)),
            None => StreamInput::Failed { connected: true, error: "no message".to_owned() },
        };
        self.engine.handle_stream(self.now, id, input);
        self.drain();
        self.reply.take().unwrap_or_default()
    }

    /// Does a step; gives the error of a call that failed at once.
    pub(crate) fn apply(&mut self, step: &Step) -> Option<String> {
        let now = self.now;
        let result = match step {
            Step::Packet(bytes) => {
                self.packet(bytes);
                Ok(())
            }
            Step::Stream(bytes) => {
                self.stream(bytes);
                Ok(())
            }
            Step::Advance(ms) => {
                self.advance(Duration::from_millis(*ms));
                Ok(())
            }
            Step::Event { name, payload, coalesce } => {
                let event = UserEventSpec::new(name, Bytes::copy_from_slice(payload));
                self.engine.user_event(now, &event.coalesce(*coalesce))
            }
            Step::Query(query) => self.ask(query),
            Step::Reply { .. } => unreachable!("a reply is a packet with the side's own query id"),
            Step::SetTags(tags) => {
                let op = self.engine.start_set_tags(now, tags.clone());
                self.later("set-tags", op);
                Ok(())
            }
            Step::ForceLeave { name, prune } => {
                let prune = if *prune { Prune::Yes } else { Prune::No };
                let op = self.engine.start_force_leave(now, name, prune);
                self.later("force-leave", Ok(op));
                Ok(())
            }
            Step::Leave => {
                let op = self.engine.start_leave(now);
                self.later("leave", op);
                Ok(())
            }
            Step::Join { to, ignore_old } => {
                let entries: Vec<_> = to.iter().map(SocketAddr::to_string).collect();
                let old = if *ignore_old { OldEvents::Ignore } else { OldEvents::Deliver };
                let op = self.engine.start_join(now, &entries, old);
                self.later("join", op);
                Ok(())
            }
            Step::Peer { addr, reply } => {
                self.peers.insert(*addr, reply.clone());
                Ok(())
            }
            Step::Keys { op, key } => {
                let key_op = match *op {
                    "install-key" => KeyOp::Install(key.clone()),
                    "use-key" => KeyOp::Use(key.clone()),
                    "remove-key" => KeyOp::Remove(key.clone()),
                    _ => KeyOp::List,
                };
                let started = self.engine.start_key_op(now, &key_op, 0);
                self.later(op, started);
                Ok(())
            }
        };
        self.drain();
        // What is due at once, Go's timers do at once.
        self.advance(Duration::ZERO);
        result.err().map(|error| error.go_text())
    }

    fn ask(&mut self, query: &Query) -> Result<(), Error> {
        let mut params = QueryParams::default();
        params.filter_nodes.clone_from(&query.nodes);
        params.filter_tags.clone_from(&query.tags);
        params.request_ack = query.ack;
        params.relay_factor = query.relay_factor;
        params.timeout = Duration::from_millis(query.ms);
        let payload = Bytes::copy_from_slice(&query.payload);
        let id = self.engine.query(self.now, &query.name, payload, &params)?;
        self.asked.insert(id, query.name.clone());
        Ok(())
    }

    /// Notes how an operation is called that ends later, or has failed.
    fn later(&mut self, step: &'static str, op: Result<OpId, Error>) {
        match op {
            Ok(op) => {
                self.ops.insert(op, step);
            }
            Err(error) => {
                let error = error.go_text();
                self.progress.push(json!({"event": "done", "step": step, "error": error}));
            }
        }
    }

    fn advance(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            let answer = self.thinking.front().map(|(at, ..)| *at);
            let next = [self.engine.poll_timeout(), answer].into_iter().flatten().min();
            let Some(next) = next.filter(|next| *next <= end) else { break };
            self.now = self.now.max(next);
            self.engine.handle_timeout(self.now);
            self.drain();
            while self.thinking.front().is_some_and(|(at, ..)| *at <= self.now) {
                let (_, id, name) = self.thinking.pop_front().expect("there is one");
                self.respond(id, &name);
                self.drain();
            }
        }
        self.now = end;
    }

    fn respond(&mut self, id: QueryId, name: &str) {
        let (text, _) = self.answer.clone().expect("only a node with an answer answers");
        let mut seen = json!({"event": "answered", "name": name});
        if let Err(error) = self.engine.respond(self.now, id, text.as_bytes()) {
            seen["error"] = json!(error.go_text());
        }
        self.progress.push(seen);
    }

    fn drain(&mut self) {
        self.progress.append(&mut self.merges.lock().expect("no panic under the lock"));
        loop {
            if let Some(output) = self.engine.poll_output() {
                self.note(output);
            } else if let Some((id, input)) = self.streams.pop_front() {
                self.engine.handle_stream(self.now, id, input);
            } else {
                break;
            }
        }
    }

    fn note(&mut self, output: Output) {
        match output {
            Output::Swim(SwimOutput::Packet { to, data }) => {
                self.sent.packets.push((to.to_string(), data));
            }
            Output::Swim(SwimOutput::Open { id, to, message, .. }) => {
                let input = match self.peers.get(&to) {
                    Some(reply) => {
                        let state = decode_stream(reply, Role::Dialer).expect("a push/pull");
                        StreamInput::Message(StreamMessage::PushPull(state))
                    }
                    None => {
                        let error = "no such node".to_owned();
                        StreamInput::Failed { connected: false, error }
                    }
                };
                if self.peers.contains_key(&to) {
                    self.sent.dialled.push((to.to_string(), message.to_vec()));
                }
                self.streams.push_back((id, input));
            }
            Output::Swim(SwimOutput::Reply { id, message, .. }) => {
                self.reply = Some(message.to_vec());
                self.streams.push_back((id, StreamInput::Sent));
            }
            Output::Swim(SwimOutput::Close { .. }) => {}
            Output::Event(event) => self.note_event(&event),
            Output::Query { id, update } => self.note_update(id, update),
            Output::Done { op, result } => self.note_done(op, result),
            Output::Snapshot(op) => {
                let Some(file) = &mut self.snapshot else { return };
                match op {
                    SnapshotOp::Append(lines) => file.push_str(&lines),
                    SnapshotOp::Replace(lines) => *file = lines,
                    SnapshotOp::Sync => {}
                }
            }
            Output::Resolve { .. } => unreachable!("addresses are joined"),
            Output::KeyringChanged { .. } => {}
            Output::ShutDown => self.engine.shut_down(self.now),
        }
    }

    fn note_event(&mut self, event: &Event) {
        self.events.push(match event {
            Event::Member(event) => json!({
                "event": event.kind.to_string(),
                "members": event.members.iter().map(|m| show_member(m)).collect::<Vec<_>>(),
            }),
            Event::User(event) => json!({
                "event": "user", "ltime": event.ltime.0, "name": *event.name,
                "payload": go::base64(&event.payload), "coalesce": event.coalesce,
            }),
            Event::Query(query) => json!({
                "event": "query", "ltime": query.id.ltime.0, "name": *query.name,
                "payload": go::base64(&query.payload), "source": *query.source_node,
                "remaining_ms": millis(query.deadline.since(self.now)),
            }),
            other => unreachable!("{other:?}"),
        });
        if let (Event::Query(query), Some((_, think))) = (event, &self.answer) {
            if think.is_zero() {
                self.respond(query.id, &query.name);
            } else {
                self.thinking.push_back((self.now + *think, query.id, query.name.to_string()));
            }
        }
    }

    fn note_update(&mut self, id: QueryId, update: QueryUpdate) {
        self.progress.push(match update {
            QueryUpdate::Ack { from } => json!({"event": "query-ack", "from": *from}),
            QueryUpdate::Response { from, payload } => json!({
                "event": "query-response", "from": *from, "payload": go::base64(&payload),
            }),
            _ => json!({"event": "query-done", "name": self.asked[&id]}),
        });
    }

    fn note_done(&mut self, op: OpId, result: Result<Completion, Error>) {
        let Some(step) = self.ops.remove(&op) else { return };
        let mut seen = json!({"event": "done", "step": step});
        match result {
            Ok(Completion::Joined { contacted: 0 }) | Err(Error::Join(_)) => {
                seen["error"] = json!(true);
            }
            Ok(Completion::Keys { response, error }) => {
                seen = json!({
                    "event": "keys", "step": step, "messages": response.messages,
                    "keys": response.keys, "primary_keys": response.primary_keys,
                    "num_nodes": response.num_nodes, "num_resp": response.num_resp,
                    "num_err": response.num_err,
                });
                if let Some(error) = error {
                    seen["error"] = json!(error);
                }
            }
            Ok(_) => {}
            Err(error) => seen["error"] = json!(error.go_text()),
        }
        self.progress.push(seen);
    }

    /// Go's name for the state of the node's life.
    pub(crate) fn state(&self) -> &'static str {
        match self.engine.state() {
            SerfState::Alive => "alive",
            SerfState::Leaving => "leaving",
            SerfState::Left => "left",
            SerfState::Shutdown => "shutdown",
        }
    }
}

type Merges = Arc<Mutex<Vec<Value>>>;

/// Reports each merge and allows or rejects it, as the Go harness does.
struct Merge {
    rejects: Option<String>,
    seen: Merges,
}

impl MergeDelegate for Merge {
    fn check_merge(&self, members: &[Member]) -> Result<(), String> {
        let members = members.iter().map(show_member).collect::<Vec<_>>();
        let mut seen = self.seen.lock().expect("no panic under the lock");
        seen.push(json!({"event": "merge", "members": members}));
        self.rejects.clone().map_or(Ok(()), Err)
    }
}

/// Milliseconds by name.
struct Overrides(BTreeMap<String, u64>);

impl ReconnectDelegate for Overrides {
    fn reconnect_timeout(&self, member: &Member, timeout: Duration) -> Duration {
        self.0.get(&*member.name).map_or(timeout, |ms| Duration::from_millis(*ms))
    }
}

/// A member as the Go harness shows it.
pub(crate) fn show_member(member: &Member) -> Value {
    let [protocol_min, protocol_max, protocol_cur, delegate_min, delegate_max, delegate_cur] =
        member.vsn.0;
    json!({
        "name": *member.name, "port": member.port, "status": member.status.to_string(),
        "addr": member.addr().map(|addr| addr.ip().to_string()),
        "addr_len": member.addr.len(), "tags": member.tags.iter().collect::<BTreeMap<_, _>>(),
        "protocol_min": protocol_min, "protocol_max": protocol_max, "protocol_cur": protocol_cur,
        "delegate_min": delegate_min, "delegate_max": delegate_max, "delegate_cur": delegate_cur,
    })
}

/// Who sends a datagram: an answer comes from its member, as only then it counts in a vote.
fn sender(datagram: &[u8]) -> SocketAddr {
    let stranger = STRANGER.parse().expect("an address");
    let Ok(wire::Message::User(raw)) = wire::Message::decode(datagram) else { return stranger };
    let Ok(Message::QueryResponse(answer)) = MsgpackTransform.decode_message(raw) else {
        return stranger;
    };
    let name = String::from_utf8_lossy(answer.from);
    let number = name.strip_prefix('n').and_then(|number| number.parse::<u8>().ok());
    let addr = |number: u8| SocketAddr::from(([10, 0, 0, 10_u8.wrapping_add(number)], 7946));
    number.map_or(stranger, addr)
}

/// Our configuration for Go's options; an option that is not known here is a mistake.
fn config(options: &Value, merges: &Merges) -> Config {
    let mut config = Config::lan("self");
    let swim = &mut config.swim;
    swim.advertise_addr = vec![10, 0, 0, 1];
    swim.advertise_port = 7946;
    swim.codec.compression = false.into();
    swim.direct_notices_max = 0;
    swim.codec.verify_incoming = false;
    swim.codec.verify_outgoing = false;
    // Nothing happens by itself, as in Go once it is descheduled.
    swim.probe_interval = Duration::ZERO;
    swim.push_pull_interval = Duration::ZERO;
    swim.gossip_nodes = 0;
    for (name, value) in options.as_object().expect("an object") {
        let number = value.as_u64().unwrap_or_default();
        let size = usize::try_from(number).expect("a size");
        let time = Duration::from_millis(number);
        match name.as_str() {
            "name" | "compression" | "verify_incoming" | "verify_outgoing" | "answer"
            | "answer_ms" | "snapshot_path" => {}
            "disable_coordinates" => config.disable_coordinates = value == &json!(true),
            "validate_node_names" => config.validate_node_names = value == &json!(true),
            "merge" => {
                let rejects = value.as_str().and_then(|text| text.strip_prefix("reject:"));
                config.delegates.merge = Some(Arc::new(Merge {
                    rejects: rejects.map(str::to_owned),
                    seen: Arc::clone(merges),
                }));
            }
            "reconnect_timeout_overrides_ms" => {
                let overrides = serde_json::from_value(value.clone()).expect("milliseconds");
                config.delegates.reconnect = Some(Arc::new(Overrides(overrides)));
            }
            "rejoin_after_leave" => config.rejoin_after_leave = value == &json!(true),
            "tags" => config.tags = serde_json::from_value(value.clone()).expect("tags"),
            "keyring" => config.swim.codec.keyring = keyring(value),
            "retransmit_mult" => {
                config.swim.retransmit_mult = u32::try_from(number).expect("small")
            }
            "udp_buffer_size" => config.swim.udp_buffer_size = size,
            "protocol" => config.protocol_version = u8::try_from(number).expect("small"),
            "disable_name_resolution" => {
                config.enable_name_conflict_resolution = value == &json!(false);
            }
            "user_event_size_limit" => config.user_event_size_limit = size,
            "query_size_limit" => config.query_size_limit = size,
            "query_response_size_limit" => config.query_response_size_limit = size,
            "event_buffer" => config.event_buffer = size,
            "query_buffer" => config.query_buffer = size,
            "max_queue_depth" => config.queue_depth_max = size,
            "min_queue_depth" => config.queue_depth_min = size,
            "coalesce_period_ms" => config.coalesce_period = time,
            "quiescent_period_ms" => config.quiescent_period = time,
            "user_coalesce_period_ms" => config.user_coalesce_period = time,
            "user_quiescent_period_ms" => config.user_quiescent_period = time,
            "reap_interval_ms" => config.reap_interval = time,
            "reconnect_interval_ms" => config.reconnect_interval = time,
            "reconnect_timeout_ms" => config.reconnect_timeout = time,
            "tombstone_timeout_ms" => config.tombstone_timeout = time,
            "flap_timeout_ms" => config.flap_timeout = time,
            "recent_intent_timeout_ms" => config.recent_intent_timeout = time,
            "broadcast_timeout_ms" => config.broadcast_timeout = time,
            "leave_propagate_delay_ms" => config.leave_propagate_delay = time,
            "serf_queue_check_interval_ms" => config.queue_check_interval = time,
            other => panic!("the option {other} is not known here"),
        }
    }
    config
}

fn keyring(value: &Value) -> Keyring {
    let keys: Vec<_> = value.as_array().expect("keys").iter().map(go::bytes).collect();
    Keyring::build(&keys, &keys[0]).expect("keys")
}

pub(crate) fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).expect("a short time")
}
