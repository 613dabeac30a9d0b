//! The part of the world that one thread runs: some of the nodes and their events.

use super::{
    network::{Network, address_of},
    node::{Node, Observation},
    queue::{Event, Queue},
    slot::{Run, Slot},
    trace::{Trace, What},
};

/// What happens to a node.
#[derive(Debug)]
pub(crate) enum Kind {
    /// Its deadline may have come.
    Timer,
    /// A datagram; `moves` tells under which address the sender sent it and to which.
    Packet { from: u32, from_moves: u8, to_moves: u8, data: Vec<u8> },
    /// A step of a stream.
    Stream { key: StreamKey, step: Step },
    /// A dialled stream must be over.
    DialDeadline { life: u32, id: u64 },
}

/// Names a stream in the whole world.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct StreamKey {
    pub(crate) dialer: u32,
    pub(crate) life: u32,
    pub(crate) id: u64,
}

#[derive(Debug)]
pub(crate) enum Step {
    /// Dialer to acceptor; answered by the kernel. Carries how often the address had moved.
    Syn(u8),
    SynAck,
    Refused,
    Data(Vec<u8>),
    Reply(Vec<u8>),
    Fin,
}

/// Where events go to: the own queue, or the queue of another shard at the end of the window.
pub(crate) struct Post {
    /// Nodes in the whole world.
    pub(crate) nodes: u32,
    pub(crate) shard: usize,
    pub(crate) shards: usize,
    pub(crate) queue: Queue<Kind>,
    /// Events for other shards.
    pub(crate) away: Vec<Vec<Event<Kind>>>,
    /// The earliest of them.
    pub(crate) away_at: u64,
    pub(crate) trace: Trace,
}

impl Post {
    pub(crate) fn push(&mut self, event: Event<Kind>) {
        let shard = event.dst as usize % self.shards;
        if shard == self.shard {
            self.queue.push(event);
        } else {
            self.away_at = self.away_at.min(event.at);
            self.away[shard].push(event);
        }
    }
}

pub(crate) struct Shard<N> {
    pub(crate) slots: Vec<Slot<N>>,
    pub(crate) post: Post,
    pub(crate) observations: Vec<Observation>,
    pub(crate) events: u64,
}

impl<N: Node> Shard<N> {
    pub(crate) fn new(shard: usize, shards: usize, trace_lines: usize) -> Self {
        Self {
            slots: Vec::new(),
            post: Post {
                nodes: 0,
                shard,
                shards,
                queue: Queue::new(),
                away: (0..shards).map(|_| Vec::new()).collect(),
                away_at: u64::MAX,
                trace: Trace::new(trace_lines),
            },
            observations: Vec::new(),
            events: 0,
        }
    }

    /// Handles every event before `end`.
    pub(crate) fn run_before(&mut self, end: u64, network: &Network) {
        while let Some(event) = self.post.queue.pop_before(end) {
            self.events += 1;
            let slot = &mut self.slots[event.dst as usize / self.post.shards];
            dispatch(slot, &mut self.post, network, event);
            if slot.node.as_ref().is_some_and(Node::has_observations) {
                slot.take_observations(&mut self.observations);
            }
        }
    }
}

fn dispatch<N: Node>(slot: &mut Slot<N>, post: &mut Post, network: &Network, event: Event<Kind>) {
    let now = event.at;
    match event.kind {
        Kind::Timer => {
            if slot.timer_at == now {
                slot.timer_at = u64::MAX;
                if slot.run != Run::Paused {
                    slot.handle_timeout(now, post, network);
                }
            }
        }
        Kind::Packet { from, from_moves, to_moves, data } => {
            if slot.node.is_none() || to_moves != slot.moves {
                return;
            }
            if slot.run == Run::Up {
                post.trace.add(now, slot.index, What::Received, from, data.len());
                slot.counters.packets_received += 1;
                slot.counters.bytes_received += data.len() as u64;
                slot.handle_packet(now, address_of(from, from_moves), &data);
                slot.settle(now, post, network);
            } else {
                slot.hold(Kind::Packet { from, from_moves, to_moves, data });
            }
        }
        Kind::Stream { key, step } => {
            let held = slot.run != Run::Up && !matches!(step, Step::Syn(_) | Step::Refused);
            if held && slot.node.is_some() {
                slot.hold(Kind::Stream { key, step });
            } else {
                slot.handle_step(now, key, step, post, network);
            }
        }
        Kind::DialDeadline { life, id } => {
            if slot.run == Run::Up {
                slot.handle_dial_deadline(now, life, id, post, network);
            } else if slot.node.is_some() {
                slot.hold(Kind::DialDeadline { life, id });
            }
        }
    }
}
