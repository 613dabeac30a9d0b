//! Goal: `serf doctor` says the right sentence and the remedy for faults of the cluster and of its
//! surroundings. Method: each fault is made with real agents, a Go memberlist that claims other
//! versions or forges clocks, or what systemd would set.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
};

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use compat_tests::{
    alone::one_at_a_time,
    go::GoPeer,
    lossy::Net as Hosts,
    net::Net,
    peer::{Launch, Peer},
    process::{Kind, not_run},
    rpc::{Client, Value, request},
    wait::{PATIENCE, eventually},
};
use ruserf::wire::{Incarnation, NodeState, NodeStateKind, PushPullBuilder};
use serde_json::json;

use super::doctor::{asked, doctor, doctor_about, of, says};

/// A bare memberlist node of Go's, with these versions of Serf's protocol.
fn memberlist(ip: &str, name: &str, versions: [u8; 3]) -> GoPeer {
    let [least, spoken, most] = versions;
    GoPeer::start_memberlist(json!({
        "name": name, "bind": ip, "port": 7946, "profile": "local", "meta": BASE64.encode("web"),
        "delegate_protocol": spoken, "delegate_protocol_range": [least, most],
    }))
}

/// Method: a node of the next generation tries to join; today's programs all have 2 to 5.
#[test]
fn versions_that_do_not_fit_are_found_by_agents_of_either_program() {
    let _alone = one_at_a_time();
    for kind in [Kind::Ours, Kind::Go] {
        let net = Net::new();
        let agent = Peer::start(kind, "a", &net.ip(1), &[]);
        let newer = memberlist(&net.ip(2), "newer", [6, 6, 7]);
        let refused = newer.try_call(json!({ "cmd": "join", "addrs": [agent.addr] })).unwrap_err();
        assert!(refused.contains("is incompatible"), "{refused}");
        let problem = "are incompatible with this agent's.";
        let remedy = "Set the same -protocol on all agents until all are upgraded.";
        let report = says(|| doctor(&mut asked(&agent)), "version", [problem, remedy]);
        let about = &of(&report, "version")[0]["peer"];
        assert!(*about == "newer" || about.is_null(), "{report:#}");
    }
}

/// Method: a member gossips user events of the far future.
#[test]
fn clocks_that_are_refused_are_found() {
    let _alone = one_at_a_time();
    let net = Net::new();
    let agent = Peer::start(Kind::Ours, "a", &net.ip(1), &[]);
    let forger = memberlist(&net.ip(2), "forger", [2, 4, 5]);
    forger.call(json!({ "cmd": "join", "addrs": [agent.addr] }));
    agent.wait_for_members(2);
    assert!(of(&doctor(&mut asked(&agent)).1, "clock").is_empty());
    for n in 0..5_u64 {
        // Serf's user event, in Go's form.
        let time = (9_000_000_000_000 + n).to_be_bytes();
        let parts: [&[u8]; 4] =
            [b"\x03\x84\xa2CC\xc2\xa5LTime\xcf", &time, b"\xa4Name\xa4down", b"\xa7Payload\xa1x"];
        let payload = BASE64.encode(parts.concat());
        forger.call(json!({ "cmd": "send_best_effort", "name": "a", "payload": payload }));
    }
    let problem = "sends Lamport times far ahead of this agent's.";
    says(|| doctor(&mut asked(&agent)), "clock", [problem, "Encrypt the cluster, and look for"]);
    agent.wait_for_line("Refusing a Lamport time that is far ahead (900000000000");
}

/// Method: a second agent with the name of a member joins; the third sees both.
#[test]
fn names_that_two_members_have_are_found_by_agents_of_either_program() {
    let _alone = one_at_a_time();
    for kind in [Kind::Ours, Kind::Go] {
        let net = Net::new();
        let agent = Peer::start(kind, "a", &net.ip(1), &[]);
        let same = |n: u8| Peer::start(Kind::Ours, "b", &net.ip(n), &["-join", &agent.addr]);
        let _first = same(2);
        agent.wait_for_members(2);
        assert!(of(&doctor(&mut asked(&agent)).1, "name").is_empty());
        let _second = same(3);
        let texts = ["Two members have the same name, b.", "Set a unique name on each agent"];
        let report = says(|| doctor(&mut asked(&agent)), "name", texts);
        assert_eq!(of(&report, "name")[0]["peer"], "b");
    }
}

