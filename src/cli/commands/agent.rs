//! `serf agent`

use super::{CommandSpec, Failure, Flag, Kind, Parsed, flag, tags};
use crate::{
    agent::{self, AgentError, FileConfig},
    base::go_duration,
};

pub(super) const AGENT: CommandSpec = CommandSpec {
    name: "agent",
    synopsis: "Runs a Serf agent",
    arguments: "[options]",
    about: "Runs a node of the cluster until it is interrupted. Settings come from configuration \
            files and from flags, which win.",
    flags: &[FLAGS],
    ignores_flags: false,
    error_prefix: "==> ",
    run,
};

const FLAGS: &[Flag] = &[
    flag("advertise", Kind::Text, "<addr>", "Address to announce to the others."),
    flag("bind", Kind::Text, "0.0.0.0:7946", "Address to listen on for gossip, TCP and UDP."),
    flag("broadcast-timeout", Kind::Text, "5s", "Longest wait for a broadcast to go out."),
    flag("cidr-allowed", Kind::List, "<net>", "Network whose nodes are admitted; repeatable."),
    flag("config-dir", Kind::List, "<dir>", "Directory of .json files; repeatable."),
    flag("config-file", Kind::List, "<file>", "Configuration in JSON; repeatable."),
    flag(
        "dead-node-reclaim-time",
        Kind::Text,
        "0s",
        "After this time a dead node's name may come back from another address.",
    ),
    flag("disable-compression", Kind::Bool, "", "Do not compress gossip."),
    flag("discover", Kind::Text, "<cluster>", "Find the cluster of this name by mDNS."),
    flag(
        "encrypt",
        Kind::Text,
        "<key>",
        "Key in base64 that encrypts gossip; or @FILE, or @credential:NAME.",
    ),
    flag(
        "event-handler",
        Kind::List,
        "<spec>",
        "Script to run for events: [filter,...=]script; repeatable.",
    ),
    flag("gossip-interval", Kind::Text, "200ms", "Time between gossip rounds."),
    flag("handler-concurrency", Kind::Int, "1", "Event handlers that may run at a time."),
    flag("handler-timeout", Kind::Text, "0s", "Longest run of an event handler; 0: no bound."),
    flag("iface", Kind::Text, "<name>", "Network interface whose address to bind."),
    flag("join", Kind::List, "<addr>", "Member to join at the start; repeatable."),
    flag("keyring-file", Kind::Text, "<file>", "File of keys, rewritten when they change."),
    flag("label", Kind::Text, "<text>", "Label that all nodes of the cluster share."),
    flag("log-json", Kind::Bool, "", "Log lines are JSON objects."),
    flag("log-level", Kind::Text, "info", "Least level: trace, debug, info, warn or err."),
    flag("mdns-disable-ipv4", Kind::Bool, "", "No mDNS over IPv4."),
    flag("mdns-disable-ipv6", Kind::Bool, "", "No mDNS over IPv6."),
    flag("mdns-iface", Kind::Text, "<name>", "Network interface for mDNS."),
    flag("node", Kind::Text, "<name>", "Name of the node; the host's unless set."),
    flag("probe-interval", Kind::Text, "1s", "Time between probes."),
    flag("probe-timeout", Kind::Text, "500ms", "Wait for a direct answer to a probe."),
    flag("profile", Kind::Text, "lan", "Timing: lan, wan or local."),
    flag("protocol", Kind::Int, "5", "Version of the protocol to speak; 2 to 5."),
    flag("push-pull-interval", Kind::Text, "30s", "Time between full syncs."),
    flag("rejoin", Kind::Bool, "", "Rejoin from the snapshot even after a leave."),
    flag("replay", Kind::Bool, "", "Deliver user events from before a join."),
    flag("retry-interval", Kind::Text, "30s", "Time between attempts of -retry-join."),
    flag("retry-join", Kind::List, "<addr>", "Member to join, tried again and again; repeatable."),
    flag("retry-max", Kind::Int, "0", "Retries before giving up; 0: never."),
    flag("role", Kind::Text, "<role>", "Deprecated: use -tag role=<role>."),
    flag("rpc-addr", Kind::Text, "127.0.0.1:7373", "Address of the RPC; unix:PATH or off."),
    flag("snapshot", Kind::Text, "<file>", "File that remembers the cluster across restarts."),
    flag("syslog", Kind::Bool, "", "Also log to syslog."),
    flag("tag", Kind::List, "<key>=<value>", "Tag of the node; repeatable."),
    flag("tags-file", Kind::Text, "<file>", "File that keeps tags across restarts."),
];

