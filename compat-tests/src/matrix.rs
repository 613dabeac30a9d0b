//! Scenarios that run with any program in either role. A program is anything that speaks the JSON
//! lines of go-harness's `peer`: Go's library at some version, or ours.

use std::{
    collections::{BTreeMap, HashSet},
    net::UdpSocket,
    path::PathBuf,
    thread::sleep,
    time::Duration,
};

use serde_json::{Value, json};

use crate::{
    go::{GoPeer, base64, bytes},
    wait::poll,
};

/// A program in a role.
#[derive(Clone, Debug)]
pub struct Program {
    /// Its title in the matrix; ours is [`OURS`].
    pub title: String,
    /// The executable.
    pub path: PathBuf,
    /// Whether it supports cluster labels and names that move to another address (memberlist 0.3.0
    /// and newer).
    pub labels: bool,
}

/// The title of our program.
pub const OURS: &str = "Rust";

/// One row of the matrix. The first program acts: it joins, sends and asks.
pub struct Scenario {
    /// Its title in the matrix.
    pub title: &'static str,
    /// Whether both programs must support labels and moving names.
    pub labels: bool,
    /// Runs it; an error describes what was not as expected.
    pub run: fn(&Program, &Program) -> Result<(), String>,
}

/// All scenarios in the order of the matrix.
pub fn scenarios() -> Vec<Scenario> {
    let plain = |title, run| Scenario { title, labels: false, run };
    vec![
        plain("join and tags", join_and_tags),
        plain("aes-128", |a, b| joined(a, b, &json!({"key": key(16, 1)}), &json!({}))),
        plain("aes-192", |a, b| joined(a, b, &json!({"key": key(24, 1)}), &json!({}))),
        plain("aes-256", |a, b| joined(a, b, &json!({"key": key(32, 1)}), &json!({}))),
        plain("only the first compresses", |a, b| {
            joined(a, b, &json!({}), &json!({"compression": false}))
        }),
        plain("protocol 2", |a, b| joined(a, b, &json!({"protocol": 2}), &json!({}))),
        plain("protocol 4", |a, b| joined(a, b, &json!({"protocol": 4}), &json!({}))),
        Scenario {
            title: "label and key",
            labels: true,
            run: |a, b| joined(a, b, &json!({"label": "blue", "key": key(32, 1)}), &json!({})),
        },
        plain("wrong key is refused", wrong_key),
        plain("plaintext to encrypted by the verify flags", verify_flags),
        plain("user events", user_events),
        plain("query: acks, answers, filters", queries),
        plain("query: relays, large answer", large_answer),
        plain("key rotation", key_rotation),
        plain("leave", leave),
        plain("failed, force-leave, prune", force_leave),
        plain("failed, comes back by its own snapshot", reconnect),
        plain("replaced by the other program and back", replaced),
        plain("coordinates", coordinates),
        plain("two nodes of one name: the majority's stays", name_conflict),
        Scenario { title: "comes back at another address", labels: true, run: address_change },
        plain("5,000 members by push/pull, there and back", five_thousand),
    ]
}

fn joined(a: &Program, b: &Program, both: &Value, only_b: &Value) -> Result<(), String> {
    let (a, b) = pair(a, b, both, only_b)?;
    // Long enough for some probes and gossip each way.
    sleep(Duration::from_secs(3));
    for node in [&a, &b] {
        for other in ["a", "b"] {
            wait_status(node, other, "alive")?;
        }
        let accused = node.counter("memberlist.msg.suspect") + node.counter("memberlist.msg.dead");
        same(&accused, &0.0, "suspect and dead messages")?;
    }
    Ok(())
}

