//! User events: limits, delivery once only, never too old.

use super::*;
use crate::serf::user_event::EventGroup;

fn event(ltime: u64, name: &str, payload: Option<&str>) -> Message<'static> {
    let leak = |text: &str| -> &'static [u8] { text.as_bytes().to_vec().leak() };
    Message::UserEvent(message::UserEvent {
        ltime: LamportTime(ltime),
        name: leak(name),
        payload: payload.map_or(crate::msgpack::Bin::NIL, |payload| leak(payload).into()),
        coalesce: false,
    })
}

fn quiet() -> Node {
    let mut node = Node::new("me");
    node.events();
    node
}

#[test]
fn size_checks_have_go_s_order_and_texts() {
    let error = |limit: usize, name: usize, payload: usize| {
        let mut node = Node::with("me", |config| config.user_event_size_limit = limit);
        let clock = node.state.cx.clocks.event.time();
        let (name, payload) = ("n".repeat(name), vec![0; payload]);
        let result = node.state.user_event(&name, &payload, false);
        let expected = clock.0 + u64::from(result.is_ok());
        assert_eq!(node.state.cx.clocks.event.time().0, expected, "a refused event takes no time");
        result.map_err(|error| error.to_string())
    };
    assert_eq!(error(512, 0, 482), Ok(()));
    assert_eq!(
        error(512, 0, 483).unwrap_err(),
        "encoded user event exceeds configured limit of 512 bytes after encoding"
    );
    assert_eq!(
        error(512, 10, 503).unwrap_err(),
        "user event exceeds configured limit of 512 bytes before encoding"
    );
    assert_eq!(error(9216, 0, 9186), Ok(()));
    assert_eq!(
        error(9216, 0, 9216).unwrap_err(),
        "encoded user event exceeds configured limit of 9216 bytes after encoding"
    );
}

#[test]
fn own_event_is_delivered_and_gossiped() {
    let mut node = quiet();
    node.state.user_event("deploy", b"v1", true).unwrap();
    assert_eq!(node.events(), ["user 1 deploy v1"]);
    assert_eq!(node.state.cx.clocks.event.time(), LamportTime(2));
    assert_eq!(node.gossip().len(), 1);
}

#[test]
fn event_is_delivered_once_and_the_received_bytes_go_on() {
    let mut node = quiet();
    // Unknown keys, in an order that differs from ours.
    let raw = hex::decode("0383a44e616d65a161a5587472617801a54c54696d6505").unwrap();
    node.state.on_user_message(&raw, origin());
    node.state.on_user_message(&raw, origin());
    assert_eq!(node.events(), ["user 5 a "]);
    assert_eq!(node.gossip(), [raw]);
    assert_eq!(node.state.cx.clocks.event.time(), LamportTime(6));
}

#[test]
fn identity_is_time_name_and_payload_with_nil_equal_to_empty() {
    let mut node = quiet();
    for message in [
        event(5, "a", None),
        event(5, "a", Some("")),
        event(5, "a", Some("x")),
        event(5, "b", Some("x")),
        event(6, "b", Some("x")),
        event(5, "a", Some("x")),
    ] {
        node.receive(&message);
    }
    assert_eq!(node.events(), ["user 5 a ", "user 5 a x", "user 5 b x", "user 6 b x"]);
}

#[test]
fn events_older_than_the_ring_are_dropped() {
    let mut node = quiet();
    node.receive(&event(1000, "new", None));
    node.receive(&event(489, "in", None));
    node.receive(&event(488, "out", None));
    assert_eq!(node.events(), ["user 1000 new ", "user 489 in "]);
}

#[test]
fn slot_is_replaced_by_another_round() {
    let mut node = quiet();
    node.receive(&event(5, "a", None));
    node.receive(&event(5 + 512, "a", None));
    assert_eq!(node.events(), ["user 5 a ", "user 517 a "]);
    let ring = node.state.events.ring.to_message();
    assert_eq!(ring.iter().flatten().count(), 1);
    assert_eq!(ring[5].as_ref().unwrap().ltime, LamportTime(517));
}

