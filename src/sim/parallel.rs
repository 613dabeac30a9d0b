//! Runs the shards of a world on threads, in windows as long as the network's minimum delay.
//!
//! Nothing sent in a window can arrive in the same window, so the shards only synchronize between
//! windows; and as events are ordered by time, source and number, the result does not depend on the
//! number of threads.

use std::{
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    thread,
};

use super::{network::Network, node::Node, post::Kind, queue::Event, shard::Shard};

/// Data shared by the threads. There are two sets, used in turn: a set is written again only after
/// every thread has passed the next synchronization, so one synchronization per window is enough.
struct Exchange {
    threads: usize,
    next_at: [Vec<AtomicU64>; 2],
    /// `mail[set][from * threads + to]`.
    mail: [Vec<Mutex<Vec<Event<Kind>>>>; 2],
    arrived: AtomicUsize,
    meeting: AtomicUsize,
    failed: AtomicBool,
}

/// Runs all shards up to `end`.
pub(crate) fn run<N: Node>(shards: &mut [Shard<N>], network: &Network, end: u64) {
    let exchange = Exchange::new(shards.len());
    let Some((first, others)) = shards.split_first_mut() else { return };
    thread::scope(|scope| {
        for shard in others {
            let exchange = &exchange;
            scope.spawn(move || run_shard(shard, network, exchange, end));
        }
        run_shard(first, network, &exchange, end);
    });
}

fn run_shard<N: Node>(shard: &mut Shard<N>, network: &Network, exchange: &Exchange, end: u64) {
    let _guard = FailureGuard(exchange);
    let lookahead = network.latency_min();
    for set in (0..2).cycle() {
        exchange.publish(set, shard);
        if !exchange.meet() {
            return;
        }
        let start = exchange.collect(set, shard);
        if start >= end {
            return;
        }
        shard.run_before(end.min(start.saturating_add(lookahead)), network);
    }
}

impl Exchange {
    fn new(threads: usize) -> Self {
        Self {
            threads,
            next_at: [0, 1].map(|_| (0..threads).map(|_| AtomicU64::new(0)).collect()),
            mail: [0, 1].map(|_| (0..threads * threads).map(|_| Mutex::default()).collect()),
            arrived: AtomicUsize::new(0),
            meeting: AtomicUsize::new(0),
            failed: AtomicBool::new(false),
        }
    }

    /// Publishes the shard's outgoing events and the time of its next one.
    fn publish<N: Node>(&self, set: usize, shard: &mut Shard<N>) {
        let me = shard.post.shard;
        let own = shard.post.queue.next_at().unwrap_or(u64::MAX);
        let next_at = own.min(std::mem::replace(&mut shard.post.away_at, u64::MAX));
        for (to, events) in shard.post.away.iter_mut().enumerate() {
            if !events.is_empty()
                && let Ok(mut mail) = self.mail[set][me * self.threads + to].lock()
            {
                mail.append(events);
            }
        }
        self.next_at[set][me].store(next_at, Ordering::Relaxed);
    }

    /// Takes the events for this shard; returns the time of the next event of any shard.
    fn collect<N: Node>(&self, set: usize, shard: &mut Shard<N>) -> u64 {
        let me = shard.post.shard;
        for from in 0..self.threads {
            if let Ok(mut mail) = self.mail[set][from * self.threads + me].lock() {
                for event in mail.drain(..) {
                    shard.post.queue.push(event);
                }
            }
        }
        let times = self.next_at[set].iter().map(|at| at.load(Ordering::Relaxed));
        times.min().unwrap_or(u64::MAX)
    }

    /// Waits for all threads; returns false if one of them has failed.
    fn meet(&self) -> bool {
        let meeting = self.meeting.load(Ordering::Acquire);
        if self.arrived.fetch_add(1, Ordering::AcqRel) + 1 == self.threads {
            self.arrived.store(0, Ordering::Relaxed);
            self.meeting.store(meeting.wrapping_add(1), Ordering::Release);
            return true;
        }
        let mut spins = 0_u32;
        while self.meeting.load(Ordering::Acquire) == meeting {
            if self.failed.load(Ordering::Relaxed) {
                return false;
            }
            spins += 1;
            if spins < SPINS_MAX {
                std::hint::spin_loop();
            } else {
                thread::yield_now();
            }
        }
        true
    }
}

/// Notifies the other threads when this one panics, so that they do not wait for it.
struct FailureGuard<'a>(&'a Exchange);

impl Drop for FailureGuard<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.failed.store(true, Ordering::Relaxed);
        }
    }
}

/// A window lasts about ten microseconds: sleeping would take longer.
const SPINS_MAX: u32 = 1_000;
