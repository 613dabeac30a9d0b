//! Goal: `serf doctor` finds each fault and says the right sentence, and nothing about healthy
//! clusters of either program. Method: the faults of the network are made between hosts that are
//! network namespaces, the others in files and settings.

use std::{path::Path, process::Command, thread::sleep, time::Duration};

use compat_tests::{
    alone::one_at_a_time,
    lossy::{Net as Hosts, Protocol, Rule},
    net::Net,
    peer::{Launch, Peer},
    process::{InTime as _, Kind, not_run, serf},
    wait::{eventually, poll},
};
use serde_json::{Value, json};

/// What `serf doctor` finds: its exit code, and its report.
pub(super) fn doctor(command: &mut Command) -> (Option<i32>, Value) {
    doctor_about(command, &[])
}

/// The same about some nodes alone.
pub(super) fn doctor_about(command: &mut Command, nodes: &[&str]) -> (Option<i32>, Value) {
    let output = command.args(["-format", "json"]).args(nodes).output_in_time();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let report = serde_json::from_str(&text);
    (output.status.code(), report.unwrap_or_else(|_| panic!("{output:?}")))
}

/// The findings of one check.
pub(super) fn of<'r>(report: &'r Value, check: &str) -> Vec<&'r Value> {
    let all = report["findings"].as_array().expect("findings").iter();
    all.filter(|finding| finding["check"] == check).collect()
}

/// Asks an agent.
pub(super) fn asked(peer: &Peer) -> Command {
    let mut command = Command::new(Kind::Ours.program());
    command.args(["doctor"]).env("SERF_RPC_ADDR", &peer.rpc);
    command
}

/// Waits until doctor finds this problem of an agent with this remedy, and gives the report.
pub(super) fn says(ask: impl Fn() -> (Option<i32>, Value), check: &str, texts: [&str; 2]) -> Value {
    let mut last = Value::Null;
    let report = poll(compat_tests::wait::PATIENCE, || {
        let (code, report) = ask();
        last = report.clone();
        let is = |found: &&Value| {
            let said = ["problem", "remedy"].map(|part| found[part].as_str().unwrap_or_default());
            said.iter().zip(texts).all(|(said, text)| said.contains(text))
        };
        (code == Some(2) && of(&report, check).iter().any(is)).then_some(report)
    });
    report.unwrap_or_else(|| panic!("no [{check}] {texts:?}: {last:#}"))
}

#[test]
fn healthy_clusters_of_either_program_get_no_finding() {
    let _alone = one_at_a_time();
    for kinds in [[Kind::Ours; 3], [Kind::Go; 3], [Kind::Ours, Kind::Go, Kind::Ours]] {
        let net = Net::new();
        let mut agents: Vec<Peer> = Vec::new();
        for (n, kind) in kinds.into_iter().enumerate() {
            let mut args = vec!["-encrypt", KEY];
            if let Some(first) = agents.first() {
                args.extend(["-retry-join", &first.addr]);
            }
            let ip = net.ip(u8::try_from(n).unwrap() + 1);
            agents.push(Peer::start(kind, &format!("n{n}"), &ip, &args));
        }
        agents.iter().for_each(|agent| agent.wait_for_members(3));
        // Some probes each way.
        sleep(Duration::from_secs(5));
        for agent in &agents {
            let (code, report) = doctor(&mut asked(agent));
            assert_eq!(code, Some(0), "{kinds:?}: {report:#}\n{}", agent.log_tail());
            assert_eq!(report["healthy"], true);
            assert_eq!(report["peers"].as_array().unwrap().len(), 2);
        }
        let said = serf(Kind::Ours, &agents[0].rpc, &["doctor", "n1"]);
        assert!(said.out.ends_with("Nothing is wrong with n0 and its peers.\n"), "{said:?}");
    }
}

