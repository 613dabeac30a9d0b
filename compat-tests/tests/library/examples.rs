//! The examples do what they say. All run at the same time, as processes of their own.

use std::{
    io::{Read, Write},
    net::TcpStream,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use compat_tests::{
    net::Net,
    peer::Peer,
    process::{InTime as _, Kind, Process, cargo},
    wait::{BUILD, PATIENCE, poll},
};
use serde_json::{Value, json};

#[test]
fn service_knows_its_peers_and_leaves_in_good_order() {
    let a = Service::start("a", &[]);
    let b = Service::start("b", &[&a.gossip]);
    b.process.wait_for("joined through 1 of 1 peers");
    for service in [&a, &b] {
        let (code, health) = service.ask("GET", "/health", "");
        assert_eq!((code, health.as_str()), (200, "Alive\n"));
        service.wait_members(&json!([
            {"name": "a", "status": "alive", "http": a.http},
            {"name": "b", "status": "alive", "http": b.http},
        ]));
    }
    assert_eq!(a.ask("POST", "/event/deploy", "v2").0, 202);
    b.process.wait_for("event deploy: v2");
    let (code, refused) = a.ask("POST", "/event/large", &"x".repeat(600));
    assert_eq!(code, 413, "{refused}");
    assert!(refused.contains("exceeds configured limit of 512 bytes"), "{refused}");

    // An answer may be lost on the way; a question may be asked again.
    let answers = poll(PATIENCE, || {
        let (code, answers) = b.ask("POST", "/query/uptime", "");
        assert_eq!(code, 200, "{answers}");
        let answers: Value = serde_json::from_str(&answers).expect("JSON");
        (answers["missing"] == json!([])).then_some(answers)
    });
    let answers = answers.expect("everyone answers");
    for name in ["a", "b"] {
        let uptime = answers["answers"][name].as_str().expect("an uptime");
        assert!(uptime.ends_with(" s"), "{answers}");
    }

    // Once a second the node hands its totals to the recorder, which the service counts with, too.
    let scraped = poll(PATIENCE, || {
        let (code, text) = a.ask("GET", "/metrics", "");
        assert_eq!(code, 200, "{text}");
        let value = |name: &str| -> Option<f64> {
            text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
        };
        let sent = value("memberlist_udp_sent").is_some_and(|sent| sent > 0.0);
        let joined = value("serf_member_join").is_some_and(|joined| joined >= 1.0);
        let events = text.contains("# TYPE serf_events counter")
            && text.contains("# HELP serf_events User events that arrived, own ones included\n");
        let own = value("service_scrapes_total").is_some_and(|count| count >= 1.0);
        (sent && joined && events && own).then_some(())
    });
    assert!(scraped.is_some(), "{}", a.ask("GET", "/metrics", "").1);

    let Service { mut process, .. } = b;
    process.signal("INT");
    assert_eq!(process.wait(), Some(0), "{}", process.err());
    assert!(process.out().ends_with("left the cluster\n"), "{}", process.out());
    a.process.wait_for("member-leave: b");
}

#[test]
fn guest_is_a_member_of_an_encrypted_go_cluster() {
    let key = STANDARD.encode([7; 32]);
    let net = Net::new();
    let go = Peer::start(Kind::Go, "go", &net.ip(1), &["-encrypt", key.as_str()]);
    let mut guest = example("join_go_encrypted", &["guest", &key, &go.addr]);
    guest.wait_for("go alive protocol 5");
    go.wait_member("guest", "alive");
    let seen = go.ok(&["members", "-name", "guest"]);
    assert!(seen.contains("role=guest"), "{seen}");
    guest.signal("INT");
    assert_eq!(guest.wait(), Some(0), "{}", guest.err());
    go.wait_member("guest", "left");

    let mut stranger = example("join_go_encrypted", &["x", &STANDARD.encode([8; 32]), &go.addr]);
    assert_eq!(stranger.wait(), Some(1), "{}", stranger.out());
    let reason = "no installed keys could decrypt the message";
    assert!(stranger.err().contains(reason), "{}", stranger.err());
    assert_eq!(go.listed(), ["go alive", "guest left"]);
}

#[test]
fn first_cluster_of_the_docs_works_with_a_go_agent() {
    let key = STANDARD.encode([7; 32]);
    let state = tempfile::tempdir().expect("a directory");
    let keyring = state.path().join("keyring.json");
    std::fs::write(&keyring, json!([key]).to_string()).expect("a keyring");
    let net = Net::new();
    let args = ["-encrypt", key.as_str(), "-tag", "region=eu"];
    let peer = Peer::start(Kind::Go, "go", &net.ip(1), &args);
    let directory = state.path().to_str().expect("UTF-8");
    let bind = format!("{net}3:7946");
    let mut ours = example("first_cluster", &["cache-1", &bind, directory, &peer.addr]);
    peer.wait_member("cache-1", "alive");
    ours.wait_for("ring: cache-1 go");
    let answers = poll(PATIENCE, || {
        let said = peer.ok(&["query", "-timeout=2s", "stats"]);
        said.contains("Response from 'cache-1': 2 members").then_some(())
    });
    assert!(answers.is_some(), "the query is answered: {}", ours.err());

    peer.ok(&["event", "stop"]);
    assert_eq!(ours.wait(), Some(0), "{}", ours.err());
    peer.wait_member("cache-1", "left");
    assert_eq!(peer.listed(), ["cache-1 left", "go alive"]);
    let snapshot = std::fs::read_to_string(state.path().join("serf.snapshot")).expect("a snapshot");
    assert!(snapshot.contains("\nleave\n"), "{snapshot}");
}

#[test]
fn events_tell_a_slow_subscriber_what_it_lost() {
    let out = run("events", &[]);
    // The order of events is not promised, so only what each subscriber must see is looked for.
    let (all, newest) = out.split_once("newest:").expect("both subscribers print");
    assert!(all.contains("  deploy v1\n"), "{out}");
    assert_eq!(all.matches("  load ").count(), 10, "{out}");
    assert!(newest.contains(" lost\n") && newest.contains("  load "), "{out}");
}

#[test]
fn typed_payloads_are_read_and_what_is_wrong_is_said() {
    let out = run("typed_payloads", &[]);
    let mut lines: Vec<_> = out.lines().collect();
    let last = lines.pop().expect("a last line");
    assert!(last.contains("exceeds configured limit of 512 bytes"), "{out}");
    // The event and the query may change places.
    lines.sort_unstable();
    let wanted = [
        "b answers Load { percent: 5 }",
        r#"b deploys v2 to ["web-1"]"#,
        "b is asked for the load of web",
        "the payload is not of type typed_payloads::Deploy: more follows the value",
    ];
    assert_eq!(lines, wanted, "{out}");
}

#[test]
fn node_runs_on_smol() {
    assert_eq!(run("smol", &[]), "b joined 1 node\na heard greeting: from b\n");
}

#[test]
fn queries_are_answered_by_those_that_the_filter_names() {
    let out = run("queries", &[]);
    for line in ["web-1: web-1 is idle\n", "web-2: web-2 is idle\n"] {
        assert!(out.contains(line), "{out}");
    }
    assert!(!out.contains("asker"), "only the role web is asked: {out}");
}

#[test]
fn merge_delegate_keeps_another_region_out() {
    let out = run("merge_delegate", &[]);
    let wanted = "eu-2 joined eu-1\n\
                  eu-2 did not join us-1: us-1 is not from eu\n\
                  eu-1 lists eu-1 and eu-2\n";
    assert_eq!(out, wanted);
}

#[test]
fn engine_runs_on_a_loop_without_tokio() {
    let out = run("own_loop", &[]);
    assert_eq!(out, "a heard: member-join b\na heard: deploy v2\na heard: member-leave b\n");
}

#[test]
fn keys_are_rotated_on_all_nodes() {
    let out = run("rotate_keys", &[]);
    let (old, new) = (STANDARD.encode([1; 32]), STANDARD.encode([2; 32]));
    let done = "  3 of 3 nodes answered, 0 refused";
    let refused = "removing the primary key is not allowed";
    let wanted = [
        "keys:".to_owned(),
        format!("  {old} on 3 nodes, primary on 3"),
        "remove the old key too early:".to_owned(),
        "  3 of 3 nodes answered, 3 refused".to_owned(),
        format!("  a: {refused}"),
        format!("  b: {refused}"),
        format!("  c: {refused}"),
        "  error: 3/3 nodes reported failure".to_owned(),
        "install the new key:".to_owned(),
        done.to_owned(),
        "use the new key:".to_owned(),
        done.to_owned(),
        "remove the old key:".to_owned(),
        done.to_owned(),
        "keys:".to_owned(),
        format!("  {new} on 3 nodes, primary on 3"),
    ];
    assert_eq!(out.lines().collect::<Vec<_>>(), wanted);
}

#[test]
fn transform_of_ones_own_conforms_and_carries_a_cluster() {
    let out = run("custom_transform", &[]);
    let wanted = [
        "conforms",
        r#"a join is "\u{1}7 6:node-a""#,
        "b heard hello: from a",
        r#"b sees a with role Some("example a")"#,
    ];
    assert_eq!(out.lines().collect::<Vec<_>>(), wanted);
}

#[test]
fn cluster_logic_is_tested_on_the_virtual_network() {
    let out = run("cluster_test", &[]);
    let views: Vec<_> = out.lines().filter_map(|line| line.split_once(": ")).collect();
    let views: Vec<_> = views.into_iter().map(|(_, leaders)| leaders).collect();
    assert_eq!(views, [r#"["a"]"#, r#"["a", "c"]"#, r#"["a"]"#, r#"["b"]"#], "{out}");
    assert_eq!(out, run("cluster_test", &[]), "a run is the same each time");
}

/// An example that serves HTTP.
struct Service {
    process: Process,
    gossip: String,
    http: String,
}

impl Service {
    fn start(name: &str, peers: &[&str]) -> Self {
        let mut command = Command::new(examples().join("../example-service"));
        command.args([name]).args(peers);
        let process = Process::start(command);
        let out = process.wait_for("http on ");
        let address = |what: &str| {
            let line = out.lines().find_map(|line| line.strip_prefix(what));
            line.unwrap_or_else(|| panic!("no {what:?} in {out}")).to_owned()
        };
        let (gossip, http) = (address("gossip on "), address("http on "));
        Self { process, gossip, http }
    }

    /// Status code and body.
    fn ask(&self, method: &str, path: &str, body: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(&self.http).expect("the service listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        let len = body.len();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {len}\r\n"
        );
        write!(stream, "{head}\r\n{body}").expect("a request is taken");
        let mut response = String::new();
        stream.read_to_string(&mut response).expect("a response");
        let (head, body) = response.split_once("\r\n\r\n").expect("a head and a body");
        let code = head.split(' ').nth(1).and_then(|code| code.parse().ok());
        (code.expect("a status"), body.to_owned())
    }

    fn wait_members(&self, wanted: &Value) {
        let seen = || serde_json::from_str::<Value>(&self.ask("GET", "/members", "").1);
        let same = || seen().is_ok_and(|seen| seen == *wanted).then_some(());
        assert!(poll(PATIENCE, same).is_some(), "{:?} instead of {wanted}", seen());
    }
}

/// Runs an example to its end and gives its output.
fn run(name: &str, args: &[&str]) -> String {
    let mut process = example(name, args);
    // These end by themselves, but a busy machine may take its time.
    let code = poll(Duration::from_secs(60), || process.try_code());
    assert_eq!(code, Some(0), "{name}:\n{}\n{}", process.out(), process.err());
    process.wait();
    process.out()
}

fn example(name: &str, args: &[&str]) -> Process {
    let mut command = Command::new(examples().join(name));
    command.args(args);
    Process::start(command)
}

/// The directory of the examples; the service is beside it. Cargo builds them along with tests, but
/// not if one test file is asked for.
fn examples() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
        let built = cargo()
            // With what the tests of all are built with, so that nothing is built anew.
            .args(["build", "-q", "--examples", "--bins", "--all-features", "--workspace"])
            .arg("--manifest-path")
            .arg(manifest)
            .output_within(BUILD);
        let errors = String::from_utf8_lossy(&built.stderr);
        assert!(built.status.success(), "the examples do not build: {errors}");
        let test = std::env::current_exe().expect("the path of the test");
        test.ancestors().nth(2).expect("a target directory").join("examples")
    })
}
