//! User events, and what becomes of a subscriber that is too slow for them.
//!
//! Each subscriber has a bounded queue of its own; the node never waits for one. What happens when
//! a queue is full is the subscriber's choice.
//!
//! Run it: `cargo run --example events`

use futures_util::StreamExt as _;
use ruserf::{Config, Event, LagPolicy, Serf, Subscribe, UserEventSpec};

#[tokio::main]
async fn main() -> ruserf::Result<()> {
    let builder = Serf::builder(Config::local("a")).bind("127.0.0.1:0");
    // Subscribed before the start, they miss nothing.
    let mut all = builder.events();
    let mut newest =
        builder.subscribe(Subscribe::default().capacity(2).policy(LagPolicy::Coalesce));
    let serf = builder.start().await?;

    serf.user_event("deploy", "v1").await?;
    for load in 0..10 {
        let event = UserEventSpec::new("load", load.to_string()).coalesce(true);
        serf.send_event(event).await?;
    }
    serf.user_event("end", "").await?;

    println!("all:");
    print_until_end(&mut all).await;
    println!("newest:");
    print_until_end(&mut newest).await;
    serf.leave_and_shutdown().await
}

async fn print_until_end(events: &mut ruserf::EventStream) {
    while let Some(event) = events.next().await {
        match event {
            Event::Member(change) => println!("  {}", change.kind),
            Event::User(event) if &*event.name == "end" => break,
            Event::User(event) => {
                println!("  {} {}", event.name, String::from_utf8_lossy(&event.payload));
            }
            Event::Lagged(count) => println!("  {count} lost"),
            _ => {}
        }
    }
}
