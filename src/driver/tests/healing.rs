//! A node that finds itself alone.

use std::{
    io,
    net::{IpAddr, Ipv4Addr},
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use super::*;
use crate::transport::{Resolver, Resolving};

/// A host name, and its current address.
struct Names {
    target: Mutex<IpAddr>,
    asked: AtomicUsize,
}

impl Resolver for Names {
    fn resolve<'a>(&'a self, host: &'a str) -> Resolving<'a> {
        Box::pin(async move {
            self.asked.fetch_add(1, Ordering::Relaxed);
            if host == "seed.test" {
                Ok(vec![*self.target.lock().unwrap()])
            } else {
                Err(io::Error::other("no such host"))
            }
        })
    }
}

#[tokio::test]
async fn lonely_node_asks_for_its_seeds_again_under_their_new_address() {
    let ip = |last| Ipv4Addr::new(127, 0, 0, last);
    let names = Arc::new(Names { target: Mutex::new(ip(1).into()), asked: AtomicUsize::new(0) });
    let mut lonely = builder("lonely");
    lonely.resolver = names.clone();
    lonely.config.timing.reconnect_interval = Duration::from_millis(100);
    let lonely = lonely.start().await.unwrap();
    let seed = start("seed").await;
    let port = seed.addresses().bound.port();
    assert_eq!(lonely.join_with_replay(&[format!("seed.test:{port}")]).await.unwrap(), 1);
    has_status(&lonely, "seed", MemberStatus::Alive).await;
    assert_eq!(names.asked.load(Ordering::Relaxed), 1);

    // The seed leaves for good; another node takes over its name at another address.
    seed.leave().await.unwrap();
    seed.shutdown().await;
    has_status(&lonely, "seed", MemberStatus::Left).await;
    let mut heir = builder("heir");
    heir.bind = (ip(2), port).into();
    let _heir = heir.start().await.unwrap();
    *names.target.lock().unwrap() = ip(2).into();
    has_status(&lonely, "heir", MemberStatus::Alive).await;
    assert!(names.asked.load(Ordering::Relaxed) > 1);
}

#[tokio::test(start_paused = true)]
async fn node_that_left_or_never_joined_asks_nobody() {
    let names = Arc::new(Names {
        target: Mutex::new(Ipv4Addr::new(127, 0, 0, 1).into()),
        asked: AtomicUsize::new(0),
    });
    let start = async |name: &str| {
        let mut builder = builder(name);
        builder.resolver = names.clone();
        builder.config.timing.reconnect_interval = Duration::from_millis(20);
        builder.start().await.unwrap()
    };
    let (_alone, left, other) = (start("alone").await, start("left").await, start("other").await);
    let port = other.addresses().bound.port();
    assert_eq!(left.join_with_replay(&[format!("seed.test:{port}")]).await.unwrap(), 1);
    left.leave().await.unwrap();
    other.shutdown().await;
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(names.asked.load(Ordering::Relaxed), 1);
}
