//! Goal: what people type, wrong or odd, gets an answer that helps, and the bytes that they give
//! arrive. Method: command lines against agents of both kinds.

use std::{
    ffi::{OsStr, OsString},
    fs,
    os::unix::ffi::OsStrExt as _,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use compat_tests::{
    net::Net,
    peer::Peer,
    process::{BOTH, InTime as _, Kind, Process, file, serf},
    wait::poll,
};

// parity: cli-members: members bad regex
// parity: cli: Typing errors, bad expressions, closed connections
#[test]
fn typing_errors_bad_expressions_and_closed_connections_are_explained() {
    let net = Net::new();
    let agent = Peer::start(Kind::Ours, "a", &net.ip(1), &[]);
    let said = agent.cli(&["membres"]);
    assert_eq!(said.code, Some(127));
    assert!(said.err.ends_with("Unknown command 'membres'. Did you mean 'members'?\n"), "{said:?}");
    let said = agent.cli(&["members", "-stauts", "alive"]);
    assert_eq!(said.code, Some(1));
    assert!(said.err.ends_with("Unknown flag -stauts. Did you mean -status?\n"), "{said:?}");
    for args in [
        &["members", "-status", "["][..],
        &["members", "-name", "(a"],
        &["members", "-tag", "role=a**"],
        &["members", "-role", "["],
        &["query", "-tag", "role=[", "x"],
    ] {
        let said = agent.cli(args);
        assert_eq!(said.code, Some(1), "{said:?}");
        assert!(said.out.contains("Invalid regular expression for -"), "{said:?}");
    }
    // Gossip, not RPC.
    let said = serf(Kind::Ours, &agent.addr, &["members"]);
    assert!(said.out.contains("Error connecting to Serf agent: "), "{said:?}");
    assert!(said.err.contains("not that of its gossip"), "{said:?}");
    // Another label.
    let other = Peer::start(Kind::Ours, "b", &net.ip(2), &["-label", "other"]);
    let said = agent.cli(&["join", &other.addr]);
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.out.contains("EOF") && said.err.contains("label"), "{said:?}");
}

/// An address of the RPC that is none.
#[test]
fn addresses_of_no_agent_are_refused_in_go_s_words() {
    for address in ["", ":", "x", "127.0.0.1", "127.0.0.1:", ":xx", "[::1]", "a:b:c"] {
        let flag = format!("-rpc-addr={address}");
        let [theirs, ours] = BOTH.map(|kind| serf(kind, "", &["members", &flag]));
        assert_eq!((ours.out, ours.code), (theirs.out, theirs.code), "{address:?}");
    }
}

// parity: cli-misc: force-leave of an unknown name
#[test]
fn force_leave_says_that_a_name_is_unknown() {
    let ip = Net::new().ip(1);
    let agent = Peer::start(Kind::Ours, "a", &ip, &[]);
    for args in [&["force-leave", "nobody"][..], &["force-leave", "-prune", "nobody"]] {
        let said = agent.cli(args);
        assert_eq!((said.out.as_str(), said.code), ("No member is named 'nobody'.\n", Some(0)));
    }
    let said = agent.cli(&["force-leave", "-format", "json", "nobody"]);
    assert!(said.out.contains("\"known\": false"), "{said:?}");
    assert_eq!(agent.ok(&["force-leave", "a"]), "");
}

// parity: cli-query: A query ends when all have answered
#[test]
fn a_query_ends_when_all_have_answered() {
    let net = Net::new();
    let handler = ["-event-handler", "query:load=echo 1", "-tag", "role=web"];
    let first = Peer::start(Kind::Ours, "a", &net.ip(1), &handler);
    let joins = [&handler[..], &["-join", &first.addr]].concat();
    let _go = Peer::start(Kind::Go, "g", &net.ip(2), &joins);
    let silent = ["-join", first.addr.as_str()];
    let _silent = Peer::start(Kind::Ours, "s", &net.ip(3), &silent);
    first.wait_member("s", "alive");
    first.wait_member("g", "alive");
    let took = |args: &[&str]| {
        let began = Instant::now();
        let out = first.ok(args);
        (began.elapsed(), out)
    };
    // More than a minute would fail by itself.
    for args in [
        &["query", "-timeout", "300s", "-tag", "role=w.b", "load"][..],
        &["query", "-timeout", "300s", "-node", "a", "-node", "g", "load"],
        &["query", "-timeout", "300s", "-no-ack", "-tag", "role=eb", "load"],
        &["query", "-timeout", "300s", "-format", "json", "-tag", "role=web", "load"],
    ] {
        let (_, out) = took(args);
        assert!(out.contains("Total Responses: 2") || out.contains("Responses\": {"), "{out}");
    }
    // One keeps silent, or the time is wanted.
    for args in [
        &["query", "-timeout", "2s", "load"][..],
        &["query", "-timeout", "2s", "-until-timeout", "-tag", "role=web", "load"],
    ] {
        let (took, out) = took(args);
        assert!(took >= Duration::from_millis(1900), "{took:?} {out}");
        assert!(out.contains("Total Responses: 2"), "{out}");
    }
}

