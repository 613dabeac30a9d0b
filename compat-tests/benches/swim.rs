//! The membership engine in the midst of 10,000 nodes. `codecspeed -only engine` of go-harness does
//! the same to Go's memberlist, under the same names.

use std::{
    alloc::System,
    hint::black_box,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant as Clock},
};

use bytes::Bytes;
use cap::Cap;
use criterion::{Bencher, Criterion, criterion_group};
use ruserf::{
    base::Instant,
    swim::{Config, Exchange, Host, NodeView, Origin, Output, StreamId, StreamInput, Swim},
    wire::{
        Alive, Incarnation, NodeState, Ping, PushPull, SeqNo, StreamMessage, Suspect,
        encode_compound,
    },
};

#[global_allocator]
static ALLOCATOR: Cap<System> = Cap::new(System, usize::MAX);

/// Nodes in the table besides our own.
const MEMBERS: usize = 10_000;
/// Datagrams between two looks at the timers.
const BATCH: usize = 20;
const VSN: [u8; 6] = [1, 5, 2, 2, 5, 4];
/// Tags of a usual node, as long as those of the Go side.
const META: [u8; 50] = [0x6d; 50];

fn main() {
    bytes_per_member();
    benches();
    Criterion::default().configure_from_args().final_summary();
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_millis(1500));
    targets = packets, merge, answers, gossip
}

/// A layer above that neither says nor notes anything.
struct Silent;

