//! The experiments of the Lifeguard paper (Dadgar, Phillips, Currey: "Lifeguard: SWIM-ing with
//! Situational Awareness", arXiv 1707.00788): false positives and detection times of SWIM with
//! none, each and all of the three extensions, and of all with `fast_detection`.

use std::time::Duration;

use super::{ClusterSpec, Counters, ObservationKind, SwimNode, World};
use crate::{base::Rng, swim::Config};

/// Which of Lifeguard's extensions are enabled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extensions {
    /// None.
    Swim,
    /// Local health awareness of the probe interval.
    LhaProbe,
    /// Suspicion that starts long and shrinks with confirmations.
    LhaSuspicion,
    /// The suspicion is piggybacked on the ping.
    Buddy,
    /// All.
    Lifeguard,
    /// All, and what ruserf adds to them with `fast_detection`.
    Fast,
}

impl Extensions {
    /// All, in the order of the paper's tables; ours is the last.
    pub const ALL: [Self; 6] =
        [Self::Swim, Self::LhaProbe, Self::LhaSuspicion, Self::Buddy, Self::Lifeguard, Self::Fast];

    /// Name in the paper; of ours, that of the setting.
    pub fn name(self) -> &'static str {
        match self {
            Self::Swim => "SWIM",
            Self::LhaProbe => "LHA-Probe",
            Self::LhaSuspicion => "LHA-Suspicion",
            Self::Buddy => "Buddy System",
            Self::Lifeguard => "Lifeguard",
            Self::Fast => "fast_detection",
        }
    }

    /// The settings of an experiment with suspicion factors `alpha` and `beta`.
    pub fn config(self, alpha: u32, beta: u32) -> Config {
        let all = matches!(self, Self::Lifeguard | Self::Fast);
        Config {
            suspicion_mult: alpha,
            suspicion_max_timeout_mult: beta,
            lha_probe: all || self == Self::LhaProbe,
            lha_suspicion: all || self == Self::LhaSuspicion,
            buddy_system: all || self == Self::Buddy,
            fast_detection: self == Self::Fast,
            ..Config::lan("template")
        }
    }
}

/// Kind of disturbance of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Anomaly {
    /// Its timers run but its packets wait, incoming and outgoing; as in the paper.
    BlockedIo,
    /// Its process is stopped, as by SIGSTOP.
    Stopped,
}

/// One run: `count` nodes are disturbed for `length`, either once or repeatedly with `pause`
/// between.
#[derive(Clone, Copy, Debug)]
pub struct Run {
    /// Which extensions.
    pub extensions: Extensions,
    /// Suspicion factor α.
    pub alpha: u32,
    /// Suspicion factor β.
    pub beta: u32,
    /// Number of nodes; 128 in the paper.
    pub nodes: u32,
    /// C: number of nodes disturbed at the same time.
    pub count: u32,
    /// D: length of an anomaly.
    pub length: Duration,
    /// I: time between anomalies; `None`: only one anomaly.
    pub pause: Option<Duration>,
    /// Kind of anomaly.
    pub anomaly: Anomaly,
    /// Time after the quiet start; the paper's runs last 120 s.
    pub time: Duration,
    /// Seed.
    pub seed: u64,
}

/// Results of a run.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// FP: failures of healthy nodes, raised anywhere.
    pub false_positives: u64,
    /// FP-: those of them reported by healthy nodes.
    pub at_healthy: u64,
    /// For each disturbed node that was failed: time from the anomaly's start until the first
    /// healthy node reported it.
    pub first_detection: Vec<Duration>,
    /// The same until every healthy node had reported it.
    pub full_detection: Vec<Duration>,
    /// Traffic of the whole run.
    pub traffic: Counters,
}

impl Run {
    /// Performs the run.
    pub fn run(&self) -> Outcome {
        let config = self.extensions.config(self.alpha, self.beta);
        let spec = ClusterSpec::with_config(self.nodes, self.seed, config);
        let mut world = spec.build();
        world.run_for(QUIET_START);
        world.take_observations();
        let mut order: Vec<u32> = (0..self.nodes).collect();
        Rng::from_u64(self.seed ^ 0x11fe).shuffle(&mut order);
        let sick: Vec<u32> = order.into_iter().take(self.count as usize).collect();
        let start = world.now();
        let end = start + self.time;
        while world.now() < end {
            for node in &sick {
                self.disturb(&mut world, *node);
            }
            world.run_until((world.now() + self.length).min(end));
            for node in &sick {
                world.resume(*node);
            }
            let next = self.pause.map_or(end, |pause| world.now() + pause);
            world.run_until(next.min(end));
        }
        self.evaluate(&mut world, &sick, start.as_nanos())
    }

    fn disturb(&self, world: &mut World<SwimNode>, node: u32) {
        match self.anomaly {
            Anomaly::BlockedIo => world.block_io(node),
            Anomaly::Stopped => world.pause(node),
        }
    }

    fn evaluate(&self, world: &mut World<SwimNode>, sick: &[u32], start: u64) -> Outcome {
        let mut outcome = Outcome { traffic: world.counters_total(), ..Outcome::default() };
        let is_sick = |node| sick.contains(&node);
        let mut seen_by = vec![Vec::new(); self.nodes as usize];
        for seen in world.take_observations() {
            if seen.kind != ObservationKind::Failed {
                continue;
            }
            if !is_sick(seen.subject) {
                outcome.false_positives += 1;
                outcome.at_healthy += u64::from(!is_sick(seen.observer));
            } else if !is_sick(seen.observer) {
                seen_by[seen.subject as usize].push((seen.observer, seen.at - start));
            }
        }
        let healthy = self.nodes as usize - sick.len();
        for seen in seen_by.iter_mut().filter(|seen| !seen.is_empty()) {
            outcome.first_detection.push(Duration::from_nanos(seen[0].1));
            let mut observers: Vec<u32> = Vec::new();
            for (observer, at) in seen.iter() {
                if !observers.contains(observer) {
                    observers.push(*observer);
                    if observers.len() == healthy {
                        outcome.full_detection.push(Duration::from_nanos(*at));
                    }
                }
            }
        }
        outcome
    }
}

/// The paper's numbers of concurrent anomalies.
pub const COUNTS: [u32; 9] = [1, 4, 8, 12, 16, 20, 24, 28, 32];
/// The paper's lengths of an anomaly, in milliseconds.
pub const LENGTHS_MS: [u64; 6] = [128, 512, 2048, 8192, 16384, 32768];
/// The paper's times between anomalies, in milliseconds.
pub const PAUSES_MS: [u64; 8] = [1, 4, 16, 64, 256, 1024, 4096, 16384];

/// False positives of the paper (all runs, α = 5, β = 6): configuration, FP, FP-.
pub const PAPER_FALSE_POSITIVES: [(Extensions, u64, u64); 5] = [
    (Extensions::Swim, 339_002, 1_326),
    (Extensions::LhaProbe, 229_574, 436),
    (Extensions::LhaSuspicion, 10_174, 89),
    (Extensions::Buddy, 318_935, 591),
    (Extensions::Lifeguard, 5_193, 25),
];

/// Message load of the paper: configuration, messages and bytes in percent of SWIM's.
pub const PAPER_LOAD: [(Extensions, f64, f64); 5] = [
    (Extensions::Swim, 100.0, 100.0),
    (Extensions::LhaProbe, 98.46, 90.03),
    (Extensions::LhaSuspicion, 111.31, 106.52),
    (Extensions::Buddy, 100.07, 99.01),
    (Extensions::Lifeguard, 110.59, 97.97),
];

const QUIET_START: Duration = Duration::from_secs(15);
