//! Two engines in one wasm32 module: b joins a, and each probes the other for ten seconds.
//!
//! The target has no clock, no sockets and no entropy; the engines ask for none. A failed check
//! traps, which the script that runs this sees as an exception.

use std::{net::SocketAddr, time::Duration};

use ruserf::{
    base::{Instant, Rng},
    serf::{Config, Engine, MemberStatus, Output},
    swim::{self, StreamId, StreamInput},
    wire::{Role, StreamDecoder},
};

const A: usize = 0;
const B: usize = 1;

fn main() {
    let mut pair = Pair { nodes: [node("a", 1), node("b", 2)], now: Instant::ZERO, packets: 0 };
    pair.nodes[B].start_push_pull(pair.now, addr(A), "a");
    pair.run_for(Duration::from_secs(10));

    for engine in &pair.nodes {
        assert_eq!(engine.members().count(), 2, "each lists both");
        assert!(engine.members().all(|member| member.status == MemberStatus::Alive));
        assert_eq!(engine.stats()["health_score"], "0", "every probe was answered");
    }
    assert!(pair.packets >= 20, "pings and acks flowed");
}

struct Pair {
    nodes: [Engine; 2],
    now: Instant,
    packets: usize,
}

impl Pair {
    fn run_for(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            self.deliver();
            let next = self.nodes.iter().filter_map(Engine::poll_timeout).min();
            let Some(next) = next.filter(|next| *next <= end) else { break };
            self.now = self.now.max(next);
            for engine in &mut self.nodes {
                if engine.poll_timeout().is_some_and(|at| at <= self.now) {
                    engine.handle_timeout(self.now);
                }
            }
        }
        self.now = end;
    }

    /// Hands everything that comes out of one engine to the other, at once and in order.
    fn deliver(&mut self) {
        for from in [A, B, A, B] {
            while let Some(output) = self.nodes[from].poll_output() {
                let Output::Swim(output) = output else { continue };
                match output {
                    swim::Output::Packet { to, data } => {
                        self.packets += 1;
                        let target = &mut self.nodes[index(to)];
                        target.handle_packet(self.now, addr(from), &data);
                        target.handle_queued(self.now);
                    }
                    swim::Output::Open { id, to, message, reply, .. } => {
                        self.exchange(from, id, index(to), &message, reply);
                    }
                    swim::Output::Reply { .. } | swim::Output::Close { .. } => {}
                }
            }
        }
    }

    /// A whole stream: request through the real framing, and the answer the same way back.
    fn exchange(&mut self, from: usize, id: StreamId, to: usize, message: &[u8], reply: bool) {
        let accepted = self.nodes[to].accept_stream();
        self.nodes[to].handle_stream(
            self.now,
            accepted,
            StreamInput::Accepted { from: addr(from) },
        );
        let request = self.carry(from, to, Role::Dialer, message);
        self.nodes[to].handle_stream(self.now, accepted, request);
        if !reply {
            self.nodes[from].handle_stream(self.now, id, StreamInput::Sent);
            return;
        }
        let mut others = Vec::new();
        while let Some(output) = self.nodes[to].poll_output() {
            match output {
                Output::Swim(swim::Output::Reply { id: answered, message, .. })
                    if answered == accepted =>
                {
                    let answer = self.carry(to, from, Role::Acceptor, &message);
                    self.nodes[to].handle_stream(self.now, accepted, StreamInput::Sent);
                    self.nodes[from].handle_stream(self.now, id, answer);
                }
                Output::Swim(swim::Output::Packet { data, .. }) => others.push(data),
                _ => {}
            }
        }
        for data in others {
            self.nodes[from].handle_packet(self.now, addr(to), &data);
        }
    }

    fn carry(&self, from: usize, to: usize, role: Role, message: &[u8]) -> StreamInput {
        let mut bytes = Vec::new();
        let mut rng = Rng::from_u64(7);
        self.nodes[from].stream_codec().seal(&mut rng, role, message, &mut bytes);
        let reader = match role {
            Role::Dialer => Role::Acceptor,
            Role::Acceptor => Role::Dialer,
        };
        let mut decoder = StreamDecoder::new(self.nodes[to].stream_codec(), reader);
        let message = decoder.feed(&bytes).expect("our own bytes").expect("a whole message");
        StreamInput::Message(message)
    }
}

fn node(name: &str, seed: u8) -> Engine {
    let mut config = Config::lan(name);
    config.swim.advertise_addr = vec![127, 0, 0, seed];
    config.swim.seed = [seed; 32];
    Engine::build(config, Instant::ZERO, None).expect("a valid configuration")
}

fn addr(index: usize) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, index as u8 + 1], 7946))
}

fn index(addr: SocketAddr) -> usize {
    if addr == self::addr(A) { A } else { B }
}
