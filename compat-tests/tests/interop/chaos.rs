//! Mixed clusters of Go and Rust nodes on bad days: loss, jitter, partitions, duplicates, UDP
//! blocked, paused and killed nodes, on the network of `compat_tests::lossy`.
//!
//! Goal: Rust nodes cause, and suffer, no more false failures than Go's, and all views agree soon
//! after the faults end. Nodes run the same settings (Go's `lan`); even hosts run Go, odd ones
//! Rust. Needs root; scripts/chaos runs the long part and shows its figures.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    path::{Path, PathBuf},
    thread::sleep,
    time::{Duration, Instant},
};

use compat_tests::{
    alone::one_at_a_time,
    go::{self, GoPeer},
    lossy::{Net, Protocol, Rule},
    process::{not_run, signal},
};
use serde_json::{Value, json};

#[test]
fn six_nodes_come_through_a_partition_and_loss() {
    if !Net::possible() {
        return not_run("network namespaces need root, `ip` and /dev/net/tun");
    }
    let _alone = one_at_a_time();
    let mut cluster = Cluster::start(6, 1, &json!({}));
    cluster.faults("5 % loss, 50 ms jitter", vec![noisy()], |cluster| {
        cluster.flow(Duration::from_secs(6));
    });
    let halves = (vec![0, 1, 2], vec![3, 4, 5]);
    cluster.faults("partition", cut(&halves.0, &halves.1), |cluster| {
        cluster.until("each half gives up the other", Duration::from_secs(60), |node| {
            node.members().iter().filter(|(_, status)| status == "failed").count() == 3
        });
    });
    println!("{}", cluster.report);
    assert_eq!(cluster.wrong, Vec::<String>::new());
}

#[test]
#[ignore = "half an hour; scripts/chaos runs it"]
fn a_cluster_of_twenty_survives_faults_of_the_network() {
    assert!(Net::possible(), "network namespaces cannot be made");
    let _alone = one_at_a_time();
    let minutes = std::env::var("RUSERF_CHAOS_MINUTES").ok().and_then(|text| text.parse().ok());
    let long = Duration::from_secs(60 * minutes.unwrap_or(10));
    let mut cluster = Cluster::start(20, 1, &json!({}));
    cluster.faults("5 % loss, 50 ms jitter", vec![noisy()], |cluster| cluster.flow(long));
    let no_flaps = cluster.phase_flaps();
    if no_flaps.of_rust > no_flaps.of_go + 19 {
        cluster.wrong.push(format!("Rust nodes flapped more: {no_flaps:?}"));
    }
    for host in [2, 3] {
        cluster.faults("5 % loss, 50 ms jitter; paused 3 s", vec![noisy()], |cluster| {
            for _ in 0..3 {
                cluster.pause(host, Duration::from_secs(3));
                sleep(Duration::from_secs(10));
            }
            cluster.must_not_fail(host);
        });
    }
    for host in [4, 5] {
        cluster.faults("5 % loss, 50 ms jitter; paused 60 s", vec![noisy()], |cluster| {
            cluster.pause(host, Duration::from_secs(60));
            cluster.must_fail(host);
        });
    }
    let (left, right): (Vec<_>, Vec<_>) = (0..20).partition(|host| host % 4 < 2);
    cluster.faults("partition, 10 from 10", cut(&left, &right), |_| {
        sleep(Duration::from_secs(60));
    });
    cluster.faults("30 % loss", vec![Rule { loss: 0.3, ..Rule::default() }], |cluster| {
        cluster.flow(Duration::from_secs(120));
    });
    let to = vec![6, 7];
    cluster.faults(
        "60 % of the packets to one Go and one Rust node lost",
        vec![Rule { to: to.clone(), loss: 0.6, ..Rule::default() }],
        |cluster| cluster.flow(Duration::from_secs(60)),
    );
    let udp = Some(Protocol::Udp);
    cluster.faults(
        "UDP of one Go and one Rust node blocked, TCP open",
        vec![
            Rule { to: to.clone(), protocol: udp, loss: 1.0, ..Rule::default() },
            Rule { from: to.clone(), protocol: udp, loss: 1.0, ..Rule::default() },
        ],
        |cluster| {
            cluster.flow(Duration::from_secs(60));
            for host in to {
                cluster.must_not_fail(host);
            }
        },
    );
    let twice = Rule { duplicate: 0.5, jitter: Duration::from_millis(100), ..Rule::default() };
    cluster.faults("half of the packets twice, out of order", vec![twice], |cluster| {
        cluster.flow(Duration::from_secs(60));
        cluster.no_event_came_twice();
    });
    cluster.faults("5 % loss, 50 ms jitter; killed and started again", vec![noisy()], |cluster| {
        for host in [8, 9, 10, 11] {
            cluster.restart(host);
            cluster.flow(Duration::from_secs(10));
        }
    });
    println!("{}", cluster.report);
    if let Some(file) = std::env::var_os("RUSERF_CHAOS") {
        std::fs::write(file, &cluster.report).expect("the report can be written");
    }
    assert_eq!(cluster.wrong, Vec::<String>::new());
}

