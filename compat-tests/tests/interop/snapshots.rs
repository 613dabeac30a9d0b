//! Snapshot and keyring files that Go wrote and Rust goes on with, and the other way round. What
//! they say line by line is in `tests/engine/differential_serf/snapshots.rs`.

use std::{collections::BTreeSet, time::Duration};

use compat_tests::{
    go,
    net::Net,
    node::{Node, Start, all_see},
    peer::Peer,
    process::BOTH,
    wait::eventually,
};
use serde_json::json;

/// Goal: a node of one kind goes on where one of the other kind stopped.
/// Method: the seed never reconnects, so only the file can bring the successor back.
#[test]
fn successor_of_the_other_kind_rejoins_by_the_file() {
    for first in BOTH {
        let dir = tempfile::tempdir().unwrap();
        let label = format!("successor-{first:?}");
        let never = Some(Duration::from_secs(3600));
        let seed = Start {
            name: "seed".into(),
            label: label.clone(),
            reconnect_interval: never,
            ..Start::default()
        };
        let seed = Node::start(first.other(), &seed);
        let mut start = Start {
            name: "heir".into(),
            label,
            snapshot: Some(dir.path().join("snapshot")),
            ..Start::default()
        };
        let heir = Node::start(first, &start);
        heir.join(seed.addr());
        all_see([&seed, &heir], "heir", "alive");
        seed.event("before", "x", false);
        eventually("the event did not come", || {
            if heir.user_events().is_empty() { vec![heir.name()] } else { vec![] }
        });
        start.port = heir.addr().port();
        heir.stop();
        all_see([&seed], "heir", "failed");

        let heir = Node::start(first.other(), &start);
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

/// Goal: either agent goes on with the keys the other left.
/// Method: the two take turns on one keyring file, and each makes a new key the primary.
#[test]
fn agents_take_turns_on_one_keyring_file() {
    let dir = tempfile::tempdir().unwrap();
    let ring = dir.path().join("ring");
    let key = |number: u8| go::base64([number; 32]);
    let text = |keys: &[String]| {
        let lines: Vec<_> = keys.iter().map(|key| format!("  \"{key}\"")).collect();
        format!("[\n{}\n]", lines.join(",\n"))
    };
    let mut keys = vec![key(1)];
    std::fs::write(&ring, text(&keys)).unwrap();
    let (net, config) = (Net::new(), json!({"keyring_file": ring}));
    for (turn, kind) in (2_u8..).zip([BOTH, BOTH].concat()) {
        let agent = Peer::configured(kind, &format!("t{turn}"), &net.ip(turn), &config, dir.path());
        let listed = agent.ask(|client| async move { client.list_keys().await });
        let read: BTreeSet<_> = listed.keys.unwrap_or_default().into_keys().collect();
        assert_eq!(read, keys.iter().cloned().collect(), "turn {turn}");
        let new = key(turn);
        for change in ["install", "use"] {
            agent.ask(|client| {
                let new = new.clone();
                async move {
                    match change {
                        "install" => client.install_key(&new).await,
                        _ => client.use_key(&new).await,
                    }
                }
            });
        }
        keys.insert(0, new);
        eventually("the file is not the one that Go writes", || {
            let now = std::fs::read_to_string(&ring).unwrap();
            if now == text(&keys) { vec![] } else { vec![now] }
        });
        let _ = agent.stop();
    }
}
