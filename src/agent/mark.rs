//! Detects whether files have changed since they were read.

use std::{os::unix::fs::MetadataExt as _, path::PathBuf};

/// The state of files at one point in time. Links are followed, and another file under the same
/// name counts as a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mark(Vec<Option<[i64; 6]>>);

impl Mark {
    /// The current state of files. Blocks.
    pub(super) fn of(paths: &[PathBuf]) -> Self {
        let mark = |path: &PathBuf| {
            let found = std::fs::metadata(path).ok()?;
            let (dev, ino, size) = (found.dev(), found.ino(), found.size());
            let [dev, ino, size] = [dev, ino, size].map(u64::cast_signed);
            // The time of the last status change covers the mode, on which acceptance depends.
            Some([dev, ino, size, found.mtime(), found.mtime_nsec(), found.ctime_nsec()])
        };
        Self(paths.iter().map(mark).collect())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_file_that_is_written_replaced_or_gone_differs() {
        let dir = tempfile::tempdir().unwrap();
        let [file, other, link] = ["a", "b", "l"].map(|name| dir.path().join(name));
        let paths = [file.clone(), link.clone()];
        fs::write(&file, "1").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        let mut seen = vec![Mark::of(&paths)];
        assert_eq!(seen[0], Mark::of(&paths));
        fs::write(&file, "12").unwrap();
        seen.push(Mark::of(&paths));
        fs::write(&other, "34").unwrap();
        fs::rename(&other, &file).unwrap();
        seen.push(Mark::of(&paths));
        fs::remove_file(&file).unwrap();
        seen.push(Mark::of(&paths));
        for (at, mark) in seen.iter().enumerate() {
            assert!(!seen[..at].contains(mark), "{at}");
        }
    }
}