fn join_and_tags(a: &Program, b: &Program) -> Result<(), String> {
    let (a, b) = pair(a, b, &json!({"tags": {"role": "web"}}), &json!({"tags": {"x": "é"}}))?;
    same(&member(&a, "b")["tags"], &json!({"x": "é"}), "tags of b seen by a")?;
    same(&member(&b, "a")["tags"], &json!({"role": "web"}), "tags of a seen by b")?;
    a.call(json!({"cmd": "set_tags", "tags": {"role": "db", "empty": ""}}));
    until("the new tags reach b", || {
        member(&b, "a")["tags"] == json!({"role": "db", "empty": ""})
    })?;
    b.wait_member_event("member-update", "a", SOON);
    Ok(())
}

fn wrong_key(a: &Program, b: &Program) -> Result<(), String> {
    let a = start(a, "a", &json!({"key": key(16, 1)}))?;
    let b = start(b, "b", &json!({"key": key(16, 2)}))?;
    if a.try_call(json!({"cmd": "join", "addrs": [b.addr()]})).is_ok() {
        return Err("the join succeeded".into());
    }
    same(&b.members().len(), &1, "members of b")
}

/// Go's documented procedure: first all nodes get the key but accept and send plaintext, then all
/// send encrypted, then all refuse plaintext. Each node is restarted in place for each step.
fn verify_flags(a: &Program, b: &Program) -> Result<(), String> {
    let steps = [
        json!({}),
        json!({"key": key(32, 1), "verify_incoming": false, "verify_outgoing": false}),
        json!({"key": key(32, 1), "verify_incoming": false, "verify_outgoing": true}),
        json!({"key": key(32, 1)}),
    ];
    for step in steps.windows(2) {
        for (config_a, config_b) in [(&step[0], &step[1]), (&step[1], &step[0])] {
            let a = start(a, "a", config_a)?;
            let b = start(b, "b", config_b)?;
            join(&a, &b).map_err(|error| format!("{config_a} with {config_b}: {error}"))?;
        }
    }
    Ok(())
}

fn user_events(a: &Program, b: &Program) -> Result<(), String> {
    let (a, b) = pair(a, b, &json!({}), &json!({}))?;
    let large = vec![b'x'; 400];
    for (from, to) in [(&a, &b), (&b, &a)] {
        for (name, payload, coalesce) in
            [("small", &b"v1"[..], false), ("empty", &[], true), ("large", &large, true)]
        {
            let name = format!("{name}-{}", from.name());
            from.call(json!({
                "cmd": "event", "name": name, "payload": base64(payload), "coalesce": coalesce,
            }));
            let event = to.wait_event("user", SOON, |event| event["name"] == *name);
            same(&bytes(&event["payload"]), &payload.to_vec(), "payload")?;
            same(&event["coalesce"], &json!(coalesce), "coalesce flag")?;
            if to.next_event("user", SHORT, |event| event["name"] == *name).is_some() {
                return Err(format!("{name} was delivered twice"));
            }
        }
    }
    Ok(())
}

fn queries(a: &Program, b: &Program) -> Result<(), String> {
    let both = json!({"query_handler": "uppercase"});
    let (a, _b) = pair(a, b, &both, &json!({"tags": {"role": "db"}}))?;
    let ask = |extra: Value| {
        let mut command = json!({
            "cmd": "query", "name": "ask", "payload": base64("hello"), "ack": true,
            "timeout_ms": 2000,
        });
        for (field, value) in extra.as_object().into_iter().flatten() {
            command[field] = value.clone();
        }
        let result = a.call(command);
        let mut acks: Vec<_> = result["acks"].as_array().into_iter().flatten().cloned().collect();
        acks.sort_by_key(Value::to_string);
        let answers = result["responses"].as_array().into_iter().flatten();
        let mut answers: Vec<_> =
            answers.map(|r| (r["from"].clone(), bytes(&r["payload"]))).collect();
        answers.sort_by_key(|(from, _)| from.to_string());
        (acks, answers)
    };
    let from = |name: &str| (json!(name), b"HELLO".to_vec());
    let all = (vec![json!("a"), json!("b")], vec![from("a"), from("b")]);
    let one = (vec![json!("b")], vec![from("b")]);
    same(&ask(json!({})), &all, "a query to all")?;
    same(&ask(json!({"filter_nodes": ["b"]})), &one, "a query to b")?;
    same(&ask(json!({"filter_tags": {"role": "^d.$"}})), &one, "a query by tag")?;
    same(&ask(json!({"filter_tags": {"role": "web"}})), &(vec![], vec![]), "a query to nobody")
}

