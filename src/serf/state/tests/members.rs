//! Every transition of a member's status.

use super::*;
use crate::serf::intents::INTENTS_MAX;

/// A node that knows `x` with a status; its clock and events are already advanced.
fn knowing(status: &str) -> Node {
    let mut node = Node::new("me");
    match status {
        "unknown" => {}
        "alive" => node.join("x"),
        "leaving" => {
            node.join("x");
            node.leave_intent(10, "x", false);
        }
        "left" => {
            node.join("x");
            node.leave_intent(10, "x", false);
            node.leave("x");
        }
        "failed" => {
            node.join("x");
            node.leave("x");
        }
        other => panic!("{other}"),
    }
    node.events();
    node.gossip();
    node
}

#[test]
fn every_transition_is_go_s() {
    let rows: [(&str, [(&str, &str); 4]); 5] = [
        // from, then: node joins, node leaves, leave intent, join intent -> status, event
        ("unknown", [("alive", "member-join x alive"), ("-", ""), ("-", ""), ("-", "")]),
        (
            "alive",
            [
                ("alive", "member-join x alive"),
                ("failed", "member-failed x failed"),
                ("leaving", ""),
                ("alive", ""),
            ],
        ),
        (
            "leaving",
            [
                ("alive", "member-join x alive"),
                ("left", "member-leave x left"),
                ("leaving", ""),
                ("alive", ""),
            ],
        ),
        ("left", [("alive", "member-join x alive"), ("left", ""), ("left", ""), ("left", "")]),
        (
            "failed",
            [
                ("alive", "member-join x alive"),
                ("failed", ""),
                ("left", "member-leave x left"),
                ("failed", ""),
            ],
        ),
    ];
    for (from, outcomes) in rows {
        type Input = (&'static str, fn(&mut Node));
        let inputs: [Input; 4] = [
            ("join", |node| node.join("x")),
            ("leave", |node| node.leave("x")),
            ("leave intent", |node| node.leave_intent(20, "x", false)),
            ("join intent", |node| node.join_intent(20, "x")),
        ];
        for ((what, input), (status, event)) in inputs.into_iter().zip(outcomes) {
            let mut node = knowing(from);
            input(&mut node);
            assert_eq!(node.status("x").unwrap_or("-"), status, "{from}, {what}");
            assert_eq!(node.events().join(","), event, "{from}, {what}");
            let newer_intent = what.ends_with("intent");
            assert_eq!(node.gossip().len(), usize::from(newer_intent), "{from}, {what}: gossip");
            if newer_intent && from != "unknown" {
                assert_eq!(node.status_ltime("x"), 20, "{from}, {what}: time");
            }
        }
    }
}

#[test]
fn intents_that_are_not_newer_are_ignored_and_not_gossiped() {
    for from in ["alive", "leaving", "left", "failed"] {
        let mut node = knowing(from);
        let (before, ltime) = (node.status("x"), node.status_ltime("x"));
        node.leave_intent(ltime, "x", true);
        node.join_intent(ltime, "x");
        assert_eq!(node.status("x"), before);
        assert!(node.events().is_empty() && node.gossip().is_empty());
    }
}

#[test]
fn intents_about_the_unknown_wait_for_the_node() {
    let mut node = Node::new("me");
    node.leave_intent(5, "x", false);
    node.leave_intent(5, "x", false);
    node.leave_intent(4, "x", false);
    assert_eq!(node.gossip().len(), 1, "gossiped once");
    node.join("x");
    assert_eq!(node.events(), ["member-join me alive", "member-join x leaving"]);
    assert_eq!(node.status_ltime("x"), 5);
    node.join_intent(6, "x");
    assert_eq!(node.status("x"), Some("alive"));

    node.leave_intent(7, "y", false);
    node.join_intent(8, "y");
    node.join("y");
    assert_eq!(node.status("y"), Some("alive"));
    assert_eq!(node.status_ltime("y"), 8);
}

#[test]
fn intents_about_the_unknown_expire() {
    let mut node = Node::new("me");
    node.leave_intent(5, "x", false);
    node.advance(Duration::from_secs(299));
    assert_eq!(node.state.members.intents.len(), 1);
    node.advance(Duration::from_secs(30));
    assert_eq!(node.state.members.intents.len(), 0);
}

#[test]
fn memory_for_unknown_names_is_bounded() {
    let mut node = Node::new("me");
    node.leave_intent(1, "first", false);
    let long = "x".repeat(240);
    for n in 0..20_000 {
        node.join_intent(n, &format!("{long}{n}"));
        node.state.cx.effects.actions.clear();
    }
    assert_eq!(node.state.members.intents.len(), INTENTS_MAX);
    assert!(node.state.members.intents.get("first").is_none(), "the oldest is forgotten");
    node.leave_intent(2, "last", false);
    node.join("last");
    assert_eq!(node.status("last"), Some("leaving"));
}

#[test]
fn intents_are_forgotten_in_time_counted_from_the_newest_about_a_name() {
    let mut node = Node::new("me");
    node.leave_intent(5, "a", false);
    node.leave_intent(5, "b", false);
    node.advance(Duration::from_secs(200));
    node.leave_intent(6, "b", false);
    node.advance(Duration::from_secs(150));
    assert!(node.state.members.intents.get("a").is_none());
    assert!(node.state.members.intents.get("b").is_some());
    node.advance(Duration::from_secs(200));
    assert_eq!(node.state.members.intents.len(), 0);
}

#[test]
fn own_leave_is_refuted_while_alive() {
    let mut node = Node::new("me");
    node.leave_intent(9, "me", false);
    assert!(matches!(node.state.cx.effects.actions.pop_front(), Some(Action::BroadcastJoin)));
    assert_eq!(node.status("me"), Some("alive"));
    assert_eq!(node.status_ltime("me"), 0);
    assert!(node.gossip().is_empty(), "the leave is not gossiped on");
    node.state.broadcast_join();
    assert_eq!(node.status_ltime("me"), 10, "above the leave");
    let join = Join { ltime: LamportTime(10), node: b"me" };
    assert_eq!(node.gossip(), [encode(&Message::Join(join))]);
}

#[test]
fn own_leave_is_accepted_while_leaving() {
    let mut node = Node::new("me");
    node.state.cx.life = SerfState::Leaving;
    node.leave_intent(9, "me", false);
    assert_eq!(node.status("me"), Some("leaving"));
}

#[test]
fn forced_leave_keeps_the_time_of_the_failure() {
    let mut node = knowing("failed");
    node.advance(Duration::from_secs(3600));
    node.leave_intent(20, "x", false);
    assert_eq!(node.status("x"), Some("left"));
    let since = node.state.members.table.left().first().unwrap().0;
    assert_eq!(since, Instant::ZERO);
}

#[test]
fn pruning_the_gone_is_immediate() {
    for from in ["left", "failed"] {
        let mut node = knowing(from);
        node.leave_intent(20, "x", true);
        assert_eq!(node.status("x"), None, "{from}");
        assert_eq!(node.events().last().unwrap(), "member-reap x left");
        assert_eq!(node.gossip().len(), 1, "gossiped on");
        assert!(
            node.state.members.table.left().is_empty()
                && node.state.members.table.failed().is_empty()
        );
    }
}

#[test]
fn pruning_the_living_waits_without_blocking() {
    for from in ["alive", "leaving"] {
        let mut node = knowing(from);
        node.leave_intent(20, "x", true);
        assert_eq!(node.status("x"), Some("leaving"), "{from}");
        node.join("y");
        assert_eq!(node.events(), ["member-join y alive"], "nothing waits");
        node.advance(Duration::from_millis(5_999));
        assert_eq!(node.status("x"), Some("leaving"));
        node.advance(Duration::from_millis(1));
        assert_eq!(node.status("x"), None);
        assert_eq!(node.events(), ["member-reap x leaving"]);
    }
}

#[test]
fn pruned_member_that_refutes_stays() {
    let mut node = knowing("alive");
    node.leave_intent(20, "x", true);
    node.join_intent(21, "x");
    node.advance(Duration::from_secs(10));
    assert_eq!(node.status("x"), Some("alive"));
    assert!(node.events().is_empty());
}

#[test]
fn pruned_member_that_lives_on_is_looked_up_again() {
    let mut node = knowing("alive");
    node.leave_intent(20, "x", true);
    node.advance(Duration::from_secs(10));
    assert_eq!(node.status("x"), None);
    node.state.cx.effects.actions.clear();
    node.join_intent(30, "x");
    assert!(matches!(&node.state.cx.effects.actions[0], Action::Recheck(name) if **name == *"x"));
    node.state.cx.effects.actions.clear();
    node.notify("x", |state, view| state.on_update(view));
    assert!(matches!(&node.state.cx.effects.actions[0], Action::Recheck(_)));
}

#[test]
fn update_changes_tags_and_keeps_the_status() {
    let mut node = knowing("leaving");
    node.notify("x", |state, view| {
        let meta = tags_meta(&[("role", "db")]);
        state.on_update(&NodeView { meta: &meta, ..view.clone() });
    });
    let member = node.state.members.table.get("x").unwrap().member.clone();
    assert_eq!(member.tags.get("role"), Some("db"));
    assert_eq!(node.events(), ["member-update x leaving"]);
}

#[test]
fn quick_return_after_a_failure_is_a_flap() {
    let mut node = knowing("failed");
    node.advance(Duration::from_secs(59));
    node.join("x");
    assert_eq!(node.state.cx.stats.member_flap, 1);
    node.leave("x");
    node.advance(Duration::from_secs(60));
    node.join("x");
    assert_eq!(node.state.cx.stats.member_flap, 1);
}

#[test]
fn lists_and_counts_follow_every_change() {
    let mut node = Node::new("me");
    for (n, status) in ["alive", "leaving", "left", "failed"].into_iter().enumerate() {
        let name = format!("n{n}");
        node.join(&name);
        match status {
            "leaving" => node.leave_intent(100, &name, false),
            "left" => {
                node.leave_intent(100, &name, false);
                node.leave(&name);
            }
            "failed" => node.leave(&name),
            _ => {}
        }
    }
    let members = &node.state.members.table;
    assert_eq!((members.len(), members.alive_count()), (5, 2));
    assert_eq!((members.left().len(), members.failed().len()), (1, 1));
    let names: Vec<_> = members.iter().map(|entry| entry.member.name.to_string()).collect();
    assert_eq!(names, ["me", "n0", "n1", "n2", "n3"]);
    node.join("n2");
    node.join("n3");
    let members = &node.state.members.table;
    assert_eq!(members.alive_count(), 4);
    assert!(members.left().is_empty() && members.failed().is_empty());
}

#[test]
fn times_from_the_far_future_are_ignored() {
    let mut node = knowing("alive");
    let clock = node.state.cx.clocks.member.time();
    node.leave_intent(u64::MAX, "x", false);
    node.join_intent(clock.0 + (1 << 32) + 1, "x");
    assert_eq!(node.state.cx.clocks.member.time(), clock);
    assert_eq!(node.status("x"), Some("alive"));
    assert!(node.gossip().is_empty());
    assert_eq!(node.state.cx.stats.dropped_implausible, 2);
    node.leave_intent(clock.0 + (1 << 32), "x", false);
    assert_eq!(node.status("x"), Some("leaving"));
}

#[test]
fn names_with_control_characters_are_refused() {
    let mut node = Node::new("me");
    node.notify("evil\nleave", |state, view| assert!(state.check_alive(view).is_err()));
    node.notify("good name", |state, view| assert!(state.check_alive(view).is_ok()));
    let config = Config::lan("a\nb");
    assert!(build_state(config, Instant::ZERO, None).is_err());
}

#[test]
fn the_zone_of_a_node_is_its_tag() {
    let node = Node::new("me");
    let zone = |tags: &[(&str, &str)]| {
        let tags = tags.iter().copied().collect();
        node.state.zone(&crate::serf::context::encode_tags(&node.state.cx.config, &tags).unwrap())
    };
    assert_eq!(zone(&[("role", "db"), ("zone", "eu-1")]).as_deref(), Some("eu-1"));
    assert_eq!(zone(&[("role", "zone"), ("zone", "")]), None);
    assert_eq!(zone(&[]), None);
    assert_eq!(node.state.zone(&[7].as_slice().into()), None, "no tags of ours");
}

#[test]
fn configuration_errors_are_go_s() {
    let error = |change: fn(&mut Config)| {
        let mut config = Config::lan("me");
        change(&mut config);
        build_state(config, Instant::ZERO, None).err().unwrap().to_string()
    };
    assert_eq!(
        error(|config| config.protocol_version = 1),
        "Protocol version '1' too low. Must be in range: [2, 5]"
    );
    assert_eq!(
        error(|config| config.protocol_version = 6),
        "Protocol version '6' too high. Must be in range: [2, 5]"
    );
    assert_eq!(
        error(|config| config.user_event_size_limit = 9217),
        "user event size limit exceeds limit of 9216 bytes"
    );
    assert_eq!(
        error(|config| {
            config.tags.insert("role".to_owned(), "x".repeat(510));
        }),
        "Encoded length of tags exceeds limit of 512 bytes"
    );
    assert_eq!(
        error(|config| {
            config.validate_node_names = true;
            config.swim.name = "a_b".into();
        }),
        "Node name contains invalid characters a_b , Valid characters include all \
         alpha-numerics and dashes and '.' "
    );
    assert_eq!(
        error(|config| {
            config.validate_node_names = true;
            config.swim.name = "a".repeat(129).into();
        }),
        "Node name is 129 characters. Valid length is between 1 and 128 characters"
    );
}
