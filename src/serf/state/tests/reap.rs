//! Reaping, reconnecting, queue depths, delivery of events.

use super::*;

const HOUR: Duration = Duration::from_secs(3600);

fn failed(count: usize) -> Node {
    let mut node = Node::new("me");
    for n in 0..count {
        node.join(&format!("n{n}"));
    }
    for n in 0..count {
        node.leave(&format!("n{n}"));
    }
    node.events();
    node
}

#[test]
fn gone_members_are_reaped_strictly_after_their_timeout() {
    let mut node = Node::with("me", |config| config.tombstone_timeout = 2 * HOUR);
    node.join("failed");
    node.join("left");
    node.leave_intent(5, "left", false);
    node.leave("left");
    node.leave("failed");
    node.join("leaving");
    node.leave_intent(6, "leaving", false);
    node.events();
    node.advance(2 * HOUR);
    assert!(node.events().is_empty());
    node.advance(Duration::from_secs(15));
    assert_eq!(node.events(), ["member-reap left left"]);
    node.advance(22 * HOUR);
    assert_eq!(node.events(), ["member-reap failed failed"]);
    node.advance(100 * HOUR);
    assert_eq!(node.status("leaving"), Some("leaving"), "never reaped");
}

#[test]
fn delegate_changes_the_timeout_of_both_lists() {
    struct Longer;
    impl crate::serf::ReconnectDelegate for Longer {
        fn reconnect_timeout(&self, member: &Member, timeout: Duration) -> Duration {
            if member.name.starts_with("long") { 3 * timeout } else { timeout }
        }
    }
    let mut node = Node::with("me", |config| {
        config.delegates.reconnect = Some(Arc::new(Longer));
        config.reconnect_timeout = HOUR;
    });
    for name in ["long", "short"] {
        node.join(name);
        node.leave(name);
    }
    node.events();
    node.advance(HOUR + Duration::from_secs(15));
    assert_eq!(node.events(), ["member-reap short failed"]);
    node.advance(2 * HOUR);
    assert_eq!(node.events(), ["member-reap long failed"]);
}

#[test]
fn failed_members_are_tried_again_and_the_reaped_after_them() {
    let mut node = failed(1);
    node.advance(Duration::from_secs(30));
    let tried = |node: &mut Node| node.state.cx.effects.actions.drain(..).count();
    assert!(matches!(
        &node.state.cx.effects.actions[0],
        Action::Reconnect { to, node } if *to == address("n0") && **node == *"n0"
    ));
    tried(&mut node);
    node.advance(25 * HOUR);
    assert_eq!(node.status("n0"), None);
    tried(&mut node);
    node.advance(Duration::from_secs(30));
    assert_eq!(tried(&mut node), 1, "reaped, and still tried");
    node.join("n0");
    node.advance(Duration::from_secs(60));
    assert_eq!(tried(&mut node), 0);
}

#[test]
fn reaped_members_that_left_are_not_tried() {
    let mut node = failed(1);
    node.leave_intent(9, "n0", false);
    node.advance(30 * HOUR);
    assert_eq!(node.status("n0"), None);
    assert!(
        !node
            .state
            .cx
            .effects
            .actions
            .iter()
            .any(|action| matches!(action, Action::Reconnect { .. }))
    );
}

#[test]
fn nobody_is_tried_again_after_a_leave() {
    for life in [SerfState::Leaving, SerfState::Left, SerfState::Shutdown] {
        let mut node = failed(3);
        node.state.members.remembered.add_seed(address("seed"));
        node.state.cx.life = life;
        node.advance(Duration::from_secs(300));
        assert!(node.state.cx.effects.actions.is_empty(), "{life:?}");
    }
}

