//! Goal: the rows of the parity table about the command line. Method: both programs drive agents of
//! both kinds in one cluster; what they print is equal, and is what the row asks for.

use std::{
    collections::BTreeSet,
    io::Read,
    process::{Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

use base64::Engine as _;
use compat_tests::{
    net::Net,
    peer::Peer,
    process::{InTime as _, Kind, Process, signal, wait_in_time},
    wait::{PATIENCE, eventually},
};
use serde_json::{Value, json};

const KEY: &str = "T9jncgl9mbLus+baTTa7q7nPSUrXwbDi2dhbtqir37s=";
const OTHER_KEY: &str = "HvY8ubRZMgafUOWvrOadwOckVa1wN3QWAo46FVKbVN8=";

const KINDS: [Kind; 2] = [Kind::Ours, Kind::Go];

fn run(kind: Kind, rpc: &str, args: &[&str]) -> Output {
    Command::new(kind.program()).args(args).env("SERF_RPC_ADDR", rpc).output_in_time()
}

/// Stdout, stderr and code.
fn texts(output: &Output) -> (String, String, Option<i32>) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&output.stdout), text(&output.stderr), output.status.code())
}

/// What follows an empty line at the end of `serf reachability`.
fn tips(text: &str) -> Option<&str> {
    text.split_once("\n\nTroubleshooting tips:").map(|(_, tips)| tips)
}

/// What both programs print, which must be equal once `normal` has taken out what may differ.
fn same(rpc: &str, args: &[&str], normal: impl Fn(&str) -> String) -> (String, Option<i32>) {
    let [ours, theirs] = KINDS.map(|kind| texts(&run(kind, rpc, args)));
    assert_eq!(normal(&ours.0), normal(&theirs.0), "stdout of {args:?}");
    assert_eq!((&ours.1, ours.2), (&theirs.1, theirs.2), "stderr and code of {args:?}");
    (ours.0, ours.2)
}

/// Lines in order, numbers as `N`.
fn shape(text: &str) -> String {
    let mut lines: Vec<String> = text
        .lines()
        .map(|line| {
            let mut out = String::new();
            for c in line.chars() {
                match c {
                    '0'..='9' if out.ends_with('N') => {}
                    '0'..='9' => out.push('N'),
                    c => out.push(c),
                }
            }
            out
        })
        .collect();
    lines.sort();
    lines.join("\n")
}

/// Agents of both kinds in one cluster: ours, Go's, ours.
struct Cluster {
    agents: Vec<Peer>,
    rpcs: Vec<String>,
    dir: tempfile::TempDir,
    net: Net,
}

impl Cluster {
    fn start(config: &Value) -> Self {
        let (dir, net) = (tempfile::tempdir().expect("a directory"), Net::new());
        let mut cluster = Self { agents: Vec::new(), rpcs: Vec::new(), dir, net };
        for (name, ours) in [("one", true), ("two", false), ("three", true)] {
            cluster.add(name, ours, config);
        }
        for other in &cluster.agents[1..] {
            other.join(&cluster.agents[0], false);
        }
        cluster.wait_alive(3);
        cluster
    }

    fn add(&mut self, name: &str, ours: bool, config: &Value) {
        let ip = format!("{}{}", self.net, self.agents.len() + 1);
        let mut config = config.clone();
        config["tags"] =
            json!({"role": if ours { "web" } else { "web-go" }, "dc": "east", name: "1"});
        let kind = if ours { Kind::Ours } else { Kind::Go };
        self.agents.push(Peer::configured(kind, name, &ip, &config, self.dir.path()));
        self.rpcs.push(format!("{ip}:7373"));
    }

    fn wait_alive(&self, count: usize) {
        eventually("all are alive everywhere", || {
            self.agents.iter().all(|agent| {
                agent.members().iter().filter(|(_, status)| status == "alive").count() == count
            })
        });
    }

    fn wait_status(&self, at: usize, name: &str, status: &str) {
        eventually(&format!("{name} is {status}"), || {
            self.agents[at].members().contains(&(name.into(), status.into()))
        });
    }
}

