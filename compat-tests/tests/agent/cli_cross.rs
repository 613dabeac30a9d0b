//! Goal: whoever drives an agent cannot tell our program from Go's. Method: both programs run the
//! same command lines, mistakes included, against an agent of ours and one of Go's; stdout, exit
//! code and, but for help, stderr must be equal.

use std::process::Command;

use compat_tests::{
    process::{InTime as _, Kind},
    rpc::Agent,
};

#[test]
fn both_programs_say_the_same_to_both_agents() {
    let dir = tempfile::tempdir().unwrap();
    let role = ["-tag", "role=web"];
    let rust = Agent::start(Kind::Ours, "r1", "127.81.0.1", &role, dir.path());
    let role = [&role[..], &["-join", "127.81.0.1"]].concat();
    let go = Agent::start(Kind::Go, "g1", "127.81.0.2", &role, dir.path());
    for agent in [&rust, &go] {
        agent.wait_for_members(2);
    }
    let mut compared = 0;
    let mut different = Vec::new();
    for agent in [&rust, &go] {
        for line in LINES {
            let ours = run(Kind::Ours, line, &agent.rpc);
            let theirs = run(Kind::Go, line, &agent.rpc);
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

/// `H ` before a line: only the first line of stdout is compared, for help follows.
const LINES: &[&str] = &[
    "members -name r1",
    "members --name=g1 -format=json",
    "members -format json -name r1",
    "members -detailed -name r1",
    "members -status left",
    "members -status left -format json",
    "members -status alive -name r1",
    "members -tag role=w.* -tag dc=east",
    "members -tag nope= -name r1",
    "members -tag x",
    "members -tag =x",
    "members -role web -name r1",
    "members -format xml",
    "members -rpc-addr 127.81.0.9:1",
    "members -rpc-addr bad",
    "members -rpc-addr a:b:c",
    "H members -bogus",
    "H members -detailed=maybe",
    "H members -name",
    "H members ---name",
    "info -format xml",
    "event deploy",
    "event deploy payload",
    "event -coalesce=false deploy payload",
    "event -coalesce false",
    "H event",
    "H event a b c",
    "H event -coalesce=x a",
    "query -timeout 300ms -no-ack nobody",
    "query -timeout 300ms -no-ack -format json nobody",
    "query -timeout 300ms -node r1 nobody",
    "query -timeout 300ms -tag role=nope nobody",
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
    "keys -install bad!",
    "keys -install A4iuqkTprmcsSdgfAue48PTKTCsJD4L1LiG//NRaUMU=",
    "keys -use A4iuqkTprmcsSdgfAue48PTKTCsJD4L1LiG//NRaUMU=",
    "keys -remove A4iuqkTprmcsSdgfAue48PTKTCsJD4L1LiG//NRaUMU=",
    "keys -list -use x",
    "H keys",
    "H force-leave",
    "H force-leave a b",
    "join 127.81.0.1",
    "join -replay 127.81.0.2",
    "join 127.81.0.77",
    "H join",
    "tags -set a=1",
    "tags -delete a",
    "tags -set bad",
    "H tags",
    "rtt r1 nope",
    "H rtt",
    "H rtt a b c",
    "reachability",
    "monitor -log-level bogus",
    "members --status=alive --name=r1 --format=json",
    "members -name r.|nope",
    "members -name=r1 ignored positional",
    "members -tag role=.* -name g1",
    "members -rpc-addr= -rpc-addr 127.81.0.9:1",
    "H members -rpc-auth",
    "H members -=x",
    "info -rpc-addr 127.81.0.9:1",
    "H info -detailed",
    "event -rpc-addr 127.81.0.9:1 x",
    "event --coalesce=F deploy",
    "event -- -deploy",
    "H query -timeout 0x10 x",
    "query -relay-factor 0b11 -timeout 300ms -no-ack -node nobody x",
    "query -format JSON x",
    "keys -install x -remove y",
    "keys -use bad!",
    "keys -remove bad!",
    "join 127.81.0.1 127.81.0.77",
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
