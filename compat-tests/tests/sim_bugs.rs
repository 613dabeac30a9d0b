//! Bugs put back on purpose: a simulator that does not find them proves nothing.

use std::time::Duration;

use ruserf::sim::{ClusterSpec, Mutation, Swarm};

/// Runs seeds until a rule is broken; gives the rules broken by the first such seed.
fn rules_broken_by(mutation: Option<Mutation>) -> Vec<&'static str> {
    for seed in 1..=8 {
        let mut cluster = ClusterSpec::lan(24, seed);
        cluster.config.mutation = mutation;
        let mut swarm = Swarm::new(cluster);
        swarm.fault_time = Duration::from_secs(60);
        swarm.recovery_max = Duration::from_secs(300);
        let mut rules: Vec<_> = swarm.run().violations.iter().map(|found| found.rule).collect();
        rules.sort_unstable();
        rules.dedup();
        if !rules.is_empty() {
            eprintln!("{mutation:?}: seed {seed} breaks {rules:?}");
            return rules;
        }
    }
    Vec::new()
}

#[test]
fn without_a_bug_no_rule_is_broken() {
    assert_eq!(rules_broken_by(None), [""; 0]);
}

#[test]
fn a_refutation_that_does_not_outbid_is_found() {
    let rules = rules_broken_by(Some(Mutation::RefuteInVain));
    assert!(rules.contains(&"no_false_failure"), "{rules:?}");
}

#[test]
fn belief_in_stale_news_is_found() {
    let rules = rules_broken_by(Some(Mutation::StaleAlive));
    let found = ["no_resurrection", "no_rebroadcast_loop"].map(|rule| rules.contains(&rule));
    assert!(found.contains(&true), "{rules:?}");
}

#[test]
fn broadcasts_without_end_are_found() {
    let rules = rules_broken_by(Some(Mutation::EndlessTransmits));
    assert!(rules.contains(&"no_rebroadcast_loop"), "{rules:?}");
}

#[test]
fn an_incarnation_raised_by_another_is_found() {
    let rules = rules_broken_by(Some(Mutation::OutbidOthers));
    assert!(rules.contains(&"own_incarnation"), "{rules:?}");
}

#[test]
fn the_dead_that_live_on_are_found() {
    let rules = rules_broken_by(Some(Mutation::NobodyDies));
    assert!(rules.contains(&"view_agreement"), "{rules:?}");
}
