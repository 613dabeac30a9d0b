//! Fault schedules for a cluster, drawn from a seed; each seed gives another mixture (swarm
//! testing).

use std::time::Duration;

use super::{Link, network::Traffic};
use crate::base::Rng;

/// A fault.
#[derive(Clone, Debug, PartialEq)]
pub enum Fault {
    /// Kills a process, or its machine.
    Crash {
        /// The node.
        node: u32,
        /// Whether the machine is gone, too, so that nothing answers at the address.
        host: bool,
    },
    /// Restarts a crashed node with its old name and joins it.
    Restart {
        /// The node.
        node: u32,
    },
    /// Stops a process like SIGSTOP.
    Pause {
        /// The node.
        node: u32,
    },
    /// The anomaly of the Lifeguard paper: timers run, packets do not.
    Block {
        /// The node.
        node: u32,
    },
    /// Ends a pause or a block.
    Resume {
        /// The node.
        node: u32,
    },
    /// Steps a clock forward.
    StepClock {
        /// The node.
        node: u32,
        /// The size of the step.
        by: Duration,
    },
    /// Cuts these nodes off from the rest.
    Partition {
        /// The minority.
        nodes: Vec<u32>,
        /// Whether only packets sent by the minority are lost (true), or both directions.
        one_way: bool,
        /// The traffic that is lost.
        traffic: Traffic,
    },
    /// Ends the partition.
    Heal,
    /// Changes all links.
    Link(Link),
    /// Loses a share of one node's datagrams.
    NodeLoss {
        /// The node.
        node: u32,
        /// Share of datagrams; 0 ends the loss.
        loss: f64,
    },
    /// Leaves gracefully, and ends the process three seconds later.
    Leave {
        /// The node.
        node: u32,
    },
    /// Changes the meta.
    Update {
        /// The node.
        node: u32,
    },
    /// Separates two nodes from each other; all others still reach both.
    CutPair {
        /// The nodes.
        pair: [u32; 2],
        /// The traffic that is lost between them.
        traffic: Traffic,
    },
    /// An adversary forges datagrams from a grammar, see `forge.rs`.
    Forge {
        /// The receiver.
        node: u32,
        /// Number of datagrams at once.
        datagrams: u32,
    },
}

/// Faults by time, and the initial link.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The link at the start.
    pub link: Link,
    /// Time since the start and the fault, by time.
    pub steps: Vec<(Duration, Fault)>,
}

impl Plan {
    /// Draws a plan: the kinds of fault, their frequency, and the affected nodes.
    pub fn draw(seed: u64, nodes: u32, time: Duration) -> Self {
        let mut rng = Rng::from_u64(seed ^ 0x5afe);
        let mut kinds: Vec<Kind> = KINDS.iter().copied().filter(|_| rng.below(2) == 1).collect();
        if kinds.is_empty() {
            kinds.push(KINDS[rng.below(KINDS.len())]);
        }
        let mut draw = Draw {
            link: draw_link(&mut rng),
            gone: Vec::new(),
            busy: vec![Duration::ZERO; nodes as usize],
            cut_until: Duration::ZERO,
            steps: Vec::new(),
            nodes,
            end: time,
        };
        let link = draw.link;
        let gap = 0.2 + 5.0 * rng.unit();
        let mut at = Duration::from_secs_f64(gap * rng.unit());
        while at < time {
            let kind = kinds[rng.below(kinds.len())];
            draw.add(&mut rng, at, kind);
            at += Duration::from_secs_f64(gap * -(1.0 - rng.unit()).ln());
        }
        draw.steps.sort_by_key(|(at, _)| *at);
        Self { link, steps: draw.steps }
    }
}

