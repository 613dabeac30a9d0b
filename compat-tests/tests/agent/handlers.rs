//! Goal: a script that handles events cannot tell our agent from Go's, except that it can no longer
//! hold up anything but itself. Method: both programs run the same scripts in one cluster.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::PermissionsExt,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use compat_tests::{
    go::GoPeer,
    net::Net,
    peer::Peer,
    process::{BOTH, Kind, signal},
    rpc::{Client, Value},
    wait::eventually,
};
use serde_json::json;
use tempfile::TempDir;

/// Goal: each kind of event, under each kind of filter, gives the script the same environment and
/// the same input, byte for byte. Method: a Go agent and ours are in one cluster, and their
/// handlers write down what they get.
// parity: handlers: User event stdin and env
// parity: handlers: Coalescing of user and member events
#[test]
fn every_kind_of_event_gives_the_environment_and_input_that_go_gives() {
    let given = thread::scope(|scope| {
        let both =
            [users as fn(&Recorder), members].map(|happen| scope.spawn(move || compare(happen)));
        both.map(|one| one.join().unwrap()).concat()
    });
    let kinds: BTreeSet<_> = given.iter().filter_map(|seen| seen.variable("SERF_EVENT")).collect();
    assert_eq!(kinds.len(), 7, "{kinds:?}");
    let merged = given.iter().filter(|seen| seen.has("SERF_USER_EVENT", "merged"));
    let merged: BTreeSet<_> = merged.map(|seen| seen.input.clone()).collect();
    assert_eq!(merged, BTreeSet::from([b"3\n".to_vec()]));
    let lines = |given: &Given| given.input.iter().filter(|byte| **byte == b'\n').count();
    assert!(given.iter().any(|given| given.filter == "member-join" && lines(given) == 3));
    let filters: BTreeSet<_> = given.iter().map(|seen| &*seen.filter).collect();
    assert_eq!(filters.len(), FILTERS.len(), "{filters:?}");
}

/// Lets things happen in a cluster of both programs, whose handlers must get the same.
fn compare(happen: fn(&Recorder)) -> Vec<Given> {
    let net = Net::new();
    let dir = tempfile::tempdir().unwrap();
    script(dir.path(), "dump.sh", DUMP);
    let agents = BOTH.map(|program| {
        let (name, last) = NODES[program as usize];
        let handlers = FILTERS.iter().enumerate();
        let handlers: Vec<_> =
            handlers.map(|(at, filter)| format!("{filter}=./dump.sh {name}/{at}")).collect();
        config(dir.path(), name, &json!({"event_handlers": handlers}).to_string());
        fs::create_dir(dir.path().join(name)).unwrap();
        let file = format!("{name}.json");
        let mut args = vec!["-config-file", &file, "-tag", "role=web", "-tag", "My-tag.x=1\n2"];
        args.extend(["-tag", "dc=east coast", "-tag", "\u{e9}=\u{fc}"]);
        Peer::start_in(program, name, &net.ip(last), &args, dir.path())
    });
    let recorder = Recorder { net, dir: &dir, agents: &agents };
    recorder.begin();
    happen(&recorder);
    let [go, ours] = NODES.map(|(name, _)| recorder.seen(name));
    let runs = |all: &[Given]| all.iter().map(Given::brief).collect::<Vec<_>>();
    assert_eq!(runs(&go), runs(&ours), "left: Go, right: ours");
    for (go, ours) in go.iter().zip(&ours) {
        assert_eq!(go, ours, "left: Go, right: ours");
    }
    ours
}

/// User events and queries from both programs.
fn users(recorder: &Recorder) {
    for agent in recorder.agents {
        let mut client = Client::ready(&agent.rpc);
        for (seq, (name, payload)) in (10..).zip(EVENTS) {
            recorder.step(|| send_event(&mut client, seq, name, payload, false));
        }
        recorder.step(|| send_query(agent, "load", b"15m"));
        recorder.step(|| send_query(agent, "other", b""));
        // Only the last of those that may be merged is reported.
        recorder.step(|| {
            for payload in [b"1", b"2", b"3"] {
                client.request("event", 60, Some(event("merged", payload, true)));
            }
            (0..3).for_each(|_| assert_eq!(client.next().unwrap().text("Error"), ""));
        });
    }
}

