//! Goal: no moment is a bad one to end a command or an agent. Method: each command is hit a hundred
//! times, at a random moment, by a signal, by a reader that closes its output, or by the end of its
//! connection; each time it must end, in time, in a way that Go's ends too. The seed is printed.

use std::{
    io::{Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    os::unix::process::ExitStatusExt,
    path::Path,
    process::{Command, ExitStatus},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant, SystemTime},
};

use compat_tests::{
    net::Net,
    peer::Peer,
    process::{InTime as _, Kind, Process, file},
    rpc::{Value, request},
    wait::{PATIENCE, poll},
};

/// A command line, and whether it ends at SIGINT by itself: the others die of it, or ignore it
/// where their parent did.
const COMMANDS: &[(&str, bool)] = &[
    ("members -detailed", false),
    ("info", false),
    ("event -coalesce=false deploy v1", false),
    ("query -timeout 40ms load", true),
    ("monitor -log-level debug", true),
    ("reachability -verbose", true),
    ("keys -list", false),
    ("tags -set a=b", false),
    ("rtt m", false),
    ("join 127.0.0.1:1", false),
    ("force-leave nobody", false),
];

// parity: cli: Signals, closed output and closed connections at any moment
#[test]
fn commands_end_well_at_any_moment() {
    let mut random = Random::start();
    let ip = Net::new().ip(1);
    let agent = Peer::start(Kind::Ours, "m", &ip, &["-log-level", "debug"]);
    let proxy = Proxy::start(&agent.rpc);
    let busy = Busy::start(&agent);
    let hits: Vec<Hit> = COMMANDS
        .iter()
        .flat_map(|command| (0..ROUNDS).map(move |_| *command))
        .map(|(line, catches)| Hit { line, catches, how: random.how(), after: random.below(60) })
        .collect();
    let next = AtomicU64::new(0);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while let Some(hit) = hits.get(next.fetch_add(1, Ordering::Relaxed) as usize) {
                    hit.run(&agent.rpc, &proxy);
                }
            });
        }
    });
    drop(busy);
    assert_eq!(agent.cli(&["members"]).code, Some(0), "{}", agent.log());
}

// parity: cli: Signals, closed output and closed connections at any moment
#[test]
fn agents_end_well_at_any_moment() {
    let mut random = Random::start();
    let net = Net::new();
    let dir = tempfile::tempdir().unwrap();
    let peer = Peer::start(Kind::Ours, "peer", &net.ip(9), &[]);
    // Its start, a join that reaches a node, one that reaches none, its leave and its end.
    let hits: Vec<_> = (0..ROUNDS)
        .map(|n| {
            let (life, how) =
                ([Life::Alone, Life::Joins, Life::Tries, Life::Leaves][n % 4], random.below(5));
            let until = if matches!(life, Life::Alone | Life::Tries) { 150 } else { 600 };
            (life, how, random.below(until), random.below(40))
        })
        .collect();
    let next = AtomicU64::new(0);
    thread::scope(|scope| {
        for worker in 0..4 {
            let (hits, next, net, dir, peer) = (&hits, &next, &net, dir.path(), &peer);
            scope.spawn(move || {
                let ip = format!("{net}{}", worker + 1);
                let snapshot = dir.join(format!("{worker}.snapshot"));
                while let Some(hit) = hits.get(next.fetch_add(1, Ordering::Relaxed) as usize) {
                    end_agent(&ip, &snapshot, &peer.addr, *hit);
                }
            });
        }
    });
    assert_eq!(peer.cli(&["members"]).code, Some(0), "{}", peer.log());
}

/// What an agent is doing when it receives the signal to end.
#[derive(Clone, Copy, Debug)]
enum Life {
    /// It starts.
    Alone,
    /// It joins.
    Joins,
    /// It joins an address where nobody is.
    Tries,
    /// It leaves: it received a signal before, and receives another.
    Leaves,
}

