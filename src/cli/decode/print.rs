//! Prints records as lines of text or JSON, one line each. All text from the network is escaped.

use std::fmt::{self, Write as _};

use serde::ser::{Serialize, SerializeMap as _, SerializeSeq as _, Serializer};

use super::{
    describe,
    field::{Field, Fields, Key},
    record::{Layer, Record},
};
use crate::{
    base::{printable, printable_text, repaints},
    rpc::Raw,
    wire::PushPull,
};

/// Formats a line for people and text tools.
pub(super) fn text(record: &Record<'_>, out: &mut String) {
    let seen = &record.seen;
    let _ =
        write!(out, "{} {} -> {} {}", time(seen.time_ns), seen.from, seen.to, seen.carrier.text());
    if !record.layers.is_empty() {
        let layers: Vec<_> = record.layers.iter().map(|layer| layer_text(layer, true)).collect();
        let _ = write!(out, " [{}]", layers.join(" "));
    }
    let _ = write!(out, " {}", record.kind.name());
    for (name, value) in shown(&record.fields) {
        let _ = write!(out, " {name}=");
        field(value, out);
    }
    if let Some(problem) = &record.problem {
        let _ = write!(out, " problem=\"{}\"", printable_text(problem, PROBLEM_BYTES_MAX));
    }
    out.push('\n');
}

/// Formats a JSON object on one line.
pub(super) fn json<T: Serialize>(value: &T, out: &mut String) {
    let mut bytes = std::mem::take(out).into_bytes();
    let mut serializer = serde_json::Serializer::with_formatter(&mut bytes, Escaping);
    // Neither writing to the buffer nor serializing these values can fail.
    let written = value.serialize(&mut serializer);
    debug_assert!(written.is_ok(), "{written:?}");
    bytes.push(b'\n');
    *out = String::from_utf8(bytes).unwrap_or_default();
}

/// Formats a time in RFC 3339, UTC, to the microsecond.
pub(super) fn time(time_ns: i128) -> String {
    match jiff::Timestamp::from_nanosecond(time_ns) {
        Ok(time) => format!("{time:.6}"),
        Err(_) => "-".to_owned(),
    }
}

fn shown<'f, 'a>(fields: &'f Fields<'a>) -> impl Iterator<Item = (&'static str, &'f Field<'a>)> {
    let none = |name, value: &Field<'_>| {
        value.is_empty() || matches!((name, value), ("source_port", Field::Uint(0)))
    };
    let shown = fields.0.iter().filter(move |(name, value)| !none(*name, value));
    shown.map(|(name, value)| (*name, value))
}

/// `index` adds the number of the key and of the part, for which JSON has separate fields.
fn layer_text(layer: &Layer, index: bool) -> String {
    match layer {
        Layer::Label(label) => format!("label:{}", printable(label)),
        Layer::Encrypt { version, key } if index => format!("encrypt:{version} key:{key}"),
        Layer::Encrypt { version, .. } => format!("encrypt:{version}"),
        Layer::Crc => "crc".to_owned(),
        Layer::Compress => "compress".to_owned(),
        Layer::Compound { part, parts } if index => format!("compound:{part}/{parts}"),
        Layer::Compound { parts, .. } => format!("compound:{parts}"),
    }
}

fn field(value: &Field<'_>, out: &mut String) {
    let _ = match value {
        Field::Bool(value) => write!(out, "{value}"),
        Field::Int(value) => write!(out, "{value}"),
        Field::Uint(value) => write!(out, "{value}"),
        // Coordinates are in seconds: no clock is more exact than a microsecond.
        Field::Float(value) => write!(out, "{}", (value * 1e6).round() / 1e6 + 0.0),
        Field::Node(bytes) | Field::Name(bytes) => {
            word(bytes, out);
            Ok(())
        }
        Field::Bytes(bytes) => {
            word(bytes, out);
            Ok(())
        }
        Field::Text(text) => {
            word(text.as_bytes(), out);
            Ok(())
        }
        Field::Tags(tags) => list(out, tags.iter(), |(name, value), out| {
            word(name.as_bytes(), out);
            out.push('=');
            word(value.as_bytes(), out);
        }),
        Field::Key(key) => write!(out, "<{}>", key_text(*key)),
        Field::List(values) => list(out, values.iter(), field),
        Field::Object(fields) => list(out, shown(fields), |(name, value), out| {
            let _ = write!(out, "{name}=");
            field(value, out);
        }),
        Field::Rows(rows) => list(out, rows.rows().flatten(), |row, out| {
            word(row.name, out);
            let state = STATES.get(usize::try_from(row.state).unwrap_or(usize::MAX));
            let _ = match state {
                Some(state) => write!(out, ":{state}:{}", row.incarnation.0),
                None => write!(out, ":{}:{}", row.state, row.incarnation.0),
            };
        }),
        Field::Times(times) => list(out, times.iter(), |(name, ltime), out| {
            word(name, out);
            let _ = write!(out, ":{}", ltime.0);
        }),
        Field::Nodes(nodes) => list(out, nodes.iter(), |name, out| word(name, out)),
        Field::Events(slots) => {
            let events = slots
                .iter()
                .flatten()
                .flat_map(|slot| slot.events.iter().map(|event| (slot.ltime, event.name)));
            list(out, events, |(ltime, name), out| {
                word(name, out);
                let _ = write!(out, ":{}", ltime.0);
            })
        }
    };
}

