//! A member of a cluster in one page: events, members, queries, keys, a veto on strangers.
//!
//! ```text
//! serf agent -node go -bind 10.0.0.2 -tag region=eu -keyring-file keys.json
//! cargo run --example first_cluster -- cache-1 10.0.0.1:7946 state 10.0.0.2
//! serf query stats
//! serf event stop
//! ```

use std::{path::Path, sync::Arc};

use futures_util::StreamExt as _;
use ruserf::{Config, Event, Member, MergeDelegate, Serf};

#[tokio::main]
async fn main() -> ruserf::Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [name, bind, state, peers @ ..] = args.as_slice() else {
        eprintln!("usage: first_cluster NAME BIND STATE_DIRECTORY PEER...");
        std::process::exit(2);
    };
    let state = Path::new(state);
    let config = Config::lan(name).tag("role", "cache").tag("region", "eu");
    let serf = Serf::builder(config)
        .bind(bind.as_str())
        .keyring_file(state.join("keyring.json")) // read at the start, kept up to date
        .snapshot(state.join("serf.snapshot"))
        .merge_delegate(OnlyFrom("eu"))
        .start()
        .await?;
    let mut events = serf.events();
    serf.join(peers).await?;
    while let Some(event) = events.next().await {
        match event {
            Event::Member(_) => rebuild(&serf.members_where(Member::is_alive).await),
            Event::Query(query) if query.name() == "stats" => {
                query.respond(format!("{} members", serf.members().await.len())).await?;
            }
            Event::User(event) if &*event.name == "stop" => break,
            _ => {}
        }
    }
    serf.leave_and_shutdown().await
}

/// Where a cache would spread its keys anew.
fn rebuild(alive: &[Arc<Member>]) {
    let names: Vec<_> = alive.iter().map(|member| &*member.name).collect();
    println!("ring: {}", names.join(" "));
}

/// Lets in only members of one region.
struct OnlyFrom(&'static str);

impl MergeDelegate for OnlyFrom {
    fn check_merge(&self, members: &[Member]) -> Result<(), String> {
        match members.iter().find(|member| member.tag("region") != Some(self.0)) {
            Some(stranger) => Err(format!("{} is not from {}", stranger.name, self.0)),
            None => Ok(()),
        }
    }
}
