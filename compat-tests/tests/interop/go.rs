//! Rust nodes and Go nodes in one cluster, over real sockets on loopback.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use compat_tests::{
    alone::one_at_a_time,
    go::{self, GoPeer},
    process::not_run,
    wait::{PATIENCE, poll, poll_async},
};
use ruserf::{
    Config, Event, EventStream, Keyring, MemberStatus, QueryParams, QueryUpdate, Serf, Subscribe,
    UserEventSpec,
};
use serde_json::{Value, json};
use tokio::{runtime::Handle, task::JoinSet};

const SOON: Duration = Duration::from_secs(40);
/// How fast both must list each other after a join.
const LISTED_WITHIN: Duration = Duration::from_secs(5);
/// How long an idle pair is watched.
const IDLE: Duration = Duration::from_secs(60);
const IDLE_PARTS: u32 = 6;
/// A probe waits half a second for its ack.
const STALL_MAX: Duration = Duration::from_millis(200);

/// Settings of one pair, the same on both sides but for compression.
#[derive(Clone, Debug)]
struct Setup {
    title: &'static str,
    key: Option<Vec<u8>>,
    label: &'static str,
    go_compresses: bool,
    rust_compresses: bool,
    protocol: u8,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            title: "plain",
            key: None,
            label: "",
            go_compresses: true,
            rust_compresses: true,
            protocol: 5,
        }
    }
}

fn setups() -> Vec<Setup> {
    let key = |title, bytes| Setup { title, key: Some(vec![7; bytes]), ..Setup::default() };
    let protocol = |title, protocol| Setup { title, protocol, ..Setup::default() };
    let compression = |title, go_compresses, rust_compresses| Setup {
        title,
        go_compresses,
        rust_compresses,
        ..Setup::default()
    };
    vec![
        Setup::default(),
        key("aes-128", 16),
        key("aes-192", 24),
        key("aes-256", 32),
        compression("only Go compresses", true, false),
        compression("only Rust compresses", false, true),
        compression("nobody compresses", false, false),
        Setup { title: "label", label: "blue", ..Setup::default() },
        Setup { title: "label and key", label: "blue", ..key("", 32) },
        protocol("protocol 2", 2),
        protocol("protocol 3", 3),
        protocol("protocol 4", 4),
        protocol("protocol 5", 5),
    ]
}

/// Goal: every combination of settings forms a cluster, whichever side joins, without a suspicion.
/// Method: all pairs at once, joined, checked, and left idle for a minute; both sides' own counters
/// must show no suspicion, no failure and no flap.
#[test]
fn every_configuration_joins_both_ways_and_idles_without_a_suspicion() {
    let _alone = one_at_a_time();
    runtime().block_on(async {
        let mut pairs = JoinSet::new();
        for setup in setups() {
            for go_joins in [false, true] {
                let setup = setup.clone();
                let here = Handle::current();
                pairs.spawn_blocking(move || here.block_on(idle_pair(&setup, go_joins)));
            }
        }
        let (parts, mut observed) = (pairs.len() * IDLE_PARTS as usize, 0);
        let mut failures = Vec::new();
        while let Some(result) = pairs.join_next().await {
            match result {
                Ok(Ok(calm)) => observed += calm,
                Ok(Err(failure)) => failures.push(failure),
                Err(panic) => failures.push(panic.to_string()),
            }
        }
        assert!(failures.is_empty(), "{} pairs failed:\n{}", failures.len(), failures.join("\n"));
        println!("the machine kept up in {observed} of {parts} parts of the idle time");
        if observed == 0 {
            not_run("no pair was observed: the machine never kept up");
        }
    });
}

