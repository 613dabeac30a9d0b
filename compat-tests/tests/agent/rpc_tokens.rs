//! Goal: a token of the tokens file does what it allows and nothing else, over RPC and HTTP, for
//! Go's clients too, and as long as it is in the file.

use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    time::{Duration, Instant},
};

use compat_tests::{
    net::Net,
    peer::{Launch, Peer},
    process::{BOTH, Kind, serf},
    rpc::{Client, Value},
    wait::{PATIENCE, eventually},
};
use ruserf::rpc::protocol::Command;
use serde_json::json;

pub(super) const CAPABILITIES: [&str; 10] =
    ["read", "event", "query", "respond", "tags", "join", "keys", "leave", "monitor", "admin"];
/// Each command, what it needs, and whether a body comes with its answer. `leave` is looked at
/// alone: it ends the agent.
pub(super) const COMMANDS: [(&str, &str, bool); 17] = [
    ("event", "event", false),
    ("force-leave", "leave", false),
    ("join", "join", true),
    ("members", "read", true),
    ("members-filtered", "read", true),
    ("stream", "read", false),
    ("monitor", "monitor", false),
    ("stop", "", false),
    ("query", "query", false),
    ("respond", "respond", false),
    ("install-key", "keys", true),
    ("use-key", "keys", true),
    ("remove-key", "keys", true),
    ("list-keys", "keys", true),
    ("tags", "tags", false),
    ("stats", "read", true),
    ("get-coordinate", "read", true),
];

/// The token of a name.
fn token(name: &str) -> String {
    format!("the token of {name}")
}

fn write_tokens(path: &Path, allowed: &[(&str, &[&str])]) {
    let tokens: serde_json::Map<_, _> = allowed
        .iter()
        .map(|(name, allow)| ((*name).to_owned(), json!({ "token": token(name), "allow": allow })))
        .collect();
    let new = path.with_extension("new");
    fs::write(&new, serde_json::Value::from(tokens).to_string()).unwrap();
    fs::set_permissions(&new, fs::Permissions::from_mode(0o600)).unwrap();
    fs::rename(&new, path).unwrap();
}

/// An agent with a token of each capability, which are also the names, and one that allows nothing.
fn agent(net: Net, dir: &Path, flags: &[&str]) -> Peer {
    let path = dir.join("tokens.json");
    let mut allowed: Vec<(&str, &[&str])> =
        CAPABILITIES.iter().map(|name| (*name, std::slice::from_ref(name))).collect();
    allowed.push(("nothing", &[]));
    write_tokens(&path, &allowed);
    let file = path.to_str().unwrap();
    let flags = [&["-rpc-tokens-file", file], flags].concat();
    Peer::start_in(Kind::Ours, "a", &net.ip(2), &flags, dir)
}

fn client(agent: &Peer, token: &str) -> Client {
    let mut client = Client::ready(&agent.rpc);
    let body = Value::map([("AuthKey", token.into())]);
    assert_eq!(client.call("auth", 2, Some(body)).text("Error"), "", "{token}");
    client
}

pub(super) fn body(command: &str) -> Option<Value> {
    Some(match command {
        "event" => Value::map([("Name", "e".into())]),
        "force-leave" => Value::map([("Node", "nobody".into())]),
        "join" => Value::map([("Existing", Value::texts(&["127.0.0.1:1"]))]),
        "members-filtered" => Value::map([("Name", "a".into())]),
        "stream" => Value::map([("Type", "user".into())]),
        "monitor" => Value::map([("LogLevel", "err".into())]),
        "stop" => Value::map([("Stop", 77.into())]),
        "query" => Value::map([("Name", "q".into())]),
        "respond" => Value::map([("ID", 77.into())]),
        "install-key" | "use-key" | "remove-key" => {
            Value::map([("Key", "4uAsdvxGc5Qdd0SokOHxxZB7AHgVK0OEzdx5SBwBObw=".into())])
        }
        "tags" => Value::map([("Tags", Value::map([("x", "1".into())]))]),
        "get-coordinate" => Value::map([("Node", "a".into())]),
        "members" | "list-keys" | "stats" | "leave" => return None,
        other => panic!("no body for {other}"),
    })
}

/// Method: each command is sent with the token of each capability, on a connection of its own; a
/// request behind it shows that the connection is as usable as after any other error.
#[test]
fn each_capability_allows_its_commands_and_no_other() {
    let (net, dir) = (Net::new(), tempfile::tempdir().unwrap());
    let mut a = agent(net, dir.path(), &[]);
    each_allows_its_own("token", |name| client(&a, &token(name)));
    for name in ["leave", "admin"] {
        assert_eq!(client(&a, &token(name)).call("leave", 3, None).text("Error"), "", "{name}");
        a.ends_with(0, "");
        a.restart();
    }
}

