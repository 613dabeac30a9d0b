//! One agent of a cluster, and what it reports over RPC.

use std::{
    fs,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use ruserf::client::{Client, Config, EventRecord};
use tokio::{
    sync::mpsc::UnboundedSender,
    task::JoinHandle,
    time::{sleep, timeout},
};

/// A running agent; killed by pid when dropped.
pub(crate) struct Agent {
    pub(crate) name: String,
    child: Child,
    rpc: String,
}

/// What one agent heard, and when.
pub(crate) struct Heard {
    /// Index of the agent.
    pub(crate) by: usize,
    pub(crate) at: Instant,
    pub(crate) event: EventRecord,
}

impl Agent {
    /// Starts an agent; `wrapper` is a program that becomes it, or empty.
    pub(crate) fn start(
        program: &str,
        wrapper: &[&str],
        name: &str,
        bind: &str,
        rpc: &str,
        flags: &[&str],
    ) -> Self {
        let whole: Vec<_> = wrapper.iter().copied().chain([program, "agent"]).collect();
        let mut command = Command::new(whole[0]);
        command.args(&whole[1..]).args(["-node", name, "-bind", bind, "-rpc-addr", rpc]);
        let child = command
            .args(["-log-level", "err"])
            .args(flags)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the agent starts");
        Self { name: name.to_owned(), child, rpc: rpc.to_owned() }
    }

    /// A connection, once the agent answers.
    pub(crate) async fn client(&self) -> Client {
        let began = Instant::now();
        loop {
            match Client::connect(Config::new(&self.rpc)).await {
                Ok(client) => return client,
                Err(error) if began.elapsed() > PATIENCE => panic!("{}: {error}", self.name),
                Err(_) => sleep(Duration::from_millis(20)).await,
            }
        }
    }

    /// CPU seconds and resident MiB so far.
    pub(crate) fn cost(&self) -> (f64, f64) {
        let process = format!("/proc/{}", self.child.id());
        // In nanoseconds, over the threads that live; agents keep theirs.
        let nanos = |task: std::io::Result<fs::DirEntry>| -> Option<f64> {
            let text = fs::read_to_string(task.ok()?.path().join("schedstat")).ok()?;
            text.split_whitespace().next()?.parse().ok()
        };
        let tasks = fs::read_dir(format!("{process}/task")).into_iter().flatten();
        let cpu = tasks.filter_map(nanos).sum::<f64>() / 1e9;
        let status = fs::read_to_string(format!("{process}/status")).unwrap_or_default();
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = resident.and_then(|text| text.split_whitespace().next()?.parse::<f64>().ok());
        (cpu, kib.unwrap_or_default() / 1024.0)
    }

    /// Ends the agent without a leave.
    pub(crate) fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Passes the events of an agent on, until the agent or the receiver ends.
pub(crate) async fn listen(
    by: usize,
    client: &Client,
    filter: &str,
    to: UnboundedSender<Heard>,
) -> JoinHandle<()> {
    let mut stream = client.stream(filter).await.expect("a stream");
    tokio::spawn(async move {
        while let Ok(Some(event)) = stream.recv().await {
            if to.send(Heard { by, at: Instant::now(), event }).is_err() {
                return;
            }
        }
    })
}

/// The next thing heard before `deadline`.
pub(crate) async fn next(
    from: &mut tokio::sync::mpsc::UnboundedReceiver<Heard>,
    deadline: Instant,
) -> Option<Heard> {
    let left = deadline.saturating_duration_since(Instant::now());
    timeout(left, from.recv()).await.ok().flatten()
}

const PATIENCE: Duration = Duration::from_secs(60);
