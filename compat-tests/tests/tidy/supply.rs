//! The table of direct dependencies says what Cargo.toml and their sources say.

use std::{collections::BTreeMap, fs, path::Path, process::Command};

use compat_tests::process::InTime as _;
use serde_json::Value;

use super::sources::{read, root};

#[test]
fn the_table_of_dependencies_is_true() {
    let page = read(&root().join("docs/dependencies.md"));
    let rows = page.lines().filter(|line| line.starts_with("| `"));
    let said: BTreeMap<_, _> = rows
        .map(|row| {
            let cells: Vec<_> = row.trim_matches('|').split(" | ").map(str::trim).collect();
            assert!(cells.len() == 6 && cells.iter().all(|cell| !cell.is_empty()), "{row}");
            (cells[0].trim_matches('`').to_owned(), (cells[4].to_owned(), cells[5].to_owned()))
        })
        .collect();
    assert_eq!(said, direct_dependencies());
}

/// Name → licence, and whether there is unsafe code.
fn direct_dependencies() -> BTreeMap<String, (String, String)> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version=1", "--offline", "--all-features"])
        .current_dir(root())
        .output_in_time();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let list = |value: &Value| value.as_array().expect("a list").clone();
    let packages: BTreeMap<_, _> =
        list(&metadata["packages"]).into_iter().map(|of| (of["id"].to_string(), of)).collect();
    let ours = packages.values().find(|of| of["name"] == "ruserf").expect("this crate");
    let nodes = list(&metadata["resolve"]["nodes"]);
    let node = nodes.iter().find(|node| node["id"] == ours["id"]).expect("its dependencies");
    let is_used = |of: &Value| list(&of["dep_kinds"]).iter().any(|kind| kind["kind"].is_null());
    list(&node["deps"])
        .iter()
        .filter(|of| is_used(of))
        .map(|of| {
            let package = &packages[&of["pkg"].to_string()];
            let text = |key: &str| package[key].as_str().expect("a text").to_owned();
            let manifest = text("manifest_path");
            let sources = Path::new(&manifest).with_file_name("src");
            let unsafe_ = if has_unsafe(&sources) { "yes" } else { "none" };
            (text("name"), (text("license"), unsafe_.to_owned()))
        })
        .collect()
}

fn has_unsafe(dir: &Path) -> bool {
    let entries = fs::read_dir(dir).expect("the sources of a crate");
    entries.filter_map(Result::ok).map(|entry| entry.path()).any(|path| {
        if path.is_dir() {
            return has_unsafe(&path);
        }
        let text = fs::read_to_string(&path).unwrap_or_default();
        text.lines().any(|line| {
            let code = line.split("//").next().unwrap_or_default();
            let mut words = code.split(|c: char| !c.is_alphanumeric() && c != '_' && c != '{');
            words.any(|word| word == "unsafe")
                && ["unsafe {", "unsafe fn", "unsafe impl"].iter().any(|form| code.contains(form))
        })
    })
}
