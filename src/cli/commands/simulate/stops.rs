//! The scenario stops.

use std::io::{self, Write};

use serde_json::json;

use super::{
    args::Args,
    figures::{json_seconds, quantile, seconds},
    parallel::progress_line,
};
use crate::{cli::output::compact, sim::Stops};

pub(super) fn run(args: &Args, out: &mut dyn Write, err: &mut dyn Write) -> io::Result<bool> {
    let cluster = args.cluster(args.seed, args.threads);
    let stops = Stops { cluster, length: args.stop, pause: args.pause, time: args.time };
    let measured = stops.run(|time| {
        let (time, total) = (time.as_secs_f64(), args.time.as_secs_f64());
        progress_line(err, &format!("{time:.0} of {total:.0} s"));
    });
    progress_line(err, "");
    let (count, times) = (measured.stops.len(), measured.reported());
    let first = quantile(&times, 0.5).filter(|_| !times.is_empty());
    let reports: u32 = measured.stops.iter().map(|stop| stop.reports).sum();
    if args.json {
        let json = json!({
            "scenario": args.scenario_name,
            "nodes": args.nodes,
            "seed": args.seed,
            "stop_s": json_seconds(Some(args.stop)),
            "stops": count,
            "reported": times.len(),
            "reports": reports,
            "first_s": json_seconds(first),
            "false_failures": measured.false_failures,
        });
        writeln!(out, "{}", compact(&json))?;
    } else {
        let (stop, pause) = (args.stop.as_micros(), args.pause.as_micros());
        writeln!(out, "{} -stop {stop}us -pause {pause}us", args.replay())?;
        writeln!(
            out,
            "nodes {}, {count} stops of {} s, false failures of others {}",
            args.nodes,
            seconds(Some(args.stop)),
            measured.false_failures
        )?;
        writeln!(
            out,
            "reported as failed: {} stops, first after {} s (median), {reports} reports in all",
            times.len(),
            seconds(first)
        )?;
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::cli::{commands::simulate::SIMULATE, flags};

    #[test]
    fn stops_are_counted_and_those_that_were_reported() {
        let words = ["-scenario=stops", "-nodes=5", "-minutes=3.2", "-stop=30s", "-format=json"];
        let parsed = flags::parse(SIMULATE.flags, &words.map(str::to_owned)).unwrap();
        let args = Args::build(&parsed).unwrap();
        let mut out = Vec::new();
        assert!(run(&args, &mut out, &mut Vec::new()).unwrap());
        let report: Value = serde_json::from_slice(&out).unwrap();
        assert_eq!((&report["stops"], &report["reported"]), (&json!(3), &json!(3)), "{report}");
        assert_eq!(report["reports"], 12, "each of the others reports each stop: {report}");
    }
}
