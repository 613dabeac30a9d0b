//! A trace of recent events, in fixed columns.

use std::fmt::Write as _;

/// Kind of a traced event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum What {
    Sent,
    Lost,
    Received,
    Stream,
    Fault(&'static str),
}

#[derive(Clone, Copy, Debug)]
struct Line {
    at: u64,
    node: u32,
    what: What,
    peer: u32,
    bytes: usize,
}

/// A ring of the last lines; disabled (capacity zero) by default.
pub(crate) struct Trace {
    lines: Vec<Line>,
    next: usize,
    capacity: usize,
}

impl Trace {
    pub(crate) fn new(capacity: usize) -> Self {
        Self { lines: Vec::new(), next: 0, capacity }
    }

    pub(crate) fn add(&mut self, at: u64, node: u32, what: What, peer: u32, bytes: usize) {
        if self.capacity == 0 {
            return;
        }
        let line = Line { at, node, what, peer, bytes };
        if self.lines.len() < self.capacity {
            self.lines.push(line);
        } else {
            self.lines[self.next] = line;
        }
        self.next = (self.next + 1) % self.capacity;
    }

    /// Formats the lines of several traces by time: seconds (15 columns), node (7), what (10), peer
    /// (7), bytes (8).
    pub(crate) fn print<'a>(traces: impl Iterator<Item = &'a Self>) -> String {
        let mut lines: Vec<_> = traces.flat_map(|trace| trace.lines.iter().copied()).collect();
        lines.sort_by_key(|line| (line.at, line.node));
        let mut out = String::new();
        for line in lines {
            let what = match line.what {
                What::Sent => "send",
                What::Lost => "lost",
                What::Received => "receive",
                What::Stream => "stream",
                What::Fault(name) => name,
            };
            let (whole, part) = (line.at / 1_000_000_000, line.at % 1_000_000_000 / 1_000);
            let peer = if line.peer == u32::MAX { "-".to_owned() } else { line.peer.to_string() };
            let _ = writeln!(
                out,
                "{whole:>8}.{part:06} {:>6} {what:<10}{peer:>6} {:>7}",
                line.node, line.bytes
            );
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_the_last_lines_and_prints_them_in_columns() {
        let mut trace = Trace::new(2);
        trace.add(1, 1, What::Lost, 2, 3);
        trace.add(12_000_345_000, 10, What::Sent, 20, 131);
        trace.add(12_000_345_000, 9, What::Fault("crash"), u32::MAX, 0);
        let text = Trace::print([&trace].into_iter());
        assert_eq!(
            text,
            "      12.000345      9 crash          -       0\n\
             \x20     12.000345     10 send          20     131\n"
        );
    }
}