impl Plan {
    /// Draws a plan with only those faults that excuse no other node: single crashes, restarts,
    /// leaves, updates, pairs of nodes that do not reach each other, and stops shorter than the
    /// least suspicion, which is shorter in a cluster with `fast_detection`.
    pub fn draw_calm(seed: u64, nodes: u32, time: Duration, fast_detection: bool) -> Self {
        let mut rng = Rng::from_u64(seed ^ 0xca1a);
        let link = Link {
            latency: log_uniform(&mut rng, 0.000_1, 0.005),
            jitter: log_uniform(&mut rng, 0.000_01, 0.002),
            loss: 0.005 * rng.unit(),
            duplication: 0.05 * rng.unit(),
            ..Link::default()
        };
        let mut order: Vec<u32> = (0..nodes).collect();
        rng.shuffle(&mut order);
        // Faults affect only the first quarter; the others show what undisturbed nodes may expect.
        let (touched, still) = order.split_at(nodes as usize / 4);
        let (stopped, still) = still.split_at(still.len() / 4);
        let longest_stop = if fast_detection { SHORTER_STOP } else { SHORT_STOP };
        let mut steps = Vec::new();
        for (place, node) in touched.iter().copied().enumerate() {
            // The first one crashes and stays down, so that its reaping is observed.
            let at = time.mul_f64(0.6 * (place as f64 + rng.unit()) / touched.len() as f64);
            let crash = Fault::Crash { node, host: rng.below(2) == 1 };
            match if place == 0 { 0 } else { rng.below(3) } {
                0 => steps.push((at, crash)),
                1 => steps.push((at, Fault::Leave { node })),
                _ => {
                    steps.push((at, crash));
                    steps.push((at + log_uniform(&mut rng, 0.1, 20.0), Fault::Restart { node }));
                }
            }
        }
        for (place, node) in stopped.iter().copied().enumerate() {
            let at = time.mul_f64((place as f64 + rng.unit()) / (stopped.len() + 1) as f64);
            steps.push((at, Fault::Pause { node }));
            let stop = longest_stop.mul_f64(0.7 + 0.3 * rng.unit());
            steps.push((at + stop, Fault::Resume { node }));
        }
        for _ in 0..(time.as_secs() / 6).max(1) {
            let node = still[rng.below(still.len())];
            steps.push((time.mul_f64(rng.unit()), Fault::Update { node }));
        }
        let mut at = time.mul_f64(0.1);
        let pairs = time.mul_f64(0.9);
        while at < pairs {
            let first = rng.below(still.len());
            let second = (first + 1 + rng.below(still.len() - 1)) % still.len();
            let traffic = [Traffic::All, Traffic::Udp][rng.below(2)];
            let until = (at + Duration::from_secs(20)).min(time);
            steps.push((at, Fault::CutPair { pair: [still[first], still[second]], traffic }));
            steps.push((until, Fault::Heal));
            at = until + Duration::from_secs(1);
        }
        steps.sort_by_key(|(at, _)| *at);
        Self { link, steps }
    }

    /// Draws a plan with an adversary, node 0, which is dead except for the datagrams forged in its
    /// place.
    pub fn draw_byzantine(seed: u64, nodes: u32, time: Duration) -> Self {
        let mut rng = Rng::from_u64(seed ^ 0xb12a);
        let mut steps = vec![(Duration::ZERO, Fault::Crash { node: 0, host: false })];
        while steps.len() < time.as_secs() as usize * FORGED_PER_SECOND {
            let (at, node) = (time.mul_f64(rng.unit()), 1 + rng.below(nodes as usize - 1) as u32);
            let burst = rng.below(FORGED_PER_SECOND * 20) == 0;
            let datagrams = if burst { FORGED_BURST } else { 1 };
            steps.push((at, Fault::Forge { node, datagrams }));
            if rng.below(FORGED_PER_SECOND * 5) == 0 {
                steps.push((at, Fault::Update { node }));
            }
        }
        steps.sort_by_key(|(at, _)| *at);
        Self { link: Link::default(), steps }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Crash,
    Churn,
    Pause,
    Block,
    StepClock,
    Partition,
    Weather,
    NodeLoss,
    Leave,
    Update,
}

struct Draw {
    link: Link,
    /// Nodes that do not return.
    gone: Vec<u32>,
    /// Time until which a node is affected by a fault.
    busy: Vec<Duration>,
    cut_until: Duration,
    steps: Vec<(Duration, Fault)>,
    nodes: u32,
    end: Duration,
}

impl Draw {
    fn add(&mut self, rng: &mut Rng, at: Duration, kind: Kind) {
        let Some(node) = self.idle_node(rng, at) else { return };
        let steps = match kind {
            Kind::Crash | Kind::Leave => {
                if self.gone.len() as u32 >= self.nodes / 4 {
                    return;
                }
                self.gone.push(node);
                self.busy[node as usize] = Duration::MAX;
                let host = rng.below(2) == 1;
                let fault = match kind {
                    Kind::Leave => Fault::Leave { node },
                    _ => Fault::Crash { node, host },
                };
                vec![(at, fault)]
            }
            Kind::Churn => {
                let back = at + log_uniform(rng, 0.05, 60.0);
                vec![
                    (at, Fault::Crash { node, host: rng.below(2) == 1 }),
                    (back, Fault::Restart { node }),
                ]
            }
            Kind::Pause => {
                let back = at + log_uniform(rng, 0.1, 60.0);
                vec![(at, Fault::Pause { node }), (back, Fault::Resume { node })]
            }
            Kind::Block => {
                let back = at + log_uniform(rng, 0.1, 60.0);
                vec![(at, Fault::Block { node }), (back, Fault::Resume { node })]
            }
            Kind::StepClock => {
                vec![(at, Fault::StepClock { node, by: log_uniform(rng, 0.01, 3600.0) })]
            }
            Kind::Partition => {
                if at < self.cut_until {
                    return;
                }
                let size = 1 + rng.below((self.nodes as usize / 2).max(1));
                let nodes = (0..size).map(|_| rng.below(self.nodes as usize) as u32).collect();
                let traffic =
                    [Traffic::All, Traffic::All, Traffic::Udp, Traffic::Tcp][rng.below(4)];
                self.cut_until = at + log_uniform(rng, 0.2, 90.0);
                let one_way = rng.below(3) == 0;
                vec![
                    (at, Fault::Partition { nodes, one_way, traffic }),
                    (self.cut_until, Fault::Heal),
                ]
            }
            Kind::Weather => {
                let back = at + log_uniform(rng, 0.5, 20.0);
                let bad = Link { loss: 0.5 * rng.unit(), ..draw_link(rng) };
                vec![(at, Fault::Link(bad)), (back, Fault::Link(self.link))]
            }
            Kind::NodeLoss => {
                let back = at + log_uniform(rng, 0.5, 60.0);
                vec![
                    (at, Fault::NodeLoss { node, loss: rng.unit() }),
                    (back, Fault::NodeLoss { node, loss: 0.0 }),
                ]
            }
            Kind::Update => vec![(at, Fault::Update { node })],
        };
        if let Some((back, _)) = steps.last()
            && self.busy[node as usize] != Duration::MAX
        {
            self.busy[node as usize] = *back;
        }
        self.steps.extend(steps.into_iter().map(|(at, fault)| (at.min(self.end), fault)));
    }

