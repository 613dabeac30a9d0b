//! Goal: `serf doctor` says the right sentence and the remedy for faults of the cluster and of its
//! surroundings. Method: each fault is made with real agents, a Go memberlist that claims other
//! versions or forges clocks, or what systemd would set.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{TcpStream, UdpSocket},
};

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use compat_tests::{
    alone::one_at_a_time,
    go::GoPeer,
    lossy::Net as Hosts,
    net::Net,
    peer::{Launch, Peer},
    process::{BOTH, Kind, not_run},
    rpc::{Client, Value, request},
    wait::{PATIENCE, eventually},
};
use ruserf::{
    base::Rng,
    wire::{
        CodecConfig, Incarnation, Keyring, NodeState, NodeStateKind, PacketCodec, Ping,
        PushPullBuilder, Role, SeqNo,
    },
};
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
    exchange(&agent, &many(rows, 200, &[b'x'; 512]));
    eventually("all are members", || (agent.members().len() == rows + 1).then_some(()));
    exchange(&agent, &PushPullBuilder::with_capacity(0).finish(false, b""));
    let problem = "they refuse more than 20 MiB and cannot join then.";
    // The others would be asked, and nobody is there.
    let ask = || doctor_about(&mut asked(&agent), &["a"]);
    says(ask, "push-pull", [problem, "Remove members that have left or failed"]);
}

/// A push/pull with this many members, whose names have this length.
fn many(rows: usize, name_len: usize, meta: &[u8]) -> Vec<u8> {
    let mut state = PushPullBuilder::with_capacity(rows * 1_000);
    for n in 0..rows {
        let name = format!("{n:0>name_len$}");
        // Nobody is there; no address is used twice.
        let addr = [127, 77, u8::try_from(n / 250).unwrap(), u8::try_from(n % 250).unwrap()];
        state.push(&NodeState {
            name: name.as_bytes(),
            addr: addr[..].into(),
            port: 9,
            meta: meta.into(),
            incarnation: Incarnation(1),
            state: NodeStateKind::Alive.to_wire(),
            vsn: [1, 5, 2, 2, 5, 4][..].into(),
        });
    }
    state.finish(false, b"").to_vec()
}

/// Sends what a dialer says to an agent, and waits until the agent has answered.
fn exchange(agent: &Peer, bytes: &[u8]) {
    let mut stream = TcpStream::connect(&agent.addr).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(bytes).unwrap();
    stream.read_to_end(&mut Vec::new()).unwrap();
}

/// Method: an agent that knows 40,000 members, each of which is assumed to send as much, answers
/// as many pings as it takes until all together have sent 2^31 packets.
#[test]
fn a_key_that_is_nearly_used_up_is_found() {
    let _alone = one_at_a_time();
    let (net, rows) = (Net::new(), 40_000);
    let agent = Peer::start(Kind::Ours, "a", &net.ip(1), &["-encrypt", KEY, "-profile", "local"]);
    let config = CodecConfig {
        keyring: Keyring::from_base64([KEY]).unwrap(),
        verify_outgoing: true,
        protocol_version: 5,
        ..CodecConfig::default()
    };
    let (mut codec, mut rng) = (PacketCodec::build(config).unwrap(), Rng::from_u64(1));
    let mut stream = Vec::new();
    codec.stream_codec().seal(&mut rng, Role::Dialer, &many(rows, 6, b""), &mut stream);
    exchange(&agent, &stream);
    eventually("all are members", || (agent.members().len() == rows + 1).then_some(()));
    let socket = UdpSocket::bind((net.ip(2), 0)).unwrap();
    socket.set_read_timeout(Some(PATIENCE / 100)).unwrap();
    let (enough, mut answered) = ((1 << 31) / rows, 0);
    let stats = || agent.ask(|client| async move { client.stats().await });
    assert!(!stats().contains_key("faults"));
    eventually("all pings are answered", || {
        // As many as wait for the agent at a time; it drops copies.
        for number in 0..200 {
            let (mut ping, mut packet) = (Vec::new(), Vec::new());
            Ping { seq_no: SeqNo(number), node: b"a", ..Ping::default() }.encode(&mut ping);
            codec.seal(&mut rng, &ping, true, &mut packet);
            socket.send_to(&packet, &agent.addr).unwrap();
        }
        answered += (0..200).take_while(|_| socket.recv(&mut [0; 1500]).is_ok()).count();
        (answered >= enough).then_some(())
    });
    let own: usize = stats()["serf"]["key_messages"].parse().unwrap();
    // Their answers and gossip of its own.
    assert!(own >= answered && own < 2 * answered, "{own} messages, {answered} answers");
    // The others would be asked, and nobody is there.
    let ask = || doctor_about(&mut asked(&agent), &["a"]);
    let texts =
        ["messages of all members; its limit is 2^32.", "Rotate the key: serf keys rotate."];
    let report = says(ask, "key-use", texts);
    let problem = of(&report, "key-use")[0]["problem"].as_str().unwrap();
    let number = problem.split(' ').find_map(|word| word.parse::<u64>().ok()).unwrap();
    assert!((1 << 31..1 << 32).contains(&number), "{problem}");
    // A new primary key has encrypted nothing yet. The others cannot confirm it.
    for step in ["-install", "-use"] {
        assert_eq!(agent.cli(&["keys", step, OTHER_KEY]).code, Some(1));
    }
    assert!(!stats().contains_key("faults"), "{:?}", stats());
}

