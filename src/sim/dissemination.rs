//! Measures how fast news spreads and failures are detected in a healthy cluster.

use std::time::{Duration, Instant as WallInstant};

use super::{ClusterSpec, Counters, ObservationKind, SwimNode, World, theory};
use crate::base::Instant;

/// Activity during the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Happening {
    /// None: measures the cost of the protocol, and false alarms.
    Steady,
    /// Now and then a node changes its meta.
    Updates,
    /// Now and then a node crashes.
    Crashes,
}

/// A run of a cluster with an activity.
#[derive(Clone)]
pub struct Experiment {
    /// The cluster.
    pub cluster: ClusterSpec,
    /// Duration of the run.
    pub time: Duration,
    /// Activity.
    pub happening: Happening,
    /// Time between two pieces of news.
    pub pause: Duration,
}

/// One piece of news.
#[derive(Clone, Debug)]
pub struct News {
    /// The node that the news is about.
    pub subject: u32,
    /// Time of the event.
    pub at: Instant,
    /// Delay after which each node learnt it, sorted.
    pub learnt: Vec<Duration>,
    /// Number of nodes that should learn it.
    pub audience: usize,
}

impl News {
    /// Time until this share of the audience had learnt it; `None` if it never had.
    pub fn reached(&self, share: f64) -> Option<Duration> {
        let place = (self.audience as f64 * share).ceil().max(1.0) as usize;
        self.learnt.get(place - 1).copied()
    }
}

/// Results of a run.
#[derive(Clone, Debug)]
pub struct Measured {
    /// The news, by time.
    pub news: Vec<News>,
    /// Failures reported for running nodes.
    pub false_failures: u64,
    /// Traffic of all nodes together.
    pub traffic: Counters,
    /// Virtual time of the run.
    pub time: Duration,
    /// Number of nodes.
    pub nodes: u32,
    /// Number of events handled.
    pub events: u64,
    /// Real time taken to build the cluster.
    pub wall_setup: Duration,
    /// Real time taken by the run.
    pub wall_run: Duration,
}

impl Measured {
    /// Bytes that a node sent each second to nodes of other zones: gossip, other datagrams,
    /// streams.
    pub fn zone_bytes_per_second(&self) -> [f64; 3] {
        let span = self.time.as_secs_f64().max(1e-9) * f64::from(self.nodes.max(1));
        self.traffic.group_bytes_sent.map(|bytes| bytes as f64 / span)
    }

    /// Bytes that a node sent each second: datagrams, streams.
    pub fn bytes_per_second(&self) -> (f64, f64) {
        let span = self.time.as_secs_f64().max(1e-9) * f64::from(self.nodes.max(1));
        (self.traffic.bytes_sent as f64 / span, self.traffic.stream_bytes_sent as f64 / span)
    }
}

impl Experiment {
    /// Runs the experiment; `progress` is called with the virtual time now and then.
    pub fn run(&self, mut progress: impl FnMut(Duration)) -> Measured {
        let started = WallInstant::now();
        let mut world = self.cluster.build();
        let wall_setup = started.elapsed();
        let started = WallInstant::now();
        let mut news: Vec<News> = Vec::new();
        let mut gone = vec![false; self.cluster.nodes as usize];
        let mut false_failures = 0;
        let end = Instant::ZERO + self.time;
        // In the middle of a gossip interval, at a phase that differs between runs of the same
        // length.
        let mut next_news = Instant::ZERO + super::setup::WARM_UP;
        while world.now() < end {
            let step = (world.now() + PROGRESS_STEP).min(end).min(match self.happening {
                Happening::Steady => end,
                Happening::Updates | Happening::Crashes => next_news.max(world.now()),
            });
            world.run_until(step);
            false_failures += collect(&mut world, &mut news, &gone);
            if self.happening != Happening::Steady && step == next_news && step < end {
                if let Some(item) = self.happen(&mut world, &mut gone, news.len()) {
                    news.push(item);
                }
                next_news += self.pause;
            }
            progress(world.now().since(Instant::ZERO));
        }
        for item in &mut news {
            item.learnt.sort_unstable();
        }
        Measured {
            news,
            false_failures,
            traffic: world.counters_total(),
            time: self.time,
            nodes: self.cluster.nodes,
            events: world.events_handled(),
            wall_setup,
            wall_run: started.elapsed(),
        }
    }

