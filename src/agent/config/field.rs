//! Decodes, sets and merges the values of each shape.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::{
    key::{Key, Shape},
    mistakes::Mistakes,
};
use crate::{
    agent::AgentError,
    base::{
        Secret,
        go_duration::{self, GoDuration},
        go_number,
    },
};

/// A value of [`super::FileConfig`].
pub(super) trait Field {
    /// Decodes the value in a file.
    fn decode(&mut self, key: &Key, value: Value, mistakes: &mut Mistakes);

    /// Sets the values of a flag, which may be repeated. The command line has checked the syntax of
    /// numbers and booleans.
    fn set(&mut self, key: &Key, given: &[String]) -> Result<(), AgentError>;

    /// Merges the value of a later source.
    fn merge(&mut self, shape: Shape, later: Self)
    where
        Self: Sized;

    /// The value as written in a file, if it is set; durations in nanoseconds.
    fn value(&self) -> Option<Value>;
}

impl Field for Option<String> {
    fn decode(&mut self, key: &Key, value: Value, mistakes: &mut Mistakes) {
        match value {
            Value::String(text) => *self = Some(text).filter(|text| !text.is_empty()),
            other => mistakes.shape(key.name, "string", &other),
        }
    }

    fn set(&mut self, _: &Key, given: &[String]) -> Result<(), AgentError> {
        *self = given.last().filter(|text| !text.is_empty()).cloned();
        Ok(())
    }

    fn merge(&mut self, _: Shape, later: Self) {
        *self = later.or(self.take());
    }

    fn value(&self) -> Option<Value> {
        self.clone().map(Value::String)
    }
}

impl Field for Option<Secret> {
    fn decode(&mut self, key: &Key, value: Value, mistakes: &mut Mistakes) {
        match value {
            Value::String(text) => {
                *self = Some(Secret::from(text)).filter(|secret| !secret.is_empty());
            }
            other => mistakes.shape(key.name, "string", &other),
        }
    }

    fn set(&mut self, _: &Key, given: &[String]) -> Result<(), AgentError> {
        let last = given.last().map(|text| Secret::from(text.as_str()));
        *self = last.filter(|secret| !secret.is_empty());
        Ok(())
    }

    fn merge(&mut self, _: Shape, later: Self) {
        *self = later.or(self.take());
    }

    fn value(&self) -> Option<Value> {
        self.as_ref().map(|secret| secret.expose().into())
    }
}

impl Field for bool {
    fn decode(&mut self, key: &Key, value: Value, mistakes: &mut Mistakes) {
        match value {
            Value::Bool(value) => *self = value,
            other => mistakes.shape(key.name, "bool", &other),
        }
    }

    fn set(&mut self, _: &Key, given: &[String]) -> Result<(), AgentError> {
        *self = given.last().and_then(|text| go_number::parse_bool(text)).unwrap_or(false);
        Ok(())
    }

    fn merge(&mut self, _: Shape, later: Self) {
        *self |= later;
    }

    fn value(&self) -> Option<Value> {
        self.then_some(Value::Bool(true))
    }
}

impl Field for Option<bool> {
    fn decode(&mut self, key: &Key, value: Value, mistakes: &mut Mistakes) {
        match value {
            Value::Bool(value) => *self = Some(value),
            other => mistakes.shape(key.name, "bool", &other),
        }
    }

    fn set(&mut self, _: &Key, given: &[String]) -> Result<(), AgentError> {
        *self = given.last().and_then(|text| go_number::parse_bool(text)).map(|off| !off);
        Ok(())
    }

    fn merge(&mut self, _: Shape, later: Self) {
        *self = later.or(*self);
    }

    fn value(&self) -> Option<Value> {
        self.map(Value::Bool)
    }
}

impl Field for Option<i64> {
    fn decode(&mut self, key: &Key, value: Value, mistakes: &mut Mistakes) {
        match value {
            Value::Number(number) => {
                let number = truncated(number.as_f64().unwrap_or(0.0));
                *self = Some(number).filter(|number| *number != 0);
            }
            other => mistakes.shape(key.name, "int", &other),
        }
    }

    fn set(&mut self, _: &Key, given: &[String]) -> Result<(), AgentError> {
        // Go's default -1 means "not given".
        let number = given.last().and_then(|text| go_number::parse_int(text).ok());
        *self = number.filter(|number| *number > 0);
        Ok(())
    }

    fn merge(&mut self, shape: Shape, later: Self) {
        // Go ignores a negative protocol version; other negative numbers are effective.
        let later = later.filter(|number| *number > 0 || shape != Shape::Version);
        *self = later.or(*self);
    }

