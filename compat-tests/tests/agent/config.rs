//! Goal: every configuration, good or bad, does to our agent what it does to Go's. Method: the same
//! files and flags start both; either both run with equal banner, `info` and `members`, or both
//! fail with the same code and the same words.

use std::{path::Path, process::Command, sync::Mutex, thread};

use compat_tests::{
    net::Net,
    peer::{Launch, Peer},
    process::{BOTH, Kind, Process, file, serf},
    wait::{PATIENCE, poll},
};

use super::addresses::without_name_server;

// parity: agent-config: Unknown key fatal
// parity: agent-config: Type strictness
// parity: agent-config: role deprecated
// parity: agent-config: event_handlers validation
#[test]
fn the_same_configurations_start_both_agents_or_fail_alike() {
    let next = Mutex::new(CASES.iter());
    let different = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                loop {
                    let Some(case) = next.lock().unwrap().next() else { return };
                    let [theirs, ours] = BOTH.map(|kind| outcome(kind, case));
                    let failed_alike = ours.starts_with("exit") == case.fails;
                    if ours != theirs || !failed_alike {
                        let text = format!("{case:?}\n--- ours\n{ours}\n--- Go's\n{theirs}");
                        different.lock().unwrap().push(text);
                    }
                }
            });
        }
    });
    let different = different.into_inner().unwrap();
    assert!(CASES.len() >= 80, "{} cases", CASES.len());
    assert!(different.is_empty(), "{} differ:\n{}", different.len(), different.join("\n\n"));
}

/// Whole files: as people publish them, as templates and editors spoil them.
// parity: config: Whole documents of people, templates and editors
#[test]
fn the_same_documents_start_both_agents_or_fail_alike() {
    let next = Mutex::new(DOCUMENTS.iter());
    let (different, refused) = (Mutex::new(Vec::new()), Mutex::new(0));
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                loop {
                    let Some(text) = next.lock().unwrap().next() else { return };
                    let files = [("c.json", *text), ("keys", KEYS), ("tags", b"{\"a\":\"b\"}")];
                    let [theirs, ours] = BOTH.map(|kind| outcome_of(kind, &files, CONFIG));
                    *refused.lock().unwrap() += usize::from(theirs.starts_with("exit"));
                    if ours != theirs {
                        let text = String::from_utf8_lossy(text);
                        let text = format!("{text}\n--- ours\n{ours}\n--- Go's\n{theirs}");
                        different.lock().unwrap().push(text);
                    }
                }
            });
        }
    });
    let (different, refused) = (different.into_inner().unwrap(), refused.into_inner().unwrap());
    assert!(different.is_empty(), "{} differ:\n{}", different.len(), different.join("\n\n"));
    // Neither kind may be rare, or nothing is shown.
    let all = DOCUMENTS.len();
    assert!(all >= 60 && refused >= 20 && all - refused >= 20, "{refused} of {all} are refused");
}

#[derive(Clone, Copy, Debug)]
struct Case {
    /// Files: name and text.
    files: &'static [(&'static str, &'static str)],
    /// Flags; `DIR` is replaced by the directory of the files, `IP` for the agent's address.
    flags: &'static str,
    /// Whether the agent is to fail.
    fails: bool,
}

const fn good(files: &'static [(&'static str, &'static str)], flags: &'static str) -> Case {
    Case { files, flags, fails: false }
}

const fn bad(files: &'static [(&'static str, &'static str)], flags: &'static str) -> Case {
    Case { files, flags, fails: true }
}

/// One file that is read.
const fn bad_file(files: &'static [(&'static str, &'static str)]) -> Case {
    Case { files, flags: "-config-file DIR/c.json", fails: true }
}

