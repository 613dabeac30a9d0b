//! Nodes over real sockets.

use std::{collections::BTreeMap, future::Future, sync::Arc, time::Duration};

use tokio::time::timeout;

mod bursts;
mod calls;
mod files;
mod handle;
mod healing;
#[cfg(feature = "metrics")]
mod limits;
#[cfg(feature = "metrics")]
mod measured;
mod paused;
mod streams;
mod thread;

use super::{
    Builder, Config, Error, Event, EventStream, Serf, Subscribe, command::Command, node::Node,
};
use crate::{
    serf::{KeyOp, MemberEventKind, MemberStatus, QueryParams, QueryUpdate, SerfState},
    wire::Keyring,
};

fn builder(name: &str) -> Builder {
    let mut config = Config::local(name);
    config.timing.leave_propagate_delay = Duration::from_millis(50);
    config.timing.probe_interval = Duration::from_millis(100);
    config.timing.probe_timeout = Duration::from_millis(50);
    config.timing.gossip_interval = Duration::from_millis(20);
    let mut builder = Serf::builder(config);
    builder.bind = ([127, 0, 0, 1], 0).into();
    // On the thread of the test, so that calls and their effects alternate.
    builder.own_thread = false;
    builder
}

impl Serf {
    /// Runs a function on the node's own task.
    async fn inspect<R: Send + 'static>(
        &self,
        look: impl FnOnce(&mut Node) -> R + Send + 'static,
    ) -> Result<R, Error> {
        let inspect = |reply: tokio::sync::oneshot::Sender<R>| {
            Command::Inspect(Box::new(move |node| {
                let _ = reply.send(look(node.downcast_mut().expect("is the node")));
            }))
        };
        self.command(inspect).await
    }
}

async fn start(name: &str) -> Serf {
    builder(name).start().await.unwrap()
}

async fn join(from: &Serf, to: &Serf) {
    let to = to.addresses().advertised.to_string();
    assert_eq!(from.join_with_replay(&[to]).await.unwrap(), 1);
}

/// Awaits a future for at most 20 s.
async fn within<T>(what: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(20), what).await.expect("took too long")
}

async fn has_status(serf: &Serf, name: &str, status: MemberStatus) {
    let mut watch = serf.watch_members();
    within(async {
        while serf.member(name).await.map(|member| member.status) != Some(status) {
            watch.changed().await.expect("node stopped");
        }
    })
    .await;
}

async fn next_matching<T>(events: &mut EventStream, mut want: impl FnMut(Event) -> Option<T>) -> T {
    within(async {
        loop {
            if let Some(found) = want(events.recv().await.expect("stream ended")) {
                return found;
            }
        }
    })
    .await
}

#[tokio::test]
async fn nodes_join_and_leave() {
    let (a, b) = (start("a").await, start("b").await);
    join(&a, &b).await;
    has_status(&a, "b", MemberStatus::Alive).await;
    has_status(&b, "a", MemberStatus::Alive).await;
    b.leave().await.unwrap();
    assert_eq!(b.state(), SerfState::Left);
    has_status(&a, "b", MemberStatus::Left).await;
    b.shutdown().await;
    b.shutdown().await;
    assert_eq!(b.state(), SerfState::Shutdown);
    assert!(b.members().await.is_empty());
    assert_eq!(&*b.local_member().await.name, "b");
    // The port is free again.
    let again = std::net::TcpListener::bind(b.addresses().bound);
    assert!(again.is_ok(), "{again:?}");
}

#[tokio::test]
async fn crashed_node_is_declared_failed() {
    let (a, b) = (start("a").await, start("b").await);
    join(&a, &b).await;
    has_status(&a, "b", MemberStatus::Alive).await;
    b.shutdown().await;
    has_status(&a, "b", MemberStatus::Failed).await;
    a.force_leave("b").await.unwrap();
    has_status(&a, "b", MemberStatus::Left).await;
}

#[tokio::test]
async fn own_join_is_seen_by_a_subscriber_from_before_the_start() {
    let builder = builder("a");
    let mut events = builder.subscribe(Subscribe::default());
    let _a = builder.start().await.unwrap();
    let joined = next_matching(&mut events, |event| match event {
        Event::Member(event) if event.kind == MemberEventKind::Join => Some(event.members),
        _ => None,
    });
    assert_eq!(&*joined.await[0].name, "a");
}

