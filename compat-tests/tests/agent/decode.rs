//! `serf decode` as a shell sees it: files and pipes, formats, filters, keys, exit codes.

use std::{
    fs::File,
    io::{BufRead, BufReader, Write},
    net::SocketAddrV4,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::mpsc,
    thread,
};

use compat_tests::{
    pcap::Pcap,
    process::{Kind, Said, serf, wait_in_time},
    wait::PATIENCE,
};
use ruserf::{
    base::Rng,
    serf::{
        LamportTime, MsgpackTransform, TransformDelegate as _,
        message::{Message as SerfMessage, UserEvent},
    },
    wire::{Bin, CodecConfig, Keyring, PacketCodec, Ping, SeqNo, Suspect},
};
use serde_json::Value;

const KEY: &str = "T9jncgl9mbLus+baTTa7q7nPSUrXwbDi2dhbtqir37s=";
const OTHER_KEY: &str = "HvY8ubRZMgafUOWvrOadwOckVa1wN3QWAo46FVKbVN8=";

/// A directory with the capture of a ping, a suspicion, and an event that [`KEY`] encrypts.
struct Dir(tempfile::TempDir);

impl Dir {
    fn new() -> Self {
        let dir = Self(tempfile::tempdir().expect("a directory"));
        dir.write("gossip.pcap", three().bytes());
        dir
    }