/// Every member event. The update comes last, as Go reports it again with all that follows.
fn members(recorder: &Recorder) {
    let net = recorder.net;
    let mut client = Client::ready(&recorder.agents[1].rpc);
    let peer = |name: &str, last: u8| {
        let tags = json!({"role": "d\tb\n2", "k": "1\\,2=", "\u{e9}": "\u{fc} "});
        GoPeer::start(json!({
            "name": name, "profile": "lan", "protocol": 5, "tags": tags, "bind": net.ip(last),
            "port": 7946,
        }))
    };
    // They know each other before, so that they are reported together.
    let peers = [("failing", 11), ("leaving", 12), ("updating", 13)];
    let [failing, leaving, updating] = peers.map(|(name, last)| peer(name, last));
    let first = format!("{}:7946", net.ip(11));
    for peer in [&leaving, &updating] {
        peer.call(json!({"cmd": "join", "addrs": [first]}));
    }
    eventually("the peers do not know each other", || failing.members().len() == 3);
    let addrs = NODES.map(|(_, last)| format!("{}:7946", net.ip(last)));
    recorder.step(|| drop(failing.call(json!({"cmd": "join", "addrs": addrs}))));
    recorder.step(|| drop(failing));
    let forced = |prune: bool| Value::map([("Node", "failing".into()), ("Prune", prune.into())]);
    recorder.step(|| drop(client.call("force-leave", 70, Some(forced(false)))));
    recorder.step(|| drop(client.call("force-leave", 71, Some(forced(true)))));
    recorder.step(|| drop(leaving.call(json!({"cmd": "leave"}))));
    let tags = json!({"role": "", "new": "tag"});
    recorder.step(|| drop(updating.call(json!({"cmd": "set_tags", "tags": tags}))));
}

/// Name and last byte of the address, Go's first.
const NODES: [(&str, u8); 2] = [("go", 2), ("ours", 3)];

const EVENTS: &[(&str, &[u8])] = &[
    ("deploy", b""),
    ("deploy", b"9c45b87"),
    ("deploy", b"a line\n"),
    ("other", b"two\nlines"),
    ("other", b"\n"),
    ("d\u{e9}ploy:x", b"\0\xff\xfe"),
];

const FILTERS: &[&str] = &[
    "member-join",
    "member-leave",
    "member-failed",
    "member-update",
    "member-reap",
    "user",
    "user:deploy",
    "query",
    "query:load",
    "member-join,member-leave,user:other,query:other",
    // The last to run of an event.
    "*",
];
/// Of these, each event has one.
const KINDS: [&str; 7] = [
    "member-join",
    "member-leave",
    "member-failed",
    "member-update",
    "member-reap",
    "user",
    "query",
];

/// Writes environment and input into a numbered directory; the last file marks it as complete.
const DUMP: &str = r#"
mkdir -p "$1"
to="$1/$(ls "$1" | wc -l)"
mkdir "$to"
env -0 > "$to/env"
cat > "$to/input"
: > "$to/whole"
"#;

struct Recorder<'a> {
    net: Net,
    dir: &'a TempDir,
    agents: &'a [Peer; 2],
}

/// What a script was given.
#[derive(Clone, Debug, PartialEq)]
struct Given {
    filter: String,
    /// Text where it is text.
    environment: BTreeSet<String>,
    input: Vec<u8>,
}

impl Given {
    fn variable(&self, name: &str) -> Option<&str> {
        let pairs = self.environment.iter().filter_map(|variable| variable.split_once('='));
        pairs.into_iter().find(|(known, _)| *known == name).map(|(_, value)| value)
    }

