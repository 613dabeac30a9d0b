use std::{collections::VecDeque, net::SocketAddr};

use super::*;
use crate::{
    base::Rng,
    sim::{Link, Traffic, address_of},
    swim::{Output, StreamId, StreamInput},
    wire::{CodecConfig, PacketCodec, SeqNo, StreamCodec, StreamMessage},
};

/// Pings a random peer each second, echoes, and records everything.
struct Echo {
    peers: u32,
    rng: Rng,
    codec: StreamCodec,
    next: Instant,
    out: VecDeque<Output>,
    log: Vec<String>,
    streams: u64,
}

impl Echo {
    fn new(index: u32, peers: u32) -> Self {
        let codec =
            PacketCodec::build(CodecConfig { compression: true.into(), ..Default::default() })
                .unwrap()
                .stream_codec();
        Self {
            peers,
            rng: Rng::from_u64(u64::from(index)),
            codec,
            next: Instant::from_nanos(1_000_000_000),
            out: VecDeque::new(),
            log: Vec::new(),
            streams: 0,
        }
    }

    fn open(&mut self, now: Instant, to: SocketAddr) {
        let ping = crate::wire::Ping { seq_no: SeqNo(7), node: b"x", ..Default::default() };
        let mut message = Vec::new();
        ping.encode(&mut message);
        let id = StreamId(self.streams);
        self.streams += 2;
        let deadline = now + Duration::from_secs(3);
        let message = message.into();
        self.out.push_back(Output::Open { id, to, message, reply: true, deadline });
    }
}

impl Node for Echo {
    fn handle_packet(&mut self, now: Instant, from: SocketAddr, datagram: &[u8]) {
        self.log.push(format!("{now} {from} {datagram:?}"));
        if datagram[0] == 0 {
            self.out.push_back(Output::Packet { to: from, data: vec![2, datagram[1]] });
        }
    }
    fn handle_queued(&mut self, _now: Instant) {}
    fn handle_stream(&mut self, now: Instant, id: StreamId, input: StreamInput) {
        if let StreamInput::Message(StreamMessage::Ping { seq_no, .. }) = &input {
            let mut message = Vec::new();
            crate::wire::Ack { seq_no: *seq_no, ..Default::default() }.encode(&mut message);
            self.out.push_back(Output::Reply { id, message: message.into(), deadline: now });
        }
        self.log.push(format!("{now} {id:?} {input:?}"));
    }
    fn handle_timeout(&mut self, now: Instant) {
        self.log.push(format!("{now} timeout"));
        self.next = now + Duration::from_secs(1);
        let to = address_of(self.rng.below(self.peers as usize) as u32, 0);
        self.out.push_back(Output::Packet { to, data: vec![0, self.rng.u32() as u8] });
    }
    fn poll_output(&mut self, _now: Instant) -> Option<Output> {
        self.out.pop_front()
    }
    fn poll_timeout(&self) -> Option<Instant> {
        Some(self.next)
    }
    fn accept_stream(&mut self) -> StreamId {
        self.streams += 2;
        StreamId(self.streams + 1)
    }
    fn stream_codec(&self) -> StreamCodec {
        self.codec.clone()
    }
}

fn world(nodes: u32, threads: usize, link: Link) -> World<Echo> {
    let config = WorldConfig { seed: 3, threads, trace_lines: 100, ..WorldConfig::default() };
    let mut world = World::new(config, Network::new(link));
    for index in 0..nodes {
        world.add(Echo::new(index, nodes));
    }
    world
}

fn log(world: &World<Echo>, index: u32) -> &[String] {
    &world.node(index).unwrap().log
}

#[test]
fn a_run_is_the_same_whatever_the_number_of_threads() {
    let link = Link { loss: 0.1, duplication: 0.1, reordering: 0.2, ..Link::default() };
    let run = |threads| {
        let mut world = world(20, threads, link);
        world.run_for(Duration::from_secs(5));
        world.pause(3);
        world.with_node(4, |node, now| node.open(now, address_of(5, 0)));
        world.run_for(Duration::from_secs(5));
        world.resume(3);
        world.crash(6, false);
        world.run_for(Duration::from_secs(5));
        let logs: Vec<_> = (0..20).map(|i| world.node(i).map(|node| node.log.clone())).collect();
        (logs, world.counters_total(), world.events_handled(), world.trace())
    };
    let one = run(1);
    assert!(one.1.packets_sent > 500);
    let two = run(2);
    assert_eq!(one.0, two.0);
    assert_eq!((one.1, one.2), (two.1, two.2));
    assert_eq!(run(3).0, one.0);
}

