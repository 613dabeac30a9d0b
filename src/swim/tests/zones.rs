//! Gossip that follows zones.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::swim::zones::Contents;

/// A node in zone a that knows 20 nodes in each of the zones a, b and none.
fn member(name: &str, own: &str) -> Node {
    let mut host = Notes { meta: own.into(), ..Notes::default() };
    let mut config = Config { zones: true, name: name.into(), ..quiet() };
    config.probe_interval = Duration::ZERO;
    let now = Instant::from_nanos(100_000_000_000);
    let swim = Swim::build(config, now, &mut host).unwrap();
    let mut node = Node { swim, host, now };
    for index in 0..60 {
        let (name, zone) = peer_of(index);
        node.alive_at(&name, 1, &[10, 0, 1, index], zone.as_bytes());
    }
    node.outputs();
    node
}

fn peer_of(index: u8) -> (String, &'static str) {
    let zone = ["a", "b", ""][usize::from(index % 3)];
    (format!("n{index:02}"), zone)
}

impl Node {
    /// How often each node is a target of this many rounds.
    fn targets(&mut self, rounds: usize, check: impl Fn(&[&str])) -> BTreeMap<String, usize> {
        let mut hits = BTreeMap::new();
        for _ in 0..rounds {
            let slots = self.swim.gossip_targets();
            let names: Vec<_> = slots.iter().map(|slot| self.name_of(*slot)).collect();
            let distinct: BTreeSet<_> = names.iter().collect();
            assert_eq!(distinct.len(), names.len(), "{names:?}");
            assert!(!names.iter().any(|name| name == self.swim.name().as_ref()), "{names:?}");
            let mut zones: Vec<_> = slots.iter().map(|slot| self.zone_of(*slot)).collect();
            zones.sort_unstable();
            check(&zones.iter().map(String::as_str).collect::<Vec<_>>());
            names.into_iter().for_each(|name| *hits.entry(name).or_default() += 1);
        }
        hits
    }

    fn name_of(&self, slot: u32) -> String {
        self.swim.table.get(slot).unwrap().record.name.to_string()
    }

    fn zone_of(&self, slot: u32) -> String {
        let meta = &self.swim.table.get(slot).unwrap().record.meta;
        String::from_utf8(meta.to_vec()).unwrap()
    }

    fn is_bridge(&self) -> bool {
        self.swim.table.zones().unwrap().home(self.swim.me).unwrap().is_bridge()
    }
}

/// The share of all hits that `counts` accepts.
fn share(hits: &BTreeMap<String, usize>, counts: impl Fn(u8) -> bool) -> f64 {
    let of = |name: &str| name.trim_start_matches('n').parse().is_ok_and(&counts);
    let all: usize = hits.values().sum();
    let some: usize = hits.iter().filter(|(name, _)| of(name)).map(|(_, hits)| hits).sum();
    some as f64 / all as f64
}

#[test]
fn others_than_bridges_gossip_in_their_zone_and_a_little_everywhere() {
    let mut me = member("zz", "a");
    assert!(!me.is_bridge());
    let hits = me.targets(16_000, |zones| assert_eq!(zones.len(), 3));
    let outside = share(&hits, |index| index % 3 != 0);
    // One round of 16 has a target out of all, of which two thirds are outside.
    assert!((0.005..0.03).contains(&outside), "{outside}");
    assert_eq!(hits.len(), 60, "everybody is reached: {hits:?}");
    // The bridges n00, n03 and n06 hear the zone's news sooner than others.
    let bridges = share(&hits, |index| index % 3 == 0 && index < 9) / 3.0;
    let rest = share(&hits, |index| index % 3 == 0 && index >= 9) / 17.0;
    assert!(bridges > rest * 1.3, "{bridges} {rest}");
}

#[test]
fn bridges_reach_every_other_zone_in_each_round_and_their_own_as_before() {
    let mut me = member("m", "a");
    assert!(me.is_bridge());
    let hits = me.targets(1_000, |zones| assert_eq!(zones, ["", "a", "a", "a", "b"]));
    // As often a bridge of the other zone as any of its nodes.
    let bridges = share(&hits, |index| index % 3 == 1 && index < 9);
    let rest = share(&hits, |index| index % 3 == 1 && index >= 9);
    assert!(bridges > 0.8 * rest && rest > 0.5 * bridges, "{bridges} {rest}");
}

