//! Typed payloads pass between Rust and Go: MessagePack by Go's codec there, by rmp-serde here.

use std::{collections::BTreeMap, path::Path};

use compat_tests::{
    go::{self, GoPeer},
    node::runtime,
};
use ruserf::{Config, Error, Event, EventStream, PayloadError, QueryParams, Serf};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// As in `go-harness/internal/payload`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Deploy {
    version: String,
    hosts: Vec<String>,
    canary: Option<u16>,
    labels: BTreeMap<String, String>,
    #[serde(with = "serde_bytes")]
    build: Vec<u8>,
    bytes: u64,
    drift: i32,
    share: f64,
    force: bool,
}

#[derive(Debug, Serialize, Deserialize)]
struct Load {
    percent: u8,
}

#[test]
fn go_and_rust_read_each_others_payloads_live() {
    let (_, sample) = samples().remove(2);
    let old_spec = hex::decode(sample["hex"].as_str().unwrap()).unwrap();
    runtime().block_on(async {
        let builder = Serf::builder(Config::local("rust")).bind("127.0.0.1:0");
        let mut events = builder.events();
        let rust = builder.start().await.unwrap();
        let go = GoPeer::start(json!({"name": "go", "profile": "local", "query_handler": "echo"}));
        rust.join([go.addr().to_string()]).await.unwrap();

        go.call(json!({"cmd": "event", "name": "deploy", "payload": go::base64(&old_spec)}));
        let received = next_user(&mut events).await.payload::<Deploy>().unwrap();
        assert_eq!(received, of_json(&sample["value"]));

        let ours = Deploy { drift: -5, ..received };
        rust.send("deploy", &ours).await.unwrap();
        let is_ours = |event: &Value| go::bytes(&event["payload"]) != old_spec;
        let event = go.wait_event("user", go::CALL_TIMEOUT, is_ours);
        assert_eq!(read_by_go(&go::bytes(&event["payload"])), ours);

        // Go asks, and we answer with a value; we ask, and Go echoes it.
        let asked = go.send(json!({
            "cmd": "query", "name": "load", "payload": go::base64(&old_spec), "timeout_ms": 3000,
        }));
        let query = next_query(&mut events).await;
        assert_eq!(query.payload::<Deploy>().unwrap(), of_json(&sample["value"]));
        query.respond_with(&Load { percent: 200 }).await.unwrap();
        let result = go.wait_answer(asked, go::CALL_TIMEOUT).unwrap();
        let responses = result["responses"].as_array().unwrap();
        let from_rust = responses.iter().find(|answer| answer["from"] == "rust").unwrap();
        assert_eq!(go::bytes(&from_rust["payload"]), b"\x81\xa7percent\xcc\xc8");

        let params = QueryParams::default().filter_node("go");
        let mut asked = rust.ask("echo", &"load", params).await.unwrap();
        let response = asked.response().await.unwrap();
        assert_eq!(&*response.from, "go");
        assert_eq!(response.payload::<String>().unwrap(), "load");
        let error = response.payload::<Load>().unwrap_err();
        assert!(matches!(error, PayloadError::Decode { .. }), "{error}");
        assert!(asked.response().await.is_none());
        rust.shutdown().await;
    });
}

#[test]
fn payloads_of_go_are_read_whatever_the_spec() {
    for (value, sample) in samples() {
        assert_eq!(value, of_json(&sample["value"]));
    }
}

#[test]
fn go_reads_payloads_of_ours() {
    for (value, sample) in samples() {
        let payload = rmp_serde::to_vec_named(&value).unwrap();
        assert_eq!(read_by_go(&payload), of_json(&sample["value"]));
    }
}

#[test]
fn values_that_are_too_large_are_refused_and_say_so() {
    runtime().block_on(async {
        let serf = Serf::builder(Config::local("a")).bind("127.0.0.1:0").start().await.unwrap();
        let error = serf.send("deploy", &"x".repeat(600)).await.unwrap_err();
        assert!(matches!(error, Error::TooLarge { .. }), "{error:?}");
        assert!(error.to_string().contains("exceeds configured limit of 512 bytes"), "{error}");
        let asked = serf.ask("load", &"x".repeat(1100), QueryParams::default()).await;
        let error = asked.unwrap_err().to_string();
        assert!(error.contains("exceeds limit of 1024 bytes"), "{error}");
        serf.shutdown().await;
    });
}

/// What Go wrote, as read here, and the sample it is from.
fn samples() -> Vec<(Deploy, Value)> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/payloads.json");
    let samples: Vec<Value> = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    assert_eq!(samples.len(), 6);
    let read = |sample: Value| {
        let payload = hex::decode(sample["hex"].as_str().unwrap()).unwrap();
        (rmp_serde::from_slice(&payload).expect("a deploy"), sample)
    };
    samples.into_iter().map(read).collect()
}

/// From Go's JSON, where bytes are base64.
fn of_json(value: &Value) -> Deploy {
    let mut value = value.clone();
    value["build"] = json!(go::bytes(&value["build"]));
    serde_json::from_value(value).expect("a deploy")
}

fn read_by_go(payload: &[u8]) -> Deploy {
    let capture = json!({"kind": "payload", "hex": hex::encode(payload)});
    let answer = go::decode(&[capture]).remove(0);
    assert_eq!(answer["error"], "", "{answer}");
    of_json(&answer["messages"][0]["value"])
}

async fn next_user(events: &mut EventStream) -> ruserf::UserEvent {
    while let Some(event) = events.recv().await {
        if let Event::User(event) = event {
            return event;
        }
    }
    panic!("the node has stopped")
}

async fn next_query(events: &mut EventStream) -> ruserf::Query {
    while let Some(event) = events.recv().await {
        if let Event::Query(query) = event {
            return query;
        }
    }
    panic!("the node has stopped")
}
