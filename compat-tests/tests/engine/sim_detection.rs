//! Goal: with `fast_detection` a crash is found sooner than with Lifeguard alone, healthy nodes are
//! declared dead no more often, and no rule of the simulator is broken; nodes without it, as Go's,
//! may be in the cluster. `scripts/sim detection` and `scripts/sim lifeguard` have whole tables.

use std::time::Duration;

use ruserf::{
    sim::{
        ClusterSpec, ObservationKind, Swarm,
        lifeguard::{Anomaly, Extensions, Outcome, Run},
    },
    swim::Config,
};

/// `count` of 64 nodes are blocked for `length`, again and again after `pause`.
fn run(
    extensions: Extensions,
    count: u32,
    length: u64,
    pause: Option<u64>,
    time: u64,
    seed: u64,
) -> Outcome {
    let run = Run {
        extensions,
        alpha: 5,
        beta: 6,
        nodes: 64,
        count,
        length: Duration::from_millis(length),
        pause: pause.map(Duration::from_millis),
        anomaly: Anomaly::BlockedIo,
        time: Duration::from_secs(time),
        seed,
    };
    run.run()
}

fn median(times: impl IntoIterator<Item = Duration>) -> f64 {
    let mut times: Vec<_> = times.into_iter().collect();
    times.sort_unstable();
    times[times.len() / 2].as_secs_f64()
}

#[test]
fn a_crash_is_found_three_tenths_sooner_and_no_healthy_node_is_accused_more() {
    let of = |extensions| {
        let runs = [1, 4, 8].map(|count| run(extensions, count, 30_000, None, 30, 1));
        assert_eq!(runs.iter().map(|run| run.first_detection.len()).sum::<usize>(), 13);
        assert_eq!(runs.iter().map(|run| run.false_positives).sum::<u64>(), 0);
        let first = median(runs.iter().flat_map(|run| run.first_detection.iter().copied()));
        let all = median(runs.iter().flat_map(|run| run.full_detection.iter().copied()));
        let slow = run(extensions, 24, 32_768, Some(256), 80, 1);
        (first, all, slow.false_positives)
    };
    let (first, all, accused) = of(Extensions::Lifeguard);
    let (first_fast, all_fast, accused_fast) = of(Extensions::Fast);
    println!("{first} {all} {accused}, {first_fast} {all_fast} {accused_fast}");
    assert!(first_fast < 0.7 * first, "{first_fast} s, {first} s");
    assert!(all_fast < 0.7 * all, "{all_fast} s, {all} s");
    assert!(accused > 0, "the slow nodes accuse others");
    assert!(accused_fast <= accused, "{accused_fast}, {accused}");
}

#[test]
fn a_few_nodes_that_have_it_find_a_crash_sooner_for_all_and_lost_packets_accuse_nobody() {
    let find = |plain| {
        let first = (1..=12).map(|seed| {
            let config = Config { fast_detection: true, ..Config::lan("template") };
            let mut cluster = ClusterSpec::with_config(32, seed, config);
            cluster.plain = plain;
            cluster.link.loss = 0.05;
            let mut world = cluster.build();
            world.run_for(Duration::from_secs(10));
            assert!(world.take_observations().is_empty());
            let start = world.now().as_nanos();
            world.crash(0, true);
            world.run_for(Duration::from_secs(20));
            let seen = world.take_observations();
            assert!(seen.iter().all(|seen| seen.subject == 0), "{seen:?}");
            let mut times: Vec<_> = seen
                .iter()
                .filter(|seen| seen.kind == ObservationKind::Failed)
                .map(|seen| Duration::from_nanos(seen.at - start))
                .collect();
            assert_eq!(times.len(), 31, "all of both kinds know it");
            times.sort_unstable();
            times[0]
        });
        first.map(|time| time.as_secs_f64()).sum::<f64>() / 12.0
    };
    let (none, some, all) = (find(32), find(24), find(0));
    println!("{none} {some} {all}");
    assert!(all < 0.8 * none, "{all} s, {none} s");
    assert!(some < 0.8 * none, "{some} s of a quarter, {none} s");
}

#[test]
fn no_rule_is_broken_in_any_weather() {
    for weather in [Swarm::new, Swarm::calm, Swarm::byzantine] {
        for seed in 1..=2 {
            let mut cluster = ClusterSpec::lan(30, seed);
            cluster.config.fast_detection = true;
            cluster.plain = 10;
            cluster.trace_lines = 100;
            let report = weather(cluster).run();
            assert!(report.violations.is_empty(), "{report}");
        }
    }
}