    fn brief(&self) -> String {
        let kind = self.variable("SERF_EVENT").unwrap_or_default();
        let input = String::from_utf8_lossy(&self.input);
        format!("{}: {kind}: {input}", self.filter)
    }

    fn has(&self, name: &str, value: &str) -> bool {
        self.variable(name) == Some(value)
    }
}

impl Recorder<'_> {
    /// Joins the two, and drops the events of that once both have reported them.
    fn begin(&self) {
        let mut client = Client::ready(&self.agents[1].rpc);
        let addrs = Value::map([("Existing", Value::texts(&[&self.net.ip(NODES[0].1)]))]);
        assert_eq!(client.call("join", 3, Some(addrs)).text("Error"), "");
        for ((name, _), (other, _)) in NODES.into_iter().zip([NODES[1], NODES[0]]) {
            eventually(&format!("{name} does not tell the join of {other}"), || {
                let start = format!("{other}\t");
                self.seen(name).iter().any(|given| {
                    String::from_utf8_lossy(&given.input).lines().any(|l| l.starts_with(&start))
                })
            });
        }
        self.quiet();
        for (name, _) in NODES {
            fs::remove_dir_all(self.dir.path().join(name)).unwrap();
            fs::create_dir(self.dir.path().join(name)).unwrap();
        }
    }

    /// Lets something happen, and waits until both agents have handled one event more.
    fn step(&self, happen: impl FnOnce()) {
        let before = NODES.map(|(name, _)| self.whole(name));
        happen();
        eventually("an event is not handled", || {
            let now = NODES.map(|(name, _)| self.whole(name));
            now.iter().zip(before).all(|(now, before)| now.0 > before.0 && now.1)
        });
        self.quiet();
    }

    /// Waits until all handlers that have begun are done.
    fn quiet(&self) {
        eventually("handlers still run", || {
            let one = NODES.map(|(name, _)| self.whole(name));
            thread::sleep(Duration::from_millis(60));
            one == NODES.map(|(name, _)| self.whole(name)) && one.iter().all(|(_, whole)| *whole)
        });
    }

    /// Events whose last handler has run, and whether those that have begun are done: on a busy
    /// machine any time may pass between two handlers of one event.
    fn whole(&self, name: &str) -> (usize, bool) {
        let runs = |filter: &&str| {
            let at = FILTERS.iter().position(|known| known == filter).unwrap();
            let list = fs::read_dir(self.dir.path().join(name).join(at.to_string()));
            list.into_iter().flatten().map(|entry| entry.unwrap().path()).collect::<Vec<_>>()
        };
        let begun = KINDS.iter().flat_map(runs).count();
        let done = runs(&"*").len();
        let whole = FILTERS.iter().flat_map(runs).all(|run| run.join("whole").exists());
        (done, whole && begun == done)
    }

    /// Everything that was written down, by filter and in order.
    fn seen(&self, name: &str) -> Vec<Given> {
        let mut all = Vec::new();
        for (at, filter) in FILTERS.iter().enumerate() {
            let dir = self.dir.path().join(name).join(at.to_string());
            for run in (0..)
                .map(|run| dir.join(run.to_string()))
                .take_while(|run| run.join("whole").exists())
            {
                let environment = fs::read(run.join("env")).unwrap();
                let variables = environment.split(|byte| *byte == 0).map(text);
                let mut environment: BTreeSet<_> = variables.collect();
                // The one variable that differs.
                assert!(environment.remove(&format!("SERF_SELF_NAME={name}")));
                let input = fs::read(run.join("input")).unwrap();
                let mut given = Given { filter: (*filter).to_owned(), environment, input };
                if given.variable("SERF_EVENT").is_some_and(|kind| kind.starts_with("member-")) {
                    given.input = members_in_order(&given.input);
                }
                all.push(given);
            }
        }
        all
    }
}

/// Text, or hex where it is none.
fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap_or_else(|_| hex::encode(bytes))
}