    fn idle_node(&self, rng: &mut Rng, at: Duration) -> Option<u32> {
        (0..20)
            .map(|_| rng.below(self.nodes as usize))
            .find(|n| self.busy[*n] <= at)
            .map(|n| n as u32)
    }
}

fn draw_link(rng: &mut Rng) -> Link {
    let sometimes =
        |rng: &mut Rng, max: f64| if rng.below(2) == 0 { 0.0 } else { max * rng.unit() };
    Link {
        latency: log_uniform(rng, 0.000_1, 0.05),
        jitter: log_uniform(rng, 0.000_01, 0.05),
        loss: sometimes(rng, 0.05),
        duplication: sometimes(rng, 0.05),
        reordering: sometimes(rng, 0.1),
        reorder_delay: log_uniform(rng, 0.001, 2.0),
        ..Link::default()
    }
}

fn log_uniform(rng: &mut Rng, min: f64, max: f64) -> Duration {
    Duration::from_secs_f64(min * (max / min).powf(rng.unit()))
}

const KINDS: [Kind; 10] = [
    Kind::Crash,
    Kind::Churn,
    Kind::Pause,
    Kind::Block,
    Kind::StepClock,
    Kind::Partition,
    Kind::Weather,
    Kind::NodeLoss,
    Kind::Leave,
    Kind::Update,
];
/// Longest stop after which no node may be declared dead: it is shorter than the least suspicion.
const SHORT_STOP: Duration = Duration::from_millis(3_500);
/// The same where evidence shortens a suspicion to three fifths.
const SHORTER_STOP: Duration = Duration::from_millis(2_100);
/// Size of an adversary's occasional bursts of datagrams.
const FORGED_BURST: u32 = 200;
/// Rate of an adversary's datagrams.
const FORGED_PER_SECOND: usize = 40;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_one_plan_and_seeds_differ() {
        let time = Duration::from_secs(120);
        let (a, b, c) = (Plan::draw(1, 50, time), Plan::draw(1, 50, time), Plan::draw(2, 50, time));
        assert_eq!(a.steps, b.steps);
        assert_ne!(a.steps, c.steps);
    }

    #[test]
    fn plans_keep_a_majority_and_end_what_they_begin() {
        let mut total = 0;
        for seed in 0..200 {
            let plan = Plan::draw(seed, 20, Duration::from_secs(60));
            total += plan.steps.len();
            assert!(plan.steps.is_sorted_by_key(|(at, _)| *at));
            let (mut gone, mut cuts, mut stopped) = (0, 0, 0);
            for (_, fault) in &plan.steps {
                match fault {
                    Fault::Crash { .. } | Fault::Leave { .. } => gone += 1,
                    Fault::Restart { .. } => gone -= 1,
                    Fault::Partition { .. } => cuts += 1,
                    Fault::Heal => cuts -= 1,
                    Fault::Pause { .. } | Fault::Block { .. } => stopped += 1,
                    Fault::Resume { .. } => stopped -= 1,
                    _ => {}
                }
            }
            assert!((0..=5).contains(&gone), "seed {seed}: {gone} of 20 gone");
            assert_eq!((cuts, stopped), (0, 0), "seed {seed}");
        }
        assert!(total > 1000, "{total} faults in 200 plans");
    }
}