impl Host for Silent {
    fn node_meta(&mut self, _: usize) -> Arc<[u8]> {
        [].into()
    }
    fn on_user_message(&mut self, _: &[u8], _: Origin) {}
    fn take_broadcasts(&mut self, _: usize, _: usize, _: u32, _: &mut dyn FnMut(&[u8])) {}
    fn has_broadcasts(&self) -> bool {
        false
    }
    fn local_state(&mut self, _: bool, _: &mut Vec<u8>) {}
    fn merge_remote_state(&mut self, _: &[u8], _: Exchange) {}
    fn on_join(&mut self, _: &NodeView<'_>) {}
    fn on_leave(&mut self, _: &NodeView<'_>) {}
    fn on_update(&mut self, _: &NodeView<'_>) {}
    fn on_conflict(&mut self, _: &NodeView<'_>, _: &NodeView<'_>) {}
    fn check_merge(&mut self, _: &[NodeView<'_>]) -> Result<(), String> {
        Ok(())
    }
    fn check_alive(&mut self, _: &NodeView<'_>) -> Result<(), String> {
        Ok(())
    }
    fn ack_payload(&mut self, _: &mut Vec<u8>) {}
    fn on_ping_complete(&mut self, _: &NodeView<'_>, _: Duration, _: &[u8]) {}
}

struct Node {
    swim: Swim,
    now: Instant,
    /// Of everybody else; it only rises.
    incarnation: u32,
}

impl Node {
    fn new(change: impl Fn(&mut Config)) -> Self {
        let mut config = Config::lan("bench");
        config.advertise_addr = vec![10, 0, 0, 1];
        config.codec.compression = false.into();
        config.delegate_protocol = [2, 5, 4];
        config.probe_interval = Duration::ZERO;
        config.push_pull_interval = Duration::ZERO;
        config.gossip_interval = Duration::ZERO;
        change(&mut config);
        let now = Instant::from_nanos(1_000_000_000_000);
        let swim = Swim::build(config, now, &mut Silent).expect("a valid configuration");
        Self { swim, now, incarnation: 1 << 17 }
    }

    /// Knows all members; what there is to tell about them waits.
    fn with_members(change: impl Fn(&mut Config)) -> Self {
        let mut node = Self::new(change);
        let state = rows(node.incarnation);
        node.merge(state);
        assert_eq!(node.swim.member_count(), MEMBERS + 1);
        node
    }

    fn packet(&mut self, bytes: &[u8]) {
        self.swim.handle_packet(self.now, peer(), bytes, &mut Silent);
        self.swim.handle_queued(self.now, &mut Silent);
    }

    /// Time goes by, so that old timers are cleared away.
    fn pass(&mut self, time: Duration) {
        self.now += time;
        while self.swim.poll_timeout().is_some_and(|at| at <= self.now) {
            self.swim.handle_timeout(self.now, &mut Silent);
        }
    }

    fn merge(&mut self, state: PushPull) {
        // A host may ask for few large states in a short time.
        self.now += Duration::from_secs(3_600);
        let id = self.swim.accept_stream();
        let from = peer();
        self.swim.handle_stream(self.now, id, StreamInput::Accepted { from }, &mut Silent);
        let input = StreamInput::Message(StreamMessage::PushPull(state));
        self.swim.handle_stream(self.now, id, input, &mut Silent);
        self.swim.handle_stream(self.now, id, StreamInput::Sent, &mut Silent);
        // Rows are merged some at a time, with a pause between.
        let pause = Duration::from_millis(1);
        while self.swim.poll_timeout().is_some_and(|at| at <= self.now + pause) {
            self.pass(pause);
        }
        self.drain();
    }

    /// Gives a push/pull with the whole table as answer; its stream is still to be ended.
    fn answer(&mut self) -> (StreamId, Bytes) {
        let (id, from) = (self.swim.accept_stream(), peer());
        self.swim.handle_stream(self.now, id, StreamInput::Accepted { from }, &mut Silent);
        let state = PushPull::from_rows(false, [], Bytes::new());
        let input = StreamInput::Message(StreamMessage::PushPull(state));
        self.swim.handle_stream(self.now, id, input, &mut Silent);
        // A large one takes several turns.
        for _ in 0..10 {
            while let Some(output) = self.swim.poll_output() {
                if let Output::Reply { id, message, .. } = output {
                    return (id, message);
                }
            }
            self.pass(Duration::from_millis(1));
        }
        panic!("no answer");
    }

    fn sent(&mut self, id: StreamId) {
        self.swim.handle_stream(self.now, id, StreamInput::Sent, &mut Silent);
    }

    fn drain(&mut self) -> usize {
        let packets = std::iter::from_fn(|| self.swim.poll_output());
        packets.filter(|output| matches!(black_box(output), Output::Packet { .. })).count()
    }

    /// Runs `one` with the numbers 0, 1, 2 and on, and a rest after each batch.
    fn batches(&mut self, b: &mut Bencher<'_>, mut one: impl FnMut(&mut Self, usize)) {
        let mut done = 0;
        b.iter(|| {
            one(self, done);
            done += 1;
            if done.is_multiple_of(BATCH) {
                self.drain();
                self.pass(Duration::from_millis(100));
            }
        });
    }
}

fn packets(c: &mut Criterion) {
    let mut ping = Vec::new();
    let source = [10, 0, 4, 210];
    let message = Ping {
        seq_no: SeqNo(123_456),
        node: b"bench",
        source_addr: source[..].into(),
        source_port: 7946,
        source_node: b"node-04321.dc1",
    };
    message.encode(&mut ping);
    // Without members, so that nothing rides along with the ack but in the first rounds.
    let mut node = Node::new(|_| {});
    c.bench_function("engine: ping", |b| node.batches(b, |node, _| node.packet(&ping)));

    let parts: Vec<Vec<u8>> = (0..MEMBERS).map(|n| alive(n, 1 << 17)).collect();
    let compound = |parts: &[Vec<u8>]| {
        let mut out = Vec::new();
        encode_compound(parts, &mut out);
        Dated::new(out)
    };
    let mut compounds: Vec<Dated> = parts.chunks(10).map(compound).collect();
    let mut node = Node::with_members(|_| {});
    c.bench_function("engine: compound of 10 known alives", |b| {
        node.batches(b, |node, n| node.packet(&compounds[n % (MEMBERS / 10)].bytes));
    });
    c.bench_function("engine: compound of 10 new alives", |b| {
        node.batches(b, |node, n| {
            let packet = &mut compounds[n % (MEMBERS / 10)];
            node.incarnation += u32::from(n.is_multiple_of(MEMBERS / 10));
            packet.set_incarnation(node.incarnation);
            node.packet(&packet.bytes);
        });
    });

    let mut node = Node::with_members(|_| {});
    let dated = |n| (Dated::new(alive(n, 1 << 17)), Dated::new(suspect(n, 1 << 17)));
    let mut messages: Vec<_> = (0..MEMBERS).map(dated).collect();
    c.bench_function("engine: alive, then suspect", |b| {
        node.batches(b, |node, n| {
            let (alive, suspect) = &mut messages[n % MEMBERS];
            node.incarnation += u32::from(n.is_multiple_of(MEMBERS));
            for message in [alive, suspect] {
                message.set_incarnation(node.incarnation);
                node.packet(&message.bytes);
            }
        });
    });
    let repeated = suspect(0, node.incarnation + 1);
    node.packet(&repeated);
    c.bench_function("engine: suspect, known", |b| {
        b.iter(|| node.packet(&repeated));
    });
}

fn merge(c: &mut Criterion) {
    let mut node = Node::with_members(|_| {});
    let state = rows(node.incarnation);
    c.bench_function("engine: merge of 10,000 known rows", |b| {
        b.iter(|| node.merge(state.clone()));
    });
    c.bench_function("engine: merge of 10,000 new rows", |b| {
        b.iter_custom(|times| {
            let mut total = Duration::ZERO;
            for _ in 0..times {
                let mut node = Node::new(|_| {});
                let state = state.clone();
                let start = Clock::now();
                node.merge(state);
                total += start.elapsed();
            }
            total
        });
    });
}

/// Answers to push/pulls, one every two seconds, so that none is given a second time; before each a
/// row changes.
fn answers(c: &mut Criterion) {
    for (what, members, overlap) in [
        ("10,000 rows, from scratch", MEMBERS, false),
        ("10,000 rows, one row changed since", MEMBERS, true),
        ("1,000 rows, one row changed since", MEMBERS / 10, false),
    ] {
        let mut node = Node::new(|_| {});
        let incarnation = node.incarnation;
        node.merge(some_rows(members, incarnation));
        let mut changed = Dated::new(alive(members / 2, incarnation));
        let (mut last, first) = node.answer();
        assert!(first.len() > members * 100);
        c.bench_function(&format!("engine: push/pull answer of {what}"), |b| {
            b.iter(|| {
                node.incarnation += 1;
                changed.set_incarnation(node.incarnation);
                node.packet(&changed.bytes);
                node.pass(Duration::from_secs(2));
                if !overlap {
                    node.sent(last);
                }
                let (id, message) = node.answer();
                if overlap {
                    node.sent(last);
                }
                last = id;
                black_box(message);
            });
        });
    }
}

fn gossip(c: &mut Criterion) {
    let interval = Duration::from_millis(200);
    for (name, idle) in [("idle", true), ("with 10,000 queued", false)] {
        let mut node = Node::with_members(|config| {
            config.gossip_interval = interval;
            config.retransmit_mult = if idle { 0 } else { 1 << 20 };
        });
        while idle && node.swim.queued_broadcasts() > 0 {
            node.pass(interval);
            node.drain();
        }
        c.bench_function(&format!("engine: gossip round, {name}"), |b| {
            b.iter(|| {
                node.pass(interval);
                assert_eq!(node.drain(), if idle { 0 } else { 3 });
            });
        });
    }
}

/// Memory of a member with its tags, once the news of it is spread.
fn bytes_per_member() {
    let change = |config: &mut Config| {
        config.gossip_interval = Duration::from_millis(200);
        config.retransmit_mult = 0;
    };
    let mut node = Node::new(change);
    let state = rows(1);
    let before = ALLOCATOR.allocated();
    node.merge(state.clone());
    while node.swim.queued_broadcasts() > 0 {
        node.pass(Duration::from_millis(200));
        node.drain();
    }
    let taken = ALLOCATOR.allocated() - before;
    println!("engine: bytes per member   {}", taken / MEMBERS);
}

fn peer() -> SocketAddr {
    SocketAddr::from(([10, 0, 0, 9], 7946))
}

fn name(n: usize) -> String {
    format!("node-{n:05}.dc1")
}

fn addr(n: usize) -> [u8; 4] {
    [10, 1, (n >> 8) as u8, n as u8]
}

fn alive(n: usize, incarnation: u32) -> Vec<u8> {
    let (name, addr, mut out) = (name(n), addr(n), Vec::new());
    let message = Alive {
        incarnation: Incarnation(incarnation),
        node: name.as_bytes(),
        addr: addr[..].into(),
        port: 7946,
        meta: META[..].into(),
        vsn: VSN[..].into(),
    };
    message.encode(&mut out);
    out
}

fn suspect(n: usize, incarnation: u32) -> Vec<u8> {
    let mut out = Vec::new();
    let incarnation = Incarnation(incarnation);
    Suspect { incarnation, node: name(n).as_bytes(), from: b"node-04321.dc1" }.encode(&mut out);
    out
}

fn rows(incarnation: u32) -> PushPull {
    some_rows(MEMBERS, incarnation)
}

fn some_rows(members: usize, incarnation: u32) -> PushPull {
    let nodes: Vec<_> = (0..members).map(|n| (name(n), addr(n))).collect();
    let rows = nodes.iter().map(|(name, addr)| NodeState {
        name: name.as_bytes(),
        addr: addr[..].into(),
        port: 7946,
        meta: META[..].into(),
        incarnation: Incarnation(incarnation),
        state: 0,
        vsn: VSN[..].into(),
    });
    PushPull::from_rows(false, rows, Bytes::new())
}

/// A message whose incarnations can be changed in place; they are above 65,535 before and after.
struct Dated {
    bytes: Vec<u8>,
    at: Vec<usize>,
}

impl Dated {
    fn new(bytes: Vec<u8>) -> Self {
        const KEY: &[u8] = b"Incarnation\xce";
        let keys = bytes.windows(KEY.len()).enumerate().filter(|(_, window)| *window == KEY);
        let at: Vec<_> = keys.map(|(at, _)| at + KEY.len()).collect();
        assert!(!at.is_empty());
        Self { bytes, at }
    }

    fn set_incarnation(&mut self, incarnation: u32) {
        for at in &self.at {
            self.bytes[*at..at + 4].copy_from_slice(&incarnation.to_be_bytes());
        }
    }
}
