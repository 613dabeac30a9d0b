use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::{
    base::{Instant, Rng},
    serf::{LamportTime, MemberStatus, Tags, members::Members},
    wire::Vsn,
};

fn member(name: &str, port: u16, status: MemberStatus) -> Arc<Member> {
    Arc::new(Member {
        name: name.into(),
        addr: [127, 0, 0, 1].into(),
        port,
        tags: Tags::default(),
        status,
        vsn: Vsn([1, 5, 2, 2, 5, 5]),
    })
}

/// What the table must be: ports, statuses and times by name.
type Model = BTreeMap<String, (u16, MemberStatus, u64)>;

/// A table, its model, and what readers took.
struct Pair {
    table: Members,
    model: Model,
    held: Vec<(Roster, Vec<Arc<Member>>)>,
    rng: Rng,
}

impl Pair {
    fn new(seed: u64) -> Self {
        let (table, rng) = (Members::new(seed), Rng::from_u64(seed));
        Self { table, model: Model::new(), held: Vec::new(), rng }
    }

    fn step(&mut self, names: usize, growth: usize) {
        let name = format!("n{}", self.rng.below(names));
        let status = [MemberStatus::Alive, MemberStatus::Failed, MemberStatus::Left];
        let status = status[self.rng.below(3)];
        let (port, known) = (self.rng.u32() as u16, self.model.contains_key(&name));
        let before = self.table.roster().generation;
        match self.rng.below(10) {
            choice if choice < growth && !known => {
                self.table.insert(member(&name, port, MemberStatus::Alive), LamportTime(1));
                self.model.insert(name, (port, MemberStatus::Alive, 1));
            }
            0..5 if known => {
                assert!(self.table.remove(&name).is_some_and(|entry| *entry.member.name == *name));
                self.model.remove(&name);
            }
            5..9 if known => {
                self.table.replace(member(&name, port, status), Instant::from_nanos(7));
                let row = self.model.get_mut(&name).unwrap();
                (row.0, row.1) = (port, status);
            }
            _ => {
                let ltime = u64::from(self.rng.u32());
                self.table.set_status_ltime(&name, LamportTime(ltime));
                self.model.get_mut(&name).into_iter().for_each(|row| row.2 = ltime);
                self.table.remove("unknown");
                self.table.replace(member("unknown", 1, status), Instant::ZERO);
                assert_eq!(self.table.roster().generation, before, "readers see no change");
                return;
            }
        }
        assert!(self.table.roster().generation > before);
    }

    /// A reader takes the members; another has read to the end.
    fn take(&mut self) {
        let roster = self.table.roster().clone();
        self.held.push((roster.clone(), roster.iter().cloned().collect()));
        if self.held.len() > 5 {
            let at = self.rng.below(self.held.len());
            self.held.swap_remove(at);
        }
    }