/// Method: a peer brings so many members in a push/pull that the agent's own state, which it sends
/// at the next, is 13 MiB.
#[test]
fn a_state_near_the_limit_is_found() {
    let _alone = one_at_a_time();
    let net = Net::new();
    let agent = Peer::start(Kind::Ours, "a", &net.ip(1), &[]);
    // Each row twice: in the table, and its name in Serf's own part.
    let rows = 13 * (1 << 20) / (2 * 200 + 512 + 80);
    let mut state = PushPullBuilder::with_capacity(rows * 1_000);
    for n in 0..rows {
        let name = format!("{n:0>200}");
        // Nobody is there; no address is used twice.
        let addr = [127, 77, u8::try_from(n / 250).unwrap(), u8::try_from(n % 250).unwrap()];
        state.push(&NodeState {
            name: name.as_bytes(),
            addr: addr[..].into(),
            port: 9,
            meta: [b'x'; 512][..].into(),
            incarnation: Incarnation(1),
            state: NodeStateKind::Alive.to_wire(),
            vsn: [1, 5, 2, 2, 5, 4][..].into(),
        });
    }
    let exchange = |bytes: &[u8]| {
        let mut stream = TcpStream::connect(&agent.addr).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(bytes).unwrap();
        stream.read_to_end(&mut Vec::new()).unwrap();
    };
    exchange(&state.finish(false, b""));
    eventually("all are members", || (agent.members().len() == rows + 1).then_some(()));
    exchange(&PushPullBuilder::with_capacity(0).finish(false, b""));
    let problem = "they refuse more than 20 MiB and cannot join then.";
    // The others would be asked, and nobody is there.
    let ask = || doctor_about(&mut asked(&agent), &["a"]);
    says(ask, "push-pull", [problem, "Remove members that have left or failed"]);
}

/// Method: an event handler that is slower than events come.
#[test]
fn a_queue_that_overflows_is_found() {
    let _alone = one_at_a_time();
    let net = Net::new();
    let agent = Peer::start(Kind::Ours, "a", &net.ip(1), &["-event-handler", "user=sleep 1"]);
    let mut client = Client::ready(&agent.rpc);
    // A thousand more than wait.
    let count = 5_200;
    let body = |n: u64| Value::map([("Name", format!("e{n}").as_str().into())]);
    let all: Vec<u8> = (2..count).flat_map(|n| request("event", n, Some(body(n)))).collect();
    client.send(&all);
    for _ in 2..count {
        assert_eq!(client.next().unwrap().text("Error"), "");
    }
    let problem = "receives more messages or events than it can handle.";
    says(|| doctor(&mut asked(&agent)), "queue", [problem, "make event handlers faster"]);
    agent.wait_for_line("Event handlers too slow, ");
}

/// What systemd sets for a service with this unit: its own mark, a socket where the type is
/// `notify`, and the time of the watchdog.
fn environment(unit: &str) -> Vec<String> {
    let value =
        |key: &str| unit.lines().find_map(|line| line.trim().strip_prefix(key)?.strip_prefix('='));
    let mut all = vec!["INVOCATION_ID=0123456789abcdef0123456789abcdef".to_owned()];
    if value("Type").is_some_and(|kind| kind.starts_with("notify")) {
        all.push("NOTIFY_SOCKET=/nonexistent/notify".to_owned());
    }
    if value("WatchdogSec").is_some() {
        all.push("WATCHDOG_USEC=30000000".to_owned());
    }
    all
}

/// Method: an agent whose parent is the first process of its namespace, as systemd is, with what
/// units would set.
#[test]
fn a_unit_without_readiness_or_watchdog_is_found_and_that_of_the_packages_is_fine() {
    if !Hosts::possible() {
        return not_run("namespaces need root");
    }
    let _alone = one_at_a_time();
    let packaged = include_str!("../../../packaging/serf.service");
    let simple = "[Service]\nType=simple\nExecStart=/usr/bin/serf agent\n";
    let hanging = "[Service]\nType=notify\nExecStart=/usr/bin/serf agent\n";
    for (unit, problem) in [
        (simple, Some("systemd started the agent, but is not informed when the agent is ready.")),
        (hanging, Some("systemd started the agent, but does not notice when the agent hangs.")),
        (packaged, None),
    ] {
        let set = environment(unit);
        let mut wrapper = vec!["unshare", "--pid", "--fork", "--kill-child", "sh", "-c"];
        wrapper.extend(["\"$@\" & wait", "sh", "env"]);
        wrapper.extend(set.iter().map(String::as_str));
        let ip = Net::new().ip(1);
        let agent = Launch::new(Kind::Ours, "a", &ip).wrapper(&wrapper).start();
        let ask = || doctor(&mut asked(&agent));
        match problem {
            Some(problem) => {
                drop(says(ask, "systemd", [problem, "Set Type=notify and WatchdogSec=30s"]));
            }
            None => assert_eq!(ask().0, Some(0), "{:#}", ask().1),
        }
    }
}
