//! Three Go and three Rust nodes in one cluster: every feature, started from each kind.

use std::{collections::BTreeMap, time::Duration};

use compat_tests::{
    go,
    node::{Answers, Node, Seen, Start, all_see},
    process::Kind,
    wait::eventually,
};
use ruserf::serf::{KeyOp, QueryParams};

/// Goal: what an operator does every day gives the same result from each kind of node, and at the
/// end all six agree on everything.
#[test]
fn events_queries_tags_and_coordinates_are_the_same_from_both_kinds() {
    let nodes = cluster("daily", |_| {});

    user_events_reach_each_node_once(&nodes);
    queries_are_answered_by_those_asked(&nodes);
    tags_change(&nodes);
    coordinates_are_known_everywhere(&nodes);
    tables_agree(&nodes);
    for node in &nodes {
        assert_eq!(node.counter("serf.coordinate.rejected"), 0, "{}", node.name());
        assert_eq!(node.counter("serf.member.flap"), 0, "{}", node.name());
    }
}

fn user_events_reach_each_node_once(nodes: &[Node]) {
    let mut sent = Vec::new();
    for node in nodes {
        for (number, coalesce) in [(1, false), (2, true), (3, false)] {
            let seen = Seen {
                name: format!("from-{}-{number}", node.name()),
                payload: format!("payload {number}").into_bytes(),
                coalesce,
            };
            node.event(&seen.name, &format!("payload {number}"), coalesce);
            sent.push(seen);
        }
    }
    sent.sort();
    eventually("user events are missing", || {
        let short = nodes.iter().filter(|node| node.user_events().len() < sent.len());
        short
            .map(|node| format!("{} has {}", node.name(), node.user_events().len()))
            .collect::<Vec<_>>()
    });
    // Time for copies that are still under way.
    std::thread::sleep(Duration::from_millis(500));
    for node in nodes {
        let mut seen = node.user_events();
        seen.sort();
        assert_eq!(seen, sent, "{}", node.name());
    }
}

fn queries_are_answered_by_those_asked(nodes: &[Node]) {
    let names: Vec<_> = nodes.iter().map(Node::name).collect::<Vec<_>>();
    let answers_of = |wanted: &dyn Fn(&str) -> bool, ack: bool| {
        let from: Vec<_> = names.iter().filter(|name| wanted(name)).cloned().collect();
        Answers {
            responses: from.iter().map(|name| (name.clone(), "HELLO".to_owned())).collect(),
            acks: if ack { from } else { Vec::new() },
        }
    };
    let params = QueryParams::default().timeout(Duration::from_secs(8));
    let all = params.clone().request_ack(true);
    let relayed = all.clone().relay_factor(2);
    let by_name = all.clone().filter_node("go-1").filter_node("rust-2").filter_node("nobody");
    let by_tag = params.clone().filter_tag("role", "^w[a-e]b$");
    let by_both = by_name.clone().filter_tag("role", "db|none");
    let nobody = all.clone().filter_tag("role", "^nothing$");
    let cases = [
        ("all", &all, answers_of(&|_| true, true)),
        ("relayed", &relayed, answers_of(&|_| true, true)),
        ("by name", &by_name, answers_of(&|name| ["go-1", "rust-2"].contains(&name), true)),
        ("by tag", &by_tag, answers_of(&|name| role_of(name) == "web", false)),
        ("by name and tag", &by_both, answers_of(&|name| name == "go-1", true)),
        ("nobody", &nobody, Answers::default()),
    ];
    // Side by side, since a query ends only with its time, but not at the same moment: Go mixes up
    // queries that it begins at one Lamport time.
    std::thread::scope(|scope| {
        for asker in [&nodes[0], &nodes[3]] {
            for (what, params, expected) in &cases {
                scope.spawn(move || {
                    let got = asker.query(&what.replace(' ', "-"), "hello", params);
                    assert_eq!(&got, expected, "{what}, asked by {}", asker.name());
                });
                std::thread::sleep(Duration::from_millis(50));
            }
        }
    });
    // A relayed ack comes twice; that the second was counted shows that relays work.
    for asker in [&nodes[0], &nodes[3]] {
        let acks = asker.counter("serf.query_duplicate_acks");
        let responses = asker.counter("serf.query_duplicate_responses");
        assert!(acks > 0 && responses > 0, "{}: {acks}, {responses}", asker.name());
    }
}