#[test]
#[ignore = "minutes; scripts/chaos runs it"]
fn coordinates_tell_the_delay() {
    assert!(Net::possible(), "network namespaces cannot be made");
    let _alone = one_at_a_time();
    // Many samples in little time: estimates need hundreds.
    let often = json!({"probe_interval_ms": 400, "probe_timeout_ms": 300});
    let mut cluster = Cluster::start(8, 2, &often);
    cluster.coordinates(Duration::from_secs(180));
    println!("{}", cluster.report);
    if let Some(file) = std::env::var_os("RUSERF_COORDINATES") {
        std::fs::write(file, &cluster.report).expect("the report can be written");
    }
    assert_eq!(cluster.wrong, Vec::<String>::new());
}

/// 5 % of the packets lost; one way takes 10 to 60 ms.
fn noisy() -> Rule {
    Rule {
        delay: Duration::from_millis(10),
        jitter: Duration::from_millis(50),
        loss: 0.05,
        ..Rule::default()
    }
}

fn cut(left: &[usize], right: &[usize]) -> Vec<Rule> {
    let way = |from: &[usize], to: &[usize]| Rule {
        from: from.to_vec(),
        to: to.to_vec(),
        loss: 1.0,
        ..Rule::default()
    };
    vec![way(left, right), way(right, left)]
}

struct Cluster {
    // Before the network: the nodes must end first.
    nodes: Vec<GoPeer>,
    net: Net,
    dir: tempfile::TempDir,
    events_sent: usize,
    /// Events of each node before the current phase.
    before: Vec<usize>,
    report: String,
    wrong: Vec<String>,
}

/// Reports of failed members in a phase; of nodes that were paused, cut off or killed too.
#[derive(Clone, Copy, Debug, Default)]
struct Flaps {
    of_go: usize,
    of_rust: usize,
    by_go: usize,
    by_rust: usize,
}

impl Cluster {
    fn start(hosts: usize, seed: u64, settings: &Value) -> Self {
        let net = Net::start(hosts, seed);
        let dir = tempfile::tempdir().expect("a directory");
        let start = |host| start_node(&net, dir.path(), host, settings);
        let nodes: Vec<_> = (0..hosts).map(start).collect();
        for node in &nodes[1..] {
            node.call(json!({"cmd": "join", "addrs": [nodes[0].addr()]}));
        }
        let report = "| faults | events that arrived at Go / Rust nodes | \
             failed: Go / Rust nodes, as reported by all | reported by Go / Rust nodes | \
             views agree after |\n|---|---|---|---|---|\n"
            .to_owned();
        let before = vec![0; hosts];
        let mut cluster =
            Self { nodes, net, dir, events_sent: 0, before, report, wrong: Vec::new() };
        cluster.all_agree("the start");
        cluster
    }

    /// One phase: faults, what happens meanwhile, healing.
    fn faults(&mut self, what: &str, rules: Vec<Rule>, meanwhile: impl FnOnce(&mut Self)) {
        eprintln!("{what}");
        self.before = self.nodes.iter().map(|node| node.events().len()).collect();
        let (sent, started) = (self.events_sent, Instant::now());
        let counts = self.net.counts();
        self.net.set_rules(rules);
        meanwhile(self);
        self.net.set_rules(Vec::new());
        let flaps = self.phase_flaps();
        let agreed = self.all_agree(what);
        let lasted = started.elapsed() - agreed;
        let (go, rust) = self.arrived(sent);
        let after = self.net.counts();
        let row = format!(
            "| {what}, {} s | {go} / {rust} of {} | {} / {} | {} / {} | {:.1} s |",
            lasted.as_secs(),
            self.events_sent - sent,
            flaps.of_go,
            flaps.of_rust,
            flaps.by_go,
            flaps.by_rust,
            agreed.as_secs_f64(),
        );
        let (seen, lost) = (after.seen - counts.seen, after.lost - counts.lost);
        eprintln!("{row} ({seen} packets, {lost} lost)");
        writeln!(self.report, "{row}").expect("a string");
    }