    fn write(&self, name: &str, bytes: &[u8]) -> String {
        std::fs::write(self.path(name), bytes).expect("a file");
        self.path(name).to_string_lossy().into_owned()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// `serf decode` of the capture with these flags.
    fn decode(&self, flags: &[&str]) -> Said {
        let file = self.path("gossip.pcap").to_string_lossy().into_owned();
        decode(&[flags, &[file.as_str()]].concat())
    }
}

fn decode(args: &[&str]) -> Said {
    serf(Kind::Ours, "", &[&["decode"][..], args].concat())
}

fn three() -> Pcap {
    let mut pcap = Pcap::new();
    let (a, b) = (addr("10.0.0.1:7946"), addr("10.0.0.2:7946"));
    pcap.datagram(a, b, &ping(7));
    let mut suspect = Vec::new();
    Suspect { node: b"db-1", from: b"web-1", ..Suspect::default() }.encode(&mut suspect);
    pcap.datagram(b, a, &suspect);
    let mut event = vec![8];
    let message = SerfMessage::UserEvent(UserEvent {
        ltime: LamportTime(3),
        name: b"deploy",
        payload: Bin::from(&b"v1"[..]),
        coalesce: false,
    });
    MsgpackTransform.encode_message(&message, &mut event);
    let keyring = Keyring::from_base64([KEY]).expect("a key");
    let config = CodecConfig {
        label: b"dc1".into(),
        keyring,
        verify_outgoing: true,
        protocol_version: 5,
        ..CodecConfig::default()
    };
    let mut sealed = Vec::new();
    let mut codec = PacketCodec::build(config).expect("a codec");
    codec.seal(&mut Rng::from_u64(1), &event, true, &mut sealed);
    pcap.datagram(a, b, &sealed);
    pcap
}

fn ping(number: u32) -> Vec<u8> {
    let mut ping = Vec::new();
    Ping { seq_no: SeqNo(number), node: b"web-2", ..Ping::default() }.encode(&mut ping);
    ping
}

fn addr(text: &str) -> SocketAddrV4 {
    text.parse().expect("an address")
}

const PING: &str = "2001-09-09T01:46:40.001000Z 10.0.0.1:7946 -> 10.0.0.2:7946 udp ping seq_no=7 \
                    node=web-2\n";
const SUSPECT: &str = "2001-09-09T01:46:40.002000Z 10.0.0.2:7946 -> 10.0.0.1:7946 udp suspect \
                       node=db-1 incarnation=0 from=web-1\n";
const EVENT: &str = "2001-09-09T01:46:40.003000Z 10.0.0.1:7946 -> 10.0.0.2:7946 udp \
                     [label:dc1 encrypt:1 key:1 crc] user-event name=deploy ltime=3 \
                     coalesce=false payload=v1\n";

#[test]
fn files_and_pipes_give_the_same_lines() {
    let dir = Dir::new();
    let all = format!("{PING}{SUSPECT}{EVENT}");
    let said = dir.decode(&["-encrypt", KEY]);
    assert_eq!(said, Said { out: all.clone(), err: "3 packets\n".to_owned(), code: Some(0) });
    assert_eq!(from_stdin(&dir.path("gossip.pcap"), &["-encrypt", KEY, "-"]), all);
    // One file after the other, as one capture.
    let mut more = Pcap::new();
    more.datagram(addr("10.0.0.1:7946"), addr("10.0.0.3:7946"), b"\x00\x81\xa5SeqNo\x09");
    let more = dir.write("more.pcap", more.bytes());
    let said = dir.decode(&["-encrypt", KEY, &more]);
    assert_eq!(said.err, "4 packets\n");
    assert!(said.out.contains(" ping seq_no=9\n") && said.out.ends_with(&all), "{}", said.out);
}

fn from_stdin(file: &Path, args: &[&str]) -> String {
    let mut command = Command::new(Kind::Ours.program());
    command.arg("decode").args(args).stdin(File::open(file).expect("the capture"));
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("it runs");
    // A few lines: they fit into the pipe.
    assert!(wait_in_time(&mut child, "serf decode -").success());
    std::io::read_to_string(child.stdout.take().expect("stdout is piped")).expect("UTF-8")
}

#[test]
fn a_line_comes_as_soon_as_its_packet() {
    let mut child = Command::new(Kind::Ours.program())
        .args(["decode", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("it runs");
    let mut stdin = child.stdin.take().expect("stdin is piped");
    let lines = BufReader::new(child.stdout.take().expect("stdout is piped")).lines();
    let (sender, receiver) = mpsc::channel();
    let reader = thread::spawn(move || lines.for_each(|line| drop(sender.send(line))));
    let (mut pcap, mut written) = (Pcap::new(), 0);
    for number in 1..4 {
        pcap.datagram(addr("10.0.0.1:7946"), addr("10.0.0.2:7946"), &ping(number));
        // The pipe stays open, as tcpdump's does.
        stdin.write_all(&pcap.bytes()[written..]).expect("it reads");
        written = pcap.bytes().len();
        let line = receiver.recv_timeout(PATIENCE).expect("a line").expect("UTF-8");
        assert!(line.ends_with(&format!(" ping seq_no={number} node=web-2")), "{line}");
    }
    drop(stdin);
    assert!(wait_in_time(&mut child, "serf decode -").success());
    reader.join().expect("no panic");
}

#[test]
fn json_has_a_record_a_line() {
    let said = Dir::new().decode(&["-format", "json", "-encrypt", KEY]);
    let records: Vec<Value> =
        said.out.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(records.len(), 3);
    let event = &records[2];
    assert_eq!(event["packet"], 3);
    assert_eq!(event["src"], "10.0.0.1:7946");
    assert_eq!(event["layers"], serde_json::json!(["label:dc1", "encrypt:1", "crc"]));
    assert_eq!((&event["label"], &event["key"]), (&"dc1".into(), &1.into()));
    assert_eq!((&event["type"], &event["fields"]["payload"]), (&"user-event".into(), &"v1".into()));
    assert_eq!(said.code, Some(0));
}

#[test]
fn filters_say_which_lines_are_wanted() {
    let dir = Dir::new();
    let wanted = |flags: &[&str]| dir.decode(&[&["-encrypt", KEY][..], flags].concat()).out;
    assert_eq!(wanted(&["-type", "suspect"]), SUSPECT);
    assert_eq!(wanted(&["-type", "ping", "-type", "user-event"]), format!("{PING}{EVENT}"));
    assert_eq!(wanted(&["-node", "db-1"]), SUSPECT);
    assert_eq!(wanted(&["-node", "db-1", "-node", "web-2"]), format!("{PING}{SUSPECT}"));
    assert_eq!(wanted(&["-name", "deploy"]), EVENT);
    assert_eq!(wanted(&["-name", "deploy", "-type", "ping"]), "");
    assert_eq!(wanted(&["-label", "dc1"]), EVENT);
    let said = dir.decode(&["-type", "pong"]);
    assert!(said.out.contains("no such type: 'pong'; there are: ping, "), "{}", said.out);
    assert_eq!(said.code, Some(1));
}

#[test]
fn keys_come_from_flags_and_files_and_the_line_says_which_fitted() {
    let dir = Dir::new();
    let ring = dir.write("ring.json", format!(r#"["{OTHER_KEY}", "{KEY}"]"#).as_bytes());
    let key = format!("@{}", dir.write("key", KEY.as_bytes()));
    let second = EVENT.replace("key:1", "key:2");
    for (flags, event) in [
        (&["-encrypt", &key][..], EVENT),
        (&["-encrypt", OTHER_KEY, "-encrypt", KEY], &second),
        (&["-keyring-file", &ring], &second),
    ] {
        assert_eq!(dir.decode(flags).out, format!("{PING}{SUSPECT}{event}"), "{flags:?}");
    }
    for flags in [&[][..], &["-encrypt", OTHER_KEY]] {
        let said = dir.decode(flags);
        assert!(said.out.contains(" [label:dc1] encrypted received="), "{}", said.out);
        assert!(said.out.ends_with(" problem=\"no key opens it\"\n"), "{}", said.out);
        assert_eq!(said.code, Some(0));
    }
}

#[test]
fn figures_come_in_place_of_messages() {
    let dir = Dir::new();
    let said = dir.decode(&["-stats", "-encrypt", KEY]);
    let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let lines: Vec<_> = said.out.lines().map(words).collect();
    assert_eq!(lines[0], ["Type", "Messages", "Bytes", "Sent", "again"]);
    for kind in ["ping", "suspect", "user-event"] {
        assert!(lines.iter().any(|line| line.starts_with(&[kind.into(), "1".into()])), "{kind}");
    }
    assert!(lines.contains(&words("Probes 1 0 answered")), "{}", said.out);
    let said = dir.decode(&["-stats", "-format", "json", "-encrypt", KEY, "-type", "ping"]);
    let figures: Value = serde_json::from_str(&said.out).expect("one object");
    assert_eq!((&figures["packets"], &figures["probes"]["sent"]), (&3.into(), &1.into()));
    assert_eq!(figures["types"].as_object().expect("types").len(), 1);
    assert_eq!(said.code, Some(0));
}

#[test]
fn what_cannot_be_decoded_ends_with_an_error_after_what_can() {
    let dir = Dir::new();
    let whole = three();
    let cut = dir.write("cut", &whole.bytes()[..whole.bytes().len() - 1]);
    let noise = dir.write("noise", b"GET / HTTP/1.1\r\n\r\n");
    let missing = dir.path("missing").to_string_lossy().into_owned();
    for (args, out, error) in [
        (&[&cut[..]][..], format!("{PING}{SUSPECT}"), "the file ends inside a record".to_owned()),
        (&[&noise], String::new(), "neither pcap nor pcapng".to_owned()),
        (&[&missing], String::new(), format!("open {missing}: no such file or directory")),
        (&["-port", "seven", &cut], String::new(), "Invalid port: 'seven'".to_owned()),
        (&["-encrypt", "AAAA", &cut], String::new(), "Invalid encryption key".to_owned()),
        (&["-format", "xml", &cut], String::new(), "xml".to_owned()),
    ] {
        let said = decode(args);
        assert_eq!(said.code, Some(1), "{args:?}: {said:?}");
        let rest = said.out.strip_prefix(&out).unwrap_or_else(|| panic!("{args:?}: {said:?}"));
        assert!(rest.contains(&error) && rest.lines().count() == 1, "{args:?}: {said:?}");
    }
    let said = decode(&[]);
    assert_eq!(said.code, Some(1));
    assert!(said.out.starts_with("At least one file must be specified.\n"), "{}", said.out);
    assert!(said.out.contains("Usage: serf decode [options] file ..."), "{}", said.out);
}
