//! A node in a program that runs on smol: the same calls, and nothing to configure.
//!
//! Run it: `cargo run --example smol --no-default-features --features smol`

use ruserf::{Config, Event, Serf};

fn main() -> ruserf::Result<()> {
    smol::block_on(async {
        let builder = Serf::builder(Config::local("a")).bind("127.0.0.1:0");
        let mut events = builder.events();
        let a = builder.start().await?;
        let b = Serf::builder(Config::local("b")).bind("127.0.0.1:0").start().await?;
        let joined = b.join([a.addresses().advertised.to_string()]).await?;
        println!("b joined {joined} node");
        b.user_event("greeting", "from b").await?;
        while let Some(event) = events.recv().await {
            if let Event::User(event) = event {
                println!("a heard {}: {}", event.name, String::from_utf8_lossy(&event.payload));
                break;
            }
        }
        b.leave_and_shutdown().await?;
        a.leave_and_shutdown().await
    })
}
