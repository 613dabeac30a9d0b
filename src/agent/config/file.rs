//! Reads configuration files and flags.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde_json::{Map, Value};
use zeroize::Zeroizing;

use super::{
    FileConfig, KEYS,
    mistakes::{Mistakes, not_an_object},
};
use crate::{
    agent::AgentError,
    base::{
        go_json::{self, ParseError},
        go_net,
    },
};

impl FileConfig {
    /// Reads files, and the `.json` files of directories by name, in order.
    ///
    /// # Errors
    /// The first mistake.
    pub fn read_all<P: AsRef<Path>>(paths: &[P]) -> Result<Self, AgentError> {
        let mut config = Self::default();
        for path in paths {
            for file in files_of(path.as_ref())? {
                let bytes = fs::read(&file).map_err(|error| unreadable(&file, &error))?;
                let decoded = Self::decode(&Zeroizing::new(bytes));
                let path = file.to_string_lossy().into_owned();
                config.merge(decoded.map_err(|reason| AgentError::Decode { path, reason })?);
            }
        }
        Ok(config)
    }

    /// Decodes one file.
    ///
    /// # Errors
    /// What is wrong with the file, in words close to Go's.
    pub fn decode(bytes: &[u8]) -> Result<Self, String> {
        // Go's decoder stops after the first value and ignores the rest.
        let bytes = go_json::readable(bytes);
        let value = match go_json::parse(&bytes) {
            Ok(value) => value,
            Err(ParseError::TooDeep) => return Err("exceeded max depth".to_owned()),
            Err(_) if bytes.iter().all(u8::is_ascii_whitespace) => return Err("EOF".to_owned()),
            Err(ParseError::Malformed(error)) if error.is_eof() => {
                return Err("unexpected EOF".to_owned());
            }
            Err(ParseError::Malformed(error)) => return Err(error.to_string()),
        };
        let mut config = Self::default();
        let mut mistakes = Mistakes::new(KEYS);
        match value {
            Value::Null => {}
            Value::Object(fields) => config.object("", fields, &mut mistakes),
            other => return Err(not_an_object("", &other)),
        }
        mistakes.verdict()?;
        Ok(config)
    }

    /// Reads the settings from flags: `given` returns the values of a flag, empty if it is absent.
    ///
    /// # Errors
    /// The first mistake, in Go's words.
    pub fn from_flags(given: impl Fn(&str) -> Vec<String>) -> Result<Self, AgentError> {
        let mut config = Self::default();
        for (key, field) in KEYS.iter().zip(config.fields_mut()) {
            if key.flag.is_empty() {
                continue;
            }
            let given = given(key.flag);
            if !given.is_empty() {
                field.set(key, &given)?;
            }
        }
        Ok(config)
    }

    /// The value of a setting as written in a file, if it is set; durations in nanoseconds.
    pub fn value(&self, name: &str) -> Option<Value> {
        let mut values = KEYS.iter().zip(self.fields());
        values.find(|(key, _)| key.name == name)?.1.value()
    }

    /// Each setting takes the field with exactly its name, else one that differs only in case;
    /// other fields are unknown. Go: mapstructure's `decodeStructFromMap`.
    fn object(&mut self, prefix: &str, mut fields: Map<String, Value>, mistakes: &mut Mistakes) {
        let mut take = |name: &str| {
            fields.remove(name).or_else(|| {
                let other = fields.keys().find(|other| go_json::equal_fold(name, other))?.clone();
                fields.remove(&other)
            })
        };
        for (key, field) in KEYS.iter().zip(self.fields_mut()) {
            let Some(name) = key.name.strip_prefix(prefix) else { continue };
            if name.contains('.') {
                continue;
            }
            // Null means unset.
            if let Some(value) = take(name).filter(|value| !value.is_null()) {
                field.decode(key, value, mistakes);
            }
        }
        let inner = if prefix.is_empty() { take("mdns") } else { None };
        match inner {
            None | Some(Value::Null) => {}
            Some(Value::Object(inner)) => self.object("mdns.", inner, mistakes),
            Some(other) => mistakes.object("mdns", &other),
        }
        for (name, _) in fields {
            mistakes.unknown(prefix, name);
        }
    }
}

