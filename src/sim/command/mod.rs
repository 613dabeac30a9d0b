//! `serf simulate`: sizes a cluster, reproduces a failure, repeats the published tables.

mod args;
mod lifeguard;
mod spread;
mod swarm;

use std::{
    io::{self, Write},
    sync::Mutex,
    thread,
    time::Duration,
};

use args::{Args, Scenario};

/// Runs the command with what follows `simulate`: results go to `out`, progress and errors to
/// `err`. Gives the exit code: 0, 1 if a rule was broken or the flags are wrong.
///
/// # Errors
/// Nothing can be written.
pub fn run(args: &[String], out: &mut dyn Write, err: &mut (dyn Write + Send)) -> io::Result<i32> {
    let args = match Args::parse(args) {
        Ok(args) => args,
        Err(message) => {
            writeln!(err, "{message}\n\n{HELP}")?;
            return Ok(1);
        }
    };
    match args.scenario {
        Scenario::Help => {
            writeln!(out, "{HELP}")?;
            Ok(0)
        }
        Scenario::Spread(happening) => spread::run(&args, happening, out, err),
        Scenario::Swarm => swarm::run(&args, out, err),
        Scenario::Lifeguard => lifeguard::run(&args, out, err),
        Scenario::Detection => lifeguard::run_detection(&args, out, err),
    }
}

/// Help of the command.
pub const HELP: &str = "\
Usage: serf simulate [options]

  Runs a cluster of production engines in virtual time on this machine, and prints how fast news
  spreads, how fast deaths are found and what it costs. The same flags give the same result.

Options:

  --scenario=updates    steady:    nothing happens: traffic and false alarms
                        updates:   a node changes its tags every minute
                        crashes:   a node dies every minute
                        swarm:     a mixture of faults that the seed draws; the rules are checked
                        lifeguard: the false positive table of the Lifeguard paper
                        detection: the detection times of the same paper
  --nodes=1000          Number of nodes (lifeguard, detection: 128).
  --minutes=10          Virtual time.
  --profile=lan         Settings of the nodes: lan, wan or local.
  --loss=0              Share of datagrams that are lost, 0 to 1.
  --latency=500us       Least latency of a link; its jitter is a fifth of it.
  --seed=1              Seed.
  --seeds=1             swarm, detection: this many seeds, from --seed on.
  --repeats=1           lifeguard: runs of each combination; the paper has 10.
  --anomaly=blocked     lifeguard, detection: blocked (timers run) or stopped (SIGSTOP).
  --alpha=5             lifeguard, detection: suspicion factor.
  --threads=N           Threads; the result does not depend on it. Default: all cores.
  --trace=0             swarm: lines of trace to print when a rule is broken.
  --svg=FILE            Plots the spreading of news.
  --format=text         text or json.";

/// Runs jobs on threads; results come in the order of the jobs. `progress` hears the number done.
fn in_parallel<T: Sync, R: Send>(
    jobs: &[T],
    threads: usize,
    work: impl Fn(&T) -> R + Sync,
    progress: &(dyn Fn(usize) + Sync),
) -> Vec<R> {
    let next = Mutex::new(0);
    let results = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..threads.min(jobs.len()) {
            scope.spawn(|| {
                loop {
                    let place = {
                        let mut next = lock(&next);
                        let place = *next;
                        *next += 1;
                        place
                    };
                    let Some(job) = jobs.get(place) else { return };
                    let result = work(job);
                    let mut results = lock(&results);
                    results.push((place, result));
                    progress(results.len());
                }
            });
        }
    });
    let mut results = results.into_inner().unwrap_or_default();
    results.sort_by_key(|(place, _)| *place);
    results.into_iter().map(|(_, result)| result).collect()
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// One line on a terminal that replaces itself.
fn progress_line(err: &mut dyn Write, text: &str) {
    let _ = write!(err, "\r{text:<70}");
    let _ = err.flush();
}

fn seconds(time: Option<Duration>) -> String {
    time.map_or_else(|| "-".to_owned(), |time| format!("{:.3}", time.as_secs_f64()))
}

fn json_seconds(time: Option<Duration>) -> String {
    time.map_or_else(|| "null".to_owned(), |time| format!("{:.6}", time.as_secs_f64()))
}

/// The value below which `share` of the sorted times lie.
fn quantile(sorted: &[Duration], share: f64) -> Option<Duration> {
    let place = ((sorted.len() as f64 * share).ceil() as usize).clamp(1, sorted.len().max(1));
    sorted.get(place - 1).copied()
}
