//! The node table: known nodes, their states, and the order in which they are probed.

use std::{
    collections::{BTreeMap, BTreeSet},
    hash::BuildHasher as _,
    net::SocketAddr,
    sync::Arc,
};

use super::{
    NodeStateKind,
    addrs::{Addr, Addrs},
    draw::draw,
    order::Order,
    page::{Page, Pages, Stamp},
    row::{Record, Row},
    zones::Zones,
};
use crate::{
    base::{Instant, Names, Rng, SeededHash},
    wire::Incarnation,
};

/// All known nodes. A slot identifies a row while the node is listed.
#[cfg_attr(feature = "sim", derive(Clone))]
#[derive(Debug)]
pub(super) struct Table {
    rows: Pages,
    /// Free slots below the highest one in use.
    free: BTreeSet<u32>,
    names: Names,
    hash: SeededHash,
    order: Order,
    /// When the state of nodes that are not alive changed, by slot.
    changes: BTreeMap<u32, Instant>,
    /// Slots of recently dead nodes by time of death; these still receive gossip.
    recently_dead: BTreeMap<(Instant, u32), ()>,
    /// Rows by state: alive, suspect, dead, left.
    counts: [usize; 4],
    /// Bytes of all names and metas.
    bytes: usize,
    addrs: Addrs,
    zones: Option<Box<Zones>>,
}

impl Table {
    /// `hash_seed` prevents peers from choosing names that collide.
    pub(super) fn new(hash_seed: u64) -> Self {
        Self {
            rows: Pages::default(),
            free: BTreeSet::new(),
            names: Names::default(),
            hash: SeededHash(hash_seed),
            order: Order::default(),
            changes: BTreeMap::new(),
            recently_dead: BTreeMap::new(),
            counts: [0; 4],
            bytes: 0,
            addrs: Addrs::default(),
            zones: None,
        }
    }

    /// Number of rows by state: alive, suspect, dead, left.
    pub(super) fn state_counts(&self) -> [usize; 4] {
        self.counts
    }

    /// A hash that peers cannot predict.
    pub(super) fn hash_of(&self, value: &impl std::hash::Hash) -> u64 {
        self.hash.hash_one(value)
    }

    /// Increases whenever a row may have changed or been added or removed.
    pub(super) fn generation(&self) -> u64 {
        self.rows.changes()
    }