/// Gives in how many parts of its idle time the machine kept up, so that they count.
async fn idle_pair(setup: &Setup, go_joins: bool) -> Result<usize, String> {
    let what = format!("{} ({} joins)", setup.title, if go_joins { "Go" } else { "Rust" });
    let fail = |text: String| format!("{what}: {text}");
    let go = start_go(setup, "go", json!({"tags": {"role": "web"}})).await;
    let rust = start_rust(setup, "rust", |config| {
        config.tags = BTreeMap::from([("role".into(), "db".into())]);
    })
    .await;

    let started = Instant::now();
    let go = if go_joins {
        let addr = rust.addresses().bound.to_string();
        let (go, joined) = blocking(go, move |go| {
            go.try_call(json!({"cmd": "join", "addrs": [addr], "ignore_old": true}))
        })
        .await;
        joined.map_err(&fail)?;
        go
    } else {
        rust.join([go.addr().to_string()]).await.map_err(|error| fail(error.to_string()))?;
        go
    };
    wait_status(&rust, "go", MemberStatus::Alive).await.map_err(&fail)?;
    let (go, listed) = blocking(go, |go| wait_go_status(go, "rust", "alive")).await;
    listed.map_err(&fail)?;
    if started.elapsed() > LISTED_WITHIN {
        return Err(fail(format!("listed only after {:?}", started.elapsed())));
    }
    let members = rust.members().await;
    let seen = members.iter().find(|member| &*member.name == "go").expect("listed");
    if seen.tags.get("role") != Some("web") {
        return Err(fail(format!("tags of Go seen as {:?}", seen.tags)));
    }
    let (go, seen) = blocking(go, |go| go_member(go, "rust")).await;
    if seen["tags"] != json!({"role": "db"}) {
        return Err(fail(format!("tags of Rust seen as {seen}")));
    }

    let (go, observed) = watch_idle(&rust, go).await.map_err(&fail)?;
    let swim = rust.counters().await.expect("a running node").swim;
    if swim.msg_dead > 0 {
        return Err(fail(format!("Rust was not calm: {swim:?}")));
    }
    if swim.dropped_malformed + swim.dropped_inadmissible > 0 {
        return Err(fail(format!("Rust did not understand everything: {swim:?}")));
    }
    let (go, deaths) = blocking(go, |go| {
        let deaths = ["memberlist.msg.dead", "serf.member.failed", "serf.member.flap"];
        deaths.map(|name| go.counter(name)).iter().sum::<f64>()
    })
    .await;
    if deaths != 0.0 {
        return Err(fail(format!("Go was not calm: {}", go.logs().join("\n"))));
    }
    Ok(observed)
}

/// Leaves a pair idle; gives in how many parts of the time the machine kept up. In those neither
/// side may suspect the other or log a warning. A node that does not get the processor in time
/// acks late, in either implementation, and the effect may appear in the next part.
async fn watch_idle(rust: &Serf, mut go: GoPeer) -> Result<(GoPeer, usize), String> {
    let (mut observed, mut last, mut stalled_before) = (0, (0, 0, 0), Duration::ZERO);
    for _ in 0..IDLE_PARTS {
        let stalled = longest_stall(IDLE / IDLE_PARTS).await;
        let swim = rust.counters().await.expect("a running node").swim;
        let (peer, (suspects, complaints)) = blocking(go, |go| {
            let complains = |line: &&String| line.contains("[ERR]") || line.contains("[WARN]");
            // Without a key Go warns about its own public address, which says nothing about us.
            let about_us = |line: &&String| !line.contains("Binding to public address");
            let complaints = go.logs().iter().filter(complains).filter(about_us).count();
            (go.counter("memberlist.msg.suspect") as u64, complaints)
        })
        .await;
        go = peer;
        let now = (swim.msg_suspect + swim.refutes + swim.failed_probes, suspects, complaints);
        if stalled.max(stalled_before) < STALL_MAX {
            observed += 1;
            if now != last {
                let logs = go.logs().join("\n");
                return Err(format!("not calm: {last:?}, then {now:?}: {swim:?}\n{logs}"));
            }
        }
        (last, stalled_before) = (now, stalled);
    }
    Ok((go, observed))
}

/// Waits, and gives by how much the processor was late at most for a thread that wanted it.
async fn longest_stall(time: Duration) -> Duration {
    let watch = move || {
        let (end, step) = (Instant::now() + time, Duration::from_millis(20));
        let mut longest = Duration::ZERO;
        while Instant::now() < end {
            let began = Instant::now();
            std::thread::sleep(step);
            longest = longest.max(began.elapsed().saturating_sub(step));
        }
        longest
    };
    tokio::task::spawn_blocking(watch).await.expect("no panic")
}

/// Goal: a node of another cluster is refused with an error, and the cluster is not disturbed.
#[test]
fn wrong_key_wrong_label_and_plaintext_are_refused() {
    runtime().block_on(async {
        let home = Setup { label: "blue", key: Some(vec![7; 32]), ..Setup::default() };
        let strangers = [
            ("wrong key", Setup { key: Some(vec![8; 32]), ..home.clone() }),
            ("plaintext", Setup { key: None, ..home.clone() }),
            ("wrong label", Setup { label: "red", ..home.clone() }),
            ("no label", Setup { label: "", ..home.clone() }),
        ];
        let go = start_go(&home, "go", json!({})).await;
        let rust = start_rust(&home, "rust", |_| {}).await;
        rust.join([go.addr().to_string()]).await.expect("both belong together");
        wait_status(&rust, "go", MemberStatus::Alive).await.unwrap();
        let rust_addr = rust.addresses().bound.to_string();

        for (what, setup) in strangers {
            let stranger = start_rust(&setup, "stranger", |_| {}).await;
            let refused = stranger.join([go.addr().to_string()]).await;
            assert!(refused.is_err(), "{what}: Go let a Rust stranger in");
            let stranger = start_go(&setup, "go-stranger", json!({})).await;
            let addr = rust_addr.clone();
            let join = move |go: &GoPeer| go.try_call(json!({"cmd": "join", "addrs": [addr]}));
            let (_, refused) = blocking(stranger, join).await;
            assert!(refused.is_err(), "{what}: Rust let a Go stranger in");
        }
        let names: Vec<_> = rust.members().await.iter().map(|m| m.name.to_string()).collect();
        assert_eq!(names, ["go", "rust"]);
        let (_, members) = blocking(go, GoPeer::members).await;
        let alive = |name: &str| (name.to_owned(), "alive".to_owned());
        assert_eq!(members, [alive("go"), alive("rust")]);
    });
}