    /// Sends an event every second, from one node after the other.
    fn flow(&mut self, time: Duration) {
        let end = Instant::now() + time;
        while Instant::now() < end {
            let node = &self.nodes[(self.events_sent * 7) % self.nodes.len()];
            let payload = go::base64(self.events_sent.to_string());
            node.call(json!({"cmd": "event", "name": "tick", "payload": payload}));
            self.events_sent += 1;
            sleep(Duration::from_secs(1));
        }
        // What was sent last is still spreading.
        sleep(Duration::from_secs(2));
    }

    fn pause(&self, host: usize, time: Duration) {
        signal(self.nodes[host].pid(), "STOP");
        sleep(time);
        signal(self.nodes[host].pid(), "CONT");
    }

    /// Kills a node and starts it again from its snapshot.
    fn restart(&mut self, host: usize) {
        let node = self.nodes.remove(host);
        drop(node);
        let again = start_node(&self.net, self.dir.path(), host, &json!({}));
        self.nodes.insert(host, again);
        self.before[host] = 0;
    }

    /// Waits until every node lists all as alive, and says how long it took.
    fn all_agree(&mut self, what: &str) -> Duration {
        let started = Instant::now();
        let all = self.nodes.len();
        self.until(what, Duration::from_secs(120), |node| {
            let members = node.members();
            members.len() == all && members.iter().all(|(_, status)| status == "alive")
        });
        started.elapsed()
    }

    fn until(&mut self, what: &str, limit: Duration, holds: impl Fn(&GoPeer) -> bool) {
        let deadline = Instant::now() + limit;
        loop {
            let wrong = self.nodes.iter().find(|node| !holds(node));
            let Some(wrong) = wrong else { return };
            if Instant::now() > deadline {
                let text =
                    format!("{what}: {} after {limit:?}: {:?}", wrong.name(), wrong.members());
                eprintln!("{text}");
                self.wrong.push(text);
                return;
            }
            sleep(Duration::from_millis(200));
        }
    }

    fn must_not_fail(&mut self, host: usize) {
        let reports = self.reported_failed(&name(host));
        if reports > 0 {
            self.wrong.push(format!("{} was called failed by {reports} nodes", name(host)));
        }
    }

    fn must_fail(&mut self, host: usize) {
        let reports = self.reported_failed(&name(host));
        if reports < self.nodes.len() - 1 {
            self.wrong.push(format!("{} was called failed by {reports} nodes only", name(host)));
        }
    }

    /// How many nodes saw an event in this phase that a member failed.
    fn reported_failed(&self, member: &str) -> usize {
        let reports = |failed: &Vec<String>| failed.iter().any(|name| name == member);
        (0..self.nodes.len()).filter(|host| reports(&self.failures_seen_by(*host))).count()
    }

    fn failures_seen_by(&self, host: usize) -> Vec<String> {
        let events = self.nodes[host].events();
        let failed = events[self.before[host]..].iter().filter(|e| e["event"] == "member-failed");
        let members = failed.flat_map(|event| event["members"].as_array().into_iter().flatten());
        members.map(|m| m["name"].as_str().unwrap_or_default().to_owned()).collect()
    }

    fn phase_flaps(&self) -> Flaps {
        let mut flaps = Flaps::default();
        for host in 0..self.nodes.len() {
            let failures = self.failures_seen_by(host);
            if host.is_multiple_of(2) {
                flaps.by_go += failures.len();
            } else {
                flaps.by_rust += failures.len();
            }
            let of_go = failures.iter().filter(|name| name.starts_with('g')).count();
            flaps.of_go += of_go;
            flaps.of_rust += failures.len() - of_go;
        }
        flaps
    }

    /// The mean number of this phase's events that nodes of each kind got.
    fn arrived(&self, from: usize) -> (String, String) {
        let mut sums = [0, 0];
        for (host, node) in self.nodes.iter().enumerate() {
            let numbers = ticks(node);
            sums[host % 2] += numbers.keys().filter(|number| **number >= from).count();
        }
        let mean = |sum: usize| format!("{:.1}", sum as f64 / (self.nodes.len() / 2) as f64);
        (mean(sums[0]), mean(sums[1]))
    }

