//! Goal: an operator who knows Go's log reads ours: each line of a whole life has Go's level and
//! words. Method: agents of either program live the same life, at the finest level, and the lines
//! of each node are compared as sets, without times, addresses and ports. What may differ is
//! listed with its reason.

use std::{collections::BTreeSet, path::Path, thread, time::Duration};

use compat_tests::{
    net::Net,
    peer::{Launch, Peer},
    process::{BOTH, Kind, file},
};
use serde_json::{Value, json};

use super::addresses::without_name_server;

// parity: agent-obs: Log of a whole life: levels and words
#[test]
fn a_whole_life_is_logged_in_go_s_words() {
    let lives = thread::scope(|scope| {
        BOTH.map(|kind| scope.spawn(move || Life::live(kind))).map(|life| life.join().unwrap())
    });
    let [theirs, ours] = &lives;
    let mut used = BTreeSet::new();
    let mut different = Vec::new();
    for (node, lines) in &ours.logs {
        let (_, go) = theirs.logs.iter().find(|(name, _)| name == node).unwrap();
        for (of, missing) in [(Kind::Ours, lines - go), (Kind::Go, go - lines)] {
            for line in missing {
                let fits = |rule: &&Rule| rule.fits(of, &line);
                match RULES.iter().find(fits) {
                    Some(rule) => drop(used.insert(rule.text)),
                    None => different.push(format!("{node}: only {of:?}: {line}")),
                }
            }
        }
    }
    assert!(different.is_empty(), "{}\n{}", different.join("\n"), ours.raw);
    let stale = RULES.iter().filter(|rule| rule.always && !used.contains(rule.text));
    let stale: Vec<_> = stale.map(|rule| rule.text).collect();
    assert!(stale.is_empty(), "no such difference: {stale:?}");
    let all: BTreeSet<_> = ours.logs.iter().flat_map(|(_, lines)| lines).collect();
    assert!(all.len() > 80, "a short life: {all:?}");
    for form in RUST_FORMS {
        let found = ours.raw.lines().find(|line| line.contains(form));
        assert!(found.is_none(), "{form:?} in {found:?}");
    }
}

/// A line that one of the two may log alone.
struct Rule {
    of: &'static [Kind],
    /// What it begins with.
    text: &'static str,
    /// Whether it is so in every life, or only in some, by its moment.
    always: bool,
}

impl Rule {
    fn fits(&self, of: Kind, line: &str) -> bool {
        self.of.contains(&of) && line.starts_with(self.text)
    }
}

const fn moment(text: &'static str) -> Rule {
    Rule { of: &BOTH, text, always: false }
}

const fn differs(of: &'static [Kind], text: &'static str) -> Rule {
    Rule { of, text, always: true }
}

const fn may_differ(of: &'static [Kind], text: &'static str) -> Rule {
    Rule { of, text, always: false }
}

