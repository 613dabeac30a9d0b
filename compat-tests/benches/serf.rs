//! The Serf engine: events, query fan-in, push/pull state, snapshot replay.

use std::{
    fmt::Write as _, fs::File, hint::black_box, io::Write as _, net::SocketAddr, time::Duration,
};

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use ruserf::{
    base::Instant,
    serf::{
        Config, Engine, LamportTime, Message, MsgpackTransform, Output, QueryParams, SnapshotOp,
        TransformDelegate, UserEventSpec,
        message::{Join, PushPull, QueryResponse, UserEvent},
    },
    wire::{Alive, Incarnation},
};

fn engine(snapshot: Option<&[u8]>) -> Engine {
    let mut config = Config::lan("bench");
    config.swim.advertise_addr = vec![127, 0, 0, 1];
    Engine::build(config, Instant::ZERO, snapshot).expect("valid configuration")
}

fn drain(engine: &mut Engine) -> usize {
    std::iter::from_fn(|| engine.poll_output()).count()
}

/// Queues are pruned by the engine's own timers.
fn tick(engine: &mut Engine, now: Instant) {
    if engine.poll_timeout().is_some_and(|at| at <= now) {
        engine.handle_timeout(now);
    }
}

/// A user message as a datagram, plain.
fn datagram(message: &Message<'_>) -> Vec<u8> {
    let mut raw = vec![8];
    MsgpackTransform.encode_message(message, &mut raw);
    raw
}

fn user_events(c: &mut Criterion) {
    let payload = bytes::Bytes::from_static(&[b'p'; 80]);
    let (mut own, mut now) = (engine(None), Instant::ZERO);
    c.bench_function("user_event_out_80_bytes", |b| {
        b.iter(|| {
            now += Duration::from_millis(1);
            own.user_event(now, &UserEventSpec::new("deploy", payload.clone())).expect("fits");
            tick(&mut own, now);
            black_box(drain(&mut own))
        });
    });
    user_event_in(c, "user_event_in_80_bytes", None);
    // Each one is a line of the snapshot, which is compacted on the way.
    let file = tempfile::NamedTempFile::new().expect("a file");
    user_event_in(c, "user_event_in_80_bytes_with_snapshot", Some(file.reopen().expect("a file")));
}

fn user_event_in(c: &mut Criterion, name: &str, mut file: Option<File>) {
    let payload = [b'p'; 80];
    let from = SocketAddr::from(([127, 0, 0, 2], 7946));
    let mut ltime = 0;
    let (mut own, mut now) = (engine(file.is_some().then_some(&b""[..])), Instant::ZERO);
    c.bench_function(name, |b| {
        b.iter(|| {
            ltime += 1;
            let event = UserEvent {
                ltime: LamportTime(ltime),
                name: b"deploy",
                payload: payload[..].into(),
                coalesce: false,
            };
            now += Duration::from_millis(1);
            own.handle_packet(now, from, &datagram(&Message::UserEvent(event)));
            own.handle_queued(now);
            tick(&mut own, now);
            while let Some(output) = own.poll_output() {
                if let (Output::Snapshot(op), Some(file)) = (&output, &mut file) {
                    write(op, file);
                }
                black_box(output);
            }
        });
    });
    if let Some(file) = &mut file {
        assert!(ltime < 100 || file.metadata().expect("a file").len() > 0, "lines were written");
    }
}

fn write(op: &SnapshotOp, file: &mut File) {
    match op {
        SnapshotOp::Append(text) => file.write_all(text.as_bytes()).expect("it can be written"),
        SnapshotOp::Replace(text) => {
            file.set_len(0).expect("it can be emptied");
            file.write_all(text.as_bytes()).expect("it can be written");
        }
        SnapshotOp::Sync => {}
    }
}

/// The tags are empty, or one that changes with the incarnation.
fn alive(name: &str, incarnation: u32) -> Vec<u8> {
    let tags: &[u8] = match incarnation {
        1 => &[0xff, 0x80],
        _ => &[0xff, 0x81, 0xa1, b'v', 0xa1, b'a' + (incarnation % 26) as u8],
    };
    let mut alive = Vec::new();
    let message = Alive {
        incarnation: Incarnation(incarnation),
        node: name.as_bytes(),
        addr: [10, 0, 0, 1][..].into(),
        port: 7946,
        meta: tags.into(),
        vsn: [1, 5, 2, 2, 5, 5][..].into(),
    };
    message.encode(&mut alive);
    alive
}

fn receive(own: &mut Engine, packet: &[u8]) {
    own.handle_packet(Instant::ZERO, SocketAddr::from(([127, 0, 0, 2], 7946)), packet);
    own.handle_queued(Instant::ZERO);
}

fn engine_with(names: &[String]) -> Engine {
    let mut own = engine(None);
    for name in names {
        receive(&mut own, &alive(name, 1));
        drain(&mut own);
    }
    assert_eq!(own.members().count(), names.len() + 1);
    own
}

