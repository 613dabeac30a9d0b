//! Distributes log lines to the console, syslog, monitors and a ring of recent lines.

use std::{
    cell::Cell,
    io,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU8, Ordering},
        mpsc as sync_mpsc,
    },
    thread,
    time::Duration,
};

use jiff::Timestamp;
use tokio::sync::mpsc;
use tracing::info;

use super::{
    Level, Syslog,
    console::{Backlog, Console, write_console},
    line::{lost_line, write_line},
    recent::{Ring, received_text},
};
use crate::{driver::Name, rpc::protocol::STREAM_QUEUE};

/// Distributes log lines. Clones share it.
#[derive(Clone)]
pub(in crate::agent) struct LogHub {
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    /// Limited by `backlog`: a bounded channel would allocate all its slots at the start.
    console: sync_mpsc::Sender<Console>,
    backlog: Arc<Backlog>,
    json: bool,
    /// The most detailed level that the console or a monitor shows.
    finest: AtomicU8,
}

struct State {
    level: Level,
    ring: Ring,
    /// Lines held back until the start is complete.
    gate: Option<Vec<Arc<str>>>,
    /// Bytes of these lines.
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
        let (console, lines) = sync_mpsc::channel();
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

    /// Also sends the console's lines to syslog.
    pub(in crate::agent) fn set_syslog(&self, syslog: Syslog) {
        self.lock().syslog = Some(syslog);
    }

    /// Prints a line that is not a log line.
    pub(in crate::agent) fn print(&self, text: &str) {
        self.shared.show(Console::Raw(format!("{text}\n")));
    }

    /// Prints the lines held back; later lines are printed at once.
    pub(in crate::agent) fn open_gate(&self) {
        // While locked: lines of other threads must not overtake those held back.
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

    /// Waits until the console has printed everything, at most a second.
    pub(in crate::agent) fn flush(&self) {
        let (done, wait) = sync_mpsc::channel();
        self.shared.backlog.items.fetch_add(1, Ordering::Relaxed);
        if self.shared.console.send(Console::Flush(done)).is_ok() {
            // A suspended terminal must not prevent the agent from exiting.
            let _ = wait.recv_timeout(FLUSH_MAX);
        }
    }

    /// Returns the recent lines of at least `level`, and a queue of further lines.
    pub(in crate::agent) fn monitor(
        &self,
        level: Level,
        client: Arc<str>,
    ) -> (Vec<Arc<str>>, mpsc::Receiver<Arc<str>>) {
        let (sender, lines) = mpsc::channel(STREAM_QUEUE);
        let mut state = self.lock();
        let backlog = state.ring.at_least(level, self.shared.json);
        // Closed monitors are removed here, too, since nothing may be logged for a long time.
        state.monitors.retain(|monitor| !monitor.lines.is_closed());
        state.monitors.push(Monitor { level, lines: sender, client, losing: false });
        self.shared.note_finest(&state);
        (backlog, lines)
    }

    pub(super) fn write(&self, level: Level, component: &str, message: &str) {
        // A message that ends with a line break gets no second one.
        let message = message.strip_suffix('\n').unwrap_or(message);
        let mut text = LINE.take();
        text.clear();
        write_line(&mut text, self.shared.json, Timestamp::now(), level, component, message);
        self.distribute(level, component, message, &text);
        if text.capacity() <= LINE_KEPT_MAX {
            LINE.set(text);
        }
    }

    /// Logs that these events were received; returns whether anybody reads such lines. If not, only
    /// the names of the last ones are kept: in a flood, lines would cost as much as the events.
    pub(in crate::agent) fn received(&self, names: &mut Vec<Name>) -> bool {
        let mut state = self.lock();
        if state.monitors.is_empty() && state.level > Level::Info {
            let now = Timestamp::now();
            names.drain(..).for_each(|name| state.ring.push_received(now, name));
            return false;
        }
        drop(state);
        for name in names.drain(..) {
            info!(target: "agent", "{}", received_text(&name));
        }
        true
    }

    fn distribute(&self, level: Level, component: &str, message: &str, text: &str) {
        let mut state = self.lock();
        state.ring.push(level, text);
        if state.monitors.is_empty() && level < state.level {
            return;
        }
        let line: Arc<str> = text.into();
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

    /// The most detailed level that the console or a monitor shows.
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

    /// Queues an item for the console without waiting. Dropped lines are reported at the point of
    /// loss.
    fn show(&self, item: Console) {
        let lost = self.backlog.lost.swap(0, Ordering::Relaxed);
        if lost > 0 && self.queue(Console::Line(lost_line(self.json, lost))).is_err() {
            self.lose(lost);
        }
        if let Err(item) = self.queue(item) {
            self.lose(item.lines());
        }
    }

    /// Queues an item, limited by number and bytes; returns the item if there is no room.
    fn queue(&self, item: Console) -> Result<(), Console> {
        let Backlog { bytes, items, .. } = &*self.backlog;
        let more = item.bytes();
        let before = bytes.fetch_add(more, Ordering::Relaxed);
        let waiting = items.fetch_add(1, Ordering::Relaxed);
        let sent =
            if waiting >= CONSOLE_LINES_MAX || (before > 0 && before + more > CONSOLE_BYTES_MAX) {
                Err(item)
            } else {
                self.console.send(item).map_err(|refused| refused.0)
            };
        if sent.is_err() {
            bytes.fetch_sub(more, Ordering::Relaxed);
            items.fetch_sub(1, Ordering::Relaxed);
        }
        sent
    }

    fn lose(&self, lines: u64) {
        self.backlog.lost.fetch_add(lines, Ordering::Relaxed);
    }
}

thread_local! {
    /// Buffer for a line, so that none is allocated for each.
    static LINE: Cell<String> = const { Cell::new(String::new()) };
}

/// Largest buffer that is kept for reuse.
const LINE_KEPT_MAX: usize = 8 << 10;
/// Limit on bytes queued for a slow terminal.
const CONSOLE_BYTES_MAX: usize = 8 << 20;
/// Limit on lines queued for a slow terminal; further ones are dropped and counted.
const CONSOLE_LINES_MAX: usize = 16 << 10;
/// Longest wait for the terminal when the agent exits.
const FLUSH_MAX: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests;