fn tags_change(nodes: &[Node]) {
    for node in [&nodes[1], &nodes[4]] {
        let tags = BTreeMap::from([
            ("role".to_owned(), "changed".to_owned()),
            ("empty".to_owned(), String::new()),
            ("ünïcode".to_owned(), "wert — ☃".to_owned()),
        ]);
        node.set_tags(&tags);
        eventually("new tags are not seen", || {
            let tags_at = |n: &Node| n.members().remove(&node.name()).map(|row| row.tags);
            let stale = nodes.iter().filter(|n| tags_at(n).as_ref() != Some(&tags));
            stale.map(|n| format!("{}: {:?}", n.name(), tags_at(n))).collect::<Vec<_>>()
        });
        for other in nodes {
            let updates = other.member_events(&node.name());
            assert_eq!(updates.last().map(String::as_str), Some("member-update"), "{updates:?}");
        }
    }
}

fn coordinates_are_known_everywhere(nodes: &[Node]) {
    eventually("coordinates are missing", || {
        let mut missing = Vec::new();
        for node in nodes {
            let unknown = nodes.iter().map(Node::name).filter(|name| !node.knows_coordinate(name));
            missing.extend(unknown.map(|name| format!("{} does not know {name}", node.name())));
        }
        missing
    });
}

/// Goal: operators can change keys from either kind of node, and all six follow.
#[test]
fn keys_are_rotated_from_both_kinds() {
    let dir = tempfile::tempdir().unwrap();
    let first = go::base64([7; 32]);
    let nodes = cluster("keys", |start| {
        start.keys = vec![vec![7; 32]];
        let path = dir.path().join(&start.name);
        std::fs::write(&path, format!("[\"{first}\"]")).unwrap();
        start.keyring_file = Some(path);
    });

    let mut old = first;
    for (round, operator) in (1_u8..).zip([&nodes[0], &nodes[3]]) {
        let who = operator.name();
        let new = go::base64([round + 7; 16]);
        let run = |op: KeyOp| {
            let answer = operator.key(&op, round).unwrap_or_else(|e| panic!("{who}: {op:?}: {e}"));
            assert_eq!(answer.counts, [6, 6, 0], "{who}: {op:?}");
            answer
        };
        let six = |keys: &[&String]| keys.iter().map(|key| ((*key).clone(), 6)).collect();

        run(KeyOp::Install(new.clone()));
        let listed = run(KeyOp::List);
        assert_eq!(listed.keys, six(&[&old, &new]), "{who}");
        assert_eq!(listed.primary, six(&[&old]), "{who}");
        run(KeyOp::Use(new.clone()));
        let removing_the_primary = operator.key(&KeyOp::Remove(new.clone()), 0);
        assert!(removing_the_primary.is_err(), "{who}: {removing_the_primary:?}");
        run(KeyOp::Remove(old.clone()));
        // The other kind sees the same.
        for other in [&nodes[1], &nodes[4]] {
            let listed = other.key(&KeyOp::List, 0).unwrap();
            assert_eq!(listed.counts, [6, 6, 0], "{who}");
            assert_eq!((listed.keys, listed.primary), (six(&[&new]), six(&[&new])), "{who}");
        }
        let file = format!("[\n  \"{new}\"\n]");
        eventually("keyring files differ", || {
            let read = |node: &Node| std::fs::read_to_string(dir.path().join(node.name())).unwrap();
            nodes
                .iter()
                .filter(|node| read(node) != file)
                .map(|n| n.name() + &read(n))
                .collect::<Vec<_>>()
        });
        old = new;
    }
    nodes[2].event("still", "encrypted", false);
    eventually("the cluster is broken", || {
        nodes.iter().filter(|n| n.user_events().is_empty()).map(Node::name).collect::<Vec<_>>()
    });
    tables_agree(&nodes);
}