    /// Bytes of all names and metas, the variable part of rows.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    fn count(&mut self, state: NodeStateKind, by: isize) {
        let [alive, suspect, dead, left] = &mut self.counts;
        let count = match state {
            NodeStateKind::Alive => alive,
            NodeStateKind::Suspect => suspect,
            NodeStateKind::Dead => dead,
            NodeStateKind::Left => left,
        };
        *count = count.saturating_add_signed(by);
    }

    pub(super) fn find(&self, name: &str) -> Option<u32> {
        let hash = self.name_hash(name);
        let is_it = |slot| self.get(slot).is_some_and(|row| &*row.record.name == name);
        self.names.find(hash, is_it)
    }

    fn name_hash(&self, name: &str) -> u32 {
        self.hash.hash_one(name) as u32
    }

    /// Whether a node with this address is listed; `name` is the name claimed by the sender, which
    /// makes the look-up cheap if it is right.
    pub(super) fn has_addr(&mut self, addr: SocketAddr, name: &[u8]) -> bool {
        let addr = (addr.ip().to_canonical(), addr.port());
        let named = std::str::from_utf8(name).ok().and_then(|name| self.find(name));
        if named.is_some_and(|slot| addr_of(&self.rows, slot) == Some(addr)) {
            return true;
        }
        let Self { rows, addrs, .. } = self;
        addrs.has(addr, rows.slots(), |slot| addr_of(rows, slot))
    }

    /// Replaces a node's record.
    pub(super) fn set_record(&mut self, slot: u32, record: Arc<Record>) {
        let before = addr_of(&self.rows, slot);
        if let Some(row) = self.get_mut(slot) {
            let after = record.bytes();
            let before = std::mem::replace(&mut row.record, record).bytes();
            self.bytes = self.bytes + after - before;
        }
        let after = addr_of(&self.rows, slot);
        if before != after {
            self.addrs.remove(before, slot);
            self.addrs.insert(after, slot);
        }
    }

    pub(super) fn get(&self, slot: u32) -> Option<&Row> {
        self.rows.get(slot)
    }

    pub(super) fn get_mut(&mut self, slot: u32) -> Option<&mut Row> {
        self.rows.get_mut(slot)
    }

    /// When the state of a node changed; unknown of an alive one.
    pub(super) fn changed_at(&self, slot: u32) -> Instant {
        self.changes.get(&slot).copied().unwrap_or(Instant::ZERO)
    }

    /// Adds a node in state dead, at a random position of the probe order. Go: `state.go`,
    /// `aliveNode`.
    pub(super) fn insert(&mut self, record: Arc<Record>, rng: &mut Rng) -> u32 {
        let hash = self.name_hash(&record.name);
        self.bytes += record.bytes();
        let slot = self.free.pop_first().unwrap_or(self.rows.slots());
        self.rows
            .put(slot, Row { record, incarnation: Incarnation(0), state: NodeStateKind::Dead });
        self.names.insert(hash, slot);
        self.order.cover(self.rows.slots(), rng);
        self.count(NodeStateKind::Dead, 1);
        self.addrs.insert(addr_of(&self.rows, slot), slot);
        slot
    }

    /// Changes the state of a node and records the time.
    pub(super) fn set_state(&mut self, slot: u32, state: NodeStateKind, now: Instant) {
        let old_change = self.changed_at(slot);
        let Some(row) = self.get_mut(slot) else { return };
        let old_state = std::mem::replace(&mut row.state, state);
        self.count(old_state, -1);
        self.count(state, 1);
        self.recently_dead.remove(&(old_change, slot));
        match state {
            NodeStateKind::Alive => drop(self.changes.remove(&slot)),
            NodeStateKind::Suspect | NodeStateKind::Dead | NodeStateKind::Left => {
                self.changes.insert(slot, now);
            }
        }
        if state == NodeStateKind::Dead {
            self.recently_dead.insert((now, slot), ());
        }
        if self.zones.is_some() {
            self.set_state_in_zone(slot, state);
        }
    }

    fn set_state_in_zone(&mut self, slot: u32, state: NodeStateKind) {
        let row = self.get(slot).filter(|_| state == NodeStateKind::Alive);
        let name = row.map(|row| Arc::clone(&row.record.name));
        if let Some(zones) = &mut self.zones {
            zones.set_listed(slot, state != NodeStateKind::Left);
            zones.set_alive(slot, name);
        }
    }

    /// Removes the rows for which `forget`, given the time of their last change, returns true, and
    /// begins a round of probes in a new order. Go: `state.go`, `resetNodes`.
    pub(super) fn reap(&mut self, forget: impl Fn(&Row, Instant) -> bool, rng: &mut Rng) {
        let gone = |(slot, row): &(u32, &Row)| forget(row, self.changed_at(*slot));
        let gone: Vec<_> = self.rows_from(0).filter(gone).map(|(slot, _)| slot).collect();
        for slot in &gone {
            self.remove(*slot);
        }
        if !gone.is_empty() {
            self.rows.trim();
            self.free.split_off(&self.rows.slots());
        }
        self.order.begin(self.rows.slots(), rng);
    }

    /// Removes nodes that died before `since` from the recently dead.
    pub(super) fn expire_recently_dead(&mut self, since: Instant) {
        while let Some(entry) = self.recently_dead.first_entry().filter(|e| e.key().0 < since) {
            let (_, slot) = entry.remove_entry().0;
            if let Some(zones) = &mut self.zones {
                zones.set_listed(slot, false);
            }
        }
    }

    /// The slot that comes next in the round of probes; it may be free. `None` at the end of the
    /// round.
    pub(super) fn next_in_round(&mut self) -> Option<u32> {
        self.order.advance()
    }

    /// Goes back by some slots in the round of probes.
    pub(super) fn go_back_in_round(&mut self, slots: u32) {
        self.order.go_back(slots);
    }

    /// The most slots that [`Table::next_in_round`] gives in a round.
    pub(super) fn round_len(&self) -> u32 {
        self.order.places()
    }

    /// Nodes listed, including dead and left ones.
    pub(super) fn len(&self) -> usize {
        self.counts.iter().sum()
    }

    /// Nodes alive or suspect.
    pub(super) fn live_len(&self) -> usize {
        let [alive, suspect, ..] = self.counts;
        alive + suspect
    }

    /// All rows, by slot.
    pub(super) fn rows(&self) -> impl Iterator<Item = &Row> {
        self.rows_from(0).map(|(_, row)| row)
    }

    /// The rows from a slot on, with their slots: an order that is stable while rows are added and
    /// removed.
    pub(super) fn rows_from(&self, slot: u32) -> impl Iterator<Item = (u32, &Row)> {
        self.rows.rows_from(slot)
    }

    /// Up to `k` distinct nodes that `wanted` accepts, each set equally likely, among the live and
    /// (if requested) the recently dead ones. Draws without replacement, so that no accepted node
    /// is missed.
    pub(super) fn sample(
        &self,
        k: usize,
        with_dead: bool,
        rng: &mut Rng,
        wanted: impl Fn(u32, &Row) -> bool,
    ) -> Vec<u32> {
        let receives = |slot: u32, row: &Row| match row.state {
            NodeStateKind::Alive | NodeStateKind::Suspect => true,
            NodeStateKind::Dead => {
                with_dead && self.recently_dead.contains_key(&(self.changed_at(slot), slot))
            }
            NodeStateKind::Left => false,
        };
        let pick = |slot: u32| {
            let row = self.get(slot)?;
            (receives(slot, row) && wanted(slot, row)).then_some(slot)
        };
        let slots = self.rows.slots();
        if slots as usize <= FEW_OF * (self.live_len() + self.recently_dead.len()) {
            return draw(slots as usize, k, rng, |slot| pick(slot as u32));
        }
        // Most draws would miss.
        let all: Vec<_> = self.rows_from(0).filter_map(|(slot, _)| pick(slot)).collect();
        draw(all.len(), k, rng, |index| all.get(index).copied())
    }

    /// The pages of rows from this one on, with their stamps.
    pub(super) fn stamped_pages(&mut self, first: usize) -> impl Iterator<Item = (Stamp, &Page)> {
        self.rows.stamped_from(first)
    }

    /// The pages of rows, in the order of their slots.
    #[cfg(feature = "sim")]
    pub(super) fn pages(&self) -> &[Arc<Page>] {
        self.rows.pages()
    }

    /// Digests the pages that have changed.
    #[cfg(feature = "sim")]
    pub(super) fn digest_pages(&mut self) {
        self.rows.digest();
    }

    /// Shares a page that another table holds, if ours is equal.
    #[cfg(feature = "sim")]
    pub(super) fn adopt(&mut self, index: usize, page: &Arc<Page>) {
        self.rows.adopt(index, page);
    }

    /// Lets copies of this table share its names.
    #[cfg(feature = "sim")]
    pub(super) fn share_names(&mut self) {
        self.names.share();
    }

    /// The zones, if gossip follows them.
    pub(super) fn zones(&self) -> Option<&Zones> {
        self.zones.as_deref()
    }

    pub(super) fn with_zones(mut self, zones: bool) -> Self {
        if zones {
            self.keep_zones();
        }
        self
    }

    /// Starts to keep the zones of rows, before there are any.
    pub(super) fn keep_zones(&mut self) {
        self.zones = Some(Box::default());
    }

    /// Puts a node in a zone; `None` if it announces none.
    pub(super) fn set_zone(&mut self, slot: u32, name: Option<Arc<str>>) {
        if let Some(zones) = &mut self.zones {
            zones.assign(slot, name);
        }
    }

    fn remove(&mut self, slot: u32) {
        if let Some(zones) = &mut self.zones {
            zones.forget(slot);
        }
        self.addrs.remove(addr_of(&self.rows, slot), slot);
        let Some(row) = self.rows.take(slot) else { return };
        self.count(row.state, -1);
        self.bytes -= row.record.bytes();
        let change = self.changes.remove(&slot).unwrap_or(Instant::ZERO);
        self.recently_dead.remove(&(change, slot));
        self.names.remove(self.name_hash(&row.record.name), slot);
        self.free.insert(slot);
    }
}

