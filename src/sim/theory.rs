//! Predictions of the papers and of Go's formulas, for comparison with measured results.

use std::time::Duration;

use crate::swim::Config;

/// Minimum suspicion time in a cluster of `nodes`. Go: `suspicionTimeout`.
pub fn suspicion_min(config: &Config, nodes: usize) -> Duration {
    let scale = (nodes.max(1) as f64).log10().max(1.0);
    let milli = (scale * 1000.0).floor() as u32;
    config.probe_interval * config.suspicion_mult * milli / 1000
}

/// Maximum suspicion time in a cluster of `nodes`.
pub fn suspicion_max(config: &Config, nodes: usize) -> Duration {
    suspicion_min(config, nodes) * config.suspicion_max_timeout_mult
}

/// Share of nodes that know a rumour `time` after one node began to spread it: logistic growth, in
/// which each informed node sends it to `gossip_nodes` others every `gossip_interval`.
pub fn spread(config: &Config, nodes: usize, time: Duration) -> f64 {
    let n = nodes.max(2) as f64;
    let rate = spread_rate(config);
    let grown = (rate * time.as_secs_f64()).exp();
    grown / (n - 1.0 + grown)
}

/// Time until `share` of the nodes know a rumour, by the same model.
pub fn spread_time(config: &Config, nodes: usize, share: f64) -> Duration {
    let n = nodes.max(2) as f64;
    let odds = (share / (1.0 - share)).max(f64::MIN_POSITIVE);
    Duration::from_secs_f64(((n - 1.0) * odds).ln().max(0.0) / spread_rate(config))
}

/// Expected time from a crash to its first report if only one node suspected it: the time until
/// some node probes it, the probe, and the minimum suspicion.
pub fn detection(config: &Config, nodes: usize) -> Duration {
    // n - 1 probers in random phase: the median of the first is ln 2 / (n - 1) rounds of n - 1
    // intervals, about 0.7 intervals.
    config.probe_interval.mul_f64(std::f64::consts::LN_2)
        + config.probe_interval
        + suspicion_min(config, nodes)
}

fn spread_rate(config: &Config) -> f64 {
    config.gossip_nodes as f64 / config.gossip_interval.as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formulas_give_the_published_anchors() {
        let lan = Config::lan("x");
        assert_eq!(suspicion_min(&lan, 100), Duration::from_secs(8));
        assert_eq!(suspicion_min(&lan, 20), Duration::from_millis(5204));
        assert_eq!(suspicion_max(&lan, 1000), Duration::from_secs(72));
        let seconds = |n, share| spread_time(&lan, n, share).as_secs_f64();
        assert!((seconds(1000, 0.99) - 0.77).abs() < 0.005);
        assert!((seconds(10_000, 0.9999) - 1.23).abs() < 0.005);
        assert!((spread(&lan, 1000, spread_time(&lan, 1000, 0.5)) - 0.5).abs() < 1e-6);
        let alpha5 = Config { suspicion_mult: 5, ..lan };
        assert!((detection(&alpha5, 128).as_secs_f64() - 12.2).abs() < 0.05);
    }
}
