//! Members: every status against every message.

use ruserf::{
    serf::{LamportTime, message},
    wire::Bin,
};
use serde_json::json;

use super::{
    excluded,
    pair::Pair,
    step::{
        Query, Step, alive, alive_as, alive_with, dead, join, leave, prune, push_pull,
        push_pull_raw, user,
    },
};
#[test]
fn an_intent_in_every_status() {
    // How n1 gets into the status, and its incarnation then.
    let ways: [(&str, bool, Vec<Step>); 6] = [
        ("unknown", false, vec![]),
        ("alive", true, vec![alive(1, 1, &[])]),
        ("leaving", true, vec![alive(1, 1, &[]), leave(5, "n1")]),
        ("left", false, vec![alive(1, 1, &[]), leave(5, "n1"), dead("n1", 1, "n1")]),
        ("failed", false, vec![alive(1, 1, &[]), dead("n1", 1, "n2")]),
        ("alive", true, vec![alive(1, 1, &[]), leave(5, "n1"), join(6, "n1")]),
    ];
    for (status, lives, way) in &ways {
        for ltime in [3, 5, 6, 7, 40] {
            for intent in [leave(ltime, "n1"), prune(ltime, "n1"), join(ltime, "n1")] {
                let mut pair = Pair::start(json!({}));
                pair.step(&alive(2, 1, &[("role", "web")])).steps(way);
                let is = pair.status("n1");
                assert_eq!(is.as_deref().unwrap_or("unknown"), *status, "the way leads there");
                // Twice: the second is old.
                pair.step(&intent).step(&intent);
                pair.step(&Step::Advance(6_001));
                if excluded::pruned_while_it_lives(&pair, "n1", *lives) {
                    continue;
                }
                pair.step(&alive(1, 2, &[("dc", "east")])).step(&dead("n1", 2, "n2"));
            }
        }
    }
}

#[test]
fn intents_about_strangers_are_kept_for_a_while() {
    for intent in [join(4, "n1"), leave(4, "n1"), prune(4, "n1")] {
        for wait in [0, 280_000, 400_000] {
            let mut pair = Pair::start(json!({}));
            pair.steps(&[join(2, "n1"), leave(3, "n1"), intent.clone(), leave(4, "n1")]);
            pair.steps(&[Step::Advance(wait), alive(1, 1, &[]), join(5, "n1")]);
            // What was kept does not count a second time.
            pair.steps(&[dead("n1", 1, "n2"), alive(1, 2, &[]), leave(9, "n1")]);
        }
    }
}

#[test]
fn own_leave_is_refuted_unless_we_leave() {
    let mut pair = Pair::start(json!({}));
    pair.step(&alive(1, 1, &[]));
    pair.steps(&[leave(1, "self"), leave(7, "self"), prune(30, "self"), leave(8, "self")]);
    pair.step(&Step::Leave);
    pair.steps(&[leave(50, "self"), prune(60, "n1")]);
    for _ in 0..4 {
        pair.step(&Step::Advance(2_500));
    }
    assert_eq!(pair.ours().state(), "left");
    pair.step(&Step::Leave);
    pair.step(&Step::Join { to: vec![PEER.parse().unwrap()], ignore_old: false });
}

#[test]
fn leaving_alone_and_twice_at_once() {
    let mut pair = Pair::start(json!({}));
    pair.steps(&[Step::Leave, Step::Leave, Step::Advance(999), Step::Advance(2)]);
    assert_eq!(pair.ours().state(), "left");
    // A broadcast that nobody carries away: each part of the leave runs into its timeout.
    let mut pair = Pair::start(json!({"retransmit_mult": 40, "broadcast_timeout_ms": 700}));
    pair.steps(&[alive(1, 1, &[]), Step::Leave]);
    for _ in 0..5 {
        pair.step(&Step::Advance(600));
    }
    assert_eq!(pair.ours().state(), "left");
}

#[test]
fn force_leave_and_prune_of_everybody() {
    let force = |name: &str, prune| Step::ForceLeave { name: name.to_owned(), prune };
    for prune in [false, true] {
        let mut pair = Pair::start(json!({}));
        // Nothing is sent while there is no other member.
        pair.steps(&[force("nobody", prune), force("self", prune)]);
        pair.steps(&[alive(1, 1, &[]), alive(2, 1, &[]), alive(3, 1, &[]), alive(4, 1, &[])]);
        pair.steps(&[dead("n1", 1, "n2"), leave(9, "n3"), dead("n3", 1, "n3")]);
        pair.steps(&[force("nobody", prune), force("self", prune)]);
        pair.steps(&[force("n1", prune), force("n1", prune), force("n3", prune)]);
        pair.steps(&[force("n2", prune), Step::Advance(3_000), join(90, "n4")]);
        pair.step(&Step::Advance(4_000));
        if !excluded::pruned_while_it_lives(&pair, "n2", true) {
            pair.steps(&[join(99, "n2"), force("n2", prune), force("n4", prune)]);
        }
    }
    // Only one other: it gets no message.
    let mut pair = Pair::start(json!({}));
    pair.steps(&[alive(1, 1, &[]), force("n1", false), join(9, "n1"), dead("n1", 1, "n2")]);
    // Nobody carries the message away.
    let mut pair = Pair::start(json!({"retransmit_mult": 40}));
    pair.steps(&[alive(1, 1, &[]), alive(2, 1, &[]), dead("n1", 1, "n2"), force("n1", false)]);
    pair.step(&Step::Advance(5_001));
}