// parity: cli: Usage list on no/unknown command, exit 127, on stderr
// parity: cli: -h/--help per command, stderr, exit 0
#[test]
fn commands_are_listed_and_helped_as_by_go() {
    let [ours, go] = KINDS;
    let commands = |text: &str| -> Vec<String> {
        let names = text.lines().filter(|line| line.starts_with("    "));
        names.filter_map(|line| line.split_whitespace().next().map(str::to_owned)).collect()
    };
    for args in [&[][..], &["bogus"], &["bogus", "-x"]] {
        let (stdout, stderr, code) = texts(&run(ours, "", args));
        let (go_stdout, go_stderr, go_code) = texts(&run(go, "", args));
        assert_eq!((stdout, code), (go_stdout, go_code), "{args:?}");
        assert_eq!(code, Some(127));
        let (listed, theirs) = (commands(&stderr), commands(&go_stderr));
        assert_eq!(theirs.len(), 15);
        assert!(
            listed.is_sorted() && theirs.iter().all(|name| listed.contains(name)),
            "{listed:?}"
        );
    }
    for command in commands(&texts(&run(go, "", &[])).1) {
        for flag in ["-h", "--help", "-help"] {
            let (stdout, stderr, code) = texts(&run(ours, "", &[&command, flag]));
            let (go_stdout, go_stderr, go_code) = texts(&run(go, "", &[&command, flag]));
            assert_eq!((stdout, code), (go_stdout, go_code), "{command} {flag}");
            assert_eq!(code, Some(0));
            assert!(!stderr.trim().is_empty(), "{command}");
            // Go's has no usage line for one command or another.
            let usage = |text: &str| text.contains("Usage: serf ");
            assert!(usage(&stderr) || !usage(&go_stderr), "{command}: {stderr}\n{go_stderr}");
        }
    }
}

// parity: cli: version command and -v/--version anywhere
// parity: cli: Version output names agent protocol range
#[test]
fn version_is_printed_wherever_it_is_asked_for() {
    let [ours, go] = KINDS;
    for args in [&["version"][..], &["-v"], &["--version"], &["event", "x", "-v"]] {
        let (stdout, stderr, code) = texts(&run(ours, "127.0.0.1:1", args));
        let (go_stdout, go_stderr, go_code) = texts(&run(go, "127.0.0.1:1", args));
        assert_eq!((&stderr, code), (&go_stderr, go_code));
        assert_eq!(code, Some(0));
        let second = |text: &str| text.lines().nth(1).map(str::to_owned);
        assert_eq!(second(&stdout), second(&go_stdout));
        assert_eq!(
            second(&stdout).as_deref(),
            Some("Agent Protocol: 5 (Understands back to: 2)"),
            "{stdout}"
        );
        let commit = stdout.lines().nth(2).and_then(|line| line.strip_prefix("Commit: "));
        assert!(commit.is_some_and(|commit| !commit.is_empty()), "{stdout}");
    }
}

// parity: cli: Flags before subcommand rejected
#[test]
fn flags_before_the_command_are_refused() {
    for args in [&["-foo", "members"][..], &["-rpc-addr=x", "members"], &["--x", "event", "y"]] {
        let [ours, theirs] = KINDS.map(|kind| texts(&run(kind, "", args)));
        assert_eq!(ours.2, Some(1));
        assert_eq!((&ours.0, ours.2), (&theirs.0, theirs.2));
        let notice = |text: &str| text.lines().take(2).map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(notice(&ours.1), notice(&theirs.1));
    }
}

// parity: cli-keys: keygen
#[test]
fn keygen_prints_32_random_bytes() {
    let mut keys = BTreeSet::new();
    for _ in 0..3 {
        let (stdout, stderr, code) = texts(&run(Kind::Ours, "", &["keygen"]));
        assert_eq!((stderr.as_str(), code), ("", Some(0)));
        let key = base64::engine::general_purpose::STANDARD.decode(stdout.trim_end()).unwrap();
        assert_eq!(key.len(), 32);
        keys.insert(key);
    }
    assert_eq!(keys.len(), 3);
}