#[test]
fn own_tombstone_is_reaped_without_harm() {
    let mut node = Node::with("me", |config| config.tombstone_timeout = HOUR);
    for name in ["n1", "n2", "n3"] {
        node.join(name);
    }
    node.state.cx.life = SerfState::Left;
    node.leave_intent(1, "me", false);
    node.leave("me");
    node.advance(2 * HOUR);
    assert_eq!(node.status("me"), None);
    assert_eq!(*node.state.members.local().name, *"me");
    // Go looks itself up to relay an answer, and crashes.
    let query = message::Query {
        ltime: LamportTime(9),
        addr: [10, 0, 0, 7][..].into(),
        port: 7946,
        flags: message::Query::ACK,
        relay_factor: 2,
        timeout_ns: 1_000_000_000,
        ..message::Query::default()
    };
    node.receive(&Message::Query(query));
    node.state.respond(QueryId { ltime: LamportTime(9), id: 0 }, b"yes").unwrap();
    assert!(node.state.cx.effects.actions.len() >= 2, "an ack and an answer");
}

#[test]
fn zero_intervals_never_fire() {
    let mut node = Node::with("me", |config| {
        config.reap_interval = Duration::ZERO;
        config.reconnect_interval = Duration::ZERO;
        config.queue_check_interval = Duration::ZERO;
    });
    node.join("n1");
    node.leave("n1");
    assert_eq!(node.state.cx.next_timeout(), None);
    node.advance(100 * HOUR);
    assert_eq!(node.status("n1"), Some("failed"));
}

#[test]
fn few_failures_are_tried_seldom() {
    let mut node = Node::new("me");
    for n in 0..100 {
        node.join(&format!("n{n}"));
    }
    node.leave("n0");
    node.advance(Duration::from_secs(30 * 1000));
    let tried = node.state.cx.effects.actions.len();
    assert!((2..40).contains(&tried), "about one in a hundred, was {tried} of 1000");
}

#[test]
fn lonely_node_goes_back_to_its_seeds_for_life() {
    let mut node = failed(1);
    node.leave_intent(9, "n0", true);
    node.state.members.remembered.add_seed(address("seed"));
    node.events();
    node.advance(Duration::from_secs(30));
    let seed = address("seed");
    assert!(
        matches!(&node.state.cx.effects.actions[0], Action::Reconnect { to, .. } if *to == seed)
    );
    assert!(
        node.state.cx.effects.actions.iter().any(|action| matches!(action, Action::RejoinSeeds))
    );
    node.join("other");
    node.state.cx.effects.actions.clear();
    node.advance(Duration::from_secs(60));
    assert!(node.state.cx.effects.actions.is_empty(), "not alone any more");
}

#[test]
fn long_queues_are_pruned_to_their_limit() {
    let mut node = Node::with("me", |config| config.queue_depth_max = 10);
    for n in 0..20 {
        node.state.user_event(n.to_string(), b"", false).unwrap();
    }
    node.advance(Duration::from_secs(30));
    assert_eq!(node.state.broadcasts.events.len(), 10);
    let mut node = Node::with("me", |config| {
        config.queue_depth_max = 1;
        config.queue_depth_min = 15;
    });
    for n in 0..20 {
        node.state.user_event(n.to_string(), b"", false).unwrap();
    }
    node.advance(Duration::from_secs(30));
    assert_eq!(node.state.broadcasts.events.len(), 15);
    // Own events are sent while other nodes are alive; not all of the peers' are kept.
    node.join("a");
    for n in 0..30 {
        node.state.user_event(n.to_string(), b"", false).unwrap();
    }
    node.advance(Duration::from_secs(30));
    assert_eq!(node.state.broadcasts.events.len(), 45);
}

#[test]
fn packets_are_filled_with_intents_then_queries_then_events() {
    let mut node = Node::new("me");
    node.state.user_event("event", b"", false).unwrap();
    let params = QueryParams::default();
    node.state.ask(1, "query", b"", &params, Asker::User).unwrap();
    node.state.broadcast_join();
    let kinds: Vec<u8> = node.gossip().iter().map(|message| message[0]).collect();
    assert_eq!(kinds, [1, 4, 3]);
}

#[test]
fn member_events_are_coalesced() {
    let mut node = Node::with("me", |config| {
        config.coalesce_period = Duration::from_secs(3);
        config.quiescent_period = Duration::from_secs(1);
    });
    node.join("a");
    node.join("b");
    node.leave("b");
    assert!(node.events().is_empty());
    node.advance(Duration::from_secs(1));
    assert_eq!(
        node.events(),
        ["member-join a alive", "member-join me alive", "member-failed b failed"]
    );
}