/// File names need not be UTF-8.
fn files_of(path: &Path) -> Result<Vec<PathBuf>, AgentError> {
    let read = |error| unreadable(path, &error);
    if !fs::metadata(path).map_err(read)?.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut names = Vec::new();
    for entry in fs::read_dir(path).map_err(read)? {
        let entry = entry.map_err(read)?;
        let name = entry.file_name();
        let is_dir = entry.file_type().map_err(read)?.is_dir();
        if name.as_encoded_bytes().ends_with(b".json") && !is_dir {
            names.push(name);
        }
    }
    names.sort();
    Ok(names.into_iter().map(|name| path.join(name)).collect())
}

fn unreadable(path: &Path, error: &std::io::Error) -> AgentError {
    let path = path.to_string_lossy().into_owned();
    let reason = format!("open {path}: {}", go_net::error_text(error));
    AgentError::Read { path, reason }
}

#[cfg(test)]
mod tests {
    use super::{super::Shape, *};
    use crate::base::go_duration::GoDuration;

    fn decode(text: &str) -> Result<FileConfig, String> {
        FileConfig::decode(text.as_bytes())
    }

    // parity: agent-config: JSON config file
    // parity: agent-config: Case-insensitive keys
    #[test]
    fn every_key_is_accepted_in_any_case() {
        for key in KEYS {
            let value = match key.shape {
                Shape::Text | Shape::Secret => r#""x""#,
                Shape::Flag | Shape::Switch | Shape::Ignored => "true",
                Shape::Int | Shape::Version => "7.9",
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
        assert_eq!(config.node_name.as_deref(), Some("a"));
        assert_eq!(config.tags["x"].as_str(), "1");
        assert_eq!(config.tags["y"].as_str(), "2");
        assert_eq!(config.start_join, ["a", "b"]);
        assert!(config.replay_on_join);
        assert_eq!(config.protocol, Some(4));
        assert_eq!(config.enable_compression, Some(true));
        assert_eq!(config.broadcast_timeout, Some(GoDuration(7_000_000_000)));
    }

    #[test]
    fn mistakes_name_the_key() {
        for (text, message) in [
            ("", "EOF"),
            (r#"{"a":"#, "unexpected EOF"),
            ("[1]", "'' expected a map or struct, got \"slice\""),
            (r#"{"retry_interval":"5"}"#, "time: missing unit in duration \"5\""),
            (r#"{"retry_interval":"abc"}"#, "time: invalid duration \"abc\""),
            (
                r#"{"zzz":1,"bogus_key":1}"#,
                "decoding failed due to the following error(s):\n\n\
                 'agent.Config' has invalid keys: bogus_key, zzz",
            ),
            (
                r#"{"node_name":5}"#,
                "decoding failed due to the following error(s):\n\n\
                 'node_name' expected type 'string', got unconvertible type 'float64'",
            ),
            (
                r#"{"leave_on_terminate":"true"}"#,
                "decoding failed due to the following error(s):\n\n\
                 'leave_on_terminate' expected type 'bool', got unconvertible type 'string'",
            ),
            (
                r#"{"tags":{"a":1}}"#,
                "decoding failed due to the following error(s):\n\n\
                 'tags[a]' expected type 'string', got unconvertible type 'float64'",
            ),
            (
                r#"{"event_handlers":"x"}"#,
                "decoding failed due to the following error(s):\n\n\
                 'event_handlers' source data must be an array or slice, got string",
            ),
            (
                r#"{"mdns":{"x":1}}"#,
                "decoding failed due to the following error(s):\n\n\
                 'mdns' has invalid keys: x",
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
        assert_eq!(config.start_join, ["", "a"]);
        assert_eq!((config.bind, config.protocol), (None, None));
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
        assert_eq!(decode(r#"{"BiND":"x"}"#).unwrap().bind.as_deref(), Some("x"));
        assert_eq!(decode(r#"{"bind":"x","bind":"y"}"#).unwrap().bind.as_deref(), Some("y"));
    }

    #[test]
    fn odd_numbers_become_integers_as_in_go() {
        let number = |text: &str| {
            decode(&format!(r#"{{"retry_max_attempts":{text}}}"#)).unwrap().retry_max_attempts
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
        let config = FileConfig::read_all(&[dir.path()]).unwrap();
        assert_eq!(config.node_name.as_deref(), Some("b"));
        assert_eq!(config.role.as_deref(), Some("r"));
        assert_eq!(config.bind.as_deref(), Some("h"));
        let error = FileConfig::read_all(&["/nonexistent"]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "Error reading '/nonexistent': open /nonexistent: no such file or directory"
        );
    }
}
