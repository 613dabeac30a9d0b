//! Waits for child processes, with a time limit.

use std::{
    io::Read,
    process::{Child, Command, ExitStatus, Output, Stdio},
    sync::{Arc, Mutex, Once, PoisonError},
    thread::{self, JoinHandle},
    time::Duration,
};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use crate::wait::{PATIENCE, poll};

/// Waits for a command with a time limit, because a test that hangs does not show the cause. Panics
/// if the command does not run or does not end.
pub trait InTime {
    /// Like `Command::output`, with a time limit.
    fn output_within(&mut self, patience: Duration) -> Output;

    /// Like `Command::output`, for at most [`PATIENCE`].
    fn output_in_time(&mut self) -> Output {
        self.output_within(PATIENCE)
    }
}

impl InTime for Command {
    fn output_within(&mut self, patience: Duration) -> Output {
        let shown = format!("{self:?}");
        let mut child = spawn(self, &shown);
        let (out, err) = (Arc::default(), Arc::default());
        let readers = [
            collect(child.stdout.take().expect("stdout is piped"), &out),
            collect(child.stderr.take().expect("stderr is piped"), &err),
        ];
        let status = wait_within(patience, &mut child, &shown);
        // A grandchild may hold them open.
        poll(Duration::from_secs(5), || readers.iter().all(JoinHandle::is_finished).then_some(()));
        let bytes = |of: &Mutex<Vec<u8>>| of.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Output { status, stdout: bytes(&out), stderr: bytes(&err) }
    }
}

/// Like `Child::wait`, for at most [`PATIENCE`]; then the child is killed.
///
/// # Panics
/// When it does not end.
pub fn wait_in_time(child: &mut Child, shown: &str) -> ExitStatus {
    wait_within(PATIENCE, child, shown)
}

fn wait_within(patience: Duration, child: &mut Child, shown: &str) -> ExitStatus {
    let ended = poll(patience, || child.try_wait().expect("the child is ours"));
    ended.unwrap_or_else(|| {
        let _ = child.kill();
        let _ = child.wait();
        panic!("{shown} does not end");
    })
}

pub(crate) fn spawn(command: &mut Command, shown: &str) -> Child {
    static SIGNALS: Once = Once::new();
    SIGNALS.call_once(children_ignore_nothing);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{shown}: {error}"))
}

/// What this process was started to ignore, as shells do with SIGINT for background jobs and
/// `nohup` with SIGHUP, its children would ignore, too, until they have a handler: a test that
/// sends one earlier would wait for ever. A handler is not inherited.
fn children_ignore_nothing() {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).unwrap_or_default();
    let ignored = u64::from_str_radix(mask.trim(), 16).unwrap_or_default();
    for signal in [SIGHUP, SIGINT, SIGTERM] {
        if ignored & 1 << (signal - 1) != 0 {
            signal_hook::flag::register(signal, Arc::default()).expect("a handler");
        }
    }
}

pub(crate) fn collect(
    mut from: impl Read + Send + 'static,
    into: &Arc<Mutex<Vec<u8>>>,
) -> JoinHandle<()> {
    let into = Arc::clone(into);
    thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(count @ 1..) = from.read(&mut buffer) {
            let mut into = into.lock().unwrap_or_else(PoisonError::into_inner);
            into.extend_from_slice(buffer.get(..count).unwrap_or_default());
        }
    })
}