#[test]
fn snapshot_records_what_happens_and_is_replayed() {
    let mut node = Node::build("me", Some(b""), |_| {});
    node.join("x");
    node.state.user_event("e", b"", false).unwrap();
    let params = QueryParams::default();
    node.state.ask(1, "_serf_ping", b"", &params, Asker::User).unwrap();
    node.join_intent(7, "x");
    node.advance(Duration::from_secs(1));
    let lines: String = node
        .state
        .cx
        .delivery
        .snapshot
        .as_mut()
        .unwrap()
        .take_ops()
        .map(|op| match op {
            SnapshotOp::Append(lines) => lines,
            SnapshotOp::Replace(_) | SnapshotOp::Sync => String::new(),
        })
        .collect();
    let (me, x) = (address("me"), address("x"));
    let expected = format!(
        "alive: me {me}\nalive: x {x}\nevent-clock: 1\nquery-clock: 1\nclock: 7\n\
         # ruserf incarnation: 1\n"
    );
    assert_eq!(lines, expected);
    let again = Node::build("me", Some(lines.as_bytes()), |_| {});
    assert_eq!(again.state.cx.clocks.member.time(), LamportTime(8));
    assert_eq!(again.state.events.min_time, LamportTime(2));
    assert_eq!(again.state.cx.config.swim.incarnation_min, Incarnation(1));
}

#[test]
fn coordinates_follow_probes_and_are_forgotten_with_the_member() {
    let mut node = Node::new("me");
    node.join("x");
    let mut payload = Vec::new();
    node.state.ack_payload(&mut payload);
    assert_eq!(payload.len(), 130);
    let rtt = Duration::from_millis(20);
    for bad in [&b""[..], &[2, 0x80], &[1, 0xff], &[1, 0x80]] {
        node.notify("x", |state, view| state.on_ping_complete(view, rtt, bad));
        assert!(node.state.members.coordinates.get("x").is_none());
    }
    assert_eq!(node.state.cx.stats.coordinate_rejected, 1, "no dimensions");
    node.notify("x", |state, view| state.on_ping_complete(view, rtt, &payload));
    assert!(node.state.members.coordinates.get("x").is_some());
    assert_ne!(node.state.members.coordinates.own(), Some(&Coordinate::origin()));
    node.leave("x");
    node.leave_intent(9, "x", true);
    assert!(node.state.members.coordinates.get("x").is_none());
    let mut without = Node::with("me", |config| config.disable_coordinates = true);
    payload.clear();
    without.state.ack_payload(&mut payload);
    assert!(payload.is_empty());
}

#[test]
fn delegates_veto_and_compose() {
    struct No(&'static str);
    impl crate::serf::MergeDelegate for No {
        fn check_merge(&self, members: &[Member]) -> Result<(), String> {
            let bad = members.iter().any(|member| *member.name == *self.0);
            if bad { Err(format!("no {}", self.0)) } else { Ok(()) }
        }
    }
    let part = |name| crate::serf::Delegates {
        merge: Some(Arc::new(No(name))),
        ..crate::serf::Delegates::default()
    };
    let mut node = Node::with("me", |config| {
        let all = crate::serf::CompositeDelegate::new().with(part("a")).with(part("b"));
        config.delegates = all.build();
    });
    for (name, verdict) in [("a", Err("no a")), ("b", Err("no b")), ("c", Ok(()))] {
        let expected = verdict.map_err(str::to_owned);
        node.notify(name, |state, view| {
            assert_eq!(state.check_merge(std::slice::from_ref(view)), expected);
            assert_eq!(state.check_alive(view), expected);
        });
    }
    node.notify("c", |state, view| {
        let short = NodeView { addr: &[1, 2, 3], ..view.clone() };
        let error = state.check_merge(&[short]).unwrap_err();
        assert_eq!(error, "IP byte length is invalid: 3 bytes is not either 4 or 16");
    });
    assert!(node.state.cx.config.delegates.conflict.is_none());
}
