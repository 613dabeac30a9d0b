//! Real Go peers as child processes; see go-harness/README.md for what they understand.
//!
//! For tests: all functions panic, with the peer's log, if a peer fails.

use std::{
    cell::RefCell,
    collections::{HashMap, VecDeque},
    io::{BufRead, BufReader, Lines, Write},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock},
    thread,
    time::{Duration, Instant},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use crate::{in_time::InTime as _, wait::BUILD};

/// Default time limit of a command. Generous, because test machines are slow.
pub const CALL_TIMEOUT: Duration = Duration::from_secs(30);

/// A running `peer` (serf) or `mlpeer` (bare memberlist). Dropping it ends the process.
pub struct GoPeer {
    child: Child,
    stdin: Mutex<Option<ChildStdin>>,
    shared: Arc<Shared>,
    ready: Value,
}

impl GoPeer {
    /// Starts a Go serf node. `config` is the object of go-harness/cmd/peer; absent fields keep
    /// Go's defaults, except that an absent `bind` is 127.0.0.1 and an absent `port` any free one.
    ///
    /// # Panics
    /// When the node does not start.
    pub fn start(config: Value) -> Self {
        Self::start_or_fail("peer", config)
    }

    /// Starts a Go memberlist node, as [`GoPeer::start`] does for serf.
    ///
    /// # Panics
    /// When the node does not start.
    pub fn start_memberlist(config: Value) -> Self {
        Self::start_or_fail("mlpeer", config)
    }

    /// Starts `program`.
    ///
    /// # Errors
    /// The node's own message with its log.
    pub fn try_start(program: &str, config: Value) -> Result<Self, String> {
        Self::run(Command::new(harness_dir().join(program)), config)
    }

    /// As [`GoPeer::try_start`], on a host of a [`crate::lossy::Net`].
    ///
    /// # Errors
    /// The node's own message with its log.
    pub fn try_start_on(namespace: &str, program: &Path, config: Value) -> Result<Self, String> {
        let mut command = Command::new("ip");
        // Becomes the program: the process id stays.
        command.args(["netns", "exec", namespace]).arg(program);
        Self::run(command, config)
    }