    fn value(&self) -> Option<Value> {
        self.map(Value::from)
    }
}

impl Field for Option<GoDuration> {
    fn decode(&mut self, key: &Key, value: Value, mistakes: &mut Mistakes) {
        match value {
            Value::String(text) if text.is_empty() => {}
            Value::String(text) => match go_duration::parse(&text) {
                Ok(ns) => *self = Some(GoDuration(ns)).filter(|time| time.0 != 0),
                Err(error) => mistakes.duration(key.name, error.to_string()),
            },
            other => mistakes.shape(key.name, "string", &other),
        }
    }

    fn set(&mut self, _: &Key, given: &[String]) -> Result<(), AgentError> {
        let Some(text) = given.last().filter(|text| !text.is_empty()) else { return Ok(()) };
        let ns = go_duration::parse(text)
            .map_err(|error| AgentError::Invalid(format!("Error: {error}")))?;
        *self = Some(GoDuration(ns)).filter(|time| time.0 != 0);
        Ok(())
    }

    fn merge(&mut self, _: Shape, later: Self) {
        *self = later.or(*self);
    }

    fn value(&self) -> Option<Value> {
        self.map(|time| time.0.into())
    }
}

impl Field for Vec<String> {
    fn decode(&mut self, key: &Key, value: Value, mistakes: &mut Mistakes) {
        let Value::Array(items) = value else { return mistakes.list(key.name, &value) };
        for (at, item) in items.into_iter().enumerate() {
            match item {
                Value::String(text) => self.push(text),
                Value::Null => self.push(String::new()),
                other => mistakes.shape(&format!("{}[{at}]", key.name), "string", &other),
            }
        }
    }

    fn set(&mut self, _: &Key, given: &[String]) -> Result<(), AgentError> {
        *self = given.to_vec();
        Ok(())
    }

    fn merge(&mut self, _: Shape, later: Self) {
        self.extend(later);
    }

    fn value(&self) -> Option<Value> {
        (!self.is_empty()).then(|| self.clone().into())
    }
}

impl Field for BTreeMap<String, String> {
    fn decode(&mut self, key: &Key, value: Value, mistakes: &mut Mistakes) {
        let Value::Object(fields) = value else {
            return mistakes.shape(key.name, "map[string]string", &value);
        };
        for (name, value) in fields {
            match value {
                Value::String(text) => drop(self.insert(name, text)),
                Value::Null => drop(self.insert(name, String::new())),
                other => mistakes.shape(&format!("{}[{name}]", key.name), "string", &other),
            }
        }
    }

    fn set(&mut self, _: &Key, given: &[String]) -> Result<(), AgentError> {
        *self = parse_tags(given).map_err(AgentError::Invalid)?;
        Ok(())
    }

    fn merge(&mut self, _: Shape, later: Self) {
        self.extend(later);
    }

    fn value(&self) -> Option<Value> {
        let fields = self.iter().map(|(name, text)| (name.clone(), text.as_str().into()));
        (!self.is_empty()).then(|| Value::Object(fields.collect::<Map<_, _>>()))
    }
}

impl Field for () {
    fn decode(&mut self, _: &Key, value: Value, mistakes: &mut Mistakes) {
        if !value.is_boolean() {
            // Go has no name for this setting in files and shows the field's name.
            mistakes.shape("MsgpackUseNewTimeFormat", "bool", &value);
        }
    }

    fn set(&mut self, _: &Key, _: &[String]) -> Result<(), AgentError> {
        Ok(())
    }

    fn merge(&mut self, _: Shape, (): Self) {}

    fn value(&self) -> Option<Value> {
        None
    }
}

/// Parses the tags of flags: `NAME=VALUE`.
///
/// # Errors
/// Go's text for the first one that is malformed.
pub fn parse_tags(given: &[String]) -> Result<BTreeMap<String, String>, String> {
    let pair = |text: &String| {
        let (name, value) = text.split_once('=').filter(|(name, _)| !name.is_empty())?;
        Some((name.to_owned(), value.to_owned()))
    };
    given.iter().map(|text| pair(text).ok_or(format!("Error: Invalid tag: '{text}'"))).collect()
}

/// Go reads a JSON number as a float and truncates it; if it does not fit, the result is the
/// smallest integer, as on amd64.
fn truncated(number: f64) -> i64 {
    let number = number.trunc();
    // 2^63 is the smallest number that does not fit.
    if number >= 9_223_372_036_854_775_808.0 { i64::MIN } else { number as i64 }
}
