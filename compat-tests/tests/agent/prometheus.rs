//! Goal: a Prometheus finds agents by their own list of members, reads what they serve, and the
//! alerts of packaging/prometheus fire by the faults that they name. Method: Debian's Prometheus.

use std::{
    fs,
    net::{TcpStream, UdpSocket},
    path::{Path, PathBuf},
    process::Command,
};

use compat_tests::{
    net::Net,
    peer::Peer,
    process::{InTime as _, Kind, Process, not_run},
    wait::eventually,
};
use serde_json::{Value, json};

use super::http::{Answer, get_with};

/// Prometheus keeps a connection unless it is asked not to.
fn get(at: &str, path: &str) -> Answer {
    get_with(at, path, "Connection: close\r\n")
}

/// Whether there is a Prometheus; without one the test says that it has not run.
pub(crate) fn is_there() -> bool {
    let runs = |program| Command::new(program).arg("--version").output().is_ok();
    let is_there = runs("prometheus") && runs("promtool");
    if !is_there {
        not_run("there is no Prometheus. Install it: apt-get install prometheus");
    }
    is_there
}

fn packaging() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging/prometheus")
}

#[test]
fn every_alert_fires_on_the_figures_of_its_fault_and_has_a_runbook() {
    let rules = fs::read_to_string(packaging().join("serf.rules.yml")).unwrap();
    let runbook = packaging().join("../../docs/alerts.md");
    let runbook = fs::read_to_string(runbook).unwrap();
    let tests = fs::read_to_string(packaging().join("serf.rules.test.yml")).unwrap();
    let names: Vec<_> =
        rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    assert!(names.len() > 10, "{names:?}");
    for name in names {
        assert!(runbook.contains(&format!("\n## {name}\n")), "{name} has no entry");
        assert!(tests.contains(&format!("alertname: {name}\n")), "{name} is not tested");
        assert!(rules.contains(&format!("alerts.md#{}'", name.to_lowercase())), "{name}");
        let fired = format!("wait_for(\"{name}\", true)");
        assert!(FAULTS.contains(&fired), "no fault fires {name}");
    }
    if !is_there() {
        return;
    }
    for (what, file) in [("check", "serf.rules.yml"), ("test", "serf.rules.test.yml")] {
        let mut promtool = Command::new("promtool");
        promtool.args([what, "rules", file]).current_dir(packaging());
        let output = promtool.output_in_time();
        let text = String::from_utf8_lossy(&output.stdout).into_owned()
            + &String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "promtool {what} rules {file}: {text}");
    }
}

/// The tests that fire alerts by faults of running agents.
const FAULTS: &str = concat!(include_str!("prometheus.rs"), include_str!("alerts.rs"));

/// A file of the repository.
fn read(path: &str) -> String {
    fs::read_to_string(packaging().join("../..").join(path)).unwrap()
}

/// The names that the metrics of docs/metrics.md have at /metrics.
fn served_names() -> Vec<String> {
    let documented = read("docs/metrics.md");
    let rows = documented.lines().filter(|line| line.starts_with("| `"));
    rows.flat_map(|row| {
        let cells: Vec<_> = row.split('|').map(str::trim).collect();
        let [_, name, kind, unit, label, ..] = cells[..] else { panic!("{row}") };
        let name = name.trim_matches('`').trim_end_matches("-ms").replace(['.', '-'], "_");
        let name = name.strip_suffix("_*").map(|all| format!("{all}_by_{label}")).unwrap_or(name);
        let unit = match unit {
            "ms" => "_seconds".to_owned(),
            "" => String::new(),
            unit => format!("_{unit}"),
        };
        let ends: &[&str] = match kind {
            "counter" => &["_total"],
            "gauge" => &[""],
            "sample" => &["_bucket", "_sum", "_count"],
            _ => panic!("{row}"),
        };
        ends.iter().map(|end| format!("{name}{unit}{end}")).collect::<Vec<_>>()
    })
    .collect()
}

/// The queries of the dashboard's panels.
pub(crate) fn panel_queries() -> Vec<String> {
    let dashboard: Value = serde_json::from_str(&read("packaging/grafana/serf.json")).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let targets = panels.iter().flat_map(|panel| panel["targets"].as_array().unwrap());
    targets.map(|target| target["expr"].as_str().unwrap().to_owned()).collect()
}