/// Members and the tags of each may come in any order.
fn members_in_order(input: &[u8]) -> Vec<u8> {
    let mut lines: Vec<_> = String::from_utf8_lossy(input).lines().map(tags_in_order).collect();
    lines.sort();
    lines.concat().into_bytes()
}

fn tags_in_order(line: &str) -> String {
    let (rest, tags) = line.rsplit_once('\t').expect("a member has four fields");
    let mut tags: Vec<_> = tags.split(',').collect();
    tags.sort_unstable();
    format!("{rest}\t{}\n", tags.join(","))
}

/// Goal: what a script prints and how it ends has the effects it has with Go: answers, refusals,
/// warnings, and lines of the log. Method: a Go agent and ours have the same handlers for queries;
/// both are asked each query, and what their logs say of scripts is compared.
// parity: handlers: Query stdin, env, response
// parity: handlers: Output cap 8 KiB tail
// parity: handlers: Slow warning
// parity: handlers: Failure logging
#[test]
fn output_and_end_of_a_script_have_the_effects_they_have_with_go() {
    let net = Net::new();
    let dir = tempfile::tempdir().unwrap();
    let handlers: Vec<_> = SCRIPTS.iter().map(|(name, s)| format!("query:{name}={s}")).collect();
    let text = json!({"event_handlers": handlers, "log_level": "debug"}).to_string();
    config(dir.path(), "both", &text);
    let first = net.ip(NODES[0].1);
    let agents = BOTH.map(|program| {
        let (name, last) = NODES[program as usize];
        let args = ["-config-file", "both.json", "-join", &first];
        let args = if last == NODES[0].1 { &args[..2] } else { &args };
        Peer::start_in(program, name, &net.ip(last), args, dir.path())
    });
    agents.iter().for_each(|agent| agent.wait_for_members(2));
    let mut client = Client::ready(&agents[1].rpc);
    let names: BTreeSet<_> = SCRIPTS.iter().map(|(name, _)| *name).collect();
    for (seq, name) in (10..).zip(&names) {
        client.request("query", seq, Some(query(name, b"", 8)));
    }
    let mut answers = [BTreeSet::new(), BTreeSet::new()];
    let (mut begun, mut done) = (BTreeSet::new(), 0);
    while done < names.len() {
        let header = client.next().unwrap();
        assert_eq!(header.text("Error"), "");
        let seq = header.number("Seq");
        if begun.insert(seq) {
            continue;
        }
        let record = client.next().unwrap();
        match &*record.text("Type") {
            "done" => done += 1,
            "response" => {
                let at = NODES.iter().position(|(node, _)| *node == record.text("From")).unwrap();
                let name = names.iter().nth(usize::try_from(seq).unwrap() - 10).unwrap();
                answers[at].insert((*name, record.get("Payload").cloned()));
            }
            kind => assert_eq!(kind, "ack"),
        }
    }
    // Go's answer waits for the child that holds the output.
    let background = |text: &str| ("background", Some(Value::Bin(text.into())));
    for (answers, text) in answers.iter_mut().zip(["now\nlate\n", "now\n"]) {
        assert!(answers.remove(&background(text)), "{answers:?}");
    }
    assert_eq!(answers[0], answers[1], "left: Go, right: ours");
    let answered: BTreeSet<_> = answers[1].iter().map(|(name, _)| *name).collect();
    let expected = ["binary", "both", "error", "input", "largest", "out", "slow", "two"];
    assert_eq!(answered, expected.into());
    let [go, mut ours] = agents.each_ref().map(|agent| of_scripts(&agent.printed()));
    let reasons: Vec<_> = ours.extract_if(.., |line| line.contains("the last line it")).collect();
    let reason = "[ERR] agent: Script 'echo no; exit 3' failed, the last line it printed: no";
    for part in [reason, "no-such-script: not found"] {
        assert!(reasons.iter().any(|line| line.contains(part)), "{part} not in {reasons:?}");
    }
    assert_eq!(reasons.len(), 2, "{reasons:?}");
    assert_eq!(go, ours, "left: Go, right: ours");
    let log = ours.into_iter().collect::<Vec<_>>().join("\n");
    for part in SCRIPT_LINES {
        assert!(log.contains(part), "{part} not in {log}");
    }
    // Of the last 8 KiB, as much is logged as a line may have.
    let kept = log.lines().find(|line| line.contains("script output: xxx")).unwrap();
    assert!(kept.matches('x').count() > 900, "{kept}");
}

