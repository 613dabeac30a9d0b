//! Checks of the agent's log; they know the texts of Go's agent and ours.

use std::collections::BTreeMap;

use super::{evidence::Evidence, finding::Finding, seeds};

/// A pattern of lines that indicate a problem.
struct Rule {
    check: &'static str,
    /// Texts of which a line contains one.
    any: &'static [&'static str],
    /// Texts before and after the peer in a line; the first pair that a line contains counts.
    peer: &'static [(&'static str, &'static str)],
    /// Description of the problem, with `{}` for the peer.
    problem: &'static str,
    remedy: &'static str,
    /// Least number of lines about a peer that indicates a problem.
    least: usize,
}

/// Finds problems in lines that are at most `since_s` seconds old.
pub(super) fn findings(evidence: &Evidence, since_s: i64) -> Vec<Finding> {
    let now = jiff::Zoned::now().datetime();
    let is_recent = |line: &&str| {
        let time = line.get(..TIME_LEN).unwrap_or_default();
        let parsed = jiff::civil::DateTime::strptime("%Y/%m/%d %H:%M:%S", time);
        // A line without a time is included: its age is unknown.
        parsed.map_or(true, |at| now.duration_since(at).as_secs() <= since_s)
    };
    let lines: Vec<_> = evidence.log.iter().map(String::as_str).filter(is_recent).collect();
    let mut all = seeds::findings(&lines);
    for rule in RULES.iter().filter(|rule| rule.check != "udp" || !evidence.is_ours()) {
        let mut peers: BTreeMap<String, usize> = BTreeMap::new();
        for line in lines.iter().filter(|line| rule.any.iter().any(|text| line.contains(text))) {
            *peers.entry(peer(line, rule.peer)).or_default() += 1;
        }
        // The peer complains about us: what is wrong lies between the two.
        if rule.check == "version"
            && let Some(count) = peers.remove(evidence.name())
        {
            *peers.entry(String::new()).or_default() += count;
        }
        // Only some of several lines about one problem name the peer.
        if peers.len() > 1 {
            peers.remove("");
        }
        for (peer, _) in peers.into_iter().filter(|(_, count)| *count >= rule.least) {
            all.push(rule.finding(&peer));
        }
    }
    all
}

impl Rule {
    fn finding(&self, peer: &str) -> Finding {
        if peer.is_empty() {
            // The lines about a name that do not contain it are about the agent's own.
            let unnamed = if self.check == "name" { "this agent's" } else { UNNAMED };
            let problem = self.problem.replacen("{}", unnamed, 1).replace("{}", "it");
            let capital = problem.strip_prefix('a').map(|rest| format!("A{rest}"));
            return Finding::new(self.check, capital.unwrap_or(problem), self.remedy);
        }
        Finding::new(self.check, self.problem.replace("{}", peer), self.remedy).about(peer)
    }
}

/// The peer in a line: an address without its port, which differs for each connection.
fn peer(line: &str, between: &[(&str, &str)]) -> String {
    let found = between.iter().find_map(|(before, after)| {
        let (_, rest) = line.split_once(before)?;
        match *after {
            "" => rest.split_whitespace().next(),
            after => rest.split_once(after).map(|(name, _)| name),
        }
    });
    let name = found.unwrap_or_default();
    match name.parse::<std::net::SocketAddr>() {
        Ok(addr) => addr.ip().to_string(),
        Err(_) => name.to_owned(),
    }
}

