//! Goal: in every scenario of the matrix, Go's own decoder reads each message that a Rust node
//! wrote and would have written the same bytes; ours does so for each message that a Go node
//! wrote; and `serf decode` says of all what Go says. Method: the Rust node of each scenario
//! records what passes its sockets.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::Mutex,
    thread,
};

use compat_tests::{
    alone::one_at_a_time,
    bare::{Roles, bare_scenarios},
    go,
    matrix::{OURS, Program, scenarios},
};
use ruserf::{
    serf::{MsgpackTransform, TransformDelegate, message::Message as SerfMessage},
    wire::{
        CodecConfig, CompoundParts, Keyring, Message, PacketCodec, Role, StreamDecoder,
        StreamMessage,
    },
};
use serde_json::{Value, json};

use super::{decoded, others};

#[test]
fn each_program_reads_every_message_of_the_other() {
    let _alone = one_at_a_time();
    let dir = tempfile::tempdir().expect("a directory");
    run_all(dir.path());
    let (mut wrong, mut ours, mut theirs) = (Vec::new(), BTreeMap::new(), BTreeMap::new());
    let base64: Vec<_> = keys().iter().map(go::base64).collect();
    let mut folders: Vec<_> = fs::read_dir(dir.path()).expect("captures").flatten().collect();
    folders.sort_by_key(std::fs::DirEntry::path);
    let scenarios = folders.len();
    for folder in folders {
        let title = folder.file_name().to_string_lossy().into_owned();
        let captures = captures(&folder.path());
        assert!(!captures.is_empty(), "nothing passed: {title}");
        let answers = read_by_go(&captures, &base64);
        let port = others::PORTS.iter().find(|(name, _)| *name == title).map_or(7946, |row| row.1);
        for unlike in decoded::unlike_go(&folder.path(), port, &captures, &answers) {
            wrong.push(format!("{title}: {unlike}"));
        }
        let (made_by_us, made_by_go): (Vec<_>, Vec<_>) =
            captures.into_iter().zip(answers).partition(|(capture, _)| capture["ours"] == true);
        // That broken ones are noticed: each without its last byte.
        if let Some(cut) = made_by_us.first().map(|(capture, _)| without_last_byte(capture)) {
            assert_ne!(
                read_by_go(std::slice::from_ref(&cut), &base64)[0]["readable"],
                true,
                "{cut}"
            );
            assert!(read_by_us(&cut, &mut BTreeMap::new()).is_err(), "{cut}");
        }
        for (capture, answer) in &made_by_us {
            if answer["readable"] != json!(true) {
                wrong.push(format!("{title}: Go does not read {capture}\n  {answer}"));
            }
            for message in answer["messages"].as_array().into_iter().flatten() {
                count_types(message, &mut ours);
            }
        }
        for (capture, _) in &made_by_go {
            if let Err(error) = read_by_us(capture, &mut theirs) {
                wrong.push(format!("{title}: we do not read {capture}: {error}"));
            }
        }
    }
    println!("{scenarios} captures\nmade by Rust, read by Go: {ours:?}");
    println!("made by Go, read by Rust: {theirs:?}");
    let shown = wrong.iter().take(5).cloned().collect::<Vec<_>>().join("\n");
    assert!(wrong.is_empty(), "{} of the messages:\n{shown}", wrong.len());
    assert!(scenarios >= 35, "{scenarios} scenarios");
    for kind in ["ping", "ack", "alive", "dead", "user", "push/pull"] {
        assert!(theirs.contains_key(kind), "no {kind} of Go's was seen: {theirs:?}");
    }
}

