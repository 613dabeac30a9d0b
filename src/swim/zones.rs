//! Zones: groups of nodes that gossip and sync mostly among themselves. A few bridges of each zone,
//! which all nodes derive from their tables, carry news to the other zones.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::draw::draw;
use crate::base::Rng;

/// Which zone each node of the table is in. Nodes that announce no zone, Go's among them, are in a
/// zone of their own: they gossip everywhere, and the others' bridges reach them like any zone.
#[cfg_attr(feature = "sim", derive(Clone))]
#[derive(Debug, Default)]
pub(super) struct Zones {
    zones: Vec<Zone>,
    free: Vec<u32>,
    by_name: BTreeMap<Option<Arc<str>>, u32>,
    /// Zones with a node that gossip may reach, in arbitrary order.
    active: Vec<u32>,
    /// By slot of the table.
    places: Vec<Place>,
}

#[cfg_attr(feature = "sim", derive(Clone))]
#[derive(Debug, Default)]
struct Zone {
    name: Option<Arc<str>>,
    /// Rows of the table that are in this zone, whatever their state.
    rows: usize,
    /// Slots of the nodes that receive gossip, in arbitrary order.
    nodes: Vec<u32>,
    /// Alive nodes by name; the first are the bridges.
    alive: BTreeSet<(Arc<str>, u32)>,
    /// Index in `Zones::active`, if there are nodes.
    active_at: u32,
}

/// Where a slot is in its zone.
#[cfg_attr(feature = "sim", derive(Clone))]
#[derive(Debug)]
struct Place {
    zone: u32,
    /// Index in `Zone::nodes`.
    at: u32,
    /// The node's name while it is alive.
    alive: Option<Arc<str>>,
}

impl Default for Place {
    fn default() -> Self {
        Self { zone: NOWHERE, at: NOWHERE, alive: None }
    }
}

impl Zones {
    /// Puts a row in a zone.
    pub(super) fn assign(&mut self, slot: u32, name: Option<Arc<str>>) {
        let zone = match self.by_name.get(&name) {
            Some(zone) => *zone,
            None => self.open(name),
        };
        let old = self.place(slot).map_or(NOWHERE, |place| place.zone);
        if old == zone {
            return;
        }
        let (listed, alive) = self
            .place(slot)
            .map_or((false, None), |place| (place.at != NOWHERE, place.alive.clone()));
        self.forget(slot);
        if self.places.len() <= slot as usize {
            self.places.resize_with(slot as usize + 1, Place::default);
        }
        if let Some(place) = self.places.get_mut(slot as usize) {
            place.zone = zone;
        }
        if let Some(zone) = self.zones.get_mut(zone as usize) {
            zone.rows += 1;
        }
        self.set_listed(slot, listed);
        self.set_alive(slot, alive);
    }

    /// Whether the node in a slot receives gossip.
    pub(super) fn set_listed(&mut self, slot: u32, listed: bool) {
        let Some(place) = self.places.get_mut(slot as usize) else { return };
        let Some(zone) = self.zones.get_mut(place.zone as usize) else { return };
        if listed == (place.at != NOWHERE) {
            return;
        }
        let number = place.zone;
        if listed {
            place.at = zone.nodes.len() as u32;
            zone.nodes.push(slot);
            if zone.nodes.len() == 1 {
                zone.active_at = self.active.len() as u32;
                self.active.push(number);
            }
            return;
        }
        let at = std::mem::replace(&mut place.at, NOWHERE);
        zone.nodes.swap_remove(at as usize);
        let (moved, empty) = (zone.nodes.get(at as usize).copied(), zone.nodes.is_empty());
        let active_at = zone.active_at;
        if let Some(place) = moved.and_then(|slot| self.places.get_mut(slot as usize)) {
            place.at = at;
        }
        if empty {
            self.active.swap_remove(active_at as usize);
            let moved = self.active.get(active_at as usize).copied();
            if let Some(zone) = moved.and_then(|zone| self.zones.get_mut(zone as usize)) {
                zone.active_at = active_at;
            }
        }
    }

    /// The name of the node in a slot, if it is alive and so may be a bridge.
    pub(super) fn set_alive(&mut self, slot: u32, name: Option<Arc<str>>) {
        let Some(place) = self.places.get_mut(slot as usize) else { return };
        let Some(zone) = self.zones.get_mut(place.zone as usize) else { return };
        if place.alive.is_some() == name.is_some() {
            return;
        }
        let old = std::mem::replace(&mut place.alive, name.clone());
        if let Some(name) = old {
            zone.alive.remove(&(name, slot));
        }
        if let Some(name) = name {
            zone.alive.insert((name, slot));
        }
    }

    /// The row in a slot is removed.
    pub(super) fn forget(&mut self, slot: u32) {
        self.set_alive(slot, None);
        self.set_listed(slot, false);
        let Some(place) = self.places.get_mut(slot as usize) else { return };
        let number = std::mem::replace(&mut place.zone, NOWHERE);
        let Some(zone) = self.zones.get_mut(number as usize) else { return };
        zone.rows -= 1;
        if zone.rows == 0 {
            self.by_name.remove(&zone.name.take());
            self.free.push(number);
        }
    }

