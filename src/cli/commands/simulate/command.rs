//! The command and its flags.

use std::io;

use super::{
    args::{Args, Scenario},
    joins, lifeguard, spread, stops, swarm,
};
use crate::cli::{
    CommandSpec, Failure, Flag, Kind, Parsed,
    commands::{FORMAT, SPEC, flag},
    output,
};

pub(in crate::cli::commands) const SIMULATE: CommandSpec = CommandSpec {
    name: "simulate",
    synopsis: "Simulates a cluster in virtual time",
    arguments: "[options]",
    about: "Runs a cluster of this program's protocol engines in virtual time on this machine, and \
            prints how fast news spreads, how fast failures are detected and what traffic that \
            costs. Use it to size a cluster, to choose its timing, or to reproduce a failure: the \
            same flags give the same result.\n\n\
            Scenarios: steady (nothing happens; traffic and false alarms), updates (a node changes \
            its tags now and then), crashes (a node dies now and then), stops (a node stops now \
            and then and goes on; how many are reported as failed), joins (all nodes start and \
            join the first within a second; ends when all consider all alive), swarm (a random \
            mixture of faults, with all rules of the protocol checked), lifeguard and detection \
            (the tables of the Lifeguard paper).\n\n\
            Exits with 0, or with 1 if a rule was broken, nodes that joined did not agree, or a \
            flag is wrong.",
    flags: &[FLAGS, FORMAT],
    run,
    ..SPEC
};

fn run(parsed: &Parsed) -> Result<(), Failure> {
    let args = Args::build(parsed)?;
    let (mut out, mut err) = (Vec::new(), io::stderr());
    let done = match args.scenario {
        Scenario::Spread(happening) => spread::run(&args, happening, &mut out, &mut err),
        Scenario::Joins => joins::run(&args, &mut out, &mut err),
        Scenario::Stops => stops::run(&args, &mut out, &mut err),
        Scenario::Swarm => swarm::run(&args, &mut out, &mut err),
        Scenario::Lifeguard => lifeguard::run(&args, &mut out, &mut err),
        Scenario::Detection => lifeguard::run_detection(&args, &mut out, &mut err),
    };
    output::bytes(&out);
    match done {
        Ok(true) => Ok(()),
        Ok(false) => Err(Failure::Silent),
        Err(error) => Err(Failure::Message(error.to_string())),
    }
}

const FLAGS: &[Flag] = &[
    flag(
        "alpha",
        Kind::Int,
        "5",
        "For lifeguard and detection: factor of the suspicion timeout, 1 to 100.",
    ),
    flag(
        "anomaly",
        Kind::Text,
        "blocked",
        "For lifeguard and detection: blocked (timers run) or stopped (as by SIGSTOP).",
    ),
    flag(
        "fast-detection",
        Kind::Bool,
        "",
        "Nodes have fast_detection; not for lifeguard, detection.",
    ),
    flag("latency", Kind::Duration, "500us", "Least latency of a link; its jitter is a fifth."),
    flag("loss", Kind::Float, "0", "Share of datagrams that are lost, 0 to 1."),
    flag(
        "minutes",
        Kind::Float,
        "10",
        "Virtual time of steady, updates, crashes and stops; at most, of joins.",
    ),
    flag("nodes", Kind::Int, "1000", "Number of nodes; 128 for lifeguard and detection."),
    flag("pause", Kind::Duration, "1m", "For updates, crashes, stops: time between two of them."),
    flag("profile", Kind::Text, "lan", "Timing preset of the nodes: lan, wan or local."),
    flag(
        "push-pulls",
        Kind::Text,
        "<how>",
        "encoded: as bytes, through the codec; shared: as pages of the sender's table, which takes \
         less time and memory. From 5,000 nodes on shared unless set. The result hardly depends \
         on it.",
    ),
    flag("repeats", Kind::Int, "1", "For lifeguard: runs of each combination; 10 in the paper."),
    flag(
        "scenario",
        Kind::Text,
        "updates",
        "steady, updates, crashes, stops, joins, swarm, lifeguard or detection.",
    ),
    flag("seed", Kind::Int, "1", "Seed of the random numbers."),
    flag("seeds", Kind::Int, "1", "For swarm and detection: number of seeds, from -seed on."),
    flag("stop", Kind::Duration, "5s", "For stops: how long a node stops; less than -pause."),
    flag("svg", Kind::Text, "<file>", "Draw the spread of news, as SVG."),
    flag(
        "threads",
        Kind::Int,
        "<n>",
        "Threads, 1 to 64; all processors unless set. The result does not depend on it.",
    ),
    flag("trace", Kind::Int, "0", "For swarm: lines of trace to print when a rule is broken."),
    flag("zone-gossip", Kind::Bool, "", "Gossip mostly within zones."),
    flag("zones", Kind::Int, "0", "Zones that the nodes are in, by turns, at most 64; 0: none."),
];
