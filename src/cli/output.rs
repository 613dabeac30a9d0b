//! What is printed: lines, tables as columnize makes them, JSON as Go's `MarshalIndent` does.

use std::{
    fmt::Write as _,
    io::{self, Write},
};

/// A line on stdout.
pub(super) fn line(text: &str) {
    bytes(format!("{text}\n").as_bytes());
}

/// Bytes on stdout.
pub(super) fn bytes(bytes: &[u8]) {
    let mut out = io::stdout().lock();
    let written = out.write_all(bytes).and_then(|()| out.flush());
    end_if_unread(written);
}

/// A line on stderr.
pub(super) fn error_line(text: &str) {
    end_if_unread(writeln!(io::stderr().lock(), "{text}"));
}

/// A closed pipe ends the program by SIGPIPE, as Go's runtime does it for stdout and stderr: a
/// command like `serf monitor | head -1` would run for ever otherwise.
fn end_if_unread(written: io::Result<()>) {
    if written.is_err_and(|error| error.kind() == io::ErrorKind::BrokenPipe) {
        // Does not return; if it did, the exit code would still tell the result.
        let _ = signal_hook::low_level::emulate_default_handler(signal_hook::consts::SIGPIPE);
    }
}

/// Lines of cells separated by `|`, aligned in columns as columnize 2.1 does: cells are trimmed
/// and padded by code points, two spaces between columns, the last cell of a row unpadded.
pub(super) fn columns(lines: &[String]) -> String {
    let rows: Vec<Vec<&str>> =
        lines.iter().map(|line| line.split('|').map(str::trim).collect()).collect();
    let mut widths: Vec<usize> = Vec::new();
    for (at, cell) in rows.iter().flat_map(|row| row.iter().enumerate()) {
        let width = cell.chars().count();
        match widths.get_mut(at) {
            Some(known) => *known = width.max(*known),
            None => widths.push(width),
        }
    }
    let mut out = String::new();
    for row in &rows {
        for (at, cell) in row.iter().enumerate() {
            if at + 1 == row.len() {
                out.push_str(cell);
            } else {
                let width = widths.get(at).copied().unwrap_or(0);
                let _ = write!(out, "{cell:width$}  ");
            }
        }
        out.push('\n');
    }
    out.truncate(out.trim_end_matches('\n').len());
    out
}

/// A JSON value whose fields keep their order.
#[derive(Clone, Debug)]
pub(super) enum Json {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
    List(Vec<Json>),
    Object(Vec<(String, Json)>),
}

impl Json {
    pub(super) fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }

    pub(super) fn object<K: Into<String>>(fields: impl IntoIterator<Item = (K, Json)>) -> Self {
        Self::Object(fields.into_iter().map(|(key, value)| (key.into(), value)).collect())
    }

    /// Two spaces of indentation, Go's escapes.
    pub(super) fn pretty(&self) -> String {
        let mut out = String::new();
        self.write(&mut out, 0);
        out
    }

    /// On one line, for streams: a record a line.
    pub(super) fn compact(&self) -> String {
        let mut out = String::new();
        self.write_compact(&mut out);
        out
    }

    fn write_compact(&self, out: &mut String) {
        match self {
            Self::List(items) => {
                out.push('[');
                for (at, item) in items.iter().enumerate() {
                    out.push_str(if at > 0 { "," } else { "" });
                    item.write_compact(out);
                }
                out.push(']');
            }
            Self::Object(fields) => {
                out.push('{');
                for (at, (key, value)) in fields.iter().enumerate() {
                    out.push_str(if at > 0 { "," } else { "" });
                    quote(key, out);
                    out.push(':');
                    value.write_compact(out);
                }
                out.push('}');
            }
            Self::Null | Self::Bool(_) | Self::Int(_) | Self::Float(_) | Self::Text(_) => {
                self.write(out, 0);
            }
        }
    }

    fn write(&self, out: &mut String, depth: usize) {
        match self {
            Self::Null => out.push_str("null"),
            Self::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
            Self::Int(value) => {
                let _ = write!(out, "{value}");
            }
            Self::Float(value) => {
                let _ = write!(out, "{value}");
            }
            Self::Text(text) => quote(text, out),
            Self::List(items) if items.is_empty() => out.push_str("[]"),
            Self::Object(fields) if fields.is_empty() => out.push_str("{}"),
            Self::List(items) => {
                out.push('[');
                for (at, item) in items.iter().enumerate() {
                    next(out, at, depth + 1);
                    item.write(out, depth + 1);
                }
                end(out, depth);
                out.push(']');
            }
            Self::Object(fields) => {
                out.push('{');
                for (at, (key, value)) in fields.iter().enumerate() {
                    next(out, at, depth + 1);
                    quote(key, out);
                    out.push_str(": ");
                    value.write(out, depth + 1);
                }
                end(out, depth);
                out.push('}');
            }
        }
    }
}

fn next(out: &mut String, at: usize, depth: usize) {
    if at > 0 {
        out.push(',');
    }
    end(out, depth);
}

fn end(out: &mut String, depth: usize) {
    out.push('\n');
    out.push_str(&"  ".repeat(depth));
}

fn quote(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => {
                out.push('\\');
                out.push(c);
            }
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            // What Go escapes for HTML's and JavaScript's sake; the replacement character stands
            // for bytes that were no UTF-8, which Go escapes as well.
            '\0'..=' ' if c != ' ' => hex(c, out),
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' | '\u{fffd}' => hex(c, out),
            _ => out.push(c),
        }
    }
    out.push('"');
}

fn hex(c: char, out: &mut String) {
    let _ = write!(out, "\\u{:04x}", u32::from(c));
}

#[cfg(test)]
mod tests {
    use super::*;

    // parity: cli-members: members text table
    #[test]
    fn tables_are_aligned_by_code_points_and_pipes_split_cells() {
        let rows = ["a|127.0.0.2:7946|alive|p=a|b<&>", "ärger|1|failed|", "c|2|x|"];
        let rows: Vec<_> = rows.map(str::to_owned).into();
        assert_eq!(
            columns(&rows),
            "a      127.0.0.2:7946  alive   p=a  b<&>\närger  1               failed  \nc      2               x       "
        );
        assert_eq!(columns(&[]), "");
    }

    #[test]
    fn json_is_what_go_prints() {
        let value = Json::object([
            ("z", Json::text("a|b<&>\u{2028}\u{fffd}\u{1}\"\\\n")),
            ("a", Json::List(vec![])),
            ("n", Json::List(vec![Json::Int(1), Json::Null])),
            ("e", Json::Object(vec![])),
        ]);
        assert_eq!(
            value.pretty(),
            "{\n  \"z\": \"a|b\\u003c\\u0026\\u003e\\u2028\\ufffd\\u0001\\\"\\\\\\n\",\n  \"a\": [],\n  \
             \"n\": [\n    1,\n    null\n  ],\n  \"e\": {}\n}"
        );
    }
}
