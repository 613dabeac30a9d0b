use std::fs;

use super::*;
use crate::{
    base,
    driver::faulty_disk::{Fault, FaultyDisk, LOSSES},
    serf::{Config, Engine},
};

/// The parts of the file that a restart uses: peers and clocks.
fn replayed(file: &[u8]) -> String {
    let mut config = Config::lan("self");
    config.swim.advertise_addr = vec![127, 0, 0, 1];
    let engine = Engine::build(config, base::Instant::ZERO, Some(file)).unwrap();
    let mut peers: Vec<_> = engine.previous_peers().collect();
    peers.sort_unstable();
    let stats = engine.stats();
    format!("{peers:?} {} {}", stats["member_time"], stats["event_time"])
}

fn operations() -> Vec<SnapshotOp> {
    let append = |lines: &str| SnapshotOp::Append(lines.to_owned());
    vec![
        append("alive: a 10.0.0.1:7946\nclock: 3\n"),
        append("alive: bb 10.0.0.2:7946\n"),
        SnapshotOp::Sync,
        append("event-clock: 17\nnot-alive: a\n"),
        SnapshotOp::Replace("alive: bb 10.0.0.2:7946\nclock: 3\nevent-clock: 17\n".to_owned()),
        append("alive: c 10.0.0.3:7946\n"),
        append("clock: 123456\n"),
        SnapshotOp::Sync,
    ]
}

/// All contents that may be replayed during or after an operation on a file that began as
/// `before`: the old file, more whole lines, or the new file.
fn allowed(before: &[u8], op: &SnapshotOp, states: &mut Vec<String>) -> Vec<u8> {
    let mut file = before.to_vec();
    match op {
        SnapshotOp::Append(lines) => {
            for line in lines.split_inclusive('\n') {
                file.extend_from_slice(line.as_bytes());
                states.push(replayed(&file));
            }
        }
        SnapshotOp::Replace(lines) => {
            file = lines.clone().into_bytes();
            states.push(replayed(&file));
        }
        SnapshotOp::Sync => {}
    }
    file
}

#[test]
fn a_crash_at_any_step_leaves_a_snapshot_that_replays_what_was_written() {
    let path = PathBuf::from("snapshot");
    let start = b"alive: old 10.0.0.9:7946\n";
    let calm = FaultyDisk::default();
    let mut snapshot = SnapshotFile::open(calm.clone(), path.clone()).unwrap();
    operations().into_iter().for_each(|op| snapshot.apply(op).unwrap());
    let mut seen = std::collections::BTreeSet::new();
    for (at, quarters) in (0..calm.steps()).flat_map(|at| (0..=4).map(move |q| (at, q))) {
        let disk = FaultyDisk::with_fault(Some(Fault { at, quarters, fatal: true }));
        disk.put(&path, start);
        let mut file = start.to_vec();
        // States since the last sync: a power failure may restore any of them.
        let mut states = vec![replayed(&file)];
        if let Ok(mut snapshot) = SnapshotFile::open(disk.clone(), path.clone()) {
            for op in operations() {
                file = allowed(&file, &op, &mut states);
                if snapshot.apply(op.clone()).is_err() {
                    break;
                }
                if matches!(op, SnapshotOp::Sync | SnapshotOp::Replace(_)) {
                    states = vec![replayed(&file)];
                }
            }
        }
        for loss in LOSSES {
            let left = disk.read_after(loss, &path).expect("it was there before");
            let state = replayed(&left);
            assert!(states.contains(&state), "step {at}.{quarters}, {loss:?}: {state}");
            seen.insert(state);
        }
    }
    assert!(seen.len() > 7, "the crashes are spread: {seen:?}");
}

/// A temporary failure of the disk, such as a full one, does not affect later lines.
#[test]
fn one_failed_step_does_not_spoil_the_snapshot() {
    let path = PathBuf::from("snapshot");
    let calm = FaultyDisk::default();
    let mut snapshot = SnapshotFile::open(calm.clone(), path.clone()).unwrap();
    operations().into_iter().for_each(|op| snapshot.apply(op).unwrap());
    let wanted = replayed(&calm.read(&path).unwrap());
    for (at, quarters) in (1..calm.steps()).flat_map(|at| (0..=4).map(move |q| (at, q))) {
        let disk = FaultyDisk::with_fault(Some(Fault { at, quarters, fatal: false }));
        let mut snapshot = SnapshotFile::open(disk.clone(), path.clone()).unwrap();
        for op in operations() {
            // The node continues even if the disk fails.
            let _ = snapshot.apply(op);
        }
        let _ = snapshot.apply(SnapshotOp::Sync);
        let left = disk.read(&path).unwrap();
        assert_eq!(replayed(&left), wanted, "step {at}.{quarters}");
    }
}

