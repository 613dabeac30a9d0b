//! The table of all metrics: the source of `/metrics`, of docs/metrics.md, and of the
//! descriptions that recorders get.

use metrics::Unit as RecordedUnit;

/// Describes every metric of this library to the recorder of the `metrics` facade: its unit, and
/// what it says. Call it once, after the recorder is installed; without it, nodes report the same
/// values without a description. Times are in milliseconds, as Go's are. Counters of single events
/// and queries, `serf.events.NAME` and `serf.queries.NAME`, have no description.
pub fn describe_metrics() {
    let described = METRICS.iter().filter(|metric| {
        let is_ours = metric.origin != Origin::Scraped && !metric.name.starts_with("agent.");
        is_ours && !metric.name.ends_with(".*")
    });
    for Metric { name, kind, unit, help, .. } in described {
        let unit = match unit {
            Unit::Count => RecordedUnit::Count,
            Unit::Bytes => RecordedUnit::Bytes,
            Unit::Time => RecordedUnit::Milliseconds,
        };
        match kind {
            Kind::Gauge => metrics::describe_gauge!(*name, unit, *help),
            Kind::Counter => metrics::describe_counter!(*name, unit, *help),
            Kind::Sample => metrics::describe_histogram!(*name, unit, *help),
        }
    }
}

/// Kinds of metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Gauge,
    Counter,
    Sample,
}

/// Description of a metric.
#[derive(Debug)]
pub(crate) struct Metric {
    /// Name under which Go's agent reports it, without the prefix `serf-agent`. A name that ends in
    /// `.*` is a family of metrics: the last part is the value of [`Self::label`].
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    pub(crate) unit: Unit,
    /// Whether Go's agent has it; for the documentation.
    pub(crate) origin: Origin,
    /// Label names, separated by commas; that of a family first.
    #[cfg_attr(not(feature = "agent"), allow(dead_code, reason = "for scrapers"))]
    pub(crate) label: &'static str,
    /// Description.
    pub(crate) help: &'static str,
}

/// Unit of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    /// A number.
    Count,
    Bytes,
    /// Milliseconds for statsd, seconds for scrapers.
    Time,
}

/// Who has a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    Go,
    Ours,
    /// Not in Go, and only reported to scrapers.
    Scraped,
}

#[cfg(feature = "agent")]
impl Metric {
    /// The name for scrapers, without unit and suffix.
    pub(crate) fn scraped_name(&self) -> String {
        let name = match self.name.strip_suffix(".*") {
            Some(family) => format!("{family}.by_{}", self.label),
            None => self.name.trim_end_matches("-ms").to_owned(),
        };
        name.replace(['.', '-'], "_")
    }
}

/// The row for a name and, for a family, the text matched by `*`.
#[cfg(feature = "agent")]
pub(crate) fn row(name: &str) -> Option<(&'static Metric, Option<&str>)> {
    let exact = METRICS.iter().find(|metric| metric.name == name);
    let exact = exact.map(|metric| (metric, None));
    exact.or_else(|| {
        METRICS.iter().find_map(|metric| {
            let family = metric.name.strip_suffix('*')?;
            Some((metric, Some(name.strip_prefix(family)?)))
        })
    })
}

macro_rules! metrics {
    ($($kind:ident $unit:ident $origin:ident $name:literal $label:literal $help:literal,)+) => {
        /// All metrics, by name within a layer.
        pub(crate) const METRICS: &[Metric] = &[$(Metric {
            name: $name,
            kind: Kind::$kind,
            unit: Unit::$unit,
            origin: Origin::$origin,
            label: $label,
            help: $help,
        },)+];
    };
}