/// Formats the first values, and the number of the others.
fn list<T>(
    out: &mut String,
    values: impl Iterator<Item = T>,
    mut show: impl FnMut(T, &mut String),
) -> fmt::Result {
    out.push('{');
    let mut more = 0;
    for (at, value) in values.enumerate() {
        if at >= LISTED_MAX {
            more += 1;
            continue;
        }
        out.push_str(if at > 0 { " " } else { "" });
        show(value, out);
    }
    if more > 0 {
        write!(out, " and {more} more")?;
    }
    out.push('}');
    Ok(())
}

/// Formats bytes as one word: in quotes unless it is plain.
fn word(bytes: &[u8], out: &mut String) {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.:/%@+*,".contains(byte);
    if !bytes.is_empty() && bytes.len() <= PLAIN_BYTES_MAX && bytes.iter().all(plain) {
        out.push_str(&String::from_utf8_lossy(bytes));
        return;
    }
    let text = printable(bytes).to_string();
    let _ = write!(out, "\"{}\"", text.replace('"', "\\\""));
}

fn key_text(key: Key) -> String {
    match key.number {
        Some(number) => format!("key {number}, {} bytes", key.bytes),
        None => format!("unknown key, {} bytes", key.bytes),
    }
}

impl Serialize for Record<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        let seen = &self.seen;
        map.serialize_entry("packet", &seen.packet)?;
        map.serialize_entry("time", &time(seen.time_ns))?;
        map.serialize_entry("src", &seen.from.to_string())?;
        map.serialize_entry("dst", &seen.to.to_string())?;
        map.serialize_entry("carrier", seen.carrier.text())?;
        let layers: Vec<_> = self.layers.iter().map(|layer| layer_text(layer, false)).collect();
        map.serialize_entry("layers", &layers)?;
        for layer in self.layers {
            match layer {
                Layer::Label(label) => {
                    map.serialize_entry("label", &Field::Bytes(label.as_slice().into()))?;
                }
                Layer::Encrypt { key, .. } => map.serialize_entry("key", key)?,
                Layer::Compound { .. } | Layer::Crc | Layer::Compress => {}
            }
        }
        let part = self.layers.iter().rev().find_map(|layer| match layer {
            Layer::Compound { part, .. } => Some(part),
            _ => None,
        });
        if let Some(part) = part {
            map.serialize_entry("part", part)?;
        }
        map.serialize_entry("type", self.kind.name())?;
        map.serialize_entry("bytes", &self.bytes)?;
        map.serialize_entry("fields", &self.fields)?;
        if let Some(problem) = &self.problem {
            map.serialize_entry("problem", problem)?;
        }
        map.end()
    }
}

impl Serialize for Fields<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, value)| (name, value)))
    }
}

impl Serialize for Field<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let bytes = |bytes| Raw(bytes);
        match self {
            Self::Bool(value) => serializer.serialize_bool(*value),
            Self::Int(value) => serializer.serialize_i64(*value),
            Self::Uint(value) => serializer.serialize_u64(*value),
            Self::Float(value) => serializer.serialize_f64(*value),
            Self::Node(value) | Self::Name(value) => bytes(*value).serialize(serializer),
            Self::Bytes(value) => bytes(&**value).serialize(serializer),
            Self::Text(text) => serializer.serialize_str(text),
            Self::Tags(tags) => serializer.collect_map(tags.iter()),
            Self::Key(key) => serializer.serialize_str(&key_text(*key)),
            Self::List(values) => serializer.collect_seq(values),
            Self::Object(fields) => fields.serialize(serializer),
            Self::Rows(rows) => rows_json(rows, serializer),
            Self::Times(times) => {
                let times = times.iter().map(|(name, ltime)| {
                    [("node", Field::Node(name)), ("ltime", Field::Uint(ltime.0))]
                });
                serializer.collect_seq(times.map(|fields| Fields(fields.into())))
            }
            Self::Nodes(nodes) => serializer.collect_seq(nodes.iter().map(|name| Raw(name))),
            Self::Events(slots) => {
                let events = slots.iter().flatten().flat_map(|slot| {
                    slot.events.iter().map(|event| {
                        Fields::default()
                            .with("ltime", Field::Uint(slot.ltime.0))
                            .with("name", Field::Name(event.name))
                            .with("payload", Field::Bytes(event.payload.as_slice().into()))
                    })
                });
                serializer.collect_seq(events)
            }
        }
    }
}

fn rows_json<S: Serializer>(rows: &PushPull, serializer: S) -> Result<S::Ok, S::Error> {
    let mut list = serializer.serialize_seq(None)?;
    // The stream decoder has ensured that they are decodable.
    for row in rows.rows().flatten() {
        list.serialize_element(&describe::row(&row))?;
    }
    list.end()
}

/// A compact JSON formatter that also escapes characters that could repaint a terminal.
struct Escaping;

impl serde_json::ser::Formatter for Escaping {
    fn write_string_fragment<W: ?Sized + std::io::Write>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> std::io::Result<()> {
        let mut units = [0; 2];
        for part in fragment.split_inclusive(repaints) {
            let Some(last) = part.chars().next_back().filter(|last| repaints(*last)) else {
                writer.write_all(part.as_bytes())?;
                continue;
            };
            let plain = part.len() - last.len_utf8();
            writer.write_all(part.as_bytes().get(..plain).unwrap_or_default())?;
            for unit in last.encode_utf16(&mut units) {
                write!(writer, "\\u{unit:04x}")?;
            }
        }
        Ok(())
    }
}

/// Names of the states of a row. Go: `NodeStateType`.
const STATES: [&str; 4] = ["alive", "suspect", "dead", "left"];
/// Most values of a list in a line of text; JSON has all.
const LISTED_MAX: usize = 32;
/// Longest word without quotes.
const PLAIN_BYTES_MAX: usize = 128;
const PROBLEM_BYTES_MAX: usize = 512;
