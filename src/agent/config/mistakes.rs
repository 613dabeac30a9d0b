//! Collects the mistakes in a file, in Go's order and words. Go: mapstructure.

use std::collections::BTreeMap;

use serde_json::Value;

use super::key::Key;

/// The mistakes in a file, which are all reported at once, in the order of the table, as in Go.
pub(super) struct Mistakes {
    keys: &'static [Key],
    /// Text and position of the setting in the table.
    wrong: Vec<(usize, String)>,
    unknown: BTreeMap<String, Vec<String>>,
    /// Reported only if everything else was accepted: Go parses durations afterwards.
    durations: Vec<(usize, String)>,
}

impl Mistakes {
    pub(super) fn new(keys: &'static [Key]) -> Self {
        Self { keys, wrong: Vec::new(), unknown: BTreeMap::new(), durations: Vec::new() }
    }

    /// Records a value of the wrong type.
    pub(super) fn shape(&mut self, name: &str, expected: &str, got: &Value) {
        let kind = go_type(got);
        let text = format!("'{name}' expected type '{expected}', got unconvertible type '{kind}'");
        self.wrong(name, text);
    }

    /// Records a value that is not a list.
    pub(super) fn list(&mut self, name: &str, got: &Value) {
        let kind = go_kind(got);
        let text = format!("'{name}' source data must be an array or slice, got {kind}");
        self.wrong(name, text);
    }

    /// Records a value that is not an object. `name` is empty for the file itself.
    pub(super) fn object(&mut self, name: &str, got: &Value) {
        self.wrong(&format!("{name}."), not_an_object(name, got));
    }

    pub(super) fn duration(&mut self, name: &str, text: String) {
        let at = self.keys.iter().position(|key| key.name == name);
        self.durations.push((at.unwrap_or(usize::MAX), text));
    }

    pub(super) fn unknown(&mut self, prefix: &str, name: String) {
        self.unknown.entry(prefix.trim_end_matches('.').to_owned()).or_default().push(name);
    }

    fn wrong(&mut self, name: &str, text: String) {
        let setting = name.split('[').next().unwrap_or_default();
        let is_it =
            |key: &Key| key.name.eq_ignore_ascii_case(setting) || key.name.starts_with(name);
        let at = self.keys.iter().position(is_it);
        self.wrong.push((at.unwrap_or(usize::MAX), text));
    }

    /// Returns the error text, if there was a mistake.
    pub(super) fn verdict(mut self) -> Result<(), String> {
        for (place, mut names) in std::mem::take(&mut self.unknown) {
            names.sort();
            // For the file itself Go shows the name of its type.
            let (at, shown) = match place.as_str() {
                "" => (usize::MAX, "agent.Config"),
                place => {
                    let at = self.keys.iter().rposition(|key| key.name.starts_with(place));
                    (at.unwrap_or(usize::MAX), place)
                }
            };
            self.wrong.push((at, format!("'{shown}' has invalid keys: {}", names.join(", "))));
        }
        if self.wrong.is_empty() {
            return match self.durations.into_iter().min() {
                Some((_, text)) => Err(text),
                None => Ok(()),
            };
        }
        // A stable sort: unknown keys follow the settings of their object.
        self.wrong.sort_by_key(|(at, _)| *at);
        let lines: Vec<_> = self.wrong.iter().map(|(_, text)| text.as_str()).collect();
        Err(format!("decoding failed due to the following error(s):\n\n{}", lines.join("\n")))
    }
}

/// Go's text for a value that should be an object.
pub(super) fn not_an_object(name: &str, got: &Value) -> String {
    format!("'{name}' expected a map or struct, got \"{}\"", go_kind(got))
}

fn go_kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "nil",
        Value::Bool(_) => "bool",
        Value::Number(_) => "float64",
        Value::String(_) => "string",
        Value::Array(_) => "slice",
        Value::Object(_) => "map",
    }
}

fn go_type(value: &Value) -> &'static str {
    match value {
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => go_kind(value),
    }
}