/// The table has each command but those that every client may send at its beginning.
#[test]
fn no_command_is_missing_in_the_table() {
    let mut tested: Vec<_> = COMMANDS.iter().map(|row| row.0).collect();
    tested.extend(["leave", "handshake", "auth"]);
    tested.sort_unstable();
    let mut all: Vec<_> = Command::ALL.iter().map(|command| command.name()).collect();
    all.sort_unstable();
    assert_eq!(tested, all);
    let page = include_str!("../../../docs/security.md");
    let (_, table) = page.split_once("| capability | commands of the RPC |\n|---|---|\n").unwrap();
    let rows = table.lines().take_while(|line| line.starts_with("| `"));
    let documented: Vec<(&str, Vec<&str>)> = rows
        .map(|row| {
            let mut names = row.split('`').skip(1).step_by(2);
            (names.next().unwrap(), names.collect())
        })
        .collect();
    assert_eq!(documented.iter().map(|row| row.0).collect::<Vec<_>>(), CAPABILITIES);
    for (command, needs, _) in COMMANDS.iter().chain(&[("leave", "leave", false)]) {
        for (capability, commands) in &documented {
            let expected = capability == needs;
            assert_eq!(commands.contains(command), expected, "{command} {capability}");
        }
    }
}

/// The table, for clients whose rights rest on a token or a certificate of a name.
pub(super) fn each_allows_its_own<S: Read + Write>(
    kind: &str,
    connect: impl Fn(&str) -> Client<S>,
) {
    let mut allowed = 0;
    for name in CAPABILITIES.into_iter().chain(["nothing"]) {
        for (command, needs, has_body) in COMMANDS {
            let mut client = connect(name);
            let error = client.call(command, 3, body(command)).text("Error");
            if name == needs || name == "admin" || needs.is_empty() {
                assert!(!error.contains("Permission"), "{name} {command}: {error}");
                allowed += 1;
                continue;
            }
            let text = format!(
                "Permission denied: {kind} '{name}' lacks '{needs}', which '{command}' needs"
            );
            assert_eq!(error, text);
            if has_body {
                assert_eq!(client.next(), Some(Value::Map(Vec::new())), "{name} {command}");
            }
            assert_eq!(client.call("stop", 4, body("stop")).text("Error"), "");
        }
        if !["leave", "admin"].contains(&name) {
            let error = connect(name).call("leave", 3, None).text("Error");
            assert!(error.contains("lacks 'leave', which 'leave' needs"), "{name}: {error}");
        }
    }
    assert_eq!(allowed, 2 * (COMMANDS.len() - 1) + CAPABILITIES.len() + 1);
}

/// Goal: Go's program shows the refusal as the error that it is, and goes on to work with a token
/// that allows what it does. Method: commands of both programs against one agent.
#[test]
fn commands_of_both_programs_print_what_a_token_lacks() {
    let (net, dir) = (Net::new(), tempfile::tempdir().unwrap());
    let a = agent(net, dir.path(), &[]);
    for kind in BOTH {
        for (args, needs) in [
            (&["members"][..], "read"),
            (&["info"], "read"),
            (&["event", "e"], "event"),
            (&["query", "-timeout=100ms", "q"], "query"),
            (&["tags", "-set", "y=1"], "tags"),
            (&["join", "127.0.0.1:1"], "join"),
            (&["keys", "-list"], "keys"),
            (&["force-leave", "nobody"], "leave"),
        ] {
            let run = |name: &str| {
                let auth = format!("-rpc-auth={}", token(name));
                let mut args: Vec<&str> = args.to_vec();
                args.insert(1, &auth);
                serf(kind, &a.rpc, &args)
            };
            let refused = run("nothing");
            let all = refused.out + &refused.err;
            assert_eq!(refused.code, Some(1), "{kind:?} {args:?}: {all}");
            let lacks = if kind == Kind::Ours && args[0] == "force-leave" { "read" } else { needs };
            assert!(all.contains(&format!("lacks '{lacks}'")), "{kind:?} {args:?}: {all}");
            // Ours looks the name up before.
            let is_enough = kind == Kind::Go || args[0] != "force-leave";
            let said = run(if is_enough { needs } else { "admin" });
            let all = said.out + &said.err;
            assert!(!all.contains("Permission denied"), "{kind:?} {args:?}: {all}");
        }
        for auth in ["", "-rpc-auth=", "-rpc-auth=an unknown token"] {
            let mut args = vec!["members"];
            args.extend(Some(auth).filter(|auth| !auth.is_empty()));
            let said = serf(kind, &a.rpc, &args);
            assert_eq!(said.code, Some(1), "{kind:?} {auth}: {said:?}");
        }
    }
}

