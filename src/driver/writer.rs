//! The thread that writes the snapshot and the keyring file: a slow disk delays nobody else.

use std::{
    io::{self, Write},
    mem,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    },
    thread,
    time::{Duration, Instant},
};

use tokio::sync::oneshot;
use tracing::{error, warn};

use super::{
    file::{self, Disk, Mode, System},
    metrics,
};
use crate::{base::go_base64, serf::SnapshotOp, wire::Keyring};

/// The engine's end.
pub(super) struct Writer {
    ops: SyncSender<Op>,
    done: oneshot::Receiver<()>,
    /// The last operation did not fit into the queue.
    dropping: bool,
    /// When the snapshot was last to be written anew.
    repaired: Option<Instant>,
    shared: Arc<Shared>,
}

enum Op {
    Snapshot(SnapshotOp),
    /// Look at the keys.
    Keyring,
}

/// What both ends see.
#[derive(Default)]
struct Shared {
    /// The newest keys, until they are on the disk.
    keys: Mutex<Option<String>>,
    /// Snapshot lines are lost for good.
    torn: AtomicBool,
}

impl Writer {
    /// Starts the thread; the snapshot is opened, and made if it is not there.
    ///
    /// # Errors
    /// The snapshot cannot be opened for writing, or the system gives no thread.
    pub(super) fn start(snapshot: Option<PathBuf>, keyring: Option<PathBuf>) -> io::Result<Self> {
        let snapshot = snapshot.map(|path| SnapshotFile::open(System, path)).transpose()?;
        let (ops, queue) = sync_channel(QUEUE_MAX);
        let (finished, done) = oneshot::channel();
        let shared = Arc::new(Shared::default());
        let files = Files { snapshot, keyring, shared: Arc::clone(&shared) };
        thread::Builder::new().name("serf-files".to_owned()).spawn(move || {
            files.serve(&queue);
            // Nobody may be waiting any more.
            let _ = finished.send(());
        })?;
        Ok(Self { ops, done, dropping: false, repaired: None, shared })
    }

    /// Whether lines were lost before this one, and the disk takes lines again: then the snapshot
    /// is to be written anew, by [`SnapshotOp::Replace`].
    #[must_use]
    pub(super) fn snapshot(&mut self, op: SnapshotOp) -> bool {
        if self.ops.try_send(Op::Snapshot(op)).is_err() {
            if !mem::replace(&mut self.dropping, true) {
                error!(target: "serf", "Failed to update snapshot: the disk is too slow");
            }
            self.shared.torn.store(true, Ordering::Relaxed);
            metrics::counter("serf.snapshot.dropped", 1);
            return false;
        }
        self.dropping = false;
        let now = Instant::now();
        let lately = self.repaired.is_some_and(|at| now.duration_since(at) < REPAIR_INTERVAL);
        let repair = !lately && self.shared.torn.swap(false, Ordering::Relaxed);
        if repair {
            self.repaired = Some(now);
        }
        repair
    }

    /// Writes the keys, now or as soon as the disk allows. Go: `writeKeyringFile`.
    pub(super) fn keyring(&mut self, keyring: &Keyring) {
        *self.shared.keys() = Some(encode_keyring(keyring));
        // If it does not fit, the thread is busy and looks at the keys by itself.
        let _ = self.ops.try_send(Op::Keyring);
    }

    /// Ends the thread once everything is on the disk, and tells when.
    pub(super) fn finish(self) -> oneshot::Receiver<()> {
        self.done
    }
}

impl Shared {
    fn keys(&self) -> MutexGuard<'_, Option<String>> {
        // No code of others runs under the lock.
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A JSON array with two spaces of indent, as Go's `json.MarshalIndent` makes it; base64 needs no
/// escapes.
fn encode_keyring(keyring: &Keyring) -> String {
    let keys = keyring.keys().map(go_base64::encode);
    let lines = keys.map(|key| format!("  \"{key}\"")).collect::<Vec<_>>();
    if lines.is_empty() { "[]".to_owned() } else { format!("[\n{}\n]", lines.join(",\n")) }
}

/// The thread's end.
struct Files {
    snapshot: Option<SnapshotFile<System>>,
    keyring: Option<PathBuf>,
    shared: Arc<Shared>,
}

impl Files {
    fn serve(mut self, queue: &Receiver<Op>) {
        loop {
            match queue.recv_timeout(RETRY_INTERVAL) {
                Ok(Op::Snapshot(op)) => self.update_snapshot(op),
                Ok(Op::Keyring) | Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            self.write_keys();
        }
        self.update_snapshot(SnapshotOp::Sync);
        self.write_keys();
    }

    fn update_snapshot(&mut self, op: SnapshotOp) {
        let Some(snapshot) = &mut self.snapshot else { return };
        let replaces = matches!(op, SnapshotOp::Replace(_));
        let before = snapshot.lost;
        if let Err(error) = snapshot.apply(op) {
            error!(target: "serf", "Failed to update snapshot: {error}");
            // The lines may be lost for which it was to be replaced.
            if replaces || snapshot.lost > before {
                self.shared.torn.store(true, Ordering::Relaxed);
            }
        }
    }

    /// What fails is tried again until it succeeds or newer keys come.
    fn write_keys(&self) {
        let Some(path) = &self.keyring else { return };
        let Some(text) = self.shared.keys().take() else { return };
        if let Err(error) = file::replace_file(path, text.as_bytes()) {
            warn!(target: "serf", "Failed to write keyring file: {error}");
            self.shared.keys().get_or_insert(text);
        }
    }
}

struct SnapshotFile<D: Disk> {
    disk: D,
    path: PathBuf,
    /// `None` after a failure: it is opened anew before the next write.
    file: Option<D::File>,
    /// Lines that could not be written yet.
    pending: String,
    /// How often such lines were given up.
    lost: u64,
}

impl<D: Disk> SnapshotFile<D> {
    fn open(disk: D, path: PathBuf) -> io::Result<Self> {
        let file = Some(disk.append(&path)?);
        Ok(Self { disk, path, file, pending: String::new(), lost: 0 })
    }