const CASES: &[Case] = &[
    // Good ones.
    good(&[], ""),
    good(&[], "-tag a=1 -tag b=x=y -tag a=2"),
    good(&[], "-role web -tag role=db"),
    good(&[], "-profile wan"),
    good(&[], "-profile local"),
    good(&[], "-protocol 3"),
    good(&[], "-protocol 0"),
    good(&[], "-protocol -1"),
    good(&[("c.json", r#"{"protocol":-1}"#)], CONFIG),
    good(&[], "-disable-compression"),
    good(&[], "-encrypt A4iuqkTprmcsSdgfAue48PTKTCsJD4L1LiG//NRaUMU="),
    good(&[], "-retry-interval 10ms -broadcast-timeout 10ms -rejoin"),
    good(&[], "-log-level wArN ignored positional"),
    good(&[], "-event-handler user:deploy,query=/bin/true -event-handler /bin/true"),
    good(&[], "-snapshot DIR/snap"),
    good(&[], "-tags-file DIR/none"),
    good(&[("tags", r#"{"k":"v","a":"<b>"}"#)], "-tags-file DIR/tags"),
    good(
        &[("keys", r#"["A4iuqkTprmcsSdgfAue48PTKTCsJD4L1LiG//NRaUMU="]"#)],
        "-keyring-file DIR/keys",
    ),
    good(&[], "-advertise 127.9.9.9"),
    good(&[], "-advertise 127.9.9.9:99"),
    good(
        &[("c.json", r#"{"tags":{"a":"1","b":"2"},"profile":"wan"}"#)],
        "-config-file DIR/c.json -tag b=3",
    ),
    // Flags win over files.
    good(
        &[("c.json", r#"{"node_name":"no","profile":"wan","bind":"127.1.1.1","log_level":"err"}"#)],
        "-config-file DIR/c.json -profile local",
    ),
    good(
        &[
            ("b.json", r#"{"tags":{"x":"b","y":"b"}}"#),
            ("a.json", r#"{"tags":{"x":"a","z":"a"},"encrypt_key":""}"#),
            ("c.txt", "not json"),
            (".d.json", r#"{"tags":{"hidden":"1"}}"#),
        ],
        "-config-dir DIR",
    ),
    good(&[("c.json", r#"{"Node_Name":"n","TAGS":{"A":"1"}}"#)], "-config-file DIR/c.json"),
    good(&[("c.json", r#"{"tags":{"a":"1"}} trailing"#)], "-config-file DIR/c.json"),
    good(&[("c.json", "null")], "-config-file DIR/c.json"),
    good(&[("c.json", r#"{"protocol":4.9}"#)], "-config-file DIR/c.json"),
    good(&[("c.json", r#"{"tags":null,"bind":null}"#)], "-config-file DIR/c.json"),
    good(&[("c.json", r#"{"leave_on_terminate":true,"role":"x"}"#)], "-config-file DIR/c.json"),
    good(
        &[("c.json", r#"{"event_handlers":["user=/bin/true"]}"#)],
        "-config-file DIR/c.json -event-handler query:x=/bin/true",
    ),
    good(
        &[("c.json", r#"{"query_size_limit":10,"user_event_size_limit":20}"#)],
        "-config-file DIR/c.json",
    ),
    good(&[("c.json", r#"{"reconnect_interval":"1m","reconnect_timeout":"2h"}"#)], CONFIG),
    good(&[("c.json", r#"{"reconnect_timeout":"-1s","tombstone_timeout":"-1s"}"#)], CONFIG),
    good(&[("c.json", r#"{"retry_interval":"-1s","broadcast_timeout":"-1s"}"#)], CONFIG),
    good(
        &[(
            "c.json",
            r#"{"query_size_limit":-1,"user_event_size_limit":-1,"retry_max_attempts":-1}"#,
        )],
        CONFIG,
    ),
    good(&[], "-mdns-disable-ipv4 -mdns-disable-ipv6"),
    // Flags that are wrong.
    bad(&[], "-bogus"),
    bad(&[], "-protocol x"),
    bad(&[], "-rejoin=maybe"),
    bad(&[], "-tag bad"),
    bad(&[], "-tag =x"),
    bad(&[], "-retry-interval 5"),
    bad(&[], "-retry-interval abc"),
    bad(&[], "-broadcast-timeout 5x"),
    bad(&[], "-config-file DIR/nonexistent"),
    bad(&[], "-event-handler foo=bar.sh"),
    bad(&[], "-event-handler member-*=bar.sh"),
    bad(&[], "-iface nope0"),
    bad(&[], "-log-level bogus"),
    bad(&[], "-profile foo"),
    bad(&[], "-protocol 1"),
    bad(&[], "-protocol 9"),
    bad(&[], "-encrypt !"),
    bad(&[], "-encrypt AAAA"),
    bad(&[], "-advertise 1:2:3"),
    bad(&[], "-bind ::1"),
    bad(&[], "-bind 127.0.0.1:x"),
    bad(&[], "-iface lo -bind 127.0.0.20"),
    bad(&[], "-rpc-addr nonsense"),
    bad(&[], "-join 127.1.1.9:1"),
    bad(&[], "-keyring-file DIR/none"),
    bad(&[("keys", "[]")], "-keyring-file DIR/keys"),
    bad(&[("keys", r#"["!"]"#)], "-keyring-file DIR/keys"),
    bad(&[("keys", r#"["AAAA"]"#)], "-keyring-file DIR/keys"),
    bad(&[("keys", r#"["AAAA"]"#)], "-keyring-file DIR/keys -encrypt AAAA"),
    bad(&[("tags", "")], "-tags-file DIR/tags"),
    bad(&[("tags", "{}")], "-tags-file DIR/tags -tag a=b"),
    bad(&[("tags", "{}")], "-tags-file DIR/tags -role b"),
    bad(&[], "-snapshot DIR/none/snap"),
    bad(&[], "-mdns-iface lo"),
    bad(&[], "-discover x -mdns-iface nope0"),
    bad(&[], "-discover x -mdns-iface lo -mdns-disable-ipv4 -mdns-disable-ipv6"),
    // Files that are wrong.
    bad_file(&[("c.json", "")]),
    bad_file(&[("c.json", "{")]),
    bad_file(&[("c.json", "[]")]),
    bad_file(&[("c.json", "5")]),
    bad_file(&[("c.json", r#"{"zzz":1,"bogus_key":2}"#)]),
    bad_file(&[("c.json", r#"{"mdns":{"bogus":2}}"#)]),
    bad_file(&[("c.json", r#"{"mdns":5}"#)]),
    bad_file(&[("c.json", r#"{"node_name":5}"#)]),
    bad_file(&[("c.json", r#"{"leave_on_terminate":"true"}"#)]),
    bad_file(&[("c.json", r#"{"protocol":"5"}"#)]),
    bad_file(&[("c.json", r#"{"tags":{"a":1}}"#)]),
    bad_file(&[("c.json", r#"{"tags":[1]}"#)]),
    bad_file(&[("c.json", r#"{"event_handlers":"x"}"#)]),
    bad_file(&[("c.json", r#"{"start_join":[5]}"#)]),
    bad_file(&[("c.json", r#"{"retry_interval":"5"}"#)]),
    bad_file(&[("c.json", r#"{"reconnect_timeout":"abc"}"#)]),
    bad_file(&[("c.json", r#"{"broadcast_timeout":5}"#)]),
    bad_file(&[("c.json", r#"{"node_name":5,"protocol":"x","nope":1}"#)]),
    bad_file(&[("c.json", r#"{"user_event_size_limit":10000}"#)]),
    bad_file(&[("c.json", r#"{"event_handlers":["foo=x"]}"#)]),
];

const CONFIG: &str = "-config-file DIR/c.json";

/// What the agent did, without what may differ: directory, addresses, log, versions.
fn outcome(kind: Kind, case: &Case) -> String {
    let files: Vec<_> = case.files.iter().map(|(name, text)| (*name, text.as_bytes())).collect();
    outcome_of(kind, &files, case.flags)
}

/// Files may name `DIR`, `BIND` and `RPC`, too; where they name one of the last two, there is no
/// flag for it.
fn outcome_of(kind: Kind, files: &[(&str, &[u8])], flags: &str) -> String {
    let dir = tempfile::tempdir().unwrap();
    let ip = Net::new().ip(1);
    let rpc = format!("{ip}:7373");
    let bind = format!("{ip}:7946");
    let dir_text = dir.path().to_str().unwrap();
    let mut command = Command::new(kind.program());
    command.args(["agent", "-node", "n"]);
    for (flag, name, value) in [("-bind", "BIND", &bind), ("-rpc-addr", "RPC", &rpc)] {
        let named = |text: &[u8]| text.windows(name.len()).any(|part| part == name.as_bytes());
        if !files.iter().any(|(_, text)| named(text)) {
            command.args([flag, value]);
        }
    }
    for (name, text) in files {
        // Bytes that are not UTF-8 stay.
        let parts = text.utf8_chunks().flat_map(|part| {
            let valid = part.valid().replace("DIR", dir_text);
            let valid = valid.replace("BIND", &bind).replace("RPC", &rpc);
            [valid.into_bytes(), part.invalid().to_vec()].concat()
        });
        std::fs::write(dir.path().join(name), parts.collect::<Vec<u8>>()).unwrap();
    }
    command.args(flags.split_whitespace().map(|flag| flag.replace("DIR", dir_text)));
    let mut process = Process::start(command);
    let running = "Log data will now stream in";
    let mut code = None;
    poll(PATIENCE, || {
        if process.out().contains(running) {
            return Some(());
        }
        code = process.try_code();
        code.map(drop)
    })
    .unwrap_or_else(|| panic!("{kind:?} {files:?} {flags} hangs:\n{}", process.out()));
    let clean = |text: &str| normalised(text, dir.path(), &rpc, &bind, &ip);
    let Some(code) = code else {
        let banner = process.out();
        let banner = banner.split(running).next().unwrap_or_default();
        let info = serf(kind, &rpc, &["info"]);
        let info: Vec<_> = info.out.lines().filter(|line| !free(line)).collect();
        let members = serf(kind, &rpc, &["members", "-detailed"]);
        let members = sorted_tags(&members.out);
        return clean(&format!("{banner}{}\n{members}", info.join("\n")));
    };
    process.wait();
    let mut out = process.out();
    if out.starts_with("==> Usage") {
        out = "help".to_owned();
    }
    clean(&format!("exit {code}\n{out}{}", process.err()))
}

#[test]
fn malformed_json_is_shown_by_line_and_column() {
    let dir = tempfile::tempdir().unwrap();
    let path = file(dir.path(), "c.json", "{\n  \"tags\" 1}");
    for (kind, reason) in [
        (Kind::Ours, "expected `:` at line 2 column 10"),
        (Kind::Go, "invalid character '1' after object key"),
    ] {
        let said = serf(kind, "", &["agent", "-config-file", &path]);
        let wanted = format!("==> Error decoding '{path}': {reason}\n");
        assert_eq!((said.out, said.code), (wanted, Some(1)));
    }
}

#[test]
fn settings_that_go_forgets_take_effect() {
    let dir = tempfile::tempdir().unwrap();
    let text = r#"{"enable_compression":false,"disable_coordinates":true}"#;
    let path = file(dir.path(), "c.json", text);
    for (kind, forgets) in [(Kind::Ours, false), (Kind::Go, true)] {
        let ip = Net::new().ip(1);
        let agent = Peer::start(kind, "n", &ip, &["-config-file", &path]);
        let compression = format!("Message Compression Enabled: {forgets}");
        assert!(agent.log().contains(&compression), "{}", agent.log());
        assert_eq!(agent.ok(&["info"]).contains("coordinate_resets"), forgets);
    }
    let path = file(dir.path(), "names.json", r#"{"validate_node_names":true}"#);
    let ip = Net::new().ip(1);
    let mut agent = Launch::new(Kind::Ours, "a_b", &ip).args(&["-config-file", &path]).spawn();
    assert_eq!(agent.process.wait(), Some(1), "{}", agent.log());
    Peer::start(Kind::Go, "a_b", &ip, &["-config-file", &path]);
}

/// Lines of `info` that tell of the program or the moment.
fn free(line: &str) -> bool {
    ["arch", "cpu_count", "goroutines", "max_procs", "os", "version", "event_time", "member_time"]
        .iter()
        .any(|key| line.trim_start().starts_with(&format!("{key} =")))
        // Ours alone: Go does not say how its key is used.
        || ["keys =", "key_age_seconds =", "key_messages ="]
            .iter()
            .any(|key| line.trim_start().starts_with(key))
        || line.contains("_queue =")
        || line.contains("_time =")
}

/// Go prints tags in any order.
fn sorted_tags(members: &str) -> String {
    let cells = members.split_whitespace().map(|cell| {
        let mut tags: Vec<_> = cell.split(',').collect();
        tags.sort_unstable();
        tags.join(",")
    });
    cells.collect::<Vec<_>>().join(" ")
}

fn normalised(text: &str, dir: &Path, rpc: &str, bind: &str, ip: &str) -> String {
    let text = text.replace(dir.to_str().unwrap(), "DIR");
    let text = text.replace(rpc, "RPC").replace(bind, "BIND").replace(ip, "IP");
    let lines: Vec<_> = text.lines().map(|line| without_name_server(line.trim_end())).collect();
    lines.join("\n")
}

const KEYS: &[u8] = b"[\"A4iuqkTprmcsSdgfAue48PTKTCsJD4L1LiG//NRaUMU=\"]";

const DOCUMENTS: &[&[u8]] = &[
    // As tutorials, cookbooks and images have them.
    br#"{"role":"web","event_handlers":["user:deploy=/bin/true"],"start_join":[]}"#,
    br#"{"node_name":"web-1","bind":"BIND","rpc_addr":"RPC","tags":{"role":"web","dc":"ams1"},
        "log_level":"info","leave_on_terminate":true}"#,
    br#"{"bind":"BIND","rpc_addr":"RPC","encrypt_key":"wsGlMv8mfgjD1f+CVVMHZA==",
        "event_handlers":["member-join,member-leave,member-failed=/bin/true","query:load=uptime"],
        "snapshot_path":"DIR/snapshot","rejoin_after_leave":true,"profile":"lan"}"#,
    br#"{"retry_join":["127.0.0.1:1"],"retry_interval":"1h","retry_max_attempts":5,
        "reconnect_interval":"15s","reconnect_timeout":"1h","tombstone_timeout":"2h"}"#,
    br#"{"keyring_file":"DIR/keys","tags_file":"DIR/tags","profile":"wan"}"#,
    br#"{"statsd_addr":"127.0.0.1:1","statsite_addr":"127.0.0.1:1","replay_on_join":true}"#,
    br#"{"query_response_size_limit":2048,"query_size_limit":2048,"user_event_size_limit":1024}"#,
    br#"{"disable_name_resolution":true,"skip_leave_on_interrupt":true,"enable_syslog":false}"#,
    br#"{"protocol":4,"broadcast_timeout":"10s","interface":"","advertise":"","role":""}"#,
    br#"{"NODE_NAME":"x","Tags":{"Role":"Web"},"Profile":"local","Log_Level":"WARN"}"#,
    br#"{"rpc_auth":"secret"}"#,
    br#"{"interface":"lo","bind":"127.0.0.1:0","tags":{"a":""}}"#,
    b"{}",
    b"null",
    b"{\"tags\":{\"a\":\"b\"}}\n\n",
    // As templates render what is not set.
    br#"{"tags":{"role":null,"dc":"e"}}"#,
    br#"{"tags":null,"start_join":null,"event_handlers":null,"mdns":null,"bind":null}"#,
    br#"{"retry_join":[null],"retry_interval":"1h"}"#,
    br#"{"event_handlers":[null]}"#,
    br#"{"start_join":[null]}"#,
    br#"{"start_join":[""]}"#,
    br#"{"node_name":"","profile":""}"#,
    br#"{"log_level":""}"#,
    br#"{"protocol":null,"encrypt_key":"","keyring_file":"","snapshot_path":"","tags_file":""}"#,
    br#"{"protocol":0,"retry_max_attempts":0,"query_size_limit":0,"user_event_size_limit":0}"#,
    br#"{"retry_interval":"","reconnect_interval":"","broadcast_timeout":"0s"}"#,
    // Bytes.
    b"{\"tags\":{\"city\":\"M\xfcnchen\"}}",
    b"{\"tags\":{\"M\xfcnchen\":\"x\"},\"role\":\"\xff\xfe\"}",
    br#"{"tags":{"a":"\ud800","b":"\ud83d\ude00","c":"\u0000","d":"x"}}"#,
    br#"{"event_handlers":["user:d\u00e9=/bin/true"],"tags":{"stra\u00dfe":"1","K\u212a":"2"}}"#,
    // Mistakes.
    br#"{"protocol":1}"#,
    br#"{"protocol":9}"#,
    br#"{"protocol":"5"}"#,
    br#"{"protocol":7.9}"#,
    br#"{"encrypt_key":"QUJD"}"#,
    br#"{"encrypt_key":"not base64!"}"#,
    br#"{"encrypt_key":"wsGlMv8mfgjD1f+CVVMHZA==","keyring_file":"DIR/keys"}"#,
    br#"{"keyring_file":"/nonexistent/k"}"#,
    br#"{"keyring_file":"DIR/tags"}"#,
    br#"{"tags":{"a":"b"},"tags_file":"DIR/tags"}"#,
    br#"{"tags_file":"DIR/keys"}"#,
    br#"{"snapshot_path":"/nonexistent/s"}"#,
    br#"{"rpc_addr":"7373","bind":"BIND","node_name":"RPC"}"#,
    br#"{"rpc_addr":"no-such-host:7373","bind":"BIND","node_name":"RPC"}"#,
    br#"{"bind":"127.0.0.1:99999","node_name":"BIND","rpc_addr":"RPC"}"#,
    br#"{"bind":"192.0.2.1","node_name":"BIND","rpc_addr":"RPC"}"#,
    br#"{"bind":"300.1.1.1:1","node_name":"BIND","rpc_addr":"RPC"}"#,
    br#"{"advertise":"no-such-host"}"#,
    br#"{"interface":"nope0"}"#,
    br#"{"discover":"x","mdns":{"interface":"nope0"}}"#,
    br#"{"mdns":{"interface":"lo"}}"#,
    br#"{"discover":"x","mdns":{"interface":"lo","disable_ipv4":true,"disable_ipv6":true}}"#,
    br#"{"user_event_size_limit":20000}"#,
    br#"{"profile":"WAN"}"#,
    br#"{"log_level":"information"}"#,
    br#"{"event_handlers":["member-up=/bin/true"]}"#,
    br#"{"event_handlers":"user=/bin/true"}"#,
    br#"{"start_join":"127.0.0.1"}"#,
    br#"{"start_join":["no-such-host","127.0.0.1:1"]}"#,
    br#"{"tags":["a"]}"#,
    br#"{"tags":{"a":true}}"#,
    br#"{"leave_on_terminate":"yes"}"#,
    br#"{"retry_interval":"5"}"#,
    br#"{"retry_interval":30}"#,
    br#"{"reconnect_timeout":"1 h"}"#,
    br#"{"statsd_addr":5,"statsite_addr":[],"node_name":{}}"#,
    br#"{"encrypt":"x","node":"y","retry-join":[]}"#,
    br#"{"server":true,"datacenter":"dc1"}"#,
    br#"[{"tags":{}}]"#,
    br#""bind""#,
    b"",
];