/// Goal: a crash, a leave, a force-leave and a prune look alike on all nodes, whichever node died
/// and whichever gave the order.
#[test]
fn failures_leaves_and_force_leaves_look_alike() {
    let mut nodes = cluster("departures", |_| {});

    // A member of each kind leaves.
    let (rust_leaver, go_leaver) = (nodes.remove(5), nodes.remove(2));
    for leaver in [rust_leaver, go_leaver] {
        let name = leaver.name();
        leaver.leave();
        leaver.stop();
        all_see(&nodes, &name, "left");
        for node in &nodes {
            assert_eq!(node.member_events(&name), ["member-join", "member-leave"]);
        }
    }

    // Extra nodes of each kind die; a node of each kind gives the orders.
    let (go, rust) = (0, 2);
    let cases = [
        ("go-a", Kind::Go, go, false),
        ("go-b", Kind::Go, rust, false),
        ("go-c", Kind::Go, go, true),
        ("go-d", Kind::Go, rust, true),
        ("rust-a", Kind::Ours, go, false),
        ("rust-b", Kind::Ours, rust, false),
        ("rust-c", Kind::Ours, go, true),
        ("rust-d", Kind::Ours, rust, true),
    ];
    let victims = cases.map(|(name, kind, _, _)| {
        let victim = Node::start(kind, &named("departures", name));
        victim.join(nodes[usize::from(kind == Kind::Go)].addr());
        victim
    });
    for victim in &victims {
        all_see(&nodes, &victim.name(), "alive");
    }
    for victim in victims {
        victim.stop();
    }
    for (name, ..) in cases {
        all_see(&nodes, name, "failed");
    }
    for (name, _, operator, prune) in cases {
        nodes[operator].force_leave(name, prune);
    }
    for (name, _, _, prune) in cases {
        all_see(&nodes, name, if prune { "" } else { "left" });
        let last = if prune { "member-reap" } else { "member-leave" };
        for node in &nodes {
            let events = node.member_events(name);
            let expected: &[&str] = if prune {
                &["member-join", "member-failed", "member-leave", last]
            } else {
                &["member-join", "member-failed", last]
            };
            assert_eq!(events, expected, "{name} at {}", node.name());
        }
    }
    tables_agree(&nodes);
}

/// Goal: a failed node that is back, but joins nobody, is found again by the others.
/// Method: pairs, so that the only one who can reconnect is of a known kind.
#[test]
fn failed_nodes_are_reconnected_by_both_kinds() {
    for (label, kind) in [("back-go", Kind::Go), ("back-rust", Kind::Ours)] {
        let finder = Node::start(kind.other(), &named(label, "finder"));
        let mut start = named(label, "victim");
        let victim = Node::start(kind, &start);
        victim.join(finder.addr());
        all_see([&finder, &victim], "victim", "alive");
        start.port = victim.addr().port();
        victim.stop();
        all_see([&finder], "victim", "failed");

        let victim = Node::start(kind, &start);
        all_see([&finder, &victim], "victim", "alive");
        all_see([&victim], "finder", "alive");
        let events = finder.member_events("victim");
        assert_eq!(events, ["member-join", "member-failed", "member-join"]);
        tables_agree(&[finder, victim]);
    }
}