/// The agent's side: whatever part of a request has come when its connection ends, and whatever
/// part of the answer was read, the next client is served, and nothing is left of the last.
// parity: rpc: Connections that end at any moment of any request
#[test]
fn connections_that_end_at_any_moment_of_any_request_leave_nothing_behind() {
    let mut random = Random::start();
    let dir = tempfile::tempdir().unwrap();
    let keys = file(dir.path(), "keys", "[\"wsGlMv8mfgjD1f+CVVMHZA==\"]");
    let ip = Net::new().ip(1);
    let flags = ["-keyring-file", &keys, "-log-level", "trace", "-profile", "local"];
    let mut agent = Peer::start(Kind::Ours, "m", &ip, &flags);
    let requests = requests();
    let open = |agent: &Peer| {
        std::fs::read_dir(format!("/proc/{}/fd", agent.process.pid())).unwrap().count()
    };
    let before = open(&agent);
    let greeting = request("handshake", 0, Some(Value::map([("Version", 1.into())])));
    let hits: Vec<_> = (0..ROUNDS * requests.len())
        .map(|n| (&requests[n % requests.len()], random.below(1000), random.below(4)))
        .collect();
    let next = AtomicU64::new(0);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while let Some((bytes, part, how)) =
                    hits.get(next.fetch_add(1, Ordering::Relaxed) as usize)
                {
                    let mut stream = TcpStream::connect(&agent.rpc).unwrap();
                    let all = [&greeting[..], bytes].concat();
                    let count = all.len() * *part as usize / 1000;
                    // The agent may have closed it: a request was malformed by its end.
                    let _ = stream.write_all(if *how == 0 { &all[..count] } else { &all });
                    match how {
                        // Half of the answer.
                        1 => drop(stream.read(&mut vec![0; *part as usize % 60])),
                        2 => drop(stream.shutdown(Shutdown::Write)),
                        3 => thread::sleep(Duration::from_millis(*part / 100)),
                        _ => {}
                    }
                }
            });
        }
    });
    assert_eq!(agent.cli(&["members"]).code, Some(0), "{}", agent.log());
    let settled = poll(PATIENCE, || (open(&agent) <= before + 2).then_some(()));
    assert!(settled.is_some(), "{} descriptors, {before} before", open(&agent));
    agent.process.signal("INT");
    assert_eq!(agent.process.wait(), Some(0), "{}", agent.log());
    assert!(!agent.process.err().contains("panicked"), "{}", agent.process.err());
}

/// Each command but `leave`, which ends the agent, twice in a row.
fn requests() -> Vec<Vec<u8>> {
    let key = || Some(Value::map([("Key", "T9jncgl9mbLus+baTTa7q7nPSUrXwbDi2dhbtqir37s=".into())]));
    let text = |name: &str, value: &str| Some(Value::map([(name, value.into())]));
    let event = [("Name", "x".into()), ("Payload", Value::Bin(b"y".to_vec()))];
    let query = [("Name", "x".into()), ("Timeout", 20_000_000.into()), ("RequestAck", true.into())];
    let respond = [("ID", 1.into()), ("Payload", Value::Bin(b"y".to_vec()))];
    let tags = [("Tags", Value::map([("a", "b".into())])), ("DeleteTags", Value::texts(&["c"]))];
    let join = [("Existing", Value::texts(&["127.0.0.1:1"])), ("Replay", false.into())];
    let filter = [("Name", "m.*".into()), ("Status", "alive".into())];
    let all = [
        ("handshake", Some(Value::map([("Version", 1.into())]))),
        ("auth", text("AuthKey", "x")),
        ("event", Some(Value::map(event))),
        ("force-leave", text("Node", "nobody")),
        ("join", Some(Value::map(join))),
        ("members", None),
        ("members-filtered", Some(Value::map(filter))),
        ("tags", Some(Value::map(tags))),
        ("stream", text("Type", "*")),
        ("monitor", text("LogLevel", "TRACE")),
        ("stop", Some(Value::map([("Stop", 1.into())]))),
        ("query", Some(Value::map(query))),
        ("respond", Some(Value::map(respond))),
        ("install-key", key()),
        ("use-key", text("Key", "wsGlMv8mfgjD1f+CVVMHZA==")),
        ("remove-key", key()),
        ("list-keys", None),
        ("stats", None),
        ("get-coordinate", text("Node", "m")),
        ("no-such-command", None),
    ];
    let twice = |(command, body): (&str, Option<Value>)| {
        [request(command, 1, body.clone()), request(command, 2, body)].concat()
    };
    all.map(twice).into()
}

#[test]
fn a_monitor_ends_when_nobody_reads_it() {
    let ip = Net::new().ip(1);
    let agent = Peer::start(Kind::Ours, "m", &ip, &[]);
    for kind in [Kind::Go, Kind::Ours] {
        let busy = Busy::start(&agent);
        let mut command = Command::new(kind.program());
        command.args(["monitor", "-rpc-addr", &agent.rpc]);
        let status = Process::start_reading(command, 100).wait_status();
        assert_eq!(status.signal(), Some(SIGPIPE), "{kind:?}: {status}");
        drop(busy);
    }
}

