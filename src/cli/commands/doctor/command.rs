//! The command `serf doctor`.

use serde::Serialize;

use super::{
    super::{
        super::output::{columns, line, pretty},
        CommandSpec, FORMAT, Failure, Flag, Kind, Parsed, RPC, SPEC, block_on, connect, flag,
        wants_json,
    },
    checks::{self, Peer},
    evidence::Evidence,
    finding::Finding,
    host, log,
};

pub(in super::super) const DOCTOR: CommandSpec = CommandSpec {
    name: "doctor",
    synopsis: "Finds problems of an agent and its peers",
    arguments: "[options] [node ...]",
    about: "Checks an agent and its peers (all, or the given ones) and reports problems and their \
            remedies: UDP that is blocked or one-way, members that do not answer, an advertised \
            address that others cannot reach, mismatched labels, keys, versions and names, clocks, \
            seeds that do not resolve, files, descriptors, the MTU, and listeners that are open to \
            all. Use it when members flap, fail or do not join. It changes nothing. It also works \
            with HashiCorp's agents; what they do not report is read from their log. Each end of a \
            connection sees only its own half: run it on both.\n\n\
            Exits with 0 if nothing is wrong, with 2 if something is, and with 1 if the agent does \
            not answer.",
    flags: &[FLAGS, FORMAT, RPC],
    run,
    ..SPEC
};

/// The output of `-format json`.
#[derive(Debug, Serialize)]
pub(super) struct Diagnosis {
    pub(super) healthy: bool,
    pub(super) agent: String,
    pub(super) peers: Vec<Peer>,
    pub(super) findings: Vec<Finding>,
}

impl Diagnosis {
    /// Evaluates the evidence.
    pub(super) fn of(evidence: &Evidence, names: &[String], since_s: i64) -> Self {
        let (peers, mut findings) = checks::peers(evidence, names);
        findings.extend(checks::cluster(evidence, !findings.is_empty()));
        findings.extend(host::findings(evidence));
        for found in log::findings(evidence, since_s) {
            // Findings from the log are less exact than those from other sources.
            if !findings.iter().any(|known| known.check == found.check) {
                findings.push(found);
            }
        }
        findings.sort();
        findings.dedup();
        Self { healthy: findings.is_empty(), agent: evidence.name().to_owned(), peers, findings }
    }
}

/// How far back the log is evaluated, in seconds.
pub(super) fn since_s(args: &Parsed) -> i64 {
    args.duration("since").unwrap_or(SINCE_NS) / 1_000_000_000
}

fn run(args: &Parsed) -> Result<(), Failure> {
    let json = wants_json(args)?;
    block_on(async {
        let client = connect(args).await?;
        let names = &args.positionals;
        let evidence = Evidence::gather(&client, names).await?;
        let diagnosis = Diagnosis::of(&evidence, names, since_s(args));
        if json {
            line(&pretty(&diagnosis));
        } else {
            print(&diagnosis);
        }
        if diagnosis.healthy { Ok(()) } else { Err(Failure::Code(2)) }
    })
}

fn print(diagnosis: &Diagnosis) {
    let Diagnosis { agent, peers, findings, .. } = diagnosis;
    if !peers.is_empty() {
        let mut rows = vec!["Peer|Address|Reached".to_owned()];
        let cells =
            |peer: &Peer| [&peer.name, &peer.address, &peer.state].map(|c| c.replace('|', "/"));
        rows.extend(peers.iter().map(|peer| cells(peer).join("|")));
        line(&columns(&rows));
        line("");
    }
    if findings.is_empty() {
        return line(&format!("Nothing is wrong with {agent} and its peers."));
    }
    for Finding { check, problem, remedy, .. } in findings {
        line(&format!("[{check}] {problem}\n    {remedy}"));
    }
}

const FLAGS: &[Flag] = &[flag(
    "since",
    Kind::Duration,
    "5m",
    "Greatest age of the log lines that are evaluated. The agent keeps the last 512.",
)];
const SINCE_NS: i64 = 300_000_000_000;
