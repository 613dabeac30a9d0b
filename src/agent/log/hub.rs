//! Distributes log lines to the console, syslog, monitors and a ring of the last lines.

use std::{
    collections::VecDeque,
    io,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU8, Ordering},
        mpsc as sync_mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use tokio::sync::mpsc;

use super::{
    Level, Syslog,
    console::{Backlog, Console, write_console},
    line::{format_line, lost_line},
};
use crate::rpc::protocol::{LOG_BACKLOG, STREAM_QUEUE};

/// Distributes log lines. Clones share it.
#[derive(Clone)]
pub(in crate::agent) struct LogHub {
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    console: sync_mpsc::SyncSender<Console>,
    backlog: Arc<Backlog>,
    json: bool,
    /// The finest level that the console or a monitor shows.
    finest: AtomicU8,
}

struct State {
    level: Level,
    ring: Ring,
    /// Lines held back until the start is over.
    gate: Option<Vec<Arc<str>>>,
    /// Their bytes.
    held_bytes: usize,
    monitors: Vec<Monitor>,
    syslog: Option<Syslog>,
}

struct Monitor {
    level: Level,
    lines: mpsc::Sender<Arc<str>>,
    client: Arc<str>,
    losing: bool,
}

impl LogHub {
    /// Starts the console's thread. Lines are held back until [`Self::open_gate`].
    pub(in crate::agent) fn start(level: Level, json: bool) -> Self {
        Self::start_on(io::stdout(), level, json)
    }

    fn start_on(out: impl io::Write + Send + 'static, level: Level, json: bool) -> Self {
        let (console, lines) = sync_mpsc::sync_channel(CONSOLE_LINES_MAX);
        let backlog: Arc<Backlog> = Arc::default();
        let shown = Arc::clone(&backlog);
        thread::spawn(move || write_console(out, &lines, &shown, json));
        let state = State {
            level,
            ring: Ring::default(),
            gate: Some(Vec::new()),
            held_bytes: 0,
            monitors: Vec::new(),
            syslog: None,
        };
        let finest = AtomicU8::new(level as u8);
        let state = Mutex::new(state);
        Self { shared: Arc::new(Shared { state, console, backlog, json, finest }) }
    }

    /// Sends what the console shows to syslog, too.
    pub(in crate::agent) fn set_syslog(&self, syslog: Syslog) {
        self.lock().syslog = Some(syslog);
    }

    /// Prints a line that is not a log line.
    pub(in crate::agent) fn print(&self, text: &str) {
        self.shared.show(Console::Raw(format!("{text}\n")));
    }

    /// Prints the lines held back, and all later ones at once.
    pub(in crate::agent) fn open_gate(&self) {
        // Under the lock, or lines of other threads would overtake those that were held.
        let mut state = self.lock();
        if let Some(held) = state.gate.take() {
            self.shared.show(Console::Held(held));
        }
    }

    /// Changes the least severe level of the console.
    pub(in crate::agent) fn set_level(&self, level: Level) {
        let mut state = self.lock();
        state.level = level;
        self.shared.note_finest(&state);
    }

    /// Waits until the console has printed everything, a second at most.
    pub(in crate::agent) fn flush(&self) {
        let deadline = Instant::now() + FLUSH_MAX;
        let (done, wait) = sync_mpsc::channel();
        let mut next = Console::Flush(done);
        // A stopped terminal must not prevent the agent from exiting.
        while let Err(refused) = self.shared.console.try_send(next) {
            match refused {
                sync_mpsc::TrySendError::Full(back) if Instant::now() < deadline => next = back,
                sync_mpsc::TrySendError::Full(_) | sync_mpsc::TrySendError::Disconnected(_) => {
                    return;
                }
            }
            thread::sleep(Duration::from_millis(10));
        }
        let _ = wait.recv_timeout(deadline.saturating_duration_since(Instant::now()));
    }

    /// The last lines of at least `level`, and a queue of the coming ones.
    pub(in crate::agent) fn monitor(
        &self,
        level: Level,
        client: Arc<str>,
    ) -> (Vec<Arc<str>>, mpsc::Receiver<Arc<str>>) {
        let (sender, lines) = mpsc::channel(STREAM_QUEUE);
        let mut state = self.lock();
        let backlog = state.ring.at_least(level);
        // Nothing may be logged for long while clients come and go.
        state.monitors.retain(|monitor| !monitor.lines.is_closed());
        state.monitors.push(Monitor { level, lines: sender, client, losing: false });
        self.shared.note_finest(&state);
        (backlog, lines)
    }

