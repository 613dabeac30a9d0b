//! The harness itself: two Go peers must work together before a Rust node is set among them.

use std::{process::Command, time::Duration};

use compat_tests::{
    go::{self, GoFeed, GoPeer},
    process::{InTime as _, Kind},
};
use serde_json::json;

const SOON: Duration = Duration::from_secs(40);

#[test]
fn two_go_serf_peers_exchange_an_event_and_a_query() {
    let key = go::base64([7u8; 32]);
    let a = GoPeer::start(json!({
        "name": "go-a", "bind": "127.0.0.1", "profile": "local", "key": key, "label": "blue",
        "tags": {"role": "web"},
    }));
    let b = GoPeer::start(json!({
        "name": "go-b", "bind": "127.0.0.2", "profile": "local", "key": key, "label": "blue",
        "query_handler": "uppercase",
    }));
    let joined = b.call(json!({"cmd": "join", "addrs": [a.addr().to_string()]}));
    assert_eq!(joined["joined"], 1);
    a.wait_member_event("member-join", "go-b", SOON);
    let seen = b.wait_member_event("member-join", "go-a", SOON);
    let is_a = |m: &&serde_json::Value| m["name"] == "go-a";
    let member = seen["members"].as_array().unwrap().iter().find(is_a).unwrap();
    assert_eq!(member["tags"], json!({"role": "web"}));

    a.call(json!({"cmd": "event", "name": "deploy", "payload": go::base64("v42")}));
    let event = b.wait_event("user", SOON, |e| e["name"] == "deploy");
    assert_eq!(go::bytes(&event["payload"]), b"v42");

    let query = json!({
        "cmd": "query", "name": "ask", "payload": go::base64("hello"), "ack": true,
        "timeout_ms": 1000,
    });
    let result = a.call(query);
    assert_eq!(result["acks"].as_array().unwrap().len(), 2);
    assert_eq!(result["responses"].as_array().unwrap().len(), 1);
    assert_eq!(result["responses"][0]["from"], "go-b");
    assert_eq!(go::bytes(&result["responses"][0]["payload"]), b"HELLO");

    let members = [("go-a", "alive"), ("go-b", "alive")].map(|(n, s)| (n.into(), s.into()));
    assert_eq!(a.members(), members);
    assert!(a.counter("serf.member.join") >= 2.0, "both members were counted");
}

#[test]
fn two_go_memberlist_peers_exchange_messages_and_meta() {
    let a = GoPeer::start_memberlist(json!({"name": "ml-a", "profile": "local"}));
    let b = GoPeer::start_memberlist(json!({
        "name": "ml-b", "bind": "127.0.0.2", "profile": "local", "state": go::base64("state"),
    }));
    b.call(json!({"cmd": "join", "addrs": [a.addr().to_string()]}));
    let state = a.wait_event("remote-state", SOON, |_| true);
    assert_eq!(go::bytes(&state["payload"]), b"state");
    for how in ["send_reliable", "send_best_effort"] {
        b.call(json!({"cmd": how, "name": "ml-a", "payload": go::base64(how)}));
        a.wait_event("message", SOON, |e| go::bytes(&e["payload"]) == how.as_bytes());
    }
    b.call(json!({"cmd": "update_meta", "payload": go::base64("meta")}));
    let update = a.wait_event("update", SOON, |e| e["node"]["name"] == "ml-b");
    assert_eq!(go::bytes(&update["node"]["meta"]), b"meta");
    let table = a.call(json!({"cmd": "table"}));
    let row = table.as_array().unwrap().iter().find(|r| r["name"] == "ml-b").unwrap();
    assert_eq!(row["incarnation"], 2);
}

#[test]
fn errors_of_a_go_peer_come_back_as_text() {
    let refused = GoPeer::try_start("peer", json!({"name": "x", "protocol": 9}));
    let text = refused.err().expect("protocol 9 does not exist");
    assert!(text.contains("Protocol version"), "{text}");
    let misspelt = GoPeer::try_start("peer", json!({"nmae": "x"}));
    assert!(misspelt.err().expect("unknown options are refused").contains("nmae"));
    let a = GoPeer::start(json!({"name": "alone", "profile": "local"}));
    let unknown = a.try_call(json!({"cmd": "no-such-command"}));
    assert!(unknown.unwrap_err().contains("no-such-command"));
}