    fn run(mut command: Command, mut config: Value) -> Result<Self, String> {
        let fields = config.as_object_mut().expect("a peer's configuration is an object");
        fields.entry("bind").or_insert_with(|| json!("127.0.0.1"));
        if let Some(dir) = CAPTURE.with_borrow(Clone::clone) {
            command.env("RUSERF_CAPTURE", dir);
        }
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|err| format!("{command:?} does not run: {err}"))?;
        let shared = Arc::new(Shared::default());
        let stdout = child.stdout.take().expect("stdout is piped");
        let stderr = child.stderr.take().expect("stderr is piped");
        let reader = Arc::clone(&shared);
        thread::spawn(move || reader.read_answers(BufReader::new(stdout)));
        let reader = Arc::clone(&shared);
        thread::spawn(move || reader.read_panics(BufReader::new(stderr)));
        let stdin = Mutex::new(child.stdin.take());
        let mut peer = Self { child, stdin, shared, ready: Value::Null };
        peer.write_line(&config);
        peer.ready = peer.wait_ready()?;
        Ok(peer)
    }

    /// The local member as the node itself described it when it was up.
    pub fn ready(&self) -> &Value {
        &self.ready
    }

    /// The node's name.
    pub fn name(&self) -> &str {
        self.ready["name"].as_str().expect("a node has a name")
    }

    /// The address other nodes join.
    pub fn addr(&self) -> SocketAddr {
        let ip = self.ready["addr"].as_str().expect("an address").parse().expect("an IP address");
        let port = self.ready["port"].as_u64().and_then(|port| u16::try_from(port).ok());
        SocketAddr::new(ip, port.expect("a port"))
    }

    /// The process id, for tests that stop (SIGSTOP) or watch the node.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a command and returns its result.
    ///
    /// # Panics
    /// When the command fails or is not answered in [`CALL_TIMEOUT`].
    pub fn call(&self, command: Value) -> Value {
        let shown = command.to_string();
        match self.try_call(command) {
            Ok(result) => result,
            Err(err) => panic!("{}: {shown} failed: {err}\n{}", self.name(), self.log_tail()),
        }
    }

    /// Sends a command and returns its result or the error the node gave.
    ///
    /// # Errors
    /// The node's error text.
    ///
    /// # Panics
    /// When there is no answer in [`CALL_TIMEOUT`].
    pub fn try_call(&self, command: Value) -> Result<Value, String> {
        let id = self.send(command);
        self.wait_answer(id, CALL_TIMEOUT)
    }

    /// Sends a command without waiting; the id is for [`GoPeer::wait_answer`].
    pub fn send(&self, mut command: Value) -> u64 {
        let id = {
            let mut state = self.shared.lock();
            state.next_id += 1;
            state.next_id
        };
        command["id"] = json!(id);
        self.write_line(&command);
        id
    }

    /// Waits for the answer to a command that [`GoPeer::send`] sent.
    ///
    /// # Errors
    /// The node's error text.
    ///
    /// # Panics
    /// When there is no answer in time.
    pub fn wait_answer(&self, id: u64, timeout: Duration) -> Result<Value, String> {
        let answer = self.shared.wait(timeout, |state| state.answers.remove(&id));
        let Some(answer) = answer else {
            panic!("{}: no answer in {timeout:?}\n{}", self.name(), self.log_tail())
        };
        if answer["ok"] == json!(true) {
            return Ok(answer["result"].clone());
        }
        Err(answer["error"].as_str().unwrap_or("no error text").to_owned())
    }

    /// Takes the next event of this kind for which `wanted` holds, now or until the time is over.
    /// Other events stay for later calls.
    pub fn next_event(
        &self,
        kind: &str,
        timeout: Duration,
        wanted: impl Fn(&Value) -> bool,
    ) -> Option<Value> {
        self.shared.wait(timeout, |state| {
            let at = state.events.iter().position(|e| e["event"] == kind && wanted(e))?;
            state.events.remove(at)
        })
    }

    /// As [`GoPeer::next_event`], but the event must come.
    ///
    /// # Panics
    /// When it does not come in time.
    pub fn wait_event(
        &self,
        kind: &str,
        timeout: Duration,
        wanted: impl Fn(&Value) -> bool,
    ) -> Value {
        self.next_event(kind, timeout, wanted).unwrap_or_else(|| {
            let seen: Vec<_> = self.events().iter().map(Value::to_string).collect();
            panic!(
                "{}: no {kind} event in {timeout:?}; other events:\n{}\n{}",
                self.name(),
                seen.join("\n"),
                self.log_tail()
            )
        })
    }

    /// Waits for a member event that names `member`.
    ///
    /// # Panics
    /// When it does not come in time.
    pub fn wait_member_event(&self, kind: &str, member: &str, timeout: Duration) -> Value {
        self.wait_event(kind, timeout, |event| {
            event["members"]
                .as_array()
                .is_some_and(|members| members.iter().any(|m| m["name"] == member))
        })
    }

    /// The events that were not taken yet.
    pub fn events(&self) -> Vec<Value> {
        self.shared.lock().events.iter().cloned().collect()
    }

    /// Serf members as `(name, status)`, sorted.
    pub fn members(&self) -> Vec<(String, String)> {
        let text = |v: &Value| v.as_str().unwrap_or_default().to_owned();
        let members = self.call(json!({"cmd": "members"}));
        let mut list: Vec<_> = members
            .as_array()
            .expect("a list of members")
            .iter()
            .map(|m| (text(&m["name"]), text(&m["status"])))
            .collect();
        list.sort();
        list
    }

    /// A counter of memberlist's or serf's own metrics, such as `serf.member.flap`; 0 if absent.
    pub fn counter(&self, name: &str) -> f64 {
        self.call(json!({"cmd": "metrics"}))["counters"][name].as_f64().unwrap_or_default()
    }

    /// The log so far.
    pub fn logs(&self) -> Vec<String> {
        self.shared.lock().logs.clone()
    }

    fn start_or_fail(program: &str, config: Value) -> Self {
        Self::try_start(program, config).unwrap_or_else(|err| panic!("{err}"))
    }

    fn wait_ready(&self) -> Result<Value, String> {
        let first = self.shared.wait(CALL_TIMEOUT, |state| {
            state.ready.take().or_else(|| state.ended.then(|| json!({"fatal": "the peer ended"})))
        });
        match first {
            Some(line) if line.get("ready").is_some() => Ok(line["ready"].clone()),
            Some(line) => Err(format!("Go peer: {}\n{}", line["fatal"], self.log_tail())),
            None => Err(format!("Go peer: not ready in {CALL_TIMEOUT:?}\n{}", self.log_tail())),
        }
    }

    fn write_line(&self, value: &Value) {
        let mut stdin = self.stdin.lock().expect("no writer panics");
        if let Some(stdin) = stdin.as_mut() {
            // A peer that has ended shows as a missing answer, with its log.
            let _ = stdin.write_all(format!("{value}\n").as_bytes());
        }
    }

    fn log_tail(&self) -> String {
        let logs = self.logs();
        let from = logs.len().saturating_sub(40);
        format!("--- Go log ---\n{}", logs[from..].join("\n"))
    }
}

