//! The thread that writes the snapshot and the keyring file: a slow disk delays nobody else.

use std::{
    fs::File,
    io::{self, Write},
    path::PathBuf,
    sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
    thread,
};

use tokio::sync::oneshot;
use tracing::{error, warn};

use super::{file, metrics};
use crate::{base::go_base64, serf::SnapshotOp, wire::Keyring};

/// The engine's end.
pub(super) struct Writer {
    ops: SyncSender<Op>,
    done: oneshot::Receiver<()>,
    /// Operations that did not fit into the queue.
    dropped: u64,
}

enum Op {
    Snapshot(SnapshotOp),
    Keyring(String),
}

impl Writer {
    /// Starts the thread; the snapshot is opened, and made if it is not there.
    ///
    /// # Errors
    /// The snapshot cannot be opened for writing, or the system gives no thread.
    pub(super) fn start(snapshot: Option<PathBuf>, keyring: Option<PathBuf>) -> io::Result<Self> {
        let snapshot = snapshot.map(SnapshotFile::open).transpose()?;
        let (ops, queue) = sync_channel(QUEUE_MAX);
        let (finished, done) = oneshot::channel();
        thread::Builder::new().name("serf-files".to_owned()).spawn(move || {
            run(&queue, snapshot, keyring);
            // Nobody may be waiting any more.
            let _ = finished.send(());
        })?;
        Ok(Self { ops, done, dropped: 0 })
    }

    pub(super) fn snapshot(&mut self, op: SnapshotOp) {
        self.send(Op::Snapshot(op));
    }

    /// Writes the keys. Go: `writeKeyringFile`.
    pub(super) fn keyring(&mut self, keyring: &Keyring) {
        self.send(Op::Keyring(encode_keyring(keyring)));
    }

    /// Ends the thread once everything is on the disk, and tells when.
    pub(super) fn finish(self) -> oneshot::Receiver<()> {
        self.done
    }

    fn send(&mut self, op: Op) {
        match self.ops.try_send(op) {
            Ok(()) => self.dropped = 0,
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                if self.dropped == 0 {
                    error!(target: "serf", "Failed to update snapshot: the disk is too slow");
                }
                self.dropped += 1;
                metrics::counter("serf.snapshot.dropped", 1);
            }
        }
    }
}

/// A JSON array with two spaces of indent, as Go's `json.MarshalIndent` makes it; base64 needs no
/// escapes.
fn encode_keyring(keyring: &Keyring) -> String {
    let keys = keyring.keys().map(go_base64::encode);
    let lines = keys.map(|key| format!("  \"{key}\"")).collect::<Vec<_>>();
    if lines.is_empty() { "[]".to_owned() } else { format!("[\n{}\n]", lines.join(",\n")) }
}

fn run(queue: &Receiver<Op>, mut snapshot: Option<SnapshotFile>, keyring: Option<PathBuf>) {
    while let Ok(op) = queue.recv() {
        match (op, &mut snapshot, &keyring) {
            (Op::Snapshot(op), Some(snapshot), _) => {
                if let Err(error) = snapshot.apply(op) {
                    error!(target: "serf", "Failed to update snapshot: {error}");
                }
            }
            (Op::Keyring(text), _, Some(path)) => {
                if let Err(error) = file::replace(path, ".tmp", text.as_bytes()) {
                    warn!(target: "serf", "Failed to write keyring file: {error}");
                }
            }
            (Op::Snapshot(_), None, _) | (Op::Keyring(_), _, None) => {}
        }
    }
    if let Some(snapshot) = &mut snapshot
        && let Err(error) = snapshot.apply(SnapshotOp::Sync)
    {
        error!(target: "serf", "Failed to update snapshot: {error}");
    }
}

struct SnapshotFile {
    path: PathBuf,
    file: File,
    /// Lines that could not be written yet.
    pending: String,
}

impl SnapshotFile {
    fn open(path: PathBuf) -> io::Result<Self> {
        let file = file::private().append(true).create(true).open(&path)?;
        Ok(Self { path, file, pending: String::new() })
    }

    fn apply(&mut self, op: SnapshotOp) -> io::Result<()> {
        match op {
            SnapshotOp::Append(lines) => {
                let started = std::time::Instant::now();
                self.pending.push_str(&lines);
                let result = self.write();
                metrics::histogram("serf.snapshot.appendLine", millis(started));
                result
            }
            SnapshotOp::Replace(lines) => {
                let started = std::time::Instant::now();
                file::replace(&self.path, ".compact", lines.as_bytes())?;
                // All of it is in the new file.
                self.pending.clear();
                *self = Self::open(std::mem::take(&mut self.path))?;
                metrics::histogram("serf.snapshot.compact", millis(started));
                Ok(())
            }
            SnapshotOp::Sync => {
                self.write()?;
                self.file.sync_all()
            }
        }
    }

    /// Writes what waits. After a failure it is tried again with the next lines; what was written
    /// of a line before the failure stays there as a torn line.
    fn write(&mut self) -> io::Result<()> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let result = self.file.write_all(self.pending.as_bytes());
        if result.is_ok() {
            self.pending.clear();
        } else if self.pending.len() > PENDING_BYTES_MAX {
            warn!(target: "serf", "dropping snapshot lines that cannot be written");
            self.pending.clear();
        } else if !self.pending.starts_with('\n') {
            self.pending.insert(0, '\n');
        }
        result
    }
}

fn millis(started: std::time::Instant) -> f64 {
    started.elapsed().as_secs_f64() * 1e3
}

/// Operations waiting for the disk: some minutes of a busy cluster.
const QUEUE_MAX: usize = 1_024;
const PENDING_BYTES_MAX: usize = 1024 * 1024;

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[tokio::test]
    async fn operations_reach_the_file_in_order() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("snapshot");
        fs::write(&path, "clock: 1\n").unwrap();
        let mut writer = Writer::start(Some(path.clone()), None).unwrap();
        writer.snapshot(SnapshotOp::Append("clock: 2\n".to_owned()));
        writer.snapshot(SnapshotOp::Replace("clock: 3\n".to_owned()));
        writer.snapshot(SnapshotOp::Append("leave\n".to_owned()));
        writer.snapshot(SnapshotOp::Sync);
        writer.finish().await.unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "clock: 3\nleave\n");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
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