#[tokio::test]
async fn events_and_queries_cross() {
    let (a, b) = (start("a").await, start("b").await);
    let mut events = b.subscribe(Subscribe::default());
    join(&a, &b).await;
    has_status(&a, "b", MemberStatus::Alive).await;

    a.user_event("deploy", "v1").await.unwrap();
    let payload = next_matching(&mut events, |event| match event {
        Event::User(event) if &*event.name == "deploy" => Some(event.payload),
        _ => None,
    });
    assert_eq!(payload.await, "v1");

    let params = QueryParams { request_ack: true, ..QueryParams::default() };
    let mut query = a.query("load", "now", params).await.unwrap();
    let asked = next_matching(&mut events, |event| match event {
        Event::Query(query) => Some(query),
        _ => None,
    })
    .await;
    asked.respond("0.5").await.unwrap();
    let second = asked.respond("0.5").await;
    assert!(second.is_err(), "answered twice");
    let (mut acks, mut answers) = (Vec::new(), Vec::new());
    within(async {
        while acks.len() < 2 || answers.is_empty() {
            match query.recv().await.expect("ended early") {
                QueryUpdate::Ack { from } => acks.push(from),
                QueryUpdate::Response { from, payload } => answers.push((from, payload)),
                QueryUpdate::Finished { missing } => panic!("ended early: {missing:?} missing"),
            }
        }
    })
    .await;
    acks.sort();
    assert_eq!(acks, [Arc::from("a"), Arc::from("b")]);
    assert_eq!(answers, [(Arc::from("b"), "0.5".into())]);
}

#[tokio::test]
async fn tags_are_announced() {
    let (a, b) = (start("a").await, start("b").await);
    join(&a, &b).await;
    has_status(&b, "a", MemberStatus::Alive).await;
    let mut events = b.subscribe(Subscribe::default());
    a.set_tags(BTreeMap::from([("role".to_owned(), "db".to_owned())])).await.unwrap();
    let tags = next_matching(&mut events, |event| match event {
        Event::Member(event) if event.kind == MemberEventKind::Update => {
            Some(event.members[0].tags.clone())
        }
        _ => None,
    });
    assert_eq!(tags.await.get("role"), Some("db"));
}

#[tokio::test]
async fn encrypted_cluster_refuses_other_keys_and_rotates_its_own() {
    let keyed = async |name: &str, key: u8| {
        let mut builder = builder(name);
        builder.config.keyring = Keyring::build(&[], &[key; 32]).unwrap();
        builder.start().await.unwrap()
    };
    let (a, b, stranger) = (keyed("a", 1).await, keyed("b", 1).await, keyed("s", 2).await);
    join(&b, &a).await;
    let to = a.addresses().advertised.to_string();
    assert!(stranger.join(&[to]).await.is_err());
    has_status(&a, "b", MemberStatus::Alive).await;

    let key = "BgYGBgYGBgYGBgYGBgYGBgYGBgYGBgYGBgYGBgYGBgY=".to_owned();
    for op in [KeyOp::Install(key.clone()), KeyOp::Use(key.clone())] {
        let response = a.key_manager().run(op).await.unwrap();
        assert_eq!(response.num_resp, 2);
    }
    let listed = b.key_manager().list().await.unwrap();
    assert_eq!(listed.primary_keys.get(&key), Some(&2));
    assert_eq!(a.members().await.len(), 2, "the stranger got in");
}

#[tokio::test]
async fn failed_join_reports_each_reason() {
    let a = start("a").await;
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let entries = [closed.to_string(), "/x".to_owned()];
    let error = a.join_with_replay(&entries).await.unwrap_err();
    let text = format!(
        "2 errors occurred:\n\t* failed to join {closed}: dial tcp {closed}: connect: \
         connection refused\n\t* failed to resolve /x: empty node name provided\n\n"
    );
    assert_eq!(error.go_text(), text);
    assert_eq!(a.join_with_replay([""; 0]).await.unwrap(), 0);
}

#[tokio::test]
async fn dropping_the_last_handle_stops_the_node() {
    let a = start("a").await;
    let mut events = a.subscribe(Subscribe::default());
    let addr = a.addresses().bound;
    drop(a.clone());
    drop(a);
    within(async { while events.recv().await.is_some() {} }).await;
    within(async {
        while std::net::TcpListener::bind(addr).is_err() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn sleeping_subscriber_loses_events_and_nothing_else() {
    let a = start("a").await;
    let mut lazy = a.subscribe(Subscribe { capacity: 8, ..Subscribe::default() });
    for _ in 0..100 {
        a.user_event("tick", "").await.unwrap();
    }
    let Some(Event::Lagged(count)) = lazy.recv().await else { panic!("no gap reported") };
    assert_eq!(count, lazy.lost());
    assert!(count >= 92, "{count}");
}

#[tokio::test]
async fn restarted_node_rejoins_from_its_snapshot() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("snapshot");
    let with_snapshot = || {
        let mut builder = builder("a");
        builder.snapshot = Some(path.clone());
        builder
    };
    let b = start("b").await;
    let a = with_snapshot().start().await.unwrap();
    join(&a, &b).await;
    has_status(&a, "b", MemberStatus::Alive).await;
    a.shutdown().await;
    let text = std::fs::read_to_string(&path).unwrap();
    let line = format!("alive: b {}\n", b.addresses().advertised);
    assert!(text.contains(&line), "{text}");
    let a = with_snapshot().start().await.unwrap();
    has_status(&a, "b", MemberStatus::Alive).await;
}
