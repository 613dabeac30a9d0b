//! Measures how a cluster forms when all nodes start and join one of them within a second.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant as WallInstant},
};

use super::{ClusterSpec, Counters, Observation, ObservationKind, SwimNode, World};
use crate::base::Instant;

/// A run in which all nodes but the first start within a second, and join the first. Who is refused
/// or gets no answer tries again a second later, as an agent does that a supervisor restarts.
#[derive(Clone)]
pub struct JoinStorm {
    /// The cluster.
    pub cluster: ClusterSpec,
    /// Longest virtual time.
    pub time_max: Duration,
    /// Bytes per second of all streams that one node sends; without it the limits of the node that
    /// all join would have nothing to do, since each answer would leave at once.
    pub uplink: u64,
}

/// Results of a run.
#[derive(Clone, Debug)]
pub struct Formed {
    /// Number of nodes.
    pub nodes: u32,
    /// Joins that were refused or not answered, and were repeated.
    pub failed_joins: u64,
    /// Time until the last node had joined.
    pub joined: Option<Duration>,
    /// For each number of nodes, from one on, the time after which so many at once considered all
    /// nodes alive.
    pub agreed: Vec<Duration>,
    /// Failures reported of nodes, all of which ran.
    pub false_failures: u64,
    /// Most broadcasts queued by one node, looked at now and then.
    pub queued_max: usize,
    /// Bytes sent on streams by the node that all joined.
    pub seed_bytes: u64,
    /// Traffic of all nodes together.
    pub traffic: Counters,
    /// Virtual time of the run: until all had joined and agreed.
    pub time: Duration,
    /// Number of events handled.
    pub events: u64,
    /// Real time taken.
    pub wall: Duration,
}

impl Formed {
    /// Time until this share of the nodes considered all nodes alive; `None` if it never did.
    pub fn reached(&self, share: f64) -> Option<Duration> {
        let place = (f64::from(self.nodes) * share).ceil().max(1.0) as usize;
        self.agreed.get(place - 1).copied()
    }

    /// Whether all nodes considered all nodes alive.
    pub fn is_whole(&self) -> bool {
        self.agreed.len() == self.nodes as usize
    }
}

impl JoinStorm {
    /// Performs the run; `progress` is called with the virtual time and the number of nodes that
    /// consider all nodes alive.
    pub fn run(&self, mut progress: impl FnMut(Duration, usize)) -> Formed {
        let started = WallInstant::now();
        let nodes = self.cluster.nodes;
        let mut world = self.cluster.build_empty();
        world.network_mut().set_uplink(self.uplink);
        let mut joiners = Joiners::default();
        let mut views = Views::new(nodes);
        let end = Instant::ZERO + self.time_max;
        let mut next_look = Instant::ZERO;
        let mut queued_max = 0;
        while world.now() < end {
            joiners.start(&self.cluster, &mut world);
            joiners.look(&mut world);
            // A refused node may hear of all others from those that heard of it.
            let all_joined = world.len() == nodes && joiners.waiting.is_empty();
            if all_joined && views.agreed.len() == nodes as usize {
                break;
            }
            let step = if all_joined { 10 * STEP } else { STEP };
            world.run_until((world.now() + step).min(end));
            views.add(&world.take_observations());
            if world.now() >= next_look {
                next_look = world.now() + LOOK_INTERVAL;
                queued_max = queued_max.max(longest_queue(&world));
                progress(world.now().since(Instant::ZERO), views.whole);
            }
        }
        Formed {
            nodes,
            failed_joins: joiners.failed,
            joined: (world.len() == nodes && joiners.waiting.is_empty()).then_some(joiners.last),
            agreed: views.agreed,
            false_failures: views.false_failures,
            queued_max,
            seed_bytes: world.counters(0).stream_bytes_sent,
            traffic: world.counters_total(),
            time: world.now().since(Instant::ZERO),
            events: world.events_handled(),
            wall: started.elapsed(),
        }
    }
}

fn longest_queue(world: &World<SwimNode>) -> usize {
    let queued = |node| world.node(node).map_or(0, |node| node.engine().queued_broadcasts());
    (0..world.len()).map(queued).max().unwrap_or(0)
}

/// The nodes that have not joined yet.
#[derive(Default)]
struct Joiners {
    /// With the time of their next attempt; `None` while one is under way.
    waiting: BTreeMap<u32, Option<Instant>>,
    failed: u64,
    /// When the last of those that have joined had done so.
    last: Duration,
}