#[test]
fn closed_ways_between_hosts_are_found_by_both_ends() {
    if !Hosts::possible() {
        return not_run("network namespaces need root, `ip` and /dev/net/tun");
    }
    for kind in [Kind::Ours, Kind::Go] {
        kind.program();
    }
    let _alone = one_at_a_time();
    let hosts = Hosts::start(2, 7);
    // The peer's program does not matter for what ours sees.
    for other in [Kind::Ours, Kind::Go] {
        hosts.set_rules(Vec::new());
        let a = start(&hosts, 0, Kind::Ours, "a", &["-encrypt", KEY]);
        let b = start(&hosts, 1, other, "b", &["-encrypt", KEY, "-join", &a.addr]);
        eventually("nothing is wrong at first", || ask(&hosts, 0).0 == Some(0));
        let udp = |from: usize, to: usize| Rule {
            from: vec![from],
            to: vec![to],
            protocol: Some(Protocol::Udp),
            loss: 1.0,
            ..Rule::default()
        };
        // UDP does not get through at all.
        hosts.set_rules(vec![udp(0, 1), udp(1, 0)]);
        let report = found(
            &hosts,
            0,
            "udp",
            "answers over TCP only, and none of its packets arrive",
            BLOCKED,
        );
        assert_eq!(report["peers"][0]["state"], "tcp only");
        // What b answers about its keys is lost, too. That says nothing about its keys.
        assert!(of(&report, "key").is_empty(), "{report:#}");
        assert_eq!(of(&report, "udp")[0]["peer"], "b");
        if other == Kind::Go {
            // Go's agent does not report it: its log does.
            found(&hosts, 1, "udp", "answers over TCP, but UDP", BLOCKED);
        }
        // It gets through from b to a alone.
        hosts.set_rules(Vec::new());
        eventually("it heals", || of(&ask(&hosts, 0).1, "udp").is_empty());
        hosts.set_rules(vec![udp(0, 1)]);
        let report = found(&hosts, 0, "udp", "UDP is one-way", "Allow UDP from this machine to");
        assert_eq!(report["peers"][0]["state"], "one-way");
        if other == Kind::Ours {
            found(&hosts, 1, "udp", "none of its packets arrive", BLOCKED);
        }
        // Nothing gets through.
        let all = |from, to| Rule { protocol: None, ..udp(from, to) };
        hosts.set_rules(vec![all(0, 1), all(1, 0)]);
        found(&hosts, 0, "failed", "has failed: it answers neither UDP nor TCP", "Start its agent");
        drop((a, b));
    }
}

#[test]
fn the_interface_and_the_advertised_address_are_looked_at() {
    if !Hosts::possible() {
        return not_run("network namespaces need root, `ip` and /dev/net/tun");
    }
    Kind::Ours.program();
    let _alone = one_at_a_time();
    let hosts = Hosts::start(2, 8);
    // The interface of a tunnel.
    let namespace = hosts.namespace(0);
    let set = Command::new("ip")
        .args(["-n", &namespace, "link", "set", &namespace, "mtu", "1280"])
        .output_in_time();
    assert!(set.status.success(), "{set:?}");
    let a = start(&hosts, 0, Kind::Ours, "a", &[]);
    found(&hosts, 0, "mtu", "is 1280, but gossip packets have up to 1428 bytes", "Set the MTU");
    drop(a);
    // An address at which nobody reaches it.
    let a = start(&hosts, 0, Kind::Ours, "a", &["-advertise", "10.99.99.99"]);
    let b = start(&hosts, 1, Kind::Ours, "b", &["-join", &a.addr]);
    let c = start(
        &hosts,
        1,
        Kind::Ours,
        "c",
        &[
            "-bind",
            &format!("{}:7947", hosts.ip(1)),
            "-join",
            &b.addr,
            "-rpc-addr",
            "127.0.0.1:7374",
        ],
    );
    let remedy = "Set -advertise to an address at which other members reach this agent";
    found(&hosts, 0, "advertise", "the address that this agent advertises, although", remedy);
    drop((a, b, c));
    let a = start(&hosts, 0, Kind::Ours, "a", &["-advertise", "127.0.0.1"]);
    let b = start(&hosts, 1, Kind::Ours, "b", &[]);
    let joined = Command::new("ip")
        .args(["netns", "exec", &namespace])
        .arg(Kind::Ours.program())
        .args(["join", &b.addr])
        .output_in_time();
    assert!(joined.status.success(), "{joined:?}");
    found(&hosts, 0, "advertise", "which is reachable only from its own machine", remedy);
    drop((a, b));
}

/// An agent on a host, with its RPC there alone.
fn start(hosts: &Hosts, host: usize, kind: Kind, name: &str, args: &[&str]) -> Peer {
    let namespace = hosts.namespace(host);
    let launch = Launch::new(kind, name, &hosts.ip(host)).rpc("127.0.0.1:7373");
    launch.args(args).wrapper(&["ip", "netns", "exec", &namespace]).start()
}

/// What doctor says on a host.
fn ask(hosts: &Hosts, host: usize) -> (Option<i32>, Value) {
    let mut command = Command::new("ip");
    command.args(["netns", "exec", &hosts.namespace(host)]).arg(Kind::Ours.program());
    doctor(command.arg("doctor"))
}

/// Waits until doctor on a host finds this problem with this remedy, and gives the report.
fn found(hosts: &Hosts, host: usize, check: &str, problem: &str, remedy: &str) -> Value {
    says(|| ask(hosts, host), check, [problem, remedy])
}

