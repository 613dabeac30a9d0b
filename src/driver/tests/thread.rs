//! The engine's own thread: neither it nor the application's runtime delays the other.

use std::{
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use tokio::runtime::Runtime;

use super::*;
use crate::{
    driver::StopReason,
    serf::{AliveDelegate, Member},
};

fn threaded(name: &str) -> Builder {
    let mut builder = builder(name);
    builder.own_thread = true;
    builder
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn node_of_a_blocked_runtime_stays_alive_for_others() {
    let b = start("b").await;
    // The runtime of a runs until it has joined, and never again.
    let to = [b.addresses().advertised.to_string()];
    let a = std::thread::spawn(move || {
        let blocked = runtime();
        let a = blocked.block_on(threaded("a").start()).unwrap();
        assert_eq!(blocked.block_on(a.join(&to)).unwrap(), 1);
        (a, blocked)
    })
    .join()
    .unwrap();
    has_status(&b, "a", MemberStatus::Alive).await;
    let mut events = b.subscribe(Subscribe::default());
    // Probes every 100 ms with 50 ms for the ack; failures take a second or so.
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert_eq!(b.member("a").await.unwrap().status, MemberStatus::Alive);
    assert!(timeout(Duration::from_millis(1), events.recv()).await.is_err(), "it flapped");
    tokio::task::spawn_blocking(|| drop(a)).await.unwrap();
}

#[tokio::test]
async fn long_turn_of_the_engine_holds_up_no_task_of_the_runtime() {
    /// Blocks when it sees `b`, like a busy engine.
    struct Slow(Mutex<std::sync::mpsc::Receiver<()>>, AtomicBool);
    impl AliveDelegate for Slow {
        fn check_alive(&self, member: &Member) -> Result<(), String> {
            if &*member.name == "b" && !self.1.swap(true, Ordering::Relaxed) {
                let _ = self.0.lock().unwrap().recv_timeout(Duration::from_secs(20));
            }
            Ok(())
        }
    }
    let (go, wait) = std::sync::mpsc::channel();
    let slow = Arc::new(Slow(Mutex::new(wait), AtomicBool::new(false)));
    let mut busy = threaded("a");
    busy.config.delegates.alive = Some(slow.clone());
    let (a, b) = (busy.start().await.unwrap(), threaded("b").start().await.unwrap());
    let to = [a.addresses().advertised.to_string()];
    let joining = tokio::spawn(async move { (b.join(&to).await, b) });
    within(async {
        while !slow.1.load(Ordering::Relaxed) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
    // The single thread of this runtime is free while the engine works.
    let began = Instant::now();
    for _ in 0..20 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    assert!(timeout(Duration::from_millis(20), a.members()).await.is_err(), "it is busy");
    go.send(()).unwrap();
    assert_eq!(within(joining).await.unwrap().0.unwrap(), 1);
    has_status(&a, "b", MemberStatus::Alive).await;
}

/// Goal: members are read on the caller's task, so a slow filter delays no one else.
#[tokio::test]
async fn a_slow_reader_of_the_members_does_not_hold_up_the_engine() {
    let a = threaded("a").start().await.unwrap();
    let (go, wait) = std::sync::mpsc::channel();
    let reads = Arc::new(AtomicBool::new(false));
    let (reader, begun) = (a.clone(), Arc::clone(&reads));
    let slow = std::thread::spawn(move || {
        let wanted = move |_: &Member| {
            begun.store(true, Ordering::Relaxed);
            wait.recv_timeout(Duration::from_secs(60)).is_ok()
        };
        runtime().block_on(reader.members_where(wanted))
    });
    within(async {
        while !reads.load(Ordering::Relaxed) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
    within(a.set_tags([("role", "web")])).await.unwrap();
    assert_eq!(within(a.members()).await[0].tag("role"), Some("web"));
    go.send(()).unwrap();
    let seen = slow.join().unwrap();
    assert_eq!((seen.len(), seen[0].tag("role")), (1, None), "as it was when the reader asked");
}

#[test]
fn node_ends_with_the_runtime_that_it_was_started_in() {
    let first = runtime();
    let a = first.block_on(threaded("a").start()).unwrap();
    drop(first);
    assert_eq!(runtime().block_on(within(a.stopped())), StopReason::Aborted);
    assert_eq!(a.state(), SerfState::Shutdown);
}

#[tokio::test]
async fn panic_on_the_thread_is_the_reason_of_the_stop() {
    let a = threaded("a").start().await.unwrap();
    let _ = a.inspect(|_| panic!("a bug")).await;
    assert_eq!(within(a.stopped()).await, StopReason::Panic);
}

#[tokio::test]
async fn thread_frees_the_sockets_when_the_last_handle_goes() {
    let a = threaded("a").start().await.unwrap();
    let addr = a.addresses().bound;
    drop(a);
    within(async {
        while std::net::TcpListener::bind(addr).is_err() || std::net::UdpSocket::bind(addr).is_err()
        {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn address_in_use_is_an_error_of_the_start() {
    let a = threaded("a").start().await.unwrap();
    let mut second = threaded("b");
    second.bind = a.addresses().bound.into();
    let Err(error) = second.start().await else { panic!("it started") };
    assert!(error.to_string().contains("failed to start TCP listener"), "{error}");
}