// parity: cli: SERF_RPC_AUTH environment variable
#[test]
fn the_rpc_token_comes_from_the_environment_or_the_flag() {
    let (dir, net) = (tempfile::tempdir().unwrap(), Net::new());
    for (name, agent_program, ip) in [("ours", Kind::Ours, 1), ("go", Kind::Go, 2)] {
        let ip = format!("{net}{ip}");
        let config = json!({"rpc_auth": "secret"});
        // Its start waits for an RPC answer; a refusal is one.
        let _agent = Peer::configured(agent_program, name, &ip, &config, dir.path());
        for kind in KINDS {
            let with = |env: &str, args: &[&str]| {
                let mut command = Command::new(kind.program());
                command.args(args).env("SERF_RPC_ADDR", format!("{ip}:7373"));
                command.env("SERF_RPC_AUTH", env);
                texts(&command.output_in_time())
            };
            assert_eq!(with("secret", &["members"]).2, Some(0));
            assert_eq!(with("secret", &["members", "-rpc-auth", "wrong"]).2, Some(1));
            assert_eq!(with("wrong", &["members", "-rpc-auth", "secret"]).2, Some(0));
            let refused = with("wrong", &["members"]);
            assert_eq!(refused.2, Some(1));
            assert!(refused.0.contains("Error connecting to Serf agent: "), "{refused:?}");
            assert!(
                refused.0.to_lowercase().contains("invalid authentication token"),
                "{refused:?}"
            );
        }
    }
}

// parity: cli-members: members -tag repeated
// parity: cli-misc: info text
// parity: cli-misc: info json
// parity: cli-misc: event size limit error
// parity: cli-misc: rtt one/two names
#[test]
fn info_events_and_members_are_printed_as_by_go() {
    let cluster = Cluster::start(&json!({}));
    for rpc in &cluster.rpcs[..2] {
        let (text, code) = same(rpc, &["info"], shape);
        assert_eq!(code, Some(0));
        assert!(text.contains("agent:\n\tname = ") && text.contains("\nserf:\n\t"), "{text}");
        let groups: Vec<&str> = text.lines().filter(|line| !line.starts_with('\t')).collect();
        assert!(groups.is_sorted(), "{groups:?}");
        let json_shape = |text: &str| shape(text);
        let (text, _) = same(rpc, &["info", "-format", "json"], json_shape);
        let info: Value = serde_json::from_str(&text).unwrap();
        let groups = info.as_object().unwrap();
        assert_eq!(groups.len(), 5, "{groups:?}");
        for group in groups.values() {
            assert!(group.as_object().unwrap().values().all(Value::is_string));
        }

        let long = "p".repeat(600);
        let (text, code) = same(rpc, &["event", "deploy", &long], str::to_owned);
        assert_eq!(code, Some(1));
        let limit = "user event exceeds configured limit of 512 bytes before encoding";
        assert!(text.contains(limit), "{text}");

        // Go prints tags in any order.
        let sorted = |text: &str| {
            let sort = |line: &str| {
                let mut words: Vec<&str> = line.split([' ', ',']).collect();
                words.sort_unstable();
                words.join(" ")
            };
            let mut lines: Vec<String> = text.lines().map(sort).collect();
            lines.sort_unstable();
            lines.join("\n")
        };
        let args = ["members", "-tag", "role=web.*", "-tag", "two=1"];
        let (text, _) = same(rpc, &args, sorted);
        assert_eq!(text.lines().count(), 1, "all expressions must match: {text}");
        assert!(text.starts_with("two "));
        let (text, _) = same(rpc, &["members", "-tag", "two=^$", "-tag", "dc=e.*"], sorted);
        assert_eq!(text.lines().count(), 2, "a missing tag is empty: {text}");
    }
    let rtt = |text: &str| shape(text);
    for names in [&["one", "two"][..], &["two"]] {
        let mut args = vec!["rtt"];
        args.extend(names);
        // Go's agent has no coordinate of a node until it has probed it.
        let rpc = &cluster.rpcs[0];
        eventually("coordinates are known", || {
            KINDS.into_iter().all(|kind| run(kind, rpc, &args).status.success())
        });
        let (text, code) = same(rpc, &args, rtt);
        assert_eq!(code, Some(0));
        let expected = "Estimated two <-> one rtt: N.N ms";
        let other = "Estimated one <-> two rtt: N.N ms";
        assert!([expected, other].contains(&shape(&text).as_str()), "{text}");
    }
}

