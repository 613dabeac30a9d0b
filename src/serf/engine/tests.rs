//! Whole engines on a virtual clock and network.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BinaryHeap},
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};

use super::Engine;
use crate::{
    base::{Instant, Rng},
    serf::{
        Completion, Config, Error, Event, KeyOp, KeyResponse, Member, Message, OldEvents, Output,
        Prune, QueryId, QueryParams, QueryUpdate, SerfState, SnapshotOp, UserEventSpec, message,
    },
    swim::{self, OpId, StreamId, StreamInput},
    wire::{Keyring, Role, StreamDecoder},
};

mod join;
mod large;

/// Engines on a network with a delay of a millisecond.
struct Net {
    nodes: Vec<Node>,
    now: Instant,
    /// Datagrams and stream data in flight: time, order, index.
    travelling: BinaryHeap<std::cmp::Reverse<(Instant, u64, usize)>>,
    cargo: Vec<Option<Cargo>>,
    order: u64,
    /// The nodes of one side of a partition.
    split: Vec<usize>,
    rng: RefCell<Rng>,
}

struct Node {
    engine: Engine,
    up: bool,
    events: Vec<String>,
    queries: Vec<String>,
    asked: Vec<QueryId>,
    done: BTreeMap<OpId, Result<Completion, Error>>,
    snapshot: String,
    /// Keyring changes to be stored.
    storing: Vec<OpId>,
    resolving: Vec<(OpId, String)>,
    shut: bool,
    /// The other end of accepted streams.
    accepted: BTreeMap<StreamId, (usize, StreamId)>,
}

enum Cargo {
    Packet { from: usize, to: usize, data: Vec<u8> },
    Request { from: usize, to: usize, id: StreamId, bytes: Vec<u8>, reply: bool },
    Reply { to: usize, id: StreamId, bytes: Vec<u8> },
    Failed { to: usize, id: StreamId },
}

impl Net {
    fn new(count: usize) -> Self {
        Self::with(count, |_, _| {})
    }

    fn with(count: usize, change: impl Fn(usize, &mut Config)) -> Self {
        let mut net = Self {
            nodes: Vec::new(),
            now: Instant::ZERO,
            travelling: BinaryHeap::new(),
            cargo: Vec::new(),
            order: 0,
            split: Vec::new(),
            rng: RefCell::new(Rng::from_u64(9)),
        };
        for at in 0..count {
            net.start(at, |config| change(at, config));
        }
        net
    }

    fn start(&mut self, at: usize, change: impl Fn(&mut Config)) {
        let mut config = Config::lan(&format!("n{at}"));
        config.protocol_version = 5;
        config.swim.advertise_addr = vec![10, 0, 0, at as u8];
        config.swim.seed = [at as u8 + 1; 32];
        change(&mut config);
        let old = self.nodes.get(at).map(|node| node.snapshot.clone());
        let snapshot = old.unwrap_or_default();
        let engine = Engine::build(config, self.now, Some(snapshot.as_bytes())).unwrap();
        let node = Node {
            engine,
            up: true,
            events: Vec::new(),
            queries: Vec::new(),
            asked: Vec::new(),
            done: BTreeMap::new(),
            snapshot,
            storing: Vec::new(),
            resolving: Vec::new(),
            shut: false,
            accepted: BTreeMap::new(),
        };
        if at < self.nodes.len() {
            self.nodes[at] = node;
        } else {
            self.nodes.push(node);
        }
        self.collect(at);
    }

    /// All nodes join through the first.
    fn joined(count: usize) -> Self {
        Self::joined_with(count, |_, _| {})
    }

    fn joined_with(count: usize, change: impl Fn(usize, &mut Config)) -> Self {
        let mut net = Self::with(count, change);
        for at in 1..count {
            assert!(net.join(at, 0));
        }
        net.run(Duration::from_secs(5));
        for node in &mut net.nodes {
            assert_eq!(node.engine.members().count(), count);
            node.events.clear();
        }
        net
    }

