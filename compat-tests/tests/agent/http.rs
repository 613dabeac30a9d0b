//! Goal: HTTP gives the same answers as the RPC and the command line, to many clients at a time,
//! and a misbehaving client does not affect others.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsStr,
    fs,
    io::{BufRead as _, BufReader, Read, Write},
    net::TcpStream,
    os::unix::{ffi::OsStrExt as _, net::UnixStream},
    process::Command,
    time::Duration,
};

use compat_tests::{
    net::Net,
    peer::Peer,
    process::{InTime as _, Kind},
    rpc::{Client, Value as RpcValue},
    wait::{PATIENCE, eventually},
};
use serde_json::{Value, json};

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    kind: String,
    body: String,
}

impl Answer {
    pub(crate) fn text(self) -> String {
        self.body
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

fn connect(at: &str) -> TcpStream {
    let stream = TcpStream::connect(at).expect("the agent listens");
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Asks for a path, with further lines of a header.
pub(crate) fn get_with(at: &str, path: &str, header: &str) -> Answer {
    let mut stream = connect(at);
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {at}\r\n{header}\r\n").unwrap();
    let mut all = Vec::new();
    stream.read_to_end(&mut all).unwrap();
    parse(&all)
}

fn get(at: &str, path: &str) -> Answer {
    get_with(at, path, "")
}

/// An answer from its bytes. It ends with the connection.
fn parse(all: &[u8]) -> Answer {
    let text = String::from_utf8(all.to_vec()).unwrap();
    let (head, mut rest) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{text:?}"));
    let head = head.to_ascii_lowercase();
    let value = |name: &str| {
        let line = head.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap_or_default().trim().to_owned()
    };
    let mut body = String::new();
    if value("transfer-encoding:") == "chunked" {
        loop {
            let (size, more) = rest.split_once("\r\n").expect("the size of a chunk");
            let size = usize::from_str_radix(size, 16).expect("a size");
            if size == 0 {
                break;
            }
            body.push_str(&more[..size]);
            rest = &more[size + 2..];
        }
    } else {
        body.push_str(rest);
    }
    assert_eq!(value("connection:"), "close", "{head}");
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status");
    Answer { status, kind: value("content-type:"), body }
}

/// Sends so many events of different names, many at a time.
pub(crate) fn flood(agent: &Peer, count: u64) {
    let mut client = Client::ready(&agent.rpc);
    let payload = "p".repeat(400);
    let names: Vec<_> = (0..count).map(|n| format!("flood-{n}")).collect();
    for names in names.chunks(100) {
        for (seq, name) in (10..).zip(names) {
            let event = [("Name", name.as_str().into()), ("Payload", payload.as_str().into())];
            client.request("event", seq, Some(RpcValue::map(event)));
        }
        for _ in names {
            let answer = client.next().expect("an answer");
            assert_eq!(answer.text("Error"), "");
        }
    }
}

fn agent(net: Net, last: u8, name: &str, args: &[&str]) -> (Peer, String) {
    let http = format!("{}:8080", net.ip(last));
    let args = [&["-http-addr", &http], args].concat();
    (Peer::start(Kind::Ours, name, &net.ip(last), &args), http)
}

/// A family of metrics.
#[derive(Debug, Default)]
struct Family {
    kind: String,
    unit: String,
    help: String,
    /// Suffix and labels of each value.
    values: BTreeMap<String, f64>,
}

/// Parses OpenMetrics text strictly by the specification.
fn read_metrics(text: &str) -> BTreeMap<String, Family> {
    let mut families = BTreeMap::<String, Family>::new();
    let mut current = String::new();
    let body = text.strip_suffix("# EOF\n").expect("an end");
    for line in body.lines() {
        if let Some(answered) = line.strip_prefix("# ") {
            let mut words = answered.splitn(3, ' ');
            let mut word = || words.next().unwrap_or_else(|| panic!("{line}"));
            let (what, name, value) = (word(), word(), word().to_owned());
            if name != current {
                assert!(!families.contains_key(name), "{name} comes twice");
                current = name.to_owned();
            }
            let family = families.entry(current.clone()).or_default();
            assert!(family.values.is_empty(), "{line} comes too late");
            let field = match what {
                "HELP" => &mut family.help,
                "TYPE" => &mut family.kind,
                "UNIT" => &mut family.unit,
                _ => panic!("{line}"),
            };
            assert!(std::mem::replace(field, value).is_empty(), "{line} comes twice");
            continue;
        }
        let (series, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("{line:?}"));
        let value: f64 = value.parse().unwrap_or_else(|_| panic!("{line:?}"));
        let rest = series.strip_prefix(&current).unwrap_or_else(|| panic!("{line:?} in {current}"));
        let suffix = rest.split('{').next().unwrap();
        let family = families.get_mut(&current).expect("a family");
        let suffixes: &[&str] = match family.kind.as_str() {
            "gauge" => &[""],
            "counter" => &["_total"],
            "histogram" => &["_bucket", "_sum", "_count"],
            kind => panic!("{current} is a {kind}"),
        };
        assert!(suffixes.contains(&suffix), "{line}");
        let labels = rest.strip_prefix(suffix).unwrap();
        assert!(labels.is_empty() || labels.starts_with('{') && labels.ends_with('}'), "{line}");
        assert!(family.values.insert(rest.to_owned(), value).is_none(), "{line} comes twice");
    }
    families
}

#[test]
fn metrics_are_openmetrics_and_each_is_described() {
    let net = Net::new();
    let (a, http) = agent(net, 2, "a", &["-event-handler", "user:run=exit 3"]);
    let b = Peer::start(Kind::Ours, "b", &net.ip(3), &["-join", &a.addr]);
    a.wait_member("b", "alive");
    // Hostile characters of a name are escaped within its quotes.
    a.ok(&["event", "run"]);
    a.ok(&["event", "x\"} 1\n# EOF\n\\"]);
    eventually("the metrics do not come", || {
        let answer = get(&http, "/metrics");
        assert_eq!(answer.status, 200);
        assert!(answer.kind.starts_with("application/openmetrics-text; version=1.0.0"));
        let families = read_metrics(&answer.body);
        for (name, family) in &families {
            assert!(!family.help.is_empty(), "{name} has no help");
            assert!(family.unit.is_empty() || name.ends_with(&family.unit), "{name} {family:?}");
            let ends = family.values.keys().any(|series| series.contains("le=\"+Inf\""));
            assert_eq!(ends, family.kind == "histogram", "{name} {family:?}");
        }
        let value = |name: &str, series: &str| {
            families.get(name).and_then(|family| family.values.get(series)).copied()
        };
        let wanted = [
            (value("serf_members", "{status=\"alive\"}"), 2.0),
            (value("memberlist_size_limit_bytes", ""), 20_971_520.0),
            (value("serf_events_by_event", "_total{event=\"run\"}"), 1.0),
            (value("serf_events_by_event", "_total{event=\"x\\\"} 1\\n# EOF\\n\\\\\"}"), 1.0),
            (value("agent_handler_runs", "_total{outcome=\"failed\"}"), 1.0),
        ];
        let probes = families.contains_key("memberlist_probeNode_seconds");
        let wrong: Vec<_> = wanted.into_iter().filter(|(is, to_be)| *is != Some(*to_be)).collect();
        if wrong.is_empty() && probes { vec![] } else { vec![format!("{wrong:?} {probes}")] }
    });
    drop(b);
    eventually("b does not fail", || {
        let families = read_metrics(&get(&http, "/metrics").body);
        families["serf_members"].values["{status=\"failed\"}"] == 1.0
    });
}

#[test]
fn readiness_follows_the_cluster() {
    let net = Net::new();
    let seed = net.ip(3) + ":7946";
    let (mut a, http) = agent(net, 2, "a", &["-retry-join", &seed, "-retry-interval", "1s"]);
    let reasons = || {
        let answer = get(&http, "/health/ready");
        let answered = answer.json();
        assert_eq!(answered["ready"] == json!(true), answer.status == 200, "{answered}");
        let reasons = answered["reasons"].as_array().unwrap().iter();
        reasons.map(|answered| answered["reason"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(get(&http, "/health/live").status, 200);
    assert_eq!(reasons(), ["alone"]);
    let b = Peer::start(Kind::Ours, "b", &net.ip(3), &[]);
    eventually("it is not ready", || reasons().is_empty());
    // The other member has failed.
    drop(b);
    eventually("it is ready though alone", || reasons() == ["alone"]);
    let _b = Peer::start(Kind::Ours, "b", &net.ip(3), &["-join", &a.addr]);
    eventually("it does not recover", || reasons().is_empty());
    a.signal("INT");
    // The listener ends with the agent.
    a.ends_with(0, "");
    assert!(TcpStream::connect(&http).is_err());
}

#[test]
fn a_keyring_file_that_cannot_be_written_is_a_reason_until_it_can() {
    let (net, dir) = (Net::new(), tempfile::tempdir().unwrap());
    let [place, gone] = ["keys", "gone"].map(|name| dir.path().join(name));
    fs::create_dir(&place).unwrap();
    let file = place.join("keyring.json");
    fs::write(&file, r#"["wsGlMv8mfgjD1f+CVVMHZA=="]"#).unwrap();
    let (a, http) = agent(net, 2, "a", &["-keyring-file", file.to_str().unwrap()]);
    let reasons = || get(&http, "/health/ready").json()["reasons"].to_string();
    assert_eq!(reasons(), "[]");
    fs::rename(&place, &gone).unwrap();
    let _ = a.cli(&["keys", "-install", "WSGlMv8mfgjD1f+CVVMHZA=="]);
    eventually("it is ready though its key is lost", || {
        reasons().contains("\"keyring_not_written\"")
    });
    let age = |families: &BTreeMap<String, Family>| families["serf_key_age_seconds"].values[""];
    eventually("no age of the key", || {
        let families = read_metrics(&get(&http, "/metrics").body);
        families.contains_key("serf_key_age_seconds") && age(&families) > 0.5
    });
    fs::rename(&gone, &place).unwrap();
    eventually("it does not recover", || reasons() == "[]");
}

/// Goal: the description of what is served is true.
#[test]
fn every_path_of_the_description_answers_as_it_says() {
    let net = Net::new();
    let (_a, http) = agent(net, 2, "a", &[]);
    let description = get(&http, "/v1/openapi.json");
    assert_eq!((description.status, description.kind.as_str()), (200, "application/json"));
    let description = description.json();
    for (path, item) in description["paths"].as_object().unwrap() {
        let answers = item["get"]["responses"].as_object().unwrap();
        let kind = answers["200"]["content"].as_object().unwrap().keys().next().unwrap();
        let query = if path == "/v1/sd/prometheus" { "?port=1" } else { "" };
        let path = path.replace("{name}", "a") + query;
        if path == "/v1/events" {
            let mut stream = connect(&http);
            write!(stream, "GET {path} HTTP/1.1\r\nHost: {http}\r\n\r\n").unwrap();
            let mut head = [0; 64];
            stream.read_exact(&mut head).unwrap();
            assert!(head.starts_with(b"HTTP/1.1 200 "), "{path}");
            continue;
        }
        let answer = get(&http, &path);
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
        assert!(answer.kind.starts_with(kind), "{path}: {}", answer.kind);
        if kind == "application/json" {
            answer.json();
        }
    }
    assert_eq!(get(&http, "/").kind, "text/html; charset=utf-8");
}

#[test]
fn members_are_those_of_the_command_line() {
    let net = Net::new();
    let (a, http) = agent(net, 2, "a", &["-tag", "role=web", "-tag", "port=9100"]);
    let join = ["-join", &a.addr, "-tag", "role=db"];
    let _b = Peer::start(Kind::Ours, "b c", &net.ip(3), &join);
    let _c = Peer::start(Kind::Go, "d", &net.ip(4), &["-join", &a.addr, "-tag", "role=webs"]);
    a.wait_for_members(3);
    for (flags, query) in [
        (&[][..], ""),
        (&["-name", "a|d"], "?name=a%7Cd"),
        (&["-status", "al.*"], "?status=al.%2A"),
        (&["-status", "al"], "?status=al"),
        (&["-tag", "role=web"], "?tag.role=web"),
        (&["-tag", "role=web.*", "-name", "d"], "?tag=role%3Dweb.%2A&name=d"),
        (&["-name", "nobody"], "?name=nobody"),
    ] {
        let answered = a.ok(&[&["members", "-format", "json"], flags].concat());
        let answered: Value = serde_json::from_str(&answered).unwrap();
        let rows = answered["members"].as_array().cloned().unwrap_or_default();
        let answer = get(&http, &format!("/v1/members{query}"));
        assert_eq!((answer.status, answer.json()), (200, json!({ "members": rows })), "{query}");
        for row in &rows {
            let name = row["name"].as_str().unwrap().replace(' ', "%20");
            assert_eq!(get(&http, &format!("/v1/members/{name}")).json(), *row);
        }
    }
    let of = |path: &str| {
        let answer = get(&http, path);
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
        answer.json()
    };
    let targets = of("/v1/sd/prometheus?port=80&tag.role=web.*");
    let targets: BTreeSet<_> =
        targets.as_array().unwrap().iter().map(|group| group["targets"][0].to_string()).collect();
    let wanted = [2, 4].map(|last| format!("\"{}:80\"", net.ip(last)));
    assert_eq!(targets, wanted.into());
    let labels = json!({
        "__meta_serf_name": "a", "__meta_serf_status": "alive",
        "__meta_serf_tag_port": "9100", "__meta_serf_tag_role": "web",
    });
    let group = json!([{ "targets": [net.ip(2) + ":9100"], "labels": labels }]);
    assert_eq!(of("/v1/sd/prometheus?port_tag=port"), group);
    let coordinates = of("/v1/coordinates?name=a");
    assert_eq!(coordinates["coordinates"][0]["node"], "a");
    assert_eq!(coordinates["coordinates"][0]["vec"].as_array().unwrap().len(), 8);
    for (path, status) in [
        ("/v1/members/nobody", 404),
        ("/v1/member", 404),
        ("/v1/members?nmae=a", 400),
        ("/v1/members?name=(", 400),
        ("/v1/members?tag.x=a%7B1001%7D", 400),
        ("/v1/sd/prometheus", 400),
        ("/v1/sd/prometheus?port=0", 400),
        ("/v1/events?type=bogus", 400),
    ] {
        let answer = get(&http, path);
        assert_eq!(answer.status, status, "{path}: {answer:?}");
        assert!(answer.json()["error"].is_string());
    }
}

#[test]
fn events_come_as_they_happen() {
    let net = Net::new();
    let (a, http) = agent(net, 2, "a", &[]);
    let mut stream = connect(&http);
    let path = "/v1/events?type=user:deploy,member-join";
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {http}\r\n\r\n").unwrap();
    let mut answered = String::new();
    let mut read_until = |wanted: &str| {
        while !answered.contains(wanted) {
            let mut chunk = [0; 4096];
            let count = stream.read(&mut chunk).expect("an event");
            assert!(count > 0, "no {wanted:?} in {answered}");
            answered.push_str(std::str::from_utf8(&chunk[..count]).unwrap());
        }
        answered.clone()
    };
    let head = read_until(": events\n\n").to_ascii_lowercase();
    assert!(head.starts_with("http/1.1 200 ") && head.contains("text/event-stream"), "{head}");
    a.ok(&["event", "other", "x"]);
    a.ok(&["event", "-coalesce=false", "deploy", "v\n2"]);
    let answered = read_until("event: user\n");
    assert!(!answered.contains("other"), "{answered}");
    read_until("\"payload\":\"v\\n2\"}\n\n");
    let mut binary = Command::new(Kind::Ours.program());
    binary.args(["event", "-coalesce=false", "deploy"]).arg(OsStr::from_bytes(b"\xff\xfea"));
    assert!(binary.env("SERF_RPC_ADDR", &a.rpc).output_in_time().status.success());
    read_until("\"payload\":{\"hex\":\"fffe61\"}}\n\n");
    let _b = Peer::start(Kind::Go, "b", &net.ip(3), &["-join", &a.addr]);
    read_until("event: member-join\ndata: {\"event\":\"member-join\",\"members\":[{\"addr\":");
}

#[test]
fn a_token_is_asked_for_and_names_of_others_are_refused() {
    let (net, dir) = (Net::new(), tempfile::tempdir().unwrap());
    let at = [2, 3].map(|last| format!("{}:8080", net.ip(last)));
    let config = json!({ "rpc_auth": "a long token", "http_addr": at[0] });
    fs::write(dir.path().join("a.json"), config.to_string()).unwrap();
    let flags = ["-config-file", "a.json"];
    let _a = Peer::start_in(Kind::Ours, "a", &net.ip(2), &flags, dir.path());
    for path in ["/metrics", "/v1/members", "/v1/members/a", "/v1/events", "/nothing"] {
        for header in ["", "Authorization: Bearer a long toke\r\n", "Authorization: a\r\n"] {
            assert_eq!(get_with(&at[0], path, header).status, 401, "{path} {header}");
        }
    }
    let right = "Authorization: Bearer a long token\r\n";
    assert_eq!(get_with(&at[0], "/v1/members", right).status, 200);
    assert_eq!(get(&at[0], "/health/live").status, 200);
    let (_b, _) = agent(net, 3, "b", &[]);
    let mut stream = connect(&at[1]);
    stream.write_all(b"GET /v1/members HTTP/1.1\r\nHost: evil.example\r\n\r\n").unwrap();
    let mut all = Vec::new();
    stream.read_to_end(&mut all).unwrap();
    assert_eq!(parse(&all).status, 403);
    let mut stream = connect(&at[1]);
    write!(stream, "POST /v1/members HTTP/1.1\r\nHost: {}\r\n\r\n", at[1]).unwrap();
    all.clear();
    stream.read_to_end(&mut all).unwrap();
    assert_eq!(parse(&all).status, 405);
}

/// Goal: clients that send half a request, read nothing, or never close take a bounded share of an
/// agent, and do not slow down its RPC.
#[test]
fn clients_that_read_nothing_hold_up_nobody() {
    let net = Net::new();
    let (a, http) = agent(net, 2, "a", &[]);
    let memory = || {
        let status = fs::read_to_string(format!("/proc/{}/status", a.pid())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap().to_owned();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap()
    };
    let before = memory();
    let mut held = Vec::new();
    for n in 0..400 {
        let mut stream = connect(&http);
        let path = if n % 2 == 0 { "/metrics" } else { "/v1/events" };
        // The connection that was evicted for others is closed.
        let _ = match n % 8 {
            7 => stream.write_all(b"GET /metrics HTTP/1.1\r\nX: "),
            _ => write!(stream, "GET {path} HTTP/1.1\r\nHost: {http}\r\n\r\n"),
        };
        held.push(stream);
    }
    flood(&a, 1_500);
    assert_eq!(get(&http, "/health/ready").status, 200);
    a.wait_for_members(1);
    let after = memory();
    assert!(after < before + 40_000, "{before} kB have become {after} kB");
    // A connection with half a request is closed soon.
    let mut slow = connect(&http);
    slow.write_all(b"GET /metrics HTTP/1.1\r\n").unwrap();
    let mut all = Vec::new();
    slow.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let ended = slow.read_to_end(&mut all);
    assert!(ended.is_ok() || ended.is_err_and(|error| error.raw_os_error() == Some(104)));
    drop(held);
}

/// A stream that is left unread counts what it loses at once, and says it once it is read.
/// Method: a Unix socket, whose buffers are small.
#[test]
fn a_stream_that_nobody_reads_counts_the_events_that_it_loses() {
    const EVENTS: u64 = 3_000;
    let (net, dir) = (Net::new(), tempfile::tempdir().unwrap());
    let at = dir.path().join("http");
    let listen = format!("unix:{}", at.display());
    let a = Peer::start(Kind::Ours, "a", &net.ip(2), &["-http-addr", &listen]);
    let open = |path: &str| {
        let mut stream = UnixStream::connect(&at).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
        BufReader::new(stream)
    };
    let counted = || {
        let lines = open("/metrics").lines().map(Result::unwrap);
        let values = lines.filter_map(|line| {
            line.strip_prefix("agent_http_dropped_total ")
                .map(|value| value.parse::<f64>().unwrap())
        });
        values.sum::<f64>() as u64
    };
    let mut lines = open("/v1/events?type=user").lines().map(Result::unwrap);
    assert!(lines.any(|line| line == ": events"));
    assert_eq!(counted(), 0);
    flood(&a, EVENTS);
    let before = eventually("nobody counts the events that are lost", || {
        let count = counted();
        (count > 0).then_some(count)
    });
    a.ok(&["event", "last"]);
    let (mut users, mut lost) = (0, 0);
    for line in lines {
        let Some(data) = line.strip_prefix("data: ") else { continue };
        let event: Value = serde_json::from_str(data).unwrap();
        match event["event"].as_str().unwrap() {
            "user" if event["name"] == "last" => break,
            "user" => users += 1,
            "lost" => lost += event["count"].as_u64().unwrap(),
            _ => panic!("{event}"),
        }
    }
    assert!(lost >= before, "{lost} lost, {before} before");
    // The node's own join may be among the lost ones.
    assert!((EVENTS..=EVENTS + 1).contains(&(users + lost)), "{users} came, {lost} were lost");
    assert_eq!(counted(), lost);
}

/// The same over RPC, whose buffers are larger, and which reports losses only in the log.
#[test]
fn a_stream_over_rpc_that_nobody_reads_is_counted() {
    const EVENTS: u64 = 12_000;
    let (a, http) = agent(Net::new(), 2, "a", &[]);
    let counted = || {
        let metrics = get(&http, "/metrics").text();
        let value = metrics.lines().find_map(|line| line.strip_prefix("agent_rpc_dropped_total "));
        value.map_or(0.0, |value| value.parse::<f64>().unwrap()) as u64
    };
    let mut unread = Client::ready(&a.rpc);
    unread.call("stream", 2, Some(RpcValue::map([("Type", "user".into())])));
    assert_eq!(counted(), 0);
    flood(&a, EVENTS);
    let before = eventually("nobody counts the events that are lost", || {
        let count = counted();
        (count > 0).then_some(count)
    });
    a.ok(&["event", "last"]);
    let mut users = 0;
    while unread.record()[1].text("Name") != "last" {
        users += 1;
    }
    let lost = counted();
    assert!(lost >= before, "{lost} lost, {before} before");
    // The node's own join may be among the lost ones.
    assert!((EVENTS..=EVENTS + 1).contains(&(users + lost)), "{users} came, {lost} were lost");
}
