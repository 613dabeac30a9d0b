//! The scenarios lifeguard and detection.

use std::{
    io::{self, Write},
    sync::Mutex,
    time::Duration,
};

use super::{
    args::Args,
    figures::{quantile, seconds},
    parallel::{in_parallel, lock, progress_line},
};
use crate::sim::{
    lifeguard::{
        COUNTS, Extensions, LENGTHS_MS, Outcome, PAPER_FALSE_POSITIVES, PAPER_LOAD, PAUSES_MS, Run,
    },
    theory,
};

/// The interval experiment: every combination of the paper, `repeats` times.
pub(super) fn run(
    args: &Args,
    out: &mut dyn Write,
    err: &mut (dyn Write + Send),
) -> io::Result<bool> {
    let jobs = jobs(args);
    let outcomes = run_jobs(&jobs, args.threads, err)?;
    writeln!(
        out,
        "n = {}, alpha = {}, beta = 6, {} runs of each configuration, anomaly {:?}, seed {}\n",
        args.nodes,
        args.alpha,
        jobs.len() / Extensions::ALL.len(),
        args.anomaly,
        args.seed
    )?;
    let runs = Runs { args, jobs: &jobs, outcomes: &outcomes };
    runs.print_false_positives(out)?;
    runs.print_by_count(out)?;
    runs.print_load(out)?;
    Ok(true)
}

/// The interval experiment and its results.
struct Runs<'r> {
    args: &'r Args,
    jobs: &'r [Run],
    outcomes: &'r [Outcome],
}

impl Runs<'_> {
    fn of(&self, extensions: Extensions) -> impl Iterator<Item = (&Run, &Outcome)> {
        let all = self.jobs.iter().zip(self.outcomes);
        all.filter(move |(job, _)| job.extensions == extensions)
    }

    fn sum(&self, extensions: Extensions, part: &dyn Fn(&Outcome) -> u64) -> u64 {
        self.of(extensions).map(|(_, outcome)| part(outcome)).sum()
    }

    /// Prints false positives, at all nodes and at healthy ones, next to the paper's.
    fn print_false_positives(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(
            out,
            "| configuration | FP | FP- | FP % of SWIM | paper | FP- % of SWIM | paper |\n\
         |---|---|---|---|---|---|---|"
        )?;
        let base = self.sum(Extensions::Swim, &|o| o.false_positives);
        let base_healthy = self.sum(Extensions::Swim, &|o| o.at_healthy);
        let (_, paper_base, paper_base_healthy) = PAPER_FALSE_POSITIVES[0];
        for extensions in Extensions::ALL {
            let of_paper = PAPER_FALSE_POSITIVES.iter().find(|row| row.0 == extensions);
            let paper = of_paper.map(|(_, all, _)| percent(*all, paper_base));
            let paper_healthy = of_paper.map(|row| percent(row.2, paper_base_healthy));
            let all = self.sum(extensions, &|o| o.false_positives);
            let healthy = self.sum(extensions, &|o| o.at_healthy);
            writeln!(
                out,
                "| {} | {all} | {healthy} | {:.2} | {} | {:.2} | {} |",
                extensions.name(),
                percent(all, base),
                cell(paper),
                percent(healthy, base_healthy),
                cell(paper_healthy)
            )?;
        }
        Ok(())
    }

    /// Prints false positives by the number of nodes that are slow at the same time.
    fn print_by_count(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "\n| FP at C = |{}", COUNTS.map(|c| format!(" {c} |")).concat())?;
        writeln!(out, "|---|{}", "---|".repeat(COUNTS.len()))?;
        for extensions in Extensions::ALL {
            let row = COUNTS.map(|count| {
                let fp: u64 = self
                    .of(extensions)
                    .filter(|(job, _)| job.count == count.min(self.args.nodes / 2))
                    .map(|(_, outcome)| outcome.false_positives)
                    .sum();
                format!(" {fp} |")
            });
            writeln!(out, "| {} |{}", extensions.name(), row.concat())?;
        }
        Ok(())
    }

    /// Prints messages and bytes, next to the paper's.
    fn print_load(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(
            out,
            "\n| configuration | messages (M) | GiB | messages % | paper | bytes % | paper |\n\
         |---|---|---|---|---|---|---|"
        )?;
        let messages = |e| self.sum(e, &|o| o.traffic.packets_sent);
        let bytes = |e| self.sum(e, &|o| o.traffic.bytes_sent + o.traffic.stream_bytes_sent);
        for extensions in Extensions::ALL {
            let paper = PAPER_LOAD.iter().find(|row| row.0 == extensions);
            writeln!(
                out,
                "| {} | {:.2} | {:.2} | {:.2} | {} | {:.2} | {} |",
                extensions.name(),
                messages(extensions) as f64 / 1e6,
                bytes(extensions) as f64 / f64::from(1 << 30),
                percent(messages(extensions), messages(Extensions::Swim)),
                cell(paper.map(|(_, messages, _)| *messages)),
                percent(bytes(extensions), bytes(Extensions::Swim)),
                cell(paper.map(|(_, _, bytes)| *bytes))
            )?;
        }
        Ok(())
    }
}

