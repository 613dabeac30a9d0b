//! The node table: known nodes, their states, and the order in which they are probed.

use std::{collections::BTreeMap, hash::BuildHasher as _, net::SocketAddr, sync::Arc};

use hashbrown::HashTable;

use super::{
    NodeStateKind, NodeView,
    addrs::{Addr, Addrs},
    draw::draw,
    zones::Zones,
};
use crate::{
    base::{Instant, Rng, SeededHash},
    wire::{Alive, Incarnation, NodeState, RawAddr, Vsn},
};

/// What a node announces about itself. Immutable and shared: a change creates a new record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) name: Arc<str>,
    pub(super) addr: RawAddr,
    pub(super) port: u16,
    pub(super) meta: Arc<[u8]>,
    pub(super) vsn: Vsn,
}

impl Record {
    /// The node's announcement as a message.
    pub(super) fn alive(&self, incarnation: Incarnation) -> Alive<'_> {
        Alive {
            incarnation,
            node: self.name.as_bytes(),
            addr: self.addr.as_slice().into(),
            port: self.port,
            meta: (&*self.meta).into(),
            vsn: self.vsn.as_slice().into(),
        }
    }

    fn bytes(&self) -> usize {
        self.name.len() + self.meta.len()
    }

    /// Whether the node checks the CRC of packets.
    pub(super) fn checks_crc(&self) -> bool {
        self.vsn.max() >= CRC_VERSION
    }
}

/// A row of the table.
#[cfg_attr(feature = "sim", derive(Clone))]
#[derive(Debug)]
pub(super) struct Row {
    pub(super) record: Arc<Record>,
    pub(super) state_change: Instant,
    pub(super) incarnation: Incarnation,
    /// Index in `Table::live`, if alive or suspect.
    live_at: u32,
    pub(super) state: NodeStateKind,
}

impl Row {
    pub(super) fn view(&self) -> NodeView<'_> {
        NodeView {
            name: &self.record.name,
            addr: self.record.addr.as_slice(),
            port: self.record.port,
            meta: &self.record.meta,
            vsn: self.record.vsn,
            incarnation: self.incarnation,
            state: self.state,
        }
    }

    /// The row for a push/pull.
    pub(super) fn to_wire(&self) -> NodeState<'_> {
        NodeState {
            name: self.record.name.as_bytes(),
            addr: self.record.addr.as_slice().into(),
            port: self.record.port,
            meta: (&*self.record.meta).into(),
            incarnation: self.incarnation,
            state: self.state.to_wire(),
            vsn: self.record.vsn.as_slice().into(),
        }
    }

    pub(super) fn socket_addr(&self) -> Option<SocketAddr> {
        self.record.addr.socket_addr(self.record.port)
    }
}

/// All known nodes. A slot identifies a row while the node is listed.
#[cfg_attr(feature = "sim", derive(Clone))]
#[derive(Debug)]
pub(super) struct Table {
    rows: Vec<Option<Row>>,
    free: Vec<u32>,
    names: HashTable<Named>,
    hash: SeededHash,
    /// Slots in probe order.
    order: Vec<u32>,
    /// Slots of alive and suspect nodes, in arbitrary order.
    live: Vec<u32>,
    /// Slots of recently dead nodes by time of death; these still receive gossip.
    recently_dead: BTreeMap<(Instant, u32), ()>,
    /// Rows by state: alive, suspect, dead, left.
    counts: [usize; 4],
    /// Bytes of all names and metas.
    bytes: usize,
    generation: u64,
    addrs: Addrs,
    zones: Option<Box<Zones>>,
}

