//! Agent processes, Go's or ours, driven through their RPC by our own client. For tests: everything
//! panics, with the agent's log, when an agent does not do what was asked of it.

use std::{
    fs,
    future::Future,
    net::{Ipv4Addr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Mutex, OnceLock},
    thread::sleep,
    time::{Duration, Instant},
};

use ruserf::client;
use serde_json::{Value, json};

use crate::{
    node::runtime,
    process::{BUILD, InTime as _, signal},
};

/// A running agent. Its files are in one directory, under its name: `NAME.json` is its
/// configuration, `NAME.log` its log and `NAME.events` what its event handler wrote. Dropping it
/// kills the process.
pub struct Agent {
    child: Child,
    name: String,
    ip: String,
    dir: PathBuf,
}

impl Agent {
    /// Starts `program agent` as `name` on `ip`, ports 7946 and 7373, and waits for its RPC.
    /// `config` is an agent's configuration file without these. An event handler, unless `config`
    /// has one, writes every user and member event: a line for each user event or member, with the
    /// kind and, after it, for user events the name. A second start of the same name appends.
    pub fn start(program: &Path, dir: &Path, name: &str, ip: &str, config: &Value) -> Self {
        let mut config = config.clone();
        config["node_name"] = json!(name);
        config["bind"] = json!(ip);
        config["rpc_addr"] = json!(format!("{ip}:7373"));
        let events = dir.join(format!("{name}.events"));
        if config.get("event_handlers").is_none() {
            let events = events.to_str().expect("a path in UTF-8");
            let script = format!("sed \"s/^/$SERF_EVENT $SERF_USER_EVENT /\" >>'{events}'");
            config["event_handlers"] = json!([
                format!("user={script}"),
                format!("member-join,member-leave,member-failed,member-reap={script}"),
            ]);
        }
        let file = dir.join(format!("{name}.json"));
        fs::write(&file, config.to_string()).expect("the configuration can be written");
        let log = dir.join(format!("{name}.log"));
        let log = fs::OpenOptions::new().create(true).append(true).open(log).expect("a log");
        let child = Command::new(program)
            .args(["agent", "-log-level", "debug", "-config-file"])
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a second handle of the log"))
            .stderr(log)
            .spawn()
            .expect("the agent runs");
        let agent = Self { child, name: name.into(), ip: ip.into(), dir: dir.into() };
        let up = agent.poll(DEADLINE, || agent.try_ask(|_| async { Ok(()) }).ok());
        assert!(up.is_some(), "{name} does not answer\n{}", agent.log_tail());
        agent
    }

    /// The node's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The address others join.
    pub fn addr(&self) -> String {
        format!("{}:7946", self.ip)
    }

    /// The process, for signals.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Connects, asks and disconnects.
    ///
    /// # Panics
    /// When the agent does not answer or refuses.
    pub fn ask<T, F: Future<Output = Result<T, client::Error>>>(
        &self,
        question: impl FnOnce(client::Client) -> F,
    ) -> T {
        self.try_ask(question)
            .unwrap_or_else(|error| panic!("{}: {error}\n{}", self.name, self.log_tail()))
    }

    /// As [`Agent::ask`].
    ///
    /// # Errors
    /// The client's.
    pub fn try_ask<T, F: Future<Output = Result<T, client::Error>>>(
        &self,
        question: impl FnOnce(client::Client) -> F,
    ) -> Result<T, client::Error> {
        runtime().block_on(async {
            let config = client::Config::new(format!("{}:7373", self.ip));
            question(client::Client::connect(config).await?).await
        })
    }

    /// All members as `(name, status)`, sorted.
    pub fn members(&self) -> Vec<(String, String)> {
        let members = self.ask(|client| async move { client.members().await });
        let mut rows: Vec<_> = members.into_iter().map(|m| (m.name, m.status)).collect();
        rows.sort();
        rows
    }

    /// Joins another agent, and exchanges recent user events with it when `replay`.
    pub fn join(&self, other: &Self, replay: bool) {
        let addr = other.addr();
        self.ask(|client| async move { client.join(vec![addr], replay).await });
    }

    /// What the event handler has written so far.
    pub fn events(&self) -> Vec<String> {
        let text = fs::read_to_string(self.dir.join(format!("{}.events", self.name)));
        text.unwrap_or_default().lines().map(str::to_owned).collect()
    }

    /// Sends a signal by its name, such as `TERM`.
    pub fn signal(&self, name: &str) {
        signal(self.pid(), name);
    }

    /// Sends TERM and waits for the end: by default an agent stops without leaving the cluster.
    pub fn stop(self) -> ExitStatus {
        self.signal("TERM");
        self.wait()
    }

    /// Waits until it ends by itself.
    ///
    /// # Panics
    /// When it does not within a minute.
    pub fn wait(mut self) -> ExitStatus {
        let deadline = Instant::now() + DEADLINE;
        loop {
            if let Some(status) = self.child.try_wait().expect("the child is ours") {
                return status;
            }
            assert!(Instant::now() < deadline, "{} does not stop\n{}", self.name, self.log_tail());
            sleep(STEP);
        }
    }

    /// The end of its log, for messages.
    pub fn log_tail(&self) -> String {
        let text = fs::read(self.dir.join(format!("{}.log", self.name))).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<_> = text.lines().collect();
        let tail = &lines[lines.len().saturating_sub(60)..];
        format!("--- log of {} ---\n{}", self.name, tail.join("\n"))
    }

    fn poll<T>(&self, patience: Duration, mut take: impl FnMut() -> Option<T>) -> Option<T> {
        let deadline = Instant::now() + patience;
        loop {
            let taken = take();
            if taken.is_some() || Instant::now() > deadline {
                return taken;
            }
            sleep(STEP);
        }
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Our own `serf`, built when a process first asks.
///
/// # Panics
/// When it cannot be built.
pub fn serf_binary() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../Cargo.toml");
        let built = Command::new(cargo)
            .args(["build", "-q", "-p", "ruserf", "--bin", "serf", "--manifest-path"])
            .arg(manifest)
            .output_within(BUILD);
        let errors = String::from_utf8_lossy(&built.stderr);
        assert!(built.status.success(), "serf does not build: {errors}");
        let test = std::env::current_exe().expect("the path of the test");
        test.ancestors().nth(2).expect("a target directory").join("serf")
    })
}

/// The first three bytes, as text with a dot behind, of loopback addresses that no other test uses
/// while this program runs.
///
/// # Panics
/// When none is free.
pub fn loopback_net() -> String {
    static CLAIMED: Mutex<Vec<TcpListener>> = Mutex::new(Vec::new());
    let mut claimed = CLAIMED.lock().expect("no panic");
    // From a place of its own on, so that programs seldom meet.
    let first = std::process::id().wrapping_mul(8);
    for n in (first..).take(30_000) {
        let (b, c) = (128 + n / 250 % 120, n % 250);
        let lock = Ipv4Addr::new(127, b as u8, c as u8, 254);
        if let Ok(listener) = TcpListener::bind((lock, 47_946)) {
            claimed.push(listener);
            return format!("127.{b}.{c}.");
        }
    }
    panic!("no loopback addresses are free");
}

const DEADLINE: Duration = Duration::from_secs(60);
const STEP: Duration = Duration::from_millis(20);