    fn join(&mut self, at: usize, to: usize) -> bool {
        let now = self.now;
        let entries = [addr_of(to).to_string()];
        let op = self.nodes[at].engine.start_join(now, &entries, OldEvents::Deliver).unwrap();
        self.collect(at);
        let deadline = now + Duration::from_secs(15);
        while self.now < deadline && !self.nodes[at].done.contains_key(&op) {
            self.run(Duration::from_millis(10));
        }
        let joined = matches!(self.nodes[at].done.remove(&op), Some(Ok(_)));
        joined
    }

    /// Calls an engine and performs its outputs.
    fn call<T>(&mut self, at: usize, call: impl FnOnce(&mut Engine, Instant) -> T) -> T {
        let result = call(&mut self.nodes[at].engine, self.now);
        self.collect(at);
        result
    }

    fn run(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            let arrival = self.travelling.peek().map(|entry| entry.0.0);
            let up = self.nodes.iter().enumerate().filter(|(_, node)| node.up);
            let wakes = up.filter_map(|(at, node)| Some((node.engine.poll_timeout()?, at)));
            let wake = wakes.min();
            let next = [arrival, wake.map(|(time, _)| time)].into_iter().flatten().min();
            let Some(next) = next.filter(|next| *next <= end) else { break };
            self.now = self.now.max(next);
            if arrival == Some(next) {
                self.deliver();
            } else if let Some((_, at)) = wake {
                self.nodes[at].engine.handle_timeout(self.now);
                self.collect(at);
            }
        }
        self.now = end;
    }

    fn deliver(&mut self) {
        let Some(std::cmp::Reverse((_, _, cargo))) = self.travelling.pop() else { return };
        let now = self.now;
        match self.cargo[cargo].take().unwrap() {
            Cargo::Packet { from, to, data } => {
                if self.reaches(from, to) {
                    let from = addr_of(from);
                    self.nodes[to].engine.handle_packet(now, from, &data);
                    self.nodes[to].engine.handle_queued(now);
                    self.collect(to);
                }
            }
            Cargo::Request { from, to, id, bytes, reply } => {
                if !self.reaches(from, to) {
                    self.send(Duration::from_secs(1), Cargo::Failed { to: from, id });
                    return;
                }
                let node = &mut self.nodes[to];
                let accepted = node.engine.accept_stream();
                node.accepted.insert(accepted, (from, id));
                let mut decoder = StreamDecoder::new(node.engine.stream_codec(), Role::Acceptor);
                let from_addr = addr_of(from);
                let input = StreamInput::Accepted { from: from_addr };
                node.engine.handle_stream(now, accepted, input);
                let input = match decoder.feed(&bytes) {
                    Ok(Some(message)) => StreamInput::Message(message),
                    Ok(None) => panic!("incomplete message"),
                    Err(error) => StreamInput::Broken(error),
                };
                node.engine.handle_stream(now, accepted, input);
                self.collect(to);
                if !reply {
                    self.nodes[from].engine.handle_stream(now, id, StreamInput::Sent);
                    self.collect(from);
                }
            }
            Cargo::Reply { to, id, bytes } => {
                let node = &mut self.nodes[to];
                let mut decoder = StreamDecoder::new(node.engine.stream_codec(), Role::Dialer);
                let input = match decoder.feed(&bytes) {
                    Ok(Some(message)) => StreamInput::Message(message),
                    Ok(None) => panic!("incomplete message"),
                    Err(error) => StreamInput::Broken(error),
                };
                node.engine.handle_stream(now, id, input);
                self.collect(to);
            }
            Cargo::Failed { to, id } => {
                let input = StreamInput::Failed { connected: false, error: "refused".into() };
                self.nodes[to].engine.handle_stream(now, id, input);
                self.collect(to);
            }
        }
    }

    fn reaches(&self, from: usize, to: usize) -> bool {
        let same_side = self.split.contains(&from) == self.split.contains(&to);
        same_side && self.nodes[from].up && self.nodes[to].up
    }

    fn send(&mut self, delay: Duration, cargo: Cargo) {
        self.order += 1;
        self.cargo.push(Some(cargo));
        let entry = (self.now + delay, self.order, self.cargo.len() - 1);
        self.travelling.push(std::cmp::Reverse(entry));
    }

    fn collect(&mut self, at: usize) {
        while let Some(output) = self.nodes[at].engine.poll_output() {
            let node = &mut self.nodes[at];
            match output {
                Output::Swim(output) => self.carry(at, output),
                Output::Event(Event::Member(event)) => {
                    for member in &event.members {
                        node.events.push(format!("{} {}", event.kind, member.name));
                    }
                }
                Output::Event(Event::User(event)) => {
                    node.events.push(format!("user {}", event.name));
                }
                Output::Event(Event::Query(query)) => {
                    node.events.push(format!("query {}", query.name));
                    node.asked.push(query.id);
                }
                Output::Query { update, .. } => node.queries.push(match update {
                    QueryUpdate::Ack { from } => format!("ack {from}"),
                    QueryUpdate::Response { from, .. } => format!("answer {from}"),
                    QueryUpdate::Finished { missing } => format!("missing {}", missing.len()),
                }),
                Output::Done { op, result } => {
                    node.done.insert(op, result);
                }
                Output::Snapshot(SnapshotOp::Append(lines)) => node.snapshot.push_str(&lines),
                Output::Snapshot(SnapshotOp::Replace(lines)) => node.snapshot = lines,
                Output::Snapshot(SnapshotOp::Sync) => {}
                Output::KeyringChanged { op } => node.storing.push(op),
                Output::Resolve { op, host } => node.resolving.push((op, host)),
                Output::ShutDown => node.shut = true,
            }
        }
    }

    fn carry(&mut self, from: usize, output: swim::Output) {
        let hop = Duration::from_millis(1);
        let index = |to: SocketAddr| match to.ip() {
            std::net::IpAddr::V4(ip) => usize::from(ip.octets()[3]),
            std::net::IpAddr::V6(_) => panic!("v4 only"),
        };
        let seal = |net: &Self, role, message: &[u8]| {
            let mut bytes = Vec::new();
            let codec = net.nodes[from].engine.stream_codec();
            codec.seal(&mut net.rng.borrow_mut(), role, message, &mut bytes);
            bytes
        };
        match output {
            swim::Output::Packet { to, data } => {
                self.send(hop, Cargo::Packet { from, to: index(to), data });
            }
            swim::Output::Open { id, to, message, reply, .. } => {
                let bytes = seal(self, Role::Dialer, &message);
                self.send(hop, Cargo::Request { from, to: index(to), id, bytes, reply });
            }
            swim::Output::Reply { id, message, .. } => {
                let bytes = seal(self, Role::Acceptor, &message);
                if let Some((to, id)) = self.nodes[from].accepted.remove(&id) {
                    self.send(hop, Cargo::Reply { to, id, bytes });
                }
                let now = self.now;
                self.nodes[from].engine.handle_stream(now, id, StreamInput::Sent);
            }
            swim::Output::Close { id } => {
                if let Some((to, id)) = self.nodes[from].accepted.remove(&id) {
                    self.send(hop, Cargo::Failed { to, id });
                }
            }
        }
    }

    fn kill(&mut self, at: usize) {
        self.nodes[at].up = false;
    }

    /// The other members as seen by `at`.
    fn view(&self, at: usize) -> Vec<String> {
        let members = self.nodes[at].engine.members();
        members.map(|member| format!("{} {}", member.name, member.status)).collect()
    }

    fn done(&mut self, at: usize, op: OpId) -> Option<Result<Completion, Error>> {
        self.nodes[at].done.remove(&op)
    }
}

