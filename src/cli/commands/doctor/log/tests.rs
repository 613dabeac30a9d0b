use super::*;

/// Findings in these lines of one agent: check, peer and problem.
fn found(lines: &[&str]) -> Vec<(&'static str, Option<String>, String)> {
    let log = lines.iter().map(|line| format!("2026/11/27 02:44:01 {line}")).collect();
    let all = findings(&Evidence { log, ..Evidence::default() }, i64::MAX).into_iter();
    all.map(|finding| (finding.check, finding.peer, finding.problem)).collect()
}

/// Peers about which a check finds something.
fn peers(check: &str, lines: &[&str]) -> Vec<Option<String>> {
    let all = found(lines).into_iter();
    all.filter(|finding| finding.0 == check).map(|finding| finding.1).collect()
}

#[test]
fn only_a_full_queue_or_lost_events_are_queue() {
    for line in [
        "[WARN] serf: Intent queue depth (5000) exceeds limit (4096), dropping messages!",
        "[WARN] memberlist: handler queue full, dropping message (3) from=10.0.0.2:7946",
        "[WARN] agent: Event handlers too slow, 7 events dropped",
        "[WARN] agent: Event handler '/bin/h' too slow, an event is dropped",
    ] {
        assert_eq!(peers("queue", &[line]), [None], "{line}");
    }
    for line in [
        "[WARN] serf: Event queue depth: 200",
        "[WARN] agent: failed to send user event: user event exceeds configured limit of 512 \
         bytes before encoding",
        "[WARN] agent: failed to start user query: query exceeds limit of 1024 bytes",
        "[ERR] serf: Failed to respond to key query: response exceeds limit of 1024 bytes",
        "[ERR] memberlist: Failed push/pull merge: Encoded length of tags exceeds limit of 512 \
         bytes from=10.0.0.2:7946",
        "[ERR] memberlist: Failed to read remote state: number of nodes in header (2000000) \
         exceeds limit from=10.0.0.2:7946",
        "[DEBUG] agent: Event 'user' script output: 3 events dropped",
    ] {
        assert_eq!(peers("queue", &[line]), [], "{line}");
    }
}

#[test]
fn clocks_far_ahead_are_those_of_named_peers() {
    let line = |from: &str| {
        format!("[DEBUG] serf: refusing a Lamport time of {from}: 9000000000, ours is 7")
    };
    let lines = ["10.0.0.2:7946", "10.0.0.2:40112", "10.0.0.2:40114", "10.0.0.3:7946"].map(line);
    let all = found(&lines.each_ref().map(String::as_str));
    assert_eq!(all.len(), 1, "{all:?}");
    assert_eq!((all[0].0, all[0].1.as_deref()), ("clock", Some("10.0.0.2")));
    assert!(all[0].2.starts_with("10.0.0.2 "), "{all:?}");
    let line = "[WARN] serf: The Lamport clock of [fd00::2]:7946 is far ahead (9000000000, ours is \
                7): following it. Somebody may have forged a time.";
    assert_eq!(peers("clock", &[line; 3]), [Some("fd00::2".to_owned())]);
    // Times in gossip, whose author is unknown.
    let line = "[WARN] serf: Refusing a Lamport time that is far ahead (9000000000, ours is 7)";
    assert_eq!((peers("clock", &[line; 2]), peers("clock", &[line; 3])), (vec![], vec![None]));
}