#[test]
fn gone_members_are_reaped_in_time() {
    let mut pair = Pair::start(json!({
        "reap_interval_ms": 1_000, "reconnect_timeout_ms": 5_000, "tombstone_timeout_ms": 8_000,
        "flap_timeout_ms": 3_000,
    }));
    pair.steps(&[alive(1, 1, &[]), alive(2, 1, &[]), alive(3, 1, &[]), alive(4, 1, &[])]);
    pair.steps(&[dead("n1", 1, "n2"), Step::Advance(1_500), leave(4, "n2"), dead("n2", 1, "n2")]);
    // The time of the failure counts for the tombstone.
    pair.steps(&[dead("n3", 1, "n4"), Step::Advance(500), leave(9, "n3")]);
    for _ in 0..14 {
        pair.step(&Step::Advance(700));
    }
    assert_eq!(pair.ours().engine().members().count(), 2);
    // They come back as new members.
    pair.steps(&[alive(1, 2, &[]), alive(3, 2, &[]), leave(30, "n1"), join(40, "n3")]);
}

#[test]
fn tags_of_ours_and_of_others() {
    let mut pair = Pair::start(json!({"tags": {"role": "db", "dc": "west"}}));
    let tags = |list: &[(&str, &str)]| {
        Step::SetTags(list.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect())
    };
    pair.steps(&[tags(&[("role", "web")]), Step::Advance(100), alive(1, 1, &[("a", "b")])]);
    pair.steps(&[tags(&[]), tags(&[("x", &"y".repeat(600))]), tags(&[("x", ""), ("", "y")])]);
    pair.steps(&[alive(1, 2, &[("a", "c")]), alive(1, 2, &[("a", "d")]), alive(1, 3, &[])]);
    // Another address is a conflict, other versions are no update.
    pair.steps(&[
        alive_with(1, 4, &[], [1, 5, 2, 2, 5, 5]),
        alive_with(1, 5, &[], [1, 4, 2, 2, 5, 5]),
    ]);
    pair.steps(&[leave(5, "n1"), alive(1, 6, &[("late", "tag")]), dead("n1", 6, "n1")]);
    pair.steps(&[alive(1, 6, &[("older", "tag")]), alive(1, 7, &[("newer", "tag")])]);
    // Without versions, with a role only.
    pair.steps(&[alive_with(2, 1, &[], [0; 6]), dead("n2", 1, "n1")]);
}

#[test]
fn role_only_protocol() {
    let mut pair = Pair::start(json!({"protocol": 2, "tags": {"role": "db", "dc": "west"}}));
    pair.step(&alive(1, 1, &[("role", "x")]));
    pair.step(&Step::SetTags([("dc".to_owned(), "east".to_owned())].into()));
    pair.step(&Step::Query(Query { name: "q".to_owned(), ..Query::default() }));
    pair.step(&Step::Keys { op: "list-keys", key: String::new() });
}

#[test]
fn joining_others() {
    let state = message::PushPull {
        ltime: LamportTime(50),
        status_ltimes: vec![
            (b"n1", LamportTime(7)),
            (b"n2", LamportTime(8)),
            (b"gone", LamportTime(9)),
        ],
        left_members: vec![b"gone"],
        event_ltime: LamportTime(20),
        events: vec![
            None,
            Some(message::UserEvents {
                ltime: LamportTime(19),
                events: vec![message::RecentEvent { name: b"old", payload: Bin::from(&b"x"[..]) }],
            }),
            Some(message::UserEvents {
                ltime: LamportTime(20),
                events: vec![
                    message::RecentEvent { name: b"young", payload: Bin::NIL },
                    message::RecentEvent { name: b"young", payload: Bin::from(&b""[..]) },
                ],
            }),
        ],
        query_ltime: LamportTime(30),
    };
    for ignore_old in [false, true] {
        let mut pair = Pair::start(json!({}));
        let peer = PEER.parse().unwrap();
        let nobody = "10.0.0.99:7946".parse().unwrap();
        pair.step(&Step::Join { to: vec![nobody], ignore_old });
        pair.step(&Step::Peer { addr: peer, reply: push_pull(true, &[1, 2], &state) });
        pair.step(&Step::Join { to: vec![nobody, peer], ignore_old });
        pair.step(&Step::Join { to: vec![peer], ignore_old });
        assert_eq!(pair.status("n2").as_deref(), Some("alive"));
        pair.step(&Step::Join { to: vec![nobody], ignore_old });
        pair.step(&user(20, "direct", b"", false)).step(&user(19, "direct", b"", false));
    }
}