fn addr_of(at: usize) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, at as u8], 7946))
}

fn all_alive(count: usize) -> Vec<String> {
    (0..count).map(|n| format!("n{n} alive")).collect()
}

#[test]
fn cluster_forms_and_events_reach_everybody_once() {
    let mut net = Net::joined(5);
    net.call(2, |engine, now| engine.user_event(now, &UserEventSpec::new("deploy", "v1"))).unwrap();
    net.run(Duration::from_secs(5));
    for at in 0..5 {
        assert_eq!(net.view(at), all_alive(5));
        assert_eq!(net.nodes[at].events, ["user deploy"]);
    }
}

#[test]
fn query_is_acked_and_answered_through_relays() {
    let mut net = Net::joined(4);
    let params = QueryParams { request_ack: true, relay_factor: 1, ..QueryParams::default() };
    let id = net.call(0, |engine, now| engine.query(now, "uptime", "".into(), &params)).unwrap();
    net.run(Duration::from_millis(1500));
    for at in 1..4 {
        assert_eq!(net.nodes[at].asked, [id]);
        net.call(at, |engine, now| engine.respond(now, id, b"yes")).unwrap();
    }
    net.run(Duration::from_secs(10));
    let mut heard = std::mem::take(&mut net.nodes[0].queries);
    assert_eq!(heard.pop().as_deref(), Some("missing 0"));
    heard.sort();
    assert_eq!(
        heard,
        ["ack n0", "ack n1", "ack n2", "ack n3", "answer n1", "answer n2", "answer n3"]
    );
}

