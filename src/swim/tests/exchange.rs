//! Streams: push/pull, stream ping, user messages.

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::wire::{DecodeError, NodeState, PushPull, SeqNo, StreamError};

fn row<'a>(name: &'a str, incarnation: u32, state: i64) -> NodeState<'a> {
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

fn push_pull(rows: &[NodeState<'_>], join: bool, user_state: &[u8]) -> StreamMessage {
    let user_state = Bytes::copy_from_slice(user_state);
    StreamMessage::PushPull(PushPull::from_rows(join, rows.iter().cloned(), user_state))
}

/// Hands a message in on an accepted stream and gives what comes out.
fn accept(me: &mut Node, input: StreamInput) -> Vec<Output> {
    let id = me.swim.accept_stream();
    me.swim.handle_stream(me.now, id, StreamInput::Accepted { from: peer() }, &mut me.host);
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

#[test]
fn one_incompatible_row_stops_the_merge_but_not_the_reply() {
    let mut me = Node::new(quiet());
    let mut bad = row("bad", 1, 2);
    bad.vsn = [1, 5].as_slice().into();
    let outputs =
        accept(&mut me, StreamInput::Message(push_pull(&[row("a", 1, 0), bad], false, b"x")));
    assert!(matches!(outputs.as_slice(), [Output::Reply { .. }]));
    assert!(me.row("a").is_none());
    assert!(me.host.merged.is_empty());
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
    // Peers that never take their reply give their places back with the deadline.
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
        let failed = outputs.iter().any(|output| matches!(output, Output::Done { result: Err(error), .. } if error.to_string().contains("node names are required")));
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
fn only_refusals_are_told_to_the_peer() {
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
