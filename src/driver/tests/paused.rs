//! Nodes on tokio's paused clock: it jumps to the next timer when there is nothing else to do.

use tokio::time::Instant;

use super::*;

/// A node with LAN timing, on the thread of the test.
async fn start_lan(name: &str) -> Serf {
    let mut builder = Serf::builder(Config::lan(name)).bind("127.0.0.1:0");
    builder.config.timing.reconnect_timeout = Duration::from_secs(600);
    builder.own_thread = false;
    builder.start().await.unwrap()
}

/// The time until `a` sees `b` with this status, or no longer at all.
async fn time_until(a: &Serf, status: Option<MemberStatus>) -> Duration {
    let began = Instant::now();
    let mut watch = a.watch_members();
    let seen = async {
        while a.member("b").await.map(|member| member.status) != status {
            watch.changed().await.expect("the node runs");
        }
    };
    timeout(Duration::from_secs(3_600), seen).await.expect("not in an hour");
    began.elapsed()
}

#[tokio::test(start_paused = true)]
async fn a_failed_member_is_found_and_forgotten_at_the_times_of_the_configuration() {
    let real = std::time::Instant::now();
    let (a, b) = (start_lan("a").await, start_lan("b").await);
    join(&b, &a).await;
    time_until(&a, Some(MemberStatus::Alive)).await;
    b.shutdown().await;
    // A probe every second, and 4 s to refute; the health score stretches both.
    let failed = time_until(&a, Some(MemberStatus::Failed)).await.as_secs_f64();
    assert!((4.0..20.0).contains(&failed), "failed after {failed} s");
    // Reaped every 15 s.
    let forgotten = time_until(&a, None).await.as_secs_f64();
    assert!((600.0..620.0).contains(&forgotten), "forgotten after {forgotten} s");
    assert!(real.elapsed().as_secs_f64() < failed + forgotten, "the clock was not paused");
}
