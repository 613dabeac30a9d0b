//! Goal: an RPC client cannot tell our agent from Go's. Method: what was recorded from a Go agent
//! is asked again, and both programs are asked the same, byte for byte where nothing is free.

use std::{fs, os::unix::fs::PermissionsExt, path::Path, thread};

use compat_tests::rpc::{Agent, Client, Net, Program, Value, wait};
use tempfile::TempDir;

/// Goal: every recorded exchange of a plain agent, of its edge cases and of an encrypted agent with
/// a token is answered with the bytes that Go sent. Method: a cluster of the same names, tags and
/// handlers gets the recorded requests in their order. Addresses, times, counts of the machine and
/// the order of free maps are made equal first. Go's program is asked as well, so that the method
/// itself is tried.
#[test]
fn recorded_requests_get_the_recorded_answers() {
    let vectors = vectors();
    thread::scope(|scope| {
        for program in Program::ALL {
            let vectors = &vectors;
            scope.spawn(move || replay_plain(program, vectors));
            scope.spawn(move || replay_encrypted(program, vectors));
        }
    });
}

fn replay_plain(program: Program, vectors: &[Vector]) {
    let (net, dir) = (Net::new(), scripts());
    let tags = ["-tag", "role=web", "-tag", "my-tag.x=1", "-tag", "a=1", "-tag", "b=2"];
    let handlers = ["-event-handler", "./h.sh", "-event-handler", "query:load=./q.sh"];
    let a = Agent::start(program, "a", &net.ip(2), &[&tags[..], &handlers].concat(), dir.path());
    let first = net.ip(2);
    let more = |args: &[&'static str]| {
        [&["-join", &first], args].concat()
    };
    let with_tag = more(&["-tag", "role=db", "-event-handler", "query:load=./q.sh"]);
    let b = Agent::start(program, "b", &net.ip(3), &with_tag, dir.path());
    let c = Agent::start(program, "c", &net.ip(4), &more(&[]), dir.path());
    [&a, &b, &c].into_iter().for_each(|agent| agent.wait_for_members(3));
    wait("no coordinate of b", || {
        let mut client = Client::ready(&a.rpc);
        client.call("get-coordinate", 2, Some(Value::map([("Node", "b".into())])));
        client.next().unwrap().get("Ok") == Some(&true.into())
    });
    let mut main = Client::connect(&a.rpc);
    let mut replay = Replay { program, net, agent: &a };
    for exchange in exchanges(vectors, "(main)") {
        replay.run(&mut main, &exchange);
    }
    for (at, exchange) in exchanges(vectors, "(edge)").iter().enumerate() {
        let first = at == 0 || exchanges(vectors, "(edge)")[at - 1].name != exchange.name;
        if first {
            let raw = RAW.contains(&&*exchange.name);
            main = if raw { Client::connect(&a.rpc) } else { Client::ready(&a.rpc) };
        }
        replay.run(&mut main, exchange);
    }
}

/// Edge cases that begin before the handshake.
const RAW: &[&str] = &[
    "no-handshake",
    "no-handshake-body",
    "bad-version-then-good",
    "garbage-http",
    "garbage-c1",
    "array-header",
    "seq-range",
    "pipelined",
];

fn replay_encrypted(program: Program, vectors: &[Vector]) {
    let (net, dir) = (Net::new(), scripts());
    let secret = ["-encrypt", "4uAsdvxGc5Qdd0SokOHxxZB7AHgVK0OEzdx5SBwBObw="];
    fs::write(dir.path().join("auth.json"), r#"{"rpc_auth": "s3cret"}"#).unwrap();
    let d = [&secret[..], &["-config-file", "auth.json"]].concat();
    let d = Agent::start(program, "d", &net.ip(51), &d, dir.path());
    let first = net.ip(51);
    let e = [&secret[..], &["-join", &first]].concat();
    let e = Agent::start(program, "e", &net.ip(52), &e, dir.path());
    e.wait_for_members(2);
    let mut client = Client::ready(&d.rpc);
    let mut replay = Replay { program, net, agent: &d };
    for exchange in exchanges(vectors, "(encrypted+auth agent)") {
        if exchange.name == "list-keys" {
            client = Client::ready(&d.rpc);
            let body = Value::map([("AuthKey", "s3cret".into())]);
            assert_eq!(client.call("auth", 2, Some(body)).text("Error"), "");
        }
        replay.run(&mut client, &exchange);
    }
}

struct Vector {
    name: String,
    to_server: bool,
    bytes: Vec<u8>,
    source: String,
}

/// A request, what came back, and whether the connection was closed then.
struct Exchange {
    name: String,
    request: Vec<u8>,
    replies: Vec<Value>,
    closed: bool,
}

fn vectors() -> Vec<Vector> {
    let text = include_str!("../../testdata/rpc.json");
    let list: Vec<serde_json::Value> = serde_json::from_str(text).unwrap();
    let text = |vector: &serde_json::Value, key: &str| vector[key].as_str().unwrap().to_owned();
    list.iter()
        .map(|vector| Vector {
            name: text(vector, "name"),
            to_server: text(vector, "direction") == "C->S",
            // An empty one of the server's: it closed the connection, or said nothing more.
            bytes: hex::decode(text(vector, "hex")).unwrap_or_default(),
            source: text(vector, "source") + &text(vector, "description"),
        })
        .collect()
}

fn exchanges(vectors: &[Vector], source: &str) -> Vec<Exchange> {
    let mut all: Vec<Exchange> = Vec::new();
    let wanted = |vector: &&Vector| {
        // In this one, log records fell between the answers, and were recorded as such.
        vector.source.contains(source) && vector.name != "stream-monitor-conflicts"
    };
    for vector in vectors.iter().filter(wanted) {
        if vector.to_server {
            all.push(Exchange {
                name: vector.name.clone(),
                request: vector.bytes.clone(),
                replies: Vec::new(),
                closed: false,
            });
            continue;
        }
        let exchange = all.last_mut().unwrap();
        assert_eq!(exchange.name, vector.name);
        exchange.replies.extend(Value::all(&vector.bytes));
        exchange.closed |= vector.source.contains("closes the connection");
    }
    assert!(!all.is_empty(), "nothing was recorded from {source}");
    all
}

struct Replay<'a> {
    program: Program,
    net: Net,
    agent: &'a Agent,
}

