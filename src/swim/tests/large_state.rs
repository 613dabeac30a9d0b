//! Our own state when it is so large that it is encoded in several turns.

use std::collections::BTreeSet;

use bytes::Bytes;

use super::{
    exchange::{push_pull, row},
    *,
};
use crate::{swim::StreamId, wire::NodeState};

/// Goal: each requester of a large state receives all of it, and only requesters wait. Changes,
/// joins and departures meanwhile result in a message that every peer can read.
#[test]
fn a_large_state_is_encoded_some_rows_at_a_time() {
    let mut me = large();
    let ours = me.swim.start_push_pull(me.now, peer(), "", false, &mut me.host);
    let ids: Vec<_> = (0..3).map(|_| request(&mut me, &[], false)).collect();
    assert!(me.outputs().is_empty(), "nobody has an answer at once");
    // Half of it is encoded when nodes leave for good, change and join.
    me.wait(Duration::from_millis(2));
    assert!(me.swim.encodes(false) && me.outputs().is_empty());
    let gone = |name: &str| name.ends_with('7');
    let names: Vec<_> = (0..LARGE).map(|i| format!("node-{i}")).collect();
    me.swim.table.reap(|row, _| gone(&row.record.name), &mut Rng::from_u64(1));
    me.alive("late", 1);
    me.outputs();
    me.wait(Duration::from_secs(1));
    assert!(!me.swim.encodes(false));

    let outputs = me.outputs();
    let messages: Vec<_> = outputs.iter().filter_map(message_of).collect();
    assert_eq!(messages.len(), 4);
    assert!(messages.iter().all(|message| message.as_ptr() == messages[0].as_ptr()), "shared");
    assert!(outputs.iter().any(|output| matches!(output, Output::Open { .. })));
    assert!(me.done().is_empty(), "{ours:?} waits for its peer");
    let rows = rows_of(messages[0]);
    for name in names.iter().filter(|name| !gone(name)) {
        assert!(rows.contains(name), "{name}");
    }
    // Nodes removed after their row was encoded are in the message, those removed before are not.
    let stale = rows.iter().filter(|name| gone(name)).count();
    assert!((1..LARGE / 10).contains(&stale), "{stale}");
    let answered = |asked: &StreamId| {
        outputs.iter().any(|output| matches!(output, Output::Reply { id, .. } if id == asked))
    };
    assert!(ids.iter().all(answered));
}

/// As in Go, which sends its state before it merges the peer's.
#[test]
fn a_peer_is_merged_after_its_answer() {
    let mut me = large();
    request(&mut me, &[row("new", 1, 0)], true);
    assert_eq!(me.row("new"), None);
    me.wait(Duration::from_secs(1));
    let outputs = me.outputs();
    let answer = outputs.iter().find_map(message_of).unwrap();
    assert!(!rows_of(answer).contains("new"));
    assert!(me.row("new").is_some() && me.host.merged == [b"state"]);
}

/// Streams that end before their answer is ready release their places.
#[test]
fn a_peer_that_goes_before_its_answer_leaves_its_place() {
    let mut me = large();
    for host in 0..1_000_u16 {
        let [a, b] = host.to_be_bytes();
        let id = request_from(&mut me, ([10, 1, a, b], 7946).into(), &[], false);
        let gone = StreamInput::Failed { connected: true, error: "EOF".into() };
        me.swim.handle_stream(me.now, id, gone, &mut me.host);
    }
    assert!(me.outputs().is_empty(), "none is refused");
    me.wait(Duration::from_secs(2));
    assert!(me.outputs().iter().all(|output| message_of(output).is_none()));
    request(&mut me, &[], false);
    me.wait(Duration::from_secs(1));
    assert_eq!(me.outputs().iter().filter_map(message_of).count(), 1);
}

/// A state that exceeds the peers' limit while it is encoded is refused to all requesters.
#[test]
fn a_state_that_grows_too_large_meanwhile_is_refused() {
    let mut me = large();
    me.host.state = vec![0; (20 << 20) + 1];
    let op = me.swim.start_push_pull(me.now, peer(), "", false, &mut me.host);
    request(&mut me, &[], false);
    me.wait(Duration::from_secs(1));
    let outputs = me.outputs();
    let [Output::Reply { message, .. }] = outputs.as_slice() else { panic!("{outputs:?}") };
    assert!(String::from_utf8_lossy(message).contains("user state of 20971521 bytes"));
    assert!(matches!(me.done().as_slice(), [(done, Err(_))] if *done == op));
    me.host.state.clear();
    request(&mut me, &[], false);
    me.wait(Duration::from_secs(1));
    assert_eq!(me.outputs().iter().filter_map(message_of).count(), 1);
}

/// Number of members whose state takes several slices.
const LARGE: usize = 4_000;

fn large() -> Node {
    let mut config = quiet();
    (config.probe_interval, config.gossip_interval) = (Duration::ZERO, Duration::ZERO);
    config.push_pull_interval = Duration::ZERO;
    let mut me = Node::new(config);
    for index in 0..LARGE {
        me.alive_at(&format!("node-{index}"), 1, &[10, 0, 0, 9], &[7; 512]);
    }
    me.outputs();
    me.events();
    me
}

/// Passes in a push/pull request and returns its stream.
fn request(me: &mut Node, rows: &[NodeState<'_>], join: bool) -> StreamId {
    request_from(me, peer(), rows, join)
}

fn request_from(me: &mut Node, from: SocketAddr, rows: &[NodeState<'_>], join: bool) -> StreamId {
    let id = me.swim.accept_stream();
    me.swim.handle_stream(me.now, id, StreamInput::Accepted { from }, &mut me.host);
    let message = StreamInput::Message(push_pull(rows, join, b"state"));
    me.swim.handle_stream(me.now, id, message, &mut me.host);
    id
}

/// The push/pull in an output, if any.
fn message_of(output: &Output) -> Option<&Bytes> {
    let (Output::Open { message, .. } | Output::Reply { message, .. }) = output else {
        return None;
    };
    (message.first() == Some(&6)).then_some(message)
}

/// The node names in a push/pull, as decoded by a peer.
fn rows_of(message: &[u8]) -> BTreeSet<String> {
    let codec = PacketCodec::build(quiet().codec).unwrap().stream_codec();
    let mut decoder = StreamDecoder::new(codec, Role::Acceptor);
    let Ok(Some(StreamMessage::PushPull(state))) = decoder.feed(message) else {
        panic!("{} bytes are no push/pull", message.len())
    };
    let rows: Vec<_> = state.rows().map(|row| row.unwrap().name.to_vec()).collect();
    rows.into_iter().map(|name| String::from_utf8(name).unwrap()).collect()
}