    fn apply(&mut self, op: SnapshotOp) -> io::Result<()> {
        match op {
            SnapshotOp::Append(lines) => {
                let started = Instant::now();
                self.pending.push_str(&lines);
                let result = self.write();
                metrics::histogram("serf.snapshot.appendLine", millis(started));
                result
            }
            SnapshotOp::Replace(lines) => {
                let started = Instant::now();
                let replaced = file::replace(
                    &self.disk,
                    &self.path,
                    ".compact",
                    Mode::Private,
                    lines.as_bytes(),
                );
                if replaced.is_ok() {
                    // All of it is in the new file.
                    self.pending.clear();
                }
                // Also after a failure: it may have come after the rename.
                self.file = None;
                metrics::histogram("serf.snapshot.compact", millis(started));
                replaced
            }
            SnapshotOp::Sync => {
                self.write()?;
                let Self { disk, path, file, .. } = self;
                disk.sync(opened(disk, path, file)?)
            }
        }
    }

    /// Writes what waits. After a failure it is tried again with the next lines; what was written
    /// of a line before the failure stays there as a torn line.
    fn write(&mut self) -> io::Result<()> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let result = self.write_pending();
        if result.is_ok() {
            self.pending.clear();
        } else if self.pending.len() > PENDING_BYTES_MAX {
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

/// Operations waiting for the disk: some minutes of a busy cluster.
const QUEUE_MAX: usize = 1_024;
const PENDING_BYTES_MAX: usize = 1024 * 1024;
/// Keys that could not be written are tried again this often.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);
/// A snapshot that lost lines is written anew at most this often.
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

    /// What a restarted node takes from the file: its peers and its clocks.
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

    /// Everything that may be replayed while or after an operation is done to a file that began
    /// as `before`: it, whole lines more, or the new file.
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
            // States since the last sync: a power cut may go back to any of them.
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

    /// A disk that fails for a moment, such as a full one, costs nothing that comes later.
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
                // The node goes on, whatever the disk says.
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

    #[test]
    fn lost_lines_are_made_good_once_the_disk_takes_lines_again() {
        let (ops, queue) = sync_channel(1);
        let shared = Arc::new(Shared::default());
        let done = oneshot::channel().1;
        let mut writer = Writer { ops, done, dropping: false, repaired: None, shared };
        let line = || SnapshotOp::Append("clock: 2\n".to_owned());
        assert!(!writer.snapshot(line()));
        assert!(!writer.snapshot(line()), "lost, but there is no room for a new snapshot either");
        queue.recv().unwrap();
        assert!(writer.snapshot(line()));
        // What the thread loses is made good too, but not time and again.
        writer.shared.torn.store(true, Ordering::Relaxed);
        queue.recv().unwrap();
        assert!(!writer.snapshot(line()), "so soon");
        writer.repaired = writer.repaired.and_then(|at| at.checked_sub(REPAIR_INTERVAL));
        queue.recv().unwrap();
        assert!(writer.snapshot(line()));
    }

    #[tokio::test]
    async fn keys_are_written_as_soon_as_the_disk_allows() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("later").join("keyring");
        let mut writer = Writer::start(None, Some(path.clone())).unwrap();
        writer.keyring(&Keyring::build(&[vec![1; 16]], &[1; 16]).unwrap());
        tokio::time::sleep(Duration::from_millis(100)).await;
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
        writer.keyring(&keyring);
        writer.finish().await.unwrap();
        let text = "[\n  \"AAAAAAAAAAAAAAAAAAAAAA==\",\n  \"AQEBAQEBAQEBAQEBAQEBAQ==\"\n]";
        assert_eq!(fs::read_to_string(&path).unwrap(), text);
    }
}