const SCRIPTS: &[(&str, &str)] = &[
    ("out", "echo out"),
    ("error", "echo error >&2"),
    ("both", "echo 1; echo 2 >&2; echo 3"),
    ("input", "cat | tr a-z A-Z; echo $SERF_QUERY_NAME"),
    ("none", "true"),
    ("status", "echo no; exit 3"),
    ("signal", "kill -9 $$"),
    ("binary", "printf '\\001\\377\\000'"),
    ("largest", "head -c 900 /dev/zero | tr '\\0' y"),
    ("large", "head -c 20000 /dev/zero | tr '\\0' x; echo end"),
    ("two", "echo first"),
    ("two", "echo second"),
    ("background", "(sleep 0.3; echo late) & echo now"),
    ("slow", "sleep 1.3; echo slow"),
    ("missing", "./no-such-script"),
];

/// What a log says of scripts, sorted, without the time.
fn of_scripts(lines: &[String]) -> Vec<String> {
    let mut printed = false;
    let about = lines.iter().filter(|line| {
        if line.starts_with("    20") {
            printed = line.contains("script output: ");
        }
        // Go waits for the child that says this.
        let further = printed && !line.is_empty() && *line != "late";
        further || line.contains("cript") || line.contains("Failed to respond")
    });
    // Ours marks further lines, and escapes bytes that are no text.
    let mut about: Vec<_> = about
        .map(|line| line.strip_prefix("\t| ").unwrap_or(&line[line.find('[').unwrap_or(0)..]))
        .map(|line| line.replace('\u{1}', "\\u{1}").replace('\0', "\\u{0}"))
        // Ours cuts a line at 4 KiB.
        .map(|line| line.chars().take(1_000).collect())
        .collect();
    about.sort();
    about
}

/// Goal: one run at a time and in the order of the events, as with Go; a run that hangs holds up
/// neither RPC streams nor queries nor the protocol, as with Go it does.
// parity: handlers: Sequential ordering
#[test]
fn a_handler_that_hangs_holds_up_other_handlers_and_nothing_else() {
    let (net, dir) = (Net::new(), tempfile::tempdir().unwrap());
    // It ends when the directory does.
    let log = "while [ -e $SERF_USER_EVENT.wait ]; do sleep 0.05; done; \
               echo $SERF_USER_EVENT >> order";
    config(dir.path(), "a", &json!({"event_handlers": [format!("user={log}")]}).to_string());
    let a = Peer::start_in(Kind::Ours, "a", &net.ip(2), &["-config-file", "a.json"], dir.path());
    let join = net.ip(2);
    let b = Peer::start_in(Kind::Ours, "b", &net.ip(3), &["-join", &join], dir.path());
    [&a, &b].into_iter().for_each(|agent| agent.wait_for_members(2));
    fs::write(dir.path().join("first.wait"), "").unwrap();
    let mut client = Client::ready(&a.rpc);
    client.call("stream", 2, Some(Value::map([("Type", "user,query".into())])));
    let mut asker = Client::ready(&b.rpc);
    let begin = Instant::now();
    for (seq, name) in [(10, "first"), (11, "second"), (12, "third")] {
        send_event(&mut asker, seq, name, b"", false);
        assert_eq!(client.record()[1].text("Name"), name);
    }
    asker.request("query", 20, Some(query("q", b"", 15)));
    let [_, asked] = client.record();
    let answer = Value::map([("ID", asked.get("ID").unwrap().clone()), ("Payload", "yes".into())]);
    assert_eq!(client.call("respond", 21, Some(answer)).text("Error"), "");
    let mut answered = false;
    asker.next().unwrap();
    while !answered {
        let [_, record] = asker.record();
        answered = record.text("Type") == "response";
        assert!(answered || record.text("Type") == "ack");
    }
    // Longer than a failure takes to be noticed.
    thread::sleep(Duration::from_secs(7).saturating_sub(begin.elapsed()));
    a.wait_for_members(2);
    b.wait_for_members(2);
    a.wait_for_line("slow, execution exceeding 1s");
    assert!(!dir.path().join("order").exists());
    fs::remove_file(dir.path().join("first.wait")).unwrap();
    let order = || fs::read_to_string(dir.path().join("order")).unwrap_or_default();
    eventually("the other events are not handled", || order().lines().count() == 3);
    assert_eq!(order(), "first\nsecond\nthird\n");
}

