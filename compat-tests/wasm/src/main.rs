//! Two engines in one wasm32 module: b joins a, each probes the other for ten seconds, and a value
//! goes from one to the other.
//!
//! It uses no clock, socket or entropy of the target. A failed check traps, which the script that
//! runs this sees as an exception.

use std::{net::SocketAddr, time::Duration};

use ruserf::{
    Config, MemberStatus, UserEvent, UserEventSpec,
    engine::{
        Engine, Event, Instant, Machine, OldEvents, Output, Rng, Role, StreamDecoder, StreamId,
        StreamInput, SwimOutput, to_payload,
    },
};

const A: usize = 0;
const B: usize = 1;

fn main() {
    let nodes = [node("a", 1), node("b", 2)];
    let mut pair = Pair { nodes, now: Instant::ZERO, packets: 0, events: Vec::new() };
    let joined = pair.nodes[B].start_join(pair.now, &[addr(A).to_string()], OldEvents::Ignore);
    joined.expect("b is alive");
    pair.run_for(Duration::from_secs(10));
    for engine in &pair.nodes {
        assert_eq!(engine.members().count(), 2, "each lists both");
        assert!(engine.members().all(|member| member.status == MemberStatus::Alive));
        assert_eq!(engine.health_score(), 0, "every probe was answered");
    }
    assert!(pair.packets >= 20, "pings and acks flowed");

    let payload = to_payload(&("v2", 5)).expect("a value");
    let event = UserEventSpec::new("deploy", payload);
    pair.nodes[A].user_event(pair.now, &event).expect("it is small");
    pair.run_for(Duration::from_secs(1));
    let heard: Vec<_> = pair.events.iter().map(|(node, _)| *node).collect();
    assert_eq!(heard, [A, B], "each node hears it once");
    for (_, event) in &pair.events {
        assert_eq!(event.payload::<(String, u8)>(), Ok(("v2".to_owned(), 5)));
    }
}

struct Pair {
    nodes: [Engine; 2],
    now: Instant,
    packets: usize,
    events: Vec<(usize, UserEvent)>,
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
                match output {
                    Output::Event(Event::User(event)) => self.events.push((from, event)),
                    Output::Swim(SwimOutput::Packet { to, data }) => {
                        self.packets += 1;
                        let target = &mut self.nodes[index(to)];
                        target.handle_packet(self.now, addr(from), &data);
                        target.handle_queued(self.now);
                    }
                    Output::Swim(SwimOutput::Open { id, to, message, reply, .. }) => {
                        self.exchange(from, id, index(to), &message, reply);
                    }
                    _ => {}
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
                Output::Swim(SwimOutput::Reply { id: answered, message, .. })
                    if answered == accepted =>
                {
                    let answer = self.carry(to, from, Role::Acceptor, &message);
                    self.nodes[to].handle_stream(self.now, accepted, StreamInput::Sent);
                    self.nodes[from].handle_stream(self.now, id, answer);
                }
                Output::Swim(SwimOutput::Packet { data, .. }) => others.push(data),
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
    let machine = Machine::new(SocketAddr::from(([127, 0, 0, seed], 7946)), [seed; 32]);
    Engine::new(Config::lan(name), machine, Instant::ZERO).expect("a valid configuration")
}

fn addr(index: usize) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, index as u8 + 1], 7946))
}

fn index(addr: SocketAddr) -> usize {
    if addr == self::addr(A) { A } else { B }
}