/// A job that watches a cluster need not be able to read its keys.
#[test]
fn doctor_needs_no_right_to_see_keys() {
    let (net, dir) = (Net::new(), tempfile::tempdir().unwrap());
    let path = dir.path().join("tokens.json");
    write_tokens(&path, &[("watch", &["read", "query", "monitor"]), ("dashboard", &["read"])]);
    let key = "4uAsdvxGc5Qdd0SokOHxxZB7AHgVK0OEzdx5SBwBObw=";
    let flags = ["-rpc-tokens-file", path.to_str().unwrap(), "-encrypt", key];
    let a = Peer::start_in(Kind::Ours, "a", &net.ip(2), &flags, dir.path());
    let run = |name: &str| a.cli(&["doctor", &format!("-rpc-auth={}", token(name))]);
    let said = run("watch");
    assert_eq!((said.code, said.err.as_str()), (Some(0), ""), "{said:?}");
    assert_eq!(said.out, "Nothing is wrong with a and its peers.\n");
    let said = run("dashboard");
    assert!(said.code == Some(1) && said.out.contains("lacks 'query'"), "{said:?}");
}

/// Method: wrong tokens one after the other, by a client that may read.
#[test]
fn who_may_do_a_part_guesses_no_faster_than_a_stranger() {
    let (net, dir) = (Net::new(), tempfile::tempdir().unwrap());
    let a = agent(net, dir.path(), &[]);
    let mut read = client(&a, &token("read"));
    let begin = Instant::now();
    for seq in 10..14 {
        let body = Value::map([("AuthKey", "an unknown token".into())]);
        let error = read.call("auth", seq, Some(body)).text("Error");
        assert_eq!(error, "Invalid authentication token");
    }
    // 50, 100 and 200 ms before the last three.
    assert!(begin.elapsed() >= Duration::from_millis(350), "{:?}", begin.elapsed());
    a.wait_for_line("Wrong auth token of client: ");
    assert_eq!(read.call("stats", 20, None).text("Error"), "");
}

/// A right token of the same address has its turn among them.
#[test]
fn many_connections_guess_no_faster_than_one_at_a_time() {
    const GUESSES: u32 = 30;
    let (net, dir) = (Net::new(), tempfile::tempdir().unwrap());
    let a = agent(net, dir.path(), &[]);
    let guess = || Some(Value::map([("AuthKey", "an unknown token".into())]));
    let mut all: Vec<_> = (0..GUESSES).map(|_| Client::ready(&a.rpc)).collect();
    assert_ne!(all[0].call("auth", 10, guess()).text("Error"), "");
    let begin = Instant::now();
    all.iter_mut().for_each(|client| client.request("auth", 11, guess()));
    let mut right = client(&a, &token("read"));
    for client in &mut all {
        let error = client.next().expect("an answer").text("Error");
        assert_eq!(error, "Invalid authentication token");
    }
    assert!(begin.elapsed() >= GUESSES * Duration::from_millis(30), "{:?}", begin.elapsed());
    assert_eq!(right.call("stats", 20, None).text("Error"), "");
}

/// Method: the file is changed while clients are connected. The agent looks each second.
#[test]
fn a_token_that_is_taken_back_ends_its_connections_and_a_broken_file_changes_nothing() {
    let (net, dir) = (Net::new(), tempfile::tempdir().unwrap());
    let http = format!("{}:8080", net.ip(2));
    let a = agent(net, dir.path(), &["-http-addr", &http]);
    let path = dir.path().join("tokens.json");
    let (mut read, mut admin) = (client(&a, &token("read")), client(&a, &token("admin")));
    let status = |name: &str| {
        let mut stream = TcpStream::connect(&http).unwrap();
        let auth = format!("Authorization: Bearer {}\r\n", token(name));
        write!(stream, "GET /v1/members HTTP/1.1\r\nHost: {http}\r\n{auth}\r\n").unwrap();
        let mut all = String::new();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.read_to_string(&mut all).unwrap();
        all.split(' ').nth(1).unwrap().to_owned()
    };
    assert_eq!([status("read"), status("event"), status("nobody")], ["200", "403", "401"]);
    fs::write(&path, "{").unwrap();
    a.wait_for_line("Failed to reload the tokens file: Invalid rpc_tokens_file: ");
    assert_eq!(read.call("stop", 5, body("stop")).text("Error"), "");
    assert_eq!(status("read"), "200");
    write_tokens(&path, &[("new", &["read"]), ("admin", &["admin"])]);
    assert_eq!(read.until_closed(), []);
    assert_eq!(admin.call("stop", 5, body("stop")).text("Error"), "");
    assert_eq!([status("read"), status("new")], ["401", "200"]);
    // Others may read it: it is refused as a whole.
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    a.wait_for_line("is open to others (mode 0644): chmod 600 or 640");
    assert_eq!(status("new"), "200");
    let is_failure = |line: &&String| line.contains("Failed to reload the tokens file");
    let failures = || a.printed().iter().filter(is_failure).count();
    let before = failures();
    a.signal("HUP");
    a.wait_for_line("Failed to reload a file: Invalid rpc_tokens_file: ");
    write_tokens(&path, &[("admin", &["event"])]);
    a.signal("HUP");
    assert_eq!(admin.until_closed(), []);
    eventually("new is refused", || (status("new") == "401").then_some(()));
    let after = failures();
    assert_eq!((before, after), (2, 2), "each state of the file is reported once");
}