#[tokio::test]
async fn operations_reach_the_file_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("snapshot");
    fs::write(&path, "clock: 1\n").unwrap();
    let mut writer = Writer::start(Some(path.clone()), None).unwrap();
    for op in [
        SnapshotOp::Append("clock: 2\n".to_owned()),
        SnapshotOp::Replace("clock: 3\n".to_owned()),
        SnapshotOp::Append("leave\n".to_owned()),
        SnapshotOp::Sync,
    ] {
        assert!(!writer.snapshot(op), "nothing was lost");
    }
    writer.finish().await.unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), "clock: 3\nleave\n");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
}

/// A hanging disk: queued work is limited in bytes, and one whole snapshot restores dropped
/// lines.
#[test]
fn lost_lines_are_made_good_by_one_snapshot_that_supersedes_all_before() {
    let queue = Arc::new(Queue::default());
    let done = oneshot::channel().1;
    let open = OpenQueue(Arc::clone(&queue));
    let mut writer = Writer { queue: open, done, dropping: false, repaired: None };
    let line = || SnapshotOp::Append("clock: 2\n".repeat(1_000));
    let mut puts = 0;
    while !writer.snapshot(line()) {
        puts += 1;
        assert!(puts <= LINES_BYTES_MAX / 9_000, "without a bound");
    }
    assert!(queue.lock().lines.len() <= LINES_BYTES_MAX);
    for newer in ["clock: 3\n", "clock: 4\n"] {
        assert!(!writer.snapshot(SnapshotOp::Replace(newer.to_owned())));
        assert!(!writer.snapshot(SnapshotOp::Append("clock: 5\n".to_owned())));
    }
    let work = queue.take(Duration::ZERO);
    assert_eq!((work.snapshot.as_deref(), &*work.lines), (Some("clock: 4\n"), "clock: 5\n"));
    // Lines lost by the thread are restored, too, but not repeatedly.
    queue.lock().torn = true;
    assert!(!writer.snapshot(line()), "so soon");
    writer.repaired = writer.repaired.and_then(|at| at.checked_sub(REPAIR_INTERVAL));
    assert!(writer.snapshot(line()));
    assert!(!writer.snapshot(line()), "it was asked for");
}

/// The first rewriting after a failure is logged as a recovery.
#[test]
fn a_snapshot_that_could_not_be_rewritten_recovers() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("snapshot");
    let snapshot = SnapshotFile::open(System, path.clone()).unwrap();
    let queue = Arc::new(Queue::default());
    let mut files = Files {
        snapshot: Some(snapshot),
        keyring: None,
        unwritten: None,
        recovering: false,
        queue: Arc::clone(&queue),
    };
    let replace = |files: &mut Files| {
        files.update_snapshot(SnapshotOp::Replace("clock: 1\n".to_owned()));
        (files.recovering, mem::take(&mut queue.lock().torn))
    };
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    assert_eq!(replace(&mut files), (true, true));
    assert_eq!(replace(&mut files), (true, true), "the compaction failed");
    fs::remove_dir(&path).unwrap();
    assert_eq!(replace(&mut files), (false, false));
    assert_eq!(fs::read_to_string(&path).unwrap(), "clock: 1\n");
}

#[tokio::test]
async fn keys_are_written_as_soon_as_the_disk_allows() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("later").join("keyring");
    let mut writer = Writer::start(None, Some(path.clone())).unwrap();
    let keys = Keyring::build(&[vec![1; 16]], &[1; 16]).unwrap();
    let stored = writer.keyring(&keys).await.unwrap();
    let expected =
        format!("Failed to write keyring file: open {}: no such file or directory", path.display());
    assert_eq!(stored, Err(expected));
    fs::create_dir(path.parent().unwrap()).unwrap();
    let began = Instant::now();
    while !path.exists() {
        assert!(began.elapsed() < Duration::from_secs(60), "never");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn keyring_file_has_go_form() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("keyring");
    let mut writer = Writer::start(None, Some(path.clone())).unwrap();
    let keyring = Keyring::build(&[vec![1; 16]], &[0; 16]).unwrap();
    assert_eq!(writer.keyring(&keyring).await, Ok(Ok(())));
    let text = "[\n  \"AAAAAAAAAAAAAAAAAAAAAA==\",\n  \"AQEBAQEBAQEBAQEBAQEBAQ==\"\n]";
    assert_eq!(fs::read_to_string(&path).unwrap(), text);
}
