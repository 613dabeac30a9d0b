//! Which senders are trusted: clocks far ahead, votes, key queries, leaves without an intent.

use super::{network::Net, *};
use crate::serf::{
    Completion,
    message::{MemberRecord, UserEvent},
};

const FAR: u64 = 1 << 40;

fn clocks(node: &Node) -> [u64; 3] {
    [&node.state.cx.clocks.member, &node.state.cx.clocks.event, &node.state.cx.clocks.query]
        .map(|c| c.time().0)
}

fn state(time: u64) -> PushPull<'static> {
    let time = LamportTime(time);
    PushPull { ltime: time, event_ltime: time, query_ltime: time, ..PushPull::default() }
}

fn merge(node: &mut Node, state: &PushPull<'_>, exchange: Exchange) {
    let raw = encode(&Message::PushPull(state.clone()));
    node.state.merge_remote_state(&raw, exchange);
}

/// Members that were asked for their state since the last call.
fn asked(node: &mut Node) -> Vec<String> {
    let actions = node.state.cx.effects.actions.drain(..);
    let names = actions.filter_map(|action| match action {
        Action::Sync { node, .. } => Some(node.to_string()),
        _ => None,
    });
    names.collect()
}

fn with_members(names: &[&str]) -> Node {
    let mut node = Node::new("me");
    names.iter().for_each(|name| node.join(name));
    node.events();
    node
}

#[test]
fn a_refused_clock_changes_nothing() {
    // Goal: each of the three clocks separately, in an answer to a join that ignores old events.
    for which in 0..3 {
        for time in [u64::MAX, u64::MAX - 1, (1 << 63) + 1] {
            let mut node = with_members(&["a"]);
            node.state.events.join_ignores_old = true;
            let mut remote = state(5);
            let clocks_of = [&mut remote.ltime, &mut remote.event_ltime, &mut remote.query_ltime];
            *clocks_of.into_iter().nth(which).unwrap() = LamportTime(time);
            merge(&mut node, &remote, answer_of("a", true));
            let mut expected = [5; 3];
            expected[which] = 1;
            assert_eq!(clocks(&node), expected, "clock {which}, time {time}");
            let min_time = if which == 1 { 0 } else { 5 };
            assert_eq!(node.state.events.min_time, LamportTime(min_time));
            // Events are delivered as before.
            node.state.user_event("own", b"", false).unwrap();
            assert_eq!(node.events().len(), 1);
        }
    }
}

#[test]
fn a_fresh_node_takes_far_clocks_only_from_the_member_it_joins() {
    let mut node = Node::new("me");
    for join in [false, true] {
        merge(&mut node, &state(FAR), exchange(join));
        assert_eq!(clocks(&node), [1; 3], "a stranger came by");
    }
    merge(&mut node, &state(7), exchange(false));
    assert_eq!(clocks(&node), [7; 3], "what is near is believed of anybody, as by Go");
    merge(&mut node, &state(1 << 63), answer_of("seed", true));
    assert_eq!(clocks(&node), [7; 3]);
    merge(&mut node, &state((1 << 63) - 1), answer_of("seed", true));
    assert_eq!(clocks(&node), [(1 << 63) - 1; 3]);
}

#[test]
fn a_snapshot_does_not_keep_a_node_from_following_the_member_it_joins() {
    let snapshot = b"clock: 100\nevent-clock: 100\nquery-clock: 100\n";
    let mut node = Node::build("me", Some(snapshot), |_| {});
    merge(&mut node, &state(FAR), exchange(true));
    assert_eq!(clocks(&node), [101; 3]);
    merge(&mut node, &state(FAR), answer_of("a", true));
    assert_eq!(clocks(&node), [FAR; 3]);
}

