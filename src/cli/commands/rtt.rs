//! `serf rtt`

use std::time::Duration;

use serde::Serialize;

use super::{CommandSpec, Failure, Parsed, SPEC, block_on, connect, failed, print};
use crate::{rpc::protocol::Coordinate, serf};

pub(super) const RTT: CommandSpec = CommandSpec {
    name: "rtt",
    synopsis: "Estimates network round trip time between nodes",
    arguments: "[options] node1 [node2]",
    about: "Estimates the round trip time between two members, or between one and the agent, from \
            the network coordinates that all agents maintain. It sends no packet to them. Use it \
            to pick the nearest of several members.\n\n\
            Exits with 0, or with 1 if a member is unknown or has no coordinate yet.",
    run,
    ..SPEC
};

/// The output of `-format json`.
#[derive(Serialize)]
struct Estimate<'a> {
    from: &'a str,
    to: &'a str,
    rtt_ms: f64,
}

fn run(args: &Parsed) -> Result<(), Failure> {
    block_on(async {
        let client = connect(args).await?;
        let (first, second) = match args.positionals.as_slice() {
            [first] => {
                let stats = client.stats().await.map_err(failed("Error querying agent"))?;
                let own = stats.get("agent").and_then(|agent| agent.get("name")).cloned();
                (first, own.unwrap_or_default())
            }
            [first, second] => (first, second.clone()),
            _ => {
                let message = "One or two node names must be specified";
                return Err(Failure::Usage(message.to_owned()));
            }
        };
        let mut coordinates = Vec::new();
        for name in [first, &second] {
            let found =
                client.coordinate(name).await.map_err(failed("Error getting coordinates"))?;
            let missing =
                || Failure::Message(format!("Could not find a coordinate for node {name:?}"));
            coordinates.push(engine_coordinate(found.ok_or_else(missing)?));
        }
        let rtt = match coordinates.as_slice() {
            [a, b] => a.distance_to(b).unwrap_or_default(),
            _ => Duration::ZERO,
        };
        let rtt_ms = rtt.as_nanos() as f64 / 1e6;
        let text = format!("Estimated {first} <-> {second} rtt: {rtt_ms:.3} ms");
        print(args, &text, &Estimate { from: first, to: &second, rtt_ms })
    })
}

fn engine_coordinate(coordinate: Coordinate) -> serf::Coordinate {
    let Coordinate { vec, error, adjustment, height } = coordinate;
    serf::Coordinate { vec: vec.unwrap_or_default(), error, adjustment, height }
}
