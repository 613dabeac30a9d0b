//! Recent lines, for new monitors.

use std::{collections::VecDeque, fmt, sync::Arc};

use jiff::Timestamp;

use super::{
    Level,
    line::{one_line, write_line},
};
use crate::{driver::Name, rpc::protocol::LOG_BACKLOG};

/// The last lines of any level.
#[derive(Default)]
pub(super) struct Ring {
    lines: VecDeque<Line>,
    bytes: usize,
}

enum Line {
    Text(Level, String),
    /// That an event was received. Most of such lines are never read, and are not made.
    Received(Timestamp, Name),
}

impl Ring {
    /// Most lines are only kept here, where they reuse the buffer of the oldest.
    pub(super) fn push(&mut self, level: Level, line: &str) {
        let mut kept = match self.make_room(line.len()) {
            Some(Line::Text(_, oldest)) => oldest,
            _ => String::new(),
        };
        kept.clear();
        if kept.capacity() > line.len() + SPARE_BYTES_MAX {
            kept = String::new();
        }
        kept.reserve_exact(line.len());
        kept.push_str(line);
        self.lines.push_back(Line::Text(level, kept));
    }

    pub(super) fn push_received(&mut self, time: Timestamp, name: Name) {
        let line = Line::Received(time, name);
        self.make_room(line.bytes());
        self.lines.push_back(line);
    }

    /// Drops the oldest lines as far as needed, and counts the bytes of a new one; returns the last
    /// one dropped.
    fn make_room(&mut self, bytes: usize) -> Option<Line> {
        self.bytes += bytes;
        let mut last = None;
        while self.lines.len() >= LOG_BACKLOG || self.bytes > BYTES_MAX {
            let Some(oldest) = self.lines.pop_front() else { break };
            self.bytes -= oldest.bytes();
            last = Some(oldest);
        }
        last
    }

    /// The lines of at least `level`.
    pub(super) fn at_least(&self, level: Level, json: bool) -> Vec<Arc<str>> {
        let passes = |line: &&Line| line.level() >= level;
        self.lines.iter().filter(passes).map(|line| line.text(json)).collect()
    }
}

impl Line {
    fn level(&self) -> Level {
        match self {
            Self::Text(level, _) => *level,
            Self::Received(..) => Level::Info,
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Self::Text(_, line) => line.len(),
            Self::Received(_, Name::User(name) | Name::Query(name)) => name.as_bytes().len(),
            Self::Received(_, Name::Member(_)) => 0,
        }
    }

    fn text(&self, json: bool) -> Arc<str> {
        match self {
            Self::Text(_, line) => line.as_str().into(),
            Self::Received(time, name) => {
                let (mut line, text) = (String::new(), received_text(name));
                let message = one_line(&text).to_string();
                write_line(&mut line, json, *time, Level::Info, "agent", &message);
                line.into()
            }
        }
    }
}

/// Go's line about an event.
pub(super) fn received_text(name: &Name) -> impl fmt::Display {
    fmt::from_fn(move |f| match name {
        Name::Member(kind) => write!(f, "Received event: {kind}"),
        Name::User(name) => write!(f, "Received event: user-event: {name}"),
        Name::Query(name) => write!(f, "Received event: query: {name}"),
    })
}

/// Most unused bytes in the buffer of a line.
const SPARE_BYTES_MAX: usize = 256;
/// Limit on the bytes of recent lines.
pub(super) const BYTES_MAX: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_take_the_place_of_lines_and_lines_that_of_events() {
        let mut ring = Ring::default();
        let time = Timestamp::from_second(1_000_000_000).unwrap();
        for n in 0..2 * LOG_BACKLOG {
            ring.push(Level::Debug, &format!("line {n}"));
            ring.push_received(time, Name::User(format!("e\n{n}").as_str().into()));
        }
        let all = ring.at_least(Level::Trace, false);
        assert_eq!(all.len(), LOG_BACKLOG);
        assert_eq!(&*all[LOG_BACKLOG - 2], "line 1023");
        // What others chose begins no line.
        let last = &*all[LOG_BACKLOG - 1];
        assert!(last.ends_with(" [INFO] agent: Received event: user-event: e\\n1023"), "{last}");
        let events = ring.at_least(Level::Info, true);
        assert_eq!(events.len(), LOG_BACKLOG / 2);
        let json: serde_json::Value = serde_json::from_str(&events[0]).unwrap();
        assert_eq!(json["time"], "2001-09-09T01:46:40Z");
        assert_eq!(json["message"], "Received event: user-event: e\\n768");
        // Long names are bounded in bytes.
        for _ in 0..LOG_BACKLOG {
            ring.push_received(time, Name::Query("q".repeat(9_000).as_str().into()));
        }
        assert!(ring.bytes <= BYTES_MAX && ring.bytes > BYTES_MAX / 2, "{}", ring.bytes);
        assert_eq!(ring.at_least(Level::Info, false).len(), BYTES_MAX / 9_000);
    }
}