#[test]
fn ring_is_bounded_in_bytes_and_per_slot() {
    let mut node = quiet();
    let payload = "p".repeat(9000);
    for n in 0..2_000 {
        node.receive(&event(7, &n.to_string(), Some(&payload)));
        node.gossip();
    }
    assert_eq!(node.events().len(), 2_000, "what is not kept is known by its digest");
    for n in 0..2_000 {
        node.receive(&event(7, &n.to_string(), Some(&payload)));
    }
    assert!(node.events().is_empty());
    assert_eq!(node.state.cx.stats.dropped_events, 0);
    assert!(kept_bytes(&node) < 8 * 1024 * 1024);
    // One Lamport time has room for a limited number of events.
    for n in 0..5_000 {
        node.receive(&event(8, &n.to_string(), None));
        node.gossip();
    }
    assert_eq!(node.events().len(), 4_096);
    assert_eq!(node.state.cx.stats.dropped_events, 5_000 - 4_096);
    // The next time in the same slot makes room again.
    node.receive(&event(8 + 512, "next", Some(&payload)));
    assert_eq!(node.events().len(), 1);
}

fn kept_bytes(node: &Node) -> usize {
    let kept = node.state.events.ring.to_message();
    let events = kept.iter().flatten().flat_map(|slot| &slot.events);
    events.map(|event| event.name.len() + event.payload.as_slice().len()).sum()
}

/// Goal: excess events of peers displace no small event from push/pulls, whatever their times are.
#[test]
fn large_texts_are_forgotten_first_and_nothing_is_delivered_twice() {
    let mut node = quiet();
    node.receive(&event(400, "small", Some("s")));
    let payload = "p".repeat(9_000);
    for n in 0..3_000 {
        node.receive(&event(600 + n % 300, &n.to_string(), Some(&payload)));
        node.gossip();
    }
    node.receive(&event(401, "later and of an earlier time", None));
    node.receive(&event(400, "small", Some("s")));
    assert_eq!(node.events().len(), 3_002);
    assert_eq!(node.state.cx.stats.dropped_events, 0);
    let kept = node.state.events.ring.to_message();
    let names: Vec<_> = kept.iter().flatten().flat_map(|slot| &slot.events).collect();
    assert!(names.iter().any(|event| event.name == b"small"));
    assert!(names.iter().any(|event| event.name == b"later and of an earlier time"));
    assert!(kept_bytes(&node) < 8 * 1024 * 1024);
}

#[test]
fn full_ring_forgets_its_oldest_texts_and_takes_every_new_event() {
    let mut node = quiet();
    let payload = "p".repeat(8_000);
    // 12 MB in total, of which 8 MiB fit.
    for time in 1..=300 {
        for n in 0..5 {
            node.receive(&event(time, &n.to_string(), Some(&payload)));
            node.gossip();
        }
    }
    assert_eq!(node.events().len(), 1_500);
    assert_eq!(node.state.cx.stats.dropped_events, 0);
    // An evicted time is closed: none of its events is delivered twice.
    node.receive(&event(1, "0", Some(&payload)));
    assert!(node.events().is_empty());
    // An event that is still recorded is known.
    node.receive(&event(300, "0", Some(&payload)));
    assert!(node.events().is_empty());
    assert_eq!(node.state.cx.stats.dropped_events, 0);
    assert!((6_000_000..8_388_608).contains(&kept_bytes(&node)));
}

#[test]
fn an_event_too_large_to_remember_makes_nothing_forgotten() {
    let mut node = quiet();
    node.receive(&event(1, "small", None));
    node.receive(&event(2, "giant", Some(&"p".repeat(9_217))));
    node.receive(&event(1, "small", None));
    assert_eq!(node.events(), ["user 1 small "]);
    assert_eq!(node.state.cx.stats.refused_sizes, 1);
}

