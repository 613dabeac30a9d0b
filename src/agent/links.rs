//! Follows symbolic links.

use std::path::{Path, PathBuf};

/// The directory in which a file is, or a missing one would be created: links are followed.
pub(super) fn directory_of(path: &Path) -> PathBuf {
    let parent = |path: &Path| match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    };
    let mut path = path.to_owned();
    for _ in 0..LINKS_MAX {
        let Ok(target) = std::fs::read_link(&path) else { break };
        path = parent(&path).join(target);
    }
    parent(&path)
}

/// Most links that Linux follows in a path.
const LINKS_MAX: usize = 40;
