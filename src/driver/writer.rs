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
mod tests;
