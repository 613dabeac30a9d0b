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
