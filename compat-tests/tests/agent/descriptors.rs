//! Goal: few open files are no end of service. Method: agents that are started with low limits.

use std::{fs, net::TcpStream};

use compat_tests::{
    net::Net,
    peer::{Launch, Peer},
    process::Kind,
    wait::{PATIENCE, poll},
};

/// Runs an agent with a soft and a hard limit of open files.
const LIMITED: &[&str] = &["sh", "-c", "ulimit -Sn $0; ulimit -Hn $1; shift; exec \"$@\""];

fn limited<'a>(soft: &'a str, hard: &'a str) -> Vec<&'a str> {
    [LIMITED, &[soft, hard]].concat()
}

/// The agent has as many as the system allows, programs that it runs as many as it was given.
#[test]
fn handlers_have_the_limit_of_open_files_that_the_agent_was_started_with() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("limit");
    // The limit is set back when the program has begun.
    let script = format!("user:limit=sleep 0.5; ulimit -Sn > {}", file.display());
    let more = ["-event-handler", &script];
    let agent = Launch::new(Kind::Ours, "a", &Net::new().ip(2));
    let agent = agent.args(&more).wrapper(&limited("200", "1000")).start();
    let limits = fs::read_to_string(format!("/proc/{}/limits", agent.pid())).unwrap();
    let open = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    assert_eq!(open.split_whitespace().skip(3).take(2).collect::<Vec<_>>(), ["1000", "1000"]);
    agent.ok(&["event", "limit"]);
    let limit =
        poll(PATIENCE, || fs::read_to_string(&file).ok().filter(|text| text.ends_with('\n')));
    assert_eq!(limit.as_deref(), Some("200\n"));
}

/// Connections that no descriptor is left for make room for those that are served, and all is well
/// once they are gone.
#[test]
fn an_agent_without_descriptors_goes_on_and_recovers() {
    let net = Net::new();
    let agent = Launch::new(Kind::Ours, "a", &net.ip(2)).wrapper(&limited("64", "64")).start();
    let idle = |addr: &str| -> Vec<TcpStream> {
        (0..100).map_while(|_| TcpStream::connect(addr).ok()).collect()
    };
    let idle = (idle(&agent.addr), idle(&agent.rpc));
    assert!(idle.0.len() == 100 && idle.1.len() == 100);
    let peer = Peer::start(Kind::Ours, "b", &net.ip(3), &["-join", &agent.addr]);
    peer.wait_member("a", "alive");
    agent.wait_member("b", "alive");
    drop(idle);
    agent.ok(&["event", "after"]);
    agent.ok(&["tags", "-set", "after=true"]);
    peer.wait_said(&["members"], |out| out.contains("after=true"));
    let open = poll(PATIENCE, || {
        let open = fs::read_dir(format!("/proc/{}/fd", agent.pid())).ok()?.count();
        (open < 40).then_some(open)
    });
    assert!(open.is_some(), "{}", agent.log());
}
