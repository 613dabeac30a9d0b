mod naive;

use proptest::prelude::*;

use super::*;
use crate::{
    base::lines_of,
    serf::{
        Member, MemberEvent, MemberStatus, UserEvent,
        replay::{FAILED_MAX, split_line},
    },
};

#[test]
fn lines_of_go_are_replayed() {
    let vectors: serde_json::Value =
        serde_json::from_str(include_str!("../../../testdata/serf.json")).unwrap();
    let text = |name: &str| {
        let found = vectors.as_array().unwrap().iter().find(|vector| vector["name"] == name);
        found.unwrap()["text"].as_str().unwrap().to_owned()
    };
    let read = |names: &[&str]| {
        let file: String = names.iter().map(|name| text(name)).collect();
        Replay::read(file.as_bytes(), false, 1)
    };
    let alive = read(&["snapshot_alive_v4", "snapshot_alive_v6", "snapshot_alive_space"]);
    let alive: Vec<_> = alive.alive.iter().map(NamedAddr::pair).collect();
    assert_eq!(alive, [("foo", "[::1]:7946"), ("my node", "10.0.0.1:7946")]);
    let gone = read(&["snapshot_alive_v4", "snapshot_not_alive"]);
    assert!(gone.alive.is_empty());
    let clocks = read(&["snapshot_clock", "snapshot_event_clock", "snapshot_query_clock"]);
    assert_eq!([clocks.clock.0, clocks.event_clock.0, clocks.query_clock.0], [100, 42, 50]);
    let left = read(&["snapshot_alive_v4", "snapshot_clock", "snapshot_leave"]);
    assert_eq!(left, Replay::default());
    // After a leave only the member clock is written.
    let real = read(&["snapshot_real_run"]);
    assert_eq!(real, Replay { clock: LamportTime(6), ..Replay::default() });
    let rejoin = Replay::read(text("snapshot_real_run").as_bytes(), true, 1);
    assert_eq!(rejoin.alive.len(), 3);
    assert_eq!(rejoin.event_clock, LamportTime(1));
}

#[test]
fn nonsense_is_skipped_and_a_torn_tail_ignored() {
    let file = b"alive: a 1.1.1.1:1\n\nalive: nospace\nclock: x\nclock: 5\nclock: 3\n\
                 # c\ncoordinate: {}\n\xff\xfe\nalive: b 1.1.1.2:2";
    let replay = Replay::read(file, false, 1);
    assert_eq!(names(&replay.alive), ["a"]);
    // The last line wins, not the largest.
    assert_eq!(replay.clock, LamportTime(3));
    assert!(replay.torn);
}

#[test]
fn lines_that_are_skipped_are_logged() {
    let file = b"alive: nospace\nclock: x\nclock: \nclock: +7\nevent-clock: -1\n\
                 query-clock: 18446744073709551616\nclock: 1\xff\nquery-clock: \xff\nleave\n\
                 leave \n\xff\n\ncoordinate: {}\n# any\nquery-clock: 18446744073709551615\n";
    let mut replay = Replay::default();
    let logged = lines_of(|| replay = Replay::read(file, true, 1));
    assert_eq!(
        logged,
        [
            "Failed to parse address: alive: nospace",
            "Failed to convert clock time: invalid digit found in string",
            "Failed to convert clock time: cannot parse integer from empty string",
            "Failed to convert event clock time: invalid digit found in string",
            "Failed to convert query clock time: number too large to fit in target type",
            "Failed to convert clock time: invalid digit found in string",
            "Failed to convert query clock time: invalid digit found in string",
            "Ignoring previous leave in snapshot",
            "Unrecognized snapshot line: leave ",
            "Unrecognized snapshot line: \u{fffd}",
            "Unrecognized snapshot line: ",
        ]
    );
    assert_eq!([replay.clock.0, replay.query_clock.0], [7, u64::MAX]);
}

#[test]
fn torn_tail_is_closed_before_the_next_line() {
    let file = b"alive: a 1.1.1.1:1\nalive: b 1.1.1.2:2";
    let replay = Replay::read(file, false, 1);
    let mut snapshot = Snapshot::new(replay, file.len(), false, Instant::ZERO);
    join(&mut snapshot, "c", 1);
    let text = String::from_utf8(file.to_vec()).unwrap() + &written(&mut snapshot);
    let replay = Replay::read(text.as_bytes(), false, 1);
    assert_eq!(names(&replay.alive), ["a", "b", "c"]);
}

#[test]
fn events_become_lines_that_go_reads() {
    let mut snapshot = fresh();
    join(&mut snapshot, "foo", 3);
    let user = |ltime| {
        Event::User(UserEvent {
            ltime: LamportTime(ltime),
            name: "e".into(),
            payload: bytes::Bytes::new(),
            coalesce: false,
        })
    };
    snapshot.on_event(&user(42), LamportTime(3));
    snapshot.on_event(&user(41), LamportTime(3));
    member_event(&mut snapshot, MemberEventKind::Leave, "foo", 5);
    assert_eq!(
        written(&mut snapshot),
        "alive: foo 127.0.0.1:5000\nclock: 2\nevent-clock: 42\nnot-alive: foo\nclock: 4\n"
    );
}

