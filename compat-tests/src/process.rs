//! Runs programs, Go's or ours, by their command lines and collects output and exit codes. For
//! tests: all functions panic, with the program's output, if a program fails.

use std::{
    io::Read as _,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus},
    sync::{Arc, Mutex, OnceLock, PoisonError},
    thread::{self, JoinHandle},
    time::Duration,
};

pub use crate::in_time::{InTime, wait_in_time};
use crate::{
    go::harness_dir,
    in_time::{collect, spawn},
    wait::{BUILD, PATIENCE, poll},
};

/// Implementations of the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Go's.
    Go,
    /// Ours.
    Ours,
}

/// Both kinds, for tests that do the same with each.
pub const BOTH: [Kind; 2] = [Kind::Go, Kind::Ours];

impl Kind {
    /// The other kind.
    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Self::Go => Self::Ours,
            Self::Ours => Self::Go,
        }
    }

    /// The `serf` of this kind; built at the first call in a process.
    ///
    /// # Panics
    /// When it cannot be built.
    pub fn program(self) -> &'static Path {
        static OURS: OnceLock<PathBuf> = OnceLock::new();
        static GO: OnceLock<PathBuf> = OnceLock::new();
        match self {
            Self::Ours => OURS.get_or_init(build),
            Self::Go => GO.get_or_init(|| harness_dir().join("serf")),
        }
    }
}

/// Output and exit code of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
    /// Exit code; `None`: ended by a signal.
    pub code: Option<i32>,
}

/// Runs `serf` of a kind to its end, with `SERF_RPC_ADDR` set to `rpc` unless it is empty.
///
/// # Panics
/// When it does not run, or has not ended after [`PATIENCE`].
pub fn serf(kind: Kind, rpc: &str, args: &[&str]) -> Said {
    let mut command = Command::new(kind.program());
    command.args(args).env_remove("SERF_RPC_ADDR").env_remove("SERF_RPC_AUTH");
    if !rpc.is_empty() {
        command.env("SERF_RPC_ADDR", rpc);
    }
    let mut process = Process::start(command);
    let code = process.wait();
    Said { out: process.out(), err: process.err(), code }
}

/// A running program whose output is collected. Dropping it kills it.
pub struct Process {
    /// The command, for messages.
    shown: String,
    child: Child,
    out: Arc<Mutex<Vec<u8>>>,
    err: Arc<Mutex<Vec<u8>>>,
    readers: Vec<JoinHandle<()>>,
}

impl Process {
    /// Starts a command.
    ///
    /// # Panics
    /// When it does not run.
    pub fn start(command: Command) -> Self {
        Self::start_reading(command, u64::MAX)
    }

    /// Starts a command whose standard output is closed after this number of bytes.
    ///
    /// # Panics
    /// When it does not run.
    pub fn start_reading(mut command: Command, limit: u64) -> Self {
        let shown = format!("{command:?}");
        let mut child = spawn(&mut command, &shown);
        let (out, err) = (Arc::default(), Arc::default());
        let readers = vec![
            collect(child.stdout.take().expect("stdout is piped").take(limit), &out),
            collect(child.stderr.take().expect("stderr is piped"), &err),
        ];
        Self { shown, child, out, err, readers }
    }

    /// Its standard output so far.
    pub fn out(&self) -> String {
        text(&self.out)
    }

    /// Its standard error so far.
    pub fn err(&self) -> String {
        text(&self.err)
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal by its name, such as `TERM`.
    ///
    /// # Panics
    /// When the process is gone.
    pub fn signal(&self, name: &str) {
        signal(self.pid(), name);
    }

    /// Waits for the end and returns the exit code. Then the output is complete, unless a child of
    /// the process keeps it open.
    ///
    /// # Panics
    /// When it does not end.
    pub fn wait(&mut self) -> Option<i32> {
        self.wait_status().code()
    }

    /// Like [`Process::wait`], but also returns a signal that ended the process.
    ///
    /// # Panics
    /// When it does not end.
    pub fn wait_status(&mut self) -> ExitStatus {
        let Some(status) = poll(PATIENCE, || self.child.try_wait().expect("the child is ours"))
        else {
            panic!("{} does not end:\n{}\n{}", self.shown, self.out(), self.err());
        };
        poll(Duration::from_secs(5), || {
            self.readers.iter().all(JoinHandle::is_finished).then_some(())
        });
        status
    }

    /// Whether it has ended.
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().expect("the child is ours").is_some()
    }

