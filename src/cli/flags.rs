//! Go's flag syntax, parsed with tables of flags.
//!
//! `-name value`, `-name=value` and the same with two dashes are equivalent; booleans accept a
//! value only after `=`; parsing ends at the first argument that is not a flag, or after `--`.

use std::{collections::BTreeMap, ffi::OsString, os::unix::ffi::OsStringExt as _};

use crate::base::{error_texts, go_duration, go_number};

/// A flag, for the parser, the help text, completions and the manual.
#[derive(Clone, Copy, Debug)]
pub struct Flag {
    /// Name without dashes.
    pub name: &'static str,
    /// Type of the value.
    pub kind: Kind,
    /// Default, or a placeholder for the value, in help texts.
    pub value: &'static str,
    /// Description, in a sentence or more.
    pub help: &'static str,
}

/// Type of a flag's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// No value, or `=true` and the like.
    Bool,
    /// Text; if repeated, the last one is used.
    Text,
    /// Text; may be repeated, all are used.
    List,
    /// An integer, in Go's notations.
    Int,
    /// A decimal number.
    Float,
    /// A Go duration.
    Duration,
}

/// Parsed arguments.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parsed {
    /// The positional arguments as given; they need not be UTF-8.
    pub raw: Vec<Vec<u8>>,
    /// Arguments that are not UTF-8: the text derived from each, and its bytes.
    pub non_utf8: Vec<(String, Vec<u8>)>,
    values: BTreeMap<&'static str, Vec<String>>,
    /// Flags with their values, in the order given.
    pub order: Vec<(&'static str, String)>,
    /// The positional arguments as text.
    pub positionals: Vec<String>,
}

impl Flag {
    /// Description, and whether the flag may be repeated.
    pub(super) fn about(&self) -> String {
        let repeatable = if self.kind == Kind::List { " Repeatable." } else { "" };
        format!("{}{repeatable}", self.help)
    }
}

impl Parsed {
    /// The value of a flag as given on the command line.
    pub fn original(&self, text: &str) -> OsString {
        let non_utf8 = self.non_utf8.iter().find(|(known, _)| known == text);
        non_utf8.map_or_else(|| text.into(), |(_, bytes)| OsString::from_vec(bytes.clone()))
    }

    /// The first positional argument as given on the command line.
    pub fn raw_name(&self) -> &[u8] {
        self.raw.first().map(Vec::as_slice).unwrap_or_default()
    }
}

/// Why arguments were refused; the texts are Go's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ParseError {
    /// The flag does not exist.
    Undefined(String),
    /// The value is missing.
    NeedsArgument(String),
    /// The value cannot be parsed.
    Invalid {
        /// The value.
        value: String,
        /// The flag.
        flag: String,
        /// `parse error` or `value out of range`.
        reason: &'static str,
    },
    /// The value of a boolean cannot be parsed.
    Boolean {
        /// The value.
        value: String,
        /// The flag.
        flag: String,
    },
    /// Malformed, such as `---x` or `-=x`.
    Syntax(String),
    /// Help was requested after `--`, where the dispatcher does not look for it.
    Help,
}

error_texts! {
    ParseError {
        Self::Undefined(text) => "flag provided but not defined: -{text}";
        Self::NeedsArgument(text) => "flag needs an argument: -{text}";
        Self::Invalid { value, flag, reason } =>
            "invalid value {value:?} for flag -{flag}: {reason}";
        Self::Boolean { value, flag } => "invalid boolean value {value:?} for -{flag}: parse error";
        Self::Syntax(text) => "bad flag syntax: {text}";
        Self::Help => "flag: help requested";
    }
}

impl std::error::Error for ParseError {}

/// Parses `args` with the tables.
///
/// # Errors
/// See [`ParseError`].
pub(super) fn parse(tables: &[&'static [Flag]], args: &[String]) -> Result<Parsed, ParseError> {
    let mut parsed = Parsed::default();
    let mut args = args.iter();
    while let Some(arg) = args.as_slice().first() {
        let Some(body) = arg.strip_prefix('-').filter(|body| !body.is_empty()) else { break };
        args.next();
        if arg == "--" {
            break;
        }
        let body = body.strip_prefix('-').unwrap_or(body);
        if body.is_empty() || body.starts_with(['-', '=']) {
            return Err(ParseError::Syntax(arg.clone()));
        }
        let (name, inline) = match body.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (body, None),
        };
        let Some(flag) = tables.iter().copied().flatten().find(|flag| flag.name == name) else {
            let help = name == "h" || name == "help";
            return Err(if help { ParseError::Help } else { ParseError::Undefined(name.into()) });
        };
        let value = match (flag.kind, inline) {
            (_, Some(value)) => value,
            (Kind::Bool, None) => "true".to_owned(),
            (_, None) => {
                args.next().ok_or_else(|| ParseError::NeedsArgument(name.to_owned()))?.clone()
            }
        };
        check(flag, &value)?;
        parsed.order.push((flag.name, value.clone()));
        parsed.values.entry(flag.name).or_default().push(value);
    }
    parsed.positionals = args.cloned().collect();
    Ok(parsed)
}