#[test]
fn golden_vectors_are_what_go_makes_now() {
    let testdata = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata");
    let program = go::harness_dir().join("vectors");
    let output = Command::new(program).arg("-dir").arg(testdata).output_in_time();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn the_real_serf_is_built() {
    let output = Command::new(Kind::Go.program()).arg("version").output_in_time();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains("Agent Protocol: 5"), "{text}");
}

#[test]
fn go_reads_a_capture_through_all_its_layers() {
    let nack = json!({"kind": "packet", "hex": "0b81a55365714e6f01"});
    let wrong_label = json!({"kind": "packet", "hex": "0b81a55365714e6f01", "label": "blue"});
    let wide = json!({"kind": "packet", "hex": "0b81a55365714e6fcd0001"});
    let cut = json!({"kind": "packet", "hex": "0b81a55365714e6f"});
    let answers = go::decode(&[nack, wrong_label, wide, cut]);
    assert_eq!(answers[0]["messages"][0]["fields"], json!({"SeqNo": 1}));
    let readable: Vec<_> = answers.iter().map(|a| a["readable"] == json!(true)).collect();
    // Go reads the wide integer too, but would not have written it so.
    assert_eq!(readable, [true, false, false, false]);
    assert_eq!(answers[2]["messages"][0]["reencode"], "differs:81a55365714e6f01");
}

#[test]
fn a_fed_node_confirms_a_suspicion_in_virtual_time() {
    let alive = |name: &str, last: u8| {
        json!({"step": "alive", "fields": {
            "Node": name, "Incarnation": 1, "Addr": go::base64([10, 0, 0, last]), "Port": 7946,
            "Vsn": go::base64([1, 5, 2, 0, 0, 0]),
        }})
    };
    let suspect = |from: &str| {
        let fields = json!({"Node": "n1", "Incarnation": 1, "From": from});
        json!({"step": "suspect", "fields": fields})
    };
    let state_of_n1 = |seen: &serde_json::Value| {
        let rows = seen["table"].as_array().unwrap();
        rows.iter().find(|row| row["name"] == "n1").unwrap()["state"].clone()
    };
    let mut feed = GoFeed::start(&json!({"name": "self"}));
    assert_eq!(feed.first()["incarnation"], 1);
    for (name, last) in [("n1", 2), ("n2", 3), ("n3", 4)] {
        feed.step(&alive(name, last));
    }
    feed.step(&suspect("n2"));
    let confirmed = feed.step(&suspect("n3"));
    assert_eq!(state_of_n1(&confirmed), "suspect");
    assert_eq!(confirmed["queue"].as_array().unwrap().len(), 4);
    // One of two confirmations between 4 s and 24 s: 24 - ln 2 / ln 3 * 20 = 11.381 s.
    let before = feed.step(&json!({"step": "advance", "ms": 11_380}));
    assert_eq!(state_of_n1(&before), "suspect");
    let after = feed.step(&json!({"step": "advance", "ms": 1}));
    assert_eq!(state_of_n1(&after), "dead");
    assert_eq!(after["events"][0]["event"], "leave");
}

#[test]
fn a_fed_serf_reaps_a_left_member_after_a_day_of_virtual_time() {
    let mut feed = GoFeed::start_serf(&json!({"name": "self"}));
    feed.step(&json!({"step": "alive", "fields": {
        "Node": "n1", "Incarnation": 1, "Addr": go::base64([10, 0, 0, 2]), "Port": 7946,
        "Meta": go::base64([0xff, 0x80]), "Vsn": go::base64([1, 5, 2, 2, 5, 4]),
    }}));
    let intent = json!({"step": "serf", "type": 0, "fields": {"LTime": 9, "Node": "n1"}});
    let leaving = feed.step(&intent);
    assert_eq!(leaving["members"][0]["status"], "leaving");
    assert_eq!(leaving["members"][0]["status_ltime"], 9);
    assert_eq!(leaving["stats"]["member_time"], "10");
    let dead = json!({"Node": "n1", "Incarnation": 1, "From": "n1"});
    let left = feed.step(&json!({"step": "dead", "fields": dead}));
    assert_eq!(left["events"][0]["event"], "member-leave");
    let day = feed.step(&json!({"step": "advance", "ms": 24 * 3600 * 1000}));
    assert_eq!(day["members"].as_array().unwrap().len(), 2);
    let reaped = feed.step(&json!({"step": "advance", "ms": 30_000}));
    assert_eq!(reaped["events"][0]["event"], "member-reap");
    assert_eq!(reaped["members"].as_array().unwrap().len(), 1);
}
