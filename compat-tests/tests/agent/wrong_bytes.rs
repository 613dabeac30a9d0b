//! Goal: what comes to the gossip port and is no gossip, and a peer that does not answer there, are
//! logged with Go's level and words. Method: the same bytes go to an agent of each program, and a
//! peer of each is frozen; the lines are compared without times and ports.

use std::{
    io::Write as _,
    net::{Shutdown, TcpStream, UdpSocket},
    thread,
    time::Duration,
};

use compat_tests::{
    net::Net,
    peer::Peer,
    process::{BOTH, Kind, signal},
    wait::eventually,
};

use super::log_words::without_ports;

// parity: agent-obs: Wrong bytes at the gossip port: levels and words
#[test]
fn wrong_bytes_are_logged_in_go_s_words() {
    let net = Net::new();
    let plain = PLAIN.chunks(PLAIN.len().div_ceil(4)).map(|cases| (cases, &SEALING[..2]));
    let all = plain.chain([(SEALED, &SEALING[..])]);
    thread::scope(|scope| {
        for (at, (cases, flags)) in all.enumerate() {
            scope.spawn(move || compare(net, 10 + 2 * at as u8, cases, flags));
        }
    });
}

/// Sends each case to both programs, on addresses from `last` on.
fn compare(net: Net, last: u8, cases: &[Case], flags: &[&str]) {
    let agents = [(Kind::Go, last), (Kind::Ours, last + 1)]
        .map(|(kind, last)| Peer::start(kind, "a", &net.ip(last), flags));
    let mut different = Vec::new();
    for case in cases {
        let agents = agents.each_ref();
        let sent = agents.map(|agent| (complaints(net, agent).len(), case.send(&agent.addr)));
        let [theirs, ours] = [0, 1].map(|at| answer(net, agents[at], case, sent[at].0));
        if !case.agree(&theirs, &ours) {
            different.push(format!("{case:?}\n  ours:   {ours}\n  theirs: {theirs}"));
        }
        // Ours logs four lines of a kind in a second.
        thread::sleep(Duration::from_millis(250));
    }
    assert!(different.is_empty(), "{}", different.join("\n"));
}

/// The line that an agent logs about the bytes, behind those `before` it.
fn answer(net: Net, agent: &Peer, case: &Case, before: usize) -> String {
    eventually(&format!("nothing is logged of {case:?}: {}", agent.log_tail()), || {
        complaints(net, agent).into_iter().nth(before)
    })
}

/// Lines about peers, without times and ports.
pub(super) fn complaints(net: Net, agent: &Peer) -> Vec<String> {
    let lines = agent.printed();
    let levels = ["[ERR] memberlist: ", "[WARN] memberlist: ", "[ERR] serf: ", "[WARN] serf: "];
    let of = lines.iter().filter_map(|line| {
        let at = levels.iter().find_map(|level| line.find(level))?;
        Some(without_ports(&line[at..]).replace(&agent.addr.replace(":7946", ":PORT"), "ME"))
    });
    of.map(|line| line.replace(&net.to_string(), "NET.")).collect()
}

#[derive(Clone, Copy, Debug)]
enum Via {
    Packet,
    /// A stream that is closed behind the bytes.
    Stream,
    /// A stream that is left open.
    Open,
}

#[derive(Debug)]
struct Case {
    via: Via,
    bytes: &'static [u8],
    /// The part of the line that both have; empty: the whole line.
    common: &'static str,
}

impl Case {
    fn send(&self, to: &str) -> Option<TcpStream> {
        if matches!(self.via, Via::Packet) {
            let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
            socket.send_to(self.bytes, to).unwrap();
            return None;
        }
        let mut stream = TcpStream::connect(to).unwrap();
        stream.write_all(self.bytes).unwrap();
        if matches!(self.via, Via::Stream) {
            stream.shutdown(Shutdown::Write).unwrap();
        }
        Some(stream)
    }

    fn agree(&self, theirs: &str, ours: &str) -> bool {
        if self.common.is_empty() {
            return theirs == ours;
        }
        [theirs, ours].iter().all(|line| line.starts_with(self.common))
    }
}

const fn case(via: Via, bytes: &'static [u8]) -> Case {
    Case { via, bytes, common: "" }
}

/// The reason is worded by a library of Go's, or ours says more.
const fn begins(via: Via, bytes: &'static [u8], common: &'static str) -> Case {
    Case { via, bytes, common }
}

use Via::{Open, Packet, Stream};

