//! The state file of a rotation, from which an interrupted rotation continues.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::super::Failure;
use crate::{
    agent::replace_file,
    base::{Secret, go_net},
};

/// The current step of a rotation. A step's operations may have been performed before that is
/// saved, never the reverse; all of them can be repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Step {
    /// Members receive the new key.
    Install,
    /// All members had the new key once; they are being switched to it.
    Use,
    /// All members encrypt with the new key; old keys are removed.
    Remove,
    /// The rotation is complete.
    Done,
}

/// The contents of the file.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Saved {
    version: u32,
    pub(super) step: Step,
    /// The new key; empty once the rotation is complete, as the members have it.
    pub(super) new_key: Secret,
    /// Keys to remove.
    pub(super) old_keys: Vec<Secret>,
    /// Time of the start, in RFC 3339.
    pub(super) started: String,
    /// Time of the end, in RFC 3339, if the rotation is complete.
    pub(super) finished: Option<String>,
}

impl Saved {
    /// The state of a new rotation.
    pub(super) fn plan(new_key: Secret, old_keys: Vec<Secret>) -> Self {
        let started = jiff::Timestamp::now().to_string();
        Self { version: VERSION, step: Step::Install, new_key, old_keys, started, finished: None }
    }

    /// Marks the rotation as complete. The file then contains no key.
    pub(super) fn finish(&mut self) {
        self.step = Step::Done;
        self.new_key = Secret::default();
        self.old_keys = Vec::new();
        self.finished = Some(jiff::Timestamp::now().to_string());
    }

    /// Seconds since the rotation was completed; `None` if it is not.
    pub(super) fn age_s(&self) -> Option<i64> {
        let finished: jiff::Timestamp = self.finished.as_ref()?.parse().ok()?;
        Some(jiff::Timestamp::now().as_second().saturating_sub(finished.as_second()))
    }
}

/// The state file, which only one process at a time may use.
pub(super) struct StateFile {
    path: PathBuf,
    /// Holds the lock; dropping it releases the lock.
    _lock: File,
}

impl StateFile {
    /// Locks the file, which need not exist.
    ///
    /// # Errors
    /// Another rotation holds the lock, or the directory is not writable.
    pub(super) fn lock(path: &str) -> Result<Self, Failure> {
        let path = PathBuf::from(path);
        let mut beside = path.clone().into_os_string();
        beside.push(".lock");
        let lock = File::create(&beside).map_err(|error| failure("open", &path, &error))?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path, _lock: lock }),
            Err(fs::TryLockError::WouldBlock) => Err(Failure::Message(format!(
                "Another rotation works with {}. Wait for its end.",
                path.display()
            ))),
            Err(fs::TryLockError::Error(error)) => Err(failure("lock", &path, &error)),
        }
    }

    /// Reads the state; `None` if there is no file.
    ///
    /// # Errors
    /// The file cannot be read, or is not a state file.
    pub(super) fn load(&self) -> Result<Option<Saved>, Failure> {
        load(&self.path)
    }

    /// Writes the state and flushes it to the disk.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(super) fn save(&self, saved: &Saved) -> Result<(), Failure> {
        let json = serde_json::to_vec_pretty(saved);
        let json = json.map_err(|error| Failure::Message(error.to_string()))?;
        replace_file(&self.path, &json).map_err(Failure::Message)
    }
}

/// Reads a state file; `None` if there is none.
///
/// # Errors
/// The file cannot be read, or is not a state file.
pub(super) fn load(path: &Path) -> Result<Option<Saved>, Failure> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failure("open", path, &error)),
    };
    let broken = |reason: &str| {
        Failure::Message(format!("{} is no state file of a rotation: {reason}", path.display()))
    };
    let saved: Saved =
        serde_json::from_slice(&bytes).map_err(|error| broken(&error.to_string()))?;
    if saved.version != VERSION {
        return Err(broken(&format!("version {}", saved.version)));
    }
    if saved.step != Step::Done && saved.new_key.is_empty() {
        return Err(broken("the key is missing"));
    }
    Ok(Some(saved))
}

fn failure(what: &str, path: &Path, error: &io::Error) -> Failure {
    Failure::Message(format!("{what} {}: {}", path.display(), go_net::error_text(error)))
}

const VERSION: u32 = 1;

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_state_file_is_private_locked_and_without_keys_at_the_end() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state");
        let shown = path.to_str().unwrap();
        let file = StateFile::lock(shown).unwrap();
        assert!(file.load().unwrap().is_none());
        let mut saved = Saved::plan("new".into(), vec!["old".into()]);
        file.save(&saved).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let back = file.load().unwrap().unwrap();
        assert_eq!((back.step, back.new_key.expose()), (Step::Install, "new"));
        assert_eq!((back.old_keys[0].expose(), back.age_s()), ("old", None));
        assert!(StateFile::lock(shown).is_err());
        saved.finish();
        file.save(&saved).unwrap();
        drop(file);
        let text = fs::read_to_string(&path).unwrap();
        assert!(!text.contains("old\"") && !text.contains("\"new\""), "{text}");
        let back = StateFile::lock(shown).unwrap().load().unwrap().unwrap();
        assert!((0..60).contains(&back.age_s().unwrap()));
        for text in ["", "[]", "{}", &text.replace("done", "use"), &text.replace(": 1", ": 2")] {
            fs::write(&path, text).unwrap();
            assert!(load(&path).is_err(), "{text}");
        }
    }
}
