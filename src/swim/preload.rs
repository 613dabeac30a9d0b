//! For the simulator: engines of a cluster that has already formed.

use std::sync::Arc;

use super::{
    Config, NodeStateKind, Swim, queue::BroadcastQueue, row::Record, table::Table, timer::Timer,
};
use crate::{
    base::{Instant, Rng, Timers},
    wire::{Incarnation, RawAddr},
};

/// The table of a formed cluster, built once and copied into each engine: the copies share all
/// pages and names, so that 100,000 tables of 100,000 rows fit into memory.
pub struct Cast {
    table: Table,
    rng: Rng,
}

impl Default for Cast {
    fn default() -> Self {
        Self { table: Table::new(0), rng: Rng::from_u64(0) }
    }
}

impl Cast {
    /// Adds a node as its engine would announce it at the start, with the given meta and in the
    /// zone that its host would see in it.
    pub fn add(&mut self, config: &Config, meta: &[u8], zone: Option<Arc<str>>) {
        let Some(addr) = RawAddr::from_wire(&config.advertise_addr) else { return };
        let record = Record {
            name: config.name.clone(),
            addr,
            port: config.advertise_port,
            meta: meta.into(),
            vsn: super::engine::versions(config),
        };
        let slot = self.table.insert(Arc::new(record), &mut self.rng);
        if config.zones && self.table.zones().is_none() {
            self.table.keep_zones();
        }
        self.table.set_zone(slot, zone);
        self.table.set_state(slot, NodeStateKind::Alive, Instant::ZERO);
        if let Some(row) = self.table.get_mut(slot) {
            row.incarnation = Incarnation(1);
        }
    }

    /// All nodes have been added: lets the copies share the names, too.
    pub fn complete(&mut self) {
        self.table.share_names();
        self.table.digest_pages();
    }
}

impl Swim {
    /// Fills the table of a new engine with all nodes, itself included; nothing is queued.
    pub fn preload(&mut self, now: Instant, cast: &Cast) {
        let Some(me) = cast.table.find(&self.config.name) else { return };
        self.table = cast.table.clone();
        self.table.reap(|_, _| false, &mut self.rng);
        self.me = me;
        self.queue = BroadcastQueue::default();
        // A cluster of this size would already use the scaled push/pull interval.
        self.timers = Timers::default();
        let (period, config) = (self.push_pull_period(), &self.config);
        for (period, timer) in [
            (config.probe_interval, Timer::ProbeTick),
            (config.gossip_interval, Timer::Gossip),
            (period, Timer::PushPull),
        ] {
            if !period.is_zero() {
                self.timers.set(now + period.mul_f64(self.rng.unit()), timer);
            }
        }
    }
}