/// What the engine does with a table of 10,000, apart from what readers do.
fn members(c: &mut Criterion) {
    // As they come: in no order.
    let name = |n: usize| format!("web-{:05}.eu-west.example.com", n * 7_919 % 10_000);
    let names: Vec<String> = (0..10_000).map(name).collect();
    let mut own = engine_with(&names);
    c.bench_function("members_10000_listed", |b| {
        b.iter(|| own.members().cloned().collect::<Vec<_>>());
    });
    let mut at = 0;
    let mut next = || {
        at = (at + 4_999) % names.len();
        &names[at]
    };
    c.bench_function("members_10000_looked_up", |b| {
        b.iter(|| black_box(own.member(next())).is_some());
    });
    c.bench_function("members_10000_known_intent", |b| {
        b.iter(|| {
            // It is not sent on, as most copies that gossip brings.
            let intent = Join { ltime: LamportTime(0), node: next().as_bytes() };
            receive(&mut own, &datagram(&Message::Join(intent)));
            drain(&mut own)
        });
    });
    let mut incarnation = 1;
    c.bench_function("members_10000_updated", |b| {
        b.iter(|| {
            incarnation += 1;
            receive(&mut own, &alive(next(), incarnation));
            assert!(drain(&mut own) > 0, "it is an event");
        });
    });
    c.bench_function("members_10000_held", |b| b.iter(|| own.hold_members()));
    c.bench_function("members_10000_updated_while_held", |b| {
        b.iter(|| {
            incarnation += 1;
            let packet = alive(next(), incarnation);
            let held = own.hold_members();
            receive(&mut own, &packet);
            drain(&mut own);
            held
        });
    });
    c.bench_function("members_10000_added", |b| {
        b.iter(|| black_box(engine_with(&names)));
    });
}

fn query_fan_in(c: &mut Criterion) {
    let from = SocketAddr::from(([127, 0, 0, 2], 7946));
    let names: Vec<String> = (0..1000).map(|n| format!("node-{n:04}")).collect();
    c.bench_function("query_fan_in_1000_answers", |b| {
        b.iter_batched(
            || engine_with(&names),
            // As Go's measure: asks, makes each answer and takes it.
            |mut own| {
                let params = QueryParams::default();
                let id = own.query(Instant::ZERO, "uptime", "".into(), &params).expect("fits");
                for name in &names {
                    let answer = datagram(&Message::QueryResponse(QueryResponse {
                        ltime: id.ltime,
                        id: id.id,
                        from: name.as_bytes(),
                        flags: 0,
                        payload: b"up 3 days"[..].into(),
                    }));
                    own.handle_packet(Instant::ZERO, from, &answer);
                    own.handle_queued(Instant::ZERO);
                }
                assert!(drain(&mut own) >= names.len());
                own
            },
            BatchSize::LargeInput,
        );
    });
}

fn push_pull_state(c: &mut Criterion) {
    let names: Vec<String> = (0..10_000).map(|n| format!("node-{n:05}")).collect();
    let state = Message::PushPull(PushPull {
        status_ltimes: names
            .iter()
            .enumerate()
            .map(|(n, name)| (name.as_bytes(), LamportTime(n as u64)))
            .collect(),
        events: vec![None; 512],
        ..PushPull::default()
    });
    let mut raw = Vec::new();
    c.bench_function("push_pull_state_encode_10000_members", |b| {
        b.iter(|| {
            raw.clear();
            MsgpackTransform.encode_message(&state, &mut raw);
            black_box(raw.len())
        });
    });
    c.bench_function("push_pull_state_decode_10000_members", |b| {
        b.iter(|| black_box(MsgpackTransform.decode_message(&raw).is_ok()));
    });
}

fn snapshot_replay(c: &mut Criterion) {
    let mut random = 88_172_645_463_325_252_u64;
    // As Go's measure; a pseudorandom order, xorshift.
    let mut any = |_: usize| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        (random % 10_000) as usize
    };
    replay(c, "snapshot_replay_100000_lines", &snapshot("node-", |n| n % 10_000));
    replay(c, "snapshot_replay_100000_lines_any_order", &snapshot("node-", &mut any));
    let long = "database-replica.eu-central-1.example.com-";
    replay(c, "snapshot_replay_100000_lines_any_order_long_names", &snapshot(long, &mut any));
    // As a compaction leaves it.
    let lines = |n| format!("alive: node-{n:04} 10.0.{}.{}:7946\n", n / 256, n % 256);
    replay(c, "snapshot_replay_10000_members", &(0..10_000).map(lines).collect::<String>());
}

fn snapshot(prefix: &str, mut number: impl FnMut(usize) -> usize) -> String {
    let mut file = String::new();
    for n in 0..50_000 {
        let (name, [a, b]) = (number(n), [n / 256 % 256, n % 256]);
        let _ = writeln!(file, "alive: {prefix}{name} 10.0.{a}.{b}:7946\nclock: {n}");
    }
    file
}

fn replay(c: &mut Criterion, name: &str, file: &str) {
    c.bench_function(name, |b| b.iter(|| black_box(engine(Some(file.as_bytes())))));
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(20);
    targets = user_events, members, query_fan_in, push_pull_state, snapshot_replay
}
criterion_main!(benches);
