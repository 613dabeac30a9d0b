//! The scenario joins.

use std::{
    io::{self, Write},
    time::Instant as WallInstant,
};

use serde_json::json;

use super::{
    args::Args,
    figures::{json_seconds, seconds},
    parallel::progress_line,
};
use crate::{
    cli::output::compact,
    sim::{Formed, JoinStorm},
};

/// Returns whether all nodes agreed in the end.
pub(super) fn run(args: &Args, out: &mut dyn Write, err: &mut dyn Write) -> io::Result<bool> {
    let cluster = args.cluster(args.seed, args.threads);
    let uplink = cluster.link.bandwidth;
    let storm = JoinStorm { cluster, time_max: args.time, uplink };
    let started = WallInstant::now();
    let mut shown = false;
    let formed = storm.run(|time, whole| {
        let wall = started.elapsed().as_secs_f64();
        if wall > 2.0 {
            shown = true;
            let (time, nodes) = (time.as_secs_f64(), args.nodes);
            let text = format!("{time:.0} s, {whole} of {nodes} know all, {wall:.0} s real");
            progress_line(err, &text);
        }
    });
    if shown {
        progress_line(err, "");
        write!(err, "\r")?;
    }
    if args.json {
        print_json(args, &formed, out)?;
    } else {
        print_text(args, &formed, out)?;
    }
    Ok(formed.is_whole())
}

fn print_text(args: &Args, formed: &Formed, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "{}", args.replay())?;
    writeln!(
        out,
        "nodes {}, virtual time {:.1} s, failed joins {}, false failures {}",
        formed.nodes,
        formed.time.as_secs_f64(),
        formed.failed_joins,
        formed.false_failures
    )?;
    writeln!(out, "all have joined after {} s", seconds(formed.joined))?;
    writeln!(out, "\n{:>9}  {:>18}", "share", "considers all alive, s")?;
    for share in SHARES {
        writeln!(out, "{:>8}%  {:>18}", share * 100.0, seconds(formed.reached(share)))?;
    }
    writeln!(
        out,
        "\nthe seed sent {:.1} MB on streams, all nodes {:.1} MB in datagrams and {:.1} MB on \
         streams; the longest queue had {} broadcasts",
        formed.seed_bytes as f64 / 1e6,
        formed.traffic.bytes_sent as f64 / 1e6,
        formed.traffic.stream_bytes_sent as f64 / 1e6,
        formed.queued_max
    )?;
    writeln!(
        out,
        "events {}; real time {:.2} s ({:.0} ns an event)",
        formed.events,
        formed.wall.as_secs_f64(),
        formed.wall.as_nanos() as f64 / formed.events.max(1) as f64
    )
}

fn print_json(args: &Args, formed: &Formed, out: &mut dyn Write) -> io::Result<()> {
    let shares = SHARES
        .iter()
        .map(|share| json!({ "share": share, "whole_s": json_seconds(formed.reached(*share)) }));
    let json = json!({
        "scenario": "joins",
        "nodes": formed.nodes,
        "seed": args.seed,
        "virtual_s": formed.time.as_secs_f64(),
        "failed_joins": formed.failed_joins,
        "false_failures": formed.false_failures,
        "joined_s": json_seconds(formed.joined),
        "agreement": shares.collect::<Vec<_>>(),
        "seed_stream_bytes": formed.seed_bytes,
        "packet_bytes": formed.traffic.bytes_sent,
        "stream_bytes": formed.traffic.stream_bytes_sent,
        "queued_max": formed.queued_max,
        "events": formed.events,
        "wall_run_s": json_seconds(Some(formed.wall)),
    });
    writeln!(out, "{}", compact(&json))
}

const SHARES: [f64; 4] = [0.01, 0.5, 0.99, 1.0];

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::cli::{commands::simulate::SIMULATE, flags};

    fn report(words: &[&str]) -> (bool, Value) {
        let words: Vec<_> = words.iter().map(|word| (*word).to_owned()).collect();
        let args = Args::build(&flags::parse(SIMULATE.flags, &words).unwrap()).unwrap();
        let mut out = Vec::new();
        let agreed = run(&args, &mut out, &mut Vec::new()).unwrap();
        (agreed, serde_json::from_slice(&out).unwrap())
    }

    #[test]
    fn a_storm_reports_when_all_agree_and_fails_if_they_do_not() {
        let flags = ["-scenario=joins", "-nodes=20", "-format=json"];
        let (agreed, whole) = report(&flags);
        assert!(agreed, "{whole}");
        assert!(whole["agreement"][3]["whole_s"].as_f64().unwrap() > 0.9, "{whole}");
        // The last nodes start after 0.95 s.
        let (agreed, half) = report(&[&flags[..], &["-minutes=0.01"]].concat());
        assert!(!agreed && half["agreement"][3]["whole_s"].is_null(), "{half}");
    }
}