#[test]
fn graceful_leave_is_left_and_a_crash_is_failed() {
    let mut net = Net::joined(4);
    let op = net.call(3, Engine::start_leave).unwrap();
    assert_eq!(net.call(3, Engine::start_leave), Err(Error::Leaving));
    net.run(Duration::from_secs(12));
    assert_eq!(net.done(3, op), Some(Ok(Completion::Done)));
    assert_eq!(net.nodes[3].engine.state(), SerfState::Left);
    net.call(3, Engine::shut_down);
    net.kill(3);
    net.kill(2);
    net.run(Duration::from_secs(40));
    for at in 0..2 {
        assert_eq!(net.view(at), ["n0 alive", "n1 alive", "n2 failed", "n3 left"]);
        assert_eq!(net.nodes[at].events, ["member-leave n3", "member-failed n2"]);
    }
    assert!(net.nodes[3].snapshot.contains("\nleave\n"));
    let op = net.call(0, |engine, now| engine.start_force_leave(now, "n2", Prune::Yes));
    net.run(Duration::from_secs(6));
    assert_eq!(net.done(0, op), Some(Ok(Completion::Done)));
    for at in 0..2 {
        assert_eq!(net.view(at), ["n0 alive", "n1 alive", "n3 left"]);
    }
}

#[test]
fn pruned_living_node_comes_back_everywhere() {
    let mut net = Net::joined(4);
    net.call(0, |engine, now| engine.start_force_leave(now, "n2", Prune::Yes));
    net.run(Duration::from_secs(20));
    for at in 0..4 {
        assert_eq!(net.view(at), all_alive(4), "at {at}");
    }
}

#[test]
fn tags_reach_everybody() {
    let mut net = Net::joined(3);
    let tags = BTreeMap::from([("role".to_owned(), "db".to_owned())]);
    let op = net.call(1, |engine, now| engine.start_set_tags(now, tags)).unwrap();
    net.run(Duration::from_secs(5));
    assert_eq!(net.done(1, op), Some(Ok(Completion::Done)));
    for node in &net.nodes {
        assert_eq!(node.engine.member("n1").unwrap().tags.get("role"), Some("db"));
        assert_eq!(node.events, ["member-update n1"]);
    }
    let long = BTreeMap::from([("role".to_owned(), "x".repeat(600))]);
    let error = net.call(1, |engine, now| engine.start_set_tags(now, long)).unwrap_err();
    assert_eq!(error.to_string(), "Encoded length of tags exceeds limit of 512 bytes");
    assert_eq!(net.nodes[1].engine.local_member().tags.get("role"), Some("db"));
}