fn check(flag: &Flag, value: &str) -> Result<(), ParseError> {
    let invalid = |reason| ParseError::Invalid {
        value: value.to_owned(),
        flag: flag.name.to_owned(),
        reason,
    };
    match flag.kind {
        Kind::Bool => match go_number::parse_bool(value) {
            Some(_) => Ok(()),
            None => Err(ParseError::Boolean { value: value.into(), flag: flag.name.into() }),
        },
        Kind::Int => go_number::parse_int(value).map(drop).map_err(invalid),
        Kind::Float => go_number::parse_float(value).map(drop).map_err(invalid),
        Kind::Duration => go_duration::parse(value).map(drop).map_err(|_| invalid("parse error")),
        Kind::Text | Kind::List => Ok(()),
    }
}

impl Parsed {
    /// The last value of a flag.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.values.get(name)?.last().map(String::as_str)
    }

    /// All values of a flag.
    pub fn list(&self, name: &str) -> Vec<String> {
        self.values.get(name).cloned().unwrap_or_default()
    }

    /// A boolean that is false unless given.
    pub fn bool(&self, name: &str) -> bool {
        self.text(name).and_then(go_number::parse_bool).unwrap_or(false)
    }

    /// An integer.
    pub fn int(&self, name: &str) -> Option<i64> {
        self.text(name).and_then(|text| go_number::parse_int(text).ok())
    }

    /// A decimal number.
    pub fn float(&self, name: &str) -> Option<f64> {
        self.text(name).and_then(|text| go_number::parse_float(text).ok())
    }

    /// A duration in nanoseconds.
    pub fn duration(&self, name: &str) -> Option<i64> {
        self.text(name).and_then(|text| go_duration::parse(text).ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &[Flag] = &[
        Flag { name: "b", kind: Kind::Bool, value: "", help: "" },
        Flag { name: "text", kind: Kind::Text, value: "", help: "" },
        Flag { name: "l", kind: Kind::List, value: "", help: "" },
        Flag { name: "n", kind: Kind::Int, value: "", help: "" },
        Flag { name: "d", kind: Kind::Duration, value: "", help: "" },
    ];

    fn parsed(line: &str) -> Result<Parsed, ParseError> {
        let args: Vec<_> = line.split(' ').map(str::to_owned).collect();
        parse(&[TABLE], &args)
    }

    #[test]
    fn all_forms_of_a_flag_are_equal_and_the_last_one_wins() {
        for line in ["-text a -text b", "-text=b", "--text b", "--text=b"] {
            assert_eq!(parsed(line).unwrap().text("text"), Some("b"), "{line}");
        }
        assert_eq!(parsed("-l a --l=b=c").unwrap().list("l"), ["a", "b=c"]);
        assert_eq!(parsed("-text=").unwrap().text("text"), Some(""));
        assert_eq!(parsed("-text -b").unwrap().text("text"), Some("-b"));
    }

    // parity: cli: Go flag syntax (-f v, -f=v, --f, bools, stop at positional)
    #[test]
    fn parsing_stops_at_the_first_positional() {
        let args = parsed("-b false -text x").unwrap();
        assert!(args.bool("b"));
        assert_eq!(args.positionals, ["false", "-text", "x"]);
        assert_eq!(parsed("-b=F -- -b").unwrap().positionals, ["-b"]);
        assert_eq!(parsed("- -b").unwrap().positionals, ["-", "-b"]);
    }

    #[test]
    fn mistakes_have_the_texts_of_go() {
        for (line, text) in [
            ("-bogus", "flag provided but not defined: -bogus"),
            ("--bogus=1", "flag provided but not defined: -bogus"),
            ("-text", "flag needs an argument: -text"),
            ("-n x", "invalid value \"x\" for flag -n: parse error"),
            ("-d 5", "invalid value \"5\" for flag -d: parse error"),
            ("-b=maybe", "invalid boolean value \"maybe\" for -b: parse error"),
            ("---b", "bad flag syntax: ---b"),
            ("-=b", "bad flag syntax: -=b"),
        ] {
            assert_eq!(parsed(line).unwrap_err().to_string(), text);
        }
    }
}