/// A terminal that was stopped (Ctrl-S) takes no output: the command is in the middle of a line.
#[test]
fn ctrl_c_ends_a_monitor_whose_output_is_not_taken() {
    let ip = Net::new().ip(1);
    let agent = Peer::start(Kind::Ours, "m", &ip, &[]);
    let mut command = Command::new(Kind::Ours.program());
    command.args(["monitor", "-rpc-addr", &agent.rpc]).stdout(std::process::Stdio::piped());
    let mut child = command.spawn().unwrap();
    let unread = child.stdout.take();
    let payload = "x".repeat(400);
    // Each becomes some 2 KiB of text; a pipe holds 64.
    for _ in 0..60 {
        assert_eq!(agent.cli(&["event", "-coalesce=false", "fill", &payload]).code, Some(0));
    }
    let blocked = |pid: u32| {
        let wchan = std::fs::read_dir(format!("/proc/{pid}/task")).ok()?;
        let waits = |task: std::fs::DirEntry| {
            let text = std::fs::read_to_string(task.path().join("syscall")).unwrap_or_default();
            // write(1, ...)
            text.starts_with("1 0x1 ")
        };
        wchan.flatten().any(waits).then_some(())
    };
    assert!(poll(Duration::from_secs(30), || blocked(child.id())).is_some(), "it does not block");
    signal(child.id(), "INT");
    let status = compat_tests::process::wait_in_time(&mut child, "monitor");
    assert_eq!(status.code(), Some(0), "{status}");
    drop(unread);
}

/// What happens to a command, and when.
#[derive(Clone, Copy, Debug)]
struct Hit {
    line: &'static str,
    catches: bool,
    how: How,
    /// Milliseconds.
    after: u64,
}

#[derive(Clone, Copy, Debug)]
enum How {
    Signal(&'static str, i32),
    /// SIGINT where the parent ignored it, as shells do for background jobs.
    Ignored,
    /// The reader of its output leaves after so many bytes.
    Unread(u64),
    /// Its connection ends.
    Closed,
}

impl Hit {
    fn run(self, rpc: &str, proxy: &Proxy) {
        let args: Vec<&str> = self.line.split(' ').collect();
        let mut command = Command::new(Kind::Ours.program());
        if matches!(self.how, How::Ignored) {
            command = Command::new("/bin/sh");
            command.args(["-c", "trap '' INT; echo; exec \"$0\" \"$@\""]).arg(Kind::Ours.program());
        }
        let addr = if matches!(self.how, How::Closed) { &proxy.addr } else { rpc };
        command.args(args).env("SERF_RPC_ADDR", addr);
        let limit = if let How::Unread(limit) = self.how { limit } else { u64::MAX };
        let mut process = Process::start_reading(command, limit);
        if matches!(self.how, How::Ignored) {
            // Before the shell has set its trap, the signal ends the shell.
            process.wait_until("line of the shell", |out| !out.is_empty());
        }
        thread::sleep(Duration::from_millis(self.after));
        match self.how {
            How::Signal(name, _) => signal(process.pid(), name),
            How::Ignored => signal(process.pid(), "INT"),
            How::Closed => proxy.cut(),
            How::Unread(_) => {}
        }
        if self.line.starts_with("monitor") && matches!(self.how, How::Ignored | How::Closed) {
            // Before it listened, or had a connection, nothing ended it; on a busy machine that
            // takes a while.
            thread::sleep(Duration::from_millis(100));
            let began = Instant::now();
            while !process.has_ended() && began.elapsed() < PATIENCE / 2 {
                if matches!(self.how, How::Closed) {
                    proxy.cut();
                }
                signal(process.pid(), "INT");
                thread::sleep(Duration::from_millis(500));
            }
        }
        let status = process.wait_status();
        assert!(self.fits(status), "{self:?}: {status}\n{}\n{}", process.out(), process.err());
        assert!(!process.err().contains("panicked"), "{self:?}: {}", process.err());
    }

