//! The files that the rules read.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use compat_tests::process::InTime as _;

/// A file of Rust code.
pub(crate) struct Source {
    /// From the root of the repository, with slashes.
    pub(crate) path: String,
    pub(crate) text: String,
}

impl Source {
    /// All of it but the tests at its end.
    pub(crate) fn before_tests(&self) -> &str {
        self.text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default()
    }

    /// Whether it holds nothing but tests.
    pub(crate) fn is_test(&self) -> bool {
        self.path.split('/').any(|part| part == "tests" || part == "tests.rs")
    }

    /// [`Self::before_tests`] without comments.
    pub(crate) fn code(&self) -> String {
        let is_code = |line: &&str| !line.trim_start().starts_with("//");
        self.before_tests().lines().filter(is_code).collect::<Vec<_>>().join("\n")
    }
}

/// All Rust files below some directories.
pub(crate) fn sources(dirs: &[&str]) -> Vec<Source> {
    let found = sources_below(&root(), dirs);
    for dir in dirs {
        assert!(found.iter().any(|file| file.path.starts_with(dir)), "no files in {dir}");
    }
    found
}

/// The same of another checkout.
pub(crate) fn sources_below(root: &Path, dirs: &[&str]) -> Vec<Source> {
    let mut sources = Vec::new();
    for path in dirs.iter().flat_map(|dir| rust_files(&root.join(dir))) {
        let text = read(&path);
        let path = path.strip_prefix(root).expect("a file of ours");
        let path = path.to_string_lossy().replace('\\', "/");
        sources.push(Source { path, text });
    }
    sources
}

/// Files that git knows.
pub(crate) fn tracked() -> Vec<String> {
    let output = Command::new("git").args(["ls-files", "-z"]).current_dir(root()).output_in_time();
    let text = String::from_utf8_lossy(&output.stdout);
    let names: Vec<_> =
        text.split('\0').filter(|name| !name.is_empty()).map(str::to_owned).collect();
    assert!(names.len() > 300, "{} files", names.len());
    names
}

/// Fails with each place that breaks `rule`, and how much.
pub(crate) fn assert_none(rule: &str, found: &BTreeMap<String, usize>) {
    let lines: Vec<_> =
        found.iter().map(|(place, count)| format!("{rule}: {place}: {count}")).collect();
    assert!(lines.is_empty(), "{}", lines.join("\n"));
}

pub(crate) fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace root").to_owned()
}

fn rust_files(dir: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(dir) else { return Vec::new() };
    let mut files = Vec::new();
    for entry in entries.filter_map(Result::ok) {
        let path = entry.path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|ext| ext == "rs") {
            files.push(path);
        }
    }
    files.sort();
    files
}