#[test]
fn events_and_queries_cross_in_both_directions() {
    runtime().block_on(async {
        let setup = Setup { key: Some(vec![7; 16]), ..Setup::default() };
        let go = start_go(&setup, "go", json!({"query_handler": "uppercase"})).await;
        let rust = start_rust(&setup, "rust", |_| {}).await;
        let mut events = rust.subscribe(Subscribe::default());
        rust.join([go.addr().to_string()]).await.expect("a join");
        let (go, listed) = blocking(go, |go| wait_go_status(go, "rust", "alive")).await;
        listed.unwrap();

        let (go, _) = blocking(go, |go| {
            go.call(json!({"cmd": "event", "name": "deploy", "payload": go::base64("v42")}))
        })
        .await;
        let event = next_matching(&mut events, |event| match event {
            Event::User(event) if &*event.name == "deploy" => Some(event),
            _ => None,
        })
        .await;
        assert_eq!(&event.payload[..], b"v42");

        let back = UserEventSpec::new("back", &b"v43"[..]).coalesce(true);
        rust.send_event(back).await.unwrap();
        let (go, event) =
            blocking(go, |go| go.wait_event("user", SOON, |event| event["name"] == "back")).await;
        assert_eq!(go::bytes(&event["payload"]), b"v43");
        assert_eq!(event["coalesce"], true);

        let asking = tokio::spawn(blocking(go, |go| {
            go.call(json!({
                "cmd": "query", "name": "ask", "payload": go::base64("load"), "ack": true,
                "relay_factor": 1, "timeout_ms": 2000,
            }))
        }));
        let query = next_matching(&mut events, |event| match event {
            Event::Query(query) if query.name() == "ask" => Some(query),
            _ => None,
        })
        .await;
        query.respond(&b"0.5"[..]).await.unwrap();
        let (go, result) = asking.await.unwrap();
        let mut acks: Vec<_> = result["acks"].as_array().unwrap().iter().collect();
        acks.sort_by_key(|ack| ack.to_string());
        assert_eq!(acks, ["go", "rust"]);
        let from_rust = |answer: &&Value| answer["from"] == "rust";
        let answer = result["responses"].as_array().unwrap().iter().find(from_rust).unwrap();
        assert_eq!(go::bytes(&answer["payload"]), b"0.5");

        let params = QueryParams::default().request_ack(true).filter_node("go");
        let params = params.timeout(Duration::from_secs(2));
        let mut query = rust.query("shout", &b"hello"[..], params).await.unwrap();
        let mut got = Vec::new();
        while let Some(update) = query.recv().await {
            match update {
                QueryUpdate::Ack { from } => got.push(format!("ack {from}")),
                QueryUpdate::Response { from, payload } => {
                    got.push(format!("{from}: {}", String::from_utf8_lossy(&payload)));
                }
                _ => break,
            }
        }
        got.sort();
        assert_eq!(got, ["ack go", "go: HELLO"]);
        drop(go);
    });
}

