//! Asks some members a question and collects their answers.
//!
//! Three nodes on loopback; the two with the role `web` are asked how busy they are.
//!
//! Run it: `cargo run --example queries`

use std::collections::BTreeMap;

use ruserf::{Config, Event, EventStream, QueryParams, QueryUpdate, Serf};

#[tokio::main]
async fn main() -> ruserf::Result<()> {
    let mut nodes = Vec::new();
    for (name, role) in [("asker", "client"), ("web-1", "web"), ("web-2", "web")] {
        let config = Config::local(name).tag("role", role);
        let serf = Serf::builder(config).bind("127.0.0.1:0").start().await?;
        tokio::spawn(answer(serf.events(), name));
        nodes.push(serf);
    }
    let asker = nodes[0].clone();
    for node in &nodes[1..] {
        node.join([asker.addresses().advertised.to_string()]).await?;
    }
    let mut changes = asker.watch_members();
    while asker.members_where(|member| member.is_alive()).await.len() < 3 {
        changes.changed().await;
    }

    // A query is gossip, and an answer is one packet: what is missing is asked for again.
    let mut answers = BTreeMap::new();
    while answers.len() < 2 {
        let params = QueryParams::default().filter_tag("role", "^web$").request_ack(true);
        let mut query = asker.query("load", "", params).await?;
        while let Some(update) = query.recv().await {
            match update {
                QueryUpdate::Ack { from } => println!("{from} has the query"),
                QueryUpdate::Response { from, payload } => {
                    answers.insert(from, String::from_utf8_lossy(&payload).into_owned());
                }
                QueryUpdate::Finished { missing } => println!("no word from {missing:?}"),
                _ => {}
            }
            // To drop the handle ends the query before its time.
            if answers.len() == 2 {
                break;
            }
        }
    }
    for (name, load) in &answers {
        println!("{name}: {load}");
    }
    Ok(())
}

/// Answers the queries of one name; others are for somebody else.
async fn answer(mut events: EventStream, name: &'static str) {
    while let Some(event) = events.recv().await {
        let Event::Query(query) = event else { continue };
        if query.name() == "load" {
            let answered = query.respond(format!("{name} is idle")).await;
            if let Err(error) = answered {
                println!("{name} could not answer: {error}");
            }
        }
    }
}
