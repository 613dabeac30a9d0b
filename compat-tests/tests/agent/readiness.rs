//! Goal: the reasons of `/health/ready` that tell of a bad minute come and go with their fault.
//! Method: a network that loses UDP alone, and a forger who sends Lamport times of the far future.

use std::{
    io::{Read as _, Write as _},
    net::UdpSocket,
    os::unix::net::UnixStream,
    path::Path,
};

use compat_tests::{
    lossy::{Net as Hosts, Protocol, Rule},
    net::Net,
    peer::{Launch, Peer},
    process::{Kind, not_run},
    wait::{PATIENCE, eventually},
};
use serde_json::Value;

/// The reasons that an agent gives at its Unix socket, with its status.
fn reasons(at: &Path) -> Vec<String> {
    let mut stream = UnixStream::connect(at).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(b"GET /health/ready HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let answered: Value = serde_json::from_str(body).unwrap_or_else(|_| panic!("{answer}"));
    let reasons: Vec<_> = answered["reasons"].as_array().unwrap().clone();
    assert_eq!(head.starts_with("HTTP/1.1 200 "), reasons.is_empty(), "{answer}");
    reasons.iter().map(|reason| reason["reason"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn udp_that_is_blocked_is_a_reason_until_it_is_open_again() {
    if !Hosts::possible() {
        return not_run("network namespaces need root, `ip` and /dev/net/tun");
    }
    let (hosts, dir) = (Hosts::start(2, 9), tempfile::tempdir().unwrap());
    let http = dir.path().join("http");
    let start = |host: usize, kind: Kind, name: &str, args: &[&str]| {
        let launch = Launch::new(kind, name, &hosts.ip(host)).rpc("127.0.0.1:7373");
        let namespace = hosts.namespace(host);
        launch.args(args).wrapper(&["ip", "netns", "exec", &namespace]).start()
    };
    let b = start(1, Kind::Go, "b", &[]);
    let listen = format!("unix:{}", http.display());
    let _a = start(0, Kind::Ours, "a", &["-http-addr", &listen, "-join", &b.addr]);
    eventually("it is not ready at first", || reasons(&http).is_empty());
    let udp = Rule { protocol: Some(Protocol::Udp), loss: 1.0, ..Rule::default() };
    hosts.set_rules(vec![udp]);
    eventually("it is ready though UDP is blocked", || reasons(&http) == ["probes_need_tcp"]);
    hosts.set_rules(Vec::new());
    eventually("it does not recover", || reasons(&http).is_empty());
}

#[test]
fn clocks_that_are_refused_again_and_again_are_a_reason_until_they_stop() {
    let (net, dir) = (Net::new(), tempfile::tempdir().unwrap());
    let http = dir.path().join("http");
    let listen = format!("unix:{}", http.display());
    let a = Peer::start(Kind::Ours, "a", &net.ip(2), &["-http-addr", &listen]);
    assert_eq!(reasons(&http), [""; 0]);
    // memberlist's user message, Serf's user event: { CC, LTime: 2^40, Name, Payload }.
    let mut forged = vec![8, 3, 0x84, 0xa2];
    forged.extend(b"CC\xc2\xa5LTime\xcf\0\0\x01\0\0\0\0\0\xa4Name\xa1x\xa7Payload\xc0");
    let forger = UdpSocket::bind((net.ip(3).as_str(), 0)).unwrap();
    eventually("it is ready though clocks are refused", || {
        forger.send_to(&forged, &a.addr).unwrap();
        reasons(&http) == ["clock_refused"]
    });
    eventually("it does not recover", || reasons(&http).is_empty());
    // Nobody got the event, and ours has another time.
    a.ok(&["event", "own"]);
    assert!(a.ok(&["info"]).contains("event_time = 2"));
}
