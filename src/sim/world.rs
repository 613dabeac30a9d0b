//! The world: all nodes, the network between them, and the clock.

use std::time::Duration;

use super::{
    network::Network,
    node::{Node, Observation},
    parallel,
    post::Kind,
    shard::Shard,
    slot::{Counters, Run, Slot},
    trace::{Trace, What},
};
use crate::base::Instant;

/// Configuration of a world.
#[derive(Clone, Debug)]
pub struct WorldConfig {
    /// Seed of the network's random choices. The nodes have their own seeds.
    pub seed: u64,
    /// Number of threads; does not affect the result. Default 1.
    pub threads: usize,
    /// Number of trace lines to keep; default 0.
    pub trace_lines: usize,
    /// Receive buffer of a node's socket in bytes; default 2 MiB.
    pub socket_buffer_bytes: usize,
}

impl Default for WorldConfig {
    fn default() -> Self {
        Self { seed: 0, threads: 1, trace_lines: 0, socket_buffer_bytes: 2 << 20 }
    }
}

/// Nodes in virtual time: the same configuration and the same calls give exactly the same run, on
/// any machine and with any number of threads.
pub struct World<N> {
    shards: Vec<Shard<N>>,
    network: Network,
    config: WorldConfig,
    now: u64,
    len: u32,
}

impl<N: Node> World<N> {
    /// Creates an empty world at time zero.
    pub fn new(config: WorldConfig, network: Network) -> Self {
        let threads = config.threads.clamp(1, 64);
        let shards = (0..threads).map(|id| Shard::new(id, threads, config.trace_lines)).collect();
        Self { shards, network, config, now: 0, len: 0 }
    }

    /// World time.
    pub fn now(&self) -> Instant {
        Instant::from_nanos(self.now)
    }

    /// Number of nodes ever added.
    pub fn len(&self) -> u32 {
        self.len
    }

    /// Whether there are no nodes.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The network, for inspection.
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// The network, for changes. They do not affect what is already in flight.
    pub fn network_mut(&mut self) -> &mut Network {
        &mut self.network
    }

    /// Adds a node; its index is the number of earlier nodes, its address
    /// [`super::address_of`]`(index, 0)`.
    pub fn add(&mut self, node: N) -> u32 {
        let index = self.len;
        self.len += 1;
        let shards = self.shards.len();
        let shard = &mut self.shards[index as usize % shards];
        let (seed, buffer) = (self.config.seed, self.config.socket_buffer_bytes);
        shard.slots.push(Slot::new(index, node, seed, buffer));
        for shard in &mut self.shards {
            shard.post.nodes = self.len;
        }
        self.touch(index);
        index
    }

    /// A running (or paused) node; `None` after a crash.
    pub fn node(&self, index: u32) -> Option<&N> {
        self.slot(index)?.node.as_ref()
    }

    /// Calls a node at the current time of its own clock and processes its outputs. `None` if it
    /// has crashed.
    pub fn with_node<R>(
        &mut self,
        index: u32,
        call: impl FnOnce(&mut N, Instant) -> R,
    ) -> Option<R> {
        let slot = self.slot_mut(index)?;
        let local = Instant::from_nanos(slot.1.saturating_add(slot.0.clock_ahead));
        let result = call(slot.0.node.as_mut()?, local);
        self.touch(index);
        Some(result)
    }

    /// Kills a node's process. With `host` its machine fails, too: connections time out instead of
    /// being refused. Returns the dead engine.
    pub fn crash(&mut self, index: u32, host: bool) -> Option<N> {
        self.note_fault(index, "crash");
        self.slot_mut(index)?.0.crash(host)
    }

    /// Restarts a crashed node, with a new address if `moved`.
    ///
    /// The new engine must announce [`World::address`].
    pub fn restart(&mut self, index: u32, moved: bool, build: impl FnOnce(Instant) -> N) {
        self.note_fault(index, "restart");
        let Some((slot, now)) = self.slot_mut(index) else { return };
        if slot.node.is_some() {
            slot.crash(false);
        }
        slot.moves += u8::from(moved);
        slot.host_down = false;
        slot.node = Some(build(slot.local(now)));
        self.touch(index);
    }

    /// The current address of a node.
    pub fn address(&self, index: u32) -> std::net::SocketAddr {
        super::address_of(index, self.slot(index).map_or(0, |slot| slot.moves))
    }

    /// How often a node's process was restarted.
    pub fn life(&self, index: u32) -> u32 {
        self.slot(index).map_or(0, |slot| slot.life)
    }

    /// Delivers a forged datagram to a node now, as if `from` had sent it.
    pub fn inject(&mut self, index: u32, from: std::net::SocketAddr, datagram: &[u8]) {
        self.with_node(index, |node, now| node.handle_packet(now, from, datagram));
    }

    /// Stops a node's process like SIGSTOP: packets wait in its socket buffer.
    pub fn pause(&mut self, index: u32) {
        self.note_fault(index, "pause");
        if let Some((slot, _)) = self.slot_mut(index) {
            slot.stop(Run::Paused);
        }
    }

    /// Blocks all packets of a node, incoming and outgoing, while its timers run: the anomaly of
    /// the Lifeguard paper.
    pub fn block_io(&mut self, index: u32) {
        self.note_fault(index, "block");
        if let Some((slot, _)) = self.slot_mut(index) {
            slot.stop(Run::Blocked);
        }
    }

