//! Scenario swarm.

use std::io::{self, Write};
use std::sync::Mutex;

use super::{args::Args, in_parallel, lock, progress_line, quantile, seconds};
use crate::sim::Swarm;

pub(super) fn run(
    args: &Args,
    out: &mut dyn Write,
    err: &mut (dyn Write + Send),
) -> io::Result<i32> {
    let seeds: Vec<u64> = (args.seed..args.seed + args.seeds.max(1)).collect();
    // Many seeds: one thread each. One seed: all threads for it.
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
        writeln!(
            out,
            "{{\"scenario\":\"swarm\",\"nodes\":{},\"seed\":{},\"seeds\":{},\"faults\":{},\
             \"events\":{},\"broken\":{broken},\"queued_max\":{}}}",
            args.nodes,
            args.seed,
            seeds.len(),
            reports.iter().map(|report| report.faults).sum::<usize>(),
            reports.iter().map(|report| report.events).sum::<u64>(),
            reports.iter().map(|report| report.queued_max).max().unwrap_or_default(),
        )?;
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
    Ok(i32::from(broken > 0))
}