metrics! {
    Gauge Count Scraped "serf.members" "status"
        "Members by status; alive includes those that are leaving",
    Counter Count Go "serf.member.join" "" "Members that joined",
    Counter Count Go "serf.member.failed" "" "Members that failed",
    Counter Count Go "serf.member.left" "" "Members that left",
    Counter Count Go "serf.member.update" "" "Changes of tags, addresses or versions of members",
    Counter Count Go "serf.member.flap" ""
        "Members that came back within a minute of their failure",
    Counter Count Go "serf.events" "" "User events that arrived, own ones included",
    Counter Count Go "serf.events.*" "event" "User events by name; of the first 256 names",
    Counter Count Go "serf.queries" "" "Queries that arrived, own ones included",
    Counter Count Go "serf.queries.*" "query" "Queries by name; of the first 256 names",
    Counter Count Go "serf.query_acks" "" "Acks of own queries",
    Counter Count Go "serf.query_duplicate_acks" "" "Acks of own queries that came twice",
    Counter Count Go "serf.query_responses" "" "Answers to own queries",
    Counter Count Go "serf.query_duplicate_responses" "" "Answers to own queries that came twice",
    Sample Bytes Go "serf.msgs.received" "" "Messages of Serf's layer that arrived",
    Sample Bytes Go "serf.msgs.sent" "" "Messages of Serf's layer that were sent",
    Sample Count Go "serf.queue.Intent" "" "Depth of the queue of intents, looked at every 30 s",
    Sample Count Go "serf.queue.Event" "" "Depth of the queue of events, looked at every 30 s",
    Sample Count Go "serf.queue.Query" "" "Depth of the queue of queries, looked at every 30 s",
    Gauge Count Scraped "serf.queue.depth" "queue"
        "Messages that wait to be gossiped: intent, event or query",
    Gauge Count Scraped "serf.lamport.time" "clock" "Lamport time of member, event or query",
    Gauge Count Scraped "serf.encrypted" "" "1 if gossip is encrypted",
    Gauge Time Ours "serf.key.age" ""
        "Time since this node began to use its primary key, or started with it",
    Gauge Count Ours "serf.key.packets" ""
        "Packets sealed with the primary key since then; NIST's bound for random nonces is 2^32",
    Sample Time Go "serf.coordinate.adjustment-ms" "" "How far a probe moved our own coordinate",
    Counter Count Go "serf.coordinate.rejected" "" "Coordinates of peers that were not usable",
    Counter Count Go "serf.coordinate.zero-rtt" "" "Probes that seemed to take no time",
    Sample Time Go "serf.snapshot.appendLine" "" "Time to append to the snapshot",
    Sample Time Go "serf.snapshot.compact" "" "Time to write the snapshot anew",
    Counter Count Ours "serf.snapshot.dropped" ""
        "Snapshot lines that the disk was too slow for",
    Counter Count Ours "serf.dropped.malformed" "" "Serf messages that could not be decoded",
    Counter Count Ours "serf.dropped.implausible" ""
        "Messages with Lamport times too far ahead",
    Counter Count Ours "serf.dropped.events" "" "User events that there was no room to remember",
    Counter Count Ours "serf.dropped.queries" "" "Queries that there was no room to remember",
    Counter Count Ours "serf.dropped.broadcasts" ""
        "Messages gossiped less often than they should be: too many waited",
    Counter Count Ours "serf.refused.sizes" "" "Messages larger than any sender makes them",
    Counter Count Ours "serf.refused.names" "" "Messages that name a node which cannot exist",
    Counter Count Ours "serf.refused.addresses" "" "Messages with a malformed address",
    Counter Count Ours "serf.refused.filters" ""
        "Queries with too many filters, filters too expensive to match",
    Counter Count Ours "serf.refused.key_queries" ""
        "Key queries that came in clear although there are keys",
    Counter Count Ours "serf.ignored.responses" ""
        "Votes over a name and answers to key queries of others than members",
    Gauge Count Go "memberlist.health.score" ""
        "Health score of this node: 0 is best; probes are slowed down by it",
    Gauge Count Go "memberlist.node.instances" "node_state"
        "Nodes by state as memberlist sees them: alive, suspect, dead, left",
    Gauge Bytes Go "memberlist.size.local" "" "Size of the last state sent in a push/pull",
    Gauge Bytes Scraped "memberlist.size.limit" ""
        "Size above which peers refuse the state of a push/pull",
    Sample Bytes Go "memberlist.size.remote" "" "Sizes of streams that were received",
    Sample Count Go "memberlist.queue.broadcasts" ""
        "Depth of memberlist's broadcast queue, looked at every 30 s",
    Sample Time Go "memberlist.gossip" "" "Time of a gossip round",
    Sample Time Go "memberlist.probeNode" "" "Time of a probe, from the ping to its end",
    Sample Time Go "memberlist.pushPullNode" "" "Time of a push/pull that this node began",
    Counter Bytes Go "memberlist.udp.sent" "" "Bytes sent in packets",
    Counter Bytes Go "memberlist.udp.received" "" "Bytes received in packets",
    Counter Bytes Go "memberlist.tcp.sent" "" "Bytes sent on streams, before compression",
    Counter Count Go "memberlist.tcp.accept" "" "Streams accepted",
    Counter Count Go "memberlist.tcp.connect" "" "Push/pulls dialled",
    Counter Count Go "memberlist.msg.alive" "" "Alive messages handled",
    Counter Count Go "memberlist.msg.suspect" "" "Suspect messages handled",
    Counter Count Go "memberlist.msg.dead" "" "Dead messages handled",
    Counter Count Go "memberlist.degraded.probe" ""
        "Probes begun while the health score was above 0",
    Counter Count Go "memberlist.degraded.timeout" ""
        "Suspicions that ran out without enough confirmations",
    Sample Time Ours "memberlist.probe.rtt" "" "Round trips of probes that were acked directly",
    Counter Count Ours "memberlist.probe.acked" ""
        "Probes that were acked by packet, directly or through other nodes",
    Counter Count Ours "memberlist.probe.tcp_only" "" "Probes answered over TCP only",
    Counter Count Ours "memberlist.probe.failed" "" "Probes that failed",
    Counter Count Ours "memberlist.refute" "" "Accusations against this node that it refuted",
    Counter Count Ours "memberlist.udp.failed" "" "Packets that the system did not take",
    Counter Count Ours "memberlist.tcp.evicted" "" "Streams closed in favour of newer ones",
    Counter Count Ours "memberlist.tcp.refused" ""
        "Streams without room for what they send, or for our state",
    Counter Count Ours "memberlist.quic.dropped" ""
        "Datagrams of the QUIC transport that nobody took in time",
    Counter Count Ours "memberlist.dropped.malformed" "" "Packets and messages that made no sense",
    Counter Count Ours "memberlist.dropped.inadmissible" ""
        "Messages about names, addresses or versions that are not admitted",
    Counter Count Ours "memberlist.dropped.queue_full" ""
        "Messages for which a hand-off queue had no room",
    Counter Count Ours "memberlist.dropped.relays" "" "Indirect pings beyond those under way",
    Counter Count Ours "memberlist.dropped.answers" ""
        "Pings beyond a few in one packet; answers, acks and relays that would send an address \
         that is not a member's more bytes than came in",
    Counter Count Ours "memberlist.dropped.replays" "" "Exact copies of encrypted packets",
    Counter Count Go "agent.ipc.accept" "" "RPC clients accepted",
    Counter Count Go "agent.ipc.command" "" "RPC requests",
    Counter Count Ours "agent.ipc.evicted" ""
        "Clients of the RPC or of HTTP that made room for others before they were known",
    Counter Count Ours "agent.tls.failed" "" "TLS handshakes of clients that failed",
    Counter Count Ours "agent.mdns.dropped" "" "mDNS answers beyond what a poll takes",
    Sample Time Go "agent.invoke.*" "script" "Time that an event handler took",
    Counter Count Ours "agent.handler.runs" "outcome"
        "Runs of event handlers: ok, failed, killed after the time limit, or not started",
    Counter Count Ours "agent.events.dropped" "subscriber"
        "Events that were too many for the handlers, or for all streams of clients",
    Sample Time Ours "agent.beacon.delay" ""
        "How much later than the fastest of the last 16 beacons each came",
    Gauge Time Ours "agent.beacon.age" ""
        "Time since the last beacon came; 0 on the member that sends them",
    Counter Count Ours "agent.beacon.sent" "" "Beacons that this member sent",
    Counter Count Ours "agent.beacon.late" ""
        "Beacons that came later than half an interval, and 2 s",
    Gauge Count Scraped "agent.not_ready" "reason"
        "1 while this speaks against the agent at /health/ready",
    Counter Count Ours "agent.http.requests" "status" "HTTP requests by status of the answer",
    Counter Count Ours "agent.http.refused" "" "HTTP connections that there was no room for",
    Counter Count Ours "agent.rpc.dropped" ""
        "Events that streams over RPC lost: nobody read them",
    Counter Count Ours "agent.http.dropped" ""
        "Events that streams over HTTP lost: nobody read them",
}

