//! Push/pull state.

use super::*;
use crate::serf::user_event::MERGED_MAX as EVENTS_MAX;

fn state_of(node: &mut Node) -> Vec<u8> {
    let mut out = Vec::new();
    node.state.local_state(false, &mut out);
    out
}

fn merge(node: &mut Node, state: &PushPull<'_>, join: bool) {
    let raw = encode(&Message::PushPull(state.clone()));
    node.state.merge_remote_state(&raw, exchange(join));
}

#[test]
fn fresh_state_is_go_s() {
    let mut node = Node::with("node-a", |config| config.event_buffer = 4);
    let vectors: serde_json::Value =
        serde_json::from_str(include_str!("../../../../testdata/serf.json")).unwrap();
    let mut vectors = vectors.as_array().unwrap().iter();
    let expected = vectors.find(|vector| vector["name"] == "pushpull_minimal").unwrap();
    assert_eq!(hex::encode(state_of(&mut node)), expected["hex"].as_str().unwrap());
    let mut default = Node::new("node-a");
    let raw = state_of(&mut default);
    let Ok(Message::PushPull(state)) = MsgpackTransform.decode_message(&raw) else { panic!() };
    assert_eq!(state.events.len(), 512);
}

#[test]
fn clocks_become_equal_not_greater() {
    let mut node = Node::new("me");
    let (ltime, event_ltime, query_ltime) = (LamportTime(42), LamportTime(50), LamportTime(100));
    merge(&mut node, &PushPull { ltime, event_ltime, query_ltime, ..PushPull::default() }, false);
    assert_eq!(node.state.cx.clocks.member.time(), ltime);
    assert_eq!(node.state.cx.clocks.event.time(), event_ltime);
    assert_eq!(node.state.cx.clocks.query.time(), query_ltime);
    merge(&mut node, &PushPull::default(), false);
    assert_eq!(node.state.cx.clocks.member.time(), ltime);
}

#[test]
fn left_members_become_leave_intents_and_the_rest_join_intents() {
    let mut node = Node::new("me");
    for name in ["a", "b", "c"] {
        node.join(name);
    }
    node.leave("b");
    node.leave_intent(3, "c", false);
    node.gossip();
    node.events();
    let state = PushPull {
        ltime: LamportTime(20),
        status_ltimes: vec![
            (b"c", LamportTime(9)),
            (b"a", LamportTime(7)),
            (b"b", LamportTime(8)),
            (b"gone", LamportTime(6)),
        ],
        left_members: vec![b"gone", b"b", b"unlisted"],
        ..PushPull::default()
    };
    merge(&mut node, &state, false);
    assert_eq!(node.status("a"), Some("alive"));
    assert_eq!(node.status_ltime("a"), 7);
    assert_eq!(node.status("b"), Some("left"));
    assert_eq!(node.status_ltime("b"), 9, "one more than the table says");
    assert_eq!(node.status("c"), Some("alive"), "the join is newer than the leave");
    assert_eq!(node.events(), ["member-leave b left"]);
    assert!(node.gossip().is_empty(), "nothing of a push/pull is gossiped on");
    node.join("gone");
    assert_eq!(node.status("gone"), Some("leaving"));
    assert_eq!(node.status_ltime("gone"), 7);
    node.join("unlisted");
    assert_eq!(node.status_ltime("unlisted"), 1);
}

#[test]
fn push_pull_that_lists_us_as_left_is_refuted() {
    let mut node = Node::new("me");
    let state = PushPull {
        ltime: LamportTime(5),
        status_ltimes: vec![(b"me", LamportTime(4))],
        left_members: vec![b"me"],
        ..PushPull::default()
    };
    merge(&mut node, &state, false);
    assert!(matches!(node.state.cx.effects.actions.pop_front(), Some(Action::BroadcastJoin)));
    assert_eq!(node.status("me"), Some("alive"));
}

#[test]
fn two_nodes_with_one_left_member_raise_their_clocks_as_go_does() {
    let mut nodes = [Node::new("a"), Node::new("b")];
    for node in &mut nodes {
        node.join("x");
        node.leave_intent(5, "x", false);
        node.leave("x");
    }
    let mut times = Vec::new();
    for _ in 0..3 {
        let [a, b] = &mut nodes;
        let (from_a, from_b) = (state_of(a), state_of(b));
        a.state.merge_remote_state(&from_b, exchange(false));
        b.state.merge_remote_state(&from_a, exchange(false));
        times.push((a.status_ltime("x"), b.status_ltime("x")));
    }
    assert_eq!(times, [(6, 6), (7, 7), (8, 8)]);
}

