//! Goal: a script that drives an agent sees no difference between our program and Go's. Method:
//! both programs run the same command lines, mistakes included, against an agent of ours and one of
//! Go's; stdout, exit code and, but for help, stderr must be equal.

use std::process::Command;

use compat_tests::{
    net::Net,
    peer::Peer,
    process::{BOTH, InTime as _, Kind},
};

#[test]
fn both_programs_say_the_same_to_both_agents() {
    let (net, dir) = (Net::new(), tempfile::tempdir().unwrap());
    let role = ["-tag", "role=web"];
    let rust = Peer::start_in(Kind::Ours, "r1", &net.ip(1), &role, dir.path());
    let role = [&role[..], &["-join", &rust.addr]].concat();
    let go = Peer::start_in(Kind::Go, "g1", &net.ip(2), &role, dir.path());
    for agent in [&rust, &go] {
        agent.wait_for_members(2);
    }
    let mut compared = 0;
    let mut different = Vec::new();
    for agent in [&rust, &go] {
        for line in LINES {
            let line = line.replace("NET.", &net.to_string());
            let [theirs, ours] = BOTH.map(|kind| run(kind, &line, &agent.rpc));
            compared += 1;
            if ours != theirs {
                different.push(format!("serf {line}\n  ours:   {ours:?}\n  theirs: {theirs:?}"));
            }
        }
    }
    assert!(LINES.len() >= 85, "{} different command lines", LINES.len());
    assert!(compared >= 170, "{compared} command lines");
    assert!(different.is_empty(), "{} differ:\n{}", different.len(), different.join("\n"));
}

/// `H ` before a line: only the first line of stdout is compared, for help follows. `NET.` is
/// for the addresses of the cluster.
const LINES: &[&str] = &[
    // parity: cli-members: members -name regex
    "members -name r1",
    // parity: cli-members: members -format json
    "members --name=g1 -format=json",
    "members -format json -name r1",
    // parity: cli-members: members -detailed
    "members -detailed -name r1",
    // parity: cli-members: members -status regex
    "members -status left",
    "members -status left -format json",
    "members -status alive -name r1",
    "members -tag role=w.* -tag dc=east",
    "members -tag nope= -name r1",
    "members -tag x",
    "members -tag =x",
    // parity: cli-members: members -role (deprecated)
    "members -role web -name r1",
    // parity: cli-members: Invalid -format
    "members -format xml",
    // parity: cli: Command errors on stdout with exit 1
    "members -rpc-addr NET.9:1",
    "members -rpc-addr bad",
    "members -rpc-addr a:b:c",
    // parity: cli: Flag errors: stderr line, help on stdout, exit 1
    "H members -bogus",
    "H members -detailed=maybe",
    "H members -name",
    "H members ---name",
    "info -format xml",
    "event deploy",
    // parity: cli-misc: event with payload and coalesce flag
    "event deploy payload",
    "event -coalesce=false deploy payload",
    "event -coalesce false",
    // parity: cli-misc: event argument checks
    "H event",
    "H event a b c",
    "H event -coalesce=x a",
    // parity: cli-query: query -no-ack
    "query -timeout 300ms -no-ack nobody",
    // parity: cli-query: query -timeout
    "query -timeout 300ms -no-ack -format json nobody",
    // parity: cli-query: query -node (repeat)
    "query -timeout 300ms -node r1 nobody",
    "query -timeout 300ms -tag role=nope nobody",
    // parity: cli-query: query json output
    "query -timeout 300ms -format json -node g1 nobody x",
    "query -format xml x",
    "query _serf_x",
    "query -tag bad x",
    "query -relay-factor 256 x",
    "query -relay-factor -1 x",
    "H query",
    "H query a b c",
    "H query -timeout 5 x",
    "H query -relay-factor x y",
    "keys -list",
    // parity: cli-keys: keys failure report
    "keys -install bad!",
    "keys -install A4iuqkTprmcsSdgfAue48PTKTCsJD4L1LiG//NRaUMU=",
    "keys -use A4iuqkTprmcsSdgfAue48PTKTCsJD4L1LiG//NRaUMU=",
    "keys -remove A4iuqkTprmcsSdgfAue48PTKTCsJD4L1LiG//NRaUMU=",
    // parity: cli-keys: keys exclusive flags
    "keys -list -use x",
    "H keys",
    "H force-leave",
    "H force-leave a b",
    // parity: cli-misc: join
    "join NET.1",
    "join -replay NET.2",
    // parity: cli-misc: join partial/total failure
    "join NET.77",
    "H join",
    "tags -set a=1",
    "tags -delete a",
    "tags -set bad",
    "H tags",
    // parity: cli-misc: rtt unknown node
    "rtt r1 nope",
    "H rtt",
    "H rtt a b c",
    // parity: cli-misc: reachability
    "reachability",
    "monitor -log-level bogus",
    "members --status=alive --name=r1 --format=json",
    "members -name r.|nope",
    "members -name=r1 ignored positional",
    "members -tag role=.* -name g1",
    // parity: cli: SERF_RPC_ADDR environment variable
    "members -rpc-addr= -rpc-addr NET.9:1",
    "H members -rpc-auth",
    "H members -=x",
    "info -rpc-addr NET.9:1",
    "H info -detailed",
    "event -rpc-addr NET.9:1 x",
    "event --coalesce=F deploy",
    "event -- -deploy",
    "H query -timeout 0x10 x",
    "query -relay-factor 0b11 -timeout 300ms -no-ack -node nobody x",
    "query -format JSON x",
    "keys -install x -remove y",
    "keys -use bad!",
    "keys -remove bad!",
    "join NET.1 NET.77",
    "join :::",
    "tags -delete nope",
    "tags -set a=1 -set a=2 -delete a",
    "tags -delete a",
    "H leave -bogus",
    "H rtt -x",
    "H reachability -verbose=x",
    "H monitor -log-level",
];

#[derive(Debug, PartialEq)]
struct Said {
    stdout: Vec<String>,
    stderr: String,
    code: Option<i32>,
}

fn run(kind: Kind, line: &str, rpc: &str) -> Said {
    let (first_only, line) = match line.strip_prefix("H ") {
        Some(line) => (true, line),
        None => (false, line),
    };
    let output = Command::new(kind.program())
        .args(line.split(' '))
        .env("SERF_RPC_ADDR", rpc)
        .output_in_time();
    let mut stdout: Vec<String> =
        String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect();
    if first_only {
        // Help may be worded freely; where it is all of the output, only its presence counts.
        stdout.truncate(1);
        if stdout.first().is_some_and(|line| line.starts_with("Usage: ")) {
            stdout = vec!["Usage".to_owned()];
        }
    } else {
        // Rows and acks come in any order.
        stdout.sort();
    }
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    Said { stdout, stderr, code: output.status.code() }
}
