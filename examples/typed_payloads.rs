//! Values of serde types as payloads of events, queries and answers.
//!
//! On the wire they are MessagePack with named fields, which programs in other languages read.
//!
//! Run it: `cargo run --example typed_payloads --features payload`

use ruserf::{Config, Event, EventStream, QueryParams, Serf};
use serde::{Deserialize, Serialize};

#[derive(Debug, Serialize, Deserialize)]
struct Deploy {
    version: String,
    hosts: Vec<String>,
}

#[derive(Debug, Serialize, Deserialize)]
struct LoadOf {
    service: String,
}

#[derive(Debug, Serialize, Deserialize)]
struct Load {
    percent: u8,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let a = Serf::builder(Config::local("a")).bind("127.0.0.1:0").start().await?;
    let b = Serf::builder(Config::local("b")).bind("127.0.0.1:0");
    let events = b.events();
    let b = b.start().await?;
    b.join([a.addresses().advertised.to_string()]).await?;
    let b_works = tokio::spawn(work(events));

    let deploy = Deploy { version: "v2".to_owned(), hosts: vec!["web-1".to_owned()] };
    a.send("deploy", &deploy).await?;

    let question = LoadOf { service: "web".to_owned() };
    let params = QueryParams::default().filter_node("b");
    let mut answers = a.ask("load", &question, params).await?;
    while let Some(answer) = answers.response().await {
        println!("{} answers {:?}", answer.from, answer.payload::<Load>()?);
    }

    // What is no such value is an error, and so is what does not fit.
    a.user_event("deploy", "v3").await?;
    b_works.await??;
    let large = Deploy { version: "x".repeat(1_000), ..deploy };
    println!("{}", a.send("deploy", &large).await.expect_err("too large"));
    Ok(())
}

/// Takes events until one cannot be read.
async fn work(mut events: EventStream) -> ruserf::Result<()> {
    while let Some(event) = events.recv().await {
        match event {
            Event::User(event) => match event.payload::<Deploy>() {
                Ok(deploy) => println!("b deploys {} to {:?}", deploy.version, deploy.hosts),
                Err(error) => {
                    println!("{error}");
                    break;
                }
            },
            Event::Query(query) => {
                if let Ok(LoadOf { service }) = query.payload() {
                    println!("b is asked for the load of {service}");
                    query.respond_with(&Load { percent: 5 }).await?;
                }
            }
            _ => {}
        }
    }
    Ok(())
}