    fn no_event_came_twice(&mut self) {
        for node in &self.nodes {
            let twice = ticks(node).values().filter(|count| **count > 1).count();
            if twice > 0 {
                self.wrong.push(format!("{} got {twice} events twice", node.name()));
            }
        }
    }

    /// Two sites, 5 ms inside and 40 ms between them (one way): the coordinates must tell it.
    fn coordinates(&mut self, time: Duration) {
        let (inside, between) = (Duration::from_millis(5), Duration::from_millis(40));
        let (left, right): (Vec<_>, Vec<_>) = (0..self.nodes.len()).partition(|host| host % 4 < 2);
        let mut rules = cut(&left, &right);
        for rule in &mut rules {
            rule.loss = 0.0;
            rule.delay = between - inside;
        }
        rules.push(Rule { delay: inside, ..Rule::default() });
        self.net.set_rules(rules);
        sleep(time);
        let at: Vec<Value> =
            self.nodes.iter().map(|node| node.call(json!({"cmd": "coordinate"}))).collect();
        self.net.set_rules(Vec::new());
        let mut errors: BTreeMap<(&str, &str), Vec<f64>> = BTreeMap::new();
        for a in 0..at.len() {
            for b in a + 1..at.len() {
                let near = (a % 4 < 2) == (b % 4 < 2);
                let true_rtt = 2.0 * if near { inside } else { between }.as_secs_f64();
                let kind = ["Go with Go", "Go with Rust", "Rust with Rust"][a % 2 + b % 2];
                let place = if near { "10 ms" } else { "80 ms" };
                let error = (distance(&at[a], &at[b]) - true_rtt).abs() / true_rtt;
                errors.entry((place, kind)).or_default().push(error);
            }
        }
        let mut table = String::from(
            "| true RTT | nodes | pairs | median error of the estimate | worst |\n\
             |---|---|---|---|---|\n",
        );
        for ((place, kind), mut errors) in errors {
            errors.sort_by(f64::total_cmp);
            let (median, worst) = (errors[errors.len() / 2], errors[errors.len() - 1]);
            let row = format!(
                "| {place} | {kind} | {} | {:.1} % | {:.1} % |",
                errors.len(),
                median * 100.0,
                worst * 100.0,
            );
            eprintln!("{row}");
            writeln!(table, "{row}").expect("a string");
            if place == "80 ms" && median > 0.2 {
                self.wrong.push(format!("coordinates: {row}"));
            }
        }
        self.report = table;
    }
}

fn start_node(net: &Net, dir: &Path, host: usize, settings: &Value) -> GoPeer {
    let program = if host.is_multiple_of(2) {
        go::harness_dir().join("peer")
    } else {
        PathBuf::from(env!("CARGO_BIN_EXE_rust_peer"))
    };
    let mut config = json!({
        "name": name(host), "bind": net.ip(host), "port": 7946, "profile": "lan",
        "snapshot_path": dir.join(name(host)),
    });
    for (field, value) in settings.as_object().into_iter().flatten() {
        config[field] = value.clone();
    }
    let node = GoPeer::try_start_on(&net.namespace(host), &program, config);
    node.unwrap_or_else(|error| panic!("{error}"))
}

/// Go's on even hosts, Rust's on odd ones.
fn name(host: usize) -> String {
    format!("{}{host:02}", ["g", "r"][host % 2])
}

/// How often each event came.
fn ticks(node: &GoPeer) -> BTreeMap<usize, usize> {
    let mut counts = BTreeMap::new();
    for event in node.events().iter().filter(|event| event["event"] == "user") {
        let payload = String::from_utf8(go::bytes(&event["payload"])).expect("a number");
        *counts.entry(payload.parse().expect("a number")).or_default() += 1;
    }
    counts
}

/// The RTT that two coordinates promise, in seconds. Go: coordinate/coordinate.go: DistanceTo.
fn distance(a: &Value, b: &Value) -> f64 {
    let number = |value: &Value| value.as_f64().expect("a number");
    let vec = |c: &Value| c["Vec"].as_array().expect("a vector").iter().map(number).collect();
    let (av, bv): (Vec<f64>, Vec<f64>) = (vec(a), vec(b));
    let square: f64 = av.iter().zip(&bv).map(|(x, y)| (x - y).powi(2)).sum();
    let raw = square.sqrt() + number(&a["Height"]) + number(&b["Height"]);
    let adjusted = raw + number(&a["Adjustment"]) + number(&b["Adjustment"]);
    if adjusted > 0.0 { adjusted } else { raw }
}
