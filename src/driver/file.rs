//! Replaces the contents of a file: by renaming a new file, so that a crash leaves the old or the
//! new contents, or, if the system refuses that, by overwriting it, as Go always does.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Seek, Write},
    path::{Path, PathBuf},
};

use crate::base::{error_texts, go_net};

/// A file could not be written. The text is that of Go's `os.PathError`.
#[derive(Debug)]
pub struct FileError {
    /// The step that failed, as Go names it: `open`, `write` or `sync`.
    pub step: &'static str,
    /// The path as given.
    pub path: PathBuf,
    /// The system's reason.
    pub source: io::Error,
}

error_texts! {
    FileError {
        Self { step, path, source } => "{step} {}: {}", path.display(), go_net::error_text(source);
    }
}

impl std::error::Error for FileError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

/// File operations, step by step: a crash may occur between any two of them. New files are readable
/// and writable only by their owner.
pub(super) trait Disk {
    type File: Write;

    /// The path at which a new file replaces `path`: the target of a symbolic link. `None` for a
    /// link whose target does not exist.
    fn resolve(&self, path: &Path) -> Option<PathBuf>;
    /// Opens an existing file to overwrite it from the start; changes nothing yet.
    fn open(&self, path: &Path) -> io::Result<Self::File>;
    /// Creates and opens a file that must not exist.
    fn create_new(&self, path: &Path) -> io::Result<Self::File>;
    /// Opens a file, following links; creates it if necessary.
    fn create(&self, path: &Path) -> io::Result<Self::File>;
    /// Opens a file for appending; creates it if necessary.
    fn append(&self, path: &Path) -> io::Result<Self::File>;
    /// Number of names (hard links) of a regular file; `None` for devices, pipes and the like.
    fn links(&self, file: &Self::File) -> Option<u64>;
    /// Gives `to` the owner, group and mode of `from`.
    fn copy_access(&self, from: &Self::File, to: &Self::File) -> io::Result<()>;
    fn read(&self, path: &Path) -> io::Result<Vec<u8>>;
    fn rewind(&self, file: &mut Self::File) -> io::Result<()>;
    fn set_len(&self, file: &Self::File, len: usize) -> io::Result<()>;
    /// Flushes the contents to the disk.
    fn sync(&self, file: &Self::File) -> io::Result<()>;
    fn remove(&self, path: &Path) -> io::Result<()>;
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Flushes the names in the directory of `path` to the disk.
    fn sync_directory_of(&self, path: &Path) -> io::Result<()>;
}

/// Replaces the contents of a file, or creates one that only its owner may access. Blocks.
///
/// Owner, group, mode, symbolic and hard links are preserved; access control lists and other
/// extended attributes are not. A new file replaces the old one in one step, so that a crash leaves
/// one of them complete. If that is refused (we may not change the directory or the owner, the file
/// is a mount point, has several names or is a device), or if the disk is full, the file is
/// overwritten in place.
///
/// # Errors
/// The file may not be written, or the disk is full or broken. The old contents are preserved,
/// unless the disk also refuses to restore them.
pub fn replace_file(path: &Path, contents: &[u8]) -> Result<(), FileError> {
    replace(&System, path, ".tmp", contents)
}

/// The same; `suffix` is appended to the path for the temporary file.
pub(super) fn replace<D: Disk>(
    disk: &D,
    path: &Path,
    suffix: &str,
    contents: &[u8],
) -> Result<(), FileError> {
    let failed = |step| move |source| FileError { step, path: path.to_owned(), source };
    // A read-only file is not replaced either, whatever its directory permits.
    let existing = match disk.open(path) {
        Ok(file) => Some(file),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(failed("open")(error)),
    };
    let links = existing.as_ref().map_or(Some(1), |file| disk.links(file));
    if links == Some(1)
        && let Some(target) = disk.resolve(path)
    {
        let mut temporary = target.clone().into_os_string();
        temporary.push(suffix);
        let model = existing.as_ref();
        if by_rename(disk, &target, Path::new(&temporary), model, contents)
            .map_err(failed("write"))?
        {
            return disk.sync_directory_of(&target).map_err(failed("sync"));
        }
    }
    match existing {
        // A device has no contents to replace.
        Some(mut file) if links.is_none() => file.write_all(contents).map_err(failed("write")),
        Some(file) => {
            let before = disk.read(path).ok();
            in_place(disk, file, before.as_deref(), contents).map_err(failed("write"))
        }
        None => {
            let file = disk.create(path).map_err(failed("open"))?;
            let written = in_place(disk, file, None, contents).map_err(failed("write"));
            if written.is_err() {
                // Best effort: no file is better than an incomplete one.
                let _ = disk.remove(path);
            }
            written?;
            disk.sync_directory_of(path).map_err(failed("sync"))
        }
    }
}

