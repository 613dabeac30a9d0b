//! Nodes on real loopback sockets.

use std::{net::SocketAddr, time::Duration};

use super::{Serf, Subscribe};
use crate::serf::{Config, Event, KeyOp, MemberStatus, QueryParams, QueryUpdate};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_nodes_join_talk_and_part() {
    let a = node("a", |_| {}).await;
    let b = node("b", |_| {}).await;
    let mut events = b.subscribe(Subscribe::default());
    assert_eq!(b.join(&[address(&a)], true).await, Ok(1));
    wait_for(&a, "b", MemberStatus::Alive).await;
    wait_for(&b, "a", MemberStatus::Alive).await;

    a.user_event("deploy", &b"v1"[..], false).await.unwrap();
    loop {
        if let Event::User(event) = next(&mut events).await {
            assert_eq!((&*event.name, &event.payload[..]), ("deploy", &b"v1"[..]));
            break;
        }
    }

    let params = QueryParams {
        request_ack: true,
        timeout: Duration::from_secs(2),
        ..QueryParams::default()
    };
    let mut query = a.query("load", &b""[..], params).await.unwrap();
    let asked = loop {
        if let Event::Query(query) = next(&mut events).await {
            break query;
        }
    };
    b.respond(&asked, &b"0.5"[..]).await.unwrap();
    let (mut acks, mut answers) = (Vec::new(), Vec::new());
    while let Some(update) = query.recv().await {
        match update {
            QueryUpdate::Ack { from } => acks.push(from.to_string()),
            QueryUpdate::Response { from, payload } => answers.push((from.to_string(), payload)),
            QueryUpdate::Finished { missing } => {
                assert_eq!(missing, Vec::new(), "both acknowledged");
                break;
            }
        }
    }
    acks.sort();
    assert_eq!(acks, ["a", "b"]);
    assert_eq!(answers, [("b".to_owned(), "0.5".into())]);

    b.leave().await.unwrap();
    wait_for(&a, "b", MemberStatus::Left).await;
    b.shutdown().await;
    b.shutdown().await;
    assert!(b.members().await.is_empty(), "no answers after the shutdown");
    a.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_encrypted_cluster_refuses_other_keys_and_rotates_its_own() {
    let keyed = |key: u8| {
        move |config: &mut Config| {
            config.swim.codec.keyring =
                crate::wire::Keyring::build(&[], &[key; 32]).expect("a 32-byte key");
        }
    };
    let a = node("a", keyed(1)).await;
    let b = node("b", keyed(1)).await;
    let stranger = node("stranger", keyed(2)).await;
    assert_eq!(b.join(&[address(&a)], true).await, Ok(1));
    assert!(stranger.join(&[address(&a)], true).await.is_err());
    wait_for(&a, "b", MemberStatus::Alive).await;

    let key = "BgYGBgYGBgYGBgYGBgYGBgYGBgYGBgYGBgYGBgYGBgY=".to_owned();
    for op in [KeyOp::Install(key.clone()), KeyOp::Use(key.clone())] {
        let outcome = a.key_manager().run(op, 0).await.unwrap();
        assert_eq!(outcome.error, None, "{:?}", outcome.response);
        assert_eq!(outcome.response.num_resp, 2);
    }
    let listed = b.key_manager().run(KeyOp::List, 0).await.unwrap();
    assert_eq!(listed.response.primary_keys.get(&key), Some(&2));
    assert_eq!(a.members().await.len(), 2, "the stranger never got in");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_brings_a_node_back_to_its_cluster() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("snapshot");
    let a = node("a", |_| {}).await;
    let start = || async {
        let mut builder = Serf::builder(config("b"));
        builder.bind = SocketAddr::from(([127, 0, 0, 1], 0));
        builder.snapshot_path = Some(path.clone());
        builder.start().await.unwrap()
    };
    let b = start().await;
    assert_eq!(b.join(&[address(&a)], true).await, Ok(1));
    wait_for(&b, "a", MemberStatus::Alive).await;
    b.shutdown().await;
    assert!(std::fs::read_to_string(&path).unwrap().contains("alive: a 127.0.0.1:"));

    // Another port: the old one may not be free. The name is ours all the same once it failed.
    let mut again = config("b2");
    again.swim.name = "b2".into();
    let mut builder = Serf::builder(again);
    builder.bind = SocketAddr::from(([127, 0, 0, 1], 0));
    builder.snapshot_path = Some(path.clone());
    let b = builder.start().await.unwrap();
    wait_for(&b, "a", MemberStatus::Alive).await;
}

#[tokio::test]
async fn joining_nobody_tells_why_in_go_s_words() {
    let a = node("a", |_| {}).await;
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let error = a.join(&[free.to_string()], true).await.unwrap_err();
    assert_eq!(
        error.message,
        format!(
            "1 error occurred:\n\t* failed to join {free}: \
             dial tcp {free}: connect: connection refused\n\n"
        )
    );
    assert_eq!(a.join(&[], true).await, Ok(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dropping_the_last_handle_stops_the_node() {
    let a = node("a", |_| {}).await;
    let (_, bound) = a.addresses();
    drop(a);
    tokio::time::timeout(Duration::from_secs(5), async {
        while tokio::net::TcpListener::bind(bound).await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await
    .expect("the port is free again");
}

fn config(name: &str) -> Config {
    let mut config = Config::local(name);
    config.leave_propagate_delay = Duration::from_millis(200);
    config
}

async fn node(name: &str, change: impl FnOnce(&mut Config)) -> Serf {
    let mut config = config(name);
    change(&mut config);
    let mut builder = Serf::builder(config);
    builder.bind = SocketAddr::from(([127, 0, 0, 1], 0));
    builder.start().await.expect("a node on loopback")
}

fn address(serf: &Serf) -> String {
    serf.addresses().1.to_string()
}

async fn next(events: &mut super::EventStream) -> Event {
    let event = tokio::time::timeout(Duration::from_secs(10), events.recv()).await;
    event.expect("an event in time").expect("a running node")
}

async fn wait_for(serf: &Serf, name: &str, status: MemberStatus) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
    loop {
        let members = serf.members().await;
        if members.iter().any(|member| &*member.name == name && member.status == status) {
            return;
        }
        assert!(tokio::time::Instant::now() < deadline, "{name} is not {status}: {members:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
