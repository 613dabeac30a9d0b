//! The part of the world that one thread runs: some nodes and their events.

use std::hint::black_box;

use super::{
    network::{Network, address_of},
    node::{Node, Observation},
    post::{Kind, Post, Step},
    queue::{Event, Queue},
    slot::{Run, Slot},
    trace::{Trace, What},
};

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
            if let Some(next) = self.post.queue.next_dst() {
                // Most of the time is spent waiting for the memory of the node: begin to load it.
                black_box(self.slots.get(next as usize / self.post.shards).map(Slot::glance));
            }
            let slot = &mut self.slots[event.dst as usize / self.post.shards];
            let now = event.at;
            dispatch(slot, &mut self.post, network, event);
            if slot.node.as_ref().is_some_and(Node::has_observations) {
                slot.take_observations(now, &mut self.observations);
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
        Kind::Sent { life, id } => {
            if slot.run == Run::Up {
                slot.handle_sent(now, life, id, post, network);
            } else if slot.node.is_some() {
                slot.hold(Kind::Sent { life, id });
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
