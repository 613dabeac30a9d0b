//! The agent's log: lines in Go's format to the console, to monitors and to a ring of the last
//! ones.

use std::{
    collections::VecDeque,
    fmt::{self, Write as _},
    io::{self, Write as _},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
        mpsc as sync_mpsc,
    },
    thread,
    time::Duration,
};

use tokio::sync::mpsc;
use tracing::{Event, Metadata, Subscriber, field::Visit, subscriber::Interest};
use tracing_subscriber::{Layer, layer::Context, prelude::*};

use super::syslog::Syslog;
use crate::rpc::protocol::{LOG_BACKLOG, STREAM_QUEUE};

/// Go's log levels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Each message.
    Trace,
    /// Odd things.
    Debug,
    /// Membership and lifecycle.
    Info,
    /// Degraded.
    Warn,
    /// An operator must act.
    Err,
}

/// As messages list them.
pub(super) const VALID_LEVELS: &str = "[TRACE DEBUG INFO WARN ERR]";

impl Level {
    /// The level of an upper-case name.
    pub(super) fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "TRACE" => Self::Trace,
            "DEBUG" => Self::Debug,
            "INFO" => Self::Info,
            "WARN" => Self::Warn,
            "ERR" => Self::Err,
            _ => return None,
        })
    }

    fn name(self) -> &'static str {
        match self {
            Self::Trace => "TRACE",
            Self::Debug => "DEBUG",
            Self::Info => "INFO",
            Self::Warn => "WARN",
            Self::Err => "ERR",
        }
    }
}

impl From<tracing::Level> for Level {
    fn from(level: tracing::Level) -> Self {
        match level {
            tracing::Level::TRACE => Self::Trace,
            tracing::Level::DEBUG => Self::Debug,
            tracing::Level::INFO => Self::Info,
            tracing::Level::WARN => Self::Warn,
            tracing::Level::ERROR => Self::Err,
        }
    }
}

/// Where all lines go. Clones share it.
#[derive(Clone)]
pub(super) struct LogHub {
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    console: sync_mpsc::SyncSender<Console>,
    lost: AtomicU64,
    json: bool,
}

struct State {
    level: Level,
    ring: VecDeque<(Level, Arc<str>)>,
    /// Lines held back until the start is over.
    gate: Option<Vec<Arc<str>>>,
    monitors: Vec<Monitor>,
    syslog: Option<Syslog>,
}

struct Monitor {
    level: Level,
    lines: mpsc::Sender<Arc<str>>,
    client: Arc<str>,
    losing: bool,
}

enum Console {
    Line(Arc<str>),
    Raw(String),
    Flush(sync_mpsc::Sender<()>),
}

/// Lines that wait for a slow terminal; beyond that they are counted and dropped.
const CONSOLE_LINES_MAX: usize = 16 << 10;

impl LogHub {
    /// Starts the console's thread. Lines are held back until [`Self::open_gate`].
    pub(super) fn start(level: Level, json: bool) -> Self {
        let (console, lines) = sync_mpsc::sync_channel(CONSOLE_LINES_MAX);
        thread::spawn(move || write_console(&lines));
        let state = State {
            level,
            ring: VecDeque::with_capacity(LOG_BACKLOG),
            gate: Some(Vec::new()),
            monitors: Vec::new(),
            syslog: None,
        };
        let lost = AtomicU64::new(0);
        Self { shared: Arc::new(Shared { state: Mutex::new(state), console, lost, json }) }
    }

    /// Sends what the console shows to syslog, too.
    pub(super) fn set_syslog(&self, syslog: Syslog) {
        self.lock().syslog = Some(syslog);
    }

    /// Makes this the process's log.
    pub(super) fn install(&self) {
        let layer = tracing_subscriber::registry().with(AgentLayer { hub: self.clone() });
        // A second agent in one process logs to the first one's console.
        let _ = tracing::subscriber::set_global_default(layer);
    }

    /// Prints a line that is no log line. Waits for a slow terminal: only for the start and end.
    pub(super) fn print(&self, text: &str) {
        let _ = self.shared.console.send(Console::Raw(format!("{text}\n")));
    }

    /// Ends the holding back.
    pub(super) fn open_gate(&self) {
        let held = self.lock().gate.take().unwrap_or_default();
        for line in held {
            let _ = self.shared.console.send(Console::Line(line));
        }
    }

    /// Changes the console's least level.
    pub(super) fn set_level(&self, level: Level) {
        self.lock().level = level;
    }

    /// Waits until the console has printed everything, a second at most.
    pub(super) fn flush(&self) {
        let (done, wait) = sync_mpsc::channel();
        if self.shared.console.send(Console::Flush(done)).is_ok() {
            let _ = wait.recv_timeout(Duration::from_secs(1));
        }
    }

    /// The last lines of at least `level`, and a queue of the coming ones.
    pub(super) fn monitor(
        &self,
        level: Level,
        client: Arc<str>,
    ) -> (Vec<Arc<str>>, mpsc::Receiver<Arc<str>>) {
        let (sender, lines) = mpsc::channel(STREAM_QUEUE);
        let mut state = self.lock();
        let passes = |(known, _): &&(Level, Arc<str>)| *known >= level;
        let backlog = state.ring.iter().filter(passes).map(|(_, line)| Arc::clone(line)).collect();
        state.monitors.push(Monitor { level, lines: sender, client, losing: false });
        (backlog, lines)
    }

