//! Configuration files and flags as they were written, before they are validated.
//! Go: `cmd/serf/command/agent/config.go`.

use std::{collections::BTreeMap, fmt, fs, path::Path};

use serde::Deserialize as _;
use serde_json::Value;
use zeroize::{Zeroize as _, Zeroizing};

use super::AgentError;
use crate::base::{go_duration, go_json, go_net};

/// One setting of a configuration file.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// Its name; files may write it in any case.
    pub name: &'static str,
    /// What it takes.
    pub shape: Shape,
}

/// What a setting takes, and with it how later sources change earlier ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Text; a later one replaces it unless empty.
    Text,
    /// True is never undone by a later source.
    Flag,
    /// True or false; the last source counts.
    Switch,
    /// Number; a later one replaces it unless zero.
    Int,
    /// Duration in Go's form; a later one replaces it unless zero.
    Duration,
    /// List; a later one is appended.
    List,
    /// Names and values; merged by name.
    Map,
    /// Accepted as Go does, and without effect, as in Go.
    Ignored,
}

/// Everything a configuration file may set, in Go's order. `mdns.*` stand inside an object `mdns`.
pub const KEYS: &[Key] = &[
    key("node_name", Shape::Text),
    key("role", Shape::Text),
    key("disable_coordinates", Shape::Flag),
    key("tags", Shape::Map),
    key("tags_file", Shape::Text),
    key("bind", Shape::Text),
    key("advertise", Shape::Text),
    key("encrypt_key", Shape::Text),
    key("keyring_file", Shape::Text),
    key("log_level", Shape::Text),
    key("rpc_addr", Shape::Text),
    key("rpc_auth", Shape::Text),
    key("protocol", Shape::Int),
    key("replay_on_join", Shape::Flag),
    key("query_response_size_limit", Shape::Int),
    key("query_size_limit", Shape::Int),
    key("user_event_size_limit", Shape::Int),
    key("start_join", Shape::List),
    key("event_handlers", Shape::List),
    key("profile", Shape::Text),
    key("snapshot_path", Shape::Text),
    key("leave_on_terminate", Shape::Flag),
    key("skip_leave_on_interrupt", Shape::Flag),
    key("discover", Shape::Text),
    key("mdns.interface", Shape::Text),
    key("mdns.disable_ipv4", Shape::Flag),
    key("mdns.disable_ipv6", Shape::Flag),
    key("interface", Shape::Text),
    key("reconnect_interval", Shape::Duration),
    key("reconnect_timeout", Shape::Duration),
    key("tombstone_timeout", Shape::Duration),
    key("disable_name_resolution", Shape::Flag),
    key("enable_syslog", Shape::Flag),
    key("syslog_facility", Shape::Text),
    key("retry_join", Shape::List),
    key("retry_max_attempts", Shape::Int),
    key("retry_interval", Shape::Duration),
    key("rejoin_after_leave", Shape::Flag),
    key("enable_compression", Shape::Switch),
    key("statsite_addr", Shape::Text),
    key("statsd_addr", Shape::Text),
    key("broadcast_timeout", Shape::Duration),
    key("validate_node_names", Shape::Flag),
    key("msgpackusenewtimeformat", Shape::Ignored),
    // What Go's agent does not have, under memberlist's names where it has them.
    key("label", Shape::Text),
    key("dead_node_reclaim_time", Shape::Duration),
    key("cidrs_allowed", Shape::List),
    key("gossip_interval", Shape::Duration),
    key("gossip_nodes", Shape::Int),
    key("gossip_to_the_dead_time", Shape::Duration),
    key("probe_interval", Shape::Duration),
    key("probe_timeout", Shape::Duration),
    key("push_pull_interval", Shape::Duration),
    key("tcp_timeout", Shape::Duration),
    key("indirect_checks", Shape::Int),
    key("retransmit_mult", Shape::Int),
    key("suspicion_mult", Shape::Int),
    key("log_json", Shape::Flag),
    key("handler_timeout", Shape::Duration),
    key("handler_concurrency", Shape::Int),
];

const fn key(name: &'static str, shape: Shape) -> Key {
    Key { name, shape }
}

/// Settings as written, by key.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct FileConfig {
    texts: BTreeMap<&'static str, String>,
    bools: BTreeMap<&'static str, bool>,
    /// Numbers, and durations in nanoseconds.
    numbers: BTreeMap<&'static str, i64>,
    lists: BTreeMap<&'static str, Vec<String>>,
    /// Tags.
    pub tags: BTreeMap<String, String>,
}

