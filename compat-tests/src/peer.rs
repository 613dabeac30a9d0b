//! An agent, Go's or ours, chosen at run time. For tests: all functions panic, with the agent's
//! log, if an agent fails.

use std::{
    fs,
    future::Future,
    path::{Path, PathBuf},
    process::{Command, ExitStatus},
};

use ruserf::client;
use serde_json::{Value, json};

use crate::{
    node::runtime,
    process::{Kind, Process, Said, serf},
    wait::{PATIENCE, eventually, poll},
};

/// A running agent. Dropping it kills the process.
pub struct Peer {
    /// Implementation.
    pub kind: Kind,
    /// Its name.
    pub name: String,
    /// Its gossip address, with the port.
    pub addr: String,
    /// Its RPC's address.
    pub rpc: String,
    /// Its process.
    pub process: Process,
    launch: Launch,
}

impl Peer {
    /// Starts an agent on ports 7946 and 7373 of `ip`, with further flags, and waits until it runs.
    pub fn start(kind: Kind, name: &str, ip: &str, args: &[&str]) -> Self {
        Launch::new(kind, name, ip).args(args).start()
    }

    /// As [`Peer::start`], in a working directory.
    pub fn start_in(kind: Kind, name: &str, ip: &str, args: &[&str], dir: &Path) -> Self {
        Launch::new(kind, name, ip).args(args).dir(dir).start()
    }

    /// As [`Peer::start`], with a configuration file; see [`Launch::config`].
    pub fn configured(kind: Kind, name: &str, ip: &str, config: &Value, dir: &Path) -> Self {
        Launch::new(kind, name, ip).config(config, dir).start()
    }

    /// Starts it again with the same command line, after its end.
    pub fn restart(&mut self) {
        self.process = Process::start(self.launch.command());
        self.process.wait_for(RUNNING);
    }

    /// All that it printed, errors last.
    pub fn log(&self) -> String {
        self.process.out() + &self.process.err()
    }

    /// The end of its log, for messages.
    pub fn log_tail(&self) -> String {
        let log = self.log();
        let lines: Vec<_> = log.lines().collect();
        let tail = &lines[lines.len().saturating_sub(60)..];
        format!("--- log of {} ---\n{}", self.name, tail.join("\n"))
    }

    /// The lines it has printed.
    pub fn printed(&self) -> Vec<String> {
        self.process.out().lines().map(str::to_owned).collect()
    }

    /// Waits until it has printed a line with this text, and returns the line.
    pub fn wait_for_line(&self, text: &str) -> String {
        eventually(&format!("{}: no line with {text:?}", self.name), || {
            self.printed().into_iter().find(|line| line.contains(text))
        })
    }

    /// Runs `serf` of the agent's own kind against it.
    pub fn cli(&self, args: &[&str]) -> Said {
        serf(self.kind, &self.rpc, args)
    }

    /// Runs `serf` of the agent's own kind, which must succeed, and returns its output.
    ///
    /// # Panics
    /// When the command fails.
    pub fn ok(&self, args: &[&str]) -> String {
        let said = self.cli(args);
        assert_eq!(said.code, Some(0), "{:?} {args:?}: {said:?}\n{}", self.kind, self.log_tail());
        said.out
    }

