//! The values of the flags.

use std::{path::PathBuf, time::Duration};

use crate::{
    cli::{Failure, ParseError, Parsed, commands::wants_json},
    sim::{ClusterSpec, Happening, Link, lifeguard::Anomaly},
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scenario {
    Spread(Happening),
    Stops,
    Joins,
    Swarm,
    Lifeguard,
    Detection,
}

#[derive(Clone)]
pub(super) struct Args {
    pub(super) scenario: Scenario,
    pub(super) scenario_name: String,
    pub(super) nodes: u32,
    pub(super) time: Duration,
    pub(super) pause: Duration,
    pub(super) stop: Duration,
    zones: u8,
    zone_gossip: bool,
    fast_detection: bool,
    profile: String,
    loss: f64,
    latency: Duration,
    pub(super) seed: u64,
    pub(super) seeds: u64,
    pub(super) repeats: u64,
    pub(super) anomaly: Anomaly,
    pub(super) alpha: u32,
    share_pages: bool,
    pub(super) threads: usize,
    trace: usize,
    pub(super) svg: Option<PathBuf>,
    pub(super) json: bool,
}

impl Args {
    /// Validates the flags.
    ///
    /// # Errors
    /// The first value that is out of range.
    pub(super) fn build(parsed: &Parsed) -> Result<Self, Failure> {
        let given = Given(parsed);
        let scenario_name = parsed.text("scenario").unwrap_or("updates").to_owned();
        let scenario = match scenario_name.as_str() {
            "steady" => Scenario::Spread(Happening::Steady),
            "updates" => Scenario::Spread(Happening::Updates),
            "crashes" => Scenario::Spread(Happening::Crashes),
            "stops" => Scenario::Stops,
            "joins" => Scenario::Joins,
            "swarm" => Scenario::Swarm,
            "lifeguard" => Scenario::Lifeguard,
            "detection" => Scenario::Detection,
            _ => return Err(given.invalid("scenario")),
        };
        let is_paper = matches!(scenario, Scenario::Lifeguard | Scenario::Detection);
        let profile = parsed.text("profile").unwrap_or("lan").to_owned();
        if ClusterSpec::with_profile(0, 0, &profile).is_none() {
            return Err(given.invalid("profile"));
        }
        let anomaly = match parsed.text("anomaly").unwrap_or("blocked") {
            "blocked" => Anomaly::BlockedIo,
            "stopped" => Anomaly::Stopped,
            _ => return Err(given.invalid("anomaly")),
        };
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let pause = given.duration("pause", Duration::from_secs(60), 1_000_000)?;
        let stop = given.duration("stop", Duration::from_secs(5), 1_000_000)?;
        if scenario == Scenario::Stops && stop >= pause {
            return Err(given.invalid("stop"));
        }
        let nodes = given.int("nodes", if is_paper { 128 } else { 1000 }, 2, NODES_MAX)? as u32;
        let share_pages = match parsed.text("push-pulls") {
            // Nodes that come one by one have no pages in common.
            None => nodes >= SHARED_NODES_MIN && scenario != Scenario::Joins,
            Some("encoded") => false,
            Some("shared") => true,
            Some(_) => return Err(given.invalid("push-pulls")),
        };
        Ok(Self {
            scenario,
            scenario_name,
            nodes,
            share_pages,
            time: Duration::from_secs_f64(given.float("minutes", 10.0, 1e6)? * 60.0),
            pause,
            stop,
            zones: given.int("zones", 0, 0, 64)? as u8,
            zone_gossip: parsed.bool("zone-gossip"),
            fast_detection: parsed.bool("fast-detection"),
            profile,
            loss: given.float("loss", 0.0, 1.0)?,
            latency: given.duration("latency", Duration::from_micros(500), 0)?,
            seed: given.int("seed", 1, 0, i64::MAX)?,
            seeds: given.int("seeds", 1, 1, i64::from(u32::MAX))?,
            repeats: given.int("repeats", 1, 1, 1_000)?,
            anomaly,
            alpha: given.int("alpha", 5, 1, 100)? as u32,
            threads: given.int("threads", processors.min(THREADS_MAX) as u64, 1, 64)? as usize,
            trace: given.int("trace", 0, 0, i64::from(u32::MAX))? as usize,
            svg: parsed.text("svg").map(PathBuf::from),
            json: wants_json(parsed)?,
        })
    }

    /// The cluster described by the flags.
    pub(super) fn cluster(&self, seed: u64, threads: usize) -> ClusterSpec {
        let template = ClusterSpec::with_profile(self.nodes, seed, &self.profile);
        let mut template = template.unwrap_or_else(|| ClusterSpec::lan(self.nodes, seed));
        template.config.zones = self.zone_gossip;
        template.config.share_pages = self.share_pages;
        template.config.fast_detection = self.fast_detection;
        ClusterSpec {
            threads,
            zones: self.zones,
            trace_lines: self.trace,
            link: Link {
                latency: self.latency,
                jitter: self.latency / 5,
                loss: self.loss,
                ..Link::default()
            },
            ..template
        }
    }

    /// The command line that reproduces the result.
    pub(super) fn replay(&self) -> String {
        format!(
            "serf simulate -scenario {} -nodes {} -minutes {} -profile {} -loss {} -latency {}us \
             -seed {}{}",
            self.scenario_name,
            self.nodes,
            self.time.as_secs_f64() / 60.0,
            self.profile,
            self.loss,
            self.latency.as_micros(),
            self.seed,
            if self.fast_detection { " -fast-detection" } else { "" }
        )
    }
}

/// Flags whose values have a range.
struct Given<'p>(&'p Parsed);