#[test]
fn keys_are_rotated_under_encryption() {
    let old = Keyring::build(&[], &[1; 32]).unwrap();
    let mut net = Net::joined_with(3, |_, config| config.swim.codec.keyring = old.clone());
    let key = base64::Engine::encode(&base64::prelude::BASE64_STANDARD, [2; 32]);
    let first = base64::Engine::encode(&base64::prelude::BASE64_STANDARD, [1; 32]);
    for op in [KeyOp::Install(key.clone()), KeyOp::Use(key), KeyOp::Remove(first)] {
        let id = net.call(0, |engine, now| engine.start_key_op(now, &op, 0)).unwrap();
        net.run(Duration::from_secs(6));
        let Some(Ok(Completion::Keys { response, error })) = net.done(0, id) else {
            panic!("{op:?} does not end");
        };
        assert_eq!((error, response.num_resp), (None, 3), "{op:?}");
    }
    net.run(Duration::from_secs(40));
    for (at, node) in net.nodes.iter().enumerate() {
        assert_eq!(node.engine.keyring().keys().collect::<Vec<_>>(), [[2; 32]]);
        assert_eq!(node.storing.len(), 3);
        assert_eq!(net.view(at), all_alive(3));
    }
}

/// Two nodes, of which the second has a keyring file: the result of an install if the write ends
/// with `stored` after 500 ms.
fn install_with(stored: Option<Result<(), String>>) -> (KeyResponse, Option<String>) {
    let old = Keyring::build(&[], &[1; 32]).unwrap();
    let mut net = Net::joined_with(2, |at, config| {
        config.swim.codec.keyring = old.clone();
        config.keyring_stored = at == 1;
    });
    let key = base64::Engine::encode(&base64::prelude::BASE64_STANDARD, [2; 32]);
    let op = KeyOp::Install(key);
    let id = net.call(0, |engine, now| engine.start_key_op(now, &op, 0)).unwrap();
    net.run(Duration::from_millis(500));
    assert_eq!(net.done(0, id), None, "the file is not written yet");
    assert_eq!(net.nodes[1].engine.keyring().keys().count(), 2, "the key is in force, as in Go");
    if let Some(stored) = stored {
        let op = net.nodes[1].storing[0];
        net.call(1, |engine, now| engine.handle_keyring_stored(now, op, stored));
        net.run(Duration::from_millis(100));
    } else {
        net.run(Duration::from_secs(3));
    }
    let Some(Ok(Completion::Keys { response, error })) = net.done(0, id) else {
        panic!("it does not end");
    };
    (response, error)
}

#[test]
fn a_key_request_is_answered_after_its_key_is_on_the_disk() {
    let (response, error) = install_with(Some(Ok(())));
    assert_eq!((response.num_resp, error), (2, None));
}

#[test]
fn a_key_that_is_not_written_is_a_failure_in_go_s_words() {
    let text = "Failed to write keyring file: open /k: permission denied";
    let (response, error) = install_with(Some(Err(text.to_owned())));
    assert_eq!(error.as_deref(), Some("1/2 nodes reported failure"));
    assert_eq!(response.messages.into_iter().collect::<Vec<_>>(), [("n1".into(), text.into())]);
    // A path may be longer than an answer.
    let (response, _) = install_with(Some(Err("ü".repeat(4_000))));
    assert_eq!(response.messages["n1"], "ü".repeat(256));
}

#[test]
fn a_disk_that_hangs_is_a_failure_in_time() {
    let (response, error) = install_with(None);
    assert_eq!(error.as_deref(), Some("1/2 nodes reported failure"));
    assert_eq!(response.messages["n1"], "Failed to write keyring file: it takes too long");
}

#[test]
fn partition_that_outlasts_the_reconnect_timeout_heals() {
    let hour = Duration::from_secs(3600);
    let mut net = Net::joined_with(4, |_, config| config.reconnect_timeout = hour);
    net.split = vec![2, 3];
    net.run(hour + hour / 2);
    for at in 0..4 {
        assert_eq!(net.view(at).len(), 2, "the others are reaped");
    }
    net.split.clear();
    // Each tries one of the others every 30 s, at random.
    for _ in 0..20 {
        net.run(Duration::from_secs(30));
        if (0..4).all(|at| net.view(at) == all_alive(4)) {
            return;
        }
    }
    let views: Vec<_> = (0..4).map(|at| net.view(at)).collect();
    panic!("not healed: {views:?}");
}