    /// Runs `serf ARGS` until `wanted` accepts its output, and returns the output.
    ///
    /// # Panics
    /// When it does not.
    pub fn wait_said(&self, args: &[&str], wanted: impl Fn(&str) -> bool) -> String {
        poll(PATIENCE, || Some(self.cli(args).out).filter(|out| wanted(out)))
            .unwrap_or_else(|| panic!("{}: {:?}\n{}", self.name, self.cli(args), self.log_tail()))
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

    /// As [`Peer::ask`].
    ///
    /// # Errors
    /// The client's.
    pub fn try_ask<T, F: Future<Output = Result<T, client::Error>>>(
        &self,
        question: impl FnOnce(client::Client) -> F,
    ) -> Result<T, client::Error> {
        runtime().block_on(async {
            let config = client::Config::new(self.rpc.clone());
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

    /// As [`Peer::members`], each as one text: `name status`.
    pub fn listed(&self) -> Vec<String> {
        self.members().into_iter().map(|(name, status)| format!("{name} {status}")).collect()
    }

    /// Whether it lists a member with this status.
    pub fn sees(&self, name: &str, status: &str) -> bool {
        self.members().iter().any(|(member, is)| member == name && is == status)
    }

    /// Waits until it lists a member with this status.
    pub fn wait_member(&self, name: &str, status: &str) {
        eventually(&format!("{} does not see {name} {status}", self.name), || {
            self.sees(name, status)
        });
    }

    /// Waits until it lists this number of members as alive.
    pub fn wait_for_members(&self, count: usize) {
        eventually(&format!("{} does not see {count} alive members", self.name), || {
            self.members().iter().filter(|(_, status)| status == "alive").count() == count
        });
    }

    /// Joins another agent, and exchanges recent user events with it when `replay`.
    pub fn join(&self, other: &Self, replay: bool) {
        let addr = other.addr.clone();
        let old = if replay { client::OldEvents::Deliver } else { client::OldEvents::Ignore };
        self.ask(|client| async move { client.join([addr], old).await });
    }

    /// What the event handler of [`Launch::config`] has written so far.
    pub fn events(&self) -> Vec<String> {
        let text = self.launch.events.as_ref().map(fs::read_to_string);
        text.and_then(Result::ok).unwrap_or_default().lines().map(str::to_owned).collect()
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Sends a signal by its name, such as `TERM`.
    pub fn signal(&self, name: &str) {
        self.process.signal(name);
    }

    /// Sends TERM and waits for the end: by default an agent stops without leaving the cluster.
    pub fn stop(mut self) -> ExitStatus {
        self.signal("TERM");
        self.wait()
    }

    /// Waits until it ends by itself.
    pub fn wait(&mut self) -> ExitStatus {
        self.process.wait_status()
    }

    /// Waits for the end; exit code and a part of the output must be these.
    ///
    /// # Panics
    /// When it is not.
    pub fn ends_with(&mut self, code: i32, text: &str) {
        let status = self.wait();
        let log = self.log();
        assert_eq!(status.code(), Some(code), "{log}");
        assert!(log.contains(text), "no {text:?} in {log}");
    }
}

/// The command line of an agent.
#[derive(Clone)]
pub struct Launch {
    kind: Kind,
    name: String,
    ip: String,
    rpc: String,
    wrapper: Vec<String>,
    args: Vec<String>,
    dir: Option<PathBuf>,
    events: Option<PathBuf>,
}

impl Launch {
    /// An agent on ports 7946 and 7373 of `ip`.
    pub fn new(kind: Kind, name: &str, ip: &str) -> Self {
        Self {
            kind,
            name: name.into(),
            ip: ip.into(),
            rpc: format!("{ip}:7373"),
            wrapper: Vec::new(),
            args: Vec::new(),
            dir: None,
            events: None,
        }
    }

    /// Further flags. Of a flag that is given twice, the last counts.
    #[must_use]
    pub fn args(mut self, args: &[&str]) -> Self {
        self.args.extend(args.iter().map(|&arg| arg.to_owned()));
        self
    }

    /// Another address for its RPC.
    #[must_use]
    pub fn rpc(mut self, rpc: &str) -> Self {
        rpc.clone_into(&mut self.rpc);
        self
    }

    /// A working directory.
    #[must_use]
    pub fn dir(mut self, dir: &Path) -> Self {
        self.dir = Some(dir.into());
        self
    }

    /// A program that becomes the agent, such as `setpriv`.
    #[must_use]
    pub fn wrapper(mut self, wrapper: &[&str]) -> Self {
        self.wrapper = wrapper.iter().map(|&arg| arg.to_owned()).collect();
        self
    }

    /// The file NAME.json in `dir`, and a log at level DEBUG. An event handler, unless the
    /// configuration has one, writes every user and member event into NAME.events: a line for each
    /// user event or member, with the kind and, after it, for user events the name.
    ///
    /// # Panics
    /// When the file cannot be written.
    #[must_use]
    pub fn config(mut self, config: &Value, dir: &Path) -> Self {
        let mut config = config.clone();
        let events = dir.join(format!("{}.events", self.name));
        if config.get("event_handlers").is_none() {
            let events = events.display();
            let script = format!("sed \"s/^/$SERF_EVENT $SERF_USER_EVENT /\" >>'{events}'");
            config["event_handlers"] = json!([
                format!("user={script}"),
                format!("member-join,member-leave,member-failed,member-reap={script}"),
            ]);
        }
        let file = dir.join(format!("{}.json", self.name));
        fs::write(&file, config.to_string()).expect("the configuration can be written");
        self.events = Some(events);
        let file = file.to_str().expect("a path in UTF-8");
        self.args(&["-log-level", "debug", "-config-file", file])
    }

    /// Starts it and waits until it runs.
    pub fn start(self) -> Peer {
        let peer = self.spawn();
        peer.process.wait_for(RUNNING);
        peer
    }

    /// Starts it and waits for nothing.
    pub fn spawn(self) -> Peer {
        Peer {
            kind: self.kind,
            name: self.name.clone(),
            addr: format!("{}:7946", self.ip),
            rpc: self.rpc.clone(),
            process: Process::start(self.command()),
            launch: self,
        }
    }

    fn command(&self) -> Command {
        let program = self.kind.program();
        let mut command = match self.wrapper.split_first() {
            Some((first, rest)) => {
                let mut command = Command::new(first);
                command.args(rest).arg(program);
                command
            }
            None => Command::new(program),
        };
        command.args(["agent", "-node", &self.name, "-bind", &self.ip, "-rpc-addr", &self.rpc]);
        command.args(&self.args).env("LC_ALL", "C");
        if let Some(dir) = &self.dir {
            command.current_dir(dir);
        }
        command
    }
}

/// The last line of the banner.
const RUNNING: &str = "Log data will now stream in";