impl Table {
    /// `hash_seed` prevents peers from choosing names that collide.
    pub(super) fn new(hash_seed: u64) -> Self {
        Self {
            rows: Vec::new(),
            free: Vec::new(),
            names: HashTable::new(),
            hash: SeededHash(hash_seed),
            order: Vec::new(),
            live: Vec::new(),
            recently_dead: BTreeMap::new(),
            counts: [0; 4],
            bytes: 0,
            generation: 0,
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
        self.generation
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
        let same = |named: &Named| {
            named.hash == hash && self.get(named.slot).is_some_and(|row| &*row.record.name == name)
        };
        self.names.find(spread(hash), same).map(|named| named.slot)
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
        addrs.has(addr, rows.len() as u32, |slot| addr_of(rows, slot))
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
        self.rows.get(slot as usize)?.as_ref()
    }

    pub(super) fn get_mut(&mut self, slot: u32) -> Option<&mut Row> {
        self.generation += 1;
        self.rows.get_mut(slot as usize)?.as_mut()
    }

    /// Adds a node in state dead, at a random position of the probe order. Go: `state.go`,
    /// `aliveNode`.
    pub(super) fn insert(&mut self, record: Arc<Record>, rng: &mut Rng) -> u32 {
        let hash = self.name_hash(&record.name);
        self.bytes += record.bytes();
        let row = Row {
            record,
            state_change: Instant::ZERO,
            incarnation: Incarnation(0),
            live_at: NOT_LIVE,
            state: NodeStateKind::Dead,
        };
        let slot = match self.free.pop() {
            Some(slot) => {
                if let Some(place) = self.rows.get_mut(slot as usize) {
                    *place = Some(row);
                }
                slot
            }
            None => {
                self.rows.push(Some(row));
                (self.rows.len() - 1) as u32
            }
        };
        self.names.insert_unique(spread(hash), Named { hash, slot }, |named| spread(named.hash));
        let at = rng.below(self.order.len());
        self.order.push(slot);
        let last = self.order.len() - 1;
        self.order.swap(at, last);
        self.count(NodeStateKind::Dead, 1);
        self.generation += 1;
        self.addrs.insert(addr_of(&self.rows, slot), slot);
        slot
    }

    /// Changes the state of a node and records the time.
    pub(super) fn set_state(&mut self, slot: u32, state: NodeStateKind, now: Instant) {
        let Some(row) = self.get_mut(slot) else { return };
        let (old_change, was_live) = (row.state_change, row.live_at != NOT_LIVE);
        let old_state = std::mem::replace(&mut row.state, state);
        row.state_change = now;
        self.count(old_state, -1);
        self.count(state, 1);
        self.recently_dead.remove(&(old_change, slot));
        match state {
            NodeStateKind::Alive | NodeStateKind::Suspect if !was_live => {
                let at = self.live.len() as u32;
                self.live.push(slot);
                if let Some(row) = self.get_mut(slot) {
                    row.live_at = at;
                }
            }
            NodeStateKind::Alive | NodeStateKind::Suspect => {}
            NodeStateKind::Dead | NodeStateKind::Left => {
                self.remove_live(slot);
                if state == NodeStateKind::Dead {
                    self.recently_dead.insert((now, slot), ());
                }
            }
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

    /// Removes the rows for which `forget` returns true, and shuffles the others. Go: `state.go`,
    /// `resetNodes`.
    pub(super) fn reap(&mut self, forget: impl Fn(&Row) -> bool, rng: &mut Rng) {
        let order = std::mem::take(&mut self.order);
        let (gone, mut kept): (Vec<_>, Vec<_>) =
            order.into_iter().partition(|slot| self.get(*slot).is_none_or(&forget));
        for slot in gone {
            self.remove(slot);
        }
        rng.shuffle(&mut kept);
        self.order = kept;
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

    /// The slot at a position of the probe order.
    pub(super) fn at(&self, place: usize) -> Option<u32> {
        self.order.get(place).copied()
    }

    /// Nodes listed, including dead and left ones.
    pub(super) fn len(&self) -> usize {
        self.order.len()
    }

    /// Nodes alive or suspect.
    pub(super) fn live_len(&self) -> usize {
        self.live.len()
    }

    /// All rows in probe order.
    pub(super) fn rows(&self) -> impl Iterator<Item = &Row> {
        self.order.iter().filter_map(|slot| self.get(*slot))
    }

    /// The rows from a slot on, with their slots: an order that is stable while rows are added and
    /// removed.
    pub(super) fn rows_from(&self, slot: u32) -> impl Iterator<Item = (u32, &Row)> {
        let rows = self.rows.get(slot as usize..).unwrap_or_default();
        (slot..).zip(rows).filter_map(|(slot, row)| Some((slot, row.as_ref()?)))
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
        let dead: Vec<u32> = if with_dead {
            self.recently_dead.keys().map(|(_, slot)| *slot).collect()
        } else {
            Vec::new()
        };
        let total = self.live.len() + dead.len();
        let pick = |index: usize| match index.checked_sub(self.live.len()) {
            None => self.live.get(index).copied(),
            Some(index) => dead.get(index).copied(),
        };
        draw(total, k, rng, |index| {
            let slot = pick(index)?;
            self.get(slot).is_some_and(|row| wanted(slot, row)).then_some(slot)
        })
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
        self.remove_live(slot);
        if let Some(zones) = &mut self.zones {
            zones.forget(slot);
        }
        self.addrs.remove(addr_of(&self.rows, slot), slot);
        let Some(row) = self.rows.get_mut(slot as usize).and_then(Option::take) else { return };
        self.count(row.state, -1);
        self.bytes -= row.record.bytes();
        self.recently_dead.remove(&(row.state_change, slot));
        let hash = spread(self.name_hash(&row.record.name));
        if let Ok(entry) = self.names.find_entry(hash, |named| named.slot == slot) {
            entry.remove();
        }
        self.free.push(slot);
    }

    fn remove_live(&mut self, slot: u32) {
        let Some(row) = self.get_mut(slot) else { return };
        let at = std::mem::replace(&mut row.live_at, NOT_LIVE);
        if at == NOT_LIVE {
            return;
        }
        self.live.swap_remove(at as usize);
        let moved = self.live.get(at as usize).copied();
        if let Some(row) = moved.and_then(|slot| self.get_mut(slot)) {
            row.live_at = at;
        }
    }
}

/// A slot and the hash of its name: when the table of names grows, no row is looked at.
#[cfg_attr(feature = "sim", derive(Clone))]
#[derive(Debug)]
struct Named {
    hash: u32,
    slot: u32,
}

/// A hash of which the upper and the lower bits count.
fn spread(hash: u32) -> u64 {
    u64::from(hash) << 32 | u64::from(hash)
}

/// Where the node in a slot is reached.
fn addr_of(rows: &[Option<Row>], slot: u32) -> Option<Addr> {
    let record = &rows.get(slot as usize)?.as_ref()?.record;
    Some((record.addr.ip()?, record.port))
}

/// Lowest memberlist protocol that checks CRCs.
const CRC_VERSION: u8 = 5;
const NOT_LIVE: u32 = u32::MAX;

#[cfg(test)]
mod tests {
    use super::*;

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
        table.reap(|row| row.state == NodeStateKind::Dead, &mut rng);
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