#[test]
fn a_killed_node_is_failed_a_leaving_one_left_and_a_restart_is_alive_again() {
    runtime().block_on(async {
        let setup = Setup::default();
        let fast = |name: &str| json!({"name": name, "profile": "local"});
        let go = start_go(&setup, "go", fast("go")).await;
        let rust = start_rust_with(Config::local("rust"), &setup, 0).await;
        rust.join([go.addr().to_string()]).await.expect("a join");

        // A Go node is killed; a new one of the same name and address may join.
        let victim = start_go(&setup, "victim", fast("victim")).await;
        let victim_addr = victim.addr();
        rust.join([victim_addr.to_string()]).await.expect("a join");
        wait_status(&rust, "victim", MemberStatus::Alive).await.unwrap();
        drop(victim); // SIGKILL
        wait_status(&rust, "victim", MemberStatus::Failed).await.unwrap();
        let again = json!({"name": "victim", "profile": "local", "port": victim_addr.port()});
        let victim = start_go(&setup, "victim", again).await;
        rust.join([victim.addr().to_string()]).await.expect("a join");
        wait_status(&rust, "victim", MemberStatus::Alive).await.unwrap();
        let (victim, _) = blocking(victim, |go| go.call(json!({"cmd": "leave"}))).await;
        wait_status(&rust, "victim", MemberStatus::Left).await.unwrap();
        drop(victim);

        // The same with a Rust node, as Go sees it.
        let victim = start_rust_with(Config::local("rv"), &setup, 0).await;
        let port = victim.addresses().bound.port();
        victim.join([go.addr().to_string()]).await.expect("a join");
        let (go, alive) = blocking(go, |go| wait_go_status(go, "rv", "alive")).await;
        alive.unwrap();
        let (go, before) = blocking(go, |go| incarnation(go, "rv")).await;
        victim.shutdown().await; // no leave: for the others the same as a crash
        let (go, failed) = blocking(go, |go| wait_go_status(go, "rv", "failed")).await;
        failed.unwrap();
        let victim = start_rust_with(Config::local("rv"), &setup, port).await;
        victim.join([go.addr().to_string()]).await.expect("a join");
        let (go, alive) = blocking(go, |go| wait_go_status(go, "rv", "alive")).await;
        alive.unwrap();
        let (go, after) = blocking(go, |go| incarnation(go, "rv")).await;
        assert!(after > before, "incarnation went from {before} to {after}");
        victim.leave().await.unwrap();
        let (go, left) = blocking(go, |go| wait_go_status(go, "rv", "left")).await;
        left.unwrap();
        drop(go);
    });
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

/// Talks to a Go peer on a thread that may block.
async fn blocking<R: Send + 'static>(
    go: GoPeer,
    work: impl FnOnce(&GoPeer) -> R + Send + 'static,
) -> (GoPeer, R) {
    let done = tokio::task::spawn_blocking(move || {
        let result = work(&go);
        (go, result)
    });
    done.await.expect("the peer answers")
}

async fn start_go(setup: &Setup, name: &str, extra: Value) -> GoPeer {
    let mut config = json!({
        "name": name,
        "bind": "127.0.0.1",
        "label": setup.label,
        "compression": setup.go_compresses,
        "protocol": setup.protocol,
    });
    if let Some(key) = &setup.key {
        config["key"] = go::base64(key).into();
    }
    for (key, value) in extra.as_object().expect("an object") {
        config[key] = value.clone();
    }
    let start = tokio::task::spawn_blocking(move || GoPeer::start(config));
    start.await.expect("a Go peer starts")
}

async fn start_rust(setup: &Setup, name: &str, change: impl FnOnce(&mut Config)) -> Serf {
    let mut config = Config::lan(name);
    change(&mut config);
    start_rust_with(config, setup, 0).await
}

async fn start_rust_with(mut config: Config, setup: &Setup, port: u16) -> Serf {
    config.protocol = setup.protocol;
    config.label = setup.label.to_owned();
    config.compression = setup.rust_compresses.into();
    if let Some(key) = &setup.key {
        config.keyring = Keyring::build(&[], key).expect("a key");
    }
    let builder = Serf::builder(config).bind(([127, 0, 0, 1], port));
    builder.start().await.expect("a Rust node starts")
}

async fn wait_status(serf: &Serf, name: &str, status: MemberStatus) -> Result<(), String> {
    let listed = poll_async(Duration::from_secs(60), || async {
        let member = serf.member(name).await;
        member.filter(|member| member.status == status)
    });
    listed.await.map(drop).ok_or_else(|| format!("Rust does not list {name} as {status}"))
}

fn wait_go_status(go: &GoPeer, name: &str, status: &str) -> Result<(), String> {
    let listed = || go.members().iter().any(|(n, s)| n == name && s == status).then_some(());
    poll(PATIENCE, listed)
        .ok_or_else(|| format!("Go does not list {name} as {status}: {:?}", go.members()))
}

fn go_member(go: &GoPeer, name: &str) -> Value {
    let members = go.call(json!({"cmd": "members"}));
    let found = members.as_array().and_then(|all| all.iter().find(|m| m["name"] == name));
    found.cloned().unwrap_or_default()
}

fn incarnation(go: &GoPeer, name: &str) -> u64 {
    let table = go.call(json!({"cmd": "table"}));
    let row = table.as_array().and_then(|rows| rows.iter().find(|row| row["name"] == name));
    row.and_then(|row| row["incarnation"].as_u64()).expect("a row with an incarnation")
}

async fn next_matching<R>(events: &mut EventStream, mut want: impl FnMut(Event) -> Option<R>) -> R {
    let search = async {
        while let Some(event) = events.recv().await {
            if let Some(found) = want(event) {
                return found;
            }
        }
        panic!("the node has stopped");
    };
    tokio::time::timeout(SOON, search).await.expect("the event arrives in time")
}