#[test]
fn members_that_are_ahead_are_asked_and_followed() {
    // Goal: a single other member suffices; of several, two, or one that stays ahead.
    let mut node = with_members(&["a"]);
    let event = UserEvent { ltime: LamportTime(FAR), name: b"e", ..UserEvent::default() };
    node.receive(&Message::UserEvent(event.clone()));
    assert!(node.events().is_empty());
    assert_eq!(asked(&mut node), ["a"]);
    merge(&mut node, &state(FAR), answer_of("a", false));
    assert_eq!(clocks(&node), [FAR; 3]);
    node.receive(&Message::UserEvent(event));
    assert_eq!(node.events().len(), 1, "the next copy is delivered");

    let mut node = with_members(&["a", "b", "c"]);
    merge(&mut node, &state(FAR), answer_of("a", false));
    assert_eq!(clocks(&node), [1; 3]);
    merge(&mut node, &state(3), answer_of("c", false));
    merge(&mut node, &state(FAR), answer_of("b", false));
    assert_eq!(clocks(&node), [FAR; 3]);

    let mut node = with_members(&["a", "b", "c"]);
    merge(&mut node, &state(FAR), answer_of("a", false));
    merge(&mut node, &state(FAR), answer_of("a", false));
    asked(&mut node);
    assert_eq!(clocks(&node), [1; 3], "one of three, just now");
    node.advance(Duration::from_secs(5));
    assert_eq!(asked(&mut node), ["a"], "it is asked again");
    merge(&mut node, &state(FAR), answer_of("a", false));
    assert_eq!(clocks(&node), [FAR; 3]);
}

#[test]
fn nobody_else_makes_a_node_follow() {
    let mut node = with_members(&["a", "b", "c"]);
    for _ in 0..3 {
        // Unknown nodes, whichever side initiated the exchange; and members whose clocks are no
        // longer ahead.
        merge(&mut node, &state(FAR), exchange(false));
        merge(&mut node, &state(FAR), answer_of("ghost", false));
        merge(&mut node, &state(FAR), answer_of("a", false));
        merge(&mut node, &state(2), answer_of("a", false));
        node.advance(Duration::from_secs(10));
    }
    merge(&mut node, &state(u64::MAX - 5), answer_of("a", false));
    merge(&mut node, &state(u64::MAX - 5), answer_of("b", false));
    assert_eq!(clocks(&node), [2; 3]);
}

#[test]
fn far_messages_of_any_kind_make_us_ask_a_few_members_once_in_two_seconds() {
    let names: Vec<String> = (0..20).map(|n| format!("n{n}")).collect();
    let mut node = with_members(&names.iter().map(String::as_str).collect::<Vec<_>>());
    let ltime = LamportTime(FAR);
    let query = message::Query { ltime, name: b"q", ..message::Query::default() };
    let messages = [
        Message::UserEvent(UserEvent { ltime, name: b"e", ..UserEvent::default() }),
        Message::Query(query),
        Message::Join(Join { ltime, node: b"n1" }),
        Message::Leave(Leave { ltime, node: b"n1", prune: false }),
    ];
    for message in &messages {
        node.advance(Duration::from_secs(2));
        for _ in 0..100 {
            node.receive(message);
        }
        let asked = asked(&mut node);
        assert!((1..=3).contains(&asked.len()), "{asked:?}");
    }
    assert_eq!(node.state.cx.stats.dropped_implausible, 400);
}

/// The answer of `from` to a query of `n0`.
fn answer(id: QueryId, from: &str, payload: &[u8]) -> Vec<u8> {
    encode(&Message::QueryResponse(message::QueryResponse {
        ltime: id.ltime,
        id: id.id,
        from: from.as_bytes(),
        flags: 0,
        payload: payload.into(),
    }))
}

/// Starts a vote of `n0` on its name and returns its query.
fn vote(net: &mut Net) -> QueryId {
    net.nodes[0].notify("n0", |state, view| {
        let other = NodeView { addr: &[10, 200, 0, 1], ..view.clone() };
        state.on_conflict(view, &other);
    });
    let count = net.nodes.len();
    let node = &mut net.nodes[0];
    node.state.cx.effects.actions.clear();
    let id = QueryId { ltime: node.state.cx.clocks.query.time(), id: 0 };
    node.state.start_vote(count);
    let found = node.state.queries.asked.ids().find(|asked| asked.ltime == id.ltime);
    found.expect("a vote is under way")
}

