//! The scenario swarm.

use std::{
    io::{self, Write},
    sync::Mutex,
};

use serde_json::json;

use super::{
    args::Args,
    figures::{quantile, seconds},
    parallel::{in_parallel, lock, progress_line},
};
use crate::{cli::output::compact, sim::Swarm};

pub(super) fn run(
    args: &Args,
    out: &mut dyn Write,
    err: &mut (dyn Write + Send),
) -> io::Result<bool> {
    let seeds: Vec<u64> = (args.seed..args.seed + args.seeds.max(1)).collect();
    // With many seeds, one thread for each; with one seed, all threads for it.
    let inner = if seeds.len() == 1 { args.threads } else { 1 };
    let err = Mutex::new(err);
    let reports = in_parallel(
        &seeds,
        args.threads,
        |seed| {
            let report = Swarm::new(args.cluster(*seed, inner)).run();
            if !report.violations.is_empty() {
                let _ = write!(lock(&err), "\r{report}");
            }
            report
        },
        &|done| {
            if seeds.len() > 1 {
                progress_line(*lock(&err), &format!("{done} of {} seeds", seeds.len()));
            }
        },
    );
    if seeds.len() > 1 {
        write!(lock(&err), "\r")?;
    }
    let broken = reports.iter().filter(|report| !report.violations.is_empty()).count();
    let mut recovery: Vec<_> = reports.iter().filter_map(|report| report.recovery).collect();
    recovery.sort_unstable();
    if args.json {
        let json = json!({
            "scenario": "swarm",
            "nodes": args.nodes,
            "seed": args.seed,
            "seeds": seeds.len(),
            "faults": reports.iter().map(|report| report.faults).sum::<usize>(),
            "events": reports.iter().map(|report| report.events).sum::<u64>(),
            "broken": broken,
            "queued_max": reports.iter().map(|report| report.queued_max).max(),
        });
        writeln!(out, "{}", compact(&json))?;
    } else {
        for report in &reports {
            write!(out, "{report}")?;
        }
        writeln!(
            out,
            "{} seeds, {broken} with broken rules; recovery median {} s, longest {} s",
            seeds.len(),
            seconds(quantile(&recovery, 0.5)),
            seconds(recovery.last().copied())
        )?;
    }
    Ok(broken == 0)
}
