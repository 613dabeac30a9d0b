//! Measures how often nodes that stop for a while are reported as failed.

use std::time::Duration;

use super::{ClusterSpec, Observation, ObservationKind, WARM_UP};
use crate::base::Instant;

/// A run of a cluster in which one node after another stops, as by SIGSTOP, and goes on.
#[derive(Clone)]
pub struct Stops {
    /// The cluster.
    pub cluster: ClusterSpec,
    /// How long a node stops.
    pub length: Duration,
    /// Time from the start of a stop to that of the next one; longer than `length`.
    pub pause: Duration,
    /// Duration of the run; each stop has its `pause` before the end.
    pub time: Duration,
}

/// Results of a run.
#[derive(Clone, Debug, Default)]
pub struct StopsMeasured {
    /// The stops, by time.
    pub stops: Vec<Stop>,
    /// Failures that were reported of other nodes, none of which stopped.
    pub false_failures: u64,
}

/// One stop of a node.
#[derive(Clone, Debug)]
pub struct Stop {
    /// The node that stopped.
    pub node: u32,
    /// When it stopped.
    pub at: Instant,
    /// Number of nodes that reported it as failed, while it stopped or later.
    pub reports: u32,
    /// Time from the stop to the first report.
    pub first: Option<Duration>,
}

impl StopsMeasured {
    /// Times from the start of a stop to its first report, sorted.
    pub fn reported(&self) -> Vec<Duration> {
        let mut times: Vec<_> = self.stops.iter().filter_map(|stop| stop.first).collect();
        times.sort_unstable();
        times
    }
}

impl Stops {
    /// Runs the cluster; `progress` is called with the virtual time after each stop.
    pub fn run(&self, mut progress: impl FnMut(Duration)) -> StopsMeasured {
        assert!(self.length < self.pause, "a stop ends before the next one");
        let mut world = self.cluster.build();
        let mut measured = StopsMeasured::default();
        world.run_for(WARM_UP);
        let mut left = self.time.saturating_sub(WARM_UP);
        while left >= self.pause {
            left -= self.pause;
            let count = measured.stops.len() as u32;
            // The nodes by turns, each time at another phase of the probe interval.
            let phase = self.cluster.config.probe_interval.mul_f64(f64::from(count % 16) / 16.0);
            let phase = phase.min((self.pause - self.length) / 2);
            world.run_for(phase);
            let (node, at) = (count % self.cluster.nodes.max(1), world.now());
            measured.stops.push(Stop { node, at, reports: 0, first: None });
            world.pause(node);
            world.run_for(self.length);
            world.resume(node);
            world.run_for(self.pause - self.length - phase);
            world.take_observations().iter().for_each(|seen| measured.collect(seen));
            progress(world.now().since(Instant::ZERO));
        }
        measured
    }
}

impl StopsMeasured {
    fn collect(&mut self, seen: &Observation) {
        if seen.kind != ObservationKind::Failed {
            return;
        }
        // A suspicion may end after the next node has stopped.
        let mut latest = self.stops.iter_mut().rev().take(2);
        let Some(stop) = latest.find(|stop| stop.node == seen.subject) else {
            self.false_failures += 1;
            return;
        };
        let after = Instant::from_nanos(seen.at).since(stop.at);
        stop.first = Some(stop.first.map_or(after, |first| first.min(after)));
        stop.reports += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reported(length: u64, fast_detection: bool) -> (usize, usize) {
        let mut cluster = ClusterSpec::lan(8, 5);
        cluster.config.fast_detection = fast_detection;
        let (pause, time) = (Duration::from_secs(60), Duration::from_secs(605));
        let stops = Stops { cluster, length: Duration::from_secs(length), pause, time };
        let measured = stops.run(|_| ());
        let times = measured.reported();
        assert!(times.iter().all(|time| *time > Duration::from_secs(2)), "{times:?}");
        (measured.stops.len(), times.len())
    }

    /// Goal: what is reported after the next node has stopped is a report of the stop before.
    #[test]
    fn late_reports_belong_to_their_stop() {
        let cluster = ClusterSpec::lan(100, 5);
        let (length, pause) = (Duration::from_millis(9_100), Duration::from_millis(9_150));
        let stops = Stops { cluster, length, pause, time: Duration::from_secs(110) };
        let measured = stops.run(|_| ());
        assert!(measured.reported().iter().any(|time| *time > pause), "{measured:?}");
        assert_eq!(measured.false_failures, 0, "{measured:?}");
    }

    #[test]
    fn long_stops_are_reported_and_short_ones_are_not() {
        assert_eq!(reported(1, false), (10, 0));
        assert_eq!(reported(20, false), (10, 10));
        let (normal, fast) = (reported(5, false).1, reported(5, true).1);
        assert!(normal < fast, "{normal} of 10, {fast} with fast_detection");
    }
}