impl Drop for GoPeer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One Go memberlist or serf in virtual time: nothing happens between steps, so the same script
/// always gives the same answers. For tests that set the Rust engine beside Go's, message by
/// message.
pub struct GoFeed {
    child: Child,
    stdin: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
    first: Value,
}

impl GoFeed {
    /// Starts a memberlist; `config` is the object of go-harness/cmd/feed.
    ///
    /// # Panics
    /// When the node does not start.
    pub fn start(config: &Value) -> Self {
        Self::start_program("feed", config)
    }

    /// Starts a serf node; `config` is the object of go-harness/cmd/serffeed. Answers also have
    /// `members` (by name, with `status_ltime`), `stats` and `queues`.
    ///
    /// # Panics
    /// When the node does not start.
    pub fn start_serf(config: &Value) -> Self {
        Self::start_program("serffeed", config)
    }

    /// The observable state before the first step.
    pub fn first(&self) -> &Value {
        &self.first
    }

    /// Performs one step and returns the observable state after it: `table` (rows by name),
    /// `events`, `queue`, `sent`, `logs`, `incarnation`, `health`, `now_ms`, and `reply` or
    /// `error`.
    ///
    /// # Panics
    /// When the program ends or refuses its configuration.
    pub fn step(&mut self, step: &Value) -> Value {
        self.stdin.write_all(format!("{step}\n").as_bytes()).expect("feed reads its steps");
        let line = self.answers.next().expect("feed answers each step").expect("a line of text");
        let answer: Value = serde_json::from_str(&line).expect("an answer is JSON");
        assert!(answer.get("fatal").is_none(), "{answer}");
        answer
    }

    fn start_program(program: &str, config: &Value) -> Self {
        let mut child = Command::new(harness_dir().join(program))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("feed runs");
        let stdin = child.stdin.take().expect("stdin is piped");
        let stdout = child.stdout.take().expect("stdout is piped");
        let answers = BufReader::new(stdout).lines();
        let mut feed = Self { child, stdin, answers, first: Value::Null };
        feed.first = feed.step(config);
        feed
    }
}

