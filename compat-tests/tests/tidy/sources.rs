//! The files that the rules read, and the list of what broke a rule before the rule came.

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
    let root = root();
    let mut sources = Vec::new();
    for dir in dirs {
        let before = sources.len();
        for path in rust_files(&root.join(dir)) {
            let text = read(&path);
            let path = path.strip_prefix(&root).expect("a file of ours");
            let path = path.to_string_lossy().replace('\\', "/");
            sources.push(Source { path, text });
        }
        assert!(sources.len() > before, "no files in {dir}");
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

/// Fails for each place that breaks `rule`, unless tidy-baseline.txt allows it as much or more; and
/// for each place there that has become good, so that the list only shrinks.
pub(crate) fn only_as_before(rule: &str, found: &BTreeMap<String, usize>) {
    let allowed = allowed(rule);
    let is_more =
        |(place, count): &(&String, &usize)| allowed.get(*place).is_none_or(|most| *count > most);
    let mut wrong: Vec<_> = found
        .iter()
        .filter(is_more)
        .map(|(place, count)| format!("{rule}\t{place}\t{count}"))
        .collect();
    for place in allowed.keys().filter(|place| !found.contains_key(*place)) {
        wrong.push(format!("{rule}\t{place}: is good now; take it out of {BASELINE}"));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What the baseline allows: places, and how much in each.
pub(crate) fn allowed(rule: &str) -> BTreeMap<String, usize> {
    let list = read(&root().join("compat-tests").join(BASELINE));
    let mut allowed = BTreeMap::new();
    for line in list.lines().filter(|line| !line.starts_with('#')) {
        let [of, place, most] = line.split('\t').collect::<Vec<_>>()[..] else {
            panic!("{BASELINE}: {line:?}");
        };
        if of == rule {
            allowed.insert(place.to_owned(), most.parse().expect("a number"));
        }
    }
    allowed
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

const BASELINE: &str = "tidy-baseline.txt";
