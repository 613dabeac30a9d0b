//! Streams: push/pull, stream ping, user messages.

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::{
    swim::{StreamId, merge::ROWS_AT_ONCE},
    wire::{DecodeError, NodeState, PushPull, SeqNo, StreamError},
};

pub(super) fn row<'a>(name: &'a str, incarnation: u32, state: i64) -> NodeState<'a> {
    NodeState {
        name: name.as_bytes(),
        addr: [10, 0, 0, 9].as_slice().into(),
        port: 7946,
        meta: [].as_slice().into(),
        incarnation: Incarnation(incarnation),
        state,
        vsn: VSN.as_slice().into(),
    }
}

pub(super) fn push_pull(rows: &[NodeState<'_>], join: bool, user_state: &[u8]) -> StreamMessage {
    let user_state = Bytes::copy_from_slice(user_state);
    StreamMessage::PushPull(PushPull::from_rows(join, rows.iter().cloned(), user_state))
}

/// Passes a message in on an accepted stream and returns the outputs.
fn accept(me: &mut Node, input: StreamInput) -> Vec<Output> {
    accept_from(me, peer(), input)
}

fn accept_from(me: &mut Node, from: SocketAddr, input: StreamInput) -> Vec<Output> {
    let id = me.swim.accept_stream();
    me.swim.handle_stream(me.now, id, StreamInput::Accepted { from }, &mut me.host);
    me.swim.handle_stream(me.now, id, input, &mut me.host);
    me.outputs()
}

#[test]
fn rows_are_merged_by_their_state() {
    use NodeStateKind::{Alive as Up, Left, Suspect as Suspected};
    let mut me = Node::new(quiet());
    for name in ["d", "s", "l"] {
        me.alive(name, 3);
    }
    let rows = [row("new", 4, 0), row("s", 3, 1), row("d", 3, 2), row("l", 3, 3), row("me", 5, 2)];
    let outputs = accept(&mut me, StreamInput::Message(push_pull(&rows, false, b"state")));
    assert!(matches!(outputs.as_slice(), [Output::Reply { .. }]));
    assert_eq!(me.row("new"), Some((Up, 4)));
    assert_eq!(me.row("s"), Some((Suspected, 3)));
    assert_eq!(me.row("d"), Some((Suspected, 3)), "dead rows only raise suspicion");
    assert_eq!(me.row("l"), Some((Left, 3)));
    assert_eq!(me.row("me"), Some((Up, 6)), "refuted");
    assert_eq!(me.host.merged, [b"state"]);
}

/// Version ranges incompatible with ours, [1, 5, 2, 0, 0, 0]: in the understood range, in the
/// spoken version, of the protocol and of the delegate; and too few bytes.
const ODD: [&[u8]; 7] = [
    &[5, 5, 5, 0, 0, 0],
    &[1, 1, 1, 0, 0, 0],
    &[1, 5, 9, 0, 0, 0],
    &[1, 5, 2, 1, 5, 1],
    &[1, 5, 2, 0, 0, 7],
    &[1, 5],
    &[],
];

#[test]
fn a_row_that_is_not_understood_is_left_out_alone() {
    for vsn in ODD {
        let mut me = Node::new(quiet());
        let mut bad = row("bad", 1, 0);
        bad.vsn = vsn.into();
        bad.addr = [10, 0, 0, 7].as_slice().into();
        let rows = [row("a", 1, 0), bad, row("b", 1, 0)];
        let outputs = accept(&mut me, StreamInput::Message(push_pull(&rows, false, b"x")));
        assert!(matches!(outputs.as_slice(), [Output::Reply { .. }]), "{vsn:?}");
        assert!(me.row("a").is_some() && me.row("b").is_some(), "{vsn:?}");
        assert!(me.row("bad").is_none(), "{vsn:?}");
        assert_eq!(me.host.merged, [b"x"], "{vsn:?}");
        // Nor by a message, which would break exchanges with nodes that check all rows.
        me.send(|out| {
            Alive { vsn: vsn.into(), ..alive("odd", 1, &[10, 0, 0, 7], b"") }.encode(out)
        });
        assert!(me.row("odd").is_none(), "{vsn:?}");
        assert_eq!(me.swim.stats().dropped_inadmissible, 2, "{vsn:?}");
    }
}

#[test]
fn a_peer_that_is_not_understood_is_refused_as_by_go() {
    // The last three lack versions: Go's text reports version zero for them.
    for vsn in ODD {
        let mut me = Node::new(quiet());
        me.alive("known", 1);
        let op = me.swim.start_push_pull(me.now, peer(), "", true, &mut me.host);
        let mut bad = row("bad", 1, 0);
        bad.vsn = vsn.into();
        bad.addr = [10, 0, 0, 2].as_slice().into();
        let rows = [row("a", 1, 0), bad];
        answer(&mut me, push_pull(&rows, true, b"x"));
        let done = me.done();
        let [(ended, Err(text))] = &done[..] else { panic!("the join fails: {done:?}") };
        assert_eq!(*ended, op);
        assert!(text.starts_with("Node '") && text.contains("is incompatible: ["), "{text}");
        assert!(me.row("a").is_none() && me.host.merged.is_empty(), "{vsn:?}");
    }
}

/// Answers the push/pull opened last, and returns the outputs.
fn answer(me: &mut Node, state: StreamMessage) -> Vec<Output> {
    let opened = me.outputs().into_iter().rev().find_map(|output| match output {
        Output::Open { id, .. } => Some(id),
        _ => None,
    });
    let id = opened.expect("a push/pull was opened");
    me.swim.handle_stream(me.now, id, StreamInput::Message(state), &mut me.host);
    me.outputs()
}

#[test]
fn a_join_can_be_vetoed() {
    let mut config = quiet();
    config.filter_merge = true;
    let mut me = Node::new(config);
    me.host.veto = Some("no".into());
    let message = || StreamInput::Message(push_pull(&[row("a", 1, 0)], true, b""));
    accept(&mut me, message());
    assert!(me.row("a").is_none());
    me.host.veto = None;
    accept(&mut me, message());
    assert!(me.row("a").is_some());
}

#[test]
fn the_128th_sync_in_flight_is_closed_and_places_come_back() {
    let mut me = Node::new(quiet());
    let message = || StreamInput::Message(push_pull(&[], false, b""));
    let mut first = None;
    for _ in 0..127 {
        match accept(&mut me, message()).as_slice() {
            [Output::Reply { id, .. }] => first = first.or(Some(*id)),
            other => panic!("{other:?}"),
        }
    }
    assert!(matches!(accept(&mut me, message()).as_slice(), [Output::Close { .. }]));
    me.swim.handle_stream(me.now, first.unwrap(), StreamInput::Sent, &mut me.host);
    assert!(matches!(accept(&mut me, message()).as_slice(), [Output::Reply { .. }]));
    // Peers that never read their reply release their places at the deadline.
    me.wait(Duration::from_secs(11));
    me.outputs();
    assert!(matches!(accept(&mut me, message()).as_slice(), [Output::Reply { .. }]));
}

#[test]
fn joining_without_a_node_name_is_refused_where_names_are_required() {
    for (required, name, opened) in [(true, "", false), (true, "a", true), (false, "", true)] {
        let mut config = quiet();
        config.require_node_names = required;
        let mut me = Node::new(config);
        me.swim.start_push_pull(me.now, peer(), name, true, &mut me.host);
        let outputs = me.outputs();
        let dialled = outputs.iter().any(|output| matches!(output, Output::Open { .. }));
        let refused = |text: &str| text.contains("node names are required");
        let failed = me.done().iter().any(|(_, end)| end.as_ref().is_err_and(|e| refused(e)));
        assert_eq!((dialled, failed), (opened, !opened), "{required} {name:?}");
    }
}

#[test]
fn stream_pings_are_answered_if_they_are_for_us() {
    let mut me = Node::new(quiet());
    for (node, answered) in [("me", true), ("", true), ("other", false)] {
        let ping = StreamMessage::Ping { seq_no: SeqNo(7), node: node.into() };
        let outputs = accept(&mut me, StreamInput::Message(ping));
        match outputs.as_slice() {
            [Output::Reply { message, .. }] => {
                assert!(answered);
                // As Go encodes it: nil payload.
                assert_eq!(hex::encode(message), "0282a75061796c6f6164c0a55365714e6f07");
            }
            [Output::Close { .. }] => assert!(!answered, "{node}"),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn only_refusals_are_reported_to_the_peer() {
    let mut me = Node::new(quiet());
    let refuse = StreamInput::Broken(StreamError::Refuse(DecodeError::DecompressedEmpty));
    match accept(&mut me, refuse).as_slice() {
        [Output::Reply { message, .. }] => assert_eq!(message.first(), Some(&13)),
        other => panic!("{other:?}"),
    }
    let close = StreamInput::Broken(StreamError::Close(DecodeError::UnsupportedType(9)));
    assert!(matches!(accept(&mut me, close).as_slice(), [Output::Close { .. }]));
}

#[test]
fn user_messages_by_stream_are_delivered_unless_empty() {
    let mut me = Node::new(quiet());
    for body in [&b"hi"[..], b""] {
        let message = StreamMessage::User(Bytes::from_static(body));
        let outputs = accept(&mut me, StreamInput::Message(message));
        assert!(matches!(outputs.as_slice(), [Output::Close { .. }]));
    }
    assert_eq!(me.host.user, [b"hi"]);
}

#[derive(Clone, Debug)]
enum Update {
    Alive(u32),
    Suspect(u32),
}

fn update() -> impl Strategy<Value = (usize, Update)> {
    let change =
        prop_oneof![(1_u32..6).prop_map(Update::Alive), (1_u32..6).prop_map(Update::Suspect)];
    (0_usize..4, change)
}

fn table_after(updates: &[(usize, Update)]) -> Vec<Option<(NodeStateKind, u32)>> {
    let names = ["a", "b", "c", "d"];
    let mut me = Node::new(quiet());
    names.iter().for_each(|name| me.alive(name, 1));
    for (index, update) in updates {
        match update {
            Update::Alive(incarnation) => me.alive(names[*index], *incarnation),
            Update::Suspect(incarnation) => me.suspect(names[*index], *incarnation, "x"),
        }
    }
    names.iter().map(|name| me.row(name)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn updates_give_the_same_table_in_any_order_and_twice(
        (updates, shuffled) in prop::collection::vec(update(), 0..20)
            .prop_flat_map(|updates| (Just(updates.clone()), Just(updates).prop_shuffle())),
    ) {
        let expected = table_after(&updates);
        prop_assert_eq!(&table_after(&shuffled), &expected);
        let twice: Vec<_> = shuffled.iter().chain(&updates).cloned().collect();
        prop_assert_eq!(&table_after(&twice), &expected);
    }

    #[test]
    fn any_bytes_as_a_packet_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let mut me = Node::new(quiet());
        me.packet(&bytes);
        prop_assert!(me.swim.node_count() <= 2);
    }
}

/// Requests a push/pull on its own stream and returns the bytes of the answer.
fn asked(me: &mut Node, join: bool) -> (StreamId, Bytes) {
    asked_from(me, peer(), join)
}

fn asked_from(me: &mut Node, from: SocketAddr, join: bool) -> (StreamId, Bytes) {
    match accept_from(me, from, StreamInput::Message(push_pull(&[], join, b""))).remove(0) {
        Output::Reply { id, message, .. } => (id, message),
        other => panic!("{other:?}"),
    }
}

#[test]
fn one_encoded_state_serves_everyone_until_something_changes() {
    let mut me = Node::new(quiet());
    me.host.state = b"state".to_vec();
    me.alive("a", 1);
    let same = |a: &Bytes, b: &Bytes| a.as_ptr() == b.as_ptr();
    let (_, first) = asked(&mut me, false);
    assert!(same(&first, &asked(&mut me, false).1));
    let (_, joining) = asked(&mut me, true);
    assert_ne!(first, joining, "the flag is the peer's");
    assert!(same(&joining, &asked(&mut me, true).1) && same(&first, &asked(&mut me, false).1));
    // Each kind of change creates a new state that contains it.
    let mut last = first;
    let changes: [fn(&mut Node); 5] = [
        |me| me.alive("b", 1),
        |me| me.alive_at("b", 2, &[10, 0, 0, 9], b"meta"),
        |me| me.suspect("b", 2, "c"),
        |me| me.dead("a", 1, "a"),
        |me| me.host.state = b"other".to_vec(),
    ];
    for change in changes {
        change(&mut me);
        let (_, next) = asked(&mut me, false);
        assert_ne!(last, next);
        assert!(same(&next, &asked(&mut me, false).1));
        last = next;
    }
}

#[test]
fn answers_that_nobody_reads_do_not_add_up() {
    // Goal: each request is followed by a change, so that none can share the answer of another.
    let mut me = Node::new(quiet());
    let ask = |me: &mut Node, i: u8| {
        me.host.state = vec![i; 15 << 20];
        asked_from(me, ([10, 7, 0, i], 1).into(), false)
    };
    let mut answers: Vec<_> = (0..100).map(|i| ask(&mut me, i)).collect();
    let distinct = |answers: &[(StreamId, Bytes)]| {
        let starts: std::collections::BTreeSet<_> =
            answers.iter().map(|(_, bytes)| bytes.as_ptr()).collect();
        starts.len()
    };
    assert_eq!(distinct(&answers), 1, "24 MiB");
    // After some time a new one is created, although the old ones are still being sent.
    me.now += Duration::from_secs(10);
    answers.push(ask(&mut me, 200));
    answers.push(ask(&mut me, 201));
    assert_eq!(distinct(&answers), 2);
    // A new one is also created once there is room.
    for (id, _) in answers.drain(..) {
        me.swim.handle_stream(me.now, id, StreamInput::Sent, &mut me.host);
    }
    assert_eq!(ask(&mut me, 202).1.last(), Some(&202));
}

#[test]
fn a_state_that_peers_would_refuse_is_not_sent() {
    let mut me = Node::new(quiet());
    me.host.state = vec![0; (20 << 20) + 1];
    let (_, answer) = asked(&mut me, false);
    let text = String::from_utf8_lossy(&answer).into_owned();
    assert!(text.contains("user state of 20971521 bytes is larger"), "{text}");
    me.swim.start_push_pull(me.now, peer(), "", true, &mut me.host);
    assert!(matches!(&me.done()[..], [(_, Err(_))]));
    me.host.state.pop();
    assert_eq!(asked(&mut me, false).1.first(), Some(&6));
}

#[test]
fn a_host_that_asks_again_and_again_is_closed_and_others_are_not() {
    let mut me = Node::new(quiet());
    me.host.state = vec![7; 15 << 20];
    let ask = |me: &mut Node, from: &str| {
        let id = me.swim.accept_stream();
        let from = from.parse().unwrap();
        me.swim.handle_stream(me.now, id, StreamInput::Accepted { from }, &mut me.host);
        let request = StreamInput::Message(push_pull(&[], false, b""));
        me.swim.handle_stream(me.now, id, request, &mut me.host);
        let answered = matches!(me.outputs().as_slice(), [Output::Reply { .. }]);
        me.swim.handle_stream(me.now, id, StreamInput::Sent, &mut me.host);
        answered
    };
    let answered = (1..=20).filter(|port| ask(&mut me, &format!("10.0.0.66:{port}"))).count();
    assert_eq!(answered, 4, "64 MiB");
    assert!(ask(&mut me, "10.0.0.2:7946"));
    me.now += Duration::from_secs(2);
    assert!(ask(&mut me, "10.0.0.66:1") && !ask(&mut me, "10.0.0.66:1"));
    me.host.state.truncate(10_000);
    me.now += Duration::from_secs(10);
    assert!((1..=1000).all(|port| ask(&mut me, &format!("10.0.0.66:{port}"))), "small ones pass");
}

/// Goal: a large state delays nothing else, and is merged completely; callers that wait for the
/// exchange wait for its end.
#[test]
fn a_large_state_is_taken_over_some_rows_at_a_time() {
    const ROWS: usize = 3_000;
    let names: Vec<_> = (0..ROWS).map(|i| format!("node-{i}")).collect();
    let rows: Vec<_> = names.iter().map(|name| row(name, 1, 0)).collect();
    for ours in [false, true] {
        let mut me = Node::new(quiet());
        let message = push_pull(&rows, ours, b"state");
        let op = ours.then(|| me.swim.start_push_pull(me.now, peer(), "", true, &mut me.host));
        match ours {
            false => accept(&mut me, StreamInput::Message(message)),
            true => answer(&mut me, message),
        };
        assert_eq!(me.swim.merging(), op);
        // A small state is merged meanwhile.
        accept(&mut me, StreamInput::Message(push_pull(&[row("small", 1, 0)], false, b"")));
        assert!(me.row("small").is_some());
        let mut left = ROWS - ROWS_AT_ONCE;
        while left > 0 {
            assert_eq!(me.swim.node_count(), ROWS + 2 - left);
            assert!(me.host.merged.is_empty() && me.done().is_empty());
            left -= left.min(ROWS_AT_ONCE);
            me.wait(Duration::from_millis(1));
        }
        assert_eq!(me.swim.node_count(), ROWS + 2);
        assert_eq!(me.host.merged, [b"state"]);
        let done: Vec<_> = op.map(|op| (op, Ok(()))).into_iter().collect();
        assert_eq!(me.done(), done);
        assert_eq!(me.swim.merging(), None);
    }
}

/// Several large states are merged in turns.
#[test]
fn large_states_do_not_wait_for_each_other() {
    let mut me = Node::new(quiet());
    for prefix in ["a", "b"] {
        let names: Vec<_> = (0..5 * ROWS_AT_ONCE).map(|i| format!("{prefix}-{i}")).collect();
        let rows: Vec<_> = names.iter().map(|name| row(name, 1, 0)).collect();
        accept(&mut me, StreamInput::Message(push_pull(&rows, false, b"x")));
    }
    me.wait(Duration::from_millis(5));
    let third = format!("-{}", 2 * ROWS_AT_ONCE + 1);
    assert!(me.row(&format!("a{third}")).is_some() && me.row(&format!("b{third}")).is_some());
    assert!(me.host.merged.is_empty());
    me.wait(Duration::from_millis(20));
    assert_eq!(me.swim.node_count(), 10 * ROWS_AT_ONCE + 1);
    assert_eq!(me.host.merged.len(), 2);
}

/// A state of megabytes is not encoded again for each change while peers ask for it.
#[test]
fn a_large_answer_is_given_again_for_a_second() {
    let mut me = Node::new(quiet());
    me.host.state = vec![7; 2 << 20];
    let ask = |me: &mut Node| {
        let outputs = accept(me, StreamInput::Message(push_pull(&[], false, b"")));
        let [Output::Reply { message, .. }] = outputs.as_slice() else { panic!("{outputs:?}") };
        message.clone()
    };
    let first = ask(&mut me);
    me.alive("new", 1);
    me.host.state[0] = 8;
    assert_eq!(ask(&mut me).as_ptr(), first.as_ptr());
    me.now += Duration::from_secs(1);
    let second = ask(&mut me);
    assert_ne!(second.as_ptr(), first.as_ptr());
    assert!(second.len() > first.len());
}