/// Each scenario once, its Rust peers recording into a directory of its name.
fn run_all(dir: &Path) {
    let rust = || Program {
        title: OURS.into(),
        path: PathBuf::from(env!("CARGO_BIN_EXE_rust_peer")),
        labels: true,
    };
    let go = |name: &str| Program {
        title: name.into(),
        path: go::harness_dir().join(name),
        labels: true,
    };
    type Job = (String, Box<dyn Fn() -> Result<(), String> + Send>);
    let mut jobs: Vec<Job> = Vec::new();
    for (at, scenario) in scenarios().into_iter().enumerate() {
        // Both roles, by turns.
        let (first, second) =
            if at.is_multiple_of(2) { (rust(), go("peer")) } else { (go("peer"), rust()) };
        jobs.push((scenario.title.into(), Box::new(move || (scenario.run)(&first, &second))));
    }
    for (at, scenario) in bare_scenarios().into_iter().enumerate() {
        let (serf, bare) = (rust(), go("mlpeer"));
        let title = format!("memberlist: {}", scenario.title);
        let run = move || {
            (scenario.run)(&Roles { serf: &serf, bare: &bare, serf_joins: at.is_multiple_of(2) })
        };
        jobs.push((title, Box::new(run)));
    }
    for (at, (title, _)) in others::PORTS.into_iter().enumerate() {
        let (first, second) = if at == 0 { (rust(), go("peer")) } else { (go("peer"), rust()) };
        jobs.push((title.into(), Box::new(move || others::run(title, &first, &second))));
    }
    let (jobs, failed) = (Mutex::new(jobs), Mutex::new(Vec::new()));
    thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| {
                loop {
                    let Some((title, run)) = jobs.lock().expect("no panic").pop() else { return };
                    let folder = dir.join(title.replace('/', " "));
                    fs::create_dir(&folder).expect("a directory");
                    go::capture_into(Some(folder));
                    if let Err(error) = run() {
                        failed.lock().expect("no panic").push(format!("{title}: {error}"));
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().expect("no panic");
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

fn captures(folder: &Path) -> Vec<Value> {
    let mut all = Vec::new();
    for file in fs::read_dir(folder).expect("captures").flatten() {
        let text = fs::read_to_string(file.path()).expect("a capture");
        // The last line of a killed node may be cut.
        all.extend(text.lines().filter_map(|line| serde_json::from_str(line).ok()));
    }
    all
}

fn without_last_byte(capture: &Value) -> Value {
    let hex = capture["hex"].as_str().expect("hex");
    let mut cut = capture.clone();
    cut["hex"] = json!(&hex[..hex.len() - 2]);
    cut
}

/// A node with a key may also send plaintext, when it is configured not to verify.
pub(crate) fn read_by_go(captures: &[Value], keys: &[String]) -> Vec<Value> {
    let ask = |sealed: bool| {
        let ask = captures.iter().map(|capture| {
            let keys = if sealed { keys } else { &[] };
            json!({
                "hex": capture["hex"], "kind": capture["kind"], "label": capture["label"],
                "keys": keys,
            })
        });
        go::decode(&ask.collect::<Vec<_>>())
    };
    if captures.iter().all(|capture| capture["sealed"] == false) {
        return ask(false);
    }
    let (sealed, plain) = (ask(true), ask(false));
    let better = |(sealed, plain): (Value, Value)| {
        if sealed["readable"] == json!(true) || plain["readable"] != json!(true) {
            sealed
        } else {
            plain
        }
    };
    sealed.into_iter().zip(plain).map(better).collect()
}

fn read_by_us(capture: &Value, seen: &mut BTreeMap<String, usize>) -> Result<(), String> {
    let label = capture["label"].as_str().expect("a label").as_bytes().to_vec();
    let keyring = if capture["sealed"] == true {
        Keyring::build(&keys(), &keys()[0]).expect("keys")
    } else {
        Keyring::default()
    };
    let config = CodecConfig { label, keyring, verify_incoming: false, ..CodecConfig::default() };
    let mut codec = PacketCodec::build(config).map_err(|error| error.to_string())?;
    let bytes = hex::decode(capture["hex"].as_str().expect("hex")).expect("hex");
    let role = match capture["kind"].as_str().expect("a kind") {
        "packet" => {
            let mut buf = Vec::new();
            let opened = codec.open(&bytes, &mut buf).map_err(|error| error.to_string())?.to_vec();
            return message(&mut codec, &opened, seen);
        }
        "stream" => Role::Acceptor,
        _ => Role::Dialer,
    };
    let mut decoder = StreamDecoder::new(codec.stream_codec(), role);
    let read = decoder.feed(&bytes).map_err(|error| error.to_string())?;
    match read.ok_or("the stream is not whole")? {
        StreamMessage::PushPull(push_pull) => {
            if let Some(error) = push_pull.rows().find_map(Result::err) {
                return Err(error.to_string());
            }
            count("push/pull", seen)?;
            if push_pull.user_state.is_empty() { Ok(()) } else { serf(&push_pull.user_state, seen) }
        }
        StreamMessage::User(user) => serf(&user, seen),
        StreamMessage::Ping { .. } => count("stream ping", seen),
        StreamMessage::Ack { .. } => count("stream ack", seen),
        StreamMessage::Error(_) => count("error", seen),
    }
}

/// Reads a message, writes it again and compares.
fn message(
    codec: &mut PacketCodec,
    bytes: &[u8],
    seen: &mut BTreeMap<String, usize>,
) -> Result<(), String> {
    let mut again = Vec::new();
    let kind = match Message::decode(bytes).map_err(|error| error.to_string())? {
        Message::Compound(body) => {
            for part in CompoundParts::parse(body).map_err(|error| error.to_string())? {
                message(codec, part.map_err(|error| error.to_string())?, seen)?;
            }
            return Ok(());
        }
        Message::Compress(body) => {
            codec.decompress(body, &mut again).map_err(|error| error.to_string())?;
            return message(codec, &again, seen);
        }
        Message::User(user) => {
            count("user", seen)?;
            return serf(user, seen);
        }
        Message::Ping(inner) => {
            inner.encode(&mut again);
            "ping"
        }
        Message::IndirectPing(inner) => {
            inner.encode(&mut again);
            "indirect ping"
        }
        Message::Ack(inner) => {
            inner.encode(&mut again);
            "ack"
        }
        Message::Nack(inner) => {
            inner.encode(&mut again);
            "nack"
        }
        Message::Suspect(inner) => {
            inner.encode(&mut again);
            "suspect"
        }
        Message::Alive(inner) => {
            inner.encode(&mut again);
            "alive"
        }
        Message::Dead(inner) => {
            inner.encode(&mut again);
            "dead"
        }
    };
    if again != bytes {
        return Err(format!("{kind}: we write {}", hex::encode(again)));
    }
    count(kind, seen)
}

fn serf(bytes: &[u8], seen: &mut BTreeMap<String, usize>) -> Result<(), String> {
    let read = MsgpackTransform.decode_message(bytes).map_err(|error| error.to_string())?;
    let mut again = Vec::new();
    MsgpackTransform.encode_message(&read, &mut again);
    let kind = format!("{read:?}");
    let kind = kind.split(['(', ' ', '{']).next().unwrap_or_default();
    // Go writes the map of a push/pull in any order.
    let equal = match &read {
        SerfMessage::PushPull(_) => again.len() == bytes.len(),
        _ => again == bytes,
    };
    if !equal {
        return Err(format!("{read:?}: we write {}", hex::encode(again)));
    }
    count(&format!("serf {kind}"), seen)
}

fn count(kind: &str, seen: &mut BTreeMap<String, usize>) -> Result<(), String> {
    *seen.entry(kind.to_owned()).or_default() += 1;
    Ok(())
}

/// The `type` of each message in Go's answer.
fn count_types(value: &Value, seen: &mut BTreeMap<String, usize>) {
    match value {
        Value::Object(fields) => {
            if let Some(kind) = fields.get("type").and_then(Value::as_str) {
                *seen.entry(kind.to_owned()).or_default() += 1;
            }
            fields.values().for_each(|field| count_types(field, seen));
        }
        Value::Array(all) => all.iter().for_each(|item| count_types(item, seen)),
        _ => {}
    }
}

/// All keys of the scenarios.
pub(crate) fn keys() -> Vec<Vec<u8>> {
    [16, 24, 32].into_iter().flat_map(|len| [1, 2].map(|fill| vec![fill; len])).collect()
}