/// Where the node in a slot is reached.
fn addr_of(rows: &Pages, slot: u32) -> Option<Addr> {
    let record = &rows.get(slot)?.record;
    Some((record.addr.ip()?, record.port))
}

/// With more slots than this for each node that may be drawn, such nodes are listed first.
const FEW_OF: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{RawAddr, Vsn};

    fn record(name: &str) -> Arc<Record> {
        let addr = RawAddr::from_wire(&[127, 0, 0, 1]).unwrap();
        Arc::new(Record { name: name.into(), addr, port: 1, meta: [].into(), vsn: Vsn::default() })
    }

    fn table(n: usize, rng: &mut Rng) -> Table {
        let mut table = Table::new(1);
        for index in 0..n {
            let slot = table.insert(record(&format!("n{index}")), rng);
            table.set_state(slot, NodeStateKind::Alive, Instant::ZERO);
        }
        table
    }

    #[test]
    fn sampling_finds_every_wanted_node_at_every_size() {
        let mut rng = Rng::from_u64(1);
        for n in 0..=20 {
            let table = table(n, &mut rng);
            for k in 0..=n + 1 {
                let mut slots = table.sample(k, false, &mut rng, |_, _| true);
                assert_eq!(slots.len(), k.min(n), "n = {n}, k = {k}");
                slots.sort_unstable();
                slots.dedup();
                assert_eq!(slots.len(), k.min(n), "distinct: n = {n}, k = {k}");
            }
        }
    }

    #[test]
    fn sampling_is_uniform() {
        let mut rng = Rng::from_u64(2);
        let table = table(10, &mut rng);
        let mut hits = [0_u32; 10];
        for _ in 0..10_000 {
            for slot in table.sample(3, false, &mut rng, |slot, _| slot != 0) {
                hits[slot as usize] += 1;
            }
        }
        assert_eq!(hits[0], 0);
        assert!(hits[1..].iter().all(|hits| (3_000..3_700).contains(hits)), "{hits:?}");
    }

    #[test]
    fn reaping_forgets_the_old_dead_and_keeps_names_findable() {
        let mut rng = Rng::from_u64(3);
        let mut table = table(50, &mut rng);
        let now = Instant::from_nanos(100);
        for index in 0..25 {
            let slot = table.find(&format!("n{index}")).unwrap();
            table.set_state(slot, NodeStateKind::Dead, now);
        }
        assert_eq!((table.len(), table.live_len()), (50, 25));
        assert_eq!(table.state_counts(), [25, 0, 25, 0]);
        table.reap(|row, _| row.state == NodeStateKind::Dead, &mut rng);
        assert_eq!((table.len(), table.live_len()), (25, 25));
        assert_eq!(table.state_counts(), [25, 0, 0, 0]);
        assert!(table.sample(50, true, &mut rng, |_, _| true).len() == 25);
        for index in 0..50 {
            assert_eq!(table.find(&format!("n{index}")).is_some(), index >= 25);
        }
        let slot = table.insert(record("again"), &mut rng);
        assert_eq!(table.find("again"), Some(slot));
    }
}