#[test]
fn an_agent_does_not_start_with_tokens_that_others_can_read() {
    let (net, dir) = (Net::new(), tempfile::tempdir().unwrap());
    let path = dir.path().join("tokens.json");
    write_tokens(&path, &[("a", &["read"])]);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o604)).unwrap();
    let file = path.to_str().unwrap();
    let mut a = Launch::new(Kind::Ours, "a", &net.ip(2)).args(&["-rpc-tokens-file", file]).spawn();
    a.ends_with(1, "tokens.json is open to others (mode 0604): chmod 600 or 640");
    fs::write(dir.path().join("c.json"), json!({ "rpc_tokens_file": file }).to_string()).unwrap();
    let config = dir.path().join("c.json");
    let said = serf(Kind::Ours, "", &["validate", config.to_str().unwrap()]);
    assert!(said.code == Some(1) && said.out.contains("is open to others"), "{said:?}");
}

/// Method: commands by tokens, and by a Unix socket; then many events at once.
#[test]
fn the_audit_has_a_line_for_what_changes_something_or_is_refused() {
    let (net, dir) = (Net::new(), tempfile::tempdir().unwrap());
    let a = agent(net, dir.path(), &["-audit"]);
    let mut admin = client(&a, &token("admin"));
    let from = admin.socket().local_addr().unwrap();
    for command in ["members", "event", "tags", "force-leave"] {
        admin.call(command, 3, body(command));
        if command == "members" {
            admin.next();
        }
    }
    let mut read = client(&a, &token("read"));
    let reader = read.socket().local_addr().unwrap();
    read.call("stats", 3, None);
    read.next();
    read.call("monitor", 4, body("monitor"));
    read.call("list-keys", 5, None);
    let audit = |a: &Peer| -> Vec<String> {
        let lines = a.printed().into_iter();
        lines.filter_map(|line| Some(line.split_once("audit: ")?.1.to_owned())).collect()
    };
    a.wait_for_line("command=list-keys");
    let by_admin = |rest: &str| format!("token=\"admin\" from={from} command={rest}");
    let by_reader = |command: &str, needs: &str| {
        format!(
            "token=\"read\" from={reader} command={command} outcome=\"Permission denied: token \
             'read' lacks '{needs}', which '{command}' needs\""
        )
    };
    let wanted = [
        by_admin(r#"event outcome="ok" object="e""#),
        by_admin(r#"tags outcome="ok" object="x=1""#),
        by_admin(r#"force-leave outcome="ok" object="nobody""#),
        by_reader("monitor", "monitor"),
        by_reader("list-keys", "keys"),
    ];
    let found = audit(&a);
    assert_eq!(found.len(), wanted.len(), "{found:#?}");
    for (found, wanted) in found.iter().zip(&wanted) {
        assert_eq!(found, wanted);
    }
    for _ in 0..3_000 {
        admin.request("event", 7, body("event"));
    }
    for _ in 0..3_000 {
        assert_eq!(admin.next().unwrap().text("Error"), "");
    }
    // Many events hide nothing else, and are counted.
    admin.call("query", 8, body("query"));
    a.wait_for_line("command=query outcome=\"ok\" object=\"q\"");
    a.wait_for_line("audit: command=event left_out=");
    let events = audit(&a).iter().filter(|line| line.contains("command=event outcome")).count();
    assert!(events < 100, "{events} lines");
    let socket = dir.path().join("rpc");
    let rpc = format!("unix:{}", socket.display());
    let b = Launch::new(Kind::Ours, "b", &net.ip(3)).rpc(&rpc).args(&["-audit"]).start();
    b.ok(&["event", "deploy", "secret payload"]);
    let uid = std::os::unix::fs::MetadataExt::uid(&fs::metadata(&socket).unwrap());
    let line = b.wait_for_line("command=event outcome=\"ok\" object=\"deploy\"");
    assert!(line.contains(&format!("audit: uid={uid} from=unix:")), "{line}");
    assert!(!b.log().contains("secret payload"), "{line}");
}