#[test]
fn a_seed_is_fine_once_it_resolves_and_no_other_seed_is() {
    let names = |lines: &[&str]| {
        let all = peers("seed", lines).into_iter();
        all.map(|peer| peer.expect("a seed")).collect::<Vec<_>>()
    };
    let (a, b) = (
        "[WARN] memberlist: failed to resolve a:7946: lookup a on 127.0.0.53:53: no such host",
        "[WARN] memberlist: failed to resolve b: lookup b: no such host",
    );
    let joining = "[INFO] agent: joining: [a:7946 b] replay: false";
    let joined = "[INFO] agent: joined: 1 nodes";
    let error = "[WARN] agent: error joining: 1 error occurred:\n\t* failed to resolve b: lookup \
                 b: no such host\n\n";
    let completed = "[INFO] agent: Join completed. Synced with 1 initial agents";
    assert_eq!(names(&[joining, a, b, error]), ["a:7946", "b"]);
    // One of them resolves, and the agent joins through it.
    assert_eq!(names(&[joining, a, b, error, joining, b, joined, completed]), ["b"]);
    assert_eq!(names(&[joining, a, b, error, joining, joined, completed]), [""; 0]);
    // A join of something else says nothing about them.
    let other = "[INFO] agent: joining: [10.0.0.9] replay: false";
    assert_eq!(names(&[joining, a, b, error, other, joined]), ["a:7946", "b"]);
    // While the agent tries again, they count as before.
    assert_eq!(names(&[joining, a, b, error, joining]), ["a:7946", "b"]);
    let text = &found(&[joining, b, error])[0].2;
    assert!(text.contains("b does not resolve (lookup b: no such host)"), "{text}");
}

#[test]
fn seeds_that_are_looked_up_are_fine_after_a_join_without_complaint() {
    let names = |lines: &[&str]| peers("seed", lines).into_iter().flatten().collect::<Vec<_>>();
    let begin = "[INFO] agent: Joining cluster...(replay: false)";
    let a = "[WARN] agent: Failed to look up seeds: lookup _serf._udp.a: no such service";
    let file = "[WARN] agent: Failed to look up seeds: open /s/x: no such file or directory";
    let failed = "[WARN] agent: Join failed: the seeds name no address, retrying in 30s";
    let completed = "[INFO] agent: Join completed. Synced with 1 initial agents";
    assert_eq!(names(&[begin, a, file, failed]), ["/s/x", "_serf._udp.a"]);
    assert_eq!(names(&[begin, a, file, failed, begin, file, completed]), ["/s/x"]);
    assert_eq!(names(&[begin, a, file, failed, begin, completed]), [""; 0]);
}

#[test]
fn other_lookups_are_not_of_seeds() {
    for line in [
        "[DEBUG] memberlist: TCP-first lookup failed for 'a:7946', falling back to UDP: EOF",
        "[INFO] agent: Received event: user-event: lookup failed",
        "[ERR] agent: Error invoking script 'curl': lookup api: no such host",
    ] {
        assert_eq!(peers("seed", &[line]), [], "{line}");
    }
}

#[test]
fn versions_are_those_of_named_members() {
    for line in [
        "[WARN] memberlist: Ignoring an alive message for 'db-1' (10.0.0.2:7946) because protocol \
         version(s) are wrong: 6 <= 6 <= 7 should be >0",
        "[WARN] memberlist: Ignoring an alive message for 'db-1' because protocol version(s) are \
         wrong: 0 <= 0 should be >0",
        "[DEBUG] memberlist: Ignoring db-1: its versions are not ours",
        "[ERR] memberlist: Failed push/pull merge: Node 'db-1' delegate protocol version (6) is \
         incompatible: [6, 5] from=127.0.0.1:44476",
        "[WARN] agent: error joining: 1 error occurred:\n\t* failed to join 10.0.0.2:7946: Node \
         'db-1' protocol version (6) is incompatible: [6, 5]",
    ] {
        assert_eq!(peers("version", &[line]), [Some("db-1".to_owned())], "{line}");
    }
    // What the other end says of this agent.
    let line = "[ERR] memberlist: Failed push/pull merge: Node 'me' protocol version (5) is \
                incompatible: [6, 5] from=127.0.0.1:44476";
    let mut evidence = Evidence { log: vec![line.to_owned()], ..Evidence::default() };
    let own = [("name".to_owned(), "me".to_owned())].into_iter().collect();
    evidence.stats.insert("agent".to_owned(), own);
    let found = findings(&evidence, i64::MAX).remove(0);
    assert_eq!((found.check, found.peer), ("version", None));
}
