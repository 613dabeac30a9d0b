//! Files that must survive a crash: replaced as a whole, or appended to by a thread of their own.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
    sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel},
    thread::JoinHandle,
    time::Duration,
};

use tracing::error;

use crate::serf::SnapshotOp;

/// Longest time a snapshot line stays in memory. Go: `flushInterval`.
const FLUSH_INTERVAL: Duration = Duration::from_millis(500);
/// Work that may wait for the disk; beyond it lines are lost, and said so.
const QUEUE_MAX: usize = 16_384;

/// Replaces a file so that a crash leaves the old or the new one, never a part: a temporary file
/// beside it is written, synced and renamed over it, and the directory is synced. Mode 0600.
///
/// # Errors
/// The system refused one of these steps; the old file is still there.
pub fn replace_file(path: &Path, content: &[u8]) -> io::Result<()> {
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".tmp");
    let temporary = PathBuf::from(temporary);
    let written = (|| {
        let mut file = private().write(true).create(true).truncate(true).open(&temporary)?;
        file.write_all(content)?;
        file.sync_all()?;
        fs::rename(&temporary, path)
    })();
    if written.is_err() {
        let _ = fs::remove_file(&temporary);
        return written;
    }
    File::open(dir)?.sync_all()
}

/// Options that make new files readable by their owner only.
fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

/// Work for the writer.
enum Job {
    Snapshot(SnapshotOp),
    Replace(PathBuf, Vec<u8>),
}

/// The thread that writes. Dropping it writes what is left; [`FileWriter::finish`] also waits.
pub(super) struct FileWriter {
    jobs: Option<SyncSender<Job>>,
    thread: Option<JoinHandle<()>>,
}

impl FileWriter {
    /// Starts the thread; `snapshot` is opened for appending.
    ///
    /// # Errors
    /// The snapshot cannot be opened.
    pub(super) fn start(snapshot: Option<&Path>) -> io::Result<Self> {
        let snapshot = snapshot.map(SnapshotFile::open).transpose()?;
        let (jobs, queue) = sync_channel(QUEUE_MAX);
        let thread = std::thread::Builder::new()
            .name("serf-files".into())
            .spawn(move || write_all(&queue, snapshot))?;
        Ok(Self { jobs: Some(jobs), thread: Some(thread) })
    }

    pub(super) fn snapshot(&self, op: SnapshotOp) {
        self.push(Job::Snapshot(op));
    }

    pub(super) fn replace(&self, path: &Path, content: Vec<u8>) {
        self.push(Job::Replace(path.to_owned(), content));
    }

    /// Writes what is left and waits for it. Blocks: not for an async task.
    pub(super) fn finish(mut self) {
        drop(self.jobs.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }

    fn push(&self, job: Job) {
        let Some(jobs) = &self.jobs else { return };
        match jobs.try_send(job) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => {
                error!(target: "serf", "Failed to update snapshot: the disk is too slow");
            }
            Err(TrySendError::Disconnected(_)) => {
                error!(target: "serf", "Failed to update snapshot: the writer has ended");
            }
        }
    }
}

fn write_all(queue: &Receiver<Job>, mut snapshot: Option<SnapshotFile>) {
    loop {
        let result = match queue.recv_timeout(FLUSH_INTERVAL) {
            Ok(Job::Snapshot(op)) => snapshot.as_mut().map_or(Ok(()), |file| file.apply(op)),
            Ok(Job::Replace(path, content)) => replace_file(&path, &content),
            Err(RecvTimeoutError::Timeout) => {
                snapshot.as_mut().map_or(Ok(()), |file| file.writer.flush())
            }
            Err(RecvTimeoutError::Disconnected) => break,
        };
        if let Err(error) = result {
            error!(target: "serf", "Failed to update snapshot: {error}");
        }
    }
    if let Some(mut file) = snapshot
        && let Err(error) = file.sync()
    {
        error!(target: "serf", "Failed to update snapshot: {error}");
    }
}

struct SnapshotFile {
    path: PathBuf,
    writer: BufWriter<File>,
}

impl SnapshotFile {
    fn open(path: &Path) -> io::Result<Self> {
        let file = private().read(true).append(true).create(true).open(path)?;
        let mut writer = BufWriter::new(file);
        // A line that a crash cut off must not swallow the next one.
        let old = fs::read(path)?;
        if old.last().is_some_and(|byte| *byte != b'\n') {
            writer.write_all(b"\n")?;
        }
        Ok(Self { path: path.to_owned(), writer })
    }

    fn apply(&mut self, op: SnapshotOp) -> io::Result<()> {
        match op {
            SnapshotOp::Append(lines) => self.writer.write_all(lines.as_bytes()),
            SnapshotOp::Sync => self.sync(),
            SnapshotOp::Replace(content) => {
                self.writer.flush()?;
                replace_file(&self.path, content.as_bytes())?;
                *self = Self::open(&self.path)?;
                Ok(())
            }
        }
    }

    fn sync(&mut self) -> io::Result<()> {
        self.writer.flush()?;
        self.writer.get_ref().sync_all()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replacing_leaves_no_other_file_and_is_private() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keyring");
        replace_file(&path, b"one").unwrap();
        replace_file(&path, b"two").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        }
    }

    #[test]
    fn snapshot_lines_are_appended_behind_a_torn_one_and_survive_a_replace() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("snapshot");
        fs::write(&path, "alive: a 1.2.3.4:1\ncloc").unwrap();
        let writer = FileWriter::start(Some(&path)).unwrap();
        writer.snapshot(SnapshotOp::Append("clock: 7\n".into()));
        writer.finish();
        assert_eq!(fs::read_to_string(&path).unwrap(), "alive: a 1.2.3.4:1\ncloc\nclock: 7\n");

        let writer = FileWriter::start(Some(&path)).unwrap();
        writer.snapshot(SnapshotOp::Replace("clock: 8\n".into()));
        writer.snapshot(SnapshotOp::Append("clock: 9\n".into()));
        writer.finish();
        assert_eq!(fs::read_to_string(&path).unwrap(), "clock: 8\nclock: 9\n");
    }
}