struct Life {
    /// Of each node: level and text of its lines.
    logs: Vec<(&'static str, BTreeSet<String>)>,
    raw: String,
}

impl Life {
    fn live(kind: Kind) -> Self {
        let (dir, net) = (tempfile::tempdir().unwrap(), Net::new());
        let dir = dir.path();
        let [mut a, mut b, mut c] = start(kind, dir, net);
        for nobody in ["no-such-host".to_owned(), format!("{net}99:7946")] {
            assert_eq!(a.cli(&["join", &nobody]).code, Some(1));
        }
        let mut in_use = Launch::new(kind, "in-use", &net.ip(5)).args(&["-bind", &a.addr]).spawn();
        assert_eq!(in_use.process.wait(), Some(1));
        let strangers = strangers(kind, net, &a);
        ask(&a, &b, &c);
        rotate(&a);
        reload(dir, &a, &b);
        a.cli(&["force-leave", "nobody"]);
        // Another node of the same name.
        let d_keys = file(dir, "d.keys", &json!([OTHER_KEY]).to_string());
        let flags = [&COMMON[..], &["-keyring-file", &d_keys, "-join", &a.addr]].concat();
        let mut twin = Launch::new(kind, "c", &net.ip(4)).args(&flags).spawn();
        twin.process.wait();
        // A leave, a failure, a return.
        c.ok(&["leave"]);
        assert_eq!(c.process.wait(), Some(0));
        a.wait_member("c", "left");
        b.process.signal("TERM");
        assert_eq!(b.process.wait(), Some(1));
        let first_b = b.log();
        a.wait_member("b", "failed");
        a.ok(&["force-leave", "-prune", "c"]);
        b.restart();
        a.wait_member("b", "alive");
        b.process.wait_for("Re-joined to previously known node");
        for agent in [&mut b, &mut a] {
            // What was said of them goes out first.
            thread::sleep(Duration::from_secs(1));
            agent.process.signal("INT");
            assert_eq!(agent.process.wait(), Some(0), "{}", agent.log());
        }
        let mut logs = strangers;
        logs.extend([
            ("a", a.log()),
            ("b", first_b + &b.log()),
            ("c", c.log()),
            ("twin", twin.log()),
            ("in-use", in_use.log()),
        ]);
        let raw = logs.iter().map(|(_, log)| log.as_str()).collect();
        let logs = logs.into_iter().map(|(name, log)| (name, normal(&log, dir, net))).collect();
        Self { logs, raw }
    }
}

/// Three nodes that know each other.
fn start(kind: Kind, dir: &Path, net: Net) -> [Peer; 3] {
    let keys = json!([KEY]).to_string();
    let keys = ["a.keys", "b.keys", "c.keys"].map(|name| file(dir, name, &keys));
    let files = ["a.snapshot", "b.snapshot", "b.tags"].map(|name| dir.join(name));
    let [a_snapshot, b_snapshot, tags] = files.each_ref().map(|path| path.to_str().unwrap());
    let config = file(dir, "a.json", &config("echo one; echo two", &json!({})));
    let start = |name: &str, last: u8, more: &[&str]| {
        let flags = [&COMMON[..], more].concat();
        Peer::start(kind, name, &net.ip(last), &flags)
    };
    let flags = ["-keyring-file", &keys[0], "-snapshot", a_snapshot, "-config-file", &config];
    let a = start("a", 1, &flags);
    let flags = ["-keyring-file", &keys[1], "-snapshot", b_snapshot, "-tags-file", tags];
    let b = start("b", 2, &flags);
    let c = start("c", 3, &["-keyring-file", &keys[2], "-join", &a.addr]);
    b.ok(&["join", &a.addr]);
    a.wait_member("b", "alive");
    b.wait_member("c", "alive");
    [a, b, c]
}

/// The logs of two that are not let in: one with another key, and one without any.
fn strangers(kind: Kind, net: Net, a: &Peer) -> Vec<(&'static str, String)> {
    let log = |(name, last, flags): (&'static str, u8, &[&str])| {
        let flags = [&COMMON[..], &["-join", &a.addr], flags].concat();
        let mut agent = Launch::new(kind, name, &net.ip(last)).args(&flags).spawn();
        assert_eq!(agent.process.wait(), Some(1));
        (name, agent.log())
    };
    [("stranger", 6, &["-encrypt", OTHER_KEY][..]), ("open", 7, &[])].map(log).into()
}

/// Events, queries and tags.
fn ask(a: &Peer, b: &Peer, c: &Peer) {
    a.ok(&["event", "-coalesce=false", "deploy", "v1"]);
    a.ok(&["event", "-coalesce=false", "bad"]);
    b.process.wait_for("user-event: bad");
    a.process.wait_for("Error invoking script 'echo oops; exit 3': exit status 3");
    a.ok(&["query", "-timeout", "500ms", "load", "now"]);
    a.ok(&["tags", "-set", "role=web"]);
    c.process.wait_for("EventMemberUpdate: a");
}

fn rotate(a: &Peer) {
    a.ok(&["keys", "-list"]);
    for [action, key] in [["-install", OTHER_KEY], ["-use", OTHER_KEY], ["-remove", KEY]] {
        a.ok(&["keys", action, key]);
    }
    for [action, key] in [["-remove", OTHER_KEY], ["-install", "QUJD"]] {
        assert_eq!(a.cli(&["keys", action, key]).code, Some(1));
    }
}

/// A good one, and one that is wrong.
fn reload(dir: &Path, a: &Peer, b: &Peer) {
    file(dir, "a.json", &config("echo new", &json!({"x": "y"})));
    a.process.signal("HUP");
    b.wait_said(&["members"], |said| said.contains("x=y"));
    file(dir, "a.json", r#"{"bogus":1,"protocol":"x"}"#);
    a.process.signal("HUP");
    a.process.wait_for("Failed to reload configs");
}

fn config(script: &str, tags: &Value) -> String {
    let handlers = [
        &format!("user:deploy={script}"),
        "query:load=cat; echo 1.5",
        "user:bad=echo oops; exit 3",
    ];
    json!({"event_handlers": handlers, "tags": tags, "reconnect_interval": "2s"}).to_string()
}

/// The lines of a log without what differs between two lives.
fn normal(log: &str, dir: &Path, net: Net) -> BTreeSet<String> {
    // Go's forgets the end of this line.
    let log = log.replace("are claiming    2", "are claiming\n    2");
    let log = log.replace(dir.to_str().unwrap(), "DIR").replace(&net.to_string(), "NET.");
    let time =
        |line: &str| line.strip_prefix("    20").and_then(|line| line.get(18..)).map(str::to_owned);
    let lines = log.lines().map(|line| {
        let line = time(line).unwrap_or_else(|| line.trim().trim_start_matches("| ").to_owned());
        without_ports(&without_name_server(&line))
    });
    lines.collect()
}

/// Numbers behind colons, unless they are short, and those that are called ports.
pub(super) fn without_ports(line: &str) -> String {
    let line = line.replace(" port ", " port :");
    let mut parts = line.split(':');
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let digits = part.chars().take_while(char::is_ascii_digit).count();
        out.push(':');
        out.push_str(if (2..=5).contains(&digits) { "PORT" } else { &part[..digits] });
        out.push_str(&part[digits..]);
    }
    out
}

const OURS: &[Kind] = &[Kind::Ours];
const GO: &[Kind] = &[Kind::Go];
const KEY: &str = "wsGlMv8mfgjD1f+CVVMHZA==";
const OTHER_KEY: &str = "T9jncgl9mbLus+baTTa7q7nPSUrXwbDi2dhbtqir37s=";
/// Flags of all.
const COMMON: [&str; 4] = ["-log-level", "TRACE", "-profile", "local"];
const RULES: &[Rule] = &[
    // The order in which nodes learn of each other and probe each other is random.
    moment("[DEBUG] memberlist: Failed UDP ping: "),
    moment("[INFO] memberlist: Suspect "),
    moment("[INFO] memberlist: Marking "),
    moment("[WARN] memberlist: Refuting a "),
    moment("[DEBUG] memberlist: Initiating push/pull sync with: "),
    moment("[DEBUG] memberlist: Stream connection "),
    moment("[DEBUG] memberlist: failed to join "),
    moment("[WARN] agent: Serf shutdown detected, quitting"),
    moment("[DEBUG] serf: forgoing reconnect for random throttling"),
    moment("[INFO] serf: attempting reconnect to "),
    moment("[DEBUG] serf: message"),
    moment("[INFO] agent: Received event: member-"),
    moment("[INFO] serf: EventMemberUpdate: "),
    moment("[INFO] memberlist: Updating address for left or failed node "),
    // A script that does not read its input is none that fails.
    may_differ(GO, "[ERR] Error writing payload: write |1: "),
    // Lines that only ours has: each says more than Go's does.
    differs(OURS, "[ERR] agent: Script 'echo oops; exit 3' failed, the last line it printed: oops"),
    differs(OURS, "[DEBUG] serf: snapshot replayed clock="),
    may_differ(OURS, "[WARN] serf: suppressed "),
    may_differ(OURS, "[DEBUG] serf: ignoring the answer of "),
    may_differ(OURS, "[DEBUG] memberlist: stream ended: "),
    may_differ(OURS, "[DEBUG] memberlist: no ping waits for this ack"),
    may_differ(OURS, "[INFO] agent: Query 'silent' was not acknowledged by: "),
];
/// What no log line of ours may hold.
const RUST_FORMS: &[&str] = &[
    "Some(",
    "None",
    "Ok(",
    "Err(",
    "Custom {",
    "Os {",
    "kind:",
    "code:",
    "(os error",
    " { ",
    "\\\"",
    "Error(",
    "PoisonError",
    "Duration",
    "127.0.0.1)",
    "[\"",
];