// parity: cli: monitor prints values as Go where it is piped
#[test]
fn a_terminal_gets_lines_and_a_pipe_what_go_prints() {
    let ip = Net::new().ip(1);
    let agent = Peer::start(Kind::Ours, "a", &ip, &["-tag", "r=w"]);
    let monitor = |kind: Kind, terminal: bool| {
        let program = kind.program();
        let line = format!("{} monitor -rpc-addr {}", program.display(), agent.rpc);
        let mut command = Command::new("/bin/sh");
        let line = if terminal { format!("script -qec '{line}' /dev/null") } else { line };
        command.args(["-c", &format!("exec {line}")]);
        Process::start(command)
    };
    let watching = [monitor(Kind::Go, false), monitor(Kind::Ours, false)];
    let terminal = monitor(Kind::Ours, true);
    let all = || watching.iter().chain([&terminal]);
    for one in all() {
        // The last lines of the log come first.
        one.wait_for("[INFO] agent");
    }
    for args in
        [&["event", "-coalesce=false", "noload"][..], &["event", "-coalesce=false", "x", "v3"]]
    {
        agent.ok(args);
    }
    agent.ok(&["tags", "-set", "b=\u{e4}\u{301}"]);
    terminal.wait_for("[EVENT] member-update: a ");
    let out = terminal.wait_for("[EVENT] user: x ltime=2 payload=\"v3\"");
    assert!(!out.contains("Event Info:") && out.contains("r=w"), "{out}");
    let [theirs, ours] = watching.each_ref().map(|one| {
        let wanted = ["Members: ", "\"member-update\"", "0x76, 0x33", "<nil>"];
        let out = one.wait_until("all of it", |out| wanted.iter().all(|text| out.contains(text)));
        let mut fields: Vec<_> =
            out.lines().filter(|line| line.starts_with('\t')).map(str::to_owned).collect();
        fields.sort();
        fields
    });
    assert_eq!(ours, theirs);
    assert!(ours.iter().any(|line| line == "\tPayload: <nil>"), "{ours:?}");
}

