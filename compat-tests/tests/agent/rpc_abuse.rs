//! Goal: no client can hurt an agent or another client, and what is malformed gets Go's reaction.

use std::{
    collections::BTreeMap,
    fs,
    io::{Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    os::unix::{fs::PermissionsExt, net::UnixStream, process::CommandExt},
    path::Path,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use compat_tests::{
    net::Net,
    peer::{Launch, Peer},
    process::{BOTH, InTime as _, Kind, not_run, signal},
    rpc::{Client, Value, request},
    wait::{PATIENCE, eventually},
};
use tempfile::TempDir;

/// Goal: whatever is wrong with a request, the answer and whether the connection goes on are Go's;
/// ours differs only where Go uses a header twice or runs out of bounds. Method: each malformed
/// input is sent to both programs, with a request behind it and the end of what we send.
// parity: rpc: Malformed input
#[test]
fn malformed_input_gets_the_reaction_that_go_has() {
    let dir = tempfile::tempdir().unwrap();
    let [go, ours] = BOTH.map(|program| {
        let net = Net::new();
        (net, Peer::start_in(program, "a", &net.ip(2), &["-tag", "role=web"], dir.path()))
    });
    let mut different = Vec::new();
    for case in cases() {
        let [of_go, of_ours] = [&go, &ours].map(|(net, agent)| case.reaction(*net, agent));
        let expected = if case.differs { case.ours.clone() } else { of_go.clone() };
        if of_ours != expected {
            different.push(format!(
                "{} ({})\n  Go   {of_go:?}\n  ours {of_ours:?}",
                case.name,
                hex::encode(&case.bytes)
            ));
        }
        if case.differs && of_go == of_ours {
            different.push(format!("{}: no longer", case.name));
        }
    }
    assert!(different.is_empty(), "{} differ:\n{}", different.len(), different.join("\n"));
    for (_, agent) in [&go, &ours] {
        agent.wait_for_members(1);
    }
}

/// Goal: what cannot be decoded is logged in Go's words, with Go's position in the connection.
// parity: rpc: Malformed input: words of the log
#[test]
fn malformed_input_is_logged_in_go_s_words() {
    const HANDSHAKE: &[u8] = b"\x82\xa7Command\xa9handshake\xa3Seq\0";
    let net = Net::new();
    let logs = BOTH.map(|kind| {
        let agent = Peer::start(kind, "a", &net.ip(1 + kind as u8), &[]);
        let with = |body: &[u8]| [HANDSHAKE, body].concat();
        for bytes in [
            b"\xc1".to_vec(),
            b"\x81".to_vec(),
            b"\x82\xa7Command\x05".to_vec(),
            b"\xa1a".to_vec(),
            b"\x82\xa7Command\xa9handshake\xa3Seq\xff".to_vec(),
            with(b"\x81\xa7Version\xa1a"),
            with(b"\x81\xa7Version\x01\xc1"),
            with(b"\x81\xa7Ver"),
            with(b"\x81\xa7Version\x01\x82\xa7Command\xa5event\xa3Seq\x01\x81\xa7Payload\x05"),
            with(b"\x81\xa7Version\x01\x82\xa7Command\xa5event\xa3Seq\x01\x05"),
        ] {
            let mut stream = TcpStream::connect(&agent.rpc).unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            stream.write_all(&bytes).unwrap();
            stream.shutdown(Shutdown::Write).unwrap();
            let _ = stream.read_to_end(&mut Vec::new());
        }
        let errors = || -> Vec<String> {
            let log = agent.log();
            let found = log.lines().filter_map(|line| line.split_once("[ERR] agent.ipc: "));
            found.map(|(_, text)| text.to_owned()).collect()
        };
        eventually(&agent.log_tail(), || Some(errors()).filter(|errors| errors.len() >= 9))
    });
    assert_eq!(logs[0], logs[1], "left: Go, right: ours");
}

struct Case {
    name: String,
    handshake: bool,
    bytes: Vec<u8>,
    /// Ours is not Go's but this.
    differs: bool,
    ours: Vec<Value>,
}

impl Case {
    fn new(name: &str, bytes: Vec<u8>) -> Self {
        let name = name.to_owned();
        Self { name, handshake: true, bytes, differs: false, ours: Vec::new() }
    }

    fn raw(name: &str, bytes: &[u8]) -> Self {
        Self { handshake: false, ..Self::new(name, bytes.to_vec()) }
    }

    fn ours(self, ours: Vec<Value>) -> Self {
        Self { differs: true, ours, ..self }
    }

    fn reaction(&self, net: Net, agent: &Peer) -> Vec<Value> {
        let mut client =
            if self.handshake { Client::ready(&agent.rpc) } else { Client::connect(&agent.rpc) };
        let mut bytes = self.bytes.clone();
        bytes.extend(request("stop", MARKER, Some(Value::map([("Stop", MARKER.into())]))));
        client.send(&bytes);
        client.finish();
        let mut all = client.until_closed();
        all.iter_mut().for_each(|value| net.hide(value));
        all.into_iter().map(Value::sorted).collect()
    }
}

/// Number of the request behind the malformed one; its answer shows that the connection goes on.
const MARKER: u64 = 0x4d4d;

fn answer(seq: u64, error: &str) -> Value {
    Value::map([("Error", error.into()), ("Seq", seq.into())])
}

fn cases() -> Vec<Case> {
    let mut all = before_the_handshake();
    all.extend(headers());
    all.extend(bodies());
    all
}

fn before_the_handshake() -> Vec<Case> {
    let handshake = |version: Value| request("handshake", 3, Some(version));
    let version = |version: Value| handshake(Value::map([("Version", version)]));
    let scalar = |bytes: &[u8]| Value::Scalar(bytes.to_vec());
    let header = |command: Value, seq: Value| {
        Value::Map(vec![("Command".into(), command), ("Seq".into(), seq)]).encode()
    };
    let lower = Value::map([("command", "handshake".into()), ("seq", 3.into())]).encode();
    vec![
        Case::raw("a web browser", b"GET / HTTP/1.1\r\n\r\n"),
        Case::raw("a TLS client", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"),
        Case::raw("the byte that is never used", b"\xc1\xc1"),
        Case::raw("a string", b"\xa3abc"),
        Case::raw("a number", b"\x05"),
        Case::raw("a boolean", b"\xc3"),
        Case::raw("an extension", b"\xd4\x01\x00"),
        Case::raw("half a header", &version(1.into())[..9]),
        Case::raw("nothing", b""),
        Case::raw("an empty map", b"\x80"),
        Case::raw("keys in lower case", &lower),
        Case::raw("another command", &request("members", 3, None)),
        Case::raw("a token first", &request("auth", 3, Some(Value::Map(Vec::new())))),
        Case::raw("an unknown command", &request("bogus", 3, None)),
        Case::raw("a handshake", &version(1.into())),
        Case::raw("version 0", &version(0.into())),
        Case::raw("version 2", &version(2.into())),
        Case::raw("version -1", &version(scalar(b"\xff"))),
        Case::raw("version 1 in eight bytes", &version(scalar(b"\xcf\0\0\0\0\0\0\0\x01"))),
        Case::raw("version 1 in signed bytes", &version(scalar(b"\xd0\x01"))),
        Case::raw("version 2^40", &version((1 << 40).into())),
        Case::raw("version as text", &version("1".into())),
        Case::raw("version as nil", &version(Value::nil())),
        Case::raw("no version", &handshake(Value::Map(Vec::new()))),
        Case::raw("an array as body", &handshake(Value::Array(vec![1.into()]))),
        Case::raw("nil as body", &handshake(Value::nil())),
        Case::raw("text as body", &handshake("1".into())),
        Case::raw("command as bytes", &{
            let command = Value::Bin(b"handshake".to_vec());
            [header(command, 3.into()), Value::map([("Version", 1.into())]).encode()].concat()
        }),
        Case::raw("command as number", &header(7.into(), 3.into())),
        Case::raw("number as text", &header("handshake".into(), "3".into())),
        Case::raw("a negative number", &header("handshake".into(), scalar(b"\xff"))),
    ]
}

fn headers() -> Vec<Case> {
    let header = |pairs: &[(&str, Value)]| {
        let pairs = pairs.iter().map(|(key, value)| ((*key).into(), value.clone()));
        Value::Map(pairs.collect()).encode()
    };
    let stop = Value::map([("Stop", 9.into())]);
    let with_stop = |header: Vec<u8>| [header, stop.encode()].concat();
    let nested = |depth: usize| {
        let inner = (0..depth).fold(Value::nil(), |value, _| Value::Array(vec![value]));
        with_stop(header(&[("Command", "stop".into()), ("X", inner), ("Seq", 4.into())]))
    };
    let twice = [("Command", "bogus".into()), ("Seq", 3.into())];
    let twice = [&twice[..], &[("Command", "stop".into()), ("Seq", 4.into())]].concat();
    let array = |values: &[Value]| with_stop(Value::Array(values.to_vec()).encode());
    let marked = answer(MARKER, "");
    vec![
        Case::new("an unknown command", request("bogus", 4, None)),
        Case::new("a command in capitals", request("Members", 4, None)),
        Case::new("unknown keys", nested(3)),
        // Go follows without bound.
        Case::new("nesting without end", nested(200)).ours(Vec::new()),
        // Go takes the last.
        Case::new("keys twice", with_stop(header(&twice))).ours(Vec::new()),
        Case::new("an array as header", array(&["stop".into(), 4.into()])),
        Case::new("a longer array", array(&["stop".into(), 4.into(), 5.into()])),
        Case::new(
            "keys that are numbers",
            with_stop(Value::Map(vec![(1.into(), 2.into())]).encode()),
        ),
        // Go does the handshake again, and takes the request behind for its body.
        Case::new("an empty map", vec![0x80]).ours(vec![marked.clone()]),
        Case::new("no command", header(&[("Seq", 4.into())]))
            .ours(vec![answer(4, "Unsupported command")]),
        Case::new("no number", with_stop(header(&[("Command", "stop".into())])))
            .ours(vec![answer(0, ""), marked.clone()]),
        Case::new("an empty array", vec![0x90]).ours(vec![marked]),
        Case::new("a negative number", header(&[("Seq", Value::Scalar(vec![0xff]))])),
        Case::new("a number as text", header(&[("Seq", "4".into())])),
        Case::new("half a header", request("members", 4, None)[..9].to_vec()),
    ]
}

fn bodies() -> Vec<Case> {
    let bin = |bytes: &[u8]| Value::Bin(bytes.to_vec());
    let ints = |ints: &[u64]| Value::Array(ints.iter().map(|i| (*i).into()).collect());
    let big = Value::Str(vec![b'x'; 600]);
    let mut all = Vec::new();
    let mut case = |command: &str, body: Value| {
        let name = format!("{command} {body:?}");
        all.push(Case::new(&name, request(command, 4, Some(body))));
    };
    let map = |key: &str, value: Value| Value::map([(key, value)]);
    // Too large to be sent, so that nothing is.
    let event = |payload: Value| Value::map([("Name", big.clone()), ("Payload", payload)]);
    for payload in [Value::nil(), "text".into(), bin(b""), bin(b"x"), ints(&[1, 2, 3])] {
        case("event", event(payload));
    }
    for payload in [5.into(), true.into(), ints(&[1, 256]), map("a", 1.into())] {
        case("event", event(payload));
    }
    case("event", Value::Array(vec![big.clone(), bin(b"x"), true.into()]));
    case("event", Value::Array(vec![big.clone()]));
    case("event", Value::Map(vec![(bin(b"Name"), big.clone())]));
    case("event", Value::map([("Name", big.clone()), ("Coalesce", 1.into())]));
    case("event", Value::map([("Name", big.clone()), ("Coalesce", Value::nil())]));
    case("event", map("Name", 5.into()));
    case("event", map("Name", Value::Bin(vec![0xff; 600])));
    case("event", map("Name", Value::Str(vec![0xff; 600])));
    for body in [Value::nil(), "x".into(), 5.into(), Value::Array(Vec::new())] {
        case("members-filtered", body);
    }
    for (key, value) in [
        ("Name", "(".into()),
        ("Name", "a{1001}".into()),
        ("Name", r"\C".into()),
        ("Name", "(?P<n>a)".into()),
        ("Name", r"a\z".into()),
        ("Name", r"\pL".into()),
        ("Name", r"(?=a)".into()),
        ("Name", bin(b"a")),
        ("Name", Value::nil()),
        ("Status", 5.into()),
        ("Status", "al.*".into()),
        ("Tags", Value::nil()),
        ("Tags", "x".into()),
        ("Tags", ints(&[])),
        ("Tags", Value::texts(&["role", "web"])),
        ("Tags", Value::texts(&["role"])),
        ("Tags", Value::Map(vec![(1.into(), "x".into())])),
        ("Tags", map("role", Value::nil())),
        ("Tags", map("role", "[".into())),
        ("Tags", map("role", 5.into())),
        ("tags", map("role", "nobody".into())),
    ] {
        case("members-filtered", map(key, value));
    }
    for (key, value) in [
        ("Existing", Value::nil()),
        ("Existing", "127.0.0.1".into()),
        ("Existing", ints(&[1])),
        ("Replay", 1.into()),
    ] {
        case("join", map(key, value));
    }
    all.extend(short_bodies());
    all
}

fn short_bodies() -> Vec<Case> {
    let scalar = |bytes: &[u8]| Value::Scalar(bytes.to_vec());
    let map = |key: &str, value: Value| Value::map([(key, value)]);
    let mut all = Vec::new();
    let mut case = |command: &str, body: Value| {
        let name = format!("{command} {body:?}");
        all.push(Case::new(&name, request(command, 4, Some(body))));
    };
    let long = ("Name", Value::Str(vec![b'x'; 1100]));
    for (key, value) in [
        ("RelayFactor", 255.into()),
        ("RelayFactor", 256.into()),
        ("RelayFactor", scalar(b"\xff")),
        ("Timeout", scalar(b"\xd3\x80\0\0\0\0\0\0\0")),
        ("Timeout", u64::MAX.into()),
        ("Timeout", scalar(b"\xcb\x3f\xf0\0\0\0\0\0\0")),
        ("FilterNodes", "a".into()),
        ("FilterNodes", Value::texts(&["a"])),
        ("FilterTags", Value::texts(&["a"])),
        ("RequestAck", "yes".into()),
    ] {
        case("query", Value::map([long.clone(), (key, value)]));
    }
    for value in [Value::nil(), scalar(b"\xff"), "9".into(), scalar(b"\xd3\0\0\0\0\0\0\0\x09")] {
        case("stop", map("Stop", value));
    }
    for value in [Value::nil(), "".into(), "bogus,".into(), ",".into(), 5.into()] {
        case("stream", map("Type", value));
    }
    for value in [Value::nil(), "".into(), "\u{e9}x".into(), 5.into()] {
        case("monitor", map("LogLevel", value));
    }
    for value in [Value::nil(), 5.into(), Value::Bin(b"AAAA".into()), Value::Str(vec![0xff])] {
        case("install-key", map("Key", value));
    }
    case("tags", map("Tags", map("t", Value::Str(vec![b'x'; 600]))));
    case("tags", map("Tags", map("t", 5.into())));
    for number in [f64::NAN, f64::INFINITY, f64::MAX] {
        let number = [&[0xcb][..], &number.to_be_bytes()].concat();
        case("tags", map("Tags", map("t", scalar(&number))));
    }
    case("tags", map("DeleteTags", "t".into()));
    case("respond", map("ID", scalar(b"\xff")));
    case("respond", map("Id", 1.into()));
    case("get-coordinate", map("Node", 5.into()));
    case("get-coordinate", map("Node", Value::Str(vec![0xff])));
    case("auth", map("AuthKey", 5.into()));
    case("force-leave", map("Prune", "yes".into()));
    // Go's expressions are text.
    let none = Value::map([("Members", Value::Array(Vec::new()))]);
    let no_text = Some(map("Name", Value::Str(vec![0xff])));
    let no_text = Case::new("no text", request("members-filtered", 4, no_text));
    all.push(no_text.ours(vec![answer(4, ""), none, answer(MARKER, "")]));
    all.push(Case::new("a missing body", request("join", 4, None)));
    all
}

/// Goal: a token keeps everybody out who does not know it, however it is asked.
#[test]
fn a_token_is_asked_for_until_it_is_shown() {
    let (net, dir) = (Net::new(), tempfile::tempdir().unwrap());
    let agent = with_token(net, &dir);
    let mut client = Client::ready(&agent.rpc);
    let token = |key: &str| Some(Value::map([("AuthKey", key.into())]));
    let commands = [
        ("members", None),
        ("stats", None),
        ("list-keys", None),
        ("event", Some(Value::map([("Name", "x".into())]))),
        ("stream", Some(Value::map([("Type", "*".into())]))),
        ("monitor", Some(Value::map([("LogLevel", "debug".into())]))),
        ("leave", None),
        ("bogus", None),
    ];
    for (command, body) in commands {
        let header = client.call(command, 9, body);
        assert_eq!(header.text("Error"), "Authentication required", "{command}");
    }
    let key = "a long token";
    for wrong in ["", "a long toke", "a long tokem", "a long token ", "A long token"] {
        let header = client.call("auth", 10, token(wrong));
        assert_eq!(header.text("Error"), "Invalid authentication token", "{wrong}");
    }
    assert_eq!(client.call("members", 11, None).text("Error"), "Authentication required");
    assert_eq!(client.call("auth", 12, token(key)).text("Error"), "");
    assert_eq!(client.call("members", 13, None).text("Error"), "");
    assert!(client.next().is_some());
    // A wrong one takes nothing away, and another connection has nothing of it.
    assert_ne!(client.call("auth", 14, token("x")).text("Error"), "");
    assert_eq!(client.call("members", 15, None).text("Error"), "");
    let mut other = Client::ready(&agent.rpc);
    assert_eq!(other.call("members", 2, None).text("Error"), "Authentication required");
    for program in BOTH {
        for (shown, code) in [(key, Some(0)), ("wrong", Some(1)), ("", Some(1))] {
            let status = Command::new(program.program())
                .args(["members", "-rpc-addr", &agent.rpc])
                .env("SERF_RPC_AUTH", shown)
                .output_in_time();
            assert_eq!(status.status.code(), code, "{program:?} {shown:?}");
        }
    }
    // Strangers may not make us hold much, and others may not either.
    end_by(Client::ready(&agent.rpc), 65 << 10);
    end_by(client, 1 << 20);
}

/// The promise of so many bytes ends the connection before any of them is sent.
fn end_by(mut client: Client, bytes: usize) {
    let size = u32::try_from(bytes).unwrap().to_be_bytes();
    let body = [&b"\x81\xa7AuthKey\xdb"[..], &size].concat();
    client.send(&request("auth", 20, None));
    client.send(&body);
    client.until_closed();
}

fn with_token(net: Net, dir: &TempDir) -> Peer {
    fs::write(dir.path().join("a.json"), r#"{"rpc_auth": "a long token"}"#).unwrap();
    Peer::start_in(Kind::Ours, "a", &net.ip(2), &["-config-file", "a.json"], dir.path())
}

/// Goal: requests sent together are answered in their order; others need not wait for them.
// parity: rpc: Pipelining and interleaving
#[test]
fn pipelined_requests_are_answered_in_order_and_clients_do_not_wait_for_each_other() {
    let (net, dir) = (Net::new(), tempfile::tempdir().unwrap());
    let agent = Peer::start_in(Kind::Ours, "a", &net.ip(2), &[], dir.path());
    let mut client = Client::ready(&agent.rpc);
    let all: Vec<_> = (0..3000).flat_map(|seq| request("get-coordinate", seq, node())).collect();
    let mut writer = client.socket().try_clone().unwrap();
    let writing = thread::spawn(move || writer.write_all(&all).unwrap());
    for seq in 0..3000 {
        let [header, body] = client.record();
        assert_eq!((header, body.get("Ok")), (answer(seq, ""), Some(&false.into())));
    }
    writing.join().unwrap();
    // A join of somebody who does not answer blocks its own connection only.
    let silent = TcpListener::bind((net.ip(9), 0)).unwrap();
    let addr = silent.local_addr().unwrap().to_string();
    client.request("join", 5, Some(Value::map([("Existing", Value::texts(&[&addr]))])));
    client.request("stats", 6, None);
    let (held, _) = silent.accept().unwrap();
    let mut clients: Vec<_> = (0..300).map(|_| Client::ready(&agent.rpc)).collect();
    for client in &mut clients {
        client.request("members", 2, None);
    }
    for client in &mut clients {
        assert_eq!(client.record()[0], answer(2, ""));
    }
    client.socket().set_nonblocking(true).unwrap();
    let early = client.socket().peek(&mut [0]);
    assert_eq!(early.unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
    client.socket().set_nonblocking(false).unwrap();
    drop((held, silent));
    let [header, body] = client.record();
    assert_eq!((header.number("Seq"), body.number("Num")), (5, 0));
    assert!(!header.text("Error").is_empty());
    assert_eq!(client.record()[0], answer(6, ""));
    // So many streams and no more.
    let kind = Some(Value::map([("Type", "user".into())]));
    let all: Vec<_> = (0..1025).flat_map(|seq| request("stream", seq, kind.clone())).collect();
    client.send(&all);
    let errors: Vec<_> = (0..1025).map(|_| client.next().unwrap().text("Error")).collect();
    assert!(errors[..1024].iter().all(String::is_empty));
    assert_eq!(errors[1024], "Too many streams");
}

/// Goal: user events that arrive together are sent in one go, and nobody can tell but by the speed:
/// each is answered in its place, a mistake in between harms no other, and all come in order.
#[test]
fn events_in_one_write_are_all_sent_and_answered_in_order() {
    const EVENTS: u64 = 400;
    let (net, dir) = (Net::new(), tempfile::tempdir().unwrap());
    let agent = Peer::start_in(Kind::Ours, "a", &net.ip(2), &[], dir.path());
    let mut watcher = Client::ready(&agent.rpc);
    watcher.call("stream", 1, Some(Value::map([("Type", "user".into())])));
    let mut client = Client::ready(&agent.rpc);
    let event = |name: &str, bytes: usize| {
        let payload = "p".repeat(bytes);
        Some(Value::map([
            ("Name", name.into()),
            ("Payload", payload.as_str().into()),
            ("Coalesce", false.into()),
        ]))
    };
    let too_large = |seq: u64| seq % 7 == 3;
    let mut all = Vec::new();
    for seq in 0..EVENTS {
        let bytes = if too_large(seq) { 600 } else { 10 };
        all.extend(request("event", seq, event(&format!("e{seq}"), bytes)));
        if seq == 100 {
            all.extend(request("stats", 1_000, None));
        }
    }
    // A header whose body is late holds up no answer.
    let last = request("event", EVENTS, event("last", 10));
    let (head, body) = last.split_at(20);
    all.extend(head);
    client.send(&all);
    for seq in 0..EVENTS {
        let header = client.next().unwrap();
        assert_eq!(header.number("Seq"), seq);
        let error = header.text("Error");
        assert_eq!(error.is_empty(), !too_large(seq), "{error}");
        if seq == 100 {
            assert_eq!(client.record()[0], answer(1_000, ""));
        }
    }
    client.send(body);
    assert_eq!(client.next().unwrap(), answer(EVENTS, ""));
    let sent = (0..EVENTS).filter(|seq| !too_large(*seq)).map(|seq| format!("e{seq}"));
    for name in sent.chain(["last".to_owned()]) {
        let [header, body] = watcher.record();
        assert_eq!((header.number("Seq"), body.text("Name")), (1, name));
    }
}

fn node() -> Option<Value> {
    Some(Value::map([("Node", "nobody".into())]))
}

/// Goal: a client that stops reading loses records, which the log reports; no other does, and the
/// agent answers as before. When it reads again it gets what is left, and no record is cut.
// parity: rpc-stream: slow consumer
#[test]
fn a_client_that_stops_reading_loses_records_and_nobody_else_does() {
    let (net, dir) = (Net::new(), tempfile::tempdir().unwrap());
    let agent = Peer::start_in(Kind::Ours, "a", &net.ip(2), &[], dir.path());
    // What is lost is counted whether the stream wants it or not: here all is wanted.
    agent.wait_for_line("Received event: member-join");
    let user = || Some(Value::map([("Type", "user".into())]));
    let mut slow = Client::ready(&agent.rpc);
    for seq in 0..STREAMS {
        assert_eq!(slow.call("stream", 100 + seq, user()), answer(100 + seq, ""));
    }
    let mut fast = Client::ready(&agent.rpc);
    fast.call("stream", 50, user());
    let mut sender = Client::ready(&agent.rpc);
    let mut sent = 0;
    let logged = |text: &str| {
        agent.printed().into_iter().filter(|line| line.contains(text)).collect::<Vec<_>>()
    };
    let mut send = |sender: &mut Client| {
        let payload = Value::Bin(vec![b'p'; 400]);
        let event = [("Name", "flood".into()), ("Payload", payload)];
        let header = sender.call("event", 1_000 + sent, Some(Value::map(event)));
        assert_eq!(header.text("Error"), "");
        assert_eq!(fast.record()[1].number("LTime"), 1 + sent, "the fast client loses records");
        sent += 1;
    };
    eventually("nothing is lost", || {
        (0..50).for_each(|_| send(&mut sender));
        logged("[WARN] agent.ipc: Dropping event to ipc.client: 127.").len() as u64 >= STREAMS
    });
    agent.wait_for_members(1);
    // Now it reads, and counts.
    let mut got = BTreeMap::<u64, Vec<u64>>::new();
    slow.request("members", 2, None);
    let mut left = STREAMS;
    // Each stream gets the last event, once it has room.
    eventually("the slow client gets no report of what it lost", || {
        drain(&mut slow, &mut got);
        left = STREAMS - logged("[WARN] agent.ipc: Dropped ").len() as u64;
        left == 0
    });
    send(&mut sender);
    slow.request("members", 3, None);
    while got.values().any(|times| times.last() != Some(&sent)) || got.len() as u64 != STREAMS {
        drain_one(&mut slow, &mut got);
    }
    let lost: u64 = logged("[WARN] agent.ipc: Dropped ")
        .iter()
        .map(|line| line.split_once("Dropped ").unwrap().1.split(' ').next().unwrap())
        .map(|count| count.parse::<u64>().unwrap())
        .sum();
    let received: u64 = got.values().map(|times| times.len() as u64).sum();
    assert_eq!(received + lost, STREAMS * sent);
    assert!(got.values().all(|times| times.is_sorted()));
}

#[test]
fn a_monitor_that_does_not_read_loses_lines_and_delays_no_one() {
    let (net, dir) = (Net::new(), tempfile::tempdir().unwrap());
    let agent = Peer::start_in(Kind::Ours, "a", &net.ip(2), &["-log-level", "debug"], dir.path());
    let mut slow = Client::ready(&agent.rpc);
    let level = || Some(Value::map([("LogLevel", "debug".into())]));
    assert_eq!(slow.call("monitor", 7, level()), answer(7, ""));
    let mut sender = Client::ready(&agent.rpc);
    let mut longest = Duration::ZERO;
    let logged = |text: &str| agent.printed().iter().any(|line| line.contains(text));
    // Each is a line of the log, or more: the longest admitted, or a slow machine is long at it.
    let name = "a-name-that-fills-the-log".repeat(18);
    eventually("no line is lost", || {
        for seq in 100..300 {
            let event = [("Name", name.as_str().into()), ("Coalesce", true.into())];
            sender.request("event", seq, Some(Value::map(event)));
        }
        for seq in 100..300 {
            let began = Instant::now();
            assert_eq!(sender.next().expect("an answer"), answer(seq, ""));
            longest = longest.max(began.elapsed());
        }
        logged("[WARN] agent.ipc: Dropping logs to ipc.client: 127.")
    });
    assert!(longest < Duration::from_secs(10), "an event took {longest:?}");
    agent.wait_for_members(1);
    // It reads again: lines of before and of now, each whole.
    for _ in 0..600 {
        let [header, body] = slow.record();
        assert_eq!(header.number("Seq"), 7);
        assert!(body.text("Log").starts_with("20"), "{body:?}");
    }
}

/// So many fill the socket's buffers soon.
const STREAMS: u64 = 60;

/// Takes what is there.
fn drain(client: &mut Client, got: &mut BTreeMap<u64, Vec<u64>>) {
    client.socket().set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    while client.has_next() {
        client.socket().set_read_timeout(Some(PATIENCE)).unwrap();
        drain_one(client, got);
        client.socket().set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    }
    client.socket().set_read_timeout(Some(PATIENCE)).unwrap();
}

fn drain_one(client: &mut Client, got: &mut BTreeMap<u64, Vec<u64>>) {
    let [header, body] = client.record();
    if header.number("Seq") >= 100 {
        got.entry(header.number("Seq")).or_default().push(body.number("LTime"));
    }
}

/// Goal: an agent on a Unix socket serves its own user and root alone, cleans up after itself and
/// after one that was killed.
#[test]
fn a_unix_socket_serves_its_owner_alone() {
    let (net, dir) = (Net::new(), tempfile::tempdir().unwrap());
    let path = dir.path().join("rpc.sock");
    let addr = format!("unix:{}", path.display());
    let launch = Launch::new(Kind::Ours, "a", &net.ip(2)).rpc(&addr);
    let agent = launch.clone().start();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let mut stream = UnixStream::connect(&path).unwrap();
    let hello = request("handshake", 1, Some(Value::map([("Version", 1.into())])));
    stream.write_all(&hello).unwrap();
    let mut reply = vec![0; answer(1, "").encode().len()];
    stream.read_exact(&mut reply).unwrap();
    assert_eq!(reply, answer(1, "").encode());
    let members = |program: &Path| {
        let mut command = Command::new(program);
        command.args(["members", "-rpc-addr", &addr]);
        command
    };
    assert!(members(Kind::Ours.program()).output_in_time().status.success());
    refuse_others(&agent, dir.path(), &path, members);
    // One that was killed leaves its socket behind, and the next one takes its place.
    drop(agent);
    assert!(path.exists());
    let mut agent = launch.clone().start();
    assert!(members(Kind::Ours.program()).output_in_time().status.success());
    let second = launch.spawn();
    second.wait_for_line("ddress already in use");
    assert!(members(Kind::Ours.program()).output_in_time().status.success());
    signal(agent.pid(), "INT");
    assert_eq!(agent.wait().code(), Some(0));
    assert!(!path.exists());
}

/// Only root can be somebody else.
fn refuse_others(agent: &Peer, dir: &Path, path: &Path, members: impl Fn(&Path) -> Command) {
    if Command::new("id").arg("-u").output_in_time().stdout != b"0\n" {
        return not_run("as another user: this is not root");
    }
    // The files let anybody in, so that only the agent says no.
    let program = dir.join("serf");
    fs::copy(Kind::Ours.program(), &program).unwrap();
    for (path, mode) in [(dir, 0o755), (path, 0o666), (&program, 0o755)] {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }
    let refused = members(&program).uid(65_534).gid(65_534).output_in_time();
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    agent.wait_for_line("[WARN] agent.ipc: Refusing client: user id 65534");
}

/// Goal: without RPC, an agent is a member as any other.
#[test]
fn an_agent_without_rpc_is_a_member_as_any_other() {
    let (net, dir) = (Net::new(), tempfile::tempdir().unwrap());
    let a = Peer::start_in(Kind::Go, "a", &net.ip(2), &[], dir.path());
    let join = ["-join", &a.addr];
    let b = Launch::new(Kind::Ours, "b", &net.ip(3)).rpc("off").args(&join).start();
    a.wait_for_members(2);
    b.wait_for_line("RPC addr: 'off'");
    assert!(std::net::TcpStream::connect((net.ip(3), 7373)).is_err());
}

/// Goal: who asks an agent to leave and goes away has still asked it; who stays hears that it is
/// done before the connection ends.
#[test]
fn a_leave_is_finished_and_answered() {
    let dir = tempfile::tempdir().unwrap();
    for stays in [false, true] {
        let net = Net::new();
        let mut agent = Peer::start_in(Kind::Ours, "a", &net.ip(2), &[], dir.path());
        let mut client = Client::ready(&agent.rpc);
        client.request("stream", 2, Some(Value::map([("Type", "*".into())])));
        client.request("leave", 3, None);
        if stays {
            let all = client.until_closed();
            assert!(all.contains(&answer(3, "")), "{all:?}");
        }
        drop(client);
        assert_eq!(agent.wait().code(), Some(0));
    }
}