fn large_answer(a: &Program, b: &Program) -> Result<(), String> {
    let (a, b) = pair(a, b, &json!({}), &json!({"query_handler": "size:900"}))?;
    let mut third = Vec::new();
    for name in ["c", "d"] {
        // Helpers that relay.
        let helper = start_again(&b, name)?;
        join(&helper, &a)?;
        wait_status(&a, name, "alive")?;
        third.push(helper);
    }
    let result = a.call(json!({
        "cmd": "query", "name": "ask", "relay_factor": 2, "ack": true, "filter_nodes": ["b"],
        "timeout_ms": 3000,
    }));
    let answers = result["responses"].as_array().map(Vec::as_slice).unwrap_or_default();
    same(&answers.len(), &1, "answers, relayed copies not counted")?;
    same(&bytes(&answers[0]["payload"]).len(), &900, "bytes answered")?;
    same(&result["acks"], &json!(["b"]), "acks")
}

fn key_rotation(a: &Program, b: &Program) -> Result<(), String> {
    let (old, new) = (key(32, 1), key(16, 2));
    let dir = tempfile::tempdir().map_err(|error| error.to_string())?;
    let file = |name: &str| dir.path().join(name);
    for name in ["a", "b"] {
        std::fs::write(file(name), json!([old]).to_string()).map_err(|error| error.to_string())?;
    }
    let a = start(a, "a", &json!({"keyring_file": file("a")}))?;
    let b = start(b, "b", &json!({"keyring_file": file("b")}))?;
    join(&a, &b)?;
    for (cmd, key) in [("install_key", &new), ("use_key", &new), ("remove_key", &old)] {
        let result = a.call(json!({"cmd": cmd, "key": key}));
        same(&result["num_resp"], &json!(2), cmd)?;
        same(&result["num_err"], &json!(0), cmd)?;
    }
    for node in [&a, &b] {
        let keys = node.call(json!({"cmd": "list_keys"}));
        same(&keys["keys"], &json!({ &new: 2 }), "keys")?;
    }
    for name in ["a", "b"] {
        let text = std::fs::read_to_string(file(name)).map_err(|error| error.to_string())?;
        let keys: Value = serde_json::from_str(&text).map_err(|error| error.to_string())?;
        same(&keys, &json!([new]), "keyring file")?;
    }
    // The cluster works with only the new key.
    a.call(json!({"cmd": "event", "name": "rotated"}));
    b.wait_event("user", SOON, |event| event["name"] == "rotated");
    Ok(())
}

fn leave(a: &Program, b: &Program) -> Result<(), String> {
    let (a, b) = pair(a, b, &json!({}), &json!({}))?;
    a.call(json!({"cmd": "leave"}));
    wait_status(&b, "a", "left")?;
    b.wait_member_event("member-leave", "a", SOON);
    let failed = b.events().iter().any(|event| event["event"] == "member-failed");
    same(&failed, &false, "a failure was reported")
}

fn force_leave(a: &Program, b: &Program) -> Result<(), String> {
    let (a, b) = pair(a, b, &json!({}), &json!({}))?;
    // It has taken part before it dies.
    a.call(json!({"cmd": "event", "name": "first"}));
    b.wait_event("user", SOON, |event| event["name"] == "first");
    drop(b); // SIGKILL
    wait_status(&a, "b", "failed")?;
    a.wait_member_event("member-failed", "b", SOON);
    a.call(json!({"cmd": "force_leave", "name": "b"}));
    wait_status(&a, "b", "left")?;
    a.call(json!({"cmd": "force_leave", "name": "b", "prune": true}));
    until("b is forgotten", || a.members().len() == 1)
}