#[test]
fn a_paused_node_gets_its_packets_on_resuming_up_to_the_buffer() {
    let config = WorldConfig { socket_buffer_bytes: 3 * 514, ..WorldConfig::default() };
    let mut world = World::new(config, Network::new(Link::default()));
    for index in 0..2 {
        world.add(Echo::new(index, 0));
    }
    world.pause(1);
    for byte in 0..5 {
        world.with_node(0, |node, _| {
            node.out.push_back(Output::Packet { to: address_of(1, 0), data: vec![9, byte] });
        });
        world.run_for(Duration::from_millis(100));
    }
    assert!(log(&world, 1).is_empty());
    assert_eq!(world.counters(1).overflowed, 2);
    world.run_for(Duration::from_secs(1));
    world.resume(1);
    let lines = log(&world, 1);
    assert_eq!(lines.len(), 4, "three packets, then the overdue timer: {lines:?}");
    assert!(lines[3].ends_with("timeout"));
}

#[test]
fn a_blocked_node_keeps_time_but_its_packets_wait_both_ways() {
    let mut world = world(2, 1, Link::default());
    world.run_for(Duration::from_millis(500));
    world.block_io(1);
    world.run_for(Duration::from_secs(3));
    assert!(log(&world, 1).iter().all(|line| line.ends_with("timeout")), "{:?}", log(&world, 1));
    assert!(log(&world, 1).len() >= 3);
    let before = log(&world, 0).iter().filter(|line| line.contains("10.0.0.2")).count();
    assert_eq!(before, 0);
    world.resume(1);
    world.run_for(Duration::from_millis(10));
    assert!(log(&world, 0).iter().any(|line| line.contains("10.0.0.2")));
}

#[test]
fn streams_run_through_the_real_codec_and_fail_as_they_should() {
    let mut world = world(4, 1, Link::default());
    let open = |world: &mut World<Echo>, to| {
        world.with_node(0, |node, now| node.open(now, address_of(to, 0)));
        world.run_for(Duration::from_secs(4));
        let mut lines = log(world, 0).iter().filter(|line| line.contains("StreamId"));
        lines.next_back().cloned().unwrap_or_default()
    };
    assert!(open(&mut world, 1).contains("Ack { seq_no: SeqNo(7) }"), "{:?}", log(&world, 0));
    world.crash(1, false);
    assert!(open(&mut world, 1).contains("connected: false, error: \"connection refused\""));
    world.crash(2, true);
    assert!(open(&mut world, 2).contains("connected: false, error: \"i/o timeout\""));
    world.pause(3);
    assert!(open(&mut world, 3).contains("connected: true, error: \"i/o timeout\""));
    world.resume(3);
    world.network_mut().set_group(3, 1);
    world.network_mut().cut(1, 0, Traffic::Udp);
    assert!(open(&mut world, 3).contains("Ack"), "UDP is blocked, TCP is not");
    world.network_mut().cut(1, 0, Traffic::Tcp);
    assert!(open(&mut world, 3).contains("connected: false"));
}

#[test]
fn a_restarted_node_does_not_hear_the_streams_of_its_former_life() {
    let mut world = world(2, 1, Link::default());
    world.with_node(0, |node, now| node.open(now, address_of(1, 0)));
    world.restart(0, false, |_| Echo::new(0, 2));
    world.run_for(Duration::from_millis(900));
    assert!(log(&world, 0).is_empty(), "{:?}", log(&world, 0));
    world.restart(0, true, |_| Echo::new(0, 2));
    assert_eq!(world.address(0), address_of(0, 1));
}

#[test]
fn a_clock_step_makes_timers_due_at_once() {
    let mut world = world(1, 1, Link::default());
    world.run_for(Duration::from_millis(10));
    world.step_clock(0, Duration::from_secs(60));
    world.run_for(Duration::from_millis(1));
    assert!(log(&world, 0)[0].starts_with("60.01"), "{:?}", log(&world, 0));
    assert!(log(&world, 0)[0].ends_with("timeout"), "{:?}", log(&world, 0));
}
