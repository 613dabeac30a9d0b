//! Snapshot files: what both write for the same steps, and what both read in each other's files,
//! wherever these were cut.

use std::{
    collections::BTreeSet,
    fmt::Write as _,
    fs,
    path::Path,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

use compat_tests::go::GoFeed;
use ruserf::{
    base::Instant,
    serf::{Config, Engine, LamportTime, message},
    wire::Bin,
};
use serde_json::{Value, json};

use super::{
    pair::{Pair, quiet},
    step::{self, Step, alive, asked, dead, join, leave, query, user},
};

#[test]
fn the_same_lines_are_written() {
    for rejoin in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("snapshot");
        let mut pair = Pair::start(json!({
            "snapshot_path": path, "rejoin_after_leave": rejoin, "reap_interval_ms": 700,
            "tombstone_timeout_ms": 2_000,
        }));
        for round in 1..5 {
            let later = 10 * u64::from(round);
            pair.steps(&[alive(1, round, &[]), alive(2, round, &[("x", "y")]), join(later, "n1")]);
            pair.steps(&[
                Step::Advance(501),
                user(later, "e", b"", false),
                user(later, "f", b"", true),
            ]);
            pair.steps(&[user(later - 1, "old", b"", false), query(&asked(later, 1, "q"))]);
            pair.steps(&[
                query(&asked(later + 1, 1, "_serf_ping")),
                alive(2, round, &[("x", "z")]),
            ]);
            pair.steps(&[leave(later + 3, "n1"), dead("n1", round, "n1"), Step::Advance(300)]);
            // Failed, then forced to leave.
            pair.steps(&[dead("n2", round, "n3"), leave(later + 4, "n2"), Step::Advance(900)]);
            if round == 3 {
                pair.steps(&[Step::Leave, Step::Advance(2_000)]);
            }
        }
        // Go writes what waits with a line that comes later.
        pair.steps(&[Step::Advance(600), join(900, "n9"), Step::Advance(1_200), join(901, "n9")]);
        pair.step(&Step::Advance(501));
        let (go, ours) = (fs::read_to_string(&path).unwrap(), pair.ours().snapshot());
        let lines = ours.lines().filter(|line| !line.starts_with('#')).collect::<Vec<_>>();
        let theirs = go.lines().collect::<Vec<_>>();
        let common = theirs.len().min(lines.len());
        assert!(common > 30, "{go}");
        assert_eq!(lines[..common], theirs[..common], "{go}\n---\n{ours}");
        assert!(lines.len() - common <= 1 && theirs.len() == common, "Go's buffer holds the last");
        if rejoin {
            // Neither reads more than the other in the other's file.
            let both = [go.as_str(), ours].map(|text| ours_says(text.as_bytes(), rejoin).1);
            assert_eq!(both[0], both[1]);
        }
    }
}

#[test]
fn a_restarted_node_knows_its_clocks_and_ignores_what_is_old() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("snapshot");
    for lines in [
        "clock: 50\nevent-clock: 30\nquery-clock: 20\n",
        "event-clock: 30\nleave\nclock: 7\n",
        "clock: 9\nleave\nalive: n1 10.0.0.11:7946\n",
        "",
        "clock: x\nevent-clock: -1\nquery-clock: 18446744073709551616\nodd\n\nclock: 5\r\n",
    ] {
        for rejoin in [false, true] {
            fs::write(&path, lines).unwrap();
            let options = json!({
                "snapshot_path": path, "rejoin_after_leave": rejoin, "event_buffer": 8,
            });
            let mut pair = Pair::start(options);
            pair.step(&alive(1, 1, &[]));
            for ltime in [0, 1, 2, 19, 20, 21, 22, 29, 30, 31, 32] {
                pair.steps(&[user(ltime, "e", b"", false), query(&asked(ltime, 1, "q"))]);
                pair.steps(&[leave(ltime, "n1"), join(ltime + 1, "n1")]);
            }
            pair.step(&Step::Event { name: "own".to_owned(), payload: vec![], coalesce: false });
            pair.step(&Step::ForceLeave { name: "n1".to_owned(), prune: false });
        }
    }
}