/// Without secrets.
impl fmt::Debug for FileConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let texts = self.texts.iter().filter(|(key, _)| !SECRETS.contains(key));
        f.debug_struct("FileConfig")
            .field("texts", &texts.collect::<Vec<_>>())
            .field("bools", &self.bools)
            .field("numbers", &self.numbers)
            .field("lists", &self.lists)
            .field("tags", &self.tags)
            .finish_non_exhaustive()
    }
}

impl Drop for FileConfig {
    fn drop(&mut self) {
        for key in SECRETS {
            if let Some(text) = self.texts.get_mut(key) {
                text.zeroize();
            }
        }
    }
}

/// Texts that are wiped and not shown.
const SECRETS: [&str; 2] = ["encrypt_key", "rpc_auth"];

impl FileConfig {
    /// Reads files, and the `.json` files of directories by name, in order.
    ///
    /// # Errors
    /// The first mistake.
    pub fn read_all(paths: &[String]) -> Result<Self, AgentError> {
        let mut config = Self::default();
        for path in paths {
            for file in files_of(path)? {
                let bytes = fs::read(&file).map_err(|error| AgentError::Read {
                    path: file.clone(),
                    reason: format!("open {file}: {}", go_net::error_text(&error)),
                })?;
                let decoded = Self::decode(&Zeroizing::new(bytes));
                config.merge(
                    decoded.map_err(|reason| AgentError::Decode { path: file.clone(), reason })?,
                );
            }
        }
        Ok(config)
    }

    /// Decodes one file.
    ///
    /// # Errors
    /// What is wrong, in words close to Go's.
    pub fn decode(bytes: &[u8]) -> Result<Self, String> {
        // Go's decoder stops after the first value; what follows is nobody's business.
        let bytes = go_json::readable(bytes);
        let value = match Value::deserialize(&mut serde_json::Deserializer::from_slice(&bytes)) {
            Ok(value) => value,
            Err(_) if bytes.iter().all(u8::is_ascii_whitespace) => return Err("EOF".to_owned()),
            Err(error) if error.is_eof() => return Err("unexpected EOF".to_owned()),
            Err(error) => return Err(error.to_string()),
        };
        let mut config = Self::default();
        let mut mistakes = Mistakes::default();
        match value {
            Value::Null => {}
            Value::Object(fields) => config.object("", fields, &mut mistakes),
            other => {
                return Err(format!("'' expected a map or struct, got \"{}\"", go_kind(&other)));
            }
        }
        mistakes.verdict()?;
        Ok(config)
    }

    /// Each setting takes the field of its very name, else one that differs in case alone; a
    /// second one is as unknown as any other. Go: mapstructure's `decodeStructFromMap`.
    fn object(
        &mut self,
        prefix: &str,
        mut fields: serde_json::Map<String, Value>,
        mistakes: &mut Mistakes,
    ) {
        let mut take = |name: &str| {
            fields.remove(name).or_else(|| {
                let other = fields.keys().find(|other| go_json::equal_fold(name, other))?.clone();
                fields.remove(&other)
            })
        };
        for key in KEYS {
            let Some(name) = key.name.strip_prefix(prefix) else { continue };
            if name.contains('.') {
                continue;
            }
            // Null is as good as nothing.
            if let Some(value) = take(name).filter(|value| !value.is_null()) {
                self.set(key, value, mistakes);
            }
        }
        let inner = if prefix.is_empty() { take("mdns") } else { None };
        match inner {
            None | Some(Value::Null) => {}
            Some(Value::Object(inner)) => self.object("mdns.", inner, mistakes),
            Some(other) => {
                let kind = go_kind(&other);
                let text = format!("'mdns' expected a map or struct, got \"{kind}\"");
                mistakes.wrong("mdns.", text);
            }
        }
        for (name, _) in fields {
            mistakes.unknown(prefix, name);
        }
    }