    fn fits(self, status: ExitStatus) -> bool {
        let ended = matches!(status.code(), Some(0 | 1));
        let by = |wanted: i32| status.signal() == Some(wanted);
        match self.how {
            // The monitor alone would go on for ever.
            How::Signal(_, number) => ended || by(number),
            How::Ignored => ended,
            How::Unread(_) => ended || by(SIGPIPE),
            How::Closed => ended || (self.catches && by(SIGINT)),
        }
    }
}

fn end_agent(ip: &str, snapshot: &Path, peer: &str, hit: (Life, u64, u64, u64)) {
    let (life, how, after, again) = hit;
    // SIGINT is ignored by the parent, as shells do for background jobs; the agent listens to it.
    let ignored = how == 4;
    let program = Kind::Ours.program();
    let mut command = Command::new(if ignored { Path::new("/bin/sh") } else { program });
    if ignored {
        command.args(["-c", "trap '' INT; exec \"$0\" \"$@\""]).arg(program);
    }
    let (bind, rpc) = (format!("{ip}:7946"), format!("{ip}:7373"));
    command.args(["agent", "-node", ip, "-bind", &bind, "-rpc-addr", &rpc, "-profile", "local"]);
    command.arg("-snapshot").arg(snapshot);
    match life {
        Life::Alone => {}
        Life::Joins | Life::Leaves => drop(command.args(["-join", peer])),
        Life::Tries => drop(command.args(["-retry-join", "127.0.0.1:1"])),
    }
    let unread = how == 3;
    let mut process = Process::start_reading(command, if unread { 10 } else { u64::MAX });
    thread::sleep(Duration::from_millis(after));
    let signals = [("INT", SIGINT), ("TERM", 15), ("HUP", 1), ("TERM", 15), ("INT", SIGINT)];
    let (name, number) = signals[how as usize];
    signal(process.pid(), name);
    if matches!(life, Life::Leaves) {
        thread::sleep(Duration::from_millis(again));
        signal(process.pid(), name);
    }
    if name == "HUP" || ignored {
        // Before it listened, that was lost.
        thread::sleep(Duration::from_millis(100));
        if !process.has_ended() {
            signal(process.pid(), "TERM");
        }
    }
    let status = process.wait_status();
    let fits = matches!(status.code(), Some(0 | 1))
        || [Some(number), Some(15)].contains(&status.signal())
        || (unread && status.signal() == Some(SIGPIPE));
    assert!(fits, "{hit:?}: {status}\n{}\n{}", process.out(), process.err());
    assert!(!process.err().contains("panicked"), "{hit:?}: {}", process.err());
}

/// A process that is gone got what it wanted.
fn signal(pid: u32, name: &str) {
    Command::new("kill").args([format!("-{name}"), pid.to_string()]).output_in_time();
}

/// Makes log lines and events all the time.
struct Busy {
    stop: Arc<AtomicBool>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Busy {
    fn start(agent: &Peer) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (rpc, stopped) = (agent.rpc.clone(), Arc::clone(&stop));
        let thread = thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                let mut event = Command::new(Kind::Ours.program());
                event.args(["event", "-coalesce=false", "busy", "x"]).env("SERF_RPC_ADDR", &rpc);
                event.output_in_time();
                thread::sleep(Duration::from_millis(100));
            }
        });
        Self { stop, thread: Some(thread) }
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = self.thread.take().map(thread::JoinHandle::join);
    }
}

/// Forwards connections to an agent until all that are open are cut.
struct Proxy {
    addr: String,
    open: Arc<std::sync::Mutex<Vec<TcpStream>>>,
}

impl Proxy {
    fn start(to: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap().to_string();
        let open = Arc::new(std::sync::Mutex::new(Vec::new()));
        let (all, to) = (Arc::clone(&open), to.to_owned());
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let Ok(agent) = TcpStream::connect(&to) else { continue };
                let [a, b] = [&client, &agent].map(|stream| stream.try_clone().unwrap());
                all.lock().unwrap().extend([&client, &agent].map(|s| s.try_clone().unwrap()));
                thread::spawn(move || forward(client, b));
                thread::spawn(move || forward(agent, a));
            }
        });
        Self { addr, open }
    }

    fn cut(&self) {
        for stream in self.open.lock().unwrap().drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

fn forward(mut from: TcpStream, mut to: TcpStream) {
    let mut buffer = [0; 4096];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        if to.write_all(&buffer[..count]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Both);
}

/// Marsaglia's xorshift: what a seed gives must not change with a library.
struct Random(u64);

impl Random {
    fn start() -> Self {
        let given = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok());
        let now = || SystemTime::UNIX_EPOCH.elapsed().map_or(1, |time| time.as_nanos() as u64);
        let seed = given.unwrap_or_else(now) | 1;
        println!("SEED={seed}");
        Self(seed)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }

    fn how(&mut self) -> How {
        match self.below(6) {
            0 => How::Signal("INT", SIGINT),
            1 => How::Signal("TERM", 15),
            2 => How::Signal("HUP", 1),
            3 => How::Ignored,
            4 => How::Unread(self.below(200)),
            _ => How::Closed,
        }
    }
}

const ROUNDS: usize = 100;
const SIGINT: i32 = 2;
const SIGPIPE: i32 = 13;