// parity: cli-query: query text output
// parity: cli-query: query -tag
// parity: cli-query: query -relay-factor
// parity: cli-query: query interrupt
// parity: cli-query: internal prefix refused
// parity: cli-misc: reachability -verbose
// parity: cli-misc: reachability mismatch
#[test]
fn queries_are_printed_filtered_and_relayed_as_by_go() {
    let config = json!({"event_handlers": ["query:load=echo 1.25"]});
    let mut cluster = Cluster::start(&config);
    for rpc in &cluster.rpcs[..2] {
        let (text, code) = same(rpc, &["query", "-timeout", "2s", "load"], shape);
        assert_eq!(code, Some(0));
        for line in [
            "Query 'load' dispatched",
            "Ack from 'one'",
            "Ack from 'two'",
            "Ack from 'three'",
            "Response from 'two': 1.25",
            "Total Acks: 3",
            "Total Responses: 3",
        ] {
            assert!(text.contains(line), "no {line}: {text}");
        }
        let (text, _) = same(rpc, &["query", "-timeout", "1s", "-tag", "role=eb-", "load"], shape);
        assert!(text.contains("Total Responses: 1"), "unanchored: {text}");
        let args = ["query", "-timeout", "2s", "-no-ack", "-relay-factor", "2", "load"];
        let (text, _) = same(rpc, &args, shape);
        assert!(text.contains("Total Responses: 3"), "relayed, but once each: {text}");
        let (text, code) = same(rpc, &["query", "_serf_x"], str::to_owned);
        assert_eq!(code, Some(1));
        assert!(text.contains("_serf_"), "{text}");
        let (text, code) = same(rpc, &["query", "-timeout", "1s", "_serf_ping"], shape);
        assert_eq!(code, Some(0), "the one internal query that may be asked: {text}");
        let (text, code) = same(rpc, &["reachability", "-verbose"], |text| {
            // Times of acks differ, and so does their order.
            shape(text)
                .replace("N.Nµs", "N.Nms")
                .replace("Nµs", "N.Nms")
                .replace("Nms", "N.Nms")
                .replace("N.N.Nms", "N.Nms")
        });
        assert_eq!(code, Some(0));
        assert!(text.contains("\tAck from 'two'") || text.contains("Ack from 'two'"), "{text}");
        assert!(text.contains("Query time: "), "{text}");
    }
    // An interrupt ends a query with code 1.
    for kind in KINDS {
        let child = Command::new(kind.program())
            .args(["query", "-timeout", "30s", "load"])
            .env("SERF_RPC_ADDR", &cluster.rpcs[0])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let code = interrupt_once_it_said(child, "dispatched").0;
        assert_eq!(code, Some(1), "{kind:?}");
    }
    // A stopped node is still listed, and does not ack.
    cluster.agents[2].signal("STOP");
    let [ours, theirs] = KINDS.map(|kind| {
        let args = ["reachability"];
        let rpc = cluster.rpcs[0].clone();
        thread::spawn(move || texts(&run(kind, &rpc, &args)))
    });
    let (ours, theirs) = (ours.join().unwrap(), theirs.join().unwrap());
    cluster.agents[2].signal("CONT");
    let warns = |text: &str| text.contains("Received less acks than live nodes!");
    assert!(warns(&ours.0) && warns(&theirs.0), "{}\n{}", ours.0, theirs.0);
    assert!(tips(&ours.0).is_some() && tips(&ours.0) == tips(&theirs.0), "{}", ours.0);
    assert_eq!((ours.2, theirs.2), (Some(1), Some(1)));
    cluster.agents.clear();
}