#[test]
fn lonely_node_rejoins_its_seed() {
    let mut net = Net::joined(2);
    net.split = vec![1];
    net.run(Duration::from_secs(60));
    net.call(1, |engine, now| engine.start_force_leave(now, "n0", Prune::Yes));
    net.call(0, |engine, now| engine.start_force_leave(now, "n1", Prune::Yes));
    net.run(Duration::from_secs(60));
    assert_eq!(net.view(1), ["n1 alive"]);
    net.split.clear();
    net.run(Duration::from_secs(60));
    for at in 0..2 {
        assert_eq!(net.view(at), all_alive(2), "at {at}");
    }
}

#[test]
fn restarted_node_finds_its_peers_and_stays_above_its_incarnation() {
    let mut net = Net::joined(3);
    let tags = BTreeMap::from([("x".to_owned(), "y".to_owned())]);
    net.call(2, |engine, now| engine.start_set_tags(now, tags)).unwrap();
    net.run(Duration::from_secs(5));
    let before = net.nodes[2].engine.swim.local().incarnation;
    net.kill(2);
    net.run(Duration::from_secs(30));
    net.start(2, |_| {});
    assert!(net.nodes[2].engine.swim.local().incarnation > before);
    net.call(2, |engine, now| engine.start_rejoin(now));
    net.run(Duration::from_secs(10));
    for at in 0..3 {
        assert_eq!(net.view(at), all_alive(3));
    }
}

#[test]
fn merge_delegate_vetoes_a_join() {
    struct Nobody;
    impl crate::serf::MergeDelegate for Nobody {
        fn check_merge(&self, members: &[Member]) -> Result<(), String> {
            // A single member comes from an alive message, including our own.
            if members.len() > 1 { Err("nobody may join".into()) } else { Ok(()) }
        }
    }
    let mut net = Net::with(3, |at, config| {
        if at == 0 {
            config.delegates.merge = Some(Arc::new(Nobody));
        }
    });
    assert!(net.join(2, 1));
    net.run(Duration::from_secs(1));
    assert!(!net.join(0, 1), "two rows are vetoed");
    assert_eq!(net.view(0), ["n0 alive"]);
}

#[test]
fn stats_have_go_s_keys() {
    let net = Net::new(1);
    let stats = net.nodes[0].engine.stats();
    let expected = [
        ("coordinate_resets", "0"),
        ("encrypted", "false"),
        ("event_queue", "0"),
        ("event_time", "1"),
        ("failed", "0"),
        ("health_score", "0"),
        ("intent_queue", "0"),
        ("left", "0"),
        ("member_time", "1"),
        ("members", "1"),
        ("query_queue", "0"),
        ("query_time", "1"),
    ];
    let stats: Vec<_> = stats.iter().map(|(key, value)| (*key, value.as_str())).collect();
    assert_eq!(stats, expected);
}

/// Goal: a caller is notified that its broadcast was dropped. Method: packets too small for it.
#[test]
fn a_leave_whose_intent_was_dropped_fails() {
    let mut net = Net::joined(3);
    net.nodes[2].engine.state.broadcasts.bytes_max = 10;
    let op = net.call(2, |engine, now| engine.start_force_leave(now, "n1", Prune::No));
    net.run(Duration::from_millis(1));
    let error = net.done(2, op).unwrap().unwrap_err().to_string();
    assert_eq!(error, "node removal was dropped before it was sent");
    let op = net.call(2, Engine::start_leave).unwrap();
    net.run(Duration::from_secs(12));
    let error = net.done(2, op).unwrap().unwrap_err().to_string();
    assert_eq!(error, "leave intent was dropped before it was sent");
    assert_eq!(net.nodes[2].engine.state(), SerfState::Left);
}

