//! A subscriber that does not read must not be felt by anybody else.

use std::{
    collections::BTreeSet,
    net::{SocketAddr, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use compat_tests::{alone::in_own_process, go::base64, node::runtime};
use ruserf::{
    Config, Event, Keyring, Serf, Subscribe,
    engine::KeyOp,
    wire::{Ping, SeqNo, encode_compound},
};

/// Events that arrive while the subscriber sleeps.
const EVENTS: u64 = 100_000;
/// Events in one packet.
const BATCH: u64 = 100;
/// Asserted on a calm machine only; other tests run beside the short run.
const P99_MAX: Duration = Duration::from_millis(10);
const GROWTH_KIB_MAX: u64 = 64 * 1024;

#[test]
fn sleeping_subscriber_is_not_felt_and_its_losses_are_reported() {
    in_own_process(
        module_path!(),
        "sleeping_subscriber_is_not_felt_and_its_losses_are_reported",
        || {
            run(Duration::from_secs(5), false);
        },
    );
}

#[test]
#[ignore = "takes ten minutes"]
fn sleeping_subscriber_is_not_felt_for_ten_minutes() {
    in_own_process(module_path!(), "sleeping_subscriber_is_not_felt_for_ten_minutes", || {
        run(Duration::from_secs(600), true);
    });
}

/// Goal: 100,000 events in `length` to a node with a subscriber
/// that never reads: pings are answered, keys are rotated, memory stays, losses are reported.
/// Method: events and pings are plain packets, which a node in the middle of an upgrade to
/// encryption takes; the answers are timed from outside.
fn run(length: Duration, calm: bool) {
    let (node, peer) = (start("node"), start("peer"));
    let to = node.addresses().advertised;
    runtime().block_on(peer.join([to.to_string()])).expect("a join");
    let options = Subscribe::default().capacity(1_000);
    let mut sleeping = node.subscribe(options);
    let before = resident_kib();

    let over = Arc::new(AtomicBool::new(false));
    let stop = Arc::clone(&over);
    let pinger = thread::spawn(move || ping_until(to, &stop));
    let operator = peer.clone();
    let keys = runtime().spawn(async move { rotate(&operator).await });
    flood(&node, to, length);
    let rotated = runtime().block_on(keys).expect("no panic");
    over.store(true, Ordering::Relaxed);
    let (mut times, lost_pings) = pinger.join().expect("no panic");
    let grown = resident_kib().saturating_sub(before);

    assert_eq!(rotated, 4, "key operations while events arrive");
    times.sort();
    let at = |percent: usize| times[(times.len() - 1) * percent / 100];
    let (median, p99) = (at(50), at(99));
    println!(
        "{} pings: median {median:?}, p99 {p99:?}, lost {lost_pings}; grown by {grown} KiB",
        times.len()
    );
    assert!(!calm || p99 < P99_MAX, "median {median:?}, p99 {p99:?}");
    assert!(times.len() > 100, "only {} pings were answered", times.len());
    assert!(!calm || lost_pings * 100 <= times.len(), "{lost_pings} pings lost");
    assert!(grown < GROWTH_KIB_MAX, "{grown} KiB more");

    // The gap first, then the newest events, none twice. Those of one packet come last first, as
    // memberlist hands them over.
    let (mut reported, mut got, mut times) = (0, 0, BTreeSet::new());
    runtime().block_on(node.shutdown());
    while let Some(event) = runtime().block_on(sleeping.recv()) {
        match event {
            Event::Lagged(count) => reported += count,
            Event::User(event) => {
                assert!(times.insert(event.ltime.0), "{} twice", event.ltime.0);
                got += 1;
            }
            _ => got += 1,
        }
    }
    assert_eq!((got, times.last()), (1_000, Some(&EVENTS)));
    let oldest = *times.first().expect("events");
    assert!(oldest > EVENTS - 1_000 - BATCH, "{oldest} is not of the newest");
    assert_eq!(reported, sleeping.lost());
    // Member events and key queries may come on top.
    let beside = (reported + got).checked_sub(EVENTS).expect("every event is delivered or counted");
    assert!(beside < 100, "{beside} more than were sent");
}

fn start(name: &str) -> Serf {
    let mut config = Config::lan(name);
    config.protocol = 5;
    config.keyring = Keyring::build(&[], &[7; 32]).expect("a key");
    // Key requests are sealed, as they must be; plain events and pings are taken.
    config.verify_incoming = false;
    let builder = Serf::builder(config).bind(([127, 0, 0, 1], 0));
    runtime().block_on(builder.start()).expect("a Rust node starts")
}

/// Sends the events, never more than the node can hold.
fn flood(node: &Serf, to: SocketAddr, length: Duration) {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let started = Instant::now();
    let deadline = started + length + Duration::from_secs(60);
    let mut sent = 0;
    while sent < EVENTS {
        let events: Vec<_> = (1..=BATCH).map(|number| user_event(sent + number)).collect();
        let mut packet = Vec::new();
        assert_eq!(encode_compound(&events, &mut packet), events.len());
        socket.send_to(&packet, to).expect("loopback takes it");
        sent += BATCH;
        while delivered(node) < sent {
            assert!(Instant::now() < deadline, "{} of {sent} came", delivered(node));
            thread::sleep(Duration::from_micros(200));
        }
        let due = started + length.mul_f64(sent as f64 / EVENTS as f64);
        thread::sleep(due.saturating_duration_since(Instant::now()));
    }
}

fn delivered(node: &Serf) -> u64 {
    runtime().block_on(node.counters()).expect("a running node").serf.events
}

/// memberlist's user message around serf's user event.
fn user_event(ltime: u64) -> Vec<u8> {
    let mut message = vec![8, 3, 0x84, 0xa5];
    message.extend_from_slice(b"LTime\xcf");
    message.extend_from_slice(&ltime.to_be_bytes());
    message.extend_from_slice(b"\xa4Name\xa4load\xa7Payload\xa8");
    message.extend_from_slice(&[b'x'; 8]);
    message.extend_from_slice(b"\xa2CC\xc2");
    message
}

/// Installs, uses, removes and lists; gives how many operations reached both nodes.
async fn rotate(operator: &Serf) -> usize {
    let keys = operator.key_manager();
    let (old, new) = (base64([7; 32]), base64([8; 32]));
    let ops = [KeyOp::Install(new.clone()), KeyOp::Use(new), KeyOp::Remove(old), KeyOp::List];
    let mut reached = 0;
    for op in ops {
        match keys.run(op.clone()).await {
            Ok(response) if response.num_resp == 2 => reached += 1,
            other => println!("{op:?}: {other:?}"),
        }
    }
    reached
}

/// Pings every 5 ms; gives the times to the answers and how many had none in a second.
fn ping_until(to: SocketAddr, over: &AtomicBool) -> (Vec<Duration>, usize) {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    socket.set_read_timeout(Some(Duration::from_secs(1))).expect("a timeout");
    let (mut times, mut lost) = (Vec::new(), 0);
    let mut answer = [0; 65_536];
    while !over.load(Ordering::Relaxed) {
        let number = u32::try_from(times.len() + lost).expect("not that many");
        let mut packet = Vec::new();
        // As long as its sealed ack: a stranger gets no more bytes than it has sent.
        let source_node = &[b's'; 100];
        let ping = Ping { seq_no: SeqNo(number), node: b"node", source_node, ..Ping::default() };
        ping.encode(&mut packet);
        let started = Instant::now();
        socket.send_to(&packet, to).expect("loopback takes it");
        match socket.recv_from(&mut answer) {
            Ok(_) => times.push(started.elapsed()),
            Err(_) => lost += 1,
        }
        thread::sleep(Duration::from_millis(5));
    }
    (times, lost)
}

fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("a size");
    line.split_whitespace().nth(1).and_then(|n| n.parse().ok()).expect("a number")
}