/// Waits until the child has printed `what`, interrupts it, and gives its code and all it printed.
fn interrupt_once_it_said(mut child: std::process::Child, what: &str) -> (Option<i32>, String) {
    let mut stdout = child.stdout.take().expect("piped");
    let (send, receive) = std::sync::mpsc::channel();
    let reader = thread::spawn(move || {
        let (mut all, mut buf) = (Vec::new(), [0; 4096]);
        while let Ok(n @ 1..) = stdout.read(&mut buf) {
            all.extend_from_slice(&buf[..n]);
            let _ = send.send(String::from_utf8_lossy(&all).into_owned());
        }
        String::from_utf8_lossy(&all).into_owned()
    });
    let began = Instant::now();
    loop {
        let text = receive.recv_timeout(PATIENCE).expect("it says something");
        if text.contains(what) {
            break;
        }
        assert!(began.elapsed() < PATIENCE, "never said {what}: {text}");
    }
    signal(child.id(), "INT");
    let code = wait_in_time(&mut child, "what was interrupted").code();
    (code, reader.join().unwrap())
}

// parity: cli-keys: keys -list
// parity: cli-keys: keys -install/-use/-remove
#[test]
fn keys_are_listed_and_rotated_by_either_program() {
    let cluster = Cluster::start(&json!({"encrypt_key": KEY}));
    let (rust, go) = (&cluster.rpcs[0], &cluster.rpcs[1]);
    let sorted = |text: &str| shape(text);
    for rpc in [rust, go] {
        let (text, code) = same(rpc, &["keys", "-list"], sorted);
        assert_eq!(code, Some(0));
        assert!(text.contains(KEY) && text.contains("[3/3]"), "{text}");
    }
    for (kind, rpc, old, new) in
        [(Kind::Ours, go, KEY, OTHER_KEY), (Kind::Go, rust, OTHER_KEY, KEY)]
    {
        for step in [["keys", "-install", new], ["keys", "-use", new], ["keys", "-remove", old]] {
            let (stdout, stderr, code) = texts(&run(kind, rpc, &step));
            assert_eq!((stderr.as_str(), code), ("", Some(0)), "{step:?}: {stdout}");
        }
        let (text, _) = same(rpc, &["keys", "-list"], sorted);
        assert!(text.contains(new) && !text.contains(old), "{text}");
    }
}

// parity: cli-misc: force-leave
// parity: cli-misc: force-leave -prune
// parity: cli-misc: leave
// parity: cli-misc: tags -set/-delete
#[test]
fn tags_leave_and_force_leave_are_seen_by_the_others() {
    let mut cluster = Cluster::start(&json!({}));
    for (at, kind) in [(0, Kind::Go), (1, Kind::Ours)] {
        let rpc = cluster.rpcs[at].clone();
        let set = texts(&run(kind, &rpc, &["tags", "-set", "color=blue", "-delete", "dc"]));
        assert_eq!(set.2, Some(0), "{set:?}");
        let name = ["one", "two"][at];
        let other = cluster.rpcs[1 - at].clone();
        eventually("the other agent sees the new tags", || {
            let args = ["members", "-name", name, "-format", "json"];
            let text = texts(&run(kind, &other, &args)).0;
            text.contains("\"color\": \"blue\"") && !text.contains("\"dc\"")
        });
    }
    // Killed, forced out, and pruned; a second one only pruned.
    for (kind, prune) in [(true, false), (false, true)] {
        let name = if prune { "five" } else { "four" };
        cluster.add(name, kind, &json!({}));
        let victim = cluster.agents.len() - 1;
        cluster.agents[victim].join(&cluster.agents[0], false);
        cluster.wait_status(0, name, "alive");
        cluster.wait_status(1, name, "alive");
        drop(cluster.agents.remove(victim));
        cluster.rpcs.remove(victim);
        for at in [0, 1] {
            cluster.wait_status(at, name, "failed");
        }
        let args: &[&str] =
            if prune { &["force-leave", "-prune", name] } else { &["force-leave", name] };
        let said = texts(&run(Kind::Ours, &cluster.rpcs[1], args));
        assert_eq!(said, (String::new(), String::new(), Some(0)));
        for at in [0, 1] {
            if prune {
                eventually("the pruned one is gone", || {
                    cluster.agents[at].members().iter().all(|(member, _)| member != name)
                });
            } else {
                cluster.wait_status(at, name, "left");
            }
        }
    }
    // Go's program makes ours leave, and ours makes Go's leave.
    let rpcs = cluster.rpcs.clone();
    for (name, kind) in [("one", Kind::Go), ("two", Kind::Ours)] {
        let rpc = &rpcs[if name == "one" { 0 } else { 1 }];
        let said = texts(&run(kind, rpc, &["leave"]));
        assert_eq!(said, ("Graceful leave complete\n".into(), String::new(), Some(0)));
        let last = cluster.agents.len() - 1;
        cluster.wait_status(last, name, "left");
        let mut gone = cluster.agents.remove(0);
        assert_eq!(gone.wait().code(), Some(0), "{name} ends by itself");
    }
}

