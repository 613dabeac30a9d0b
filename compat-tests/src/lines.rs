//! JSON lines between a test and the program of a peer that it drives.

use std::{collections::BTreeMap, io::Write as _};

use serde_json::Value;

/// The text of a value, empty for all others.
pub fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// The texts of a list.
pub fn texts(value: &Value) -> Vec<String> {
    value.as_array().map(|all| all.iter().map(text).collect()).unwrap_or_default()
}

/// The names and texts of an object.
pub fn tags(value: &Value) -> BTreeMap<String, String> {
    let pairs = value.as_object().into_iter().flatten();
    pairs.map(|(name, value)| (name.clone(), text(value))).collect()
}

/// Prints one line for the test that drives this program, and ignores that the test may have ended.
pub fn say(value: &Value) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{value}").and_then(|()| out.flush());
}