/// Panels and alerts ask for metrics that there are, by the very names that are served.
#[test]
fn the_dashboard_and_the_alerts_ask_for_metrics_of_the_table() {
    let known = served_names();
    let rules = read("packaging/prometheus/serf.rules.yml");
    let asked = rules.lines().filter_map(|line| line.trim().strip_prefix("expr: "));
    let mut count = 0;
    for expression in panel_queries().into_iter().chain(asked.map(str::to_owned)) {
        let words = expression.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        let layers = ["serf_", "memberlist_", "agent_"];
        for word in words.filter(|word| layers.iter().any(|layer| word.starts_with(layer))) {
            assert!(known.iter().any(|known| known == word), "{word} is no metric: {expression}");
            count += 1;
        }
    }
    assert!(count > 50, "{count} metrics");
}

/// Method: promtool reads each query as a rule, with something for Grafana's variables.
#[test]
fn prometheus_understands_the_queries_of_the_dashboard() {
    if !is_there() {
        return;
    }
    let queries = panel_queries();
    let rules = queries.iter().enumerate().map(|(at, query)| {
        let query = query.replace("$job", "serf").replace("$instance", ".*");
        json!({ "record": format!("panel:{at}"), "expr": query })
    });
    let rules = json!({ "groups": [{ "name": "panels", "rules": rules.collect::<Vec<_>>() }] });
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("panels.yml"), rules.to_string()).unwrap();
    let mut promtool = Command::new("promtool");
    promtool.args(["check", "rules", "panels.yml"]).current_dir(dir.path());
    let output = promtool.output_in_time();
    let text = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && text.contains(&format!("{} rules", queries.len())),
        "{text}"
    );
}

/// Debian's Prometheus with the rules of packaging/prometheus.
pub(crate) struct Prometheus {
    at: String,
    _process: Process,
}

impl Prometheus {
    /// Listens on an address of its own and runs these jobs. The rules hold without their waiting
    /// times; `scaled` replaces thresholds that no test can wait for.
    pub(crate) fn start(net: Net, dir: &Path, jobs: &str, scaled: &[(&str, &str)]) -> Self {
        let rules = read("packaging/prometheus/serf.rules.yml");
        let at_once = |line: &str| match line.trim_start().starts_with("for: ") {
            true => String::new(),
            false => format!("{line}\n"),
        };
        let mut rules: String = rules.lines().map(at_once).collect();
        for (from, to) in scaled {
            assert!(rules.contains(from), "no rule has {from}");
            rules = rules.replace(from, to);
        }
        fs::write(dir.join("rules.yml"), rules).unwrap();
        let config = format!(
            "global: {{ scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s }}\n\
             rule_files: [rules.yml]\n\
             scrape_configs:\n{jobs}"
        );
        fs::write(dir.join("prometheus.yml"), config).unwrap();
        let at = format!("{}:9090", net.ip(100));
        let mut command = Command::new("prometheus");
        command.args(["--config.file=prometheus.yml", "--storage.tsdb.path=data"]);
        command.arg(format!("--web.listen-address={at}")).current_dir(dir);
        let process = Process::start(command);
        eventually("Prometheus does not start", || {
            TcpStream::connect(&at).is_ok() && get(&at, "/-/ready").status == 200
        });
        Self { at, _process: process }
    }

    /// As [`Self::start`], with one job `serf` of these agents, all of which it has scraped.
    pub(crate) fn of_agents(
        net: Net,
        dir: &Path,
        agents: &[String],
        scaled: &[(&str, &str)],
    ) -> Self {
        let targets = json!([{ "targets": agents }]);
        let jobs = format!("- job_name: serf\n\x20 static_configs: {targets}\n");
        let prometheus = Self::start(net, dir, &jobs, scaled);
        eventually("not all agents are scraped", || prometheus.targets().len() == agents.len());
        prometheus
    }

    fn ask(&self, path: &str) -> Value {
        get(&self.at, path).json()["data"].take()
    }

