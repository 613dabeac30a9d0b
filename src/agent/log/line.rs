//! Formats log lines.

use std::{
    cell::RefCell,
    fmt::{Display, Write as _},
    sync::Arc,
};

use jiff::Timestamp;

use super::Level;
use crate::base::printable_text;

/// A value's text on one line, cut and escaped, so that text from the network can neither start a
/// log line nor control a terminal.
pub(super) fn one_line<D: Display + ?Sized>(value: &D) -> impl Display + '_ {
    printable_text(value, LINE_BYTES_MAX)
}

/// The same for an error list in Go's form, whose items remain on separate lines.
pub(super) fn list(text: &str) -> String {
    let end = text.trim_end_matches('\n').len();
    let (items, breaks) = text.split_at(end);
    let items: Vec<_> = items.split(ITEM).map(|item| one_line(item).to_string()).collect();
    let mut list = items.join(ITEM);
    if list.len() > LIST_BYTES_MAX {
        list.truncate(list.floor_char_boundary(LIST_BYTES_MAX));
        list.push('…');
    }
    list + breaks
}

/// The lines printed by a script: the first as Go logs it, the others after a mark that no log line
/// begins with.
pub(super) fn lines(text: &str) -> String {
    let lines: Vec<_> = text.trim_end().lines().map(|line| one_line(line).to_string()).collect();
    lines.join(FURTHER_LINE)
}

/// Writes a line in the configured format.
pub(super) fn write_line(
    out: &mut String,
    json: bool,
    time: Timestamp,
    level: Level,
    component: &str,
    message: &str,
) {
    if json {
        let time = time.to_string();
        let fields = serde_json::json!({
            "time": time, "level": level.name(), "component": component, "message": message,
        });
        // Writing to memory cannot fail.
        let _ = write!(out, "{fields}");
    } else {
        STAMP.with_borrow_mut(|stamp| {
            let time = stamp.at(time);
            for part in [time, " [", level.name(), "] ", component, ": ", message] {
                out.push_str(part);
            }
        });
    }
}

/// The local time as text, formatted once a second.
struct Stamp {
    second: i64,
    text: String,
}

impl Stamp {
    fn at(&mut self, now: Timestamp) -> &str {
        if self.text.is_empty() || self.second != now.as_second() {
            let local = now.to_zoned(jiff::tz::TimeZone::system());
            self.text = local.strftime("%Y/%m/%d %H:%M:%S").to_string();
            self.second = now.as_second();
        }
        &self.text
    }
}

thread_local! {
    static STAMP: RefCell<Stamp> = const { RefCell::new(Stamp { second: 0, text: String::new() }) };
}

pub(super) fn lost_line(json: bool, lost: u64) -> Arc<str> {
    let mut line = String::new();
    let message = format!("Dropped {lost} lines to the console");
    write_line(&mut line, json, Timestamp::now(), Level::Warn, "agent", &message);
    line.into()
}

/// Most bytes of a message that are logged.
const LINE_BYTES_MAX: usize = 4 << 10;
/// Most bytes of an error list that are logged.
const LIST_BYTES_MAX: usize = 16 << 10;
/// Separator of the items of a list. Go: `hashicorp/go-multierror`.
const ITEM: &str = "\n\t* ";
/// Prefix of all lines of a script but the first.
const FURTHER_LINE: &str = "\n\t| ";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_chose_begins_no_line_and_repaints_nothing() {
        let forged = "x\n    2026/11/26 00:00:00 [ERR] serf: y\x1b[2J\r\u{202e}\u{9b}";
        let line = one_line(forged).to_string();
        assert!(!line.contains(char::is_control) && !line.contains('\u{202e}'), "{line}");
        assert!(line.contains("x\\n    2026"), "{line}");
        let long = one_line(&"y".repeat(15 << 20)).to_string();
        assert!(long.len() < LINE_BYTES_MAX + 64 && long.contains("bytes more"), "{}", long.len());
    }

    // parity: agent-obs: A script's output is logged line by line
    #[test]
    fn lines_of_a_script_are_kept_and_none_is_taken_for_one_of_the_log() {
        let forged = "one\n    2026/11/26 00:00:00 [ERR] serf: y\r\x1b[2J\n\nlast\n\n";
        let expected =
            "one\n\t|     2026/11/26 00:00:00 [ERR] serf: y\\r\\u{1b}[2J\n\t| \n\t| last";
        assert_eq!(lines(forged), expected);
        assert_eq!(lines(""), "");
    }

    #[test]
    fn stamp_follows_the_second() {
        let mut stamp = Stamp { second: 0, text: String::new() };
        let mut at = |second| stamp.at(Timestamp::from_second(second).unwrap()).to_owned();
        let (first, same, next) = (at(1_000_000_000), at(1_000_000_000), at(1_000_000_001));
        assert_eq!(first, same);
        assert!(first.ends_with(":40") && next.ends_with(":41"), "{first} {next}");
    }

    #[test]
    fn items_of_a_list_keep_their_lines_and_nothing_else_does() {
        let text = "2 errors occurred:\n\t* Failed to join a: x\ny\n\t* Failed to join b\n\n";
        let expected = "2 errors occurred:\n\t* Failed to join a: x\\ny\n\t* Failed to join b\n\n";
        assert_eq!(list(text), expected);
        assert!(list(&format!("1{}", "\n\t* x".repeat(1 << 20))).len() <= LIST_BYTES_MAX + 3);
    }
}