fn reconnect(a: &Program, b: &Program) -> Result<(), String> {
    let dir = tempfile::tempdir().map_err(|error| error.to_string())?;
    let mut config = json!({"snapshot_path": dir.path().join("b")});
    let (a, node) = pair(a, b, &json!({}), &config)?;
    config["port"] = json!(node.addr().port());
    // Go flushes a line to its snapshot only with a later one, half a second on.
    for name in ["one", "two"] {
        sleep(Duration::from_secs(1));
        a.call(json!({"cmd": "event", "name": name}));
        node.wait_event("user", SOON, |event| event["name"] == name);
    }
    sleep(Duration::from_secs(1));
    drop(node); // SIGKILL
    wait_status(&a, "b", "failed")?;
    let b = start(b, "b", &config)?; // no join: the snapshot knows a
    wait_status(&b, "a", "alive")?;
    wait_status(&a, "b", "alive")
}

/// A migration in miniature: `m` runs as the first program, is started again as the second with
/// only its snapshot and keyring, and then as the first again; `w` observes it all the time.
fn replaced(a: &Program, b: &Program) -> Result<(), String> {
    let dir = tempfile::tempdir().map_err(|error| error.to_string())?;
    let ring = dir.path().join("ring");
    std::fs::write(&ring, json!([key(32, 1)]).to_string()).map_err(|error| error.to_string())?;
    let watcher = start(b, "w", &json!({"key": key(32, 1)}))?;
    let mut config = json!({"snapshot_path": dir.path().join("m"), "keyring_file": ring});
    let mut node = start(a, "m", &config)?;
    config["port"] = json!(node.addr().port());
    join(&node, &watcher)?;
    wait_status(&watcher, "m", "alive")?;
    for (round, program) in [b, a].into_iter().enumerate() {
        // As an agent stops that is configured not to leave; Go's snapshot is complete only then.
        node.call(json!({"cmd": "shutdown"}));
        drop(node);
        node = start(program, "m", &config)?;
        wait_status(&node, "w", "alive").map_err(|error| format!("round {round}: {error}"))?;
        let name = format!("round-{round}");
        until("an event crosses after the change", || {
            watcher.call(json!({"cmd": "event", "name": name}));
            node.next_event("user", SHORT, |event| event["name"] == *name).is_some()
        })?;
        wait_status(&watcher, "m", "alive")?;
        same(&watcher.members().len(), &2, "members")?;
    }
    let failed = watcher.events().iter().any(|event| event["event"] == "member-failed");
    same(&failed, &false, "a failure was reported")
}

fn coordinates(a: &Program, b: &Program) -> Result<(), String> {
    let (a, b) = pair(a, b, &json!({}), &json!({}))?;
    for (node, other) in [(&a, "b"), (&b, "a")] {
        until("a coordinate of the other is cached", || {
            node.try_call(json!({"cmd": "coordinate", "name": other})).is_ok()
        })?;
        let at = node.call(json!({"cmd": "coordinate", "name": other}));
        same(&at["Vec"].as_array().map(Vec::len), &Some(8), "dimensions")?;
        same(&node.counter("serf.coordinate.rejected"), &0.0, "rejected coordinates")?;
    }
    Ok(())
}

/// Two nodes have the name `x`. Both ask all others, and the one that the others do not know shuts
/// itself down.
fn name_conflict(a: &Program, b: &Program) -> Result<(), String> {
    let real = start(a, "x", &json!({}))?;
    let others =
        [start(b, "w1", &json!({}))?, start(a, "w2", &json!({}))?, start(b, "w3", &json!({}))?];
    for other in &others {
        join(other, &real)?;
    }
    for (node, name) in others.iter().flat_map(|node| ["w1", "w2", "w3"].map(|name| (node, name))) {
        wait_status(node, name, "alive")?;
    }
    let impostor = start(b, "x", &json!({}))?;
    // The join itself may succeed or not; the vote decides.
    let _ = impostor.try_call(json!({"cmd": "join", "addrs": [others[0].addr()]}));
    until("the node that came later ends itself", || {
        impostor.call(json!({"cmd": "state"})) == "shutdown"
    })?;
    same(&real.call(json!({"cmd": "state"})), &json!("alive"), "state of the first")?;
    for other in &others {
        let seen = member(other, "x");
        same(&seen["port"], &json!(real.addr().port()), "port of x")?;
        same(&seen["status"], &json!("alive"), "status of x")?;
    }
    Ok(())
}

