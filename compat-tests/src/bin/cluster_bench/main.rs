//! Clusters of real agents on this machine, for scripts/bench-cluster.
//!
//! `cluster_bench storm PROGRAM [AGENTS]`: all agents join one at once; then an event, a query and
//! a crash. `cluster_bench zones OURS GO [AGENTS]`: three hosts, each a zone with so many agents,
//! and the bytes between them. Prints one line `name value` a measure.

mod agent;
mod storm;
mod zones;

use std::{env, process::ExitCode};

#[tokio::main]
async fn main() -> ExitCode {
    let args: Vec<_> = env::args().skip(1).collect();
    let args: Vec<_> = args.iter().map(String::as_str).collect();
    let number = |text: &str| text.parse().expect("the number of agents");
    match args[..] {
        ["storm", program] => storm::measure(program, 200).await,
        ["storm", program, agents] => storm::measure(program, number(agents)).await,
        ["zones", ours, go] => zones::measure(ours, go, 20).await,
        ["zones", ours, go, agents] => zones::measure(ours, go, number(agents)).await,
        _ => {
            eprintln!("cluster_bench storm PROGRAM [AGENTS] | zones OURS GO [AGENTS]");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

fn report(name: &str, value: f64) {
    println!("{name} {value:.6}");
}

/// A value that this percentage of the values does not exceed; not a number if there are none.
fn percentile(values: &mut [f64], percent: usize) -> f64 {
    if values.is_empty() {
        return f64::NAN;
    }
    values.sort_by(f64::total_cmp);
    values[(values.len() * percent).div_ceil(100).clamp(1, values.len()) - 1]
}