const RULES: &[Rule] = &[
    Rule {
        check: "udp",
        any: &["over TCP but UDP probes failed"],
        peer: &[("Was able to connect to ", " over TCP")],
        problem: "{} answers over TCP, but UDP between this agent and {} does not get through.",
        remedy: "Allow UDP in both directions on the gossip port (7946) in firewalls and security \
                 groups.",
        least: 2,
    },
    Rule {
        check: "label",
        any: &["with unacceptable label"],
        peer: &[("from=", "")],
        problem: "{} uses a different cluster label than this agent.",
        remedy: "Set the same label on all agents of the cluster, or remove the addresses of \
                 the other cluster from the seeds.",
        least: 1,
    },
    Rule {
        check: "key",
        any: &[
            "o installed keys could decrypt the message",
            "ncryption is configured but remote state is not encrypted",
            "emote state is encrypted and encryption is not configured",
        ],
        peer: &[("from=", "")],
        problem: "{} and this agent do not have an encryption key in common.",
        remedy: "Compare the output of serf keys -list on both, and add the missing key with \
                 encrypt_key or keyring_file. Encrypt on all members or on none.",
        least: 2,
    },
    Rule {
        check: "name",
        any: &["Names must be unique!", "are claiming", "Conflicting address for "],
        peer: &[("Conflicting address for ", ". Mine"), ("Name conflict for '", "' both ")],
        problem: "Two members have the same name, {}.",
        remedy: "Set a unique name on each agent (-node). If it is one agent with a new address, \
                 wait until the old one has failed, or remove it with serf force-leave.",
        least: 1,
    },
    Rule {
        check: "version",
        any: &[
            "its versions are not ours",
            "protocol version(s) are wrong",
            ") is incompatible: [",
        ],
        peer: &[
            ("Ignoring an alive message for '", "' ("),
            ("Ignoring an alive message for '", "' because"),
            ("Ignoring ", ": its versions"),
            ("Node '", "' "),
        ],
        problem: "The protocol versions of {} are incompatible with this agent's.",
        remedy: "Set the same -protocol on all agents until all are upgraded.",
        least: 1,
    },
    Rule {
        check: "clock",
        any: &["refusing a Lamport time of ", "is far ahead ("],
        peer: &[("a Lamport time of ", ": "), ("The Lamport clock of ", " is far ahead")],
        problem: "{} sends Lamport times far ahead of this agent's.",
        remedy: "Encrypt the cluster, and look for a member that was restored from another \
                 cluster's snapshot. Ignore this in a cluster that sends very many events.",
        least: 3,
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
        peer: &[],
        problem: "The agent cannot write one of its files.",
        remedy: "Find the file and the reason in the log. Make the file and its directory \
                 writable for the agent's user, and free disk space.",
        least: 1,
    },
    Rule {
        check: "descriptors",
        any: &["too many open files", "Too many open files", "too many streams"],
        peer: &[],
        problem: "The agent has run out of file descriptors.",
        remedy: "Raise the limit: set LimitNOFILE=65536 in the systemd unit, or use ulimit -n.",
        least: 1,
    },
    Rule {
        check: "push-pull",
        any: &["is larger than limit", "node state size is"],
        peer: &[("from=", "")],
        problem: "The state that {} and this agent exchange is too large.",
        remedy: "Remove members that have left or failed (serf force-leave -prune), and shorten \
        tags.",
        least: 1,
    },
    Rule {
        check: "queue",
        any: &[
            "memberlist: handler queue full",
            "memberlist: Too many pending push/pull",
            "serf: Intent queue depth (",
            "serf: Event queue depth (",
            "serf: Query queue depth (",
            "agent: Event handlers too slow",
            "too slow, an event is dropped",
        ],
        peer: &[],
        problem: "The agent receives more messages or events than it can handle.",
        remedy: "Find the sender of many events (serf monitor), make event handlers faster, or \
                 give the agent more CPU time.",
        least: 1,
    },
    Rule {
        check: "advertise",
        any: &["Refuting a suspect message", "Refuting a dead message"],
        peer: &[],
        problem: "Other members do not reach this agent and suspect it repeatedly.",
        remedy: "Set -advertise to an address at which other members reach this agent by UDP and \
                 TCP, and check whether the machine is overloaded.",
        least: 3,
    },
];
/// Length of the time at the beginning of a line.
const TIME_LEN: usize = 19;
/// A peer whose name and address are not in the log.
const UNNAMED: &str = "a peer that the log does not name";

#[cfg(test)]
mod tests;