/// A name may move when its node has left, or has been dead for the reclaim time.
fn address_change(a: &Program, b: &Program) -> Result<(), String> {
    let config = json!({"dead_node_reclaim_ms": 500});
    let (a, mut node) = pair(a, b, &config, &json!({}))?;
    for orderly in [true, false] {
        let old = node.addr();
        if orderly {
            node.call(json!({"cmd": "leave"}));
            wait_status(&a, "b", "left")?;
        }
        drop(node);
        if !orderly {
            wait_status(&a, "b", "failed")?;
            sleep(Duration::from_millis(600));
        }
        node = start(b, "b", &config)?;
        if node.addr() == old {
            return Err("the system gave the same port again".into());
        }
        join(&node, &a)?;
        let port = node.addr().port();
        until("the new address is known", || member(&a, "b")["port"] == port)?;
        a.call(json!({"cmd": "event", "name": "moved"}));
        node.wait_event("user", SOON, |event| event["name"] == "moved");
    }
    Ok(())
}

/// One node gets the rows of 5,000 others; a second node learns them by push/pull, and a third from
/// the second. No node probes, because the 5,000 do not exist.
fn five_thousand(a: &Program, b: &Program) -> Result<(), String> {
    let config = json!({
        "profile": "wan", "probe_interval_ms": 3_600_000, "push_pull_interval_ms": 3_600_000,
        "reconnect_interval_ms": 3_600_000,
    });
    let first = start(a, "first", &config)?;
    let socket = UdpSocket::bind("127.0.0.1:0").map_err(|error| error.to_string())?;
    until_within(6 * SOON, "5,000 members are known", || {
        let known: HashSet<_> = first.members().into_iter().map(|(name, _)| name).collect();
        let missing = (0..5_000).filter(|n| !known.contains(&format!("member-{n}")));
        // At most as many at once as the queue between its socket and its engine holds.
        for packet in missing.take(500).map(alive_message) {
            let _ = socket.send_to(&packet, first.addr());
        }
        known.len() == 5_001
    })?;
    let rows = |node: &GoPeer| -> BTreeMap<String, String> {
        let members = node.call(json!({"cmd": "members"}));
        let others = members.as_array().into_iter().flatten();
        let others =
            others.filter(|m| m["name"].as_str().is_some_and(|n| n.starts_with("member-")));
        let row = |m: &Value| {
            (
                m["name"].to_string(),
                format!("{} {} {} {}", m["addr"], m["port"], m["tags"], m["status"]),
            )
        };
        others.map(row).collect()
    };
    let all = rows(&first);
    same(&all.len(), &5_000, "members of the first")?;
    let second = start(b, "second", &config)?;
    second.call(json!({"cmd": "join", "addrs": [first.addr()]}));
    same(&(rows(&second) == all), &true, "the second lists the same as the first")?;
    drop(first);
    let third = start(a, "third", &config)?;
    third.call(json!({"cmd": "join", "addrs": [second.addr()]}));
    same(&(rows(&third) == all), &true, "the third lists the same as the first")
}