impl Given<'_> {
    fn int(&self, flag: &'static str, default: u64, min: i64, max: i64) -> Result<u64, Failure> {
        match self.0.int(flag) {
            None => Ok(default),
            Some(value) if (min..=max).contains(&value) => Ok(value.unsigned_abs()),
            Some(_) => Err(self.invalid(flag)),
        }
    }

    fn float(&self, flag: &'static str, default: f64, max: f64) -> Result<f64, Failure> {
        match self.0.float(flag) {
            None => Ok(default),
            Some(value) if (0.0..=max).contains(&value) => Ok(value),
            Some(_) => Err(self.invalid(flag)),
        }
    }

    fn duration(
        &self,
        flag: &'static str,
        default: Duration,
        min_ns: i64,
    ) -> Result<Duration, Failure> {
        match self.0.duration(flag) {
            None => Ok(default),
            Some(ns) if (min_ns..=DURATION_NS_MAX).contains(&ns) => {
                Ok(Duration::from_nanos(ns.unsigned_abs()))
            }
            Some(_) => Err(self.invalid(flag)),
        }
    }

    fn invalid(&self, flag: &str) -> Failure {
        let value = self.0.text(flag).unwrap_or_default().to_owned();
        let flag = flag.to_owned();
        Failure::Flags(ParseError::Invalid { value, flag, reason: "value out of range" })
    }
}

const NODES_MAX: i64 = 1_000_000;
/// With as many nodes, push/pulls are shared unless the flag says otherwise.
const SHARED_NODES_MIN: u32 = 5_000;
const THREADS_MAX: usize = 64;
/// Three hours.
const DURATION_NS_MAX: i64 = 10_000_000_000_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{commands::simulate::SIMULATE, flags};

    fn args(line: &str) -> Result<Args, Failure> {
        let words: Vec<_> = line.split_whitespace().map(str::to_owned).collect();
        Args::build(&flags::parse(SIMULATE.flags, &words).map_err(Failure::Flags)?)
    }

    #[test]
    fn flags_set_the_scenario() {
        let given = args("-nodes 50 --minutes=0.5 --loss=0.05 -latency 2ms -format=json").unwrap();
        assert_eq!((given.nodes, given.time), (50, Duration::from_secs(30)));
        assert_eq!((given.loss, given.latency, given.json), (0.05, Duration::from_millis(2), true));
        assert_eq!(args("--scenario lifeguard").unwrap().nodes, 128);
        assert!(!args("-nodes 4999").unwrap().share_pages);
        assert!(args("-nodes 5000").unwrap().share_pages);
        assert!(!args("-nodes 5000 -push-pulls encoded").unwrap().share_pages);
        assert!(!args("-nodes 5000 -scenario joins").unwrap().share_pages);
    }

    #[test]
    fn values_out_of_range_are_refused() {
        for line in [
            "-nodes",
            "-nodes x",
            "-nodes 1",
            "-loss 2",
            "-loss NaN",
            "-what 1",
            "-scenario x",
            "-minutes -1",
            "-latency -1s",
            "-profile x",
            "-push-pulls x",
            "-stop 0",
            "-scenario stops -stop 1m",
            "-anomaly x",
            "-alpha 0",
            "-threads 65",
            "-format x",
        ] {
            assert!(args(line).is_err(), "{line}");
        }
    }
}
