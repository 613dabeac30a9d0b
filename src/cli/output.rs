//! Output: lines, tables aligned like columnize's, JSON formatted like Go's `MarshalIndent`.

use std::{
    fmt::Write as _,
    io::{self, Write},
};

use serde::Serialize;

/// Prints a line to stdout.
pub(super) fn line(text: &str) {
    bytes(format!("{text}\n").as_bytes());
}

/// Prints bytes to stdout.
pub(super) fn bytes(bytes: &[u8]) {
    let mut out = io::stdout().lock();
    let written = out.write_all(bytes).and_then(|()| out.flush());
    end_if_unread(written);
}

/// Prints a line to stderr.
pub(super) fn error_line(text: &str) {
    end_if_unread(writeln!(io::stderr().lock(), "{text}"));
}

/// On a closed pipe, ends the program with SIGPIPE, as Go's runtime does for stdout and stderr;
/// otherwise `serf monitor | head -1` would not end.
fn end_if_unread(written: io::Result<()>) {
    if written.is_err_and(|error| error.kind() == io::ErrorKind::BrokenPipe) {
        // Does not return; if it did, the exit code would still report the result.
        let _ = signal_hook::low_level::emulate_default_handler(signal_hook::consts::SIGPIPE);
    }
}

/// Aligns lines of cells separated by `|` like columnize 2.1: cells are trimmed and padded by code
/// points, two spaces between columns, the last cell of a row unpadded.
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

/// JSON with two spaces of indentation, as Go's `MarshalIndent` prints it.
pub(super) fn pretty(value: &impl Serialize) -> String {
    escaped(serde_json::to_string_pretty(value))
}

/// JSON on one line, for streams of records.
pub(super) fn compact(value: &impl Serialize) -> String {
    escaped(serde_json::to_string(value))
}

/// Escapes what Go escapes for HTML and JavaScript; it only occurs in strings. Bytes that are not
/// UTF-8 become U+FFFD, which Go escapes, too.
fn escaped(json: serde_json::Result<String>) -> String {
    // Fails only for maps whose keys are not strings; there are none.
    let mut json = json.unwrap_or_default();
    for c in ['<', '>', '&', '\u{2028}', '\u{2029}', '\u{fffd}'] {
        if json.contains(c) {
            json = json.replace(c, &format!("\\u{:04x}", u32::from(c)));
        }
    }
    json
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    // parity: cli-members: members text table
    #[test]
    fn tables_are_aligned_by_code_points_and_pipes_split_cells() {
        let rows = ["a|127.0.0.2:7946|alive|p=a|b<&>", "ärger|1|failed|", "c|2|x|"];
        let rows: Vec<_> = rows.map(str::to_owned).into();
        assert_eq!(
            columns(&rows),
            "a      127.0.0.2:7946  alive   p=a  b<&>\n\
             ärger  1               failed  \n\
             c      2               x       "
        );
        assert_eq!(columns(&[]), "");
    }

    #[test]
    fn json_is_what_go_prints() {
        #[derive(Serialize)]
        struct Value {
            z: &'static str,
            a: [u8; 0],
            n: [Option<u8>; 2],
            e: BTreeMap<String, u8>,
        }
        let value = Value {
            z: "a|b<&>\u{2028}\u{fffd}\u{1}\u{8}\u{c}\u{7f}\"\\\n",
            a: [],
            n: [Some(1), None],
            e: BTreeMap::new(),
        };
        let text = "a|b\\u003c\\u0026\\u003e\\u2028\\ufffd\\u0001\\b\\f\u{7f}\\\"\\\\\\n";
        assert_eq!(
            pretty(&value),
            format!(
                "{{\n  \"z\": \"{text}\",\n  \"a\": [],\n  \"n\": [\n    1,\n    null\n  ],\n  \
                 \"e\": {{}}\n}}"
            )
        );
        assert_eq!(compact(&value.n), "[1,null]");
    }
}