    /// Ends a pause or a block.
    pub fn resume(&mut self, index: u32) {
        self.note_fault(index, "resume");
        let (now, shards) = (self.now, self.shards.len());
        let Some(shard) = self.shards.get_mut(index as usize % shards) else { return };
        let Some(slot) = shard.slots.get_mut(index as usize / shards) else { return };
        if slot.run != Run::Up {
            slot.resume(now, &mut shard.post, &self.network);
            slot.take_observations(now, &mut shard.observations);
        }
        self.deliver();
    }

    /// Steps a node's clock forward, as a resumed virtual machine sees it. (The engines' clock is
    /// monotonic: backward steps cannot reach them.)
    pub fn step_clock(&mut self, index: u32, by: Duration) {
        self.note_fault(index, "clock");
        if let Some((slot, _)) = self.slot_mut(index) {
            slot.clock_ahead += u64::try_from(by.as_nanos()).unwrap_or(0);
            slot.timer_at = u64::MAX;
        }
        self.touch(index);
    }

    /// Whether a node's process is running: not crashed, paused or blocked.
    pub fn is_running(&self, index: u32) -> bool {
        self.slot(index).is_some_and(|slot| slot.node.is_some() && slot.run == Run::Up)
    }

    /// Traffic of a node.
    pub fn counters(&self, index: u32) -> Counters {
        self.slot(index).map(|slot| slot.counters).unwrap_or_default()
    }

    /// Traffic of all nodes.
    pub fn counters_total(&self) -> Counters {
        let mut total = Counters::default();
        for counters in self.shards.iter().flat_map(|shard| &shard.slots).map(|s| s.counters) {
            total.packets_sent += counters.packets_sent;
            total.bytes_sent += counters.bytes_sent;
            total.packets_received += counters.packets_received;
            total.bytes_received += counters.bytes_received;
            total.gossip_sent += counters.gossip_sent;
            total.overflowed += counters.overflowed;
            total.strange_bytes_sent += counters.strange_bytes_sent;
            total.streams += counters.streams;
            total.stream_bytes_sent += counters.stream_bytes_sent;
            let groups = total.group_bytes_sent.iter_mut().zip(counters.group_bytes_sent);
            groups.for_each(|(total, bytes)| *total += bytes);
        }
        total
    }

    /// Number of events handled since the start.
    pub fn events_handled(&self) -> u64 {
        self.shards.iter().map(|shard| shard.events).sum()
    }

    /// Runs for a period of virtual time.
    pub fn run_for(&mut self, time: Duration) {
        self.run_until(self.now() + time);
    }

    /// Runs until world time `end`; events due at `end` itself are not handled.
    pub fn run_until(&mut self, end: Instant) {
        let end = end.as_nanos();
        if let [shard] = self.shards.as_mut_slice() {
            shard.run_before(end, &self.network);
        } else {
            parallel::run(&mut self.shards, &self.network, end);
        }
        self.now = self.now.max(end);
    }

    /// Takes the nodes' observations since the last call, by time and observer.
    pub fn take_observations(&mut self) -> Vec<Observation> {
        let mut all: Vec<_> =
            self.shards.iter_mut().flat_map(|shard| shard.observations.drain(..)).collect();
        all.sort_by_key(|seen| (seen.at, seen.observer));
        all
    }

    /// The last lines of the trace: seconds, node, what, peer, bytes.
    pub fn trace(&self) -> String {
        Trace::print(self.shards.iter().map(|shard| &shard.post.trace))
    }

    /// Processes a node's outputs and sets its timer, after a call from outside.
    fn touch(&mut self, index: u32) {
        let (now, shards) = (self.now, self.shards.len());
        let Some(shard) = self.shards.get_mut(index as usize % shards) else { return };
        let Some(slot) = shard.slots.get_mut(index as usize / shards) else { return };
        slot.settle(now, &mut shard.post, &self.network);
        slot.take_observations(now, &mut shard.observations);
        self.deliver();
    }

    /// Delivers events between shards outside a run.
    fn deliver(&mut self) {
        for from in 0..self.shards.len() {
            for to in 0..self.shards.len() {
                let events: Vec<_> = self.shards[from].post.away[to].drain(..).collect();
                for event in events {
                    self.shards[to].post.queue.push(event);
                }
            }
            self.shards[from].post.away_at = u64::MAX;
        }
    }

    fn note_fault(&mut self, index: u32, name: &'static str) {
        let (now, shards) = (self.now, self.shards.len());
        if let Some(shard) = self.shards.get_mut(index as usize % shards) {
            shard.post.trace.add(now, index, What::Fault(name), u32::MAX, 0);
        }
    }

    fn slot(&self, index: u32) -> Option<&Slot<N>> {
        let shards = self.shards.len();
        self.shards.get(index as usize % shards)?.slots.get(index as usize / shards)
    }

    fn slot_mut(&mut self, index: u32) -> Option<(&mut Slot<N>, u64)> {
        let (now, shards) = (self.now, self.shards.len());
        let shard = self.shards.get_mut(index as usize % shards)?;
        Some((shard.slots.get_mut(index as usize / shards)?, now))
    }
}

// Events are sent between threads.
const _: () = {
    const fn send<T: Send>() {}
    send::<Kind>();
};

#[cfg(test)]
mod tests;
