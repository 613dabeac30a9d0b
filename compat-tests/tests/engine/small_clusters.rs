//! Clusters below ten nodes: gossip with few copies can miss a node there, which must not turn a
//! leave into a failure, nor hide a join until the next push/pull.

use std::time::Duration;

use ruserf::{
    Config, MemberEventKind, MemberStatus,
    engine::Event,
    sim::{Cluster, NodeId},
};

const SECOND: Duration = Duration::from_secs(1);

/// Eight nodes that have joined through the first.
fn eight(seed: u64) -> (Cluster, Vec<NodeId>) {
    let mut cluster = Cluster::new(seed);
    let config = |index: usize| {
        let mut config = Config::lan(format!("node-{index}"));
        config.compression = false.into();
        config
    };
    let nodes: Vec<_> = (0..8).map(|index| cluster.add_node(config(index)).unwrap()).collect();
    for node in &nodes[1..] {
        cluster.join(*node, &[nodes[0]]).unwrap();
    }
    assert!(cluster.run_until(60 * SECOND, Cluster::agrees), "SEED={seed}: no agreement");
    (cluster, nodes)
}

/// Whether a node published this event of the member.
fn saw(cluster: &Cluster, node: NodeId, name: &str, kind: MemberEventKind) -> bool {
    cluster.events(node).iter().any(|(_, event)| match event {
        Event::Member(event) => {
            event.kind == kind && event.members.iter().any(|member| &*member.name == name)
        }
        _ => false,
    })
}

/// Goal: two of eight nodes are dead, two others leave; nobody sees a failure of the latter.
/// Before leaving nodes notified the others directly: see docs/bad-days.md.
// parity: agent-net: Leaves and joins of small clusters
#[test]
fn leaves_from_a_small_cluster_with_dead_nodes_are_not_seen_as_failures() {
    let mut wrong = Vec::new();
    for seed in 0..RUNS {
        let (mut cluster, nodes) = eight(seed);
        cluster.crash(nodes[6]);
        cluster.crash(nodes[7]);
        let failed = |c: &Cluster| {
            nodes[..6].iter().all(|n| {
                ["node-6", "node-7"].iter().all(|d| c.status(*n, d) == Some(MemberStatus::Failed))
            })
        };
        assert!(cluster.run_until(120 * SECOND, failed), "SEED={seed}");
        cluster.leave(nodes[4]).unwrap();
        cluster.leave(nodes[5]).unwrap();
        cluster.run_for(8 * SECOND);
        cluster.crash(nodes[4]);
        cluster.crash(nodes[5]);
        cluster.run_for(30 * SECOND);
        let seen = nodes[..4].iter().any(|node| {
            ["node-4", "node-5"]
                .iter()
                .any(|name| saw(&cluster, *node, name, MemberEventKind::Failed))
        });
        if seen {
            wrong.push(seed);
        }
    }
    println!("{} of {RUNS} runs saw a failure", wrong.len());
    assert!(wrong.is_empty(), "failures were seen with the seeds {wrong:?}");
}

/// Goal: a ninth node joins while two of eight are dead; all hear of it within two seconds, which
/// is long before the next push/pull.
#[test]
fn a_join_of_a_small_cluster_is_heard_by_all_at_once() {
    let mut late = Vec::new();
    for seed in 0..RUNS {
        let (mut cluster, nodes) = eight(seed);
        cluster.crash(nodes[6]);
        cluster.crash(nodes[7]);
        cluster.run_for(5 * SECOND);
        let new = cluster.add_node(Config::lan("new")).unwrap();
        cluster.join(new, &[nodes[0]]).unwrap();
        cluster.run_for(2 * SECOND);
        let heard = |node: &NodeId| cluster.status(*node, "new") == Some(MemberStatus::Alive);
        if !nodes[..6].iter().all(heard) {
            late.push(seed);
        }
    }
    println!("{} of {RUNS} joins were not heard by all", late.len());
    assert!(late.is_empty(), "not heard with the seeds {late:?}");
}

const RUNS: u64 = 200;