/// Goal: a newcomer with a taken name loses the vote and shuts down, the holder stays.
#[test]
fn newcomers_with_a_taken_name_lose_the_vote() {
    let nodes = cluster("names", |_| {});
    let newcomers = [(0, Kind::Ours), (3, Kind::Go), (4, Kind::Ours)];
    for (holder, kind) in newcomers.map(|(at, kind)| (&nodes[at], kind)) {
        let newcomer = Node::start(kind, &named("names", &holder.name()));
        newcomer.join(nodes[1].addr());
        eventually("the newcomer is still there", || {
            let state = newcomer.state();
            if state == "shutdown" { vec![] } else { vec![state] }
        });
        assert_eq!(holder.state(), "alive", "{}", holder.name());
    }
    for holder in &nodes {
        all_see(&nodes, &holder.name(), "alive");
        for node in &nodes {
            let row = node.members().remove(&holder.name()).unwrap();
            assert_eq!(row.addr, holder.addr().to_string(), "at {}", node.name());
        }
    }
}

/// Goal: with coalescing, only the last event of a name is delivered, by both kinds alike.
#[test]
fn coalesced_events_are_delivered_alike() {
    let coalescing = |start: &mut Start| start.user_coalesce = Some(Duration::from_secs(3));
    let nodes = cluster("coalescing", coalescing);
    for sender in [&nodes[0], &nodes[3]] {
        for number in 0..4 {
            sender.event(&format!("c-{}", sender.name()), &number.to_string(), true);
        }
        sender.event(&format!("p-{}", sender.name()), "x", false);
    }
    let mut expected = Vec::new();
    for sender in ["go-0", "rust-0"] {
        let (c, p) = (format!("c-{sender}"), format!("p-{sender}"));
        expected.push(Seen { name: c, payload: b"3".to_vec(), coalesce: true });
        expected.push(Seen { name: p, payload: b"x".to_vec(), coalesce: false });
    }
    expected.sort();
    eventually("events differ", || {
        let seen = nodes.iter().map(|node| {
            let mut seen = node.user_events();
            seen.sort();
            (node.name(), seen)
        });
        let other = seen.filter(|(_, seen)| *seen != expected);
        other.map(|(name, seen)| format!("{name}: {seen:?}")).collect::<Vec<_>>()
    });
}

/// `go-0`, `go-1`, `go-2`, `rust-0`, `rust-1`, `rust-2`, joined in a chain so that each kind joins
/// through both kinds.
fn cluster(label: &str, change: impl Fn(&mut Start)) -> Vec<Node> {
    let nodes: Vec<_> = ["go-0", "go-1", "go-2", "rust-0", "rust-1", "rust-2"]
        .iter()
        .map(|name| {
            let mut start = named(label, name);
            change(&mut start);
            Node::start(if name.starts_with("go") { Kind::Go } else { Kind::Ours }, &start)
        })
        .collect();
    // Go through Rust, Rust through Rust, Rust through Go, Go through Go, Go through Rust.
    for (who, through) in [(0, 3), (4, 3), (5, 0), (1, 0), (2, 4)] {
        nodes[who].join(nodes[through].addr());
    }
    for node in &nodes {
        all_see(&nodes, &node.name(), "alive");
    }
    nodes
}

fn named(label: &str, name: &str) -> Start {
    let tags = BTreeMap::from([
        ("role".to_owned(), role_of(name).to_owned()),
        ("name".to_owned(), name.to_owned()),
    ]);
    Start { name: name.to_owned(), label: label.to_owned(), tags, ..Start::default() }
}

/// One of each kind is a database.
fn role_of(name: &str) -> &'static str {
    if name.ends_with("-1") { "db" } else { "web" }
}

/// Waits until all nodes have the same table.
fn tables_agree(nodes: &[Node]) {
    eventually("tables differ", || {
        let tables: Vec<_> = nodes.iter().map(|node| (node.name(), node.members())).collect();
        let different = tables.iter().filter(|(_, table)| *table != tables[0].1);
        let shown = different.map(|(name, table)| format!("{name}: {table:?}"));
        let mut shown: Vec<_> = shown.collect();
        if !shown.is_empty() {
            shown.push(format!("{}: {:?}", tables[0].0, tables[0].1));
        }
        shown
    });
}
