//! Goal: what the log says of a stream that ends early depends on where, as in Go: nothing inside
//! the layers, `EOF` inside a value, `unexpected EOF` inside raw bytes. Method: streams of each
//! kind are cut at each byte and sent to an agent of each program; all lines are compared.

use std::{
    io::{Read as _, Write as _},
    net::{Shutdown, TcpListener, TcpStream},
    thread,
    time::Duration,
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use compat_tests::{net::Net, peer::Peer, process::BOTH, wait::eventually};
use ruserf::{
    base::Rng,
    wire::{CodecConfig, Keyring, PacketCodec, Role},
};
use weezl::{BitOrder, encode::Encoder};

use super::wrong_bytes::complaints;

// parity: agent-obs: Streams that end early: levels and words
#[test]
fn a_stream_that_ends_early_is_logged_in_go_s_words() {
    let net = Net::new();
    let plain = [("ping", PING), ("user message", USER), ("push/pull", PUSH_PULL)];
    let compressed = |message: &[u8]| compressed(&lzw(message));
    let encrypted = |message: &[u8]| sealed(message);
    let (ping, user) = (cuts(PING), cuts(USER));
    let mut lots: Vec<Lot> = Vec::new();
    for (name, message) in plain {
        lots.push(Lot { what: format!("a cut {name}"), streams: cuts(message), paced: true });
    }
    lots.push(Lot {
        what: "a compressed message of which the rest is missing".to_owned(),
        streams: ping.iter().chain(&user).map(|cut| compressed(cut)).collect(),
        paced: true,
    });
    lots.push(Lot {
        what: "compressed data that is cut".to_owned(),
        streams: cuts(&lzw(USER)).iter().map(|cut| self::compressed(cut)).collect(),
        paced: true,
    });
    lots.push(Lot {
        what: "the frame of a compressed message".to_owned(),
        streams: cuts(&compressed(USER)),
        paced: false,
    });
    let mut keyed = vec![Lot {
        what: "the frame of an encrypted message".to_owned(),
        streams: cuts(&encrypted(USER)),
        paced: false,
    }];
    keyed.push(Lot {
        what: "an encrypted message of which the rest is missing".to_owned(),
        streams: cuts(USER).iter().skip(1).map(|cut| encrypted(cut)).collect(),
        paced: true,
    });
    keyed.push(Lot {
        what: "an encrypted compressed message that is cut".to_owned(),
        streams: cuts(&compressed(USER)).iter().skip(1).map(|cut| encrypted(cut)).collect(),
        paced: true,
    });
    thread::scope(|scope| {
        for (at, lot) in lots.iter().enumerate() {
            scope.spawn(move || compare(net, 10 + 2 * at as u8, lot, &[]));
        }
        for (at, lot) in keyed.iter().enumerate() {
            scope.spawn(move || compare(net, 40 + 2 * at as u8, lot, &["-encrypt", KEY]));
        }
    });
}

/// Goal: the same of the answer to a join. Method: a peer that sends a part of an answer; the
/// output of `serf join` is compared.
// parity: agent-obs: Answers that end early: words of the join
#[test]
fn an_answer_that_ends_early_fails_a_join_in_go_s_words() {
    const ERROR: &[u8] = b"\x0d\x81\xa5Error\xa3abc";
    let net = Net::new();
    let agents = BOTH.map(|kind| Peer::start(kind, "a", &net.ip(1 + kind as u8), &[]));
    let listener = TcpListener::bind(format!("{}:7946", net.ip(9))).unwrap();
    let addr = listener.local_addr().unwrap().to_string();
    let malformed = [&b"\x06\xc1"[..], b"\x06\x81\xa5Nodes\x01\xa1", b"\x0d\x81\xa5Error\x05"];
    let answers = [cuts(PUSH_PULL), cuts(&compressed(&lzw(ERROR))), cuts(ERROR)].concat();
    let answers = answers.into_iter().chain(malformed.map(<[u8]>::to_vec));
    let mut different = Vec::new();
    for answer in answers {
        let [theirs, ours] = agents.each_ref().map(|agent| {
            thread::scope(|scope| {
                scope.spawn(|| {
                    let (mut stream, _) = listener.accept().unwrap();
                    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
                    stream.write_all(&answer).unwrap();
                    stream.shutdown(Shutdown::Write).unwrap();
                    let _ = stream.read_to_end(&mut Vec::new());
                });
                let said = agent.cli(&["join", &addr]);
                (said.out, said.code)
            })
        });
        if ours != theirs {
            let answer = answer.escape_ascii();
            different.push(format!("{answer}\n  ours:   {ours:?}\n  theirs: {theirs:?}"));
        }
    }
    assert!(different.is_empty(), "{}", different.join("\n"));
}

/// Streams of one kind.
struct Lot {
    what: String,
    streams: Vec<Vec<u8>>,
    /// Whether they may be logged: ours logs four lines of a kind in a second.
    paced: bool,
}

/// Sends the streams to both programs, on addresses from `last` on.
fn compare(net: Net, last: u8, lot: &Lot, flags: &[&str]) {
    let logs = BOTH.map(|kind| {
        let agent = Peer::start(kind, "a", &net.ip(last + kind as u8), flags);
        let mut logged = Vec::new();
        for stream in &lot.streams {
            let before = complaints(net, &agent).len();
            send(&agent.addr, stream);
            if lot.paced {
                thread::sleep(Duration::from_millis(260));
                logged.push(complaints(net, &agent).split_off(before));
            }
        }
        // The last line, behind all others.
        send(&agent.addr, END);
        let end = || complaints(net, &agent).last().filter(|line| is_end(line)).cloned();
        eventually(&format!("no end: {}", agent.log_tail()), end);
        logged.push(complaints(net, &agent));
        logged
    });
    let [theirs, ours] = logs;
    let streams = lot.streams.iter().map(|stream| stream.escape_ascii().to_string());
    let different: Vec<String> = streams
        .chain(["all".to_owned()])
        .zip(theirs.iter().zip(&ours))
        .filter(|(_, (theirs, ours))| theirs != ours)
        .map(|(stream, (theirs, ours))| {
            format!("{stream}\n  ours:   {ours:?}\n  theirs: {theirs:?}")
        })
        .collect();
    assert!(different.is_empty(), "{}:\n{}", lot.what, different.join("\n"));
}

fn is_end(line: &str) -> bool {
    line.contains("Received invalid msgType (13)") || line.contains("is not encrypted")
}

/// Sends a stream and waits until the agent has closed it, which it does behind its log line.
fn send(to: &str, bytes: &[u8]) {
    let mut stream = TcpStream::connect(to).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream.write_all(bytes).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    // It may be reset.
    let _ = stream.read_to_end(&mut Vec::new());
}

/// All beginnings but the whole.
fn cuts(bytes: &[u8]) -> Vec<Vec<u8>> {
    (0..bytes.len()).map(|len| bytes[..len].to_vec()).collect()
}

/// A message of memberlist that holds this compressed data.
fn compressed(data: &[u8]) -> Vec<u8> {
    let len = u16::try_from(data.len()).unwrap().to_be_bytes();
    [b"\x09\x82\xa4Algo\0\xa3Buf\xda".as_slice(), &len, data].concat()
}

fn lzw(message: &[u8]) -> Vec<u8> {
    Encoder::new(BitOrder::Lsb, 8).encode(message).unwrap()
}

/// A stream with this message, encrypted.
fn sealed(message: &[u8]) -> Vec<u8> {
    let key = BASE64_STANDARD.decode(KEY).unwrap();
    let config = CodecConfig {
        keyring: Keyring::build(&[], &key).unwrap(),
        verify_outgoing: true,
        ..CodecConfig::default()
    };
    let codec = PacketCodec::build(config).unwrap().stream_codec();
    let mut out = Vec::new();
    codec.seal(&mut Rng::from_u64(1), Role::Dialer, message, &mut out);
    out
}

const PING: &[u8] = b"\0\x82\xa4Node\xa1a\xa5SeqNo\xcd\x01\x02";
const USER: &[u8] = b"\x08\x81\xaaUserMsgLen\x03abc";
const PUSH_PULL: &[u8] = b"\x06\x83\xa4Join\xc2\xa5Nodes\x01\xacUserStateLen\x02\
    \x83\xa4Addr\xa4\x7f\0\0\x01\xa4Name\xa1x\xa4Port\xcd\x1f\x0axy";
const END: &[u8] = b"\x0d";
const KEY: &str = "wsGlMv8mfgjD1f+CVVMHZA==";