    /// The exit code if it has ended by itself.
    ///
    /// # Panics
    /// When a signal ended it.
    pub fn try_code(&mut self) -> Option<i32> {
        let status = self.child.try_wait().expect("the child is ours")?;
        Some(status.code().expect("no signal ends it"))
    }

    /// Waits until its output contains `wanted` and returns the output.
    ///
    /// # Panics
    /// When it does not come.
    pub fn wait_for(&self, wanted: &str) -> String {
        self.wait_until(wanted, |out| out.contains(wanted))
    }

    /// Waits until `wanted` accepts its output and returns the output.
    ///
    /// # Panics
    /// When it does not come.
    pub fn wait_until(&self, what: &str, wanted: impl Fn(&str) -> bool) -> String {
        poll(PATIENCE, || Some(self.out()).filter(|out| wanted(out)))
            .unwrap_or_else(|| panic!("no {what:?} in:\n{}\n{}", self.out(), self.err()))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sends a process a signal by its name, such as `TERM`.
///
/// # Panics
/// When there is no such process.
pub fn signal(pid: u32, name: &str) {
    let sent = Command::new("kill").args([format!("-{name}"), pid.to_string()]).output_in_time();
    assert!(sent.status.success(), "kill -{name} {pid}");
}

/// Reports that the rest of a test did not run because this machine lacks what it needs. If `CI` is
/// set, the test fails, because the output of passing tests is not read there.
///
/// # Panics
/// Where `CI` is set.
#[track_caller]
pub fn not_run(why: &str) {
    assert!(std::env::var_os("CI").is_none_or(|set| set.is_empty()), "not run: {why}");
    eprintln!("NOT RUN: {why}");
}

/// A name and a function.
pub type Scenario<'n> = (&'n str, Box<dyn FnOnce() + Send>);

/// Runs scenarios in parallel, each on a thread with its name, which panics show.
///
/// # Panics
/// When one of them does.
pub fn parallel(scenarios: Vec<Scenario<'_>>) {
    let threads: Vec<_> = scenarios
        .into_iter()
        .map(|(name, run)| {
            thread::Builder::new().name(name.to_owned()).spawn(run).expect("a thread")
        })
        .collect();
    let mut failed = Vec::new();
    for thread in threads {
        let name = thread.thread().name().unwrap_or_default().to_owned();
        if thread.join().is_err() {
            failed.push(name);
        }
    }
    assert!(failed.is_empty(), "failed: {failed:?}");
}

/// Writes a file into `dir` and returns its path.
///
/// # Panics
/// When it cannot be written.
pub fn file(dir: &Path, name: &str, text: &str) -> String {
    let path = dir.join(name);
    std::fs::write(&path, text).expect("a file can be written");
    path.to_str().expect("a path in UTF-8").to_owned()
}

/// Cargo as a shell would call it. It sets variables for tests that build scripts take for a
/// change: with them, each build in a test and the next one outside would build much anew.
pub fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        if name.starts_with("CARGO_MANIFEST_") || name.starts_with("CARGO_PKG_") {
            command.env_remove(&*name);
        }
    }
    command
}

/// Builds our own `serf`.
fn build() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../Cargo.toml");
    let built = cargo()
        .args(["build", "-q", "-p", "ruserf", "--bin", "serf", "--manifest-path"])
        .arg(manifest)
        .output_within(BUILD);
    let errors = String::from_utf8_lossy(&built.stderr);
    assert!(built.status.success(), "serf does not build: {errors}");
    let test = std::env::current_exe().expect("the path of the test");
    test.ancestors().nth(2).expect("a target directory").join("serf")
}

fn text(bytes: &Mutex<Vec<u8>>) -> String {
    let bytes = bytes.lock().unwrap_or_else(PoisonError::into_inner);
    String::from_utf8_lossy(&bytes).into_owned()
}
