//! User events: sizes, duplicates, age, order.

use serde_json::json;

use super::{
    excluded,
    pair::Pair,
    step::{Step, alive, raw, user},
};

fn event(name: &str, payload: &[u8], coalesce: bool) -> Step {
    Step::Event { name: name.to_owned(), payload: payload.to_vec(), coalesce }
}

#[test]
fn duplicates_are_recognized_by_time_name_and_payload() {
    let mut pair = Pair::start(json!({"event_buffer": 8}));
    pair.step(&alive(1, 1, &[]));
    for ltime in [0, 5, 5, 13, 4, 5, 20, 12, 11] {
        pair.steps(&[user(ltime, "a", b"", false), user(ltime, "a", b"", true)]);
        pair.steps(&[user(ltime, "a", b"x", false), user(ltime, "", b"x", true)]);
        pair.step(&event("own", b"p", ltime % 2 == 0));
    }
    // Of one time, once more after the ring has turned.
    pair.steps(&[user(28, "a", b"", false), user(21, "a", b"", false), user(20, "a", b"", false)]);
}

#[test]
fn the_youngest_of_an_empty_ring_is_not_too_old() {
    for len in [1, 2, 8, 512] {
        let mut pair = Pair::start(json!({"event_buffer": len}));
        for ltime in [len, len - 1, len + 1, 1, 0, 2 * len + 1, len + 1, len, len + 2] {
            pair.step(&user(ltime, "e", b"", false));
        }
    }
}

#[test]
fn sizes_are_checked_before_and_after_encoding() {
    for limit in [0, 40, 512, 9216] {
        let mut pair = Pair::start(json!({"user_event_size_limit": limit}));
        pair.step(&alive(1, 1, &[]));
        for payload in [0, 12, 13, 14, 40, 41, 481, 482, 483, 512, 513, 9_180, 9_216, 9_217] {
            pair.step(&event("", &vec![7; payload], false));
            pair.step(&event("a name", &vec![7; payload], true));
        }
    }
}

#[test]
fn user_events_are_coalesced_by_name() {
    let mut pair = Pair::start(json!({
        "user_coalesce_period_ms": 1_000, "user_quiescent_period_ms": 300,
    }));
    pair.steps(&[user(1, "a", b"1", true), user(1, "a", b"2", true), user(1, "b", b"", false)]);
    pair.steps(&[user(3, "a", b"3", true), user(2, "a", b"4", true), user(3, "a", b"5", true)]);
    pair.step(&Step::Advance(299)).step(&event("a", b"6", true)).step(&Step::Advance(301));
    for ltime in 10..20 {
        pair.step(&user(ltime, "a", b"", true)).step(&Step::Advance(260));
    }
    pair.step(&Step::Advance(1_000));
}

#[test]
fn what_is_gossiped_first() {
    // Several transmits and small packets: fewest transmits first, then the longest that fits,
    // then the newest; intents before queries before events.
    let mut pair = Pair::start(json!({"retransmit_mult": 3, "udp_buffer_size": 400}));
    pair.steps(&[alive(1, 1, &[]), alive(2, 1, &[])]);
    for number in 1..12_u64 {
        let payload = vec![b'p'; usize::try_from(number * 7 % 90).unwrap()];
        pair.step(&user(number, "e", &payload, false));
        pair.step(&event("own", &payload, false));
        if number % 3 == 0 {
            let name = "nobody-".repeat(usize::try_from(number).unwrap());
            pair.step(&super::step::join(number, &name));
            pair.step(&super::step::query(&super::step::asked(number, 4, &name)));
        }
    }
    for _ in 0..12 {
        pair.step(&Step::Advance(1));
    }
}

#[test]
fn long_queues_are_pruned() {
    for min in [0, 5] {
        let mut pair = Pair::start(json!({
            "retransmit_mult": 2, "udp_buffer_size": 200, "max_queue_depth": 4,
            "min_queue_depth": min, "serf_queue_check_interval_ms": 500,
        }));
        pair.steps(&[alive(1, 1, &[]), alive(2, 1, &[])]);
        for number in 1..30_u64 {
            let payload = vec![b'p'; usize::try_from(number * 7 % 90).unwrap()];
            pair.step(&user(number, "e", &payload, false));
            pair.step(&Step::Advance(if number % 10 == 0 { 500 } else { 1 }));
        }
    }
}

#[test]
fn broken_messages_change_nothing() {
    let mut pair = Pair::start(json!({}));
    pair.step(&alive(1, 1, &[]));
    for kind in 0..=10 {
        for body in
            [&b""[..], b"\xc0", b"\x80", b"\xc1", b"\x81\xa5LTime\xc3", b"\x81\xa5LTime\xff"]
        {
            if !excluded::relays_no_answer(kind, body) {
                pair.step(&raw(kind, body));
            }
        }
    }
    // Unknown keys, wide integers, bin instead of raw, an array instead of a map.
    let event = b"\x85\xa5LTime\xcf\0\0\0\0\0\0\0\x09\
                  \xa4Name\xc4\x01e\xa7Payload\xc4\x01p\xa2CC\xc3\xa3New\x80";
    pair.step(&raw(3, event));
    pair.step(&raw(3, b"\x94\x09\xa1e\xa1q\xc2"));
    pair.step(&raw(0, b"\x82\xa5LTime\xd3\0\0\0\0\0\0\0\x09\xa4Node\xd9\x02n1"));
    pair.step(&raw(1, b"\x82\xa5LTime\x0b\xa4Node\xa2n1trailing"));
}
