//! A whole Serf engine under a program of packets, streams, time and calls.

use std::{net::SocketAddr, time::Duration};

use bytes::Bytes;
use ruserf::{
    base::Instant,
    serf::{
        Config, Engine, Event, KeyOp, OldEvents, Output, Prune, QueryId, QueryParams, SerfState,
        UserEventSpec,
    },
    swim::{self, StreamId, StreamInput},
    wire::{Keyring, Role, StreamDecoder},
};

use super::laws::{self, Price};

/// The first byte chooses the configuration; then steps of an operation (one byte), a length (two)
/// and that much data. What peers send has its price in packets, broadcasts and memory; no
/// cause has more than ten log lines a second.
pub fn engine(input: &[u8]) {
    let Some((&flags, mut rest)) = input.split_first() else { return };
    let Some(mut run) = Run::new(flags) else { return };
    let before = laws::allocated();
    let mut lines = laws::Lines::default();
    for _ in 0..STEPS_MAX {
        let Some((&op, tail)) = rest.split_first() else { break };
        let Some((len, tail)) = tail.split_first_chunk::<2>() else { break };
        let len = usize::from(u16::from_be_bytes(*len)).min(tail.len());
        let (data, tail) = tail.split_at(len);
        rest = tail;
        let second = run.now.since(Instant::ZERO).as_secs();
        let mut of_step = laws::Lines::default();
        let sent_by_peer = of_step.count(|| run.step(op, data));
        if run.now.since(Instant::ZERO).as_secs() > second {
            lines.assert_second();
            lines = of_step;
        } else {
            lines.add(of_step);
        }
        let packets = run.drain();
        if sent_by_peer {
            let packets_max = PACKETS.of(len);
            assert!(packets <= packets_max, "{packets} packets for {len} bytes");
        }
        run.assert_laws();
    }
    lines.assert_second();
    laws::assert_kept("engine", before, KEPT, input.len());
    let queued: usize =
        run.engine.queue_depths().iter().sum::<usize>() + run.engine.queued_broadcasts();
    assert!(queued <= QUEUED.of(input.len()), "{queued} broadcasts for {} bytes", input.len());
    let _ = run.engine.stats();
    run.engine.rewrite_snapshot();
    run.engine.shut_down(run.now);
    run.drain();
}

struct Run {
    engine: Engine,
    now: Instant,
    dialled: Vec<StreamId>,
    asked: Vec<QueryId>,
}

impl Run {
    fn new(flags: u8) -> Option<Self> {
        let mut config = Config::lan("self");
        config.swim.advertise_addr = vec![127, 0, 0, 1];
        config.swim.seed = [7; 32];
        if flags & 1 != 0 {
            config.swim.codec.keyring = Keyring::build(&[], &[1; 16]).ok()?;
            config.swim.codec.verify_incoming = false;
            config.swim.codec.verify_outgoing = false;
        }
        if flags & 2 != 0 {
            config.swim.codec.label = b"dc1".to_vec();
        }
        if flags & 4 != 0 {
            config.coalesce_period = Duration::from_secs(3);
            config.quiescent_period = Duration::from_secs(1);
        }
        let now = Instant::ZERO;
        let mut engine = Engine::build(config, now, (flags & 8 != 0).then_some(SNAPSHOT)).ok()?;
        engine.start_rejoin(now);
        Some(Self { engine, now, dialled: Vec::new(), asked: Vec::new() })
    }