/// Goal: excess intents of peers do not delay a leave. Method: long ones on streams and ones that
/// fit a packet, before and during the leave.
#[test]
fn a_leave_amid_a_flood_of_intents_is_graceful() {
    use crate::swim::{Host as _, Origin, Seal};
    let origin = Origin { from: "10.9.9.9:7946".parse().unwrap(), seal: Seal::NoKeys };
    for size in [60_000, 240] {
        let mut net = Net::joined(3);
        let flood = |net: &mut Net, from: u32| {
            net.call(2, |engine, _| {
                for n in from..from + 2_500 {
                    let node = format!("{n}{}", "j".repeat(size));
                    let leave = message::Leave {
                        ltime: crate::serf::LamportTime(20),
                        node: node.as_bytes(),
                        prune: false,
                    };
                    let mut raw = Vec::new();
                    let transform = engine.state.cx.config.transform.clone();
                    transform.encode_message(&Message::Leave(leave), &mut raw);
                    engine.state.on_user_message(&raw, origin);
                }
                engine.settle();
            });
        };
        flood(&mut net, 0);
        let op = net.call(2, Engine::start_leave).unwrap();
        flood(&mut net, 10_000);
        net.run(Duration::from_secs(12));
        assert_eq!(net.done(2, op), Some(Ok(Completion::Done)));
        net.call(2, Engine::shut_down);
        net.kill(2);
        net.run(Duration::from_secs(20));
        for at in 0..2 {
            assert_eq!(net.view(at), ["n0 alive", "n1 alive", "n2 left"], "junk of {size} bytes");
        }
    }
}

#[test]
fn lonely_leave_takes_only_the_pause() {
    let mut net = Net::new(1);
    let op = net.call(0, Engine::start_leave).unwrap();
    net.run(Duration::from_millis(1_500));
    assert_eq!(net.done(0, op), Some(Ok(Completion::Done)));
    assert_eq!(net.nodes[0].events, ["member-join n0", "member-leave n0"]);
    let error =
        net.call(0, |engine, now| engine.start_join(now, &[], OldEvents::Deliver)).unwrap_err();
    assert_eq!(error.to_string(), "Serf can't Join after Leave or Shutdown");
    let again = net.call(0, Engine::start_leave).unwrap();
    assert_eq!(net.done(0, again), Some(Ok(Completion::Done)));
    net.call(0, Engine::shut_down);
    let error = net.call(0, Engine::start_leave).unwrap_err();
    assert_eq!(error.to_string(), "Leave called after Shutdown");
}

#[test]
fn key_operations_without_number_end_without_recursion() {
    // Goal: operations wait for a node that dies, and then all end in one turn.
    const OPS: usize = 20_000;
    let mut net = Net::joined(2);
    net.kill(1);
    let start = |engine: &mut Engine, now| engine.start_key_op(now, &KeyOp::List, 0).unwrap();
    for _ in 0..OPS {
        net.call(0, start);
    }
    net.run(Duration::from_secs(60));
    assert_eq!(net.view(0), ["n0 alive", "n1 failed"]);
    assert_eq!(net.nodes[0].done.len(), OPS);
}

/// Sends a node a message in the name of an unknown node.
fn forge(net: &mut Net, to: usize, encode: impl FnOnce(&mut Vec<u8>)) {
    let mut message = Vec::new();
    encode(&mut message);
    net.call(to, |engine, now| {
        engine.handle_packet(now, SocketAddr::from(([10, 0, 0, 200], 7946)), &message);
        engine.handle_queued(now);
    });
}

/// An alive message about a node, without tags.
fn forge_alive(net: &mut Net, to: usize, about: usize, incarnation: u32) {
    let addr = [10, 0, 0, about as u8];
    forge(net, to, |out| {
        crate::wire::Alive {
            incarnation: crate::wire::Incarnation(incarnation),
            node: format!("n{about}").as_bytes(),
            addr: addr.as_slice().into(),
            port: 7946,
            meta: b"evil".as_slice().into(),
            vsn: [1, 5, 2, 2, 5, 5].as_slice().into(),
        }
        .encode(out);
    });
}