    fn check(&mut self) {
        let seen = self.table.iter().map(|entry| {
            let m = &entry.member;
            (m.name.to_string(), (m.port, m.status, entry.status_ltime.0))
        });
        assert!(seen.eq(self.model.clone()), "sorted, each with its own time");
        let roster = self.table.roster();
        let records = self.table.iter().map(|entry| &entry.member);
        assert!(roster.iter().zip(records).all(|(a, b)| Arc::ptr_eq(a, b)));
        assert_eq!(roster.iter().count(), self.model.len());
        assert_eq!((roster.len(), self.table.len()), (self.model.len(), self.model.len()));
        let count = |wanted| self.model.values().filter(|row| row.1 == wanted).count();
        assert_eq!(self.table.alive_count(), count(MemberStatus::Alive));
        assert_eq!(self.table.failed().len(), count(MemberStatus::Failed));
        assert_eq!(self.table.left().len(), count(MemberStatus::Left));
        for (name, row) in &self.model {
            let entry = self.table.get(name).unwrap();
            assert_eq!((entry.member.port, entry.status_ltime.0), (row.0, row.2));
        }
        let mut drawn: Vec<_> = (0..self.model.len() + 1)
            .filter_map(|place| Some(self.table.at(place)?.member.name.to_string()))
            .collect();
        drawn.sort();
        assert!(drawn.iter().eq(self.model.keys()), "each can be drawn");
        for (roster, then) in &self.held {
            assert!(roster.iter().zip(then).all(|(a, b)| Arc::ptr_eq(a, b)));
            assert_eq!((roster.iter().count(), roster.len()), (then.len(), then.len()));
        }
        assert!(roster.pages.iter().all(|page| (1..=PAGE_MAX).contains(&page.len())));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Goal: the table is a sorted map whatever happens to it, and what a reader holds never
    /// changes.
    #[test]
    fn a_table_is_its_model_and_rosters_stay_as_they_were(
        seed: u64, names in 1_usize..1_500, takes in 1_usize..60
    ) {
        let mut pair = Pair::new(seed);
        for growth in [9, 5, 1, 8, 0] {
            for step in 0..400 {
                pair.step(names, growth);
                if step % takes == 0 {
                    pair.take();
                }
                if step % 100 == 0 {
                    pair.check();
                }
            }
            pair.check();
        }
    }
}

fn with_names(names: impl IntoIterator<Item = usize>) -> Sorted {
    let mut sorted = Sorted::default();
    for name in names {
        sorted.insert(member(&format!("{name:06}"), 1, MemberStatus::Alive), name as u32);
    }
    sorted
}

/// Goal: no page outgrows what a change may copy, also where names are added between two full ones.
#[test]
fn names_between_full_pages_get_pages_of_their_own() {
    let falls = (0..128).chain((129..10_000).rev());
    let meets = (0..256).map(|n| 2 * n).chain([255]);
    for sorted in [with_names(falls), with_names(meets)] {
        let pages = || sorted.roster.pages.iter();
        assert!(pages().all(|page| (1..=PAGE_MAX).contains(&page.len())));
        assert!(pages().flat_map(|page| page.iter()).is_sorted_by_key(|member| &member.name));
        assert!(pages().count() <= 1 + 2 * sorted.roster.len().div_ceil(PAGE_MAX));
    }
}

/// Goal: however members come and go, the pages take little more room than their members.
#[test]
fn pages_are_filled_and_merged() {
    let room = |sorted: &Sorted| {
        let pages = sorted.roster.pages.iter().map(|page| page.capacity());
        pages.sum::<usize>() + sorted.index.iter().map(|i| i.slots.capacity()).sum::<usize>() / 2
    };
    assert!(room(&with_names(0..10_000)) <= 17_000);
    assert!(room(&with_names((0..10_000).rev())) <= 17_000);
    let mut sorted = with_names((0..10_000).map(|n| n * 7_919 % 10_000));
    assert!(room(&sorted) <= 18_000, "{}", room(&sorted));
    assert!(sorted.slots().eq(0..10_000));
    // One of each page is left, and then some come back.
    for name in (0..10_000).filter(|name| name % 100 != 0) {
        sorted.remove(&format!("{name:06}"), name as u32);
    }
    assert!(sorted.slots().eq((0..100).map(|name| name * 100)));
    assert!(sorted.roster.pages.len() <= 6, "{} pages", sorted.roster.pages.len());
    for name in (0..10_000).step_by(100) {
        sorted.remove(&format!("{name:06}"), name as u32);
    }
    assert!(sorted.roster.pages.is_empty() && sorted.index.is_empty() && sorted.roster.len() == 0);
}

/// Goal: after a reader has come, a change copies one page, the next one in it nothing.
#[test]
fn a_change_copies_one_page_for_a_reader() {
    let mut sorted = with_names(0..10_000);
    let held = sorted.roster().clone();
    let copied = |sorted: &Sorted| {
        let pairs = sorted.roster.pages.iter().zip(held.pages.iter());
        pairs.filter(|(ours, theirs)| !Arc::ptr_eq(ours, theirs)).count()
    };
    assert!(Arc::ptr_eq(&held.pages, &sorted.roster.pages), "taking them copies nothing");
    for port in 2..9 {
        sorted.replace(member("000500", port, MemberStatus::Alive), 500);
        assert_eq!(copied(&sorted), 1);
    }
    let page = sorted.roster.pages[3].as_ptr();
    sorted.replace(member("000500", 9, MemberStatus::Alive), 500);
    assert_eq!(sorted.roster.pages[3].as_ptr(), page, "it is ours alone");
    assert!(held.iter().all(|member| member.port == 1));
    drop(held);
    let before = sorted.roster.pages.as_ptr();
    sorted.replace(member("009000", 9, MemberStatus::Alive), 9000);
    assert_eq!(sorted.roster.pages.as_ptr(), before, "nobody else holds it");
}

/// Goal: a reader that goes on where it stopped sees each member once.
#[cfg(feature = "agent")]
#[test]
fn a_place_moves_through_all_pages() {
    for count in [0, 1, 127, 128, 129, 1_000] {
        let sorted = with_names(0..count);
        let (roster, mut place, mut seen) = (sorted.roster(), Place::default(), Vec::new());
        while roster.has(place) {
            seen.extend(roster.next(&mut place).cloned());
        }
        assert!(roster.next(&mut place).is_none());
        assert_eq!(seen, roster.to_vec());
        assert_eq!(seen.len(), count);
    }
}