    /// Healthy targets of the job that are found by members.
    fn targets(&self) -> Vec<String> {
        let all = self.ask("/api/v1/targets?state=active");
        let all = all["activeTargets"].as_array().cloned().unwrap_or_default();
        let found = all.iter().filter(|target| target["labels"]["job"] == "serf");
        let found = found.filter(|target| target["health"] == "up");
        let mut found: Vec<_> =
            found.map(|target| target["labels"]["instance"].as_str().unwrap().to_owned()).collect();
        found.sort();
        found
    }

    /// The rows of a query's result.
    pub(crate) fn query(&self, query: &str) -> Vec<Value> {
        let encode = |byte: u8| format!("%{byte:02x}");
        let query: String = query.bytes().map(encode).collect();
        let answer = self.ask(&format!("/api/v1/query?query={query}"));
        answer["result"].as_array().cloned().unwrap_or_default()
    }

    pub(crate) fn fires(&self, alert: &str) -> bool {
        let all = self.ask("/api/v1/alerts");
        all["alerts"].as_array().is_some_and(|alerts| {
            alerts.iter().any(|found| {
                found["labels"]["alertname"] == json!(alert) && found["state"] == "firing"
            })
        })
    }

    pub(crate) fn wait_for(&self, alert: &str, fires: bool) {
        eventually(&format!("{alert}: {}", !fires), || self.fires(alert) == fires);
    }
}

#[test]
fn a_prometheus_finds_members_reads_their_metrics_and_fires() {
    if !is_there() {
        return;
    }
    let (net, dir) = (Net::new(), tempfile::tempdir().unwrap());
    let start = |last: u8, name: &str, flags: &[&str]| {
        let http = format!("{}:8080", net.ip(last));
        let tag = "http=8080";
        let flags = [&["-http-addr", &http, "-tag", tag, "-metrics-label", "dc=x"], flags].concat();
        Peer::start(Kind::Ours, name, &net.ip(last), &flags)
    };
    let targets = |all: &[u8]| -> Vec<_> {
        all.iter().map(|last| format!("{}:8080", net.ip(*last))).collect()
    };
    let seed = net.ip(3) + ":7946";
    let a = start(2, "a", &["-retry-join", &seed, "-event-handler", "user:fail=exit 1"]);
    let agent = format!("{}:8080", net.ip(2));
    let jobs = format!(
        "- job_name: serf\n\
         \x20 http_sd_configs:\n\
         \x20 - url: http://{agent}/v1/sd/prometheus?port_tag=http\n\
         \x20   refresh_interval: 1s\n\
         - job_name: serf-fixed\n\
         \x20 static_configs: [{{ targets: ['{agent}'] }}]\n"
    );
    let prometheus = Prometheus::start(net, dir.path(), &jobs, &[]);
    eventually("a is no target", || prometheus.targets() == targets(&[2]));
    prometheus.wait_for("SerfNotReady", true);
    let join = ["-join", &a.addr];
    let b = start(3, "b", &join);
    eventually("b is no target", || prometheus.targets() == targets(&[2, 3]));
    prometheus.wait_for("SerfNotReady", false);
    // Its parser has read what ours says, with our labels and units.
    eventually("no members", || {
        let rows = prometheus.query("serf_members{job=\"serf\",status=\"alive\"}");
        let is_right = |row: &Value| row["value"][1] == "2" && row["metric"]["dc"] == "x";
        rows.len() == 2 && rows.iter().all(is_right)
    });
    let metadata = prometheus.ask("/api/v1/metadata?metric=memberlist_probe_rtt_seconds");
    let metadata = &metadata["memberlist_probe_rtt_seconds"][0];
    assert_eq!((&metadata["type"], &metadata["unit"]), (&json!("histogram"), &json!("seconds")));
    a.ok(&["event", "fail"]);
    prometheus.wait_for("SerfHandlersFail", true);
    let garbage = UdpSocket::bind((net.ip(99).as_str(), 0)).unwrap();
    for _ in 0..100 {
        garbage.send_to(&[255; 40], &a.addr).unwrap();
    }
    prometheus.wait_for("SerfGarbage", true);
    assert!(!prometheus.fires("SerfMembersFailed"));
    drop(b);
    prometheus.wait_for("SerfMembersFailed", true);
    eventually("b is still a target", || prometheus.targets() == targets(&[2]));
    drop(a);
    prometheus.wait_for("SerfAgentDown", true);
}