/// memberlist/net.go: alive, as old Go writes it: fields in order, old-spec raw.
fn alive_message(number: u32) -> Vec<u8> {
    let name = format!("member-{number}");
    let role = format!("role-{}", number % 7);
    let text = |out: &mut Vec<u8>, text: &[u8]| {
        out.push(0xa0 | text.len() as u8);
        out.extend_from_slice(text);
    };
    let mut meta = vec![0xff, 0x81];
    text(&mut meta, b"role");
    text(&mut meta, role.as_bytes());
    let mut out = vec![4, 0x86];
    let [_, _, high, low] = number.to_be_bytes();
    text(&mut out, b"Addr");
    text(&mut out, &[127, 200, high, low]);
    text(&mut out, b"Incarnation");
    out.push(7);
    text(&mut out, b"Meta");
    text(&mut out, &meta);
    text(&mut out, b"Node");
    text(&mut out, name.as_bytes());
    text(&mut out, b"Port");
    out.extend_from_slice(&[0xcd, 0x1f, 0x0a]);
    text(&mut out, b"Vsn");
    text(&mut out, &[1, 5, 2, 2, 5, 4]);
    out
}

fn pair(
    a: &Program,
    b: &Program,
    both: &Value,
    only_b: &Value,
) -> Result<(GoPeer, GoPeer), String> {
    let mut config = both.clone();
    for (field, value) in only_b.as_object().into_iter().flatten() {
        config[field] = value.clone();
    }
    let a = start(a, "a", both)?;
    let b = start(b, "b", &config)?;
    join(&a, &b)?;
    Ok((a, b))
}

fn start(program: &Program, name: &str, config: &Value) -> Result<GoPeer, String> {
    let mut config = config.clone();
    config["name"] = json!(name);
    if config.get("profile").is_none() {
        config["profile"] = json!("local");
        // The profile sends each message about twice: with either program, about one in thirty
        // messages does not reach one of the four nodes.
        config["retransmit_mult"] = json!(10);
    }
    let path = program.path.to_str().ok_or("the path of a program is not UTF-8")?;
    let started = poll(SOON, || match GoPeer::try_start(path, config.clone()) {
        // The port of a killed process, or a free one that another process took first.
        Err(error) if error.contains("in use") => None,
        result => Some(result),
    });
    started.unwrap_or_else(|| Err(format!("{name}: no free port")))
}

/// Another node of the same program, without the settings of the first.
fn start_again(like: &GoPeer, name: &str) -> Result<GoPeer, String> {
    let path = std::fs::read_link(format!("/proc/{}/exe", like.pid()));
    let path = path.map_err(|error| error.to_string())?;
    start(&Program { title: String::new(), path, labels: false }, name, &json!({}))
}

fn join(a: &GoPeer, b: &GoPeer) -> Result<(), String> {
    a.try_call(json!({"cmd": "join", "addrs": [b.addr()], "ignore_old": true}))?;
    wait_status(a, b.name(), "alive")?;
    wait_status(b, a.name(), "alive")
}

pub(crate) fn member(node: &GoPeer, name: &str) -> Value {
    let members = node.call(json!({"cmd": "members"}));
    let found = members.as_array().and_then(|all| all.iter().find(|m| m["name"] == name));
    found.cloned().unwrap_or_default()
}

pub(crate) fn wait_status(node: &GoPeer, name: &str, status: &str) -> Result<(), String> {
    let listed = || member(node, name)["status"] == status;
    until(&format!("{} lists {name} as {status}", node.name()), listed)
        .map_err(|error| format!("{error}, but: {:?}", node.members()))
}

pub(crate) fn until(what: &str, done: impl FnMut() -> bool) -> Result<(), String> {
    until_within(SOON, what, done)
}

fn until_within(limit: Duration, what: &str, mut done: impl FnMut() -> bool) -> Result<(), String> {
    poll(limit, || done().then_some(())).ok_or_else(|| format!("not in {limit:?}: {what}"))
}

pub(crate) fn same<T: PartialEq + std::fmt::Debug>(
    got: &T,
    want: &T,
    what: &str,
) -> Result<(), String> {
    if got == want { Ok(()) } else { Err(format!("{what}: {got:?} instead of {want:?}")) }
}

pub(crate) fn key(bytes: usize, fill: u8) -> String {
    base64(vec![fill; bytes])
}

pub(crate) const SOON: Duration = Duration::from_secs(40);
const SHORT: Duration = Duration::from_millis(300);