/// Goal: with a timeout, a handler and all that it started end; without, they are left alone.
#[test]
fn a_timeout_ends_the_whole_process_group_of_a_handler() {
    let (net, dir) = (Net::new(), tempfile::tempdir().unwrap());
    let handlers = [
        // The shell waits for its child, or has ended before it.
        "user:waits=sleep 300 & echo $! > waits; wait",
        "user:ends=sleep 300 & echo $! > ends",
        // This one is in time, and its child holds no output.
        "user:in-time=sleep 300 > /dev/null 2>&1 & echo $! > in-time",
    ];
    config(dir.path(), "a", &json!({"event_handlers": handlers}).to_string());
    let args = ["-config-file", "a.json", "-handler-timeout", "1500ms"];
    let a = Peer::start_in(Kind::Ours, "a", &net.ip(2), &args, dir.path());
    let mut client = Client::ready(&a.rpc);
    let child = |name: &str| {
        let mut pid = String::new();
        eventually(&format!("{name} has not run"), || {
            pid = fs::read_to_string(dir.path().join(name)).unwrap_or_default();
            pid.ends_with('\n')
        });
        pid.trim().to_owned()
    };
    for (seq, name) in [(10, "waits"), (11, "ends")] {
        send_event(&mut client, seq, name, b"", false);
        let pid = child(name);
        eventually(&format!("{name}: the child lives"), || !is_running(&pid));
    }
    send_event(&mut client, 12, "in-time", b"", false);
    let pid = child("in-time");
    send_event(&mut client, 13, "waits", b"", false);
    eventually("no second timeout", || {
        // The script that ends leaves a child that is killed, too, but was not killed itself.
        let killed = |line: &&String| line.contains("killed after 1.5 seconds");
        a.printed().iter().filter(killed).count() == 2
    });
    assert!(is_running(&pid));
    end(&pid);
}

/// Goal: handlers outlive the agent as they outlive Go's; those with a timeout end with it.
#[test]
fn handlers_that_run_at_the_end_of_the_agent_go_on_unless_they_have_a_timeout() {
    let net = Net::new();
    let cases = [
        (Kind::Go, &[][..], true),
        (Kind::Ours, &[], true),
        (Kind::Ours, &["-handler-timeout", "10m"], false),
    ];
    thread::scope(|scope| {
        for (last, (kind, args, lives)) in (2..).zip(cases) {
            scope.spawn(move || {
                let dir = tempfile::tempdir().unwrap();
                let script = "echo $$ > pid; exec sleep 300";
                let args = [args, &["-event-handler", script]].concat();
                // The join of the agent itself starts it.
                let mut a = Peer::start_in(kind, "a", &net.ip(last), &args, dir.path());
                let mut pid = String::new();
                eventually("no handler has run", || {
                    pid = fs::read_to_string(dir.path().join("pid")).unwrap_or_default();
                    pid.ends_with('\n')
                });
                let pid = pid.trim();
                signal(a.pid(), "TERM");
                assert_eq!(a.wait().code(), Some(1));
                if lives {
                    assert!(is_running(pid), "{kind:?}");
                    end(pid);
                } else {
                    eventually("it goes on", || !is_running(pid));
                }
            });
        }
    });
}

