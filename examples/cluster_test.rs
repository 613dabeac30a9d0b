//! How to test your own cluster logic on the virtual network.
//!
//! The logic here is a toy of the usual kind: the living member with the smallest name leads. The
//! question of the test is the one that matters in practice: are there two leaders while the
//! network is cut, and is there one again afterwards? Ten minutes pass in a moment, and the run is
//! the same each time.
//!
//! Run it: `cargo run --features sim --example cluster_test`

use std::time::Duration;

use ruserf::{
    Config, MemberStatus,
    sim::{Cluster, NodeId},
};

/// The logic under test: who leads, as `node` sees it.
fn leader(cluster: &Cluster, node: NodeId) -> Option<String> {
    let members = cluster.members(node);
    let alive = members.iter().filter(|member| member.status == MemberStatus::Alive);
    alive.map(|member| member.name.to_string()).min()
}

fn leaders(cluster: &Cluster) -> Vec<String> {
    let mut all: Vec<_> = cluster.running().filter_map(|node| leader(cluster, node)).collect();
    all.sort();
    all.dedup();
    all
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut cluster = Cluster::new(2024);
    let mut nodes = Vec::new();
    for name in ["a", "b", "c", "d", "e"] {
        nodes.push(cluster.add_node(Config::lan(name))?);
    }
    for node in &nodes[1..] {
        cluster.join(*node, &[nodes[0]])?;
    }
    assert!(cluster.run_until(Duration::from_secs(10), Cluster::agrees), "the cluster forms");
    println!("{} one leader: {:?}", cluster.now(), leaders(&cluster));
    assert_eq!(leaders(&cluster), ["a"]);

    cluster.partition(&[nodes[0], nodes[1]]);
    cluster.run_for(Duration::from_secs(60));
    println!("{} cut in two: {:?}", cluster.now(), leaders(&cluster));
    assert_eq!(leaders(&cluster), ["a", "c"], "a majority rule is missing in this logic");

    cluster.heal();
    assert!(cluster.run_until(Duration::from_secs(120), Cluster::agrees), "the halves meet again");
    println!("{} healed: {:?}", cluster.now(), leaders(&cluster));

    cluster.crash(nodes[0]);
    let found = cluster.run_until(Duration::from_secs(60), |cluster| leaders(cluster) == ["b"]);
    println!("{} after a crash: {:?}", cluster.now(), leaders(&cluster));
    assert!(found, "b takes over");
    Ok(())
}