// parity: cli: validate gives the verdict of the agent
#[test]
fn validate_says_what_the_agent_says() {
    let dir = tempfile::tempdir().unwrap();
    let ip = Net::new().ip(1);
    let long = format!(r#"{{"tags":{{"a":"{}"}}}}"#, "x".repeat(512));
    for json in [
        r#"{"protocol":1}"#,
        r#"{"protocol":9}"#,
        r#"{"encrypt_key":"QUJD"}"#,
        r#"{"tags":{"a":"b"},"tags_file":"/nonexistent/t"}"#,
        r#"{"rpc_addr":"7373"}"#,
        r#"{"enable_syslog":true,"syslog_facility":"BOGUS"}"#,
        r#"{"user_event_size_limit":20000}"#,
        r#"{"node_name":"a\nb"}"#,
        r#"{"keyring_file":"/nonexistent/k","encrypt_key":"wsGlMv8mfgjD1f+CVVMHZA=="}"#,
        r#"{"keyring_file":"/nonexistent/k"}"#,
        r#"{"snapshot_path":"/nonexistent/s"}"#,
        r#"{"statsd_addr":5}"#,
        r#"{"advertise":":7946"}"#,
        r#"{"cidrs_allowed":["x"]}"#,
        r#"{"start_join":["127.0.0.1:xx"]}"#,
        r#"{"start_join":["127.0.0.1:xx","/b","127.0.0.1:99999"]}"#,
        r#"{"start_join":["file:/nonexistent"]}"#,
        r#"{"start_join":["dns+a:x"]}"#,
        r#"{"rpc_addr":"unix:/nonexistent/x"}"#,
        r#"{"rpc_addr":"unix:"}"#,
        r#"{"rpc_addr":"unix:/dev/null"}"#,
        r#"{"http_addr":"unix:/dev/null/x"}"#,
        r#"{"rpc_addr":"off","http_addr":":7946"}"#,
        r#"{"rpc_addr":":7946"}"#,
        r#"{"rpc_addr":"127.0.0.1:1","http_addr":":1"}"#,
        &long,
    ] {
        let mut value: serde_json::Value = serde_json::from_str(json).unwrap();
        value["bind"] = format!("{ip}:7946").into();
        if value["rpc_addr"].is_null() {
            value["rpc_addr"] = format!("{ip}:7373").into();
        }
        let path = file(dir.path(), "c.json", &value.to_string());
        let validated = serf(Kind::Ours, "", &["validate", &path]);
        assert_eq!(validated.code, Some(1), "{json}: {validated:?}");
        let ran = serf(Kind::Ours, "", &["agent", "-config-file", &path]);
        assert_eq!(ran.code, Some(1), "{json}: {ran:?}");
        let reason = validated.out.trim();
        assert!(ran.out.contains(reason), "{json}: {reason}\n{}", ran.out);
    }
    let path = dir.path().join("socket");
    std::os::unix::fs::symlink("nowhere", &path).unwrap();
    for json in ["rpc_addr", "http_addr"] {
        let addr = format!("unix:{}", path.display());
        let json = serde_json::json!({ "bind": format!("{ip}:7946"), json: addr }).to_string();
        let path = file(dir.path(), "c.json", &json);
        let validated = serf(Kind::Ours, "", &["validate", &path]);
        assert!(validated.out.contains("bind: address already in use"), "{validated:?}");
        let ran = serf(Kind::Ours, "", &["agent", "-config-file", &path]);
        assert!(ran.out.contains(validated.out.trim()), "{validated:?} {ran:?}");
    }
    let path = file(dir.path(), "c.json", r#"{"bind":"127.0.0.1","start_join":["x"]}"#);
    let good = serf(Kind::Ours, "", &["validate", &path]);
    assert_eq!(good.code, Some(0));
    assert!(good.out.starts_with("Configuration is valid!\nNot checked: whether "), "{good:?}");
    assert!(good.out.contains("whether a member answers at 'x'"), "{good:?}");
}

/// Bytes that are not UTF-8 arrive as they were given, or are refused: nothing is changed on its
/// way.
// parity: cli: Arguments that are not UTF-8
#[test]
fn arguments_that_are_not_utf8_arrive_unchanged_or_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let net = Net::new();
    configurations_of_odd_names_are_read(dir.path(), net);
    let before = fs::read_dir(dir.path()).unwrap().count();
    let (bind, free) = (format!("{net}4:7946"), format!("{net}4:7373"));
    let agent = ["agent", "-bind", &bind, "-rpc-addr", &free].map(OsStr::new);
    let file = format!("{}/", dir.path().display());
    for (flag, start) in [
        ("-node", ""),
        ("-tag", "a="),
        ("-tag", "=a"),
        ("-role", ""),
        ("-discover", ""),
        ("-event-handler", "user="),
        ("-encrypt", ""),
        ("-snapshot", &file),
        ("-tags-file", &file),
        ("-keyring-file", &file),
        ("-join", ""),
    ] {
        is_refused(&[&agent[..], &[flag.as_ref(), &odd(start, "")]].concat());
    }
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), before, "a file of another name");
    let agent = Peer::start(Kind::Ours, "b", &net.ip(3), &[]);
    for (command, flag, start) in [
        ("tags", "-set", "a="),
        ("tags", "-delete", ""),
        ("members", "-name", ""),
        ("query", "-node", ""),
        ("query", "-tag", "a="),
        ("keys", "-install", ""),
        ("join", "--", ""),
        ("force-leave", "--", ""),
        ("rtt", "--", ""),
    ] {
        let args = [command, "-rpc-addr", &agent.rpc, flag].map(OsStr::new);
        is_refused(&[&args[..], &[&odd(start, "")]].concat());
    }
    let mut members = Command::new(Kind::Ours.program());
    members.arg("members").env("SERF_RPC_ADDR", odd("", ""));
    assert_eq!(Process::start(members).wait(), Some(1), "another address is asked");
    assert!(!agent.ok(&["members"]).contains('\u{fffd}'));
}