#[test]
fn only_members_vote_and_only_for_themselves() {
    let elsewhere = encode(&Message::ConflictResponse(Some(MemberRecord {
        name: b"n0",
        addr: [10, 200, 0, 1][..].into(),
        port: 7946,
        ..MemberRecord::default()
    })));
    let attacker: SocketAddr = "10.66.6.6:7946".parse().unwrap();
    type Attack = fn(&mut Net);
    let cases: [(&str, Attack); 5] = [
        ("ghosts", |_| {}),
        ("members that failed", |net| net.nodes[0].leave("n1")),
        ("members that left", |net| {
            net.nodes[0].leave_intent(50, "n1", false);
            net.nodes[0].leave("n1");
        }),
        ("members that leave", |net| net.nodes[0].leave_intent(50, "n1", false)),
        ("members, from another address", |_| {}),
    ];
    for (what, prepare) in cases {
        let mut net = Net::new(4);
        prepare(&mut net);
        let id = vote(&mut net);
        let node = &mut net.nodes[0];
        for k in 0..40 {
            let (from, at) = match what {
                "ghosts" => (format!("ghost{k}"), attacker),
                "members, from another address" => (format!("n{}", 1 + k % 3), attacker),
                _ => ("n1".to_owned(), address("n1")),
            };
            let origin = Origin { from: at, seal: Seal::NoKeys };
            node.state.on_user_message(&answer(id, &from, &elsewhere), origin);
        }
        assert_eq!(node.state.cx.stats.ignored_responses, 40, "{what}");
        node.advance(Duration::from_secs(10));
        let gone =
            node.state.cx.effects.outputs.iter().any(|output| matches!(output, Output::ShutDown));
        assert!(!gone, "{what} decided");
    }
    // A member's vote counts once, if sent from its address or encrypted with a key.
    for seal in [Seal::NoKeys, Seal::Key] {
        let mut net = Net::new(4);
        let id = vote(&mut net);
        let node = &mut net.nodes[0];
        let from = if seal == Seal::Key { attacker } else { address("n1") };
        for _ in 0..5 {
            let origin = Origin { from, seal };
            node.state.on_user_message(&answer(id, "n1", &elsewhere), origin);
        }
        assert_eq!(node.state.cx.stats.query_duplicate_responses, 4);
        node.advance(Duration::from_secs(10));
        assert!(
            node.state.cx.effects.outputs.iter().any(|output| matches!(output, Output::ShutDown))
        );
    }
}

#[test]
fn strangers_do_not_answer_key_queries() {
    let mut net = Net::new(3);
    let node = &mut net.nodes[0];
    node.state.queue_key_op(OpId(1), &KeyOp::List, 0).unwrap();
    assert!(node.state.start_key_op(3));
    let id = node.state.queries.asked.ids().next().expect("a query");
    let fine = encode(&Message::KeyResponse(message::NodeKeyResponse {
        result: true,
        ..message::NodeKeyResponse::default()
    }));
    for from in ["ghost1", "ghost2", "n1", "ghost3", "n1", "n2", "n0"] {
        node.state.on_user_message(&answer(id, from, &fine), origin());
    }
    let done = node.state.cx.effects.outputs.drain(..).find_map(|output| match output {
        Output::Done { result: Ok(Completion::Keys { response, error }), .. } => {
            Some((response.num_resp, error))
        }
        _ => None,
    });
    assert_eq!(done, Some((3, None)));
    assert_eq!(node.state.cx.stats.ignored_responses, 3);
}

#[test]
fn key_queries_in_clear_are_refused_where_there_are_keys() {
    for name in ["install-key", "use-key", "remove-key", "list-keys"] {
        for (seal, answered) in [(Seal::Clear, false), (Seal::Key, true), (Seal::NoKeys, true)] {
            let mut node = with_members(&["a"]);
            let name = format!("_serf_{name}");
            let raw = encode(&Message::Query(message::Query {
                ltime: LamportTime(3),
                id: 7,
                addr: [10, 0, 0, 2][..].into(),
                port: 7946,
                source_node: b"a",
                timeout_ns: 5_000_000_000,
                name: name.as_bytes(),
                ..message::Query::default()
            }));
            let origin = Origin { from: address("a"), seal };
            node.state.on_user_message(&raw, origin);
            let handled = node
                .state
                .cx
                .effects
                .actions
                .iter()
                .any(|action| matches!(action, Action::Internal(_)));
            assert_eq!(handled, answered, "{name} {seal:?}");
            assert_eq!(node.gossip().len(), usize::from(answered), "{name} {seal:?}");
            assert_eq!(node.state.cx.stats.refused_key_queries, u64::from(!answered));
        }
    }
}

#[test]
fn a_dead_message_of_the_node_itself_is_a_leave() {
    let mut node = with_members(&["a", "b"]);
    node.notify("a", |state, view| {
        let left = NodeView { state: NodeStateKind::Left, ..view.clone() };
        state.on_leave(&left);
    });
    node.leave("b");
    assert_eq!(node.events(), ["member-leave a left", "member-failed b failed"]);
    node.join("a");
    assert_eq!(node.status("a"), Some("alive"), "it may come back");
}
