//! Replacing a file so that a crash leaves either the old or the new one.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
};

/// Replaces the contents of `path`: a temporary file beside it is written, synced and renamed over
/// it, and the directory is synced. Only the owner may read the result. A symbolic link is
/// followed, so that it stays one. Blocks.
///
/// # Errors
/// The directory does not exist or is not writable, the disk is full. The old file is untouched.
pub fn replace_file(path: &Path, contents: &[u8]) -> io::Result<()> {
    replace(path, ".tmp", contents)
}

/// The same, with a temporary file named by `suffix`.
pub(super) fn replace(path: &Path, suffix: &str, contents: &[u8]) -> io::Result<()> {
    let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let mut temporary = path.clone().into_os_string();
    temporary.push(suffix);
    let temporary = PathBuf::from(temporary);
    let written = write_new(&temporary, contents).and_then(|()| fs::rename(&temporary, &path));
    if written.is_err() {
        // Best effort: the next attempt truncates it anyway.
        let _ = fs::remove_file(&temporary);
    }
    written?;
    sync_parent(&path)
}

/// Options of a file that only its owner may read.
pub(super) fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.mode(0o600);
    }
    options
}

fn write_new(path: &Path, contents: &[u8]) -> io::Result<()> {
    // One that a crash left may have been made with another mode.
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let mut file = private().write(true).create_new(true).open(path)?;
    file.write_all(contents)?;
    file.sync_all()
}

fn sync_parent(path: &Path) -> io::Result<()> {
    if !cfg!(unix) {
        return Ok(());
    }
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => File::open(parent)?.sync_all(),
        Some(_) | None => File::open(".")?.sync_all(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contents_are_replaced_and_private() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keys");
        fs::write(&path, "old").unwrap();
        replace(&path, ".tmp", b"new").unwrap();
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
        replace(&link, ".tmp", b"new").unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"new");
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    }

    #[test]
    fn failure_leaves_the_old_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keys");
        fs::write(&path, "old").unwrap();
        fs::create_dir(dir.path().join("keys.tmp")).unwrap();
        assert!(replace(&path, ".tmp", b"new").is_err());
        assert_eq!(fs::read(&path).unwrap(), b"old");
    }
}