impl Replay<'_> {
    fn run(&mut self, client: &mut Client, exchange: &Exchange) {
        let name = &exchange.name;
        client.send(&self.request(exchange));
        let (expected, closed) = self.expected(exchange);
        let mut got: Vec<_> = match closed {
            true => client.until_closed(),
            false => expected.iter().map_while(|_| client.next()).collect(),
        };
        if self.program == Program::Ours {
            // Ours are in order everywhere; only Go's free maps need it.
            assert!(got.iter().all(keys_are_sorted), "{name}: {got:?}");
        }
        got.iter_mut().for_each(|value| self.net.hide(value));
        let (mut got, mut expected) = (comparable(got), comparable(expected));
        if name == "query" && got.len() > 4 {
            records_in_order(&mut got);
            records_in_order(&mut expected);
        }
        assert_eq!(got, expected, "{:?}: {name}\n{:?}", self.program, self.agent.printed());
    }

    fn request(&self, exchange: &Exchange) -> Vec<u8> {
        if exchange.name.starts_with("garbage") {
            return exchange.request.clone();
        }
        let mut values = Value::all(&exchange.request);
        for value in &mut values {
            self.net.show(value);
            value.each(&mut |key, value| {
                if key == "Timeout" && *value == 300_000_000.into() {
                    // A busy machine needs longer to run three handlers.
                    *value = 5_000_000_000.into();
                }
            });
        }
        values.iter().flat_map(Value::encode).collect()
    }

    /// The recorded answers and whether the connection ends. Ours does not take one thing for
    /// another, so it differs where Go reads a stray body as a header or uses a header twice.
    fn expected(&self, exchange: &Exchange) -> (Vec<Value>, bool) {
        let mut replies = exchange.replies.clone();
        if self.program == Program::Go {
            return (replies, exchange.closed);
        }
        match (&*exchange.name, &exchange.request[..]) {
            ("sticky-header", [0x80]) => (Vec::new(), false),
            ("sticky-header", [0x81, ..]) => {
                let error = ("Error", "Unsupported command".into());
                (vec![Value::map([error, ("Seq", 10.into())])], true)
            }
            ("members-with-spurious-body", _) => {
                replies.truncate(2);
                (replies, false)
            }
            ("auth-required-with-body", _) => {
                replies.truncate(1);
                (replies, false)
            }
            _ => (replies, exchange.closed),
        }
    }
}

/// Without what differs between two machines, two runs and two versions of Go's program.
fn comparable(values: Vec<Value>) -> Vec<Value> {
    let mut values: Vec<_> = values.into_iter().map(Value::sorted).collect();
    for value in &mut values {
        value.each(&mut |key, value| match value {
            Value::Str(text) if MACHINE.contains(&key) => text.clear(),
            Value::Scalar(number) if number[0] == 0xcb => *number = vec![0xcb],
            Value::Scalar(_) if key == "LTime" => *value = 0.into(),
            Value::Str(text) if key == "Error" => {
                // Newer versions write the first word small and add the port.
                let old = String::from_utf8_lossy(text).replace("failed to join", "Failed to join");
                *text = old.replace(":7946: dial", ": dial").into_bytes();
            }
            Value::Map(messages) if key == "Messages" => {
                for (_, message) in messages {
                    let Value::Str(text) = message else { continue };
                    text[0] = text[0].to_ascii_lowercase();
                }
            }
            _ => {}
        });
    }
    values
}

/// Numbers of `stats` that depend on the machine and on the moment.
const MACHINE: &[&str] = &[
    "arch",
    "version",
    "max_procs",
    "goroutines",
    "cpu_count",
    "os",
    "query_time",
    "event_time",
    "member_time",
    "health_score",
    "coordinate_resets",
];

fn keys_are_sorted(value: &Value) -> bool {
    let mut sorted = true;
    value.clone().each(&mut |_, value| {
        if let Value::Map(pairs) = value {
            sorted &= pairs.is_sorted_by_key(|(key, _)| key.clone());
        }
    });
    sorted
}

/// Sorts the records between the answer's header and the last record, `done`.
fn records_in_order(values: &mut Vec<Value>) {
    let mut records: Vec<_> = values[1..].chunks(2).map(<[Value]>::to_vec).collect();
    let last = records.pop().unwrap();
    records.sort();
    values.truncate(1);
    values.extend(records.into_iter().flatten().chain(last));
}

/// Two handlers: one that does nothing, and one that answers as the recorded one did.
fn scripts() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    script(dir.path(), "h.sh", "cat > /dev/null");
    script(dir.path(), "q.sh", "read -r payload; echo \"load of $SERF_SELF_NAME: [$payload]\"");
    dir
}

fn script(dir: &Path, name: &str, text: &str) {
    let path = dir.join(name);
    fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
}