/// Goal: so many handlers as allowed run at a time, each script one at a time and in order.
#[test]
fn several_handlers_run_at_a_time_up_to_the_limit_and_each_in_order() {
    let (net, dir) = (Net::new(), tempfile::tempdir().unwrap());
    script(dir.path(), "h.sh", CONCURRENT);
    fs::create_dir(dir.path().join("running")).unwrap();
    let handlers: Vec<_> = (0..4).map(|at| format!("user=./h.sh {at}")).collect();
    config(dir.path(), "a", &json!({"event_handlers": handlers}).to_string());
    let args = ["-config-file", "a.json", "-handler-concurrency", "2"];
    let a = Peer::start_in(Kind::Ours, "a", &net.ip(2), &args, dir.path());
    let mut client = Client::ready(&a.rpc);
    for seq in 10..15 {
        send_event(&mut client, seq, &format!("e{seq}"), b"", false);
    }
    let order =
        |at: u32| fs::read_to_string(dir.path().join(format!("order{at}"))).unwrap_or_default();
    eventually("events are not handled", || (0..4).all(|at| order(at).lines().count() == 5));
    for at in 0..4 {
        assert_eq!(order(at), "e10\ne11\ne12\ne13\ne14\n");
    }
    let most = fs::read_to_string(dir.path().join("counts")).unwrap();
    assert_eq!(most.lines().map(|count| count.trim().parse::<u32>().unwrap()).max(), Some(2));
}

/// A script that finds itself running twice complains.
const CONCURRENT: &str = r#"
mkdir "running/$1" || echo twice >> "order$1"
ls running | wc -l >> counts
sleep 0.15
rmdir "running/$1"
echo "$SERF_USER_EVENT" >> "order$1"
"#;

fn end(pid: &str) {
    signal(pid.parse().unwrap(), "TERM");
}

fn is_running(pid: &str) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // A zombie waits for its parent only.
    !status.is_empty() && !status.contains(") Z ")
}

fn event(name: &str, payload: &[u8], coalesce: bool) -> Value {
    Value::map([
        ("Name", name.into()),
        ("Payload", Value::Bin(payload.to_vec())),
        ("Coalesce", coalesce.into()),
    ])
}

/// The records that streams of this connection get meanwhile stay.
fn send_event(client: &mut Client, seq: u64, name: &str, payload: &[u8], coalesce: bool) {
    let header = client.call("event", seq, Some(event(name, payload, coalesce)));
    assert_eq!(header.text("Error"), "", "{name}");
}

fn query(name: &str, payload: &[u8], seconds: u64) -> Value {
    Value::map([
        ("Name", name.into()),
        ("Payload", Value::Bin(payload.to_vec())),
        ("RequestAck", true.into()),
        ("Timeout", (seconds * 1_000_000_000).into()),
    ])
}

/// Asks and does not wait for answers.
fn send_query(agent: &Peer, name: &str, payload: &[u8]) {
    let mut client = Client::ready(&agent.rpc);
    assert_eq!(client.call("query", 2, Some(query(name, payload, 5))).text("Error"), "");
}

fn script(dir: &Path, name: &str, text: &str) {
    let path = dir.join(name);
    fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
}

fn config(dir: &Path, name: &str, text: &str) {
    fs::write(dir.join(format!("{name}.json")), text).unwrap();
}

/// What both programs log about the scripts.
const SCRIPT_LINES: [&str; 6] = [
    "2\n3\n",
    "[ERR] agent: Error invoking script 'echo no; exit 3': exit status 3",
    "[ERR] agent: Error invoking script 'kill -9 $$': signal: killed",
    "[WARN] agent: Script 'sleep 1.3; echo slow' slow, execution exceeding 1s",
    "[WARN] agent: Failed to respond to query 'query: large': failed to respond to key query: \
     response exceeds limit of 1024 bytes",
    "[WARN] agent: Failed to respond to query 'query: two': failed to respond to key query: \
     response already sent",
];