#[cfg(all(test, feature = "agent"))]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Goal: the document says what the table says. Method: each row of it is made here. With
    /// `UPDATE_DOCS` set they are written.
    #[test]
    fn the_document_is_made_from_the_table() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/metrics.md");
        let document = std::fs::read_to_string(path).unwrap();
        let (head, _) = document.split_once(RULE).expect("the table's head");
        let rows: String = METRICS.iter().map(|metric| line(metric) + "\n").collect();
        let wanted = format!("{head}{RULE}{rows}");
        if std::env::var_os("UPDATE_DOCS").is_some() {
            std::fs::write(path, &wanted).unwrap();
            return;
        }
        let hint = "UPDATE_DOCS=1 cargo test -p ruserf --lib metric_table writes it";
        assert!(document == wanted, "docs/metrics.md: {hint}");
    }

    const RULE: &str = "|---|---|---|---|---|---|\n";

    fn line(metric: &Metric) -> String {
        let kind = match metric.kind {
            Kind::Gauge => "gauge",
            Kind::Counter => "counter",
            Kind::Sample => "sample",
        };
        let unit = match metric.unit {
            Unit::Count => "",
            Unit::Bytes => "bytes",
            Unit::Time => "ms",
        };
        let origin = match metric.origin {
            Origin::Go => "Go",
            Origin::Ours => "",
            Origin::Scraped => "`/metrics` only",
        };
        let Metric { name, label, help, .. } = metric;
        format!("| `{name}` | {kind} | {unit} | {label} | {origin} | {help} |")
    }

    #[test]
    fn names_differ_for_scrapers_too() {
        let mut names = BTreeSet::new();
        for metric in METRICS {
            assert!(names.insert(metric.scraped_name()), "{}", metric.name);
            assert!(metric.help.len() > 10 && !metric.help.ends_with('.'), "{}", metric.name);
            assert!(!metric.name.ends_with(".*") || !metric.label.is_empty(), "{}", metric.name);
        }
        let (metric, rest) = row("serf.events.a.b").unwrap();
        assert_eq!((metric.name, rest), ("serf.events.*", Some("a.b")));
        assert_eq!(row("serf.events").unwrap().0.name, "serf.events");
        assert!(row("serf.nothing").is_none());
    }
}