#[test]
fn the_next_name_takes_over_as_soon_as_a_bridge_is_suspected_or_gone() {
    let mut me = member("n04", "a"); // after n00 and n03, before n06: the third
    assert!(me.is_bridge());
    me.alive_at("n01", 2, &[10, 0, 1, 1], b"a");
    assert!(!me.is_bridge(), "n00, n01, n03 are");
    me.suspect("n03", 1, "n09");
    assert!(me.is_bridge());
    me.alive_at("n03", 2, &[10, 0, 1, 3], b"a");
    assert!(!me.is_bridge());
    me.dead("n00", 1, "n09");
    assert!(me.is_bridge());
    me.alive_at("n00", 2, &[10, 0, 1, 0], b"a");
    assert!(!me.is_bridge());
    me.dead("n01", 2, "n01");
    assert!(me.is_bridge(), "it left");
    // All bridges at once.
    for name in ["n00", "n03"] {
        me.dead(name, 2, "n09");
    }
    assert!(me.is_bridge());
    let hits = me.targets(100, |zones| assert!(zones.contains(&"b"), "{zones:?}"));
    assert!(hits.contains_key("n00"), "the recently dead must learn it: {hits:?}");
    assert!(!hits.contains_key("n01"), "nobody gossips to a node that left");
}

#[test]
fn a_zone_that_is_too_small_gossips_anywhere() {
    let mut me = member("zz", "c");
    let hits = me.targets(200, |zones| assert!(zones.len() >= 3, "{zones:?}"));
    assert_eq!(hits.len(), 60);
}

#[test]
fn syncs_stay_in_the_zone_except_a_few() {
    let outside = |name: &str| {
        let mut me = member(name, "a");
        let count = (0..2_000).filter(|_| {
            let slot = me.swim.push_pull_partner().unwrap();
            assert_ne!(slot, me.swim.me);
            me.zone_of(slot) != "a"
        });
        count.count() as f64 / 2_000.0
    };
    let (bridge, other) = (outside("m"), outside("zz"));
    assert!((0.4..0.6).contains(&bridge), "{bridge}");
    assert!((0.02..0.07).contains(&other), "{other}");
}

/// The bytes that a node sends do not depend on the zones of others while it is in none.
#[test]
fn a_node_without_a_zone_behaves_as_without_the_setting() {
    let run = |zones: bool, own: &str| {
        let mut me = member("zz", own);
        if !zones {
            let mut host = Notes { meta: own.into(), ..Notes::default() };
            let config = Config { zones, ..me.swim.config().clone() };
            me.swim = Swim::build(config, me.now, &mut host).unwrap();
            for index in 0..60 {
                let (name, zone) = peer_of(index);
                me.alive_at(&name, 1, &[10, 0, 1, index], zone.as_bytes());
            }
        }
        me.wait(Duration::from_secs(120));
        format!("{:?}", me.outputs())
    };
    assert!(run(false, "") == run(true, ""));
    assert!(run(false, "a") != run(true, "a"));
}

/// Goal: the lists that each change keeps are those of the whole table. Method: random changes.
#[test]
fn zones_follow_every_change_of_the_table() {
    let mut me = member("zz", "a");
    let mut rng = Rng::from_u64(5);
    let mut incarnation = 1;
    for step in 0..3_000 {
        let (name, _) = peer_of(rng.below(60) as u8);
        incarnation += 1;
        match rng.below(6) {
            0 | 1 => {
                let zone = ["a", "b", "", "c", "d"][rng.below(5)];
                let addr = me.swim.node(&name).map_or(vec![10, 0, 1, 1], |n| n.addr.to_vec());
                me.alive_at(&name, incarnation, &addr, zone.as_bytes());
            }
            2 => me.suspect(&name, incarnation, "n00"),
            3 => me.dead(&name, incarnation, "zz"),
            4 => me.dead(&name, incarnation, &name),
            _ => {
                me.now += Duration::from_secs(1);
                me.swim.table.expire_recently_dead(me.now);
                me.swim.table.reap(|row, _| row.state == NodeStateKind::Left, &mut rng);
            }
        }
        assert_zones(&me, step);
    }
}

fn assert_zones(me: &Node, step: usize) {
    let table = &me.swim.table;
    let mut expected = Contents::new();
    for (slot, row) in table.rows_from(0) {
        let dead = row.state == NodeStateKind::Dead && table.changed_at(slot) == me.now;
        if !row.state.is_live() && !dead {
            continue;
        }
        let (nodes, alive) = expected.entry(me.host.zone(&row.record.meta)).or_default();
        nodes.insert(slot);
        if row.state == NodeStateKind::Alive {
            alive.push(Arc::clone(&row.record.name));
            alive.sort();
        }
    }
    assert_eq!(table.zones().unwrap().contents(), expected, "step {step}");
}