    fn set(&mut self, key: &Key, value: Value, mistakes: &mut Mistakes) {
        let name = key.name;
        match (key.shape, value) {
            (Shape::Text, Value::String(text)) => drop(self.texts.insert(name, text)),
            (Shape::Flag | Shape::Switch, Value::Bool(value)) => {
                self.bools.insert(name, value);
            }
            (Shape::Int, Value::Number(number)) => {
                self.numbers.insert(name, go_int(number.as_f64().unwrap_or(0.0)));
            }
            (Shape::Duration, Value::String(text)) if text.is_empty() => {}
            (Shape::Duration, Value::String(text)) => match go_duration::parse(&text) {
                Ok(ns) => drop(self.numbers.insert(name, ns)),
                Err(error) => mistakes.duration(name, error.to_string()),
            },
            (Shape::List, Value::Array(items)) => {
                let mut list = Vec::new();
                for (at, item) in items.into_iter().enumerate() {
                    match item {
                        Value::String(text) => list.push(text),
                        Value::Null => list.push(String::new()),
                        other => mistakes.shape(&format!("{name}[{at}]"), "string", &other),
                    }
                }
                self.lists.insert(name, list);
            }
            (Shape::Map, Value::Object(fields)) => {
                for (tag, value) in fields {
                    match value {
                        Value::String(text) => drop(self.tags.insert(tag, text)),
                        Value::Null => drop(self.tags.insert(tag, String::new())),
                        other => mistakes.shape(&format!("{name}[{tag}]"), "string", &other),
                    }
                }
            }
            (Shape::Ignored, Value::Bool(_)) => {}
            (Shape::List, other) => {
                let kind = go_kind(&other);
                let text = format!("'{name}' source data must be an array or slice, got {kind}");
                mistakes.wrong(name, text);
            }
            (Shape::Map, other) => mistakes.shape(name, "map[string]string", &other),
            (Shape::Text | Shape::Duration, other) => mistakes.shape(name, "string", &other),
            (Shape::Flag | Shape::Switch, other) => mistakes.shape(name, "bool", &other),
            // It has no name for files in Go, whose own shows.
            (Shape::Ignored, other) => mistakes.shape("MsgpackUseNewTimeFormat", "bool", &other),
            (Shape::Int, other) => mistakes.shape(name, "int", &other),
        }
    }

    /// Adds what a later source says, by each setting's rule.
    pub fn merge(&mut self, mut later: Self) {
        self.texts.extend(
            std::mem::take(&mut later.texts).into_iter().filter(|(_, text)| !text.is_empty()),
        );
        // Go takes a negative protocol for none; other negative numbers count.
        let counts = |(name, number): &(&str, i64)| {
            if *name == "protocol" { *number > 0 } else { *number != 0 }
        };
        self.numbers.extend(std::mem::take(&mut later.numbers).into_iter().filter(counts));
        for (name, value) in std::mem::take(&mut later.bools) {
            let last_counts = KEYS.iter().any(|key| key.name == name && key.shape == Shape::Switch);
            if value || last_counts {
                self.bools.insert(name, value);
            }
        }
        for (name, list) in std::mem::take(&mut later.lists) {
            self.lists.entry(name).or_default().extend(list);
        }
        self.tags.extend(std::mem::take(&mut later.tags));
    }

    /// Sets a text from a flag.
    pub fn set_text(&mut self, name: &'static str, text: impl Into<String>) {
        self.texts.insert(name, text.into());
    }

    /// Sets a boolean from a flag.
    pub fn set_bool(&mut self, name: &'static str, value: bool) {
        self.bools.insert(name, value);
    }

    /// Sets a number, or a duration in nanoseconds, from a flag.
    pub fn set_number(&mut self, name: &'static str, number: i64) {
        self.numbers.insert(name, number);
    }

    /// Sets a list from a flag.
    pub fn set_list(&mut self, name: &'static str, list: Vec<String>) {
        self.lists.insert(name, list);
    }

    /// A text that was set to something.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.texts.get(name).map(String::as_str).filter(|text| !text.is_empty())
    }

    /// A boolean that was set.
    pub fn bool(&self, name: &str) -> Option<bool> {
        self.bools.get(name).copied()
    }

    /// A number or duration that was set to something.
    pub fn number(&self, name: &str) -> Option<i64> {
        self.numbers.get(name).copied().filter(|number| *number != 0)
    }

    /// A list.
    pub fn list(&self, name: &str) -> &[String] {
        self.lists.get(name).map(Vec::as_slice).unwrap_or_default()
    }
}

/// All mistakes of a file are reported at once, in the order of [`KEYS`], as Go does.
#[derive(Default)]
struct Mistakes {
    /// With the place of the setting among all.
    wrong: Vec<(usize, String)>,
    unknown: BTreeMap<String, Vec<String>>,
    /// Durations are read once all else is right.
    durations: Vec<(usize, String)>,
}

impl Mistakes {
    fn wrong(&mut self, name: &str, text: String) {
        let setting = name.split('[').next().unwrap_or_default();
        let is_it =
            |key: &Key| key.name.eq_ignore_ascii_case(setting) || key.name.starts_with(name);
        let at = KEYS.iter().position(is_it);
        self.wrong.push((at.unwrap_or(usize::MAX), text));
    }

    fn duration(&mut self, name: &str, text: String) {
        let at = KEYS.iter().position(|key| key.name == name);
        self.durations.push((at.unwrap_or(usize::MAX), text));
    }

