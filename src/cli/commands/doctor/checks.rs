//! Checks of members, statistics and acks.

use std::net::IpAddr;

use serde::Serialize;

use super::{evidence::Evidence, finding::Finding};
use crate::rpc::protocol::Member;

/// How a peer can be reached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Peer {
    pub(super) name: String,
    pub(super) address: String,
    /// `ok`, `tcp only`, `one-way`, `through others`, `no answer`, or a status that is not alive.
    pub(super) state: String,
}

/// Statistics of a peer in trouble, from the agent's group `udp`.
#[derive(Debug, Default)]
struct Udp {
    probes: u32,
    by_tcp: u32,
    by_others: u32,
    heard: u32,
}

impl Udp {
    fn of(evidence: &Evidence, name: &str) -> Option<Self> {
        let text = evidence.figure("udp", name)?;
        let mut udp = Self::default();
        for (key, value) in text.split(' ').filter_map(|pair| pair.split_once('=')) {
            let value = value.parse().unwrap_or_default();
            match key {
                "probes" => udp.probes = value,
                "by_tcp" => udp.by_tcp = value,
                "by_others" => udp.by_others = value,
                "heard" => udp.heard = value,
                _ => {}
            }
        }
        // Single lost packets are normal.
        (udp.probes >= PROBES_MIN).then_some(udp)
    }
}

/// The selected peers, and the problems found with them.
pub(super) fn peers(evidence: &Evidence, names: &[String]) -> (Vec<Peer>, Vec<Finding>) {
    let (mut peers, mut findings) = (Vec::new(), Vec::new());
    for name in names {
        if !evidence.members.iter().any(|member| member.name == *name) {
            let problem = format!("There is no member {name}.");
            findings.push(Finding::new("member", problem, UNKNOWN).about(name));
        }
    }
    let is_wanted = |member: &&Member| {
        member.name != evidence.name() && (names.is_empty() || names.contains(&member.name))
    };
    for member in evidence.members.iter().filter(is_wanted) {
        let (state, found) = peer(evidence, member);
        let (name, address) = (member.name.clone(), address(member));
        findings.extend(found.map(|found| found.about(&name)));
        peers.push(Peer { name, address, state });
    }
    (peers, findings)
}

fn peer(evidence: &Evidence, member: &Member) -> (String, Option<Finding>) {
    let name = &member.name;
    let at = address(member);
    if member.status != "alive" {
        let found = (member.status == "failed").then(|| {
            let problem = format!("{name} ({at}) has failed: it answers neither UDP nor TCP.");
            Finding::new("failed", problem, FAILED)
        });
        return (member.status.clone(), found);
    }
    let silent = evidence.silent.contains(name);
    match Udp::of(evidence, name) {
        Some(udp) if udp.heard > 0 && (udp.by_tcp > 0 || udp.by_others > 0) => {
            let problem = format!(
                "UDP is one-way between this agent and {name} ({at}): packets \
                 from it arrive, but packets from this agent do not reach it."
            );
            ("one-way".to_owned(), Some(Finding::new("udp", problem, ONE_WAY)))
        }
        Some(udp) if udp.by_tcp > 0 => {
            let problem = format!(
                "UDP from {name} ({at}) does not get through: it answers over TCP only, and \
                 none of its packets arrive."
            );
            ("tcp only".to_owned(), Some(Finding::new("udp", problem, BLOCKED)))
        }
        Some(udp) if udp.by_others > 0 => {
            let problem = format!(
                "UDP does not get through between this agent and {name} ({at}): it answers \
                 only through other members."
            );
            ("through others".to_owned(), Some(Finding::new("udp", problem, BLOCKED)))
        }
        _ if silent && evidence.silent.len() < evidence.asked.saturating_sub(1) => {
            let problem = format!("{name} ({at}) is alive, but does not acknowledge queries.");
            ("no answer".to_owned(), Some(Finding::new("query", problem, SILENT)))
        }
        _ if silent => ("no answer".to_owned(), None),
        _ => ("ok".to_owned(), None),
    }
}

/// Checks the agent and the cluster as a whole.
pub(super) fn cluster(evidence: &Evidence, others_in_trouble: bool) -> Vec<Finding> {
    let mut findings = Vec::new();
    findings.extend(advertised(evidence, others_in_trouble));
    findings.extend(versions(evidence));
    if let Some((keys, answered)) = &evidence.keys {
        for count in keys.values().filter(|count| *count < answered) {
            let problem =
                format!("A key is installed on only {count} of {answered} members that answered.");
            findings.push(Finding::new("key", problem, PARTIAL_KEY));
        }
    }
    for (key, detail) in evidence.stats.get("faults").into_iter().flatten() {
        findings.extend(
            FAULTS
                .iter()
                .find(|fault| fault.0 == key)
                .map(|(key, text, remedy)| Finding::new(key, text.replace("{}", detail), remedy)),
        );
    }
    findings
}

/// Checks whether others can reach the announced address: by its kind, and by the state of the
/// peers.
fn advertised(evidence: &Evidence, others_in_trouble: bool) -> Option<Finding> {
    let own = evidence.own()?;
    let ip = ip_of(own)?;
    let others =
        || evidence.members.iter().filter(|member| member.name != own.name).filter_map(ip_of);
    let at = address(own);
    if ip.is_unspecified() {
        let problem = format!("This agent advertises {at}, which is not the address of a machine.");
        return Some(Finding::new("advertise", problem, ADVERTISE));
    }
    if ip.is_loopback() && others().any(|other| !other.is_loopback()) {
        let problem = format!(
            "This agent advertises {at}, which is reachable only from its own machine, but \
             other members are on other machines."
        );
        return Some(Finding::new("advertise", problem, ADVERTISE));
    }
    let unheard = evidence.asked > 1 && evidence.silent.len() == evidence.asked - 1;
    (unheard && !others_in_trouble).then(|| {
        let problem = format!(
            "No answer to a query arrives at {at}, the address that this agent advertises, \
             although the other members are alive."
        );
        Finding::new("advertise", problem, ADVERTISE)
    })
}

