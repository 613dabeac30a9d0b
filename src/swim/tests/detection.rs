//! Faster detection: what it sends, and which evidence shortens a suspicion.

use super::*;
use crate::{
    swim::timer::Timer,
    wire::{Ack, Nack},
};
use NodeStateKind::{Alive as Up, Dead as Down, Suspect as Doubted};

/// Four peers around the node `me`, of which `a` fails.
struct Ring {
    me: Node,
    a_is_up: bool,
    helpers_nack: bool,
    /// Answers that are under way.
    due: Vec<(Instant, SocketAddr, Vec<u8>)>,
    /// Pings of `a` and requests to ping it, with their times.
    pings: Vec<Instant>,
    requests: Vec<Instant>,
}

const TRIP: Duration = Duration::from_millis(2);

impl Ring {
    /// Runs for ten seconds, in which all answer.
    fn new(change: impl FnOnce(&mut Config)) -> Self {
        let mut config = quiet();
        config.fast_detection = true;
        change(&mut config);
        let mut me = Node::new(config);
        for (place, name) in (2..).zip(["a", "b", "c", "d"]) {
            me.alive_at(name, 1, &[10, 0, 0, place], b"");
        }
        let (due, pings, requests) = (Vec::new(), Vec::new(), Vec::new());
        let mut ring = Self { me, a_is_up: true, helpers_nack: true, due, pings, requests };
        ring.run(10_000);
        assert!(ring.requests.is_empty(), "nobody is late");
        ring
    }

    fn run(&mut self, millis: u64) {
        for _ in 0..millis {
            self.me.wait(Duration::from_millis(1));
            for output in self.me.outputs() {
                if let Output::Packet { to, data } = output {
                    let mut codec =
                        PacketCodec::build(self.me.swim.config().codec.clone()).unwrap();
                    let mut buf = Vec::new();
                    self.receive(to, codec.open(&data, &mut buf).unwrap());
                }
            }
            let now = self.me.now;
            let (due, later) = self.due.drain(..).partition(|(at, ..)| *at <= now);
            self.due = later;
            let due: Vec<(Instant, SocketAddr, Vec<u8>)> = due;
            for (_, from, message) in due {
                self.me.swim.handle_packet(now, from, &message, &mut self.me.host);
            }
        }
    }

    fn receive(&mut self, at: SocketAddr, message: &[u8]) {
        let (now, to_a) = (self.me.now, at == peer());
        let mut answer = Vec::new();
        match Message::decode(message).unwrap() {
            Message::Compound(body) => {
                let parts = CompoundParts::parse(body).unwrap();
                parts.for_each(|part| self.receive(at, part.unwrap()));
            }
            Message::Ping(ping) => {
                self.pings.extend(to_a.then_some(now));
                Ack { seq_no: ping.seq_no, payload: [42].as_slice().into() }.encode(&mut answer);
                if !to_a || self.a_is_up {
                    self.due.push((now + TRIP, at, answer));
                }
            }
            Message::IndirectPing(request) if self.helpers_nack && !to_a => {
                self.requests.push(now);
                Nack { seq_no: request.seq_no }.encode(&mut answer);
                self.due.push((now + Duration::from_millis(500) + TRIP, at, answer));
            }
            Message::IndirectPing(_) => self.requests.push(now),
            _ => {}
        }
    }

    fn run_until(&mut self, state: NodeStateKind) -> Duration {
        let start = self.me.now;
        while self.me.row("a").unwrap().0 != state {
            self.run(1);
            assert!(self.me.now - start < Duration::from_secs(60), "never {state:?}");
        }
        self.me.now - start
    }

    /// The node `a` fails; returns the wait for its ack, and how long it is suspected.
    fn fail(&mut self) -> (Duration, Duration) {
        self.a_is_up = false;
        self.run_until(Doubted);
        let asked = self.requests[0];
        let pinged = self.pings.iter().rev().find(|at| **at < asked).copied().unwrap();
        (asked - pinged, self.run_until(Down))
    }
}

#[test]
fn helpers_are_asked_after_a_few_round_trips_and_the_suspicion_ends_early() {
    let ms = Duration::from_millis;
    let (wait, suspected) = Ring::new(|_| ()).fail();
    assert_eq!(wait, ms(50));
    // Three fifths of Go's least time for five nodes, which is 4 s, or the third probe after it.
    assert!((ms(2_400)..ms(3_500)).contains(&suspected), "{suspected:?}");
    let (wait, suspected) = Ring::new(|config| config.fast_detection = false).fail();
    assert_eq!(wait, ms(500));
    assert_eq!(suspected, ms(24_000), "nobody confirms it");
}

#[test]
fn a_node_that_gets_no_answers_accuses_no_sooner_than_gos() {
    let mut ring = Ring::new(|_| ());
    ring.helpers_nack = false;
    let (_, suspected) = ring.fail();
    assert_eq!(suspected, Duration::from_secs(24));
}

#[test]
fn an_answer_of_the_suspect_takes_the_evidence_back() {
    let mut ring = Ring::new(|_| ());
    ring.a_is_up = false;
    ring.run_until(Doubted);
    ring.run(1_200);
    ring.a_is_up = true; // but it is too busy to refute
    ring.run(6_000);
    assert_eq!(ring.me.row("a"), Some((Doubted, 1)));
    ring.a_is_up = false;
    ring.me.alive_at("a", 2, &[10, 0, 0, 2], b"");
    assert_eq!(ring.me.row("a"), Some((Up, 2)));
}

#[test]
fn what_a_stopped_process_has_seen_is_no_evidence() {
    let mut ring = Ring::new(|_| ());
    ring.a_is_up = false;
    ring.run_until(Doubted);
    ring.run(2_200);
    ring.me.swim.note_lateness(ring.me.now, Duration::from_secs(1));
    ring.run(1_300);
    assert_eq!(ring.me.row("a"), Some((Doubted, 1)), "it is dead by now without the stop");
}

#[test]
fn a_suspicion_of_another_is_verified_by_some_and_the_verifier_confirms_it() {
    let mut ring = Ring::new(|_| ());
    ring.a_is_up = false;
    let pinged = ring.pings.len();
    ring.me.suspect("a", 1, "b");
    ring.run(550);
    assert!(ring.pings.len() > pinged, "at once, and not with the next probe of it");
    let suspected = Duration::from_millis(550) + ring.run_until(Down);
    assert!(suspected < Duration::from_secs(4), "{suspected:?}");
}

#[test]
fn few_of_many_nodes_verify_a_suspicion() {
    let mut verifiers = 0;
    for seed in 0..40 {
        let mut config = quiet();
        config.fast_detection = true;
        config.probe_interval = Duration::from_secs(3_600); // only suspects are probed
        config.seed = [seed; 32];
        let mut me = Node::new(config);
        for n in 0..79 {
            me.alive_at(&format!("{n}"), 1, &[10, 0, 1, n], b"");
        }
        me.suspect("7", 1, "b");
        me.outputs();
        let timers = me.swim.timers.iter();
        verifiers += timers.filter(|(_, timer)| matches!(timer, Timer::Verify(_))).count();
    }
    // One of ten: 4 of the 40, give or take.
    assert!((1..=10).contains(&verifiers), "{verifiers}");
}
