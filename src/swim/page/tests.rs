use super::*;
use crate::{
    swim::{NodeStateKind, row::Record},
    wire::{Incarnation, RawAddr, Vsn},
};

fn row(name: u32) -> Row {
    let name = format!("n{name}").into();
    let (addr, meta, vsn) = (RawAddr::from_wire(&[127, 0, 0, 1]).unwrap(), [].into(), Vsn([1; 6]));
    let record = Arc::new(Record { name, addr, port: 1, meta, vsn });
    Row { record, incarnation: Incarnation(1), state: NodeStateKind::Alive }
}

fn pages(slots: u32) -> Pages {
    let mut pages = Pages::default();
    (0..slots).for_each(|slot| pages.put(slot, row(slot)));
    pages
}

#[test]
fn rows_come_by_slot_from_any_slot_on() {
    let mut pages = pages(200);
    pages.take(70);
    for from in [0, 1, 63, 64, 69, 70, 71, 128, 199, 200, 1_000] {
        let slots: Vec<_> = pages.rows_from(from).map(|(slot, _)| slot).collect();
        let expected: Vec<_> = (from..200).filter(|slot| *slot != 70).collect();
        assert_eq!(slots, expected, "from {from}");
        assert!(pages.rows_from(from).all(|(slot, row)| *row.record.name == *format!("n{slot}")));
    }
}

#[test]
fn free_slots_at_the_end_are_given_back() {
    let mut pages = pages(200);
    for slot in 60..200 {
        assert!(pages.take(slot).is_some() && pages.take(slot).is_none());
    }
    assert_eq!(pages.slots(), 200);
    pages.trim();
    assert_eq!((pages.slots(), pages.pages.len()), (60, 1));
    pages.take(0);
    pages.trim();
    assert_eq!((pages.slots(), pages.rows_from(0).count()), (60, 59));
}

fn stamps(pages: &mut Pages) -> Vec<Stamp> {
    pages.stamped_from(0).map(|(stamp, _)| stamp).collect()
}

/// Goal: a stamp identifies the rows of its page, and a change does not touch those of others.
#[test]
fn each_change_stamps_its_page_alone() {
    let mut pages = pages(200);
    let mut last = stamps(&mut pages);
    let changes: [fn(&mut Pages); 3] = [
        |pages| pages.get_mut(70).unwrap().incarnation = Incarnation(2),
        |pages| drop(pages.take(70)),
        |pages| pages.put(70, row(70)),
    ];
    for change in changes {
        change(&mut pages);
        let next = stamps(&mut pages);
        let same: Vec<_> = last.iter().zip(&next).map(|(last, next)| last == next).collect();
        assert_eq!(same, [true, false, true, true]);
        last = next;
    }
    let second: Vec<_> = pages.stamped_from(1).map(|(stamp, _)| stamp).collect();
    assert_eq!(second, last[1..]);
}

/// Goal: a page that is given back, and another that comes in its place, differ, also if the first
/// was empty when somebody asked.
#[test]
fn a_page_in_place_of_another_has_its_own_stamp() {
    for empty in [false, true] {
        let mut pages = pages(200);
        let mut seen = stamps(&mut pages);
        for slot in 60..200 {
            pages.take(slot);
        }
        if empty {
            seen = stamps(&mut pages);
        }
        pages.trim();
        assert_eq!(stamps(&mut pages).len(), 1);
        pages.trim();
        (60..200).for_each(|slot| pages.put(slot, row(slot + 1)));
        let next = stamps(&mut pages);
        assert!(seen.iter().zip(&next).all(|(seen, next)| seen != next), "{seen:?} {next:?}");
    }
}

/// Goal: a page that is replaced by an equal one keeps its stamp, whatever the other table did.
#[cfg(feature = "sim")]
#[test]
fn an_equal_page_keeps_the_stamp() {
    let (mut mine, mut theirs) = (pages(200), pages(200));
    theirs.get_mut(70).unwrap().incarnation = Incarnation(2);
    mine.get_mut(70).unwrap().incarnation = Incarnation(2);
    let before = stamps(&mut mine);
    (0..4).for_each(|index| mine.adopt(index, &theirs.pages()[index]));
    assert!(Arc::ptr_eq(&mine.pages[1], &theirs.pages[1]));
    assert_eq!(stamps(&mut mine), before);
}

/// Goal: copies of a table share what is equal, and do not see each other's changes.
#[cfg(feature = "sim")]
#[test]
fn a_change_copies_one_page_and_no_more() {
    let pages = pages(200);
    let mut copy = pages.clone();
    copy.get_mut(70).unwrap().incarnation = Incarnation(2);
    assert_eq!(pages.get(70).unwrap().incarnation, Incarnation(1));
    let same = pages.pages.iter().zip(&copy.pages).map(|(one, other)| Arc::ptr_eq(one, other));
    assert_eq!(same.collect::<Vec<_>>(), [true, false, true, true]);
}