/// Replaces `target` by a new file; returns false if the system does not allow it. An error means
/// that the contents could not be written to the disk.
fn by_rename<D: Disk>(
    disk: &D,
    target: &Path,
    temporary: &Path,
    model: Option<&D::File>,
    contents: &[u8],
) -> io::Result<bool> {
    // A crash may have left an old temporary file.
    if disk.remove(temporary).is_err_and(|error| error.kind() != io::ErrorKind::NotFound) {
        return Ok(false);
    }
    let Ok(mut file) = disk.create_new(temporary) else { return Ok(false) };
    // Before the contents are written, which others could otherwise read.
    let allowed = model.is_none_or(|model| disk.copy_access(model, &file).is_ok());
    let written = match allowed {
        true => file.write_all(contents).and_then(|()| disk.sync(&file)),
        false => Ok(()),
    };
    let replaced = allowed && written.is_ok() && disk.rename(temporary, target).is_ok();
    if !replaced {
        // Best effort: the next attempt removes a leftover.
        let _ = disk.remove(temporary);
    }
    match written {
        // The old file may have room of its own for the new contents.
        Err(error) if is_full(&error) && model.is_some() => Ok(false),
        written => written.map(|()| replaced),
    }
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Overwrites an open file. If that fails, the contents `before` are restored: their space still
/// belongs to the file, even on a full disk.
fn in_place<D: Disk>(
    disk: &D,
    mut file: D::File,
    before: Option<&[u8]>,
    contents: &[u8],
) -> io::Result<()> {
    let mut overwrite = |contents: &[u8]| {
        disk.rewind(&mut file)?;
        file.write_all(contents)?;
        disk.set_len(&file, contents.len())?;
        disk.sync(&file)
    };
    let written = overwrite(contents);
    if written.is_err()
        && let Some(before) = before
    {
        // Best effort: the first error is the one to report.
        let _ = overwrite(before);
    }
    written
}

/// The operating system's files.
pub(super) struct System;

impl Disk for System {
    type File = File;

    fn resolve(&self, path: &Path) -> Option<PathBuf> {
        match fs::canonicalize(path) {
            Ok(target) => Some(target),
            Err(_) if fs::symlink_metadata(path).is_ok() => None,
            Err(_) => Some(path.to_owned()),
        }
    }

    fn open(&self, path: &Path) -> io::Result<File> {
        OpenOptions::new().write(true).open(path)
    }

    fn create_new(&self, path: &Path) -> io::Result<File> {
        private().write(true).create_new(true).open(path)
    }

    fn create(&self, path: &Path) -> io::Result<File> {
        private().write(true).create(true).truncate(false).open(path)
    }

    fn append(&self, path: &Path) -> io::Result<File> {
        private().append(true).create(true).open(path)
    }

    fn links(&self, file: &File) -> Option<u64> {
        let metadata = file.metadata().ok().filter(fs::Metadata::is_file)?;
        #[cfg(unix)]
        {
            use std::os::unix::fs::MetadataExt;
            Some(metadata.nlink())
        }
        #[cfg(not(unix))]
        {
            let _ = metadata;
            Some(1)
        }
    }

    fn copy_access(&self, from: &File, to: &File) -> io::Result<()> {
        let access = from.metadata()?;
        #[cfg(unix)]
        {
            use std::os::unix::fs::{MetadataExt, fchown};
            let given = to.metadata()?;
            let uid = Some(access.uid()).filter(|uid| *uid != given.uid());
            let gid = Some(access.gid()).filter(|gid| *gid != given.gid());
            if uid.is_some() || gid.is_some() {
                fchown(to, uid, gid)?;
            }
        }
        to.set_permissions(access.permissions())
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        fs::read(path)
    }

    fn rewind(&self, file: &mut File) -> io::Result<()> {
        file.rewind()
    }

    fn set_len(&self, file: &File, len: usize) -> io::Result<()> {
        file.set_len(len as u64)
    }

    fn sync(&self, file: &File) -> io::Result<()> {
        unless_unsupported(file.sync_all())
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
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        match File::open(parent.unwrap_or(Path::new("."))) {
            Ok(directory) => unless_unsupported(directory.sync_all()),
            // The directory is writable but not readable: the file was replaced all the same.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// Ignores the errors of devices, and of directories on some file systems, which cannot be synced.
fn unless_unsupported(synced: io::Result<()>) -> io::Result<()> {
    use io::ErrorKind::{InvalidInput, Unsupported};
    match synced {
        Err(error) if matches!(error.kind(), InvalidInput | Unsupported) => Ok(()),
        synced => synced,
    }
}

/// Open options for a file that only its owner may access.
fn private() -> OpenOptions {
    #[cfg_attr(not(unix), expect(unused_mut, reason = "other systems have no modes"))]
    let mut options = OpenOptions::new();
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.mode(0o600);
    }
    options
}

#[cfg(test)]
mod tests;
