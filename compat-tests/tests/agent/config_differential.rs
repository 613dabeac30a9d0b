//! Goal: a configuration file is read as Go reads it, however odd it is. Method: real files are
//! changed at random, in their values, names and bytes; Go's own decoder and ours say what each
//! sets, or why it cannot be read, and must agree. The seed is printed.

use std::{
    io::Write as _,
    process::{Command, Stdio},
    time::SystemTime,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use compat_tests::{go::harness_dir, process::wait_in_time};
use ruserf::agent::{FileConfig, KEYS, Key, Origin, Shape};
use serde_json::{Map, Value, json};

// parity: config: Odd files: null, bytes that are not UTF-8, surrogates, numbers, names
#[test]
fn go_s_decoder_and_ours_agree_about_changed_files() {
    let now = SystemTime::UNIX_EPOCH.elapsed().map_or(1, |time| time.as_nanos() as u64);
    let given = |name| std::env::var(name).ok().and_then(|seed| seed.parse().ok());
    for seed in [1, given("SEED").or_else(|| given("RUN_SEED")).unwrap_or(now)] {
        println!("SEED={seed}");
        let mut random = Random(seed | 1);
        let mut files: Vec<Vec<u8>> = HAND_MADE.iter().map(|file| file.to_vec()).collect();
        files.extend(deep_files());
        while files.len() < FILES {
            files.push(random.file());
        }
        let verdicts = ask_go(&files);
        assert_eq!(verdicts.len(), files.len());
        let mut different = Vec::new();
        let mut refused = 0;
        for (file, theirs) in files.iter().zip(&verdicts) {
            let ours = our_verdict(file);
            refused += usize::from(theirs.is_err());
            if ours != *theirs {
                let file = String::from_utf8_lossy(file);
                different.push(format!("{file}\n  ours:   {ours:?}\n  theirs: {theirs:?}"));
            }
        }
        // Neither kind may be rare, or nothing is shown.
        assert!(refused > FILES / 5 && refused < FILES * 4 / 5, "{refused} of {FILES} refused");
        let count = different.len();
        different.truncate(20);
        assert!(different.is_empty(), "seed {seed}: {count} differ:\n{}", different.join("\n"));
    }
}

/// Values that are nested deeply, up to Go's limit and beyond, well-formed or not.
fn deep_files() -> impl Iterator<Item = Vec<u8>> {
    [2, 31, 32, 33, 127, 128, 129, 200, 5_000, 9_998, 9_999, 10_000, 10_001, 20_000]
        .into_iter()
        .flat_map(|depth| {
            let (open, close) = ("[".repeat(depth), "]".repeat(depth));
            let (objects, ends) = (r#"{"a":"#.repeat(depth), "}".repeat(depth));
            [
                format!("{open}{close}"),
                format!(r#"{{"bind":{open}"x"{close}}}"#),
                format!(r#"{{"bind":"y","nothing":{open}1,{{}}{close}}}"#),
                format!(r#"{{"tags":{{"a":{objects}1{ends}}}}}"#),
                format!(r#"{{"start_join":{open}"a"{close},"bind":"b"}}"#),
                format!(r#"{{"mdns":{objects}null{ends}}}"#),
                format!(r#"{{"bind":"b","tags":null}} {open}"#),
                format!(r#"{{"bind":{open}x{close}}}"#),
                format!(r#"{{"bind":{open}"#),
            ]
        })
        .map(String::into_bytes)
}

/// Whether Go takes both for one key, in which case it takes whichever its map gives first: it
/// folds the long s and the Kelvin sign, too.
fn same_key(a: &str, b: &str) -> bool {
    let fold = |text: &str| text.replace('\u{17f}', "s").replace('\u{212a}', "k").to_lowercase();
    fold(a) == fold(b)
}

/// What is set, or the class of the error.
type Verdict = Result<Value, String>;

fn our_verdict(file: &[u8]) -> Verdict {
    let config = FileConfig::decode(file).map_err(|error| class(&error))?;
    let mut set = Map::new();
    for key in go_keys() {
        // Go's program leaves out what is false.
        let value = config.value(key.name).filter(|value| *value != Value::Bool(false));
        set.extend(value.map(|value| (key.name.to_owned(), value)));
    }
    Ok(Value::Object(set))
}

fn ask_go(files: &[Vec<u8>]) -> Vec<Verdict> {
    let mut child = Command::new(harness_dir().join("config"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the Go program runs");
    let mut stdin = child.stdin.take().expect("stdin is piped");
    let lines: String = files.iter().map(|file| format!("{}\n", STANDARD.encode(file))).collect();
    let writer = std::thread::spawn(move || stdin.write_all(lines.as_bytes()));
    let stdout = child.stdout.take().expect("stdout is piped");
    let stream = serde_json::Deserializer::from_reader(stdout).into_iter::<Value>();
    let verdicts = stream.map(|verdict| {
        let verdict = verdict.expect("the program's output is JSON");
        if let Some(error) = verdict["error"].as_str() {
            return Err(class(error));
        }
        let mut set = verdict["set"].as_object().cloned().unwrap_or_default();
        set.retain(|name, value| {
            let empty = value.as_array().is_some_and(Vec::is_empty)
                || value.as_object().is_some_and(Map::is_empty);
            name != "msgpackusenewtimeformat" && !empty
        });
        Ok(Value::Object(set))
    });
    let verdicts = verdicts.collect();
    writer.join().expect("no panic").expect("all was read");
    assert!(wait_in_time(&mut child, "config").success());
    verdicts
}

/// Errors in their classes: where JSON is malformed, ours names another place on purpose; the lines
/// about several tags come in any order in Go.
fn class(error: &str) -> String {
    let go = ["invalid character", "json: cannot unmarshal number", "exceeded max depth"];
    if error.contains(" at line ") || go.iter().any(|start| error.starts_with(start)) {
        return "malformed".to_owned();
    }
    let mut lines: Vec<_> = error.lines().collect();
    let first = lines.iter().position(|line| line.starts_with("'tags["));
    if let Some(first) = first {
        let count = lines[first..].iter().take_while(|line| line.starts_with("'tags[")).count();
        lines[first..first + count].sort_unstable();
    }
    lines.join("\n")
}

/// Those that Go has.
fn go_keys() -> impl Iterator<Item = &'static Key> {
    KEYS.iter().filter(|key| key.origin == Origin::Go)
}

struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % limit
    }

    fn one<T: Clone>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())].clone()
    }

    fn file(&mut self) -> Vec<u8> {
        let mut value: Value = serde_json::from_str(self.one(REAL)).expect("real files are JSON");
        let fields = value.as_object_mut().expect("real files are objects");
        for _ in 0..self.below(4) {
            self.change(fields);
        }
        let mut text = value.to_string().into_bytes();
        for _ in 0..self.one(&[0, 0, 1, 2]) {
            self.spoil(&mut text);
        }
        text
    }

    /// Changes a value or a name.
    fn change(&mut self, fields: &mut Map<String, Value>) {
        let names: Vec<_> = fields.keys().cloned().collect();
        let key = self.one(&go_keys().collect::<Vec<_>>());
        let name = key.name.rsplit('.').next().expect("a name").to_owned();
        match self.below(8) {
            0..=2 => drop(fields.insert(name, self.fitting(key.shape))),
            3 => drop(fields.insert(name, self.any())),
            4 if !names.is_empty() => {
                let name = self.one(&names);
                let other = self.any();
                match &mut fields[&name] {
                    Value::Object(inner) => drop(inner.insert("x".to_owned(), other)),
                    Value::Array(items) => items.push(other),
                    value => *value = other,
                }
            }
            5 if !names.is_empty() => {
                let name = self.one(&names);
                let value = fields.remove(&name).expect("it is there");
                // Two that differ in case alone would be a toss in Go.
                if !fields.keys().any(|other| same_key(other, &name)) {
                    let upper = self.below(2) == 0;
                    let other =
                        if upper { name.to_uppercase() } else { name.replace('s', "\u{17f}") };
                    fields.insert(other, value);
                }
            }
            6 => drop(fields.insert(self.one(UNKNOWN).to_owned(), self.any())),
            _ => {
                let (name, value) = (self.one(&["mdns", "MDNS"]), self.any());
                if !fields.keys().any(|other| same_key(other, name)) {
                    fields.insert(name.to_owned(), value);
                }
            }
        }
    }

    fn fitting(&mut self, shape: Shape) -> Value {
        match shape {
            Shape::Text | Shape::Secret => {
                json!(self.one(&["", "x", "M\u{fc}nchen", "a\nb", "\u{0}"]))
            }
            Shape::Flag | Shape::Switch | Shape::Ignored => json!(self.below(2) == 0),
            Shape::Int | Shape::Version => {
                serde_json::from_str(self.one(NUMBERS)).expect("a number")
            }
            Shape::Duration => json!(self.one(DURATIONS)),
            Shape::List => {
                self.one(&[json!([]), json!(["a", "b"]), json!([null, "a"]), json!([""])])
            }
            Shape::Map => self.one(&[json!({}), json!({"a": "b"}), json!({"a": null, "": "x"})]),
        }
    }

    fn any(&mut self) -> Value {
        let number = self.one(NUMBERS);
        self.one(&[
            Value::Null,
            json!(""),
            json!("x"),
            json!("5s"),
            json!(true),
            json!(false),
            serde_json::from_str(number).expect("a number"),
            json!([]),
            json!(["a", null]),
            json!([1, {"a": []}]),
            json!({}),
            json!({"interface": "lo", "disable_ipv4": null}),
            json!({"a": 1, "b": [], "c": {}, "d": true}),
            json!({"Interface": 5, "bogus": 1}),
        ])
    }

    /// Changes bytes.
    fn spoil(&mut self, text: &mut Vec<u8>) {
        let at = self.below(text.len().max(1));
        // Most of them only inside of strings, where they need not spoil anything.
        let inside: Vec<_> = (1..text.len())
            .filter(|at| text[*at].is_ascii_lowercase() && text[*at - 1].is_ascii_lowercase())
            .collect();
        match self.below(8) {
            0..=4 if !inside.is_empty() => {
                let (at, bytes) = (self.one(&inside), self.one(SPOILED));
                drop(text.splice(at..at, bytes.iter().copied()));
            }
            5 => text.truncate(at),
            6 => text.extend_from_slice(self.one(TRAILING)),
            _ if text.is_empty() => {}
            _ => drop(text.remove(at)),
        }
    }
}

const FILES: usize = 1500;
const NUMBERS: &[&str] = &[
    "0",
    "1",
    "-1",
    "7.9",
    "-7.9",
    "0.5",
    "-0",
    "1e3",
    "1E+2",
    "1e-400",
    "1e300",
    "-1e300",
    "1e19",
    "9223372036854775807",
    "9223372036854775808",
    "-9223372036854775808",
    "123456789012345678",
];
const DURATIONS: &[&str] = &[
    "", "0", "5s", "-5s", "1.5h", "5", "x", "1h5", ".5s", "1us", "1\u{b5}s", "300000h", "1e3s",
    "+1s",
];
const UNKNOWN: &[&str] = &["bogus", "node", "", "mdns.interface", "ReconnectInterval", "tags "];
const TRAILING: &[&[u8]] = &[b" ", b"\n", b"}", b"{}", b"x", b"\0", b"\xff", b",", b" // comment"];
const SPOILED: &[&[u8]] = &[
    b"\xff",
    b"\xfc",
    b"\xc3\xa4",
    b"\xe2\x82",
    b"\xed\xa0\x80",
    b"\xf0\x9f\x98\x80",
    b"\xc0\x80",
    b"\\ud800",
    b"\\udc00",
    b"\\ud83d\\ude00",
    b"\\ud83d\\ud83d\\ude00",
    b"\\ud83d\\n",
    b"\\u0000",
    b"\\",
    b"\\x",
    b"\\u12",
    b"\"",
    b"\t",
    b"\0",
    b"\x7f",
    b"\\/",
    b"\\\\ud800",
];
const HAND_MADE: &[&[u8]] = &[
    b"",
    b" ",
    b"null",
    b"nullx",
    b"null}",
    b"5",
    b"5x",
    b"\"x\"",
    b"[]",
    b"[1]",
    b"true",
    b"{",
    b"{}",
    b"\xef\xbb\xbf{}",
    b"{}{",
    b"{\"bind\":\"a\",\"bind\":\"b\"}",
    b"{\"bind\":\"a\",\"bind\":null}",
    b"{\"tags\":{\"a\":\"b\",\"a\":null}}",
    b"{\"tags\":{\"a\":\"b\"},\"tags\":{\"c\":\"d\"}}",
    b"{\"bind\":\"a\",\"BIND\":\"b\",\"Bind\":\"c\"}",
    b"{\"protocol\":1e999}",
    b"{\"protocol\":01}",
    b"{\"bind\":\"\\u0\n",
    b"{\"bind\":\"\\u00g",
    b"{\"bind\":\"\\u00",
    b"{\"bind\":\"\\u0\\",
    b"{\"mdns\":{\"interface\":\"a\",\"INTERFACE\":\"b\"}}",
    b"{\"mdns\":{\"mdns\":{}}}",
    b"{\"\xe2\x84\xaaeyring_file\":\"x\"}",
    b"{\"tags\":{\"M\xfc\":\"x\",\"M\xfe\":\"y\"}}",
    b"{\"tag\xc5\xbf\":{\"a\":\"b\"}}",
    b"{'bind':'x'}",
    b"{\"bind\":\"x\",}",
    b"{\"start_join\":[,]}",
    b"{\"retry_interval\":\"x\",\"reconnect_interval\":\"y\"}",
    b"{\"retry_interval\":\"1u\x7fs\"}",
    b"{\"retry_interval\":\"1u\x1f\"}",
    b"{\"broadcast_timeout\":\"x\",\"retry_interval\":\"y\",\"bind\":5}",
];
/// From tutorials, cookbooks and bug reports.
const REAL: &[&str] = &[
    r#"{"node_name":"web-1","role":"web","tags":{"dc":"east","az":"b"},"bind":"10.0.0.1:7946",
        "start_join":["10.0.0.2","10.0.0.3:7946"],"event_handlers":["user:deploy=/bin/deploy"]}"#,
    r#"{"discover":"mycluster","mdns":{"interface":"eth0","disable_ipv6":true},
        "log_level":"debug"}"#,
    r#"{"encrypt_key":"wsGlMv8mfgjD1f+CVVMHZA==","rpc_addr":"127.0.0.1:7373","rpc_auth":"secret",
        "retry_join":["a","b"],"retry_interval":"15s","retry_max_attempts":10,
        "leave_on_terminate":true,"skip_leave_on_interrupt":true}"#,
    r#"{"protocol":4,"profile":"wan","interface":"eth1","advertise":"192.0.2.1",
        "snapshot_path":"/var/lib/serf/snapshot","rejoin_after_leave":true,
        "reconnect_interval":"15s","reconnect_timeout":"1h","tombstone_timeout":"24h"}"#,
    r#"{"tags_file":"/var/lib/serf/tags","keyring_file":"/var/lib/serf/keyring",
        "enable_syslog":true,"syslog_facility":"LOCAL4","statsite_addr":"127.0.0.1:8125",
        "statsd_addr":"127.0.0.1:8126","disable_name_resolution":true,"replay_on_join":true}"#,
    r#"{"query_response_size_limit":2048,"query_size_limit":2048,"user_event_size_limit":1024,
        "broadcast_timeout":"10s","enable_compression":true,"disable_coordinates":true,
        "validate_node_names":true,"event_handlers":["member-join=a.sh","query:load=uptime"]}"#,
    "{}",
];