// parity: cli-misc: monitor logs
// parity: cli-misc: monitor events
// parity: cli-misc: monitor end states
#[test]
fn monitor_shows_logs_and_events_until_the_end() {
    let mut cluster = Cluster::start(&json!({}));
    for at in [0, 1] {
        let rpc = cluster.rpcs[at].clone();
        for kind in KINDS {
            let child = Command::new(kind.program())
                .args(["monitor", "-log-level", "DEBUG"])
                .env("SERF_RPC_ADDR", &rpc)
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            let (sender, other) = (kind, cluster.rpcs[1 - at].clone());
            // An event that comes in while it watches, again and again in case it is lost.
            let (stop, stopped) = std::sync::mpsc::channel::<()>();
            let events = thread::spawn(move || {
                while stopped.recv_timeout(Duration::from_millis(500)).is_err() {
                    run(sender, &other, &["event", "-coalesce=false", "watched", "payload"]);
                }
            });
            let (code, text) = interrupt_once_it_said(child, "Name: \"watched\"");
            let _ = stop.send(());
            events.join().unwrap();
            assert_eq!(code, Some(0), "{text}");
            assert!(text.contains("[INFO] agent: "), "the backlog: {text}");
            assert!(text.contains("Event Info:\n"), "{text}");
            assert!(text.contains("Name: \"watched\""), "{text}");
        }
    }
    // An agent that ends, ends its monitors.
    for kind in KINDS {
        let last = cluster.agents.len() - 1;
        let mut command = Command::new(kind.program());
        command.arg("monitor").env("SERF_RPC_ADDR", &cluster.rpcs[last]);
        let mut monitor = Process::start(command);
        monitor.wait_until("backlog", |out| !out.is_empty());
        drop(cluster.agents.remove(last));
        let code = monitor.wait();
        let text = monitor.out();
        assert!(
            text.contains("Remote side ended the monitor! This usually means that the"),
            "{text}"
        );
        assert_eq!(code, Some(1));
    }
}

// parity: cli-misc: join -replay
#[test]
fn join_with_replay_brings_old_events() {
    let cluster = Cluster::start(&json!({}));
    let said = texts(&run(Kind::Ours, &cluster.rpcs[0], &["event", "old-news", "x"]));
    assert_eq!(said.2, Some(0));
    let dir = tempfile::tempdir().unwrap();
    for (n, (joiner, kind)) in
        [(Kind::Ours, Kind::Go), (Kind::Go, Kind::Ours)].into_iter().enumerate()
    {
        for replay in [false, true] {
            let name = format!("late-{n}-{replay}");
            let ip = format!("{}{}", cluster.net, 100 + 2 * n + usize::from(replay));
            let late = Peer::configured(joiner, &name, &ip, &json!({}), dir.path());
            let mut args = vec!["join"];
            if replay {
                args.push("-replay");
            }
            let addr = cluster.agents[0].addr.clone();
            args.push(&addr);
            // As long as it is gossiped, a joiner may hear it before it knows what is old.
            eventually("the old event is gossiped no more", || {
                let is_idle = |agent: &Peer| agent.ok(&["info"]).contains("event_queue = 0\n");
                cluster.agents.iter().all(is_idle)
            });
            let said = texts(&run(kind, &format!("{ip}:7373"), &args));
            assert_eq!(
                said,
                (
                    "Successfully joined cluster by contacting 1 nodes.\n".into(),
                    String::new(),
                    Some(0)
                )
            );
            let heard = || late.events().iter().any(|line| line.contains("old-news"));
            if replay {
                eventually("the old event is handled", heard);
            } else {
                thread::sleep(Duration::from_secs(1));
                assert!(!heard(), "nobody asked for a replay");
            }
        }
    }
}