#[test]
fn names_cannot_write_lines() {
    let mut snapshot = fresh();
    join(&mut snapshot, "evil\nleave\nclock: 99", 1);
    join(&mut snapshot, "tab\there", 1);
    assert_eq!(written(&mut snapshot), "");
}

#[test]
fn failed_peers_and_the_incarnation_survive_in_comments() {
    let mut snapshot = fresh();
    join(&mut snapshot, "a b", 1);
    join(&mut snapshot, "c", 1);
    member_event(&mut snapshot, MemberEventKind::Failed, "a b", 1);
    member_event(&mut snapshot, MemberEventKind::Failed, "c", 1);
    snapshot.note_incarnation(7);
    snapshot.note_incarnation(6);
    join(&mut snapshot, "c", 1);
    let text = written(&mut snapshot);
    for line in text.lines() {
        let go_reads = ["alive: ", "not-alive: ", "clock: "];
        let known = line.starts_with('#') || go_reads.iter().any(|known| line.starts_with(known));
        assert!(known, "{line}");
    }
    let replay = Replay::read(text.as_bytes(), false, 1);
    let failed: Vec<_> = replay.failed.iter().map(NamedAddr::pair).collect();
    assert_eq!(failed, [("a b", "127.0.0.1:5000")]);
    assert_eq!(replay.incarnation, 7);
    assert_eq!(names(&replay.alive), ["c"]);
}

#[test]
fn leave_ends_the_record_but_not_the_clock() {
    let mut snapshot = fresh();
    join(&mut snapshot, "a", 4);
    snapshot.leave();
    member_event(&mut snapshot, MemberEventKind::Leave, "a", 6);
    snapshot.finish(LamportTime(7));
    let ops = snapshot.take_ops().collect::<Vec<_>>();
    assert_eq!(
        ops,
        [
            SnapshotOp::Append("alive: a 127.0.0.1:5000\nclock: 3\nleave\n".to_owned()),
            SnapshotOp::Sync,
            SnapshotOp::Append("clock: 6\n".to_owned()),
            SnapshotOp::Sync,
        ]
    );
}

#[test]
fn large_files_are_compacted() {
    let mut snapshot = fresh();
    join(&mut snapshot, "stays", 10);
    snapshot.note_incarnation(3);
    let mut replaced = None;
    for round in 0..3000 {
        join(&mut snapshot, "flaps", 10);
        member_event(&mut snapshot, MemberEventKind::Failed, "flaps", 10);
        snapshot.on_timer(at(round), LamportTime(10), 3);
        for op in snapshot.take_ops() {
            if let SnapshotOp::Replace(text) = op {
                replaced = Some(text);
            }
        }
    }
    let text = replaced.expect("compacted");
    assert_eq!(
        text,
        "alive: stays 127.0.0.1:5000\nclock: 9\nevent-clock: 0\nquery-clock: 0\n\
         # ruserf failed: flaps 127.0.0.1:5000\n# ruserf incarnation: 3\n"
    );
    assert!(snapshot.offset < COMPACT_BYTES_MIN + 200);
}

/// However long names are, and despite Go's fixed size for a member: the bytes written stay within
/// a constant factor of the lines, and a merge does not rewrite the whole file.
#[test]
fn long_names_cost_their_lines_and_no_more() {
    for (length, members) in [(255, 4_000), (40, 4_000), (255, 100)] {
        let mut snapshot = fresh();
        let (mut lines, mut written) = (0, 0);
        let mut take = |snapshot: &mut Snapshot| {
            let mut whole = 0;
            for op in snapshot.take_ops() {
                match op {
                    SnapshotOp::Append(text) => {
                        lines += text.len();
                        written += text.len();
                    }
                    SnapshotOp::Replace(text) => {
                        whole += 1;
                        written += text.len();
                    }
                    SnapshotOp::Sync => {}
                }
            }
            whole
        };
        for round in 0..4 {
            // One merge whose operations are output together.
            for number in 0..members {
                let name = format!("{number:x<length$}");
                member_event(&mut snapshot, MemberEventKind::Failed, &name, 10);
                join(&mut snapshot, &name, 10);
            }
            assert_eq!(take(&mut snapshot), 0, "a merge writes lines alone");
            let mut whole = 0;
            for tick in 0..40 {
                snapshot.on_timer(at(40 * round + tick), LamportTime(10), 1);
                whole += take(&mut snapshot);
            }
            assert!(whole <= 2, "{whole} in 20 s");
        }
        // Once for the line, and at most as often as the file doubles.
        assert!(written <= 2 * lines + COMPACT_BYTES_MIN, "{written} for {lines}");
        let expected = snapshot.file.clone();
        snapshot.compact();
        let Some(SnapshotOp::Replace(text)) = snapshot.take_ops().last() else { panic!() };
        assert_eq!(Replay::read(text.as_bytes(), false, 1), expected);
    }
}