fn configurations_of_odd_names_are_read(dir: &Path, net: Net) {
    let folder = dir.join(odd("folder-", ""));
    fs::create_dir(&folder).unwrap();
    let config = folder.join(odd("c-", ".json"));
    fs::write(&config, r#"{"tags":{"read":"yes"}}"#).unwrap();
    for (at, kind) in BOTH.into_iter().enumerate() {
        for (path, flag) in [(&config, "-config-file="), (&folder, "-config-dir=")] {
            let ip = format!("{net}{}", at + 1);
            let (bind, rpc) = (format!("{ip}:7946"), format!("{ip}:7373"));
            let mut inline = OsString::from(flag);
            inline.push(path);
            let args = ["agent", "-node", "a", "-bind", &bind, "-rpc-addr", &rpc].map(OsStr::new);
            let agent = run(kind, &[&args[..], &[&inline]].concat());
            agent.wait_for("Log data will now stream in");
            let members = serf(kind, &rpc, &["members"]).out;
            assert!(members.contains("read=yes"), "{kind:?} {flag}: {members}");
        }
    }
    assert_eq!(run(Kind::Ours, &["validate".as_ref(), config.as_os_str()]).wait(), Some(0));
}

fn is_refused(args: &[&OsStr]) {
    let mut process = run(Kind::Ours, args);
    assert_eq!(process.wait(), Some(1), "{args:?}: {}", process.out());
    assert!(process.out().contains("is not UTF-8"), "{args:?}: {}", process.out());
    assert_eq!(process.err(), "", "{args:?}");
}

fn run(kind: Kind, args: &[&OsStr]) -> Process {
    let mut command = Command::new(kind.program());
    command.args(args);
    Process::start(command)
}

fn odd(start: &str, end: &str) -> OsString {
    OsStr::from_bytes(&[start.as_bytes(), b"M\xfcller\xc3", end.as_bytes()].concat()).to_owned()
}

// parity: cli: Bytes of payloads, letters of environment names
#[test]
fn payloads_are_bytes_from_the_command_line_to_handlers() {
    let dir = tempfile::tempdir().unwrap();
    let net = Net::new();
    for (at, kind) in BOTH.into_iter().enumerate() {
        let out = |name: &str| dir.path().join(format!("{kind:?}-{name}"));
        let handler = |what: &str, name: &str| {
            format!("{what}=cat >{p}.new; mv {p}.new {p}", p = out(name).display())
        };
        let environment =
            format!("user:bin=env | grep ^SERF_TAG_ | sort >{}", out("env").display());
        let flags = [
            "-tag",
            "stra\u{df}e=x",
            "-tag",
            "\u{131}=y",
            "-tag",
            "a-b.c=z",
            "-event-handler",
            &handler("user:bin", "event"),
            "-event-handler",
            &handler("query:bin", "query"),
            "-event-handler",
            &environment,
        ]
        .map(str::to_owned);
        let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
        let agent = Peer::start(kind, "a", &format!("{net}{}", at + 1), &flags);
        let mut command = Command::new(Kind::Ours.program());
        command.args(["monitor", "-format", "json"]).env("SERF_RPC_ADDR", &agent.rpc);
        let monitor = Process::start(command);
        monitor.wait_for("[INFO] agent");
        for args in [&["event", "-coalesce=false"][..], &["query", "-timeout", "500ms"]] {
            let mut command = Command::new(Kind::Ours.program());
            command.args(args).args([OsStr::new("bin"), OsStr::from_bytes(b"\xff\xfe\xc3a")]);
            let sent = command.env("SERF_RPC_ADDR", &agent.rpc).output_in_time();
            assert!(sent.status.success(), "{sent:?}");
        }
        let read = |path: &Path| {
            let there = || fs::read(path).ok().filter(|bytes| !bytes.is_empty());
            poll(Duration::from_secs(30), there).unwrap_or_default()
        };
        assert_eq!(read(&out("event")), b"\xff\xfe\xc3a\n", "{}", agent.log());
        assert_eq!(read(&out("query")), b"\xff\xfe\xc3a\n", "{}", agent.log());
        // As they are in JSON, too.
        for event in ["user", "query"] {
            let is_it = |line: &&str| line.starts_with(&format!("{{\"event\":\"{event}\""));
            let found = |out: &str| out.lines().find(is_it).map(str::to_owned);
            let out = monitor.wait_until(event, |out| found(out).is_some());
            let line = found(&out).unwrap();
            assert!(line.ends_with("\"payload\":{\"hex\":\"fffec361\"}}"), "{line}");
        }
        let names = String::from_utf8(read(&out("env"))).unwrap();
        assert_eq!(names, "SERF_TAG_A_B_C=z\nSERF_TAG_I=y\nSERF_TAG_STRA_E=x\n", "{kind:?}");
    }
}