impl Drop for GoFeed {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Directory in which Rust peers started by this thread from now on record their traffic (see
/// [`crate::record`]).
pub fn capture_into(dir: Option<PathBuf>) {
    CAPTURE.set(dir);
}

thread_local! {
    static CAPTURE: RefCell<Option<PathBuf>> = const { RefCell::new(None) };
}

/// Bytes as the harness reads and writes them.
pub fn base64(bytes: impl AsRef<[u8]>) -> String {
    STANDARD.encode(bytes)
}

/// The bytes of a field the harness wrote; a null is no bytes.
///
/// # Panics
/// When the field holds something else.
pub fn bytes(field: &Value) -> Vec<u8> {
    if field.is_null() {
        return Vec::new();
    }
    STANDARD.decode(field.as_str().expect("a base64 string")).expect("base64")
}

/// Decodes captures with Go: objects of `hex`, `kind` (packet, stream, reply, message, serf,
/// payload), `label` and `keys` (base64). One answer for each, in order; `readable` means that Go
/// understood every message and encodes it to the same bytes again.
///
/// # Panics
/// When the program does not run or does not answer every capture.
pub fn decode(captures: &[Value]) -> Vec<Value> {
    let mut child = Command::new(harness_dir().join("decode"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("decode runs");
    let mut stdin = child.stdin.take().expect("stdin is piped");
    let lines: String = captures.iter().map(|capture| format!("{capture}\n")).collect();
    let writer = thread::spawn(move || stdin.write_all(lines.as_bytes()));
    let output = child.wait_with_output().expect("decode ends");
    writer.join().expect("no panic").expect("decode reads all captures");
    let text = String::from_utf8(output.stdout).expect("JSON is UTF-8");
    let answers: Vec<Value> =
        text.lines().map(|line| serde_json::from_str(line).expect("a line is JSON")).collect();
    assert_eq!(answers.len(), captures.len(), "{text}");
    answers
}

/// Where the programs of go-harness/ are; the first call of a process builds what is missing.
///
/// # Panics
/// When they cannot be built.
pub fn harness_dir() -> &'static Path {
    static DIR: OnceLock<PathBuf> = OnceLock::new();
    DIR.get_or_init(|| {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/go-harness");
        let output = Command::new(script).output_within(BUILD);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "scripts/go-harness: {errors}");
        PathBuf::from(String::from_utf8_lossy(&output.stdout).trim())
    })
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    next_id: u64,
    ready: Option<Value>,
    answers: HashMap<u64, Value>,
    events: VecDeque<Value>,
    logs: Vec<String>,
    ended: bool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn wait<T>(
        &self,
        timeout: Duration,
        mut take: impl FnMut(&mut State) -> Option<T>,
    ) -> Option<T> {
        let deadline = Instant::now() + timeout;
        let mut state = self.lock();
        loop {
            if let Some(found) = take(&mut state) {
                return Some(found);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || state.ended {
                return None;
            }
            let waited = self.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(std::sync::PoisonError::into_inner).0;
        }
    }

    fn read_answers(&self, lines: impl BufRead) {
        for line in lines.lines().map_while(Result::ok) {
            let mut state = self.lock();
            match serde_json::from_str::<Value>(&line) {
                Ok(value) => state.sort_in(value),
                Err(_) => state.logs.push(line),
            }
            self.changed.notify_all();
        }
        self.lock().ended = true;
        self.changed.notify_all();
    }

    fn read_panics(&self, lines: impl BufRead) {
        for line in lines.lines().map_while(Result::ok) {
            self.lock().logs.push(line);
        }
    }
}

impl State {
    fn sort_in(&mut self, value: Value) {
        if let Some(log) = value.get("log") {
            self.logs.push(log.as_str().unwrap_or_default().to_owned());
        } else if let Some(id) = value.get("id").and_then(Value::as_u64) {
            self.answers.insert(id, value);
        } else if value.get("event").is_some() {
            self.events.push_back(value);
        } else {
            self.ready.get_or_insert(value);
        }
    }
}
