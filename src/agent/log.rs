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
    time::{Duration, Instant},
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
    /// Lines that the console missed and was not told of.
    lost: Arc<AtomicU64>,
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
    /// Those of before the gate was opened.
    Held(Vec<Arc<str>>),
    Raw(String),
    Flush(sync_mpsc::Sender<()>),
}

/// Lines that wait for a slow terminal; beyond that they are counted and dropped.
const CONSOLE_LINES_MAX: usize = 16 << 10;
/// Longest wait for a terminal at the end.
const FLUSH_MAX: Duration = Duration::from_secs(1);

impl LogHub {
    /// Starts the console's thread. Lines are held back until [`Self::open_gate`].
    pub(super) fn start(level: Level, json: bool) -> Self {
        Self::start_on(io::stdout(), level, json)
    }

    fn start_on(out: impl io::Write + Send + 'static, level: Level, json: bool) -> Self {
        let (console, lines) = sync_mpsc::sync_channel(CONSOLE_LINES_MAX);
        let lost = Arc::new(AtomicU64::new(0));
        let missed = Arc::clone(&lost);
        thread::spawn(move || write_console(out, &lines, &missed, json));
        let state = State {
            level,
            ring: VecDeque::with_capacity(LOG_BACKLOG),
            gate: Some(Vec::new()),
            monitors: Vec::new(),
            syslog: None,
        };
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

    /// Prints a line that is no log line.
    pub(super) fn print(&self, text: &str) {
        self.shared.show(Console::Raw(format!("{text}\n")));
    }

    /// Ends the holding back.
    pub(super) fn open_gate(&self) {
        // Under the lock, or lines of other threads would overtake those that were held.
        let mut state = self.lock();
        if let Some(held) = state.gate.take() {
            self.shared.show(Console::Held(held));
        }
    }

    /// Changes the console's least level.
    pub(super) fn set_level(&self, level: Level) {
        self.lock().level = level;
    }

    /// Waits until the console has printed everything, a second at most.
    pub(super) fn flush(&self) {
        let deadline = Instant::now() + FLUSH_MAX;
        let (done, wait) = sync_mpsc::channel();
        let mut next = Console::Flush(done);
        // A terminal that stands still must not keep the agent from ending.
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
        let line = format_line(self.shared.json, level, component, message);
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
                Some(_) => self.shared.lose(1),
                None => self.shared.show(Console::Line(line)),
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
    /// Never waits. What a terminal that stands still has cost is told where it is missing.
    fn show(&self, item: Console) {
        let lost = self.lost.swap(0, Ordering::Relaxed);
        if lost > 0 && self.console.try_send(Console::Line(lost_line(self.json, lost))).is_err() {
            self.lose(lost);
        }
        match self.console.try_send(item) {
            Ok(()) => {}
            Err(
                sync_mpsc::TrySendError::Full(item) | sync_mpsc::TrySendError::Disconnected(item),
            ) => self.lose(item.lines()),
        }
    }

    fn lose(&self, lines: u64) {
        self.lost.fetch_add(lines, Ordering::Relaxed);
    }
}

impl Console {
    fn lines(&self) -> u64 {
        match self {
            Self::Line(_) | Self::Raw(_) => 1,
            Self::Held(lines) => lines.len() as u64,
            Self::Flush(_) => 0,
        }
    }
}

/// A line in the form that was configured.
fn format_line(json: bool, level: Level, component: &str, message: &str) -> Arc<str> {
    if json {
        let time = jiff::Timestamp::now().to_string();
        let fields = serde_json::json!({
            "time": time, "level": level.name(), "component": component, "message": message,
        });
        fields.to_string().into()
    } else {
        let time = jiff::Zoned::now().strftime("%Y/%m/%d %H:%M:%S").to_string();
        format!("{time} [{}] {component}: {message}", level.name()).into()
    }
}

fn lost_line(json: bool, lost: u64) -> Arc<str> {
    format_line(json, Level::Warn, "agent", &format!("Dropped {lost} lines to the console"))
}

fn write_console(
    out: impl io::Write,
    lines: &sync_mpsc::Receiver<Console>,
    missed: &AtomicU64,
    json: bool,
) {
    // A console that is gone must not end the agent.
    let mut out = io::BufWriter::new(out);
    while let Ok(first) = lines.recv() {
        let mut next = Some(first);
        let mut waiting = Vec::new();
        while let Some(item) = next {
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
            next = lines.try_recv().ok();
        }
        let _ = out.flush();
        // Nothing waits: what was lost came after what is out, and no later line may come.
        let lost = missed.swap(0, Ordering::Relaxed);
        if lost > 0 {
            let _ = writeln!(out, "    {}", lost_line(json, lost));
            let _ = out.flush();
        }
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

    /// A terminal that stands still until its gate is dropped.
    struct Terminal {
        gate: Arc<Mutex<()>>,
        shown: Arc<Mutex<Vec<u8>>>,
    }

    impl io::Write for Terminal {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            drop(self.gate.lock());
            self.shown.lock().unwrap().extend(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn on_terminal() -> (LogHub, Arc<Mutex<()>>, impl Fn() -> Vec<String>) {
        let (gate, shown) = (Arc::default(), Arc::new(Mutex::new(Vec::new())));
        let terminal = Terminal { gate: Arc::clone(&gate), shown: Arc::clone(&shown) };
        let hub = LogHub::start_on(terminal, Level::Info, false);
        let flushed = hub.clone();
        let lines = move || {
            // Each waits a second at most, which a busy machine may need.
            (0..20).for_each(|_| flushed.flush());
            let text = String::from_utf8(shown.lock().unwrap().clone()).unwrap();
            text.lines().map(str::to_owned).collect()
        };
        (hub, gate, lines)
    }

    #[test]
    fn a_console_that_nobody_reads_holds_nobody_up_and_is_told_what_it_missed() {
        let (hub, gate, shown) = on_terminal();
        let still = gate.lock().unwrap();
        // More than the queue takes, held and not.
        for n in 0..CONSOLE_LINES_MAX + 5 {
            hub.write(Level::Info, "agent", &n.to_string());
        }
        hub.open_gate();
        for n in 0..CONSOLE_LINES_MAX + 1_000 {
            hub.print(&format!("text {n}"));
            hub.write(Level::Info, "serf", &n.to_string());
        }
        hub.flush();
        drop(still);
        // It is told though nothing more is printed.
        let lines = shown();
        let told: Vec<usize> = lines
            .iter()
            .filter_map(|line| line.split_once("[WARN] agent: Dropped "))
            .map(|(_, rest)| rest.strip_suffix(" lines to the console").unwrap().parse().unwrap())
            .collect();
        assert_eq!(told[0], 5, "{told:?}");
        let lost: usize = told.iter().sum();
        let made = 3 * CONSOLE_LINES_MAX + 2_005;
        assert_eq!(lines.len() - told.len() + lost, made, "{told:?}");
        assert!(lost > CONSOLE_LINES_MAX, "{told:?}");
        hub.print("the end");
        let lines = shown();
        assert!(lines.ends_with(&["the end".to_owned()]), "{:?}", lines.last());
    }

    #[test]
    fn no_line_overtakes_those_that_were_held() {
        for _ in 0..4 {
            let (hub, _gate, shown) = on_terminal();
            let writer = hub.clone();
            let (half, reached) = sync_mpsc::channel();
            let writing = thread::spawn(move || {
                for n in 0..12_000 {
                    writer.write(Level::Info, "agent", &n.to_string());
                    if n == 3_000 {
                        half.send(()).unwrap();
                    }
                }
            });
            reached.recv().unwrap();
            hub.open_gate();
            writing.join().unwrap();
            let number = |line: &String| line.rsplit_once(' ').unwrap().1.parse::<u32>().unwrap();
            let numbers: Vec<_> = shown().iter().map(number).collect();
            assert_eq!(numbers, (0..12_000).collect::<Vec<_>>());
        }
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
