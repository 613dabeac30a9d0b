//! A node among Go nodes, whatever the runtime that it lives in.

use std::{collections::BTreeMap, time::Duration};

use compat_tests::{
    net::Net,
    peer::Peer,
    process::Kind,
    wait::{PATIENCE, poll},
};
use ruserf::{
    Config, Event, EventStream, Keyring, MemberStatus, QueryParams, QueryUpdate, Serf, StopReason,
    runtime::{SmolRuntime, TokioRuntime},
};

#[test]
fn node_on_smol_lives_with_a_go_agent() {
    smol::block_on(live_with_a_go_agent(true));
}

#[test]
fn node_on_smol_without_a_thread_of_its_own_lives_with_a_go_agent() {
    smol::block_on(live_with_a_go_agent(false));
}

#[test]
fn node_on_tokio_lives_with_a_go_agent() {
    // Entered and not blocked on, because the Go agent is driven with a runtime of its own.
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let _tokio = runtime.enter();
    smol::block_on(live_with_a_go_agent(true));
}

#[test]
fn tokio_is_taken_within_it_and_smol_elsewhere() {
    let start = |name| Serf::builder(Config::local(name)).bind("127.0.0.1:0").start();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let within = runtime.block_on(start("a")).unwrap();
    let elsewhere = smol::block_on(start("b")).unwrap();
    drop(runtime);
    assert_eq!(smol::block_on(within.stopped()), StopReason::Aborted);
    assert_eq!(smol::block_on(elsewhere.members()).len(), 1);
    smol::block_on(elsewhere.shutdown());
}

#[test]
fn nodes_of_both_runtimes_make_a_cluster() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let builder = |name| Serf::builder(Config::local(name)).bind("127.0.0.1:0");
    smol::block_on(async {
        let on_tokio = builder("a").runtime(TokioRuntime::from(runtime.handle().clone()));
        let (a, b) = (on_tokio.start().await.unwrap(), builder("b").runtime(SmolRuntime));
        let b = b.start().await.unwrap();
        assert_eq!(b.join([a.addresses().bound.to_string()]).await.unwrap(), 1);
        for node in [&a, &b] {
            wait_members(node, &[("a", MemberStatus::Alive), ("b", MemberStatus::Alive)]).await;
        }
        b.leave_and_shutdown().await.unwrap();
        wait_members(&a, &[("a", MemberStatus::Alive), ("b", MemberStatus::Left)]).await;
        a.shutdown().await;
    });
}

/// A life of a node: join, events and queries both ways, a host name, a snapshot, keys, leave.
async fn live_with_a_go_agent(own_thread: bool) {
    let net = Net::new();
    let key = "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=";
    let go = Peer::start(Kind::Go, "go", &net.ip(1), &["-encrypt", key]);
    let bind = format!("{}:7946", net.ip(2));
    let files = tempfile::tempdir().unwrap();
    let snapshot = files.path().join("snapshot");
    let config = Config::lan("rust").keyring(Keyring::from_base64([key]).unwrap());
    let builder = Serf::builder(config).bind(bind.as_str()).snapshot(&snapshot);
    let builder = builder.own_thread(own_thread);
    let mut events = builder.events();
    let rust = builder.start().await.unwrap();
    assert!(rust.join(["no-such-host.invalid"]).await.is_err());
    assert_eq!(rust.join([go.addr.as_str()]).await.unwrap(), 1);
    go.wait_member("rust", "alive");
    wait_members(&rust, &[("go", MemberStatus::Alive), ("rust", MemberStatus::Alive)]).await;

    go.ok(&["event", "deploy", "v1"]);
    let event = next(&mut events, |event| match event {
        Event::User(event) => Some(event),
        _ => None,
    });
    assert_eq!(&*event.await.payload, b"v1");

    let answering = std::thread::scope(|scope| {
        let asking = scope.spawn(|| go.ok(&["query", "-timeout=5s", "load"]));
        smol::block_on(async {
            let query = next(&mut events, |event| match event {
                Event::Query(query) => Some(query),
                _ => None,
            });
            query.await.respond("low").await.unwrap();
        });
        asking.join().unwrap()
    });
    assert!(answering.contains("Response from 'rust': low"), "{answering}");

    let params = QueryParams::default().request_ack(true).timeout(Duration::from_secs(5));
    let mut query = rust.query("who", "", params).await.unwrap();
    let mut acks = Vec::new();
    while let Some(QueryUpdate::Ack { from } | QueryUpdate::Response { from, .. }) =
        query.recv().await
    {
        acks.push(from.to_string());
        if acks.len() == 2 {
            break;
        }
    }
    acks.sort();
    assert_eq!(acks, ["go", "rust"]);
    assert_eq!(rust.key_manager().list().await.unwrap().keys[key], 2);

    rust.leave_and_shutdown().await.unwrap();
    go.wait_member("rust", "left");
    assert_eq!(rust.stopped().await, StopReason::Shutdown);
    let lines = std::fs::read_to_string(snapshot).unwrap();
    assert!(lines.contains("\nleave\n"), "{lines}");
    assert!(std::net::TcpListener::bind(&bind).is_ok(), "it is still bound");
}

/// The first wanted event.
async fn next<T>(events: &mut EventStream, wanted: impl Fn(Event) -> Option<T>) -> T {
    while let Some(event) = events.recv().await {
        if let Some(found) = wanted(event) {
            return found;
        }
    }
    panic!("the node has stopped")
}

async fn wait_members(node: &Serf, wanted: &[(&str, MemberStatus)]) {
    let wanted: BTreeMap<_, _> = wanted.iter().copied().collect();
    let same = || {
        let members = smol::block_on(node.members());
        let seen: BTreeMap<_, _> = members.iter().map(|m| (&*m.name, m.status)).collect();
        (seen == wanted).then_some(())
    };
    assert!(poll(PATIENCE, same).is_some(), "{:?} instead of {wanted:?}", node.members().await);
}
