//! Keeps nodes of another region out.
//!
//! A merge delegate looks at all members of a join, and at each member that gossip brings. Here it
//! wants them to have the tag `region` of this node.
//!
//! Run it: `cargo run --example merge_delegate`

use ruserf::{Config, Error, Member, MergeDelegate, Serf};

/// Members of one region.
struct OnlyFrom(&'static str);

impl MergeDelegate for OnlyFrom {
    fn check_merge(&self, members: &[Member]) -> Result<(), String> {
        match members.iter().find(|member| member.tag("region") != Some(self.0)) {
            Some(stranger) => Err(format!("{} is not from {}", stranger.name, self.0)),
            None => Ok(()),
        }
    }
}

#[tokio::main]
async fn main() -> ruserf::Result<()> {
    let eu_1 = start("eu-1", Some("eu")).await?;
    let eu_2 = start("eu-2", Some("eu")).await?;
    // It has no delegate, and joins any address that it is given.
    let us_1 = start("us-1", None).await?;

    eu_2.join([address(&eu_1)]).await?;
    println!("eu-2 joined eu-1");

    // A join that a delegate of ours refuses is an error, with the reason of each address.
    match eu_2.join([address(&us_1)]).await {
        Err(Error::Join(failures)) => println!("eu-2 did not join us-1: {}", failures[0].reason),
        other => panic!("{other:?}"),
    }
    // One that others refuse is not: they say nothing, and do not list us.
    us_1.join([address(&eu_1)]).await?;
    let names: Vec<_> = eu_1.members().await.iter().map(|m| m.name.to_string()).collect();
    println!("eu-1 lists {}", names.join(" and "));
    Ok(())
}

async fn start(name: &str, region: Option<&'static str>) -> ruserf::Result<Serf> {
    let mut config = Config::local(name);
    if let Some(region) = region {
        config = config.tag("region", region).merge_delegate(OnlyFrom(region));
    }
    Serf::builder(config).bind("127.0.0.1:0").start().await
}

fn address(serf: &Serf) -> String {
    serf.addresses().advertised.to_string()
}