#[test]
fn failed_peers_are_bounded_also_when_they_are_read() {
    let mut snapshot = fresh();
    for number in 0..3 * FAILED_MAX {
        member_event(&mut snapshot, MemberEventKind::Failed, &format!("n{number}"), 10);
    }
    assert_eq!(snapshot.file.failed.len(), FAILED_MAX);
    let text = written(&mut snapshot);
    assert_eq!(Replay::read(text.as_bytes(), false, 1), snapshot.file);
}

/// A rewrite contains everything that was not taken yet.
#[test]
fn a_rewrite_supersedes_what_waits() {
    let mut snapshot = fresh();
    for number in 0..500 {
        join(&mut snapshot, &format!("node-{number}"), 10);
    }
    snapshot.compact();
    snapshot.compact();
    let ops = snapshot.take_ops().collect::<Vec<_>>();
    let [SnapshotOp::Replace(text)] = &*ops else { panic!("{} ops", ops.len()) };
    assert_eq!(Replay::read(text.as_bytes(), false, 1), snapshot.file);
}

proptest! {
    #[test]
    fn arbitrary_bytes_are_replayed(file in proptest::collection::vec(any::<u8>(), 0..500)) {
        let _ = Replay::read(&file, false, 1);
        let _ = Replay::read(&file, true, 1);
    }

    #[test]
    fn a_file_cut_anywhere_replays_its_whole_lines(cut in 0usize..200) {
        let file = b"alive: a 1.1.1.1:1\nclock: 5\nalive: b 1.1.1.2:2\nnot-alive: a\n\
                     event-clock: 9\nquery-clock: 2\n";
        let file = &file[..cut.min(file.len())];
        let whole = file.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        let (cut, whole) = (Replay::read(file, false, 1), Replay::read(&file[..whole], false, 1));
        prop_assert_eq!(Replay { torn: false, ..cut }, whole);
    }

    #[test]
    fn what_is_written_is_what_is_read(
        steps in proptest::collection::vec((0u8..3, "[ -~]{0,5}[!-~]", 1u64..1000), 0..60),
    ) {
        let mut snapshot = fresh();
        let mut clock = 1;
        for (what, name, jump) in steps {
            clock += jump;
            let kinds = [MemberEventKind::Join, MemberEventKind::Failed, MemberEventKind::Leave];
            let kind = kinds[usize::from(what)];
            member_event(&mut snapshot, kind, &name, clock);
        }
        let text = written(&mut snapshot);
        let replay = Replay::read(text.as_bytes(), false, 1);
        prop_assert_eq!(&replay, &snapshot.file);
    }
}

fn names(peers: &Peers) -> Vec<&str> {
    peers.iter().map(NamedAddr::name).collect()
}

fn fresh() -> Snapshot {
    Snapshot::new(Replay::default(), 0, false, Instant::ZERO)
}

/// The time of a tick of the clock.
fn at(tick: u32) -> Instant {
    Instant::ZERO + CLOCK_INTERVAL * tick
}

fn join(snapshot: &mut Snapshot, name: &str, clock: u64) {
    member_event(snapshot, MemberEventKind::Join, name, clock);
}

fn member_event(snapshot: &mut Snapshot, kind: MemberEventKind, name: &str, clock: u64) {
    let member = Member {
        name: name.into(),
        addr: [127, 0, 0, 1].into(),
        port: 5000,
        tags: crate::serf::Tags::default(),
        status: MemberStatus::Alive,
        vsn: Default::default(),
    };
    let event = Event::Member(MemberEvent { kind, members: vec![Arc::new(member)] });
    snapshot.on_event(&event, LamportTime(clock));
}

/// All lines so far.
fn written(snapshot: &mut Snapshot) -> String {
    snapshot.hand_out();
    let lines = |op| match op {
        SnapshotOp::Append(lines) => lines,
        SnapshotOp::Replace(_) | SnapshotOp::Sync => String::new(),
    };
    snapshot.take_ops().map(lines).collect()
}

#[test]
fn lines_end_wherever_they_do() {
    for len in 0..40 {
        let file = format!("alive: {:n>len$} 10.0.0.1:7946\n\u{e9}\nclock: 7\nclock: 8", "");
        let mut lines = Vec::new();
        let mut rest = file.as_bytes();
        while let Some((line, others)) = split_line(rest) {
            lines.push(String::from_utf8_lossy(line).into_owned());
            rest = others;
        }
        assert_eq!(lines, file.lines().take(3).collect::<Vec<_>>());
        assert_eq!(rest, b"clock: 8");
    }
    // Bytes whose difference to the end of a line borrows from their neighbour.
    assert_eq!(
        split_line(b"\x0b\x0b\x0a\x0b\x0b\x0b\x0b\x0b"),
        Some((&b"\x0b\x0b"[..], &b"\x0b\x0b\x0b\x0b\x0b"[..]))
    );
    assert_eq!(
        split_line(b"\x0a\x0b\x0b\x0b\x0b\x0b\x0b\x0b").map(|(line, _)| line.len()),
        Some(0)
    );
    assert_eq!(split_line(b"\x0b\x0b\x0b\x0b\x0b\x0b\x0b\x0b\x0b"), None);
}