/// Method: a bare memberlist of Go's answers probes and knows no queries. Another agent does.
#[test]
fn a_member_that_acknowledges_no_query_is_found_by_agents_of_either_program() {
    let _alone = one_at_a_time();
    for kind in BOTH {
        let net = Net::new();
        let agent = Peer::start(kind, "a", &net.ip(1), &[]);
        let other = Peer::start(kind.other(), "b", &net.ip(2), &["-join", &agent.addr]);
        other.wait_for_members(2);
        assert!(of(&doctor(&mut asked(&agent)).1, "query").is_empty());
        let mute = memberlist(&net.ip(3), "mute", [2, 4, 5]);
        mute.call(json!({ "cmd": "join", "addrs": [agent.addr] }));
        agent.wait_for_members(3);
        let problem = format!("mute ({}) is alive, but does not acknowledge queries.", mute.addr());
        let remedy = "Check whether its machine is overloaded, and allow UDP from it to this";
        let report = says(|| doctor(&mut asked(&agent)), "query", [&problem, remedy]);
        assert_eq!(of(&report, "query").len(), 1, "{report:#}");
        let states: Vec<_> = report["peers"].as_array().unwrap().iter().collect();
        let state = |name: &str| &states.iter().find(|peer| peer["name"] == name).unwrap()["state"];
        assert_eq!((state("mute"), state("b")), (&json!("no answer"), &json!("ok")));
    }
}

/// Method: with a token HTTP is as open as it should be, without one it is not.
#[test]
fn an_open_http_listener_is_found() {
    let _alone = one_at_a_time();
    let (net, dir) = (Net::new(), tempfile::tempdir().unwrap());
    let at = "0.0.0.0:17374";
    let open = Peer::start(Kind::Ours, "o", &net.ip(1), &["-http-addr", at]);
    let problem = "HTTP listens on 0.0.0.0:17374 without a token: anyone who can connect to it can";
    let remedy = "Set rpc_auth, or set -http-addr to a loopback address.";
    let report = says(|| doctor(&mut asked(&open)), "http", [problem, remedy]);
    assert!(of(&report, "rpc").is_empty(), "{report:#}");
    drop(open);
    let config = json!({ "rpc_auth": "a long token", "http_addr": at });
    let shut = Peer::configured(Kind::Ours, "s", &net.ip(2), &config, dir.path());
    let (code, report) = doctor(asked(&shut).env("SERF_RPC_AUTH", "a long token"));
    assert_eq!(code, Some(0), "{report:#}");
}

/// Method: the directory of the keyring file is away while a key is installed, and comes back.
#[test]
fn keys_that_are_not_in_the_keyring_file_are_found() {
    let _alone = one_at_a_time();
    let (net, dir) = (Net::new(), tempfile::tempdir().unwrap());
    let (state, away) = (dir.path().join("state"), dir.path().join("away"));
    fs::create_dir(&state).unwrap();
    let file = state.join("keyring.json");
    fs::write(&file, json!([KEY]).to_string()).unwrap();
    let path = file.to_str().unwrap();
    let agent = Peer::start(Kind::Ours, "a", &net.ip(1), &["-keyring-file", path]);
    assert_eq!(doctor(&mut asked(&agent)).0, Some(0));
    fs::rename(&state, &away).unwrap();
    let said = agent.cli(&["keys", "-install", OTHER_KEY]);
    assert!(said.code == Some(1) && said.out.contains("Failed to write keyring file"), "{said:?}");
    let problem = format!("The newest keys are not in the keyring file ({path}): after a restart");
    let remedy = "Make the file and its directory writable for the agent's user";
    says(|| doctor(&mut asked(&agent)), "keys-unwritten", [&problem, remedy]);
    fs::rename(&away, &state).unwrap();
    agent.wait_for_line("Keyring file is written at last");
    assert!(fs::read_to_string(&file).unwrap().contains(OTHER_KEY));
    let (_, report) = doctor(&mut asked(&agent));
    assert!(of(&report, "keys-unwritten").is_empty(), "{report:#}");
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

const KEY: &str = "T9jncgl9mbLus+baTTa7q7nPSUrXwbDi2dhbtqir37s=";
const OTHER_KEY: &str = "HvY8ubRZMgafUOWvrOadwOckVa1wN3QWAo46FVKbVN8=";
