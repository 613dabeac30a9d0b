//! `serf reachability`

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use serde::Serialize;

use super::{
    super::output::{line, pretty},
    CommandSpec, FORMAT, Failure, Flag, Kind, Parsed, RPC, SPEC, connect, failed, flag,
    until_interrupt, wants_json,
};
use crate::{
    client::{QueryEvent, QueryStream},
    rpc::protocol::{Member, Query},
};

pub(super) const REACHABILITY: CommandSpec = CommandSpec {
    name: "reachability",
    synopsis: "Test network reachability",
    arguments: "[options]",
    about: "Sends a query to all members and reports which live ones did not acknowledge it. Use \
            it when members flap or seem unreachable: it tests whether gossip reaches each of \
            them and their packets come back.\n\n\
            Exits with 0 if every live member sent one ack; with 1 if acks are missing or \
            duplicate, if the agent does not answer, or when it is interrupted.",
    flags: &[FLAGS, FORMAT, RPC],
    run,
    ..SPEC
};

fn run(args: &Parsed) -> Result<(), Failure> {
    let json = wants_json(args)?;
    let verbose = args.bool("verbose") && !json;
    let interrupted = Err(Failure::Message("Test interrupted".to_owned()));
    until_interrupt(args, interrupted, move |args| async move {
        let client = connect(&args).await?;
        let members = client.members().await.map_err(failed("Error getting members"))?;
        let live: BTreeSet<&str> = members
            .iter()
            .filter(|member| member.status == "alive")
            .map(|member| member.name.as_str())
            .collect();
        if !json {
            line(&format!("Total members: {}, live members: {}", members.len(), live.len()));
        }
        let query = Query { name: "_serf_ping".into(), request_ack: true, ..Query::default() };
        let acks = client.query(query).await.map_err(failed("Error sending query"))?;
        if !json {
            line("Starting reachability test...");
        }
        let acked = collect(acks, verbose, json).await?;
        if json {
            return report_json(&members, &live, &acked);
        }
        report(&members, &live, &acked, verbose)
    })
}

struct Acked {
    names: BTreeSet<String>,
    duplicates: bool,
    took: Duration,
    last: Duration,
}

async fn collect(mut acks: QueryStream, verbose: bool, quiet: bool) -> Result<Acked, Failure> {
    let start = Instant::now();
    let mut acked = Acked {
        names: BTreeSet::new(),
        duplicates: false,
        took: Duration::ZERO,
        last: Duration::ZERO,
    };
    while let Some(event) = acks.recv().await? {
        let QueryEvent::Ack(from) = event else { continue };
        if verbose {
            line(&format!("\tAck from '{from}'"));
        }
        acked.last = start.elapsed();
        if !acked.names.insert(from.clone()) {
            if !quiet {
                line(&format!("Duplicate response from '{from}'"));
            }
            acked.duplicates = true;
        }
    }
    acked.took = start.elapsed();
    Ok(acked)
}

/// The output of `-format json`.
#[derive(Serialize)]
struct Report<'r> {
    members: usize,
    live: usize,
    acked: &'r BTreeSet<String>,
    missing: Vec<&'r str>,
    duplicates: bool,
    query_seconds: f64,
}

/// Prints one JSON object; the exit code is the same as for the text format.
fn report_json(members: &[Member], live: &BTreeSet<&str>, acked: &Acked) -> Result<(), Failure> {
    line(&pretty(&Report {
        members: members.len(),
        live: live.len(),
        acked: &acked.names,
        missing: live.iter().copied().filter(|name| !acked.names.contains(*name)).collect(),
        duplicates: acked.duplicates,
        query_seconds: acked.took.as_secs_f64(),
    }));
    let fine = acked.names.len() == live.len() && !acked.duplicates;
    if fine { Ok(()) } else { Err(Failure::Silent) }
}

fn report(
    members: &[Member],
    live: &BTreeSet<&str>,
    acked: &Acked,
    verbose: bool,
) -> Result<(), Failure> {
    if verbose {
        let (took, last) = (acked.took.as_secs_f64(), acked.last.as_secs_f64());
        line(&format!("Query time: {took:.2} sec, time to last response: {last:.2} sec"));
    }
    if acked.duplicates {
        line(
            "Duplicate responses means there is a misconfiguration. Verify that node names are \
             unique.",
        );
    }
    let all = acked.names.len() == live.len();
    if all {
        line("Successfully contacted all live nodes");
        return if acked.duplicates { Err(Failure::Silent) } else { Ok(()) };
    }
    if acked.names.len() > live.len() {
        line("Received more acks than live nodes! Acks from non-live nodes:");
        for name in acked.names.iter().filter(|name| !live.contains(name.as_str())) {
            line(&format!("\t{name}"));
        }
        line(
            "This could mean Serf is detecting false-failures due to a misconfiguration or \
             network issue.",
        );
    } else {
        line("Received less acks than live nodes! Missing acks from:");
        for member in members.iter().filter(|member| live.contains(member.name.as_str())) {
            if !acked.names.contains(&member.name) {
                line(&format!("\t{}", member.name));
            }
        }
        line(
            "This could mean Serf gossip packets are being lost due to a misconfiguration or \
             network issue.",
        );
    }
    Err(Failure::Message(TROUBLESHOOTING.to_owned()))
}

const FLAGS: &[Flag] = &[flag("verbose", Kind::Bool, "", "Show each ack and the time taken.")];
/// Begins with an empty line, as with Go.
const TROUBLESHOOTING: &str = "
Troubleshooting tips:
* Ensure that the bind addr:port is accessible by all other nodes
* If an advertise address is set, ensure it routes to the bind address
* Check that no nodes are behind a NAT
* If nodes are behind firewalls or iptables, check that Serf traffic is permitted (UDP and TCP)
* Verify networking equipment is functional";