#[test]
fn snapshot_clock_suppresses_old_events() {
    let mut node = Node::build("me", Some(b"event-clock: 42\nquery-clock: 7\n"), |_| {});
    node.events();
    assert_eq!(node.state.cx.clocks.event.time(), LamportTime(43));
    node.receive(&event(42, "old", None));
    node.receive(&event(43, "new", None));
    assert_eq!(node.events(), ["user 43 new "]);
    assert_eq!(node.gossip().len(), 1, "old events are not gossiped on");
    let fresh = Node::build("me", Some(b""), |_| {});
    assert_eq!(fresh.state.events.min_time, LamportTime(1));
}

#[test]
fn coalesced_events_wait_and_others_overtake() {
    let mut node = Node::with("me", |config| {
        config.user_coalesce_period = Duration::from_secs(3);
        config.user_quiescent_period = Duration::from_secs(1);
    });
    node.events();
    node.state.user_event("a", b"1", true).unwrap();
    node.state.user_event("a", b"2", true).unwrap();
    node.state.user_event("b", b"3", false).unwrap();
    assert_eq!(node.events(), ["user 3 b 3"]);
    node.advance(Duration::from_secs(1));
    assert_eq!(node.events(), ["user 2 a 2"]);
}

#[test]
fn events_of_odd_kinds_are_refused_quietly() {
    let mut node = quiet();
    for raw in ["", "02", "06c0", "07", "08c0", "0a", "ff", "0383", "03a1", "05", "0982", "04"] {
        node.state.on_user_message(&hex::decode(raw).unwrap(), origin());
    }
    assert!(node.events().is_empty() && node.gossip().is_empty());
    assert!(node.state.cx.effects.outputs.is_empty() && node.state.cx.effects.actions.is_empty());
}

/// Goal: a burst of many thousand events stays within the 512 times that every receiver remembers,
/// including Go's, and arrives in any order.
#[test]
fn a_burst_stays_within_the_times_that_receivers_remember() {
    let (mut sender, mut receiver) = (quiet(), quiet());
    let mut group = EventGroup::default();
    let before = sender.state.cx.clocks.event.time().0;
    for n in 0..20_000 {
        let payload = format!("{n:0>94}");
        sender.state.user_event_of(&mut group, (b"deploy", payload.as_bytes(), false)).unwrap();
    }
    let times = sender.state.cx.clocks.event.time().0 - before;
    assert_eq!(times, 20_000_u64.div_ceil(128));
    let mut sent = Vec::new();
    while sent.len() < 20_000 {
        let before = sent.len();
        sender.state.take_broadcasts(3, 100_000, 1, &mut |message| sent.push(message.to_vec()));
        assert!(sent.len() > before, "dropped after {before}");
    }
    assert!(String::from_utf8_lossy(&sent[0]).contains(&format!("{:0>94}", 0)), "oldest first");
    for message in sent.iter().rev() {
        receiver.state.on_user_message(message, origin());
    }
    assert_eq!(receiver.events().len(), 20_000);
}

#[test]
fn events_that_a_shared_time_would_change_have_times_of_their_own() {
    let mut node = quiet();
    let mut group = EventGroup::default();
    let events: [(&[u8], &[u8], bool); 8] = [
        (b"a", b"1", false),
        (b"a", b"2", false),
        (b"a", b"1", false),
        (b"b", b"1", false),
        (b"c", b"1", true),
        (b"c", b"2", true),
        (b"d", b"1", false),
        (b"e", b"1", false),
    ];
    for event in events {
        node.state.user_event_of(&mut group, event).unwrap();
    }
    assert_eq!(
        node.events(),
        [
            "user 1 a 1",
            "user 1 a 2",
            "user 2 a 1",
            "user 2 b 1",
            "user 3 c 1",
            "user 4 c 2",
            "user 5 d 1",
            "user 5 e 1"
        ]
    );
    // Single events never share a time, nor does any event once others have moved the clock.
    node.state.user_event("f", b"", false).unwrap();
    node.state.user_event_of(&mut group, (b"g", b"", false)).unwrap();
    node.receive(&event(20, "x", None));
    node.state.user_event_of(&mut group, (b"h", b"", false)).unwrap();
    assert_eq!(node.events(), ["user 6 f ", "user 7 g ", "user 20 x ", "user 21 h "]);
}