#[test]
fn a_bad_format_is_refused_before_anything_is_done() {
    let (net, key) = (Net::new(), "A4iuqkTprmcsSdgfAue48PTKTCsJD4L1LiG//NRaUMU=");
    let other = "5K9OtfP7efFrNKe5WCQvXvnaXJ5cWP0SvXNxvZ3xLRM=";
    let flags = ["-profile", "local", "-encrypt", key];
    let a = Peer::start(Kind::Ours, "a", &net.ip(1), &flags);
    let b = Peer::start(Kind::Ours, "b", &net.ip(2), &flags);
    for args in [
        &["event", "x"][..],
        &["join", &b.addr],
        &["force-leave", "a"],
        &["tags", "-set", "x=y"],
        &["keys", "-install", other],
        &["leave"],
    ] {
        let mut all = args.to_vec();
        all.splice(1..1, ["-format", "xml"]);
        let said = a.cli(&all);
        assert_eq!(said.out, "Encoding error: Invalid output format \"xml\"\n", "{args:?}");
        assert_eq!(said.code, Some(1), "{args:?}");
    }
    assert_eq!(a.listed(), ["a alive"]);
    let info = a.ok(&["info"]);
    assert!(info.contains("event_time = 1\n") && !info.contains("x = y"), "{info}");
    assert!(!a.ok(&["keys", "-list"]).contains(other));
}

#[test]
fn every_command_speaks_json() {
    let (net, key) = (Net::new(), "A4iuqkTprmcsSdgfAue48PTKTCsJD4L1LiG//NRaUMU=");
    let flags = ["-profile", "local", "-encrypt", key];
    let a = Peer::start(Kind::Ours, "a", &net.ip(1), &flags);
    let b = Peer::start(Kind::Ours, "b", &net.ip(2), &flags);
    a.ok(&["join", &b.addr]);
    a.wait_member("b", "alive");
    let json = |args: &[&str]| -> serde_json::Value {
        let mut all = args.to_vec();
        all.extend(["-format", "json"]);
        // Flags precede arguments.
        all[1..].rotate_right(2);
        let out = a.ok(&all);
        serde_json::from_str(&out).unwrap_or_else(|error| panic!("{args:?}: {error}: {out}"))
    };
    assert_eq!(json(&["members"])["members"].as_array().unwrap().len(), 2);
    assert_eq!(json(&["info"])["agent"]["name"], "a");
    assert_eq!(json(&["event", "x"])["event"], "x");
    assert_eq!(json(&["query", "-timeout", "1s", "x"])["Acks"].as_array().unwrap().len(), 2);
    assert!(json(&["keygen"])["key"].is_string());
    assert!(json(&["keys", "-list"]).is_object());
    assert_eq!(json(&["join", &b.addr])["contacted"], 1);
    assert_eq!(json(&["force-leave", "nobody"])["name"], "nobody");
    assert_eq!(json(&["tags", "-set", "a=b"])["updated"], true);
    assert_eq!(json(&["rtt", "a", "b"])["from"], "a");
    assert_eq!(json(&["version"])["protocol"], 5);
    let reached = json(&["reachability"]);
    assert_eq!(reached["acked"], serde_json::json!(["a", "b"]));
    assert_eq!(reached["missing"], serde_json::json!([]));
    let mut command = std::process::Command::new(Kind::Ours.program());
    command.args(["monitor", "-format", "json"]).env("SERF_RPC_ADDR", &a.rpc);
    let monitor = compat_tests::process::Process::start(command);
    monitor.wait_for("{\"log\":");
    a.ok(&["event", "-coalesce=false", "mon", "<x>"]);
    let out = monitor.wait_until("the event", |out| {
        out.lines().any(|line| line.contains("\"name\":\"mon\"") && line.ends_with('}'))
    });
    for line in out.lines() {
        let _: serde_json::Value = serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"));
    }
    assert_eq!(json(&["leave"])["left"], true);
}