fn tags_seen(net: &Net, of: usize) -> Vec<String> {
    let name = format!("n{of}");
    let value = |node: &Node| {
        let member = node.engine.member(&name)?;
        Some(format!("{} {}", member.status, member.tags.get("v").unwrap_or("-")))
    };
    net.nodes.iter().map(|node| value(node).unwrap_or_default()).collect()
}

fn set_v(net: &mut Net, at: usize, value: &str) {
    let tags = BTreeMap::from([("v".to_owned(), value.to_owned())]);
    net.call(at, |engine, now| engine.start_set_tags(now, tags)).unwrap();
}

#[test]
fn a_node_driven_to_the_last_incarnation_is_heard_leaves_and_comes_back() {
    let mut net = Net::joined(4);
    // Unknown nodes send it to its peers, in steps that each of them accepts.
    for step in 1..=256_u32 {
        let incarnation = step.saturating_mul((1 << 24) - 1);
        for to in 0..3 {
            forge_alive(&mut net, to, 3, incarnation);
        }
        net.run(Duration::from_millis(50));
    }
    for to in 0..3 {
        forge_alive(&mut net, to, 3, u32::MAX);
    }
    net.run(Duration::from_secs(40));
    assert_eq!(net.nodes[3].engine.swim.local().incarnation.0, u32::MAX);
    set_v(&mut net, 3, "2");
    net.run(Duration::from_secs(15));
    assert_eq!(tags_seen(&net, 3), ["alive 2"; 4]);
    set_v(&mut net, 3, "3");
    net.run(Duration::from_secs(15));
    assert_eq!(tags_seen(&net, 3), ["alive 3"; 4]);
    net.call(3, Engine::start_leave).unwrap();
    net.run(Duration::from_secs(15));
    net.call(3, Engine::shut_down);
    net.kill(3);
    assert_eq!(tags_seen(&net, 3)[..3], ["left 3"; 3]);
    let kept = net.nodes[3].snapshot.lines().filter(|line| line.contains("incarnation")).count();
    let far = net.nodes[3].snapshot.lines().filter_map(|line| line.split("incarnation: ").nth(1));
    assert!(kept > 0 && far.into_iter().all(|text| text.parse::<u32>().unwrap() < 1 << 16));
    // Immediately, and after the others have forgotten it.
    for pause in [1, 60] {
        net.run(Duration::from_secs(pause));
        net.start(3, |config| {
            config.tags = BTreeMap::from([("v".to_owned(), format!("after {pause}"))]);
        });
        assert!(net.join(3, 0));
        net.run(Duration::from_secs(15));
        assert_eq!(tags_seen(&net, 3), vec![format!("alive after {pause}"); 4], "{pause} s");
        net.kill(3);
        net.run(Duration::from_secs(30));
    }
}

#[test]
fn a_name_that_was_taken_before_its_node_started_becomes_that_node_s() {
    for taken in [2, 1 << 25, 1 << 31, u32::MAX - 1, u32::MAX] {
        let mut net = Net::with(4, |_, _| {});
        assert!(net.join(1, 0));
        for to in 0..2 {
            forge_alive(&mut net, to, 2, taken);
        }
        net.run(Duration::from_millis(100));
        net.start(2, |config| config.tags = BTreeMap::from([("v".to_owned(), "web".to_owned())]));
        assert!(net.join(2, 0));
        net.run(Duration::from_secs(10));
        assert_eq!(tags_seen(&net, 2)[..3], ["alive web"; 3], "taken at {taken}");
        set_v(&mut net, 2, "db");
        net.run(Duration::from_secs(10));
        assert_eq!(tags_seen(&net, 2)[..3], ["alive db"; 3], "taken at {taken}");
        assert!(net.join(3, 1));
        net.run(Duration::from_secs(10));
        assert_eq!(tags_seen(&net, 2), ["alive db"; 4], "a newcomer, taken at {taken}");
    }
}