#[test]
fn user_state_of_peers() {
    let mut pair = Pair::start(json!({"event_buffer": 8}));
    pair.steps(&[alive(1, 1, &[]), alive(2, 1, &[]), alive(3, 1, &[]), dead("n3", 1, "n1")]);
    let times = [(1, 0), (2, 1), (9, 3), (9, 3), (40, 90)];
    for (join, (clock, status)) in [false, true].into_iter().cycle().zip(times) {
        let state = message::PushPull {
            ltime: LamportTime(clock),
            status_ltimes: ["self", "n1", "n2", "n3", "n4"]
                .map(|name| (name.as_bytes(), LamportTime(status)))
                .to_vec(),
            left_members: vec![b"n2", b"n3", b"unlisted"],
            event_ltime: LamportTime(clock),
            events: [3, 30, 4]
                .map(|ltime| {
                    let event = message::RecentEvent { name: b"e", payload: Bin::from(&b"p"[..]) };
                    Some(message::UserEvents {
                        ltime: LamportTime(ltime),
                        events: vec![event.clone(), event],
                    })
                })
                .to_vec(),
            query_ltime: LamportTime(clock),
        };
        pair.step(&Step::Stream(push_pull(join, &[4], &state)));
    }
    // We are said to have left.
    let state = message::PushPull {
        ltime: LamportTime(200),
        status_ltimes: vec![(b"self", LamportTime(150))],
        left_members: vec![b"self"],
        ..message::PushPull::default()
    };
    pair.step(&Step::Stream(push_pull(false, &[], &state)));
    for broken in [&b"\x03"[..], b"\x02", b"\x02\xc1", b"\x02\xc0", b"\x02\x81\xa5LTime"] {
        pair.step(&Step::Stream(push_pull_raw(false, &[5], broken)));
    }
}

#[test]
fn member_events_are_coalesced() {
    let mut pair = Pair::start(json!({"coalesce_period_ms": 1_000, "quiescent_period_ms": 300}));
    pair.step(&Step::Advance(400));
    pair.steps(&[alive(1, 1, &[]), Step::Advance(200), dead("n1", 1, "n2"), Step::Advance(200)]);
    pair.steps(&[alive(1, 2, &[]), Step::Advance(301)]);
    // What was said last is not said again.
    pair.steps(&[dead("n1", 2, "n2"), alive(1, 3, &[]), Step::Advance(301)]);
    pair.steps(&[leave(3, "n1"), dead("n1", 3, "n1")]);
    for _ in 0..6 {
        pair.step(&Step::Advance(250)).step(&alive(2, 1, &[]));
    }
    pair.steps(&[dead("n2", 1, "n1"), Step::Advance(100), alive(2, 2, &[("x", "y")])]);
    pair.steps(&[Step::Advance(100), alive(2, 3, &[("x", "z")]), Step::Advance(2_000)]);
}

#[test]
fn merges_are_shown_to_the_delegate_and_refused_by_it() {
    for merge in ["allow", "reject:no"] {
        let mut pair = Pair::start(json!({"merge": merge, "validate_node_names": true}));
        pair.steps(&[alive(1, 1, &[("a", "b")]), alive(1, 2, &[("a", "c")])]);
        let state = message::PushPull {
            ltime: LamportTime(9),
            status_ltimes: vec![(b"n2", LamportTime(8))],
            ..message::PushPull::default()
        };
        pair.step(&Step::Stream(push_pull(true, &[2, 3], &state)));
        pair.step(&Step::Stream(push_pull(false, &[4], &state)));
        let peer = PEER.parse().unwrap();
        pair.step(&Step::Peer { addr: peer, reply: push_pull(true, &[5], &state) });
        pair.step(&Step::Join { to: vec![peer], ignore_old: false });
        pair.steps(&[alive_as("under_score", 20, 1), alive_as(&"long".repeat(33), 21, 1)]);
        pair.steps(&[alive_as("with space", 22, 1), alive_as("fine.name-1", 23, 1)]);
        pair.steps(&[alive_with(6, 1, &[], [0; 6]), dead("n1", 2, "n2"), alive(1, 3, &[])]);
    }
}

#[test]
fn single_members_have_their_own_timeouts() {
    let mut pair = Pair::start(json!({
        "reap_interval_ms": 1_000, "reconnect_timeout_ms": 5_000, "tombstone_timeout_ms": 5_000,
        "reconnect_timeout_overrides_ms": {"n1": 1_500, "n2": 9_000, "n3": 1_500},
        "disable_coordinates": true,
    }));
    pair.steps(&[alive(1, 1, &[]), alive(2, 1, &[]), alive(3, 1, &[]), alive(4, 1, &[])]);
    pair.steps(&[dead("n1", 1, "n2"), dead("n2", 1, "n1"), leave(9, "n3"), dead("n3", 1, "n3")]);
    pair.step(&dead("n4", 1, "n2"));
    for _ in 0..12 {
        pair.step(&Step::Advance(900));
    }
    assert_eq!(pair.ours().engine().members().count(), 1);
}

const PEER: &str = "10.0.0.50:7946";