#[test]
fn settings_files_and_strangers_are_found() {
    let _alone = one_at_a_time();
    let (net, dir) = (Net::new(), tempfile::tempdir().unwrap());
    let path = |name: &str| dir.path().join(name).to_string_lossy().into_owned();
    std::fs::create_dir(path("state")).unwrap();
    let (snapshot, config) = (path("state/snapshot"), path("a.json"));
    let settings = json!({"label": "blue", "snapshot_path": snapshot});
    std::fs::write(&config, settings.to_string()).unwrap();
    let args = ["-config-file", &config, "-encrypt", KEY, "-retry-join", "no-such.invalid:7946"];
    let agent = Peer::start(Kind::Ours, "a", &net.ip(1), &args);
    let says = |check: &str, texts| says(|| doctor(&mut asked(&agent)), check, texts);
    let remedy = "Correct the seed in start_join, retry_join or -join, what it names, or the name";
    says("seed", ["The seed no-such.invalid:7946 does not resolve", remedy]);
    // Strangers: one with another key, and one without label and key.
    let label = path("label.json");
    std::fs::write(&label, json!({"label": "blue"}).to_string()).unwrap();
    for (ip, args) in [(2, &["-encrypt", OTHER_KEY, "-config-file", &label][..]), (3, &[])] {
        let stranger = Peer::start(Kind::Ours, "s", &net.ip(ip), args);
        for _ in 0..3 {
            assert_eq!(stranger.cli(&["join", &agent.addr]).code, Some(1));
        }
    }
    says("key", ["do not have an encryption key in common", "add the missing key"]);
    says("label", ["a different cluster label", "Set the same label on all agents"]);
    std::fs::remove_dir_all(path("state")).unwrap();
    says("file", ["cannot write a file that it needs", "Make the file and its directory writable"]);
    bundle(dir.path(), &agent, &config);
    drop(agent);
    let open = Launch::new(Kind::Ours, "o", &net.ip(4)).rpc("0.0.0.0:17373").start();
    let (code, report) =
        doctor(Command::new(Kind::Ours.program()).args(["doctor", "-rpc-addr", "127.0.0.1:17373"]));
    let exposed = of(&report, "rpc")[0];
    let text = exposed["problem"].as_str().unwrap();
    assert!(code == Some(2) && text.contains("0.0.0.0:17373 without a token"), "{report:#}");
    assert!(exposed["remedy"].as_str().unwrap().starts_with("Set rpc_auth"), "{report:#}");
    let (_, report) = doctor_about(
        Command::new(Kind::Ours.program()).args(["doctor", "-rpc-addr", "127.0.0.1:17373"]),
        &["zzz"],
    );
    assert_eq!(of(&report, "member")[0]["peer"], "zzz");
    drop(open);
    let low = Launch::new(Kind::Ours, "l", &net.ip(5)).wrapper(&["prlimit", "--nofile=300:300"]);
    let low = low.start();
    let (_, report) = doctor(&mut asked(&low));
    let few = of(&report, "descriptors")[0];
    assert_eq!(few["problem"], "The agent may open only 300 files, connections included.");
    assert!(few["remedy"].as_str().unwrap().starts_with("Raise the limit: "), "{report:#}");
    let said = serf(Kind::Ours, "127.0.0.1:1", &["doctor"]);
    assert_eq!(said.code, Some(1), "{said:?}");
}

/// `serf debug` has all of it in one private file, without keys.
fn bundle(dir: &Path, agent: &Peer, config: &str) {
    use std::os::unix::fs::PermissionsExt as _;

    let mut settings: Value = serde_json::from_slice(&std::fs::read(config).unwrap()).unwrap();
    settings["rpc_auth"] = json!("s3cret-token");
    settings["encrypt_key"] = json!(KEY);
    std::fs::write(config, settings.to_string()).unwrap();
    let path = dir.join("bundle.json");
    let shown = path.to_str().unwrap();
    let said = serf(Kind::Ours, &agent.rpc, &["debug", "-output", shown, "-config-file", config]);
    assert_eq!(said.code, Some(0), "{said:?}");
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(!text.contains(KEY) && !text.contains("s3cret-token"), "{text}");
    let bundle: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(bundle["doctor"]["agent"], "a");
    assert_eq!(bundle["config"][config]["label"], "blue");
    assert_eq!(bundle["config"][config]["rpc_auth"], "(left out)");
    assert_eq!((&bundle["key_holders"], &bundle["members"][0]["name"]), (&json!([1]), &json!("a")));
    assert!(bundle["log"].as_array().unwrap().len() > 5 && bundle["stats"]["serf"].is_object());
}

const KEY: &str = "T9jncgl9mbLus+baTTa7q7nPSUrXwbDi2dhbtqir37s=";
/// How ways that are closed are opened.
const BLOCKED: &str = "in both directions on the gossip port (7946)";
const OTHER_KEY: &str = "HvY8ubRZMgafUOWvrOadwOckVa1wN3QWAo46FVKbVN8=";