/// Every combination of the paper.
fn jobs(args: &Args) -> Vec<Run> {
    let mut jobs = Vec::new();
    for extensions in Extensions::ALL {
        for count in COUNTS {
            for length in LENGTHS_MS {
                for pause in PAUSES_MS {
                    for repeat in 0..args.repeats {
                        jobs.push(Run {
                            extensions,
                            alpha: args.alpha,
                            beta: 6,
                            nodes: args.nodes,
                            count: count.min(args.nodes / 2),
                            length: Duration::from_millis(length),
                            pause: Some(Duration::from_millis(pause)),
                            anomaly: args.anomaly,
                            time: Duration::from_secs(120),
                            seed: args.seed + repeat,
                        });
                    }
                }
            }
        }
    }
    jobs
}

/// The threshold experiment: one anomaly of 32.768 s, in `seeds` clusters.
pub(super) fn run_detection(
    args: &Args,
    out: &mut dyn Write,
    err: &mut (dyn Write + Send),
) -> io::Result<bool> {
    let mut jobs = Vec::new();
    for extensions in Extensions::ALL {
        for count in COUNTS {
            for seed in args.seed..args.seed + args.seeds.max(1) {
                jobs.push(Run {
                    extensions,
                    alpha: args.alpha,
                    beta: 6,
                    nodes: args.nodes,
                    count: count.min(args.nodes / 2),
                    length: Duration::from_millis(32_768),
                    pause: None,
                    anomaly: args.anomaly,
                    time: Duration::from_millis(32_768),
                    seed,
                });
            }
        }
    }
    let outcomes = run_jobs(&jobs, args.threads, err)?;
    let config = Extensions::Swim.config(args.alpha, 6);
    let first = theory::detection(&config, args.nodes as usize);
    let spread = theory::spread_time(&config, args.nodes as usize, 0.99);
    writeln!(
        out,
        "n = {}, alpha = {}, {} runs of each configuration, anomaly {:?}, seeds from {}; theory: \
         first {} s, all {} s\n",
        args.nodes,
        args.alpha,
        jobs.len() / Extensions::ALL.len(),
        args.anomaly,
        args.seed,
        seconds(Some(first)),
        seconds(Some(first + spread))
    )?;
    writeln!(
        out,
        "| configuration | detected | first: median s | 99 % | 99.9 % | all: median s | 99 % | \
         99.9 % |\n\
         |---|---|---|---|---|---|---|---|"
    )?;
    for extensions in Extensions::ALL {
        let of = || jobs.iter().zip(&outcomes).filter(|(job, _)| job.extensions == extensions);
        let sorted = |part: &dyn Fn(&Outcome) -> &[Duration]| {
            let mut all: Vec<_> = of().flat_map(|(_, o)| part(o).iter().copied()).collect();
            all.sort_unstable();
            all
        };
        let sick: u32 = of().map(|(job, _)| job.count).sum();
        let firsts = sorted(&|outcome| &outcome.first_detection);
        let fulls = sorted(&|outcome| &outcome.full_detection);
        writeln!(
            out,
            "| {} | {} of {sick} |{}{}",
            extensions.name(),
            firsts.len(),
            quantiles(&firsts),
            quantiles(&fulls)
        )?;
    }
    Ok(true)
}

/// Cells of a table.
fn quantiles(sorted: &[Duration]) -> String {
    [0.5, 0.99, 0.999].map(|share| format!(" {} |", seconds(quantile(sorted, share)))).concat()
}

fn run_jobs(
    jobs: &[Run],
    threads: usize,
    err: &mut (dyn Write + Send),
) -> io::Result<Vec<Outcome>> {
    let err = Mutex::new(err);
    let outcomes = in_parallel(jobs, threads, Run::run, &|done| {
        if done % 16 == 0 {
            progress_line(*lock(&err), &format!("{done} of {} runs", jobs.len()));
        }
    });
    write!(lock(&err), "\r")?;
    Ok(outcomes)
}

/// A figure of the paper, which has none of ours.
fn cell(percent: Option<f64>) -> String {
    percent.map_or("-".to_owned(), |percent| format!("{percent:.2}"))
}

fn percent(part: u64, whole: u64) -> f64 {
    100.0 * part as f64 / whole.max(1) as f64
}
