//! Checks of the agent's log; they know the texts of Go's agent and ours.

use std::collections::BTreeMap;

use super::{evidence::Evidence, finding::Finding};

/// A pattern of lines that indicate a problem.
struct Rule {
    check: &'static str,
    /// Texts of which a line contains one.
    any: &'static [&'static str],
    /// Texts before and after the peer in the line.
    peer: (&'static str, &'static str),
    /// Description of the problem, with `{}` for the peer.
    problem: &'static str,
    remedy: &'static str,
    /// Least number of lines about a peer that indicates a problem.
    least: usize,
    /// Texts of later lines that show that the problem is over.
    over: &'static [&'static str],
}

/// Finds problems in lines that are at most `since_s` seconds old.
pub(super) fn findings(evidence: &Evidence, since_s: i64) -> Vec<Finding> {
    let now = jiff::Zoned::now().datetime();
    let is_recent = |line: &&String| {
        let time = line.get(..TIME_LEN).unwrap_or_default();
        let parsed = jiff::civil::DateTime::strptime("%Y/%m/%d %H:%M:%S", time);
        // A line without a time is included: its age is unknown.
        parsed.map_or(true, |at| now.duration_since(at).as_secs() <= since_s)
    };
    let lines: Vec<_> = evidence.log.iter().filter(is_recent).collect();
    let mut all = Vec::new();
    for rule in RULES.iter().filter(|rule| rule.check != "udp" || !evidence.is_ours()) {
        let mut peers: BTreeMap<String, usize> = BTreeMap::new();
        for line in &lines {
            if rule.over.iter().any(|over| line.contains(over)) {
                peers.clear();
            } else if rule.any.iter().any(|text| line.contains(text)) {
                *peers.entry(peer(line, rule.peer)).or_default() += 1;
            }
        }
        // Only some of several lines about one problem name the peer.
        if peers.len() > 1 {
            peers.remove("");
        }
        for (peer, _) in peers.into_iter().filter(|(_, count)| *count >= rule.least) {
            let problem =
                rule.problem.replace("{}", if peer.is_empty() { "a peer" } else { &peer });
            let finding = Finding::new(rule.check, problem, rule.remedy);
            all.push(if peer.is_empty() { finding } else { finding.about(&peer) });
        }
    }
    all
}

/// The peer in a line: an address without its port, which differs for each connection.
fn peer(line: &str, (before, after): (&str, &str)) -> String {
    let Some((_, rest)) = line.split_once(before).filter(|_| !before.is_empty()) else {
        return String::new();
    };
    let name = match after {
        "" => rest.split_whitespace().next().unwrap_or_default(),
        after => rest.split(after).next().unwrap_or_default(),
    };
    match name.parse::<std::net::SocketAddr>() {
        Ok(addr) => addr.ip().to_string(),
        Err(_) => name.to_owned(),
    }
}

const RULES: &[Rule] = &[
    Rule {
        check: "udp",
        any: &["over TCP but UDP probes failed"],
        peer: ("Was able to connect to ", " over TCP"),
        problem: "{} answers over TCP, but UDP between this agent and {} does not come through.",
        remedy: "Allow UDP in both directions on the gossip port (7946) in firewalls and security \
                 groups.",
        least: 2,
        over: &[],
    },
    Rule {
        check: "label",
        any: &["with unacceptable label"],
        peer: ("from=", ""),
        problem: "{} sends gossip with another cluster label than this agent's.",
        remedy: "Give all agents of the cluster the same label setting, or take the addresses of \
                 the other cluster out of the seeds.",
        least: 1,
        over: &[],
    },
    Rule {
        check: "key",
        any: &[
            "o installed keys could decrypt the message",
            "ncryption is configured but remote state is not encrypted",
            "emote state is encrypted and encryption is not configured",
        ],
        peer: ("from=", ""),
        problem: "{} and this agent do not have an encryption key in common.",
        remedy: "Compare `serf keys -list` on both, and give the member its key with encrypt_key \
                 or keyring_file; all or none of the members encrypt.",
        least: 2,
        over: &[],
    },
    Rule {
        check: "name",
        any: &["Names must be unique!", "are claiming", "Conflicting address for "],
        peer: ("Conflicting address for ", ". Mine"),
        problem: "Two members have the same name, {}.",
        remedy: "Give each agent a name of its own (-node). If it is one agent at a new address, \
                 wait until the old one is failed, or force-leave it.",
        least: 1,
        over: &[],
    },
    Rule {
        check: "version",
        any: &["its versions are not ours", "protocol version(s) are wrong"],
        peer: ("Ignoring ", ":"),
        problem: "The protocol versions of {} do not fit this agent's.",
        remedy: "Set the same -protocol on all agents until all are upgraded.",
        least: 1,
        over: &[],
    },
    Rule {
        check: "clock",
        any: &["refusing a Lamport time of ", "is far ahead ("],
        peer: ("Lamport ", ""),
        problem: "A peer sends times of events far ahead of this agent's clock.",
        remedy: "Nothing if the cluster sends many events; otherwise look for a member that was \
                 restored from another cluster's snapshot, or for forged messages, and encrypt.",
        least: 3,
        over: &[],
    },
    Rule {
        check: "seed",
        any: &["no such host", "failed to lookup address", "ailed to resolve", "lookup "],
        peer: ("lookup ", ":"),
        problem: "A seed does not resolve: {}.",
        remedy: "Correct the name in start_join, retry_join or -join, or the name server in \
                 /etc/resolv.conf.",
        least: 1,
        over: &["Join completed", "joined: "],
    },
    Rule {
        check: "file",
        any: &[
            "Failed to update snapshot",
            "failed to flush snapshot",
            "failed to sync snapshot",
            "Failed to write keyring file",
            "Failed to write tags file",
            "Compaction failed",
        ],
        peer: ("", ""),
        problem: "The agent cannot write one of its files.",
        remedy: "Look at the log for the file and the reason; make it and its directory writable \
                 for the agent's user, and free the disk.",
        least: 1,
        over: &[],
    },
    Rule {
        check: "descriptors",
        any: &["too many open files", "Too many open files", "too many streams"],
        peer: ("", ""),
        problem: "The agent has run out of file descriptors.",
        remedy: "Raise the limit: LimitNOFILE=65536 in the unit of systemd, or ulimit -n.",
        least: 1,
        over: &[],
    },
    Rule {
        check: "push-pull",
        any: &["is larger than limit", "node state size is", "Too many pending push/pull"],
        peer: ("from=", ""),
        problem: "The state that {} and this agent exchange is too large.",
        remedy: "Remove members that have left or failed (serf force-leave -prune), and shorten \
        tags.",
        least: 1,
        over: &[],
    },
    Rule {
        check: "queue",
        any: &["handler queue full", "exceeds limit", "events dropped"],
        peer: ("", ""),
        problem: "The agent gets more messages or events than it handles.",
        remedy: "Find the sender of many events (serf monitor), make handlers faster, or give the \
                 agent more processor time.",
        least: 1,
        over: &[],
    },
    Rule {
        check: "advertise",
        any: &["Refuting a suspect message", "Refuting a dead message"],
        peer: ("", ""),
        problem: "Other members do not reach this agent and keep suspecting it.",
        remedy: "Check that -advertise is an address at which others reach it, by UDP and TCP, and \
                 that the machine is not overloaded.",
        least: 3,
        over: &[],
    },
];
/// Length of the time at the beginning of a line.
const TIME_LEN: usize = 19;