    fn happen(&self, world: &mut World<SwimNode>, gone: &mut [bool], count: usize) -> Option<News> {
        let nodes = self.cluster.nodes;
        // A fixed order of the nodes, with a step that is coprime to most sizes.
        let subject = (count as u64 * 7919 + self.cluster.seed) % u64::from(nodes.max(1));
        let subject = subject as u32;
        if std::mem::replace(&mut gone[subject as usize], self.happening == Happening::Crashes) {
            return None;
        }
        let audience = gone.iter().filter(|gone| !**gone).count();
        let audience = match self.happening {
            Happening::Crashes => {
                world.crash(subject, true);
                audience
            }
            Happening::Updates | Happening::Steady => {
                let meta = world.now().as_nanos().to_be_bytes();
                world.with_node(subject, |node, now| node.start_update(now, &meta));
                audience - 1
            }
        };
        Some(News { subject, at: world.now(), learnt: Vec::new(), audience })
    }
}

/// Assigns observations to the news; returns the number of false failures.
fn collect(world: &mut World<SwimNode>, news: &mut [News], gone: &[bool]) -> u64 {
    let mut false_failures = 0;
    for seen in world.take_observations() {
        match seen.kind {
            ObservationKind::Failed if gone.get(seen.subject as usize) != Some(&true) => {
                false_failures += 1;
            }
            ObservationKind::Failed | ObservationKind::Updated => {
                if seen.subject == seen.observer {
                    continue;
                }
                let last = news.iter_mut().rev().find(|item| item.subject == seen.subject);
                if let Some(item) = last {
                    item.learnt.push(Instant::from_nanos(seen.at).since(item.at));
                }
            }
            ObservationKind::Joined | ObservationKind::Left | ObservationKind::Conflict => {}
        }
    }
    false_failures
}

/// Theoretical time to reach a share, from the first announcement, for comparison.
pub fn theory_for(cluster: &ClusterSpec, happening: Happening, share: f64) -> Duration {
    let spread = theory::spread_time(&cluster.config, cluster.nodes as usize, share);
    match happening {
        Happening::Crashes => theory::detection(&cluster.config, cluster.nodes as usize) + spread,
        Happening::Updates | Happening::Steady => spread,
    }
}

const PROGRESS_STEP: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes between zones, and the median time until 99 % have learnt.
    fn zones(zone_gossip: bool) -> (u64, f64) {
        let mut cluster = ClusterSpec { zones: 3, ..ClusterSpec::lan(180, 7) };
        cluster.config.zones = zone_gossip;
        let (time, pause) = (Duration::from_secs(20), Duration::from_millis(500));
        let measured =
            Experiment { cluster, time, happening: Happening::Updates, pause }.run(|_| ());
        assert_eq!(measured.false_failures, 0);
        // What happens at the end has no time to spread.
        let end = Instant::ZERO + (time - Duration::from_secs(8));
        let settled = measured.news.iter().filter(|news| news.at < end);
        let mut times: Vec<_> =
            settled.map(|news| news.reached(0.99).expect("nearly all learn it")).collect();
        times.sort_unstable();
        let bytes = measured.traffic.group_bytes_sent.iter().sum();
        (bytes, times[times.len() / 2].as_secs_f64())
    }

    /// Goal: shared pages change what a run costs, and nothing else.
    #[test]
    fn shared_pages_give_the_same_run_as_the_codec() {
        for happening in [Happening::Updates, Happening::Crashes] {
            let [encoded, shared] = [false, true].map(|share_pages| {
                let mut cluster = ClusterSpec::lan(150, 3);
                cluster.config.share_pages = share_pages;
                cluster.config.push_pull_interval = Duration::from_secs(3);
                let (time, pause) = (Duration::from_secs(75), Duration::from_secs(2));
                Experiment { cluster, time, happening, pause }.run(|_| ())
            });
            assert!(shared.traffic.streams > 500 && shared.news.len() > 20);
            assert_eq!(format!("{:?}", shared.traffic), format!("{:?}", encoded.traffic));
            assert_eq!(format!("{:?}", shared.news), format!("{:?}", encoded.news));
            assert_eq!(shared.events, encoded.events);
        }
    }

    /// Goal: zone-aware gossip sends a third of the bytes between zones at most (at 3 × 1,000 nodes
    /// it sends less, as probes are a smaller part there), and takes at most 1.3 times as long.
    #[test]
    fn gossip_by_zones_saves_bytes_between_them_and_little_time() {
        let (bytes, time) = zones(false);
        let (zone_bytes, zone_time) = zones(true);
        let share = zone_bytes as f64 / bytes as f64;
        assert!(share < 0.35, "{share} of {bytes} bytes");
        assert!(zone_time < 1.3 * time, "{zone_time} s, {time} s without");
    }
}
