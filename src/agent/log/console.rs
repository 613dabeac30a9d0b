//! The thread that writes to the terminal, so that nothing else waits for it.

use std::{
    io::{self, Write as _},
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
        mpsc,
    },
};

use super::line::lost_line;

/// Size of the terminal's queue, and the number of dropped lines.
#[derive(Default)]
pub(super) struct Backlog {
    /// Bytes in the queue.
    pub(super) bytes: AtomicUsize,
    /// Items in the queue.
    pub(super) items: AtomicUsize,
    /// Lines dropped and not yet reported.
    pub(super) lost: AtomicU64,
}

/// An item to print.
pub(super) enum Console {
    Line(Arc<str>),
    /// Lines held back before the gate was opened.
    Held(Vec<Arc<str>>),
    Raw(String),
    Flush(mpsc::Sender<()>),
}

impl Console {
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Line(line) => line.len(),
            Self::Held(lines) => lines.iter().map(|line| line.len()).sum(),
            Self::Raw(text) => text.len(),
            Self::Flush(_) => 0,
        }
    }

    pub(super) fn lines(&self) -> u64 {
        match self {
            Self::Line(_) | Self::Raw(_) => 1,
            Self::Held(lines) => lines.len() as u64,
            Self::Flush(_) => 0,
        }
    }
}

/// Prints the queue until the hub is dropped.
pub(super) fn write_console(
    out: impl io::Write,
    lines: &mpsc::Receiver<Console>,
    backlog: &Backlog,
    json: bool,
) {
    // A closed console must not end the agent.
    let mut out = io::BufWriter::new(out);
    while let Ok(first) = lines.recv() {
        let mut next = Some(first);
        let mut waiting = Vec::new();
        while let Some(item) = next {
            let bytes = item.bytes();
            match item {
                Console::Line(line) => drop(writeln!(out, "    {line}")),
                Console::Held(lines) => {
                    for line in lines {
                        let _ = writeln!(out, "    {line}");
                    }
                }
                Console::Raw(text) => drop(out.write_all(text.as_bytes())),
                Console::Flush(done) => waiting.push(done),
            }
            backlog.bytes.fetch_sub(bytes, Ordering::Relaxed);
            backlog.items.fetch_sub(1, Ordering::Relaxed);
            next = lines.try_recv().ok();
        }
        let _ = out.flush();
        // The queue is empty: report the dropped lines now, as no further line may follow.
        let lost = backlog.lost.swap(0, Ordering::Relaxed);
        if lost > 0 {
            let _ = writeln!(out, "    {}", lost_line(json, lost));
            let _ = out.flush();
        }
        for done in waiting {
            let _ = done.send(());
        }
    }
}