const PLAIN: [Case; 69] = [
    case(Packet, b"\x82"),
    case(Packet, b"\x0a"),
    case(Packet, b"\x0d"),
    case(Packet, b"\x06"),
    begins(Packet, b"GET /", "[ERR] memberlist: msg type (71) not supported"),
    case(Packet, b"\0\xc1"),
    case(Packet, b"\x01\xc1"),
    case(Packet, b"\x02\xc1"),
    case(Packet, b"\x0b\xc1"),
    case(Packet, b"\x03\xc1"),
    case(Packet, b"\x04\xc1"),
    case(Packet, b"\x05\xc1"),
    case(Packet, b"\x07"),
    case(Packet, b"\x07\x02\0"),
    case(Packet, b"\x07\x01\0\x05ab"),
    case(Packet, b"\x09\xc1"),
    begins(
        Packet,
        b"\x0c\0\0\0\x01\x00",
        "[WARN] memberlist: Got invalid checksum for UDP packet: ",
    ),
    case(Packet, b"\xf4\0"),
    case(Packet, b"\xf4\x05a"),
    case(Packet, b"\xf4\x01a\0"),
    case(Packet, b"\0\x82\xa4Node\xa1x\xa5SeqNo\x01"),
    case(Stream, b"\x82"),
    case(Stream, b"\x01"),
    case(Stream, b"\x02"),
    case(Stream, b"\x03"),
    case(Stream, b"\x07"),
    case(Stream, b"\x0b"),
    case(Stream, b"\x0c"),
    case(Stream, b"\x0d"),
    begins(Stream, b"GET / HTTP/1.1\r\n", "[ERR] memberlist: Received invalid msgType (71) from="),
    begins(Stream, b"\x16\x03\x01", "[ERR] memberlist: Received invalid msgType (22) from="),
    case(Stream, b"\xf4\0"),
    case(Stream, b"\xf4\x05a"),
    case(Stream, b"\xf4\x01a\0"),
    case(Stream, b"\x0a\0\0\0\x01a"),
    case(Stream, b"\x09\xc1"),
    case(Stream, b"\0\xc1"),
    case(Stream, b"\x06\xc1"),
    case(Stream, b"\x08\xc1"),
    case(Stream, b"\x06\x81\xa5Nodes\xff"),
    case(Stream, b"\x06\x81\xa5Nodes\xd2\0\x10\0\x01"),
    case(Stream, b"\x06\x81\xacUserStateLen\xfe"),
    case(Stream, b"\x08\x81\xaaUserMsgLen\xd2\x01\x40\0\x01"),
    case(Stream, b"\0\x82\xa4Node\xa1x\xa5SeqNo\x01"),
    case(Stream, b"\x06\x81\xa5Nodes"),
    case(Stream, b"\x06\x81\xa5Nodes\xa1"),
    case(Stream, b"\x06\x81\xa5Nodes\x01\xc1"),
    case(Stream, b"\x06\x81\xa5Nodes\x01\x81\xa4Port\xff"),
    case(Stream, b"\x06\x81\xa5Nodes\x01\x81\xa4Port\xce\0\x01\0\0"),
    case(Stream, b"\x06\x81\xa4Join\x05"),
    case(Stream, b"\x06\x81\xa1x\xc1"),
    case(Stream, b"\x06\xa1"),
    case(Stream, b"\x08\x81\xc1"),
    case(Stream, b"\x09\x81\xa3Buf\x01"),
    case(Packet, b"\x08\x63"),
    case(Packet, b"\x08\0\xc1"),
    case(Packet, b"\x08\x01\x81\xa5LTime"),
    case(Packet, b"\x08\x03\x81\xa5LTime\xff"),
    case(Packet, b"\x08\x04\x81\xa2ID\xce\xff"),
    case(Packet, b"\x08\x05\xa1"),
    case(Packet, b"\x08\x09\xc1"),
    case(Packet, b"\x03\x81\xabIncarnation"),
    case(Packet, b"\x03\x81\xabIncarnation\xcb"),
    case(Open, b""),
    case(Open, b"\xf4\x05a"),
    case(Open, b"\x06\x81"),
    case(Open, b"\x06\x81\xa5Nod"),
    case(Open, b"\x06\x81\xa5Nodes\xcd\0"),
    case(Open, b"\x08\x81\xaaUserMsgLen\x03a"),
];

const SEALING: [&str; 4] = ["-profile", "local", "-encrypt", "wsGlMv8mfgjD1f+CVVMHZA=="];
/// To agents that have a key.
const SEALED: &[Case] = &[
    case(Packet, b"\x01too short"),
    case(Packet, b"\x01long enough to be a packet with a nonce and a tag"),
    case(Packet, b"\x05long enough to be a packet with a nonce and a tag"),
    case(Stream, b"\x82"),
    case(Stream, b"\x0a\x01\x40\0\x01"),
    case(Stream, b"\x0a\0\0\0\x05\x01abcd"),
    case(Stream, b"\x0a\0\0\0\x31\x01long enough to be a packet with a nonce and a tag"),
];

/// Goal: the ping by stream of a probe is logged when it fails after the connection was made, and
/// only then. Method: a peer is frozen, so that its kernel accepts and nobody answers; then killed.
// parity: agent-obs: A ping by stream that fails
#[test]
fn a_peer_that_accepts_and_does_not_answer_is_logged_in_go_s_words() {
    let net = Net::new();
    let lines = BOTH.map(|kind| {
        let last = 1 + 3 * kind as u8;
        let a = Peer::start(kind, "a", &net.ip(last), &["-profile", "local"]);
        let b = Peer::start(kind, "b", &net.ip(last + 1), &["-join", &a.addr]);
        a.wait_for_members(2);
        signal(b.pid(), "STOP");
        let failed = "Failed fallback TCP ping: ";
        a.wait_for_line(failed);
        a.wait_member("b", "failed");
        drop(b);
        // Nobody listens now.
        let c = Peer::start(kind, "c", &net.ip(last + 2), &["-join", &a.addr]);
        a.wait_for_members(2);
        let failures = || complaints(net, &a).iter().filter(|line| line.contains(failed)).count();
        // A probe of the frozen peer may not have ended.
        thread::sleep(Duration::from_secs(3));
        let before = failures();
        drop(c);
        a.wait_for_line("Suspect c has failed, no acks received");
        assert_eq!(failures(), before, "{kind:?}: {}", a.log_tail());
        let line = complaints(net, &a).into_iter().find(|line| line.contains(failed)).unwrap();
        line.replace(&format!("NET.{}:", last + 1), "B:")
    });
    assert_eq!(lines[0], lines[1], "left: Go, right: ours");
    assert!(lines[1].ends_with("->B:PORT: i/o timeout"), "{}", lines[1]);
}