fn ip_of(member: &Member) -> Option<IpAddr> {
    let bytes = member.addr.0.as_slice();
    let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    let ip = v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from)).ok()?;
    Some(ip.to_canonical())
}

fn address(member: &Member) -> String {
    match ip_of(member) {
        Some(ip) => std::net::SocketAddr::new(ip, member.port).to_string(),
        None => "no address".to_owned(),
    }
}

/// Finds members without a common version of Serf's protocol.
fn versions(evidence: &Evidence) -> Option<Finding> {
    let live = || evidence.members.iter().filter(|member| member.status == "alive");
    let lowest = live().min_by_key(|member| member.delegate_max)?;
    let highest = live().max_by_key(|member| member.delegate_min)?;
    (lowest.delegate_max < highest.delegate_min).then(|| {
        let problem = format!(
            "{} supports Serf's protocol only up to version {}, but {} needs at least version {}.",
            lowest.name, lowest.delegate_max, highest.name, highest.delegate_min
        );
        Finding::new("version", problem, VERSIONS)
    })
}

/// Problems that our agent reports of itself: key, problem with `{}` for the details, remedy.
const FAULTS: &[(&str, &str, &str)] = &[
    (
        "descriptors",
        "The agent may open only {} files, connections included.",
        "Raise the limit: set LimitNOFILE=65536 in the systemd unit, or use ulimit -n.",
    ),
    (
        "push-pull",
        "The state that this agent sends to members that join has {}; they refuse more than \
         20 MiB and cannot join then.",
        "Remove members that have left or failed (serf force-leave -prune), and shorten tags.",
    ),
    (
        "rpc",
        "The RPC listens on {} without a token: anyone who can connect to it controls the agent.",
        "Set rpc_auth, or set -rpc-addr to 127.0.0.1:7373 or to a Unix socket.",
    ),
    (
        "http",
        "HTTP listens on {} without a token: anyone who can connect to it can read members and \
         events.",
        "Set rpc_auth, or set -http-addr to a loopback address.",
    ),
    (
        "file",
        "The agent cannot write a file that it needs: {}.",
        "Make the file and its directory writable for the agent's user, and free disk space.",
    ),
    (
        "keys-unwritten",
        "The newest keys are not in the keyring file ({}): after a restart the agent would use \
         the old ones.",
        "Make the file and its directory writable for the agent's user, and free disk space.",
    ),
    (
        "systemd",
        "systemd started the agent, but {}.",
        "Set Type=notify and WatchdogSec=30s in the unit.",
    ),
    (
        "key-use",
        "The encryption key has encrypted about {} messages of all members; its limit is 2^32.",
        "Rotate the key: serf keys rotate.",
    ),
];
/// Least number of consecutive probes without a direct ack that indicates a problem.
const PROBES_MIN: u32 = 3;
const UNKNOWN: &str = "Compare the name with the output of serf members.";
const FAILED: &str = "Start its agent, or remove it with serf force-leave. If its agent runs, \
    check the firewalls between the two machines, and run serf doctor there.";
const ONE_WAY: &str = "Allow UDP from this machine to the peer's gossip port: outgoing in this \
    machine's firewall, incoming in the peer's firewall or security group.";
const BLOCKED: &str = "Allow UDP and TCP in both directions on the gossip port (7946) in firewalls \
    and security groups. Run serf doctor on the peer to see which direction is blocked.";
const SILENT: &str = "Check whether its machine is overloaded, and allow UDP from it to this \
    agent's advertised address.";
const PARTIAL_KEY: &str = "Finish the rotation with serf keys rotate, or install the key again.";
const ADVERTISE: &str = "Set -advertise to an address at which other members reach this agent by \
    UDP and TCP.";
const VERSIONS: &str = "Upgrade the older member, or set a lower -protocol on the newer ones.";

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(key: &str, detail: &str) -> Finding {
        let mut evidence = Evidence::default();
        let details = [(key.to_owned(), detail.to_owned())].into_iter().collect();
        evidence.stats.insert("faults".to_owned(), details);
        cluster(&evidence, false).remove(0)
    }

    #[test]
    fn a_large_state_is_not_called_near_the_limit() {
        let found = fault("push-pull", "12.0 MiB, 60 % of the limit");
        assert!(found.problem.contains("has 12.0 MiB, 60 % of the limit;"), "{found:?}");
        assert!(!found.problem.contains("near"), "{found:?}");
    }

    #[test]
    fn a_key_is_missed_only_at_members_that_answered() {
        for (holders, answered, problems) in [(3, 3, 0), (2, 2, 0), (2, 3, 1)] {
            let keys = [("key".to_owned(), holders)].into();
            let evidence = Evidence { keys: Some((keys, answered)), ..Evidence::default() };
            let found = cluster(&evidence, false);
            assert_eq!(found.len(), problems, "{holders} of {answered}: {found:?}");
        }
    }

    /// The agent looks at `NOTIFY_SOCKET` and `WATCHDOG_USEC` alone.
    #[test]
    fn the_remedy_for_the_unit_names_what_is_checked() {
        let found = fault("systemd", "does not notice when the agent hangs");
        let settings: Vec<_> = found.remedy.split(' ').filter(|word| word.contains('=')).collect();
        assert_eq!(settings, ["Type=notify", "WatchdogSec=30s"]);
    }
}