#[test]
fn events_are_replayed_once_without_gossip_and_never_coalesced() {
    let mut node = Node::with("me", |config| {
        config.user_coalesce_period = Duration::from_secs(3);
        config.user_quiescent_period = Duration::from_secs(1);
    });
    let mut other = Node::new("other");
    other.state.user_event("deploy", b"v1", true).unwrap();
    other.state.user_event("deploy", b"v2", true).unwrap();
    let state = state_of(&mut other);
    node.events();
    for _ in 0..2 {
        node.state.merge_remote_state(&state, exchange(true));
    }
    assert_eq!(node.events(), ["user 1 deploy v1", "user 2 deploy v2"]);
    assert!(node.gossip().is_empty());
}

#[test]
fn join_that_ignores_old_events_forgets_them_for_good() {
    let mut other = Node::new("other");
    other.state.user_event("old", b"", false).unwrap();
    let state = state_of(&mut other);
    let mut node = Node::new("me");
    node.events();
    node.state.events.join_ignores_old = true;
    node.state.merge_remote_state(&state, exchange(true));
    node.state.events.join_ignores_old = false;
    node.state.merge_remote_state(&state, exchange(true));
    assert!(node.events().is_empty());
    assert_eq!(node.state.events.min_time, LamportTime(2));
    // It does not apply without the join flag of the exchange.
    let mut node = Node::new("me");
    node.events();
    node.state.events.join_ignores_old = true;
    node.state.merge_remote_state(&state, exchange(false));
    assert_eq!(node.events(), ["user 1 old "]);
}

#[test]
fn nonsense_changes_nothing() {
    let mut node = Node::new("me");
    node.events();
    for raw in ["", "01", "0201", "02", "0282a54c54696d6505", "0281a54c54696d65a178"] {
        node.state.merge_remote_state(&hex::decode(raw).unwrap(), exchange(true));
    }
    assert_eq!(node.state.cx.clocks.member.time(), LamportTime(1));
    assert!(node.events().is_empty());
}

#[test]
fn odd_rings_are_read_by_the_time_in_the_slot() {
    let mut node = Node::new("me");
    node.events();
    let slot = |ltime| {
        let name = b"e";
        let event = message::RecentEvent { name, payload: crate::msgpack::Bin::NIL };
        Some(UserEvents { ltime: LamportTime(ltime), events: vec![event] })
    };
    let events = vec![slot(700), None, slot(5), slot(699), slot(u64::MAX)];
    merge(&mut node, &PushPull { events, ..PushPull::default() }, false);
    assert_eq!(node.events(), ["user 700 e ", "user 699 e "]);
}

/// A name that is repeated costs only one look-up.
#[test]
fn names_that_come_many_times_are_looked_up_once() {
    let mut node = Node::new("me");
    let many = vec![(&b"x"[..], LamportTime(4)); 10_000];
    let state =
        PushPull { status_ltimes: many, left_members: vec![b"y"; 10_000], ..PushPull::default() };
    merge(&mut node, &state, false);
    let looked_up = node
        .state
        .cx
        .effects
        .actions
        .iter()
        .filter(|action| matches!(action, Action::Recheck(_)))
        .count();
    assert_eq!(looked_up, 1);
    // Nor does a later state with the same contents.
    merge(&mut node, &state, false);
    let looked_up = node
        .state
        .cx
        .effects
        .actions
        .iter()
        .filter(|action| matches!(action, Action::Recheck(_)))
        .count();
    assert_eq!(looked_up, 1);
}

/// However many recent events a peer's state contains, only some are examined: each costs work,
/// even if it is known.
#[test]
fn events_of_a_push_pull_are_bounded() {
    let mut node = Node::new("me");
    let names: Vec<_> = (0..2 * EVENTS_MAX).map(|i| format!("event-{i}")).collect();
    let slots = names.chunks(1_000).zip(1..);
    let events = slots.map(|(names, time)| {
        let event = |name: &'_ String| message::RecentEvent {
            name: name.clone().leak().as_bytes(),
            payload: Default::default(),
        };
        Some(UserEvents { ltime: LamportTime(time), events: names.iter().map(event).collect() })
    });
    let state = PushPull { events: events.collect(), ..PushPull::default() };
    node.events();
    merge(&mut node, &state, false);
    assert_eq!(node.events().len(), EVENTS_MAX);
    assert_eq!(node.state.cx.stats.dropped_events, EVENTS_MAX as u64);
    // Known events count, too.
    merge(&mut node, &state, false);
    assert!(node.events().is_empty());
    assert_eq!(node.state.cx.stats.dropped_events, 2 * EVENTS_MAX as u64);
}