    pub(super) fn write(&self, level: Level, component: &str, message: &str) {
        // A message that brings its own line break gets no second one.
        let message = message.strip_suffix('\n').unwrap_or(message);
        let line = format_line(self.shared.json, level, component, message);
        let mut state = self.lock();
        state.ring.push(level, Arc::clone(&line));
        let mut newly_losing = Vec::new();
        let monitors = state.monitors.len();
        state.monitors.retain_mut(|monitor| {
            if level < monitor.level {
                return !monitor.lines.is_closed();
            }
            match monitor.lines.try_send(Arc::clone(&line)) {
                Ok(()) => monitor.losing = false,
                Err(mpsc::error::TrySendError::Closed(_)) => return false,
                Err(mpsc::error::TrySendError::Full(_)) if monitor.losing => {}
                Err(mpsc::error::TrySendError::Full(_)) => {
                    monitor.losing = true;
                    newly_losing.push(Arc::clone(&monitor.client));
                }
            }
            true
        });
        if state.monitors.len() < monitors {
            self.shared.note_finest(&state);
        }
        if level >= state.level {
            if let Some(syslog) = &mut state.syslog {
                syslog.send(level, &format!("{component}: {message}"));
            }
            let bytes = line.len();
            let has_room = state.held_bytes + bytes <= CONSOLE_BYTES_MAX;
            match &mut state.gate {
                Some(held) if held.len() < CONSOLE_LINES_MAX && has_room => {
                    held.push(line);
                    state.held_bytes += bytes;
                }
                Some(_) => self.shared.lose(1),
                None => self.shared.show(Console::Line(line)),
            }
        }
        drop(state);
        for client in newly_losing {
            self.write(Level::Warn, "agent.ipc", &format!("Dropping logs to ipc.client: {client}"));
        }
    }

    /// The finest level that the console or a monitor shows.
    pub(super) fn finest(&self) -> Level {
        Level::from_number(self.shared.finest.load(Ordering::Relaxed))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shared {
    fn note_finest(&self, state: &State) {
        let levels = state.monitors.iter().map(|monitor| monitor.level);
        let finest = levels.fold(state.level, Level::min);
        self.finest.store(finest as u8, Ordering::Relaxed);
    }

    /// Never waits. Lines that a slow terminal missed are reported at the point of loss.
    fn show(&self, item: Console) {
        let lost = self.backlog.lost.swap(0, Ordering::Relaxed);
        if lost > 0 && self.queue(Console::Line(lost_line(self.json, lost))).is_err() {
            self.lose(lost);
        }
        if let Err(item) = self.queue(item) {
            self.lose(item.lines());
        }
    }

    /// Bounded by number and bytes; the item is given back if there is no room.
    fn queue(&self, item: Console) -> Result<(), Console> {
        let bytes = item.bytes();
        let before = self.backlog.bytes.fetch_add(bytes, Ordering::Relaxed);
        let sent = if before > 0 && before + bytes > CONSOLE_BYTES_MAX {
            Err(item)
        } else {
            self.console.try_send(item).map_err(|refused| match refused {
                sync_mpsc::TrySendError::Full(item) => item,
                sync_mpsc::TrySendError::Disconnected(item) => item,
            })
        };
        if sent.is_err() {
            self.backlog.bytes.fetch_sub(bytes, Ordering::Relaxed);
        }
        sent
    }

    fn lose(&self, lines: u64) {
        self.backlog.lost.fetch_add(lines, Ordering::Relaxed);
    }
}

/// The last lines, for new monitors.
#[derive(Default)]
struct Ring {
    lines: VecDeque<(Level, Arc<str>)>,
    bytes: usize,
}

impl Ring {
    fn push(&mut self, level: Level, line: Arc<str>) {
        self.bytes += line.len();
        self.lines.push_back((level, line));
        while self.lines.len() > LOG_BACKLOG || self.bytes > RING_BYTES_MAX {
            let Some((_, oldest)) = self.lines.pop_front() else { return };
            self.bytes -= oldest.len();
        }
    }

    fn at_least(&self, level: Level) -> Vec<Arc<str>> {
        let passes = |(known, _): &&(Level, Arc<str>)| *known >= level;
        self.lines.iter().filter(passes).map(|(_, line)| Arc::clone(line)).collect()
    }
}

/// Bytes of the last lines.
const RING_BYTES_MAX: usize = 1 << 20;
/// Bytes queued for a slow terminal.
const CONSOLE_BYTES_MAX: usize = 8 << 20;
/// Lines queued for a slow terminal; further ones are dropped and counted.
const CONSOLE_LINES_MAX: usize = 16 << 10;
/// Longest wait for the terminal at exit.
const FLUSH_MAX: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests;
