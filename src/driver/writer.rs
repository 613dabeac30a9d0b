//! The thread that writes the snapshot and the keyring file: a slow disk delays no other work.

use std::{
    io::{self, Write},
    mem,
    path::{Path, PathBuf},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use tokio::sync::oneshot;
use tracing::{error, info, warn};

use super::{
    file::{self, Disk, FileError, System},
    metrics,
};
use crate::{base::go_base64, serf::SnapshotOp, wire::Keyring};

/// The engine's side of the writer.
pub(super) struct Writer {
    queue: OpenQueue,
    done: oneshot::Receiver<()>,
    /// Whether lines were dropped because the queue was full.
    dropping: bool,
    /// When the snapshot was last requested in full.
    repaired: Option<Instant>,
}

/// Result of writing the keys; the error is Go's text.
pub(super) type Stored = Result<(), String>;

/// Work for the thread. Limited in bytes: at most one whole snapshot (a newer one supersedes it and
/// all lines before it) and [`LINES_BYTES_MAX`] of lines after it.
#[derive(Default)]
struct Queue {
    work: Mutex<Work>,
    ready: Condvar,
    /// Whether the newest keys are not in the file yet.
    keys_unwritten: AtomicBool,
}

/// Closes the queue when dropped.
struct OpenQueue(Arc<Queue>);

#[derive(Default)]
struct Work {
    /// A whole snapshot, to be written before the lines.
    snapshot: Option<String>,
    lines: String,
    sync: bool,
    keys: Option<String>,
    /// Callers that wait for the newest keys to be written.
    waiting: Vec<oneshot::Sender<Stored>>,
    /// Snapshot lines are dropped until the file is rewritten.
    torn: bool,
    /// No more work will be queued.
    closed: bool,
}

impl Writer {
    /// Starts the thread; opens the snapshot and creates it if necessary.
    ///
    /// # Errors
    /// The snapshot cannot be opened for writing, or the system cannot start a thread.
    pub(super) fn start(snapshot: Option<PathBuf>, keyring: Option<PathBuf>) -> io::Result<Self> {
        let snapshot = snapshot.map(|path| SnapshotFile::open(System, path)).transpose()?;
        let (finished, done) = oneshot::channel();
        let queue = Arc::new(Queue::default());
        let files = Files {
            snapshot,
            keyring,
            unwritten: None,
            recovering: false,
            queue: Arc::clone(&queue),
        };
        thread::Builder::new().name("serf-files".to_owned()).spawn(move || {
            files.serve();
            // The receiver may be gone.
            let _ = finished.send(());
        })?;
        Ok(Self { queue: OpenQueue(queue), done, dropping: false, repaired: None })
    }

    /// Queues work for the snapshot. Returns whether lines were lost, so that the snapshot must be
    /// rewritten with [`SnapshotOp::Replace`].
    #[must_use]
    pub(super) fn snapshot(&mut self, op: SnapshotOp) -> bool {
        let mut work = self.queue.0.lock();
        let fits = work.put(op);
        if !fits {
            work.torn = true;
            if !mem::replace(&mut self.dropping, true) {
                error!(target: "serf", "Failed to update snapshot: the disk is too slow");
            }
            metrics::counter("serf.snapshot.dropped", 1);
        }
        self.dropping = !fits;
        let now = Instant::now();
        let lately = self.repaired.is_some_and(|at| now.duration_since(at) < REPAIR_INTERVAL);
        let repair = !lately && mem::take(&mut work.torn);
        if repair {
            self.repaired = Some(now);
        }
        drop(work);
        self.queue.0.ready.notify_one();
        repair
    }

    /// Writes the keys; after a failure retries until it succeeds or newer keys are given. The
    /// receiver gets the result of the first attempt. Go: `writeKeyringFile`.
    pub(super) fn keyring(&mut self, keyring: &Keyring) -> oneshot::Receiver<Stored> {
        let (waiting, stored) = oneshot::channel();
        let mut work = self.queue.0.lock();
        work.keys = Some(encode_keyring(keyring));
        work.waiting.retain(|waiting| !waiting.is_closed());
        work.waiting.push(waiting);
        drop(work);
        self.queue.0.ready.notify_one();
        stored
    }

    /// Whether the newest keys have not been written yet.
    #[cfg(feature = "agent")]
    pub(super) fn keys_unwritten(&self) -> bool {
        self.queue.0.keys_unwritten.load(Ordering::Relaxed)
    }

    /// Ends the thread once everything is on the disk, then notifies the receiver.
    pub(super) fn finish(self) -> oneshot::Receiver<()> {
        self.done
    }
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, Work> {
        // No foreign code runs under the lock.
        self.work.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes all queued work, or returns nothing after `patience`.
    fn take(&self, patience: Duration) -> Work {
        let idle = |work: &mut Work| work.is_empty() && !work.closed;
        let waited = self.ready.wait_timeout_while(self.lock(), patience, idle);
        let (mut work, _) = waited.unwrap_or_else(PoisonError::into_inner);
        let (torn, closed) = (work.torn, work.closed);
        mem::replace(&mut *work, Work { torn, closed, ..Work::default() })
    }
}

impl Drop for OpenQueue {
    fn drop(&mut self) {
        self.0.lock().closed = true;
        self.0.ready.notify_one();
    }
}

impl Work {
    /// Queues an operation; returns whether there was room.
    fn put(&mut self, op: SnapshotOp) -> bool {
        match op {
            SnapshotOp::Append(lines) => {
                if self.lines.len() + lines.len() > LINES_BYTES_MAX {
                    return false;
                }
                self.lines.push_str(&lines);
            }
            SnapshotOp::Replace(lines) => {
                self.snapshot = Some(lines);
                // The new file contains all of it.
                self.lines.clear();
                self.torn = false;
            }
            SnapshotOp::Sync => self.sync = true,
        }
        true
    }

    fn is_empty(&self) -> bool {
        let Self { snapshot, lines, sync, keys, waiting: _, torn: _, closed: _ } = self;
        snapshot.is_none() && lines.is_empty() && !sync && keys.is_none()
    }
}

/// Encodes a JSON array with an indent of two spaces, as Go's `json.MarshalIndent` does; base64
/// needs no escapes.
fn encode_keyring(keyring: &Keyring) -> String {
    let keys = keyring.keys().map(go_base64::encode);
    let lines = keys.map(|key| format!("  \"{key}\"")).collect::<Vec<_>>();
    if lines.is_empty() { "[]".to_owned() } else { format!("[\n{}\n]", lines.join(",\n")) }
}

/// The thread's side of the writer.
struct Files {
    snapshot: Option<SnapshotFile<System>>,
    keyring: Option<PathBuf>,
    /// The newest keys, if they have not been written yet.
    unwritten: Option<String>,
    /// Whether lines of the snapshot were lost since it was last rewritten.
    recovering: bool,
    queue: Arc<Queue>,
}

impl Files {
    fn serve(mut self) {
        loop {
            let work = self.queue.take(RETRY_INTERVAL);
            let closed = work.closed;
            // First, since callers may wait for them.
            match work.keys {
                Some(keys) => self.write_keys(keys, work.waiting),
                None => self.retry_keys(),
            }
            self.write_snapshot(work.snapshot, work.lines, work.sync || closed);
            // Closing was observed together with everything queued before it.
            if closed {
                return;
            }
        }
    }

    fn write_snapshot(&mut self, snapshot: Option<String>, lines: String, sync: bool) {
        if let Some(snapshot) = snapshot {
            self.update_snapshot(SnapshotOp::Replace(snapshot));
        }
        if !lines.is_empty() {
            self.update_snapshot(SnapshotOp::Append(lines));
        }
        if sync {
            self.update_snapshot(SnapshotOp::Sync);
        }
    }

    /// Go: `snapshot.go`, `tryAppend`.
    fn update_snapshot(&mut self, op: SnapshotOp) {
        let Some(snapshot) = &mut self.snapshot else { return };
        let replaces = matches!(op, SnapshotOp::Replace(_));
        let recovers = replaces && mem::take(&mut self.recovering);
        if recovers {
            info!(target: "serf", "Attempting compaction to recover from error...");
        }
        let before = snapshot.lost;
        match snapshot.apply(op) {
            Ok(()) if recovers => info!(
                target: "serf",
                "Finished compaction, successfully recovered from error state"
            ),
            Ok(()) => {}
            Err(error) => {
                match recovers {
                    true => error!(
                        target: "serf",
                        "Compaction failed, will reattempt after {}s: {error}",
                        REPAIR_INTERVAL.as_secs()
                    ),
                    false => error!(target: "serf", "Failed to update snapshot: {error}"),
                }
                // The lines that the replacement was to restore may be lost.
                if replaces || snapshot.lost > before {
                    self.recovering = true;
                    self.queue.lock().torn = true;
                }
            }
        }
    }

    fn write_keys(&mut self, keys: String, waiting: Vec<oneshot::Sender<Stored>>) {
        let Some(path) = &self.keyring else { return };
        let written = file::replace_file(path, keys.as_bytes());
        let stored = written.map_err(|error| format!("Failed to write keyring file: {error}"));
        self.unwritten = stored.is_err().then_some(keys);
        self.queue.keys_unwritten.store(stored.is_err(), Ordering::Relaxed);
        for waiting in waiting {
            // A caller that no longer waits has given up.
            let _ = waiting.send(stored.clone());
        }
    }

    fn retry_keys(&mut self) {
        let (Some(path), Some(keys)) = (&self.keyring, &self.unwritten) else { return };
        if file::replace_file(path, keys.as_bytes()).is_ok() {
            info!(target: "serf", "Keyring file is written at last: {}", path.display());
            self.unwritten = None;
            self.queue.keys_unwritten.store(false, Ordering::Relaxed);
        }
    }
}

struct SnapshotFile<D: Disk> {
    disk: D,
    path: PathBuf,
    /// `None` after a failure: the file is reopened before the next write.
    file: Option<D::File>,
    /// Lines that have not been written yet.
    pending: String,
    /// How often such lines were dropped.
    lost: u64,
}

impl<D: Disk> SnapshotFile<D> {
    fn open(disk: D, path: PathBuf) -> io::Result<Self> {
        let file = Some(disk.append(&path)?);
        Ok(Self { disk, path, file, pending: String::new(), lost: 0 })
    }

    fn apply(&mut self, op: SnapshotOp) -> Result<(), FileError> {
        match op {
            SnapshotOp::Append(lines) => {
                let started = Instant::now();
                self.pending.push_str(&lines);
                let result = self.write();
                metrics::histogram("serf.snapshot.appendLine", millis(started));
                result.map_err(|source| self.failed("write", source))
            }
            SnapshotOp::Replace(lines) => {
                let started = Instant::now();
                let replaced = file::replace(&self.disk, &self.path, ".compact", lines.as_bytes());
                if replaced.is_ok() {
                    // The new file contains all of it.
                    self.pending.clear();
                }
                // Also after a failure, which may have occurred after the rename.
                self.file = None;
                metrics::histogram("serf.snapshot.compact", millis(started));
                replaced
            }
            SnapshotOp::Sync => {
                self.write().map_err(|source| self.failed("write", source))?;
                let Self { disk, path, file, .. } = self;
                let synced = opened(disk, path, file).and_then(|file| disk.sync(file));
                synced.map_err(|source| self.failed("sync", source))
            }
        }
    }

    fn failed(&self, step: &'static str, source: io::Error) -> FileError {
        FileError { step, path: self.path.clone(), source }
    }

    /// Writes pending lines. After a failure they are retried with the next lines; a partially
    /// written line remains in the file.
    fn write(&mut self) -> io::Result<()> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let result = self.write_pending();
        if result.is_ok() {
            self.pending.clear();
        } else if self.pending.len() > LINES_BYTES_MAX {
            warn!(target: "serf", "dropping snapshot lines that cannot be written");
            self.pending.clear();
            self.lost += 1;
        } else if !self.pending.starts_with('\n') {
            self.pending.insert(0, '\n');
        }
        result
    }

    fn write_pending(&mut self) -> io::Result<()> {
        let Self { disk, path, file, pending, .. } = self;
        opened(disk, path, file)?.write_all(pending.as_bytes())
    }
}

fn opened<'f, D: Disk>(
    disk: &D,
    path: &Path,
    file: &'f mut Option<D::File>,
) -> io::Result<&'f mut D::File> {
    match file {
        Some(file) => Ok(file),
        none => Ok(none.insert(disk.append(path)?)),
    }
}

fn millis(started: Instant) -> f64 {
    started.elapsed().as_secs_f64() * 1e3
}

/// Limit for snapshot lines that wait for the thread, and for those that the disk has not accepted
/// yet: some minutes of a busy cluster.
const LINES_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Interval between attempts to write keys.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);
/// Least time between two rewrites of a snapshot that lost lines.
const REPAIR_INTERVAL: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
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
        let expected = format!(
            "Failed to write keyring file: open {}: no such file or directory",
            path.display()
        );
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
}