/// Goal: a file of 10,000 lines means the same to both, whichever program wrote it and wherever it
/// was cut.
/// Method: both write for the same script; both read each cut of the last 200 bytes of both files,
/// and of one that neither wrote.
#[test]
fn long_files_cut_at_every_byte_say_the_same_to_both() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("snapshot");
    let ours = write_long(&path);
    let go = fs::read_to_string(&path).unwrap();
    let mut cuts = Vec::new();
    let odd = long_file();
    for (writer, text) in [("Go", &go), ("ours", &ours), ("nobody", &odd)] {
        let lines = text.lines().filter(|line| !line.starts_with('#')).count();
        assert!(lines >= 10_000, "{writer} wrote {lines} lines");
        let tail = &text[text.len() - 200..];
        for word in ["alive: ", "not-alive: ", "clock: ", "event-clock: ", "query-clock: "] {
            assert!(writer == "nobody" || tail.contains(word), "{writer}: no {word} in {tail:?}");
        }
        let step = if writer == "nobody" { 7 } else { 1 };
        let ends = (text.len() - 200..=text.len()).step_by(step);
        cuts.extend(ends.map(|cut| (writer, &text[..cut])));
    }
    let (next, said) = (AtomicUsize::new(0), std::sync::Mutex::new(BTreeSet::new()));
    thread::scope(|scope| {
        for number in 0..3 {
            let (cuts, next, said) = (&cuts, &next, &said);
            let file = dir.path().join(number.to_string());
            scope.spawn(move || {
                while let Some((writer, text)) = cuts.get(next.fetch_add(1, Ordering::Relaxed)) {
                    fs::write(&file, text).unwrap();
                    let (go, ours) = (go_says(&file), ours_says(text.as_bytes(), false));
                    assert!(
                        go == ours,
                        "{writer}'s file cut to {} bytes:\n{go:?}\n{ours:?}",
                        text.len()
                    );
                    said.lock().unwrap().insert((writer, go));
                }
            });
        }
    });
    let different = said.into_inner().unwrap().len();
    assert!(different > 12, "the tails say only {different} different things");
}

/// Lets both write 10,000 lines; ours come back, Go's are in the file.
fn write_long(path: &Path) -> String {
    let mut pair = Pair::start(json!({"snapshot_path": path, "event_buffer": 512}));
    pair.quick = true;
    // So many peers that the file may grow.
    for first in (0..MEMBERS).step_by(100) {
        let names = (first..first + 100).map(|number| format!("peer {number}"));
        pair.step(&Step::Stream(step::push_pull_of(&names.collect::<Vec<_>>())));
    }
    let mut ltime = 1;
    for _ in 0..20 {
        let events = (ltime..ltime + 480).map(|ltime| {
            let event = message::RecentEvent { name: b"e", payload: Bin::NIL };
            Some(message::UserEvents { ltime: LamportTime(ltime), events: vec![event] })
        });
        let state = message::PushPull {
            event_ltime: LamportTime(ltime),
            events: events.collect(),
            ..message::PushPull::default()
        };
        pair.step(&Step::Stream(step::push_pull(false, &[], &state)));
        ltime += 480;
    }
    for round in 1..4 {
        let time = 20_000 + u64::from(round);
        pair.steps(&[alive(1, round, &[]), user(time, "e", b"", false), leave(time, "n1")]);
        pair.steps(&[query(&asked(time, 1, "q")), dead("n1", round, "n1"), Step::Advance(501)]);
    }
    pair.steps(&[alive(2, 1, &[]), Step::Advance(600), join(30_000, "n2"), Step::Advance(501)]);
    pair.steps(&[Step::Advance(600), user(30_000, "e", b"", false), Step::Advance(501)]);
    pair.ours().snapshot().to_owned()
}

/// Three clocks and the peers that are tried.
type Said = ([String; 3], BTreeSet<String>);

fn ours_says(file: &[u8], rejoin_after_leave: bool) -> Said {
    let mut config = Config::lan("self");
    config.rejoin_after_leave = rejoin_after_leave;
    config.swim.advertise_addr = vec![10, 0, 0, 1];
    config.swim.advertise_port = 7946;
    let engine = Engine::build(config, Instant::default(), Some(file)).unwrap();
    let stats = engine.stats();
    let times = ["member_time", "event_time", "query_time"].map(|key| stats[key].clone());
    (times, engine.previous_peers().map(|(name, addr)| format!("{name}: {addr}")).collect())
}

fn go_says(path: &Path) -> Said {
    let go = GoFeed::start_serf(&quiet(json!({"snapshot_path": path})));
    let stats = &go.first()["stats"];
    let time = |key: &str| stats[key].as_str().expect("text").to_owned();
    let times = ["member_time", "event_time", "query_time"].map(time);
    let logs = go.first()["logs"].as_array().expect("a list");
    let tried = |line: &Value| {
        let (_, peer) =
            line.as_str()?.split_once("Attempting re-join to previously known node: ")?;
        Some(peer.trim().to_owned())
    };
    (times, logs.iter().filter_map(tried).collect())
}

/// Names that are hard to read, clocks that go back, lines that contradict.
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

const MEMBERS: usize = 900;