    fn write(&self, level: Level, component: &str, message: &str) {
        // A message that brings its own line break gets no second one.
        let message = message.strip_suffix('\n').unwrap_or(message);
        let line: Arc<str> = if self.shared.json {
            let time = jiff::Timestamp::now().to_string();
            let fields = serde_json::json!({
                "time": time, "level": level.name(), "component": component, "message": message,
            });
            fields.to_string().into()
        } else {
            let time = jiff::Zoned::now().strftime("%Y/%m/%d %H:%M:%S").to_string();
            format!("{time} [{}] {component}: {message}", level.name()).into()
        };
        let mut state = self.lock();
        if state.ring.len() == LOG_BACKLOG {
            state.ring.pop_front();
        }
        state.ring.push_back((level, Arc::clone(&line)));
        let mut newly_losing = Vec::new();
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
        if level >= state.level {
            if let Some(syslog) = &mut state.syslog {
                syslog.send(level, &format!("{component}: {message}"));
            }
            match &mut state.gate {
                Some(held) if held.len() < CONSOLE_LINES_MAX => held.push(line),
                Some(_) => {}
                None => self.shared.show(line),
            }
        }
        drop(state);
        for client in newly_losing {
            self.write(Level::Warn, "agent.ipc", &format!("Dropping logs to ipc.client: {client}"));
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shared {
    fn show(&self, line: Arc<str>) {
        if self.console.try_send(Console::Line(line)).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

fn write_console(lines: &sync_mpsc::Receiver<Console>) {
    // A console that is gone must not end the agent.
    let mut out = io::BufWriter::new(io::stdout());
    while let Ok(first) = lines.recv() {
        let mut next = Some(first);
        let mut waiting = Vec::new();
        while let Some(item) = next {
            match item {
                Console::Line(line) => drop(writeln!(out, "    {line}")),
                Console::Raw(text) => drop(out.write_all(text.as_bytes())),
                Console::Flush(done) => waiting.push(done),
            }
            next = lines.try_recv().ok();
        }
        let _ = out.flush();
        for done in waiting {
            let _ = done.send(());
        }
    }
}

/// Passes events of `tracing` on.
struct AgentLayer {
    hub: LogHub,
}

impl<S: Subscriber> Layer<S> for AgentLayer {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        if component(metadata.target()).is_some() {
            Interest::sometimes()
        } else {
            Interest::never()
        }
    }

    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        let level = Level::from(*metadata.level());
        // The ring and monitors take all levels but the finest, whatever the console shows.
        level > Level::Trace || self.hub.lock().level == Level::Trace
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let metadata = event.metadata();
        let Some(component) = component(metadata.target()) else { return };
        let mut text = Text::default();
        event.record(&mut text);
        text.message.push_str(&text.fields);
        self.hub.write(Level::from(*metadata.level()), component, &text.message);
    }
}

/// Go's name of the part that logs; `None`: not ours.
fn component(target: &str) -> Option<&str> {
    if ["agent", "agent.ipc", "agent.mdns", "serf", "memberlist"].contains(&target) {
        return Some(target);
    }
    let path = target.strip_prefix("ruserf::")?;
    Some(match path.split("::").next().unwrap_or_default() {
        "swim" | "wire" | "transport" | "msgpack" => "memberlist",
        "agent" | "cli" => "agent",
        "rpc" | "client" => "agent.ipc",
        _ => "serf",
    })
}

#[derive(Default)]
struct Text {
    message: String,
    fields: String,
}

impl Visit for Text {
    fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn fmt::Debug) {
        let _ = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            name => write!(self.fields, " {name}={value:?}"),
        };
    }

    fn record_str(&mut self, field: &tracing::field::Field, value: &str) {
        let _ = match field.name() {
            "message" => write!(self.message, "{value}"),
            name => write!(self.fields, " {name}={value}"),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn monitors_get_the_backlog_of_their_level_and_then_live_lines() {
        let hub = LogHub::start(Level::Err, false);
        for n in 0..600 {
            hub.write(Level::Debug, "agent", &format!("line {n}"));
        }
        hub.write(Level::Warn, "serf", "odd");
        let (backlog, mut lines) = hub.monitor(Level::Debug, "c".into());
        assert_eq!(backlog.len(), 512);
        assert!(backlog[0].ends_with("[DEBUG] agent: line 89"), "{}", backlog[0]);
        assert!(backlog[511].ends_with("[WARN] serf: odd"));
        let (backlog, _) = hub.monitor(Level::Warn, "d".into());
        assert_eq!(backlog.len(), 1);
        hub.write(Level::Info, "agent.ipc", "live");
        assert!(lines.try_recv().unwrap().ends_with("[INFO] agent.ipc: live"));
    }

    #[test]
    fn a_slow_monitor_loses_lines_and_is_told_of_once() {
        let hub = LogHub::start(Level::Err, false);
        let (_, mut lines) = hub.monitor(Level::Info, "c".into());
        for n in 0..2000 {
            hub.write(Level::Info, "agent", &n.to_string());
        }
        let (backlog, _) = hub.monitor(Level::Warn, "d".into());
        // The warning itself has long left the ring; it is logged at the first loss only.
        assert!(backlog.is_empty());
        for n in 0..512 {
            assert!(lines.try_recv().unwrap().ends_with(&format!(": {n}")));
        }
        assert!(lines.try_recv().is_err());
    }

    #[test]
    fn targets_have_the_names_of_go() {
        for (target, name) in [
            ("ruserf::swim::probe", Some("memberlist")),
            ("ruserf::serf::reap", Some("serf")),
            ("ruserf::driver", Some("serf")),
            ("ruserf::agent::run", Some("agent")),
            ("agent.ipc", Some("agent.ipc")),
            ("hyper::x", None),
        ] {
            assert_eq!(component(target), name, "{target}");
        }
    }
}