    /// Does one step; gives whether it was a peer's.
    fn step(&mut self, op: u8, data: &[u8]) -> bool {
        let now = self.now;
        let from: SocketAddr = ([127, 0, 0, 2 + op / 32], 7946).into();
        let text = || String::from_utf8_lossy(data).into_owned();
        match op % 16 {
            0..=4 => {
                self.engine.handle_packet(now, from, data);
                if op.is_multiple_of(2) {
                    self.engine.handle_queued(now);
                }
                return true;
            }
            5 | 6 => {
                let id = self.engine.accept_stream();
                self.engine.handle_stream(now, id, StreamInput::Accepted { from });
                let message = self.decode(Role::Acceptor, data);
                self.engine.handle_stream(now, id, message);
                self.engine.handle_queued(now);
                return true;
            }
            7 => self.wait(Duration::from_millis(37), data),
            8 => self.wait(Duration::from_secs(900), data),
            9 => {
                let payload = Bytes::copy_from_slice(data);
                let _ = self
                    .engine
                    .user_event(now, &UserEventSpec::new(text(), payload).coalesce(op & 64 != 0));
            }
            10 => {
                let params = QueryParams::default().filter_tag("t", text());
                let params = params.request_ack(true).relay_factor(op / 16);
                self.asked.extend(self.engine.query(now, "q", Bytes::new(), &params));
            }
            11 => {
                let prune = if op & 64 != 0 { Prune::Yes } else { Prune::No };
                self.engine.start_force_leave(now, &text(), prune);
            }
            12 => {
                let key = "AQEBAQEBAQEBAQEBAQEBAQ==".to_owned();
                let change = match op / 32 {
                    0 => KeyOp::List,
                    1 => KeyOp::Install(key),
                    2 => KeyOp::Use(key),
                    _ => KeyOp::Remove(text()),
                };
                let _ = self.engine.start_key_op(now, &change, 1);
            }
            13 => {
                let _ = self.engine.start_set_tags(now, [("t".to_owned(), text())].into());
            }
            14 if op & 192 == 192 => {
                let _ = self.engine.start_leave(now);
            }
            14 => {
                let old = if op & 64 != 0 { OldEvents::Ignore } else { OldEvents::Deliver };
                let _ = self.engine.start_join(now, &[from.to_string()], old);
            }
            _ => {
                let Some(id) = self.dialled.pop() else { return false };
                let message = self.decode(Role::Dialer, data);
                self.engine.handle_stream(now, id, message);
                return true;
            }
        }
        false
    }

    fn wait(&mut self, unit: Duration, data: &[u8]) {
        self.now += unit * u32::from(data.first().copied().unwrap_or(1));
        self.engine.handle_timeout(self.now);
    }

    fn decode(&self, role: Role, data: &[u8]) -> StreamInput {
        match StreamDecoder::new(self.engine.stream_codec(), role).feed(data) {
            Ok(Some(message)) => StreamInput::Message(message),
            Ok(None) => StreamInput::Failed { connected: true, error: "EOF".into() },
            Err(error) => StreamInput::Broken(error),
        }
    }

    /// Takes all effects; gives how many packets were among them.
    fn drain(&mut self) -> usize {
        let mut packets = 0;
        while let Some(output) = self.engine.poll_output() {
            match output {
                Output::Swim(swim::Output::Open { id, .. }) => self.dialled.push(id),
                Output::Swim(swim::Output::Packet { data, .. }) => {
                    packets += 1;
                    assert!(data.len() < 70_000, "a datagram of {} bytes", data.len());
                }
                Output::Event(Event::Query(query)) => {
                    let _ = self.engine.respond(self.now, query.id, b"x");
                }
                _ => {}
            }
        }
        packets
    }

    fn assert_laws(&self) {
        // What has left is reaped after a day, ourselves too.
        let is_member = self.engine.member("self").is_some();
        assert!(is_member || self.engine.state() != SerfState::Alive, "we are always a member");
        assert!(self.engine.health_score() < 8);
        if let Some(coordinate) = self.engine.coordinate("self") {
            assert!(coordinate.is_valid());
        }
    }
}

const STEPS_MAX: usize = 64;
const SNAPSHOT: &[u8] = b"alive: a 127.0.0.9:1\nclock: 4\n# ruserf failed: q 127.0.0.8:2\n";
/// Packets that one datagram or stream may cause.
const PACKETS: Price = Price { base: 64, per_byte: 0 };
/// Broadcasts that a whole program may leave behind.
const QUEUED: Price = Price { base: 128, per_byte: 1 };
/// Memory that a whole program may leave behind.
const KEPT: Price = Price { base: 1 << 20, per_byte: 128 };
