//! Measures how often nodes that stop for a while are reported as failed.

use std::time::Duration;

use super::{ClusterSpec, ObservationKind, WARM_UP};

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
    /// For each stop, how many nodes reported the stopped one as failed, and the time from its
    /// start to the first report.
    pub stops: Vec<(u32, Option<Duration>)>,
    /// Failures that were reported of other nodes, none of which stopped.
    pub false_failures: u64,
}

impl StopsMeasured {
    /// Times from the start of a stop to its first report, sorted.
    pub fn reported(&self) -> Vec<Duration> {
        let mut times: Vec<_> = self.stops.iter().filter_map(|(_, first)| *first).collect();
        times.sort_unstable();
        times
    }
}

impl Stops {
    /// Runs the cluster; `progress` is called with the virtual time after each stop.
    pub fn run(&self, mut progress: impl FnMut(Duration)) -> StopsMeasured {
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
            world.take_observations();
            let (node, began) = (count % self.cluster.nodes.max(1), world.now());
            world.pause(node);
            world.run_for(self.length);
            world.resume(node);
            world.run_for(self.pause - self.length - phase);
            let (mut reports, mut first) = (0, None);
            for seen in world.take_observations() {
                if seen.kind != ObservationKind::Failed {
                    continue;
                }
                if seen.subject == node {
                    let after = Duration::from_nanos(seen.at.saturating_sub(began.as_nanos()));
                    first = Some(first.map_or(after, |first| after.min(first)));
                    reports += 1;
                } else {
                    measured.false_failures += 1;
                }
            }
            measured.stops.push((reports, first));
            progress(world.now().since(crate::base::Instant::ZERO));
        }
        measured
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

    #[test]
    fn long_stops_are_reported_and_short_ones_are_not() {
        assert_eq!(reported(1, false), (10, 0));
        assert_eq!(reported(20, false), (10, 10));
        let (normal, fast) = (reported(5, false).1, reported(5, true).1);
        assert!(normal < fast, "{normal} of 10, {fast} with fast_detection");
    }
}
