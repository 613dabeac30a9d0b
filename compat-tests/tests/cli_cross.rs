//! Goal: whoever drives an agent cannot tell our program from Go's. Method: both programs run the
//! same command lines, mistakes included, against an agent of ours and one of Go's; stdout, exit
//! code and, but for help, stderr must be equal.

use std::{
    net::TcpListener,
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::OnceLock,
    time::{Duration, Instant},
};

use compat_tests::go::go_serf_binary;

#[test]
fn both_programs_say_the_same_to_both_agents() {
    let rust = Agent::start(serf_binary(), "127.81.0.1", "r1", &[]);
    let go = Agent::start(go_serf_binary(), "127.81.0.2", "g1", &["-join", "127.81.0.1"]);
    for agent in [&rust, &go] {
        agent.wait_for("127.81.0.1");
        agent.wait_for("127.81.0.2");
    }
    let mut compared = 0;
    let mut different = Vec::new();
    for agent in [&rust, &go] {
        for line in LINES {
            let ours = run(&serf_binary(), line, &agent.rpc);
            let theirs = run(&go_serf_binary(), line, &agent.rpc);
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
    "members -name [",
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
    "force-leave nobody",
    "force-leave -prune nobody",
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

fn run(program: &PathBuf, line: &str, rpc: &str) -> Said {
    let (first_only, line) = match line.strip_prefix("H ") {
        Some(line) => (true, line),
        None => (false, line),
    };
    let output =
        Command::new(program).args(line.split(' ')).env("SERF_RPC_ADDR", rpc).output().unwrap();
    let mut stdout: Vec<String> =
        String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect();
    if first_only {
        // Help may be worded freely; where it is all of the output, only its presence counts.
        stdout.truncate(1);
        if stdout.first().is_some_and(|line| line.starts_with("Usage: ")) {
            stdout = vec!["Usage".to_owned()];
        }
    } else {
        // Rows and acks come in any order; Go's agent may end a query with an ack of nobody.
        for (nobody, total) in
            [("Ack from ''", "Total Acks: "), ("Response from ''", "Total Responses: ")]
        {
            let all = stdout.len();
            stdout.retain(|line| !line.contains(nobody));
            let extra = all - stdout.len();
            for line in &mut stdout {
                if let Some(count) = line.strip_prefix(total).and_then(|n| n.parse::<usize>().ok())
                {
                    *line = format!("{total}{}", count - extra);
                }
            }
        }
        stdout.sort();
    }
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    Said { stdout, stderr, code: output.status.code() }
}

struct Agent {
    child: Child,
    rpc: String,
}

impl Agent {
    fn start(program: PathBuf, ip: &str, name: &str, more: &[&str]) -> Self {
        let port = TcpListener::bind((ip, 0)).unwrap().local_addr().unwrap().port();
        let rpc = format!("{ip}:{port}");
        let child = Command::new(program)
            .args(["agent", "-node", name, "-bind", ip, "-rpc-addr", &rpc])
            .args(["-tag", "role=web"])
            .args(more)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self { child, rpc }
    }

    fn wait_for(&self, member: &str) {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let said = run(&go_serf_binary(), "members -status alive", &self.rpc);
            if said.stdout.iter().any(|row| row.contains(member)) {
                return;
            }
            assert!(Instant::now() < deadline, "{member} is not alive: {said:?}");
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn serf_binary() -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT
        .get_or_init(|| {
            let built = Command::new(env!("CARGO"))
                .args(["build", "-q", "-p", "ruserf", "--bin", "serf"])
                .status()
                .unwrap();
            assert!(built.success());
            let test = std::env::current_exe().unwrap();
            test.ancestors().nth(2).unwrap().join("serf")
        })
        .clone()
}
