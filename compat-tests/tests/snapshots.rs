//! Snapshot and keyring files that Go wrote and Rust reads, and the other way round.

use std::{collections::BTreeSet, fmt::Write as _, path::Path, time::Duration};

use compat_tests::{
    go::GoPeer,
    node::{Node, Start, all_see, eventually},
};
use ruserf::{
    base::Instant,
    serf::{Config, Engine},
};
use serde_json::json;

/// Goal: a node of one kind goes on where one of the other kind stopped.
/// Method: the seed never reconnects, so only the file can bring the successor back.
#[test]
fn successor_of_the_other_kind_rejoins_by_the_file() {
    for first_is_go in [true, false] {
        let dir = tempfile::tempdir().unwrap();
        let label = format!("successor-{first_is_go}");
        let never = Some(Duration::from_secs(3600));
        let seed = Start {
            name: "seed".into(),
            label: label.clone(),
            reconnect_interval: never,
            ..Start::default()
        };
        let seed = Node::start(!first_is_go, &seed);
        let mut start = Start {
            name: "heir".into(),
            label,
            snapshot: Some(dir.path().join("snapshot")),
            ..Start::default()
        };
        let heir = Node::start(first_is_go, &start);
        heir.join(seed.addr());
        all_see([&seed, &heir], "heir", "alive");
        seed.event("before", "x", false);
        eventually("the event did not come", || {
            if heir.user_events().is_empty() { vec![heir.name()] } else { vec![] }
        });
        start.port = heir.addr().port();
        heir.stop();
        all_see([&seed], "heir", "failed");

        let heir = Node::start(!first_is_go, &start);
        all_see([&seed, &heir], "heir", "alive");
        all_see([&seed, &heir], "seed", "alive");
        seed.event("after", "x", false);
        eventually("the event did not come", || {
            if heir.user_events().is_empty() { vec![heir.name()] } else { vec![] }
        });
        let events = heir.user_events();
        let names: Vec<_> = events.iter().map(|event| event.name.as_str()).collect();
        assert_eq!(names, ["after"], "what was seen before is not delivered again");
    }
}

/// Goal: both read the same from a long file, wherever it was cut.
/// Method: Rust reads all cuts, Go some of them; the clocks and the peers must be equal.
#[test]
fn long_file_cut_anywhere_says_the_same_to_both() {
    let text = long_file();
    assert_eq!(text.lines().count(), 10_000);
    let from = text.len() - 200;
    let said: Vec<_> = (from..=text.len()).map(|cut| rust_reads(&text.as_bytes()[..cut])).collect();
    // Only whole lines count, so that what is said changes at line ends alone.
    for (at, pair) in (from..).zip(said.windows(2)) {
        let line_ends = text.as_bytes()[at] == b'\n';
        assert!(line_ends || pair[0] == pair[1], "changed at byte {at} inside a line");
    }
    assert!(said.iter().collect::<BTreeSet<_>>().len() > 4, "the tail says different things");
    let dir = tempfile::tempdir().unwrap();
    for cut in (from..=text.len()).step_by(25).chain([text.len() - 1]) {
        let path = dir.path().join(cut.to_string());
        std::fs::write(&path, &text.as_bytes()[..cut]).unwrap();
        assert_eq!(go_reads(&path), said[cut - from], "cut at {cut} of {}", text.len());
    }
}

/// Three clocks and the peers that are tried.
type Said = ([String; 3], BTreeSet<String>);

fn rust_reads(file: &[u8]) -> Said {
    let mut config = Config::local("reader");
    config.swim.advertise_addr = vec![127, 0, 0, 1];
    config.swim.advertise_port = 7946;
    let mut engine = Engine::build(config, Instant::default(), Some(file)).unwrap();
    let stats = engine.stats();
    let times = ["member_time", "event_time", "query_time"].map(|key| stats[key].clone());
    let peers = engine.previous_peers().into_iter();
    (times, peers.map(|(name, addr)| format!("{name}: {addr}")).collect())
}

fn go_reads(path: &Path) -> Said {
    let go = GoPeer::start(json!({
        "name": "reader", "profile": "local", "snapshot_path": path, "label": "cut",
    }));
    let stats = go.call(json!({"cmd": "stats"}));
    let time = |key: &str| stats[key].as_str().expect("text").to_owned();
    let times = ["member_time", "event_time", "query_time"].map(time);
    let tried = |line: &String| {
        let (_, peer) = line.split_once("Attempting re-join to previously known node: ")?;
        Some(peer.trim().to_owned())
    };
    eventually("Go has not tried all peers", || {
        let done = go.logs().iter().any(|l| l.contains("Failed to re-join any"));
        if done { vec![] } else { go.logs() }
    });
    (times, go.logs().iter().filter_map(tried).collect())
}

/// Peers that nobody listens for, so that a reader tries them all.
fn long_file() -> String {
    let mut text = String::new();
    for number in 0..2_495 {
        let peer = number % 9;
        let port = 1 + peer;
        writeln!(text, "alive: peer {peer} 127.0.0.1:{port}").unwrap();
        writeln!(text, "clock: {}\nevent-clock: {number}", number + 7).unwrap();
        writeln!(text, "not-alive: peer {}", (peer + 1) % 3).unwrap();
    }
    for peer in ["a", "name with spaces", "ünïcode"] {
        writeln!(text, "alive: {peer} 127.0.0.1:11").unwrap();
    }
    for line in ["clock: 123456", "not-alive: a", "query-clock: 98765", "event-clock: 4000000000"] {
        writeln!(text, "{line}").unwrap();
    }
    while text.lines().count() < 10_000 {
        let count = text.lines().count();
        writeln!(text, "clock: {}", 1_000_000 + count).unwrap();
    }
    text
}