    fn shape(&mut self, name: &str, expected: &str, got: &Value) {
        let kind = go_type(got);
        let text = format!("'{name}' expected type '{expected}', got unconvertible type '{kind}'");
        self.wrong(name, text);
    }

    fn unknown(&mut self, prefix: &str, name: String) {
        self.unknown.entry(prefix.trim_end_matches('.').to_owned()).or_default().push(name);
    }

    fn verdict(mut self) -> Result<(), String> {
        for (place, mut names) in std::mem::take(&mut self.unknown) {
            names.sort();
            // Go names its own type where the place has no name.
            let (at, shown) = match place.as_str() {
                "" => (usize::MAX, "agent.Config"),
                place => {
                    let at = KEYS.iter().rposition(|key| key.name.starts_with(place));
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
        // Stable: what is unknown comes behind the settings of its place.
        self.wrong.sort_by_key(|(at, _)| *at);
        let lines: Vec<_> = self.wrong.iter().map(|(_, text)| text.as_str()).collect();
        Err(format!("decoding failed due to the following error(s):\n\n{}", lines.join("\n")))
    }
}

fn files_of(path: &str) -> Result<Vec<String>, AgentError> {
    let read = |error: std::io::Error| AgentError::Read {
        path: path.to_owned(),
        reason: format!("open {path}: {}", go_net::error_text(&error)),
    };
    if !fs::metadata(path).map_err(read)?.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut names = Vec::new();
    for entry in fs::read_dir(path).map_err(read)? {
        let entry = entry.map_err(read)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let is_dir = entry.file_type().map_err(read)?.is_dir();
        if name.ends_with(".json") && !is_dir {
            names.push(name);
        }
    }
    names.sort();
    let full = |name: String| Path::new(path).join(name).to_string_lossy().into_owned();
    Ok(names.into_iter().map(full).collect())
}

/// Go reads a JSON number as a float and truncates it; what does not fit is the least integer, as
/// the processor gives it.
fn go_int(number: f64) -> i64 {
    let number = number.trunc();
    // 2^63 is the first that does not fit.
    if number >= 9_223_372_036_854_775_808.0 { i64::MIN } else { number as i64 }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(text: &str) -> Result<FileConfig, String> {
        FileConfig::decode(text.as_bytes())
    }

    // parity: agent-config: JSON config file
    // parity: agent-config: Case-insensitive keys
    #[test]
    fn every_key_is_accepted_in_any_case() {
        for key in KEYS {
            let value = match key.shape {
                Shape::Text => r#""x""#,
                Shape::Flag | Shape::Switch | Shape::Ignored => "true",
                Shape::Int => "7.9",
                Shape::Duration => r#""7s""#,
                Shape::List => r#"["x"]"#,
                Shape::Map => r#"{"a":"b"}"#,
            };
            let name = key.name.to_uppercase();
            let text = match name.split_once('.') {
                Some((outer, inner)) => format!(r#"{{"{outer}":{{"{inner}":{value}}}}}"#),
                None => format!(r#"{{"{name}":{value}}} trailing"#),
            };
            let config = decode(&text).unwrap();
            let set = config != FileConfig::default();
            assert_eq!(set, key.shape != Shape::Ignored, "{name}");
        }
    }

    // parity: agent-config: Merge semantics
    #[test]
    fn later_sources_change_earlier_ones_by_the_rule_of_each_shape() {
        let mut config = decode(
            r#"{"node_name":"a","tags":{"x":"1","y":"1"},"start_join":["a"],"replay_on_join":true,
               "protocol":4,"enable_compression":false,"broadcast_timeout":"7s"}"#,
        )
        .unwrap();
        let later = r#"{"node_name":"","tags":{"y":"2"},"start_join":["b"],"replay_on_join":false,
            "protocol":-1,"enable_compression":true,"broadcast_timeout":"0s"}"#;
        config.merge(decode(later).unwrap());
        assert_eq!(config.text("node_name"), Some("a"));
        assert_eq!(config.tags["x"].as_str(), "1");
        assert_eq!(config.tags["y"].as_str(), "2");
        assert_eq!(config.list("start_join"), ["a", "b"]);
        assert_eq!(config.bool("replay_on_join"), Some(true));
        assert_eq!(config.number("protocol"), Some(4));
        assert_eq!(config.bool("enable_compression"), Some(true));
        assert_eq!(config.number("broadcast_timeout"), Some(7_000_000_000));
    }

    #[test]
    fn mistakes_are_told_with_the_key() {
        for (text, message) in [
            ("", "EOF"),
            (r#"{"a":"#, "unexpected EOF"),
            ("[1]", "'' expected a map or struct, got \"slice\""),
            (r#"{"retry_interval":"5"}"#, "time: missing unit in duration \"5\""),
            (r#"{"retry_interval":"abc"}"#, "time: invalid duration \"abc\""),
            (
                r#"{"zzz":1,"bogus_key":1}"#,
                "decoding failed due to the following error(s):\n\n'agent.Config' has invalid keys: bogus_key, zzz",
            ),
            (
                r#"{"node_name":5}"#,
                "decoding failed due to the following error(s):\n\n'node_name' expected type 'string', got unconvertible type 'float64'",
            ),
            (
                r#"{"leave_on_terminate":"true"}"#,
                "decoding failed due to the following error(s):\n\n'leave_on_terminate' expected type 'bool', got unconvertible type 'string'",
            ),
            (
                r#"{"tags":{"a":1}}"#,
                "decoding failed due to the following error(s):\n\n'tags[a]' expected type 'string', got unconvertible type 'float64'",
            ),
            (
                r#"{"event_handlers":"x"}"#,
                "decoding failed due to the following error(s):\n\n'event_handlers' source data must be an array or slice, got string",
            ),
            (
                r#"{"mdns":{"x":1}}"#,
                "decoding failed due to the following error(s):\n\n'mdns' has invalid keys: x",
            ),
        ] {
            assert_eq!(decode(text).unwrap_err(), message);
        }
        assert_eq!(decode("null"), Ok(FileConfig::default()));
    }

    #[test]
    fn null_is_nothing_or_empty() {
        let config = decode(
            r#"{"bind":null,"mdns":null,"tags":{"role":null,"dc":"e"},"start_join":[null,"a"],
               "protocol":null,"event_handlers":null}"#,
        )
        .unwrap();
        assert_eq!((config.tags["role"].as_str(), config.tags["dc"].as_str()), ("", "e"));
        assert_eq!(config.list("start_join"), ["", "a"]);
        assert_eq!((config.text("bind"), config.number("protocol")), (None, None));
    }

    #[test]
    fn text_that_is_no_utf8_is_replaced() {
        let config = FileConfig::decode(b"{\"tags\":{\"city\":\"M\xfcn\\udc00\"}}").unwrap();
        assert_eq!(config.tags["city"], "M\u{fffd}n\u{fffd}");
    }

    #[test]
    fn the_field_of_the_very_name_counts_and_others_are_unknown() {
        let error = decode(r#"{"BIND":"x","bind":"y","Bind":"z"}"#).unwrap_err();
        assert!(error.ends_with("'agent.Config' has invalid keys: BIND, Bind"), "{error}");
        assert_eq!(decode(r#"{"BiND":"x"}"#).unwrap().text("bind"), Some("x"));
        assert_eq!(decode(r#"{"bind":"x","bind":"y"}"#).unwrap().text("bind"), Some("y"));
    }

    #[test]
    fn odd_numbers_become_integers_as_in_go() {
        let number = |text: &str| {
            decode(&format!(r#"{{"retry_max_attempts":{text}}}"#))
                .unwrap()
                .number("retry_max_attempts")
        };
        for (text, expected) in [
            ("7.9", Some(7)),
            ("-7.9", Some(-7)),
            ("1e3", Some(1000)),
            ("-0.5", None),
            ("1e300", Some(i64::MIN)),
            ("-1e300", Some(i64::MIN)),
            ("9223372036854775807", Some(i64::MIN)),
            ("123456789012345680", Some(123_456_789_012_345_680)),
        ] {
            assert_eq!(number(text), expected, "{text}");
        }
    }

    // parity: agent-config: config-dir ordering
    #[test]
    fn directories_give_their_json_files_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(dir.path().join(name), text).unwrap();
        write("b.json", r#"{"node_name":"b"}"#);
        write("a.json", r#"{"node_name":"a","role":"r"}"#);
        write("c.conf", "not looked at");
        write(".hidden.json", r#"{"bind":"h"}"#);
        fs::create_dir(dir.path().join("d.json")).unwrap();
        let config = FileConfig::read_all(&[dir.path().to_str().unwrap().to_owned()]).unwrap();
        assert_eq!(config.text("node_name"), Some("b"));
        assert_eq!(config.text("role"), Some("r"));
        assert_eq!(config.text("bind"), Some("h"));
        let error = FileConfig::read_all(&["/nonexistent".to_owned()]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "Error reading '/nonexistent': open /nonexistent: no such file or directory"
        );
    }
}
