//! Flags of `serf simulate`, in Go's syntax: one or two dashes, a value after `=` or a space.

use std::{path::PathBuf, time::Duration};

use crate::{
    sim::{ClusterSpec, Happening, Link, lifeguard::Anomaly},
    swim::Config,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scenario {
    Help,
    Spread(Happening),
    Swarm,
    Lifeguard,
    Detection,
}

#[derive(Clone, Debug)]
pub(super) struct Args {
    pub(super) scenario: Scenario,
    pub(super) scenario_name: String,
    pub(super) nodes: u32,
    pub(super) time: Duration,
    pub(super) profile: String,
    pub(super) loss: f64,
    pub(super) latency: Duration,
    pub(super) seed: u64,
    pub(super) seeds: u64,
    pub(super) repeats: u64,
    pub(super) anomaly: Anomaly,
    pub(super) alpha: u32,
    pub(super) threads: usize,
    pub(super) trace: usize,
    pub(super) svg: Option<PathBuf>,
    pub(super) json: bool,
}

impl Args {
    pub(super) fn parse(args: &[String]) -> Result<Self, String> {
        let mut parsed = Self {
            scenario: Scenario::Spread(Happening::Updates),
            scenario_name: "updates".to_owned(),
            nodes: 0,
            time: Duration::from_secs(600),
            profile: "lan".to_owned(),
            loss: 0.0,
            latency: Duration::from_micros(500),
            seed: 1,
            seeds: 1,
            repeats: 1,
            anomaly: Anomaly::BlockedIo,
            alpha: 5,
            threads: std::thread::available_parallelism().map_or(1, usize::from),
            trace: 0,
            svg: None,
            json: false,
        };
        let mut rest = args.iter();
        while let Some(arg) = rest.next() {
            let flag = arg.strip_prefix("--").or_else(|| arg.strip_prefix('-'));
            let Some(flag) = flag.filter(|flag| !flag.is_empty()) else {
                return Err(format!("unexpected argument: {arg}"));
            };
            let (name, value) = match flag.split_once('=') {
                Some((name, value)) => (name, Some(value)),
                None => (flag, None),
            };
            if matches!(name, "h" | "help") {
                parsed.scenario = Scenario::Help;
                return Ok(parsed);
            }
            let value = match value {
                Some(value) => value,
                None => rest.next().ok_or_else(|| format!("flag needs a value: -{name}"))?,
            };
            parsed.set(name, value)?;
        }
        if parsed.nodes == 0 {
            let paper = matches!(parsed.scenario, Scenario::Lifeguard | Scenario::Detection);
            parsed.nodes = if paper { 128 } else { 1000 };
        }
        Ok(parsed)
    }

    fn set(&mut self, name: &str, value: &str) -> Result<(), String> {
        let wrong = || format!("invalid value \"{value}\" for flag -{name}");
        match name {
            "scenario" => {
                self.scenario = match value {
                    "steady" => Scenario::Spread(Happening::Steady),
                    "updates" => Scenario::Spread(Happening::Updates),
                    "crashes" => Scenario::Spread(Happening::Crashes),
                    "swarm" => Scenario::Swarm,
                    "lifeguard" => Scenario::Lifeguard,
                    "detection" => Scenario::Detection,
                    _ => return Err(wrong()),
                };
                value.clone_into(&mut self.scenario_name);
            }
            "nodes" => {
                self.nodes =
                    value.parse().ok().filter(|n| (2..=NODES_MAX).contains(n)).ok_or_else(wrong)?;
            }
            "minutes" => {
                let minutes: f64 = value.parse().map_err(|_| wrong())?;
                if !(0.0..=1e6).contains(&minutes) {
                    return Err(wrong());
                }
                self.time = Duration::from_secs_f64(minutes * 60.0);
            }
            "profile" => {
                preset(value).ok_or_else(wrong)?;
                value.clone_into(&mut self.profile);
            }
            "loss" => {
                self.loss =
                    value.parse().ok().filter(|p| (0.0..=1.0).contains(p)).ok_or_else(wrong)?;
            }
            "latency" => self.latency = duration(value).ok_or_else(wrong)?,
            "seed" => self.seed = value.parse().map_err(|_| wrong())?,
            "seeds" => self.seeds = value.parse().map_err(|_| wrong())?,
            "repeats" => self.repeats = value.parse().map_err(|_| wrong())?,
            "anomaly" => {
                self.anomaly = match value {
                    "blocked" => Anomaly::BlockedIo,
                    "stopped" => Anomaly::Stopped,
                    _ => return Err(wrong()),
                };
            }
            "alpha" => {
                self.alpha =
                    value.parse().ok().filter(|a| (1..=100).contains(a)).ok_or_else(wrong)?
            }
            "threads" => {
                self.threads =
                    value.parse().ok().filter(|t| (1..=64).contains(t)).ok_or_else(wrong)?
            }
            "trace" => self.trace = value.parse().map_err(|_| wrong())?,
            "svg" => self.svg = Some(value.into()),
            "format" => {
                self.json = match value {
                    "json" => true,
                    "text" => false,
                    _ => return Err(wrong()),
                };
            }
            _ => return Err(format!("flag provided but not defined: -{name}")),
        }
        Ok(())
    }

    /// The cluster that the flags describe.
    pub(super) fn cluster(&self, seed: u64, threads: usize) -> ClusterSpec {
        let config = preset(&self.profile).unwrap_or_else(|| Config::lan("template"));
        ClusterSpec {
            threads,
            trace_lines: self.trace,
            link: Link {
                latency: self.latency,
                jitter: self.latency / 5,
                loss: self.loss,
                ..Link::default()
            },
            ..ClusterSpec::with_config(self.nodes, seed, config)
        }
    }

    /// The command that gives the same result.
    pub(super) fn replay(&self) -> String {
        format!(
            "serf simulate --scenario {} --nodes {} --minutes {} --profile {} --loss {} \
             --latency {}us --seed {}",
            self.scenario_name,
            self.nodes,
            self.time.as_secs_f64() / 60.0,
            self.profile,
            self.loss,
            self.latency.as_micros(),
            self.seed
        )
    }
}

fn preset(name: &str) -> Option<Config> {
    match name {
        "lan" => Some(Config::lan("template")),
        "wan" => Some(Config::wan("template")),
        "local" => Some(Config::local("template")),
        _ => None,
    }
}

/// `250us`, `1.5ms` or `2s`.
fn duration(text: &str) -> Option<Duration> {
    let (number, unit) = text.split_at(text.find(|c: char| c.is_ascii_alphabetic())?);
    let number: f64 = number.parse().ok()?;
    let scale = match unit {
        "us" => 1e-6,
        "ms" => 1e-3,
        "s" => 1.0,
        _ => return None,
    };
    (0.0..=1e4).contains(&(number * scale)).then(|| Duration::from_secs_f64(number * scale))
}

const NODES_MAX: u32 = 1_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Args, String> {
        Args::parse(&line.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn flags_are_read_in_go_syntax() {
        let args = parse("-nodes 50 --minutes=0.5 --loss=0.05 -latency 2ms -format=json").unwrap();
        assert_eq!((args.nodes, args.time), (50, Duration::from_secs(30)));
        assert_eq!((args.loss, args.latency, args.json), (0.05, Duration::from_millis(2), true));
        assert_eq!(parse("--scenario lifeguard").unwrap().nodes, 128);
        assert_eq!(parse("-h").unwrap().scenario, Scenario::Help);
    }

    #[test]
    fn wrong_flags_are_told() {
        for line in
            ["nodes", "-nodes", "-nodes x", "-loss 2", "-what 1", "-scenario x", "-minutes -1"]
        {
            assert!(parse(line).is_err(), "{line}");
        }
    }
}