/// Flags that set a text under another name, or the same.
const TEXTS: &[(&str, &str)] = &[
    ("node", "node_name"),
    ("role", "role"),
    ("tags-file", "tags_file"),
    ("bind", "bind"),
    ("advertise", "advertise"),
    ("iface", "interface"),
    ("encrypt", "encrypt_key"),
    ("keyring-file", "keyring_file"),
    ("log-level", "log_level"),
    ("rpc-addr", "rpc_addr"),
    ("profile", "profile"),
    ("snapshot", "snapshot_path"),
    ("discover", "discover"),
    ("mdns-iface", "mdns.interface"),
    ("label", "label"),
];
const SWITCHES: &[(&str, &str)] = &[
    ("replay", "replay_on_join"),
    ("rejoin", "rejoin_after_leave"),
    ("mdns-disable-ipv4", "mdns.disable_ipv4"),
    ("mdns-disable-ipv6", "mdns.disable_ipv6"),
    ("syslog", "enable_syslog"),
    ("log-json", "log_json"),
];
const LISTS: &[(&str, &str)] = &[
    ("join", "start_join"),
    ("retry-join", "retry_join"),
    ("event-handler", "event_handlers"),
    ("cidr-allowed", "cidrs_allowed"),
];
const NUMBERS: &[(&str, &str)] = &[
    ("protocol", "protocol"),
    ("retry-max", "retry_max_attempts"),
    ("handler-concurrency", "handler_concurrency"),
];
const DURATIONS: &[(&str, &str)] = &[
    ("retry-interval", "retry_interval"),
    ("broadcast-timeout", "broadcast_timeout"),
    ("dead-node-reclaim-time", "dead_node_reclaim_time"),
    ("gossip-interval", "gossip_interval"),
    ("handler-timeout", "handler_timeout"),
    ("probe-interval", "probe_interval"),
    ("probe-timeout", "probe_timeout"),
    ("push-pull-interval", "push_pull_interval"),
];

fn run(args: &Parsed) -> Result<(), Failure> {
    match agent::run(|| read(args)) {
        0 => Ok(()),
        code => Err(Failure::Code(code)),
    }
}

/// Flags first, for their mistakes are told first; then files; flags win.
fn read(args: &Parsed) -> Result<FileConfig, AgentError> {
    let flags = from_flags(args)?;
    let paths: Vec<_> = args
        .order
        .iter()
        .filter(|(name, _)| ["config-file", "config-dir"].contains(name))
        .map(|(_, path)| path.clone())
        .collect();
    let mut config = FileConfig::read_all(&paths)?;
    config.merge(flags);
    Ok(config)
}

fn from_flags(args: &Parsed) -> Result<FileConfig, AgentError> {
    let mut config = FileConfig::default();
    for (flag, key) in TEXTS {
        if let Some(text) = args.text(flag) {
            config.set_text(key, text);
        }
    }
    for (flag, key) in SWITCHES {
        if args.text(flag).is_some() {
            config.set_bool(key, args.bool(flag));
        }
    }
    if args.text("disable-compression").is_some() {
        config.set_bool("enable_compression", !args.bool("disable-compression"));
    }
    for (flag, key) in LISTS {
        let list = args.list(flag);
        if !list.is_empty() {
            config.set_list(key, list);
        }
    }
    config.tags = tags(&args.list("tag")).map_err(|failure| match failure {
        Failure::Message(text) => AgentError::Invalid(text),
        other => AgentError::Invalid(format!("{other:?}")),
    })?;
    for (flag, key) in DURATIONS {
        if let Some(text) = args.text(flag).filter(|text| !text.is_empty()) {
            let ns = go_duration::parse(text)
                .map_err(|error| AgentError::Invalid(format!("Error: {error}")))?;
            config.set_number(key, ns);
        }
    }
    for (flag, key) in NUMBERS {
        // Go's -1 stands for "not given".
        if let Some(number) = args.int(flag).filter(|number| *number > 0) {
            config.set_number(key, number);
        }
    }
    Ok(config)
}
