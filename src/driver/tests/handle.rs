//! Guarantees for programs that hold a handle: dropped futures, shutdown, delegates.

use std::{
    future::poll_fn,
    io,
    net::SocketAddr,
    pin::pin,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::Poll,
};

use super::*;
use crate::{
    driver::{Error, EventStream, KeyManager, MemberWatch, QueryHandle, StopReason, now},
    serf::{AliveDelegate, ConflictDelegate, Member, UserEventSpec},
    transport::{NetTransport, Resolver, Resolving, Transport},
};

const KEY: &str = "BgYGBgYGBgYGBgYGBgYGBgYGBgYGBgYGBgYGBgYGBgY=";

/// Starts a call and drops it at once. On the test's single thread the node cannot have answered.
async fn begin<T>(call: impl Future<Output = T>) {
    // Without the budget after which a task yields: no other task may run here.
    let mut call = pin!(tokio::task::unconstrained(call));
    let begun = poll_fn(|context| Poll::Ready(call.as_mut().poll(context).is_pending())).await;
    assert!(begun, "answered before the node could");
}

/// Waits until a condition holds.
async fn until(mut holds: impl AsyncFnMut() -> bool) {
    within(async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

async fn keyed(name: &str) -> Serf {
    let mut builder = builder(name);
    builder.config.keyring = Keyring::build(&[], &[1; 32]).unwrap();
    builder.start().await.unwrap()
}

#[test]
fn handles_go_anywhere() {
    fn sendable<T: Send + Sync + 'static>() {}
    sendable::<Serf>();
    sendable::<Builder>();
    sendable::<EventStream>();
    sendable::<QueryHandle>();
    sendable::<MemberWatch>();
    sendable::<KeyManager>();
    sendable::<Error>();
    fn spawned<T: Send>(_: impl FnOnce(Serf) -> T) {}
    spawned(|serf| async move {
        let _ = serf.join_with_replay(["x"]).await;
        let _ = serf.user_event("x", "y").await;
        let _ = serf.query("x", "y", QueryParams::default()).await;
        let _ = serf.key_manager().list().await;
        let _ = serf.leave().await;
        serf.shutdown().await;
    });
}

#[tokio::test]
async fn dropped_calls_go_on() {
    let (a, b) = (keyed("a").await, keyed("b").await);
    begin(a.join_with_replay(&[b.addresses().advertised.to_string()])).await;
    has_status(&a, "b", MemberStatus::Alive).await;
    has_status(&b, "a", MemberStatus::Alive).await;

    let mut events = b.subscribe(Subscribe::default());
    begin(a.user_event("begun", "")).await;
    begin(a.query("asked", "", QueryParams::default())).await;
    let mut heard = Vec::new();
    while heard.len() < 2 {
        let name = next_matching(&mut events, |event| match event {
            Event::User(event) => Some(event.name),
            Event::Query(query) => Some(query.name().into()),
            Event::Member(_) | Event::Lagged(_) => None,
        });
        heard.push(name.await.to_string());
    }
    heard.sort();
    assert_eq!(heard, ["asked", "begun"]);

    begin(a.set_tags(BTreeMap::from([("role".to_owned(), "db".to_owned())]))).await;
    until(async || b.member("a").await.is_some_and(|a| a.tags.get("role") == Some("db"))).await;

    let keys = a.key_manager();
    begin(keys.install(KEY)).await;
    // Operations run one after the other, including those whose caller is gone.
    let listed = keys.list().await.unwrap();
    assert_eq!(listed.keys.get(KEY), Some(&2), "{listed:?}");

    begin(b.leave()).await;
    has_status(&a, "b", MemberStatus::Left).await;
    until(async || b.state() == SerfState::Left).await;
    begin(b.shutdown()).await;
    within(b.stopped()).await;
    begin(a.force_leave_and_prune("b")).await;
    until(async || a.member("b").await.is_none()).await;
}

#[tokio::test]
async fn call_dropped_before_its_turn_has_begun_nothing() {
    let a = start("a").await;
    let mut events = a.subscribe(Subscribe::default());
    // The node does not run between these calls, so its command queue fills up.
    let mut waiting = 0;
    while a.commands.capacity() > 0 {
        begin(a.members()).await;
        waiting += 1;
    }
    assert!(waiting >= 1_000, "{waiting}");
    begin(a.user_event("never", "")).await;
    within(a.user_event("after", "")).await.unwrap();
    let first = next_matching(&mut events, |event| match event {
        Event::User(event) => Some(event.name),
        Event::Member(_) | Event::Query(_) | Event::Lagged(_) => None,
    });
    assert_eq!(&*first.await, "after");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn node_outlives_calls_dropped_at_any_moment() {
    let (a, b) = (keyed("a").await, keyed("b").await);
    let to = [b.addresses().advertised.to_string()];
    let keys = a.key_manager();
    let mut watch = a.watch_members();
    let mut events = a.subscribe(Subscribe::default());
    for round in 0..100 {
        let patience = Duration::from_micros(round * 30);
        let _ = timeout(patience, a.join_with_replay(&to)).await;
        let _ = timeout(patience, a.user_event("tick", "")).await;
        if let Ok(Ok(mut query)) = timeout(patience, a.query("q", "", QueryParams::default())).await
        {
            let _ = timeout(patience, query.recv()).await;
        }
        let _ = timeout(patience, keys.list()).await;
        let tags = BTreeMap::from([("round".to_owned(), round.to_string())]);
        let _ = timeout(patience, a.set_tags(tags)).await;
        let _ = timeout(patience, watch.changed()).await;
        let _ = timeout(patience, events.recv()).await;
    }
    // No call blocks, or delays another one.
    within(a.join_with_replay(&to)).await.unwrap();
    has_status(&a, "b", MemberStatus::Alive).await;
    has_status(&b, "a", MemberStatus::Alive).await;
    let tags = BTreeMap::from([("round".to_owned(), "last".to_owned())]);
    // On a busy machine the broadcast may time out; the change continues.
    let _ = within(a.set_tags(tags)).await;
    until(async || b.member("a").await.is_some_and(|a| a.tags.get("round") == Some("last"))).await;
    within(a.shutdown()).await;
}

#[tokio::test]
async fn received_items_survive_a_dropped_receive() {
    let a = start("a").await;
    let mut events = a.subscribe(Subscribe::default());
    next_matching(&mut events, |event| matches!(event, Event::Member(_)).then_some(())).await;
    for number in 0..20 {
        begin(events.recv()).await;
        a.user_event(&number.to_string(), "").await.unwrap();
        let Some(Event::User(event)) = within(events.recv()).await else { panic!("no event") };
        assert_eq!(*event.name, number.to_string());
    }
    assert_eq!(events.lost(), 0);
}

#[tokio::test]
async fn shutdown_is_idempotent_and_calls_after_it_say_so() {
    let a = start("a").await;
    let mut watch = a.watch_members();
    let mut events = a.subscribe(Subscribe::default());
    let mut query = a.query("q", "", QueryParams::default()).await.unwrap();
    let clones = [a.clone(), a.clone(), a.clone()];
    within(async { tokio::join!(clones[0].shutdown(), clones[1].shutdown(), clones[2].stopped()) })
        .await;
    within(a.shutdown()).await;
    assert_eq!(a.state(), SerfState::Shutdown);
    assert_eq!(within(a.stopped()).await, StopReason::Shutdown);

    assert!(a.join_with_replay(&["127.0.0.1:1".to_owned()]).await.is_err());
    let key = KeyOp::Install(KEY.to_owned());
    for error in [
        a.leave().await.err(),
        a.user_event("x", "").await.err(),
        a.query("x", "", QueryParams::default()).await.err(),
        a.set_tags(BTreeMap::new()).await.err(),
        a.force_leave("x").await.err(),
        a.key_manager().run(key).await.err(),
        a.counters().await.err(),
    ] {
        assert!(matches!(error, Some(Error::Shutdown)), "{error:?}");
    }
    assert!(a.members().await.is_empty() && a.stats().await.is_empty());
    // Streams end; events delivered before that can still be read.
    within(async { while query.recv().await.is_some() {} }).await;
    within(async { while events.recv().await.is_some() {} }).await;
    assert_eq!(within(watch.changed()).await, None);
    assert!(within(a.subscribe(Subscribe::default()).recv()).await.is_none());
}

#[tokio::test]
async fn dropping_handles_ends_every_task_and_frees_the_sockets() {
    let tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let before = tasks();
    let dir = tempfile::tempdir().unwrap();
    let b = start("b").await;
    let mut with_files = builder("a");
    with_files.snapshot = Some(dir.path().join("snapshot"));
    let a = with_files.start().await.unwrap();
    join(&a, &b).await;
    let (events, watch) = (a.subscribe(Subscribe::default()), a.watch_members());
    let query = a.query("q", "", QueryParams::default()).await.unwrap();
    // A stream that stays open.
    let idle = tokio::net::TcpStream::connect(a.addresses().bound).await.unwrap();
    begin(a.join_with_replay(&["127.0.0.2:1".to_owned()])).await;
    assert!(tasks() > before);
    let addresses = [a.addresses().bound, b.addresses().bound];
    let keys = a.key_manager();
    drop((a, b));
    // A key manager keeps the node running; streams and watches do not.
    assert!(!matches!(keys.list().await, Err(Error::Shutdown)));
    drop(keys);
    until(async || tasks() == before).await;
    for addr in addresses {
        assert!(std::net::TcpListener::bind(addr).is_ok(), "{addr} is still bound");
        assert!(std::net::UdpSocket::bind(addr).is_ok(), "{addr} is still bound");
    }
    drop((events, watch, query, idle));
}

#[tokio::test]
async fn query_ends_with_who_has_not_answered() {
    let mut late = builder("a");
    late.config.timing.probe_interval = Duration::from_secs(60);
    let (a, b) = (late.start().await.unwrap(), start("b").await);
    join(&a, &b).await;
    has_status(&a, "b", MemberStatus::Alive).await;
    // b has stopped, and a does not know it yet.
    b.shutdown().await;
    let timeout = Duration::from_millis(100);
    let params = QueryParams { request_ack: true, timeout, ..QueryParams::default() };
    let mut query = a.query("who", "", params).await.unwrap();
    assert!(query.timeout() <= timeout);
    let mut acks = Vec::new();
    let missing = within(async {
        loop {
            match query.recv().await.expect("ended without a summary") {
                QueryUpdate::Ack { from } => acks.push(from.to_string()),
                QueryUpdate::Response { .. } => panic!("nobody answers"),
                QueryUpdate::Finished { missing } => return missing,
            }
        }
    });
    assert_eq!(missing.await, [Arc::from("b")]);
    assert_eq!(acks, ["a"]);
    assert_eq!(within(query.recv()).await, None, "the summary is the end");
}

#[tokio::test]
async fn dropping_a_query_ends_it() {
    let a = start("a").await;
    let params = QueryParams { timeout: Duration::from_secs(1 << 30), ..QueryParams::default() };
    let query = a.query("load", "", params).await.unwrap();
    let id = query.id();
    let time_left = async || {
        let end = a.inspect(move |node| node.engine.query_deadline(id)).await.unwrap();
        end.map(|end| end.since(now()))
    };
    assert!(time_left().await.unwrap() > Duration::from_secs(1 << 29));
    drop(query);
    assert!(time_left().await.unwrap() <= Duration::from_secs(60));
    assert!(a.inspect(|node| node.queries.is_empty()).await.unwrap());
}

#[tokio::test]
async fn change_of_members_is_reported_even_if_a_call_for_it_was_dropped() {
    let (a, b) = (start("a").await, start("b").await);
    let mut members = a.watch_members();
    join(&a, &b).await;
    has_status(&a, "b", MemberStatus::Alive).await;
    begin(members.changed()).await;
    assert_eq!(within(members.changed()).await.unwrap().len(), 2);
}

#[tokio::test]
async fn joins_do_not_wait_for_each_other() {
    let (a, b) = (start("a").await, start("b").await);
    // It accepts connections but sends nothing for the 10 s limit of an address.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let silent_seed = [silent.local_addr().unwrap().to_string()];
    let mut stuck = pin!(a.join_with_replay(&silent_seed));
    assert!(timeout(Duration::from_millis(100), &mut stuck).await.is_err());
    timeout(Duration::from_secs(5), join(&a, &b)).await.expect("it waits for the first join");
    has_status(&b, "a", MemberStatus::Alive).await;
}

#[tokio::test]
async fn resolver_that_panics_spoils_one_join() {
    struct Panics;
    impl Resolver for Panics {
        fn resolve<'a>(&'a self, _: &'a str) -> Resolving<'a> {
            panic!("a bug of the application")
        }
    }
    let mut fragile = builder("a");
    fragile.resolver = Arc::new(Panics);
    let (a, b) = (fragile.start().await.unwrap(), start("b").await);
    let error = within(a.join_with_replay(&["somewhere:1".to_owned()])).await.unwrap_err();
    assert!(error.to_string().contains("it panicked"), "{error}");
    within(join(&a, &b)).await;
}

#[tokio::test]
async fn transport_that_panics_spoils_one_stream() {
    /// Panics at the first connection attempt.
    struct Panics(NetTransport, AtomicBool);
    impl Transport for Panics {
        type Stream = <NetTransport as Transport>::Stream;
        fn local_addr(&self) -> SocketAddr {
            self.0.local_addr()
        }
        fn try_send_to(&self, data: &[u8], to: SocketAddr) -> io::Result<()> {
            self.0.try_send_to(data, to)
        }
        async fn readable(&self) -> io::Result<()> {
            self.0.readable().await
        }
        fn try_recv_from(&self, buf: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
            self.0.try_recv_from(buf)
        }
        async fn connect(&self, to: SocketAddr) -> io::Result<Self::Stream> {
            assert!(self.1.swap(true, Ordering::Relaxed), "a bug of the application");
            self.0.connect(to).await
        }
        async fn accept(&self) -> io::Result<(Self::Stream, SocketAddr)> {
            self.0.accept().await
        }
    }
    let fragile = builder("a");
    let transport =
        Panics(NetTransport::bind(([127, 0, 0, 1], 0).into()).unwrap(), AtomicBool::new(false));
    let (a, b) = (fragile.start_on(transport).await.unwrap(), start("b").await);
    let seed = [b.addresses().advertised.to_string()];
    let error = within(a.join_with_replay(&seed)).await.unwrap_err();
    assert!(error.to_string().contains("panicked"), "{error}");
    within(join(&a, &b)).await;
}

#[tokio::test]
async fn alive_filter_keeps_single_nodes_out() {
    struct Refuse(&'static str);
    impl AliveDelegate for Refuse {
        fn check_alive(&self, member: &Member) -> Result<(), String> {
            let refused = member.tags.get("zone") == Some(self.0);
            if refused { Err(format!("zone {}", self.0)) } else { Ok(()) }
        }
    }
    let zoned = async |name: &str, zone: &str, refuse: Option<&'static str>| {
        let mut builder = builder(name);
        builder.config.tags.insert("zone".to_owned(), zone.to_owned());
        builder.config.delegates.alive = refuse.map(|zone| Arc::new(Refuse(zone)) as _);
        builder.start().await.unwrap()
    };
    let a = zoned("a", "north", Some("south")).await;
    let (b, c) = (zoned("b", "south", None).await, zoned("c", "north", None).await);
    // The join is not vetoed; only the member is ignored.
    join(&b, &a).await;
    join(&c, &a).await;
    has_status(&a, "c", MemberStatus::Alive).await;
    has_status(&b, "a", MemberStatus::Alive).await;
    assert!(a.member("b").await.is_none());
}

#[tokio::test]
async fn conflict_hook_hears_of_two_nodes_with_one_name() {
    type Seen = Vec<(String, Option<SocketAddr>, Option<SocketAddr>)>;
    #[derive(Default)]
    struct Listen(Mutex<Seen>);
    impl ConflictDelegate for Listen {
        fn on_conflict(&self, existing: &Member, other: &Member) {
            let row = (existing.name.to_string(), existing.addr(), other.addr());
            self.0.lock().unwrap_or_else(PoisonError::into_inner).push(row);
        }
    }
    let listen = Arc::new(Listen::default());
    let mut hearing = builder("a");
    hearing.config.delegates.conflict = Some(listen.clone());
    let a = hearing.start().await.unwrap();
    let twin = async || {
        let mut builder = builder("twin");
        builder.config.resolve_name_conflicts = false;
        builder.start().await.unwrap()
    };
    let (first, second) = (twin().await, twin().await);
    join(&first, &a).await;
    has_status(&a, "twin", MemberStatus::Alive).await;
    // The result of this join depends on which node learns of the other first: only the hook
    // matters.
    let _ = second.join_with_replay(&[a.addresses().advertised.to_string()]).await;
    let wanted = (
        "twin".to_owned(),
        Some(first.addresses().advertised),
        Some(second.addresses().advertised),
    );
    until(async || {
        let seen = listen.0.lock().unwrap_or_else(PoisonError::into_inner);
        seen.contains(&wanted)
    })
    .await;
}

#[tokio::test]
async fn panic_of_a_delegate_ends_the_node_and_is_seen() {
    struct Panics;
    impl AliveDelegate for Panics {
        fn check_alive(&self, member: &Member) -> Result<(), String> {
            if &*member.name == "b" { panic!("a bug of the application") } else { Ok(()) }
        }
    }
    let mut fragile = builder("a");
    fragile.config.delegates.alive = Some(Arc::new(Panics));
    let a = fragile.start().await.unwrap();
    let b = start("b").await;
    let mut events = a.subscribe(Subscribe::default());
    let _ = b.join_with_replay(&[a.addresses().advertised.to_string()]).await;
    assert_eq!(within(a.stopped()).await, StopReason::Panic);
    assert_eq!(a.state(), SerfState::Shutdown);
    within(async { while events.recv().await.is_some() {} }).await;
    assert!(matches!(a.leave().await, Err(Error::Shutdown)));
    within(a.shutdown()).await;
}

#[tokio::test]
async fn lost_name_vote_is_the_reason_of_the_stop() {
    let a = start("a").await;
    a.inspect(|node| node.stop(StopReason::NameConflict)).await.unwrap();
    assert_eq!(within(a.stopped()).await, StopReason::NameConflict);
    // A later call does not change it.
    within(a.shutdown()).await;
    assert_eq!(within(a.stopped()).await, StopReason::NameConflict);
}

#[test]
fn end_of_the_runtime_is_the_reason_of_the_stop() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let a = runtime.block_on(start("a"));
    drop(runtime);
    let waiting = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    assert_eq!(waiting.block_on(within(a.stopped())), StopReason::Aborted);
    assert_eq!(a.state(), SerfState::Shutdown);
}

#[tokio::test]
async fn node_that_vetoes_itself_is_heard_of_by_nobody() {
    struct Nobody;
    impl AliveDelegate for Nobody {
        fn check_alive(&self, _: &Member) -> Result<(), String> {
            Err("nobody".to_owned())
        }
    }
    let mut hermit = builder("a");
    hermit.config.delegates.alive = Some(Arc::new(Nobody));
    let a = hermit.start().await.unwrap();
    assert!(a.members().await.is_empty());
    assert_eq!(&*a.local_member().await.name, "a");
    within(a.shutdown()).await;
}

/// Goal: no event of this node is dropped because many are sent at once; the callers wait.
#[tokio::test]
async fn who_sends_more_events_than_there_is_room_for_waits() {
    let (a, b) = (start("a").await, start("b").await);
    join(&a, &b).await;
    has_status(&a, "b", MemberStatus::Alive).await;
    let events = |count: usize| {
        let payload = vec![b'p'; 400];
        (0..count).map(move |n| UserEventSpec::new(n.to_string(), payload.clone()))
    };
    let room = |a: &Serf| {
        let a = a.clone();
        async move { a.inspect(|node| node.engine.has_event_room()).await.unwrap() }
    };
    // 4 MiB, at more than 500 bytes each.
    let sent = tokio::spawn({
        let (a, events) = (a.clone(), events(9_000));
        async move { a.user_events(events).await }
    });
    within(async {
        while room(&a).await {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert!(!sent.is_finished());
    let results = within(sent).await.unwrap().unwrap();
    assert_eq!(results.iter().filter(|sent| sent.is_ok()).count(), 9_000);
    assert_eq!(a.counters().await.unwrap().serf.dropped_broadcasts, 0);
    // Without other nodes there is nothing to wait for.
    let alone = start("alone").await;
    within(alone.user_events(events(20_000))).await.unwrap();
}
