//! A program as written by a reader of only the crate's page. scripts/newcomer builds it as a crate
//! of its own on the package as it would be uploaded.

use std::time::Duration;

use futures_util::StreamExt as _;
use ruserf::{
    Config, Error, Event, Keyring, LagPolicy, Member, MergeDelegate, QueryParams, QueryUpdate,
    Serf, Subscribe, UserEventSpec,
};

struct SameZone;

impl MergeDelegate for SameZone {
    fn check_merge(&self, members: &[Member]) -> Result<(), String> {
        match members.iter().find(|member| member.tag("zone") != Some("north")) {
            Some(stranger) => Err(format!("{} is from elsewhere", stranger.name)),
            None => Ok(()),
        }
    }
}

const OLD: &str = "T9jncgl9mbLus+baTTa7q7nPSUrXwbDi2dhbtqir37s=";
const NEW: &str = "HvY8ubRZMgafUOWvrOadwOckVa1wN3QWAo46FVKbVN8=";

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let metrics = metrics_exporter_prometheus::PrometheusBuilder::new().install_recorder()?;
    let a = start("a", "north", OLD).await?;
    let b = start("b", "north", OLD).await?;

    // Join, and events.
    let mut events = a.events();
    let contacted = b.join([a.addresses().advertised.to_string()]).await?;
    assert_eq!(contacted, 1);
    let mut few = b.subscribe(Subscribe::default().capacity(16).policy(LagPolicy::DropNewest));
    b.send_event(UserEventSpec::new("load", "low").coalesce(true)).await?;
    b.user_event("deploy", "v2").await?;
    while let Some(event) = events.next().await {
        match event {
            Event::Member(change) => println!("{}: {}", change.kind, change.members[0].name),
            Event::User(event) if event.name == "deploy" => break,
            _ => {}
        }
    }
    while let Some(event) = few.next().await {
        if matches!(event, Event::User(event) if event.name == "load") {
            break;
        }
    }
    let b_at = Some(b.addresses().advertised);
    assert!(a.member("b").await.is_some_and(|b| b.is_alive() && b.addr() == b_at));
    let north = a.members_where(|member| member.tag("zone") == Some("north")).await;
    assert_eq!(north.len(), 2);

    // A query.
    let answering = tokio::spawn(async move {
        while let Some(event) = events.next().await {
            if let Event::Query(query) = event {
                let _ = query.respond(format!("load of {}", query.payload_bytes().len())).await;
            }
        }
    });
    let params = QueryParams::default().filter_node("a").timeout(Duration::from_secs(5));
    let mut query = b.query("load", "now", params).await?;
    let mut answer = None;
    while let Some(update) = query.next().await {
        if let QueryUpdate::Response { from, payload } = update {
            answer = Some(format!("{from}: {}", String::from_utf8_lossy(&payload)));
            break;
        }
    }
    assert_eq!(answer.as_deref(), Some("a: load of 3"));

    // Rotation.
    let keys = a.key_manager();
    let response = keys.rotate(NEW).await?;
    assert_eq!(response.keys.keys().collect::<Vec<_>>(), [NEW]);
    assert!(matches!(keys.install("no key").await, Err(Error::InvalidKey(_))));

    strangers_stay_out(&a).await?;
    what_else_the_page_lists(&a).await?;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(metrics.render().contains("memberlist_udp_sent"));

    answering.abort();
    b.leave_and_shutdown().await?;
    a.leave_and_shutdown().await?;
    println!("done");
    Ok(())
}

/// The merge delegate.
async fn strangers_stay_out(a: &Serf) -> ruserf::Result<()> {
    let stranger = start("c", "south", NEW).await?;
    match a.join([stranger.addresses().advertised.to_string()]).await {
        Err(Error::Join(failures)) => println!("{}", failures[0]),
        other => panic!("{other:?}"),
    }
    Ok(())
}

/// Errors, tags, counters, leaves by force and coordinates.
async fn what_else_the_page_lists(a: &Serf) -> ruserf::Result<()> {
    match a.user_event("large", vec![0; 1000]).await {
        Err(Error::TooLarge { limit, len, .. }) => assert_eq!((limit, len), (512, 1005)),
        other => panic!("{other:?}"),
    }
    a.update_tags(|tags| drop(tags.insert("version".into(), "2".into()))).await?;
    let counters = a.counters().await?;
    assert!(counters.get("memberlist.udp.sent").is_some_and(|sent| sent > 0));
    a.force_leave("nobody").await?;
    let (here, there) = (a.coordinate("a").await, a.coordinate("b").await);
    let (here, there) = (here.expect("our own"), there.unwrap_or_default());
    println!("{:?} to b", here.distance_to(&there));
    Ok(())
}

async fn start(name: &str, zone: &str, key: &str) -> ruserf::Result<Serf> {
    let mut config =
        Config::local(name).tags([("zone", zone)]).keyring(Keyring::from_base64([key])?);
    if zone == "north" {
        config = config.merge_delegate(SameZone);
    }
    Serf::builder(config).bind("127.0.0.1:0").start().await
}

#[cfg(test)]
mod tests {
    use ruserf::{MemberStatus, sim::Cluster};

    use super::*;

    #[test]
    fn a_crash_is_seen() -> Result<(), Box<dyn std::error::Error>> {
        let mut cluster = Cluster::new(7);
        let a = cluster.add_node(Config::lan("a"))?;
        let b = cluster.add_node(Config::lan("b"))?;
        cluster.join(b, &[a])?;
        assert!(cluster.run_until(Duration::from_secs(10), Cluster::agrees));
        cluster.crash(b);
        cluster.run_for(Duration::from_secs(60));
        assert_eq!(cluster.status(a, "b"), Some(MemberStatus::Failed));
        Ok(())
    }
}
