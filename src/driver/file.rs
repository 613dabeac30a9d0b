//! Replacing a file so that a crash leaves either the old or the new one.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
};

/// What is done to files, step by step: a crash may come between any two of them. Files are made so
/// that only their owner may read them.
pub(super) trait Disk {
    type File: Write;

    /// The file itself, where `path` is a symbolic link to it.
    fn resolve(&self, path: &Path) -> PathBuf;
    /// Opens a new file.
    fn create_new(&self, path: &Path) -> io::Result<Self::File>;
    /// Opens a file, maybe a new one, to write at its end.
    fn append(&self, path: &Path) -> io::Result<Self::File>;
    /// Lets those read and write `file` who may do so with the file at `path`, if there is one.
    fn copy_mode(&self, path: &Path, file: &Self::File) -> io::Result<()>;
    /// Brings what was written to the disk.
    fn sync(&self, file: &Self::File) -> io::Result<()>;
    fn remove(&self, path: &Path) -> io::Result<()>;
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Brings to the disk which names the directory of `path` holds.
    fn sync_directory_of(&self, path: &Path) -> io::Result<()>;
}

/// Replaces the contents of `path`: a temporary file beside it is written, synced and renamed over
/// it, and the directory is synced. Only the owner may read the result. A symbolic link is
/// followed, so that it stays one. Blocks.
///
/// # Errors
/// The directory does not exist or is not writable, the disk is full. The old file is untouched.
pub fn replace_file(path: &Path, contents: &[u8]) -> io::Result<()> {
    replace(&System, path, ".tmp", Mode::Private, contents)
}

/// As [`replace_file`], but whoever may read and write the file now may do so afterwards.
///
/// # Errors
/// As there.
pub fn replace_file_keeping_mode(path: &Path, contents: &[u8]) -> io::Result<()> {
    replace(&System, path, ".tmp", Mode::AsBefore, contents)
}

/// Who may read and write the new file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// Its owner.
    Private,
    /// Whoever may do so with the old one; without one, its owner.
    AsBefore,
}

/// The same, with a temporary file named by `suffix`.
pub(super) fn replace<D: Disk>(
    disk: &D,
    path: &Path,
    suffix: &str,
    mode: Mode,
    contents: &[u8],
) -> io::Result<()> {
    let path = disk.resolve(path);
    let mut temporary = path.clone().into_os_string();
    temporary.push(suffix);
    let temporary = PathBuf::from(temporary);
    let model = (mode == Mode::AsBefore).then_some(&*path);
    let written =
        write_new(disk, &temporary, model, contents).and_then(|()| disk.rename(&temporary, &path));
    if written.is_err() {
        // Best effort: what is left makes the next attempt fail, which is told.
        let _ = disk.remove(&temporary);
    }
    written?;
    disk.sync_directory_of(&path)
}

fn write_new<D: Disk>(
    disk: &D,
    path: &Path,
    model: Option<&Path>,
    contents: &[u8],
) -> io::Result<()> {
    // One that a crash left may have been made with another mode.
    match disk.remove(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let mut file = disk.create_new(path)?;
    if let Some(model) = model {
        disk.copy_mode(model, &file)?;
    }
    file.write_all(contents)?;
    disk.sync(&file)
}

/// The operating system's files.
pub(super) struct System;

impl Disk for System {
    type File = File;

    fn resolve(&self, path: &Path) -> PathBuf {
        fs::canonicalize(path).unwrap_or_else(|_| path.to_owned())
    }

    fn create_new(&self, path: &Path) -> io::Result<File> {
        private().write(true).create_new(true).open(path)
    }

    fn append(&self, path: &Path) -> io::Result<File> {
        private().append(true).create(true).open(path)
    }

    fn copy_mode(&self, path: &Path, file: &File) -> io::Result<()> {
        match fs::metadata(path) {
            Ok(existing) => file.set_permissions(existing.permissions()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn sync(&self, file: &File) -> io::Result<()> {
        file.sync_all()
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn sync_directory_of(&self, path: &Path) -> io::Result<()> {
        if !cfg!(unix) {
            return Ok(());
        }
        match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => File::open(parent)?.sync_all(),
            Some(_) | None => File::open(".")?.sync_all(),
        }
    }
}

/// Options of a file that only its owner may read.
fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.mode(0o600);
    }
    options
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::driver::faulty_disk::{Fault, FaultyDisk, LOSSES};

    /// The keyring and the tags file: whole and old, or whole and new, wherever the power goes off.
    #[test]
    fn a_crash_at_any_step_leaves_the_old_or_the_new_file() {
        let path = Path::new("keys");
        let (old, new) = (&b"[\"old\"]"[..], &b"[\"new\", \"old\"]"[..]);
        let modes = [Mode::Private, Mode::AsBefore];
        for (before, mode) in modes.into_iter().flat_map(|m| [(Some(old), m), (None, m)]) {
            let run = |fault| {
                let disk = FaultyDisk::with_fault(fault);
                if let Some(before) = before {
                    disk.put(path, before);
                }
                let result = replace(&disk, path, ".tmp", mode, new);
                (disk, result)
            };
            let (calm, result) = run(None);
            result.unwrap();
            let mut seen = [0, 0];
            for (at, quarters) in (0..calm.steps()).flat_map(|at| (0..=4).map(move |q| (at, q))) {
                let (disk, result) = run(Some(Fault { at, quarters, fatal: true }));
                for loss in LOSSES {
                    let left = disk.read_after(loss, path);
                    let is_new = left.as_deref() == Some(new);
                    assert!(is_new || left.as_deref() == before, "step {at}, {loss:?}: {left:?}");
                    seen[usize::from(is_new)] += 1;
                }
                // Looking for a left-over is the only step that need not work.
                assert!(result.is_err() || at == 0, "step {at}");
            }
            assert!(seen.iter().all(|count| *count > 0), "{seen:?}");
            for loss in LOSSES {
                assert_eq!(calm.read_after(loss, path).as_deref(), Some(new), "it is safe");
            }
        }
    }

    #[test]
    fn contents_are_replaced_and_private() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keys");
        fs::write(&path, "old").unwrap();
        replace(&System, &path, ".tmp", Mode::Private, b"new").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        }
    }

    #[cfg(unix)]
    #[test]
    fn symbolic_link_stays_a_link() {
        let dir = tempfile::tempdir().unwrap();
        let (target, link) = (dir.path().join("target"), dir.path().join("link"));
        fs::write(&target, "old").unwrap();
        std::os::unix::fs::symlink(&target, &link).unwrap();
        replace(&System, &link, ".tmp", Mode::Private, b"new").unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"new");
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    }

    #[test]
    fn failure_leaves_the_old_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keys");
        fs::write(&path, "old").unwrap();
        fs::create_dir(dir.path().join("keys.tmp")).unwrap();
        assert!(replace(&System, &path, ".tmp", Mode::Private, b"new").is_err());
        assert_eq!(fs::read(&path).unwrap(), b"old");
    }
}
