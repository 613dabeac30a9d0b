//! The scenarios steady, updates and crashes.

use std::{
    io::{self, Write},
    time::{Duration, Instant as WallInstant},
};

use serde_json::json;

use super::{
    args::Args,
    figures::{json_seconds, quantile, seconds},
    parallel::progress_line,
};
use crate::{
    cli::output::compact,
    sim::{
        Experiment, Happening, Measured,
        svg::{Curve, chart},
        theory, theory_for,
    },
};

pub(super) fn run(
    args: &Args,
    happening: Happening,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> io::Result<bool> {
    let cluster = args.cluster(args.seed, args.threads);
    let experiment = Experiment { cluster, time: args.time, happening, pause: args.pause };
    let started = WallInstant::now();
    let total = args.time.as_secs_f64();
    let mut shown = false;
    let measured = experiment.run(|time| {
        let (wall, done) = (started.elapsed().as_secs_f64(), time.as_secs_f64());
        if wall > 2.0 {
            shown = true;
            let bar = "#".repeat((done / total * 30.0) as usize);
            progress_line(err, &format!("[{bar:<30}] {done:.0} of {total:.0} s, {wall:.0} s real"));
        }
    });
    if shown {
        progress_line(err, "");
        write!(err, "\r")?;
    }
    let curve = curve(&measured);
    if args.json {
        print_json(args, &experiment, &measured, out)?;
    } else {
        print_text(args, &experiment, &measured, out)?;
    }
    if let Some(path) = &args.svg {
        std::fs::write(path, plot(args, &experiment, &measured, &curve))?;
    }
    Ok(true)
}

/// Time until `share` of the audience had learnt: median over the news; `None` if half of it had
/// not got so far by the end.
fn reached(measured: &Measured, share: f64) -> Option<Duration> {
    let never = Duration::MAX;
    let mut times: Vec<_> =
        measured.news.iter().map(|news| news.reached(share).unwrap_or(never)).collect();
    times.sort_unstable();
    quantile(&times, 0.5).filter(|time| *time < never)
}

/// Time until the first node had learnt: median over the news.
fn first(measured: &Measured) -> Option<Duration> {
    reached(measured, 0.0)
}

/// Points of the measured curve: median time for each of 200 shares.
fn curve(measured: &Measured) -> Vec<(f64, f64)> {
    (1..=200)
        .filter_map(|step| {
            let share = f64::from(step) / 200.0;
            Some((reached(measured, share)?.as_secs_f64(), share))
        })
        .collect()
}

fn print_text(
    args: &Args,
    experiment: &Experiment,
    measured: &Measured,
    out: &mut dyn Write,
) -> io::Result<()> {
    writeln!(out, "{}", args.replay())?;
    writeln!(
        out,
        "nodes {}, virtual time {:.0} s, {} news, false failures {}",
        measured.nodes,
        measured.time.as_secs_f64(),
        measured.news.len(),
        measured.false_failures
    )?;
    if !measured.news.is_empty() {
        writeln!(out, "\n{:>9}  {:>10}  {:>10}", "share", "measured s", "theory s")?;
        for share in SHARES {
            let theory = theory_for(&experiment.cluster, experiment.happening, share);
            writeln!(
                out,
                "{:>8}%  {:>10}  {:>10}",
                share * 100.0,
                seconds(reached(measured, share)),
                seconds(Some(theory))
            )?;
        }
        if experiment.happening == Happening::Crashes {
            let theory = theory::detection(&experiment.cluster.config, measured.nodes as usize);
            writeln!(
                out,
                "first detection {} s; theory {} s for a suspicion that is confirmed at once",
                seconds(first(measured)),
                seconds(Some(theory))
            )?;
        }
    }
    let (packets, streams) = measured.bytes_per_second();
    writeln!(
        out,
        "\ntraffic sent by a node: {packets:.0} B/s in datagrams, {streams:.0} B/s in streams"
    )?;
    if experiment.cluster.zones > 0 {
        let [gossip, probes, streams] = measured.zone_bytes_per_second();
        writeln!(
            out,
            "of it to other zones: {gossip:.0} B/s of gossip, {probes:.0} B/s of probes and \
             answers, {streams:.0} B/s in streams"
        )?;
    }
    writeln!(
        out,
        "events {}; real time {:.2} s to form the cluster, {:.2} s to run it ({:.0} ns an event)",
        measured.events,
        measured.wall_setup.as_secs_f64(),
        measured.wall_run.as_secs_f64(),
        measured.wall_run.as_nanos() as f64 / measured.events.max(1) as f64
    )
}

fn print_json(
    args: &Args,
    experiment: &Experiment,
    measured: &Measured,
    out: &mut dyn Write,
) -> io::Result<()> {
    let spread = SHARES.iter().map(|share| {
        let theory = theory_for(&experiment.cluster, experiment.happening, *share);
        json!({
            "share": share,
            "measured_s": json_seconds(reached(measured, *share)),
            "theory_s": json_seconds(Some(theory)),
        })
    });
    let (packets, streams) = measured.bytes_per_second();
    let json = json!({
        "scenario": args.scenario_name,
        "nodes": measured.nodes,
        "seed": args.seed,
        "virtual_s": measured.time.as_secs_f64(),
        "news": measured.news.len(),
        "false_failures": measured.false_failures,
        "spread": spread.collect::<Vec<_>>(),
        "first_s": json_seconds(first(measured)),
        "packet_bytes_per_s": packets,
        "stream_bytes_per_s": streams,
        "zone_bytes_per_s": measured.zone_bytes_per_second(),
        "events": measured.events,
        "wall_setup_s": json_seconds(Some(measured.wall_setup)),
        "wall_run_s": json_seconds(Some(measured.wall_run)),
    });
    writeln!(out, "{}", compact(&json))
}

fn plot(args: &Args, experiment: &Experiment, measured: &Measured, curve: &[(f64, f64)]) -> String {
    let config = &experiment.cluster.config;
    let nodes = measured.nodes as usize;
    let offset = match experiment.happening {
        Happening::Crashes => theory::detection(config, nodes),
        Happening::Updates | Happening::Steady => Duration::ZERO,
    };
    let end = theory::spread_time(config, nodes, 0.9999).mul_f64(1.2);
    let model = (0..=100)
        .map(|step| {
            let time = end * step / 100;
            ((offset + time).as_secs_f64(), theory::spread(config, nodes, time))
        })
        .collect();
    let title = format!("{} of {nodes} nodes: share that knows", args.scenario_name);
    chart(
        &title,
        &[
            Curve { name: "measured", color: "#1565c0", dashed: false, points: curve.to_vec() },
            Curve { name: "theory", color: "#888888", dashed: true, points: model },
        ],
    )
}

const SHARES: [f64; 6] = [0.01, 0.5, 0.9, 0.99, 0.999, 0.9999];

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::cli::{commands::simulate::SIMULATE, flags};

    #[test]
    fn simulation_of_a_small_cluster_reports_its_figures() {
        let words = ["-scenario=updates", "-nodes=12", "-minutes=2", "-format=json"];
        let parsed = flags::parse(SIMULATE.flags, &words.map(str::to_owned)).unwrap();
        let args = Args::build(&parsed).unwrap();
        let mut out = Vec::new();
        assert!(run(&args, Happening::Updates, &mut out, &mut Vec::new()).unwrap());
        let report: Value = serde_json::from_slice(&out).unwrap();
        // One change a minute, which all other nodes must learn.
        assert_eq!((&report["nodes"], &report["news"]), (&json!(12), &json!(2)), "{report}");
        let last = report["spread"].as_array().unwrap().last().unwrap();
        let seconds = last["measured_s"].as_f64().unwrap();
        assert!(0.0 < seconds && seconds < 60.0, "{report}");
        assert_eq!(report["false_failures"], 0, "{report}");
    }
}