impl Joiners {
    /// Starts the nodes that are due: the first alone, the others evenly over [`START_TIME`].
    fn start(&mut self, cluster: &ClusterSpec, world: &mut World<SwimNode>) {
        let now = world.now();
        while world.len() < cluster.nodes
            && now >= Instant::ZERO + START_TIME * world.len() / cluster.nodes
        {
            let index = world.add(cluster.build_node(world.len(), 0, 0, now));
            if index > 0 {
                self.waiting.insert(index, Some(now));
            }
        }
    }

    /// Begins the attempts that are due, and notes how others ended.
    fn look(&mut self, world: &mut World<SwimNode>) {
        let (now, to) = (world.now(), world.address(0));
        self.waiting.retain(|node, next| {
            if next.is_none() {
                match world.with_node(*node, |node, _| node.take_ended()).flatten() {
                    None => {}
                    Some(Ok(())) => {
                        self.last = now.since(Instant::ZERO);
                        return false;
                    }
                    Some(Err(_)) => {
                        self.failed += 1;
                        *next = Some(now + RETRY_INTERVAL);
                    }
                }
            }
            if next.is_some_and(|next| next <= now) {
                world.with_node(*node, |node, now| node.start_push_pull(now, to, true));
                *next = None;
            }
            true
        });
    }
}

/// How many others each node considers alive.
struct Views {
    alive: Vec<u32>,
    /// Number of nodes that consider all nodes alive.
    whole: usize,
    agreed: Vec<Duration>,
    false_failures: u64,
}

impl Views {
    fn new(nodes: u32) -> Self {
        let alive = vec![0; nodes as usize];
        Self { alive, whole: 0, agreed: Vec::new(), false_failures: 0 }
    }

    fn add(&mut self, seen: &[Observation]) {
        let others = self.alive.len() as u32 - 1;
        for seen in seen.iter().filter(|seen| seen.observer != seen.subject) {
            let Some(alive) = self.alive.get_mut(seen.observer as usize) else { continue };
            match seen.kind {
                ObservationKind::Joined => {
                    *alive += 1;
                    self.whole += usize::from(*alive == others);
                }
                ObservationKind::Failed | ObservationKind::Left => {
                    self.whole -= usize::from(*alive == others);
                    *alive = alive.saturating_sub(1);
                    self.false_failures += 1;
                }
                ObservationKind::Updated | ObservationKind::Conflict => {}
            }
            if self.whole > self.agreed.len() {
                self.agreed.push(Duration::from_nanos(seen.at));
            }
        }
    }
}

const START_TIME: Duration = Duration::from_secs(1);
const RETRY_INTERVAL: Duration = Duration::from_secs(1);
/// Nodes that are due start, and joins that have failed are noticed, after each of them.
const STEP: Duration = Duration::from_millis(10);
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Mutation;

    fn storm(nodes: u32, uplink: u64) -> JoinStorm {
        JoinStorm { cluster: ClusterSpec::lan(nodes, 1), time_max: Duration::from_secs(90), uplink }
    }

    /// Goal: all nodes of a storm find each other, in one way with any number of threads.
    #[test]
    fn sixty_nodes_that_join_at_once_agree() {
        let mut storm = storm(60, 125_000_000);
        let formed = storm.run(|_, _| ());
        assert!(formed.is_whole(), "{formed:?}");
        assert_eq!((formed.failed_joins, formed.false_failures), (0, 0), "{formed:?}");
        let [half, all] = [0.5, 1.0].map(|share| formed.reached(share).unwrap());
        assert!(formed.joined.unwrap() >= START_TIME * 59 / 60 && half <= all, "{formed:?}");
        storm.cluster.threads = 2;
        assert_eq!(storm.run(|_, _| ()).agreed, formed.agreed);
    }

    /// Goal: what the test above says would not hold of nodes that do not agree.
    #[test]
    fn nodes_that_learn_nothing_never_agree() {
        let mut storm = storm(60, 125_000_000);
        storm.cluster.config.mutation = Some(Mutation::MergeNothing);
        storm.time_max = Duration::from_secs(10);
        let formed = storm.run(|_, _| ());
        assert!(formed.joined.is_some() && formed.agreed.is_empty(), "{formed:?}");
    }

    /// Goal: the seed answers at most 127 at once, and who is refused joins later.
    #[test]
    fn a_seed_on_a_slow_link_refuses_and_all_join_in_the_end() {
        let mut storm = storm(180, 50_000);
        storm.cluster.config.tcp_timeout = Duration::from_secs(60);
        let formed = storm.run(|_, _| ());
        assert!(formed.failed_joins > 0 && formed.joined.is_some(), "{formed:?}");
        assert!(formed.is_whole(), "{formed:?}");
    }
}
