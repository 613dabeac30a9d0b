//! Bugs put in on purpose: a simulator that does not find them proves nothing.
//!
//! Each must break, within eight seeds, the rule that names what is wrong; without a bug no seed
//! may break any. `SIM_BUG=NeverReaps` runs one bug, `SIM_SHOW=1` prints what each seed breaks.

use std::{
    fmt,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use ruserf::sim::{ClusterSpec, Mutation, SerfSwarm, Swarm, invariants::Violation};

/// Which run shows a bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scene {
    Storm,
    Calm,
    Byzantine,
    Serf,
}

const SCENES: [Scene; 4] = [Scene::Storm, Scene::Calm, Scene::Byzantine, Scene::Serf];
const SEEDS: std::ops::RangeInclusive<u64> = 1..=8;

/// Where a bug shows, and the rule that names it. A bug without a row does not compile.
fn expected(bug: Mutation) -> (Scene, &'static str) {
    match bug {
        Mutation::RefuteInVain => (Scene::Storm, "no_false_failure"),
        Mutation::StaleAlive => (Scene::Storm, "no_rebroadcast_loop"),
        Mutation::EndlessTransmits => (Scene::Storm, "no_rebroadcast_loop"),
        Mutation::OutbidOthers => (Scene::Storm, "own_incarnation"),
        Mutation::NobodyDies => (Scene::Calm, "detected_in_time"),
        Mutation::HastySuspicion => (Scene::Calm, "undisturbed_alive"),
        Mutation::NobodyConfirms => (Scene::Calm, "detected_in_time"),
        Mutation::SuspectLowers => (Scene::Byzantine, "incarnation_monotone"),
        Mutation::StuckProbe => (Scene::Calm, "detected_in_time"),
        Mutation::NoIndirect => (Scene::Calm, "reached_is_unsuspected"),
        Mutation::SilentGossip => (Scene::Calm, "news_in_time"),
        Mutation::NeverReaps => (Scene::Calm, "reaped_in_time"),
        Mutation::MergeNothing => (Scene::Storm, "no_false_failure"),
        Mutation::NamesMove => (Scene::Byzantine, "address_holds"),
        Mutation::KeepsOldNews => (Scene::Byzantine, "bounded"),
        Mutation::ClockFallsBack => (Scene::Serf, "clock_monotone"),
        Mutation::ClockLost => (Scene::Serf, "clock_monotone"),
        Mutation::EventTwice => (Scene::Serf, "event_at_most_once"),
        Mutation::EventKeptBack => (Scene::Serf, "event_at_least_once"),
        Mutation::EventsLeftOut => (Scene::Serf, "event_at_least_once"),
        Mutation::DeathsIgnored => (Scene::Serf, "members_equal_table"),
        Mutation::UpdatesIgnored => (Scene::Serf, "members_equal_table"),
        Mutation::IntentLoop => (Scene::Serf, "intents_end"),
        Mutation::LeaveIsFailure => (Scene::Serf, "left_is_no_failure"),
        Mutation::SnapshotForgets => (Scene::Serf, "snapshot_replays"),
        Mutation::TombstonesForever => (Scene::Serf, "tombstones_end"),
        Mutation::AnswersTwice => (Scene::Serf, "answers_once"),
    }
}

fn run(scene: Scene, seed: u64, bug: Option<Mutation>) -> Vec<Violation> {
    let cluster = |nodes| {
        let mut cluster = ClusterSpec::lan(nodes, seed);
        cluster.config.mutation = bug;
        cluster
    };
    let found = match scene {
        Scene::Storm => {
            let mut swarm = Swarm::new(cluster(16));
            swarm.fault_time = Duration::from_secs(60);
            swarm.recovery_max = Duration::from_secs(120);
            swarm.run().violations
        }
        Scene::Calm => Swarm::calm(cluster(16)).run().violations,
        Scene::Byzantine => Swarm::byzantine(cluster(12)).run().violations,
        Scene::Serf => {
            let mut swarm = SerfSwarm::new(8, seed);
            swarm.mutation = bug;
            swarm.run()
        }
    };
    if std::env::var_os("SIM_SHOW").is_some() {
        let mut rules: Vec<_> = found.iter().map(|found| found.rule).collect();
        rules.sort_unstable();
        rules.dedup();
        let first = found.first().map(ToString::to_string).unwrap_or_default();
        eprintln!("{scene:?} {bug:?} seed {seed}: {rules:?} {first}");
    }
    found
}

/// The first seed under which the bug breaks its rule.
fn detected(bug: Mutation) -> Result<u64, String> {
    let (scene, rule) = expected(bug);
    let detected = |seed: &u64| run(scene, *seed, Some(bug)).iter().any(|found| found.rule == rule);
    SEEDS.into_iter().find(detected).ok_or(format!("{bug:?} survives {rule} ({scene:?})"))
}

#[test]
fn every_bug_breaks_the_rule_that_names_it() {
    let only = std::env::var("SIM_BUG").ok();
    let wanted = |bug: &Mutation| only.as_ref().is_none_or(|name| format!("{bug:?}") == *name);
    let bugs: Vec<Mutation> = Mutation::ALL.iter().copied().filter(wanted).collect();
    assert!(only.is_some() || bugs.len() >= 15, "{} bugs", bugs.len());
    let survivors: Vec<String> = in_parallel(&bugs, |bug| {
        let (scene, rule) = expected(*bug);
        match detected(*bug) {
            Ok(seed) => {
                eprintln!("| `{bug:?}` | {scene:?} | `{rule}` | {seed} |");
                None
            }
            Err(survivor) => Some(survivor),
        }
    });
    assert!(survivors.is_empty(), "{survivors:#?}");
}

#[test]
fn without_a_bug_no_rule_is_broken() {
    let runs: Vec<_> = SCENES.iter().flat_map(|scene| SEEDS.map(|seed| (*scene, seed))).collect();
    let broken: Vec<Broken> = in_parallel(&runs, |(scene, seed)| {
        let found = run(*scene, *seed, None);
        (!found.is_empty()).then_some(Broken { scene: *scene, seed: *seed, found })
    });
    assert!(broken.is_empty(), "{broken:#?}");
}

struct Broken {
    scene: Scene,
    seed: u64,
    found: Vec<Violation>,
}

impl fmt::Debug for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:?}, SEED={}: {} violations", self.scene, self.seed, self.found.len())?;
        self.found.iter().take(3).try_for_each(|found| writeln!(f, "  {found}"))
    }
}

/// Does the work in as many threads as there are cores; keeps what it gives.
fn in_parallel<T: Sync, R: Send>(items: &[T], work: impl Fn(&T) -> Option<R> + Sync) -> Vec<R> {
    let (next, results) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let threads = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(item) = items.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if let Some(result) = work(item) {
                        results.lock().expect("no worker has panicked").push(result);
                    }
                }
            });
        }
    });
    results.into_inner().expect("no worker has panicked")
}
