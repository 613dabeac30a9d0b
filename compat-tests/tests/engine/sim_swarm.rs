//! The membership engine under mixtures of faults: every rule of `sim::invariants` must hold.
//!
//! `SIM_SEED` replays one seed, or starts with it where `SIM_SEEDS` says how many to run;
//! `SIM_NODES` sets the size.

use std::time::Duration;

use ruserf::sim::{ClusterSpec, Experiment, Happening, Swarm};

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

#[test]
fn rules_hold_under_fixed_seeds_and_a_new_one() {
    let nodes = number("SIM_NODES", 30) as u32;
    let seeds: Vec<u64> = match number("SIM_SEED", 0) {
        0 => {
            let new = u64::from(std::process::id()) << 20 | 0xfff;
            (1..=number("SIM_SEEDS", 8)).chain([new]).collect()
        }
        first => (first..).take(number("SIM_SEEDS", 1) as usize).collect(),
    };
    for seed in seeds {
        let mut cluster = ClusterSpec::lan(nodes, seed);
        cluster.trace_lines = 100;
        let report = Swarm::new(cluster).run();
        assert!(
            report.violations.is_empty(),
            "{report}\nreplay here: SIM_SEED={seed} SIM_NODES={nodes} \
             cargo test -p compat-tests --test engine sim_swarm::"
        );
    }
}

#[test]
fn a_swarm_is_the_same_with_one_thread_and_with_two() {
    let run = |threads| {
        let mut cluster = ClusterSpec::lan(40, 5);
        cluster.threads = threads;
        let mut swarm = Swarm::new(cluster);
        swarm.fault_time = Duration::from_secs(40);
        let report = swarm.run();
        (report.events, report.recovery, report.violations)
    };
    assert_eq!(run(1), run(2));
}

#[test]
fn a_healthy_cluster_raises_no_alarm_and_news_reaches_everyone() {
    let experiment = Experiment {
        cluster: ClusterSpec::lan(200, 1),
        time: Duration::from_secs(300),
        happening: Happening::Updates,
        pause: Duration::from_secs(60),
    };
    let measured = experiment.run(|_| ());
    assert_eq!(measured.false_failures, 0);
    assert_eq!(measured.news.len(), 5);
    for news in &measured.news {
        let all = news.reached(1.0).expect("everybody learns it");
        assert!(all < Duration::from_secs(3), "{all:?}");
    }
}

#[test]
fn a_death_is_found_about_when_theory_says() {
    let experiment = Experiment {
        cluster: ClusterSpec::lan(128, 3),
        time: Duration::from_secs(600),
        happening: Happening::Crashes,
        pause: Duration::from_secs(60),
    };
    let measured = experiment.run(|_| ());
    assert_eq!(measured.false_failures, 0);
    let theory = ruserf::sim::theory::detection(&experiment.cluster.config, 128).as_secs_f64();
    // The last crash has less than a minute; the others must be known to all.
    for news in &measured.news {
        let first = news.reached(0.0).expect("somebody finds it").as_secs_f64();
        assert!((theory - 2.0..theory + 8.0).contains(&first), "{first} s, theory {theory} s");
        assert!(news.reached(1.0).is_some());
    }
}