    /// The zone of a node that announces one, as seen from the node.
    pub(super) fn home(&self, slot: u32) -> Option<Home<'_>> {
        let number = self.place(slot)?.zone;
        let zone = self.zones.get(number as usize)?;
        zone.name.as_ref()?;
        let is_bridge = zone.bridges().any(|bridge| bridge == slot);
        Some(Home { zones: self, number, zone, is_bridge })
    }

    /// What the lists contain, after a check of their links.
    #[cfg(test)]
    pub(super) fn contents(&self) -> Contents {
        assert_eq!(self.zones.len(), self.by_name.len() + self.free.len());
        let active = self.active.iter().enumerate().map(|(index, number)| {
            let zone = self.zones.get(*number as usize).unwrap();
            assert_eq!(zone.active_at as usize, index);
            let names = zone.alive.iter().map(|(name, _)| Arc::clone(name)).collect();
            (zone.name.clone(), (zone.nodes.iter().copied().collect(), names))
        });
        active.collect()
    }

    fn place(&self, slot: u32) -> Option<&Place> {
        self.places.get(slot as usize)
    }

    fn open(&mut self, name: Option<Arc<str>>) -> u32 {
        let number = self.free.pop().unwrap_or_else(|| {
            self.zones.push(Zone::default());
            (self.zones.len() - 1) as u32
        });
        if let Some(zone) = self.zones.get_mut(number as usize) {
            zone.name = name.clone();
        }
        self.by_name.insert(name, number);
        number
    }
}

/// Slots that receive gossip and names of alive nodes, by zone.
#[cfg(test)]
pub(super) type Contents = BTreeMap<Option<Arc<str>>, (BTreeSet<u32>, Vec<Arc<str>>)>;

impl Zone {
    fn bridges(&self) -> impl Iterator<Item = u32> {
        self.alive.iter().take(BRIDGES).map(|(_, slot)| *slot)
    }

    fn bridge(&self, rng: &mut Rng) -> Option<u32> {
        let bridges = self.alive.len().min(BRIDGES);
        (bridges > 0).then(|| self.bridges().nth(rng.below(bridges))).flatten()
    }

    /// A node that gossip from outside goes to: as often a bridge, which reaches further zones, as
    /// any other, in case what is known of the bridges is out of date.
    fn contact(&self, rng: &mut Rng) -> Option<u32> {
        if rng.below(2) == 0
            && let Some(bridge) = self.bridge(rng)
        {
            return Some(bridge);
        }
        self.nodes.get(rng.below(self.nodes.len().max(1))).copied()
    }
}

/// A node's own zone and its part in it.
pub(super) struct Home<'z> {
    zones: &'z Zones,
    number: u32,
    zone: &'z Zone,
    is_bridge: bool,
}

/// The nodes of which one is synced with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Partners<'z> {
    /// With one of these slots.
    Zone(&'z [u32]),
    /// With any node.
    Anyone,
}

impl<'z> Home<'z> {
    /// Whether the node carries news to other zones.
    pub(super) fn is_bridge(&self) -> bool {
        self.is_bridge
    }

    /// Slots of the zone's nodes that receive gossip, the node itself among them.
    pub(super) fn nodes(&self) -> &'z [u32] {
        &self.zone.nodes
    }

    /// Nodes that a gossip round reaches beside random ones of the zone: for a bridge, one each of
    /// up to `k` other zones; for others now and then a bridge of their own zone.
    pub(super) fn links(&self, k: usize, rng: &mut Rng) -> Vec<u32> {
        if self.is_bridge {
            let others = self.others(k, rng);
            return others.into_iter().filter_map(|zone| zone.contact(rng)).collect();
        }
        let nodes = self.zone.nodes.len();
        let packets = BRIDGES * BRIDGE_PACKETS;
        let reports = rng.below(nodes.max(BRIDGE_ROUNDS * packets)) < packets;
        self.zone.bridge(rng).filter(|_| reports).into_iter().collect()
    }

    /// Whether a round of a node that is no bridge has one target out of all nodes: this share of
    /// gossip arrives even if the nodes disagree about zones and bridges.
    pub(super) fn strays(&self, rng: &mut Rng) -> bool {
        !self.is_bridge && rng.below(STRAY_ROUNDS) == 0
    }

    /// The nodes to sync with: for a bridge every other time another zone's, for others seldom.
    pub(super) fn partners(&self, rng: &mut Rng) -> Partners<'z> {
        if !self.is_bridge {
            return match rng.below(STRAY_SYNCS) {
                0 => Partners::Anyone,
                _ => Partners::Zone(&self.zone.nodes),
            };
        }
        let other = (rng.below(2) == 0).then(|| self.others(1, rng).first().copied()).flatten();
        Partners::Zone(&other.unwrap_or(self.zone).nodes)
    }

    /// Up to `k` random other zones.
    fn others(&self, k: usize, rng: &mut Rng) -> Vec<&'z Zone> {
        let active = &self.zones.active;
        let number = self.number;
        let pick = |index| active.get(index).copied().filter(|zone: &u32| *zone != number);
        let numbers = draw(active.len(), k, rng, pick);
        numbers.into_iter().filter_map(|zone| self.zones.zones.get(zone as usize)).collect()
    }
}

/// Bridges of a zone: its alive nodes with the lowest names.
const BRIDGES: usize = 3;
/// Packets that a bridge receives in a gossip round from its zone at most, on average.
const BRIDGE_PACKETS: usize = 16;
/// Least rounds between two packets from a node to a bridge of its zone, on average.
const BRIDGE_ROUNDS: usize = 4;
/// Rounds of which one has a target out of all nodes.
const STRAY_ROUNDS: usize = 16;
/// Syncs of which one has a partner out of all nodes.
const STRAY_SYNCS: usize = 16;
const NOWHERE: u32 = u32::MAX;
