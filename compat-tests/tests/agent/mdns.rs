//! Agents of both sides and multicast DNS.
//!
//! Multicast needs a network that is nobody else's: the tests run this program again in a network
//! namespace of its own, and say so where the system gives none.

use std::{net::UdpSocket, time::Duration};

use compat_tests::{alone::in_namespaces, peer::Peer, process::Kind, wait::eventually};
use serde_json::{Value, json};

const DEADLINE: Duration = Duration::from_secs(60);
/// A loopback device that carries multicast.
const MULTICAST: &str = "ip link set lo up && ip route add 224.0.0.0/4 dev lo \
                         && ip -6 route add ff00::/8 dev lo table local";

// parity: agent-net: mDNS discover
#[test]
fn agents_of_both_sides_find_each_other_by_multicast() {
    in_namespaces(MULTICAST, module_path!(), "inside_agents_find_each_other", 1);
}

#[test]
fn multicast_answers_equal_those_of_go() {
    in_namespaces(MULTICAST, module_path!(), "inside_answers_equal", 1);
}

#[test]
#[ignore = "needs a namespace; started by the test above"]
fn inside_agents_find_each_other() {
    let dir = tempfile::tempdir().unwrap();
    let start = |kind: Kind, name: &str, ip: &str, cluster: &str| {
        Peer::configured(kind, name, ip, &discover(cluster), dir.path())
    };
    // Each side once as the one that was there first, and a cluster that is not to be found.
    let go = start(Kind::Go, "go", "127.0.0.2", "blue");
    let ours = start(Kind::Ours, "ours", "127.0.0.3", "blue");
    let other = start(Kind::Ours, "other", "127.0.0.4", "green");
    let late = start(Kind::Go, "late", "127.0.0.5", "green");
    let blue = [("go", "alive"), ("ours", "alive")];
    let green = [("late", "alive"), ("other", "alive")];
    let same = |agent: &Peer, wanted: &[(&str, &str)]| {
        let wanted: Vec<_> = wanted
            .iter()
            .map(|(name, status)| ((*name).to_owned(), (*status).to_owned()))
            .collect();
        eventually(&agent.name, || match agent.members() {
            members if members == wanted => Vec::new(),
            members => vec![format!("{members:?}"), agent.log_tail()],
        });
    };
    same(&ours, &blue);
    same(&go, &blue);
    same(&other, &green);
    same(&late, &green);
    assert!(ours.log_tail().contains("[INFO] agent.mdns: Joined "), "{}", ours.log_tail());
}

#[test]
#[ignore = "needs a namespace; started by the test above"]
fn inside_answers_equal() {
    let answers = |kind: Kind| {
        let dir = tempfile::tempdir().unwrap();
        let _agent = Peer::configured(kind, "n.1", "127.0.0.2", &discover("blue"), dir.path());
        let instance = "n.1._serf_blue._tcp.local";
        let service = "_serf_blue._tcp.local";
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
        let all = "_services._dns-sd._udp.local";
        let (ptr, srv, txt, a, aaaa, any) = (12, 33, 16, 1, 28, 255);
        let asked = [
            (service, ptr, 1),
            (service, any, 1),
            (service, srv, 1),
            (all, ptr, 1),
            (all, any, 1),
            (instance, ptr, 1),
            (instance, any, 1),
            (instance, srv, 1),
            (instance, txt, 1),
            (instance, a, 1),
            (instance, aaaa, 1),
            (host.trim(), a, 1),
            (host.trim(), any, 1),
            // The bit that asks for an answer to oneself alone.
            (service, ptr, 0x8001),
        ];
        asked.map(|(name, kind, class)| (format!("{name} {kind} {class}"), ask(name, kind, class)))
    };
    let go = answers(Kind::Go);
    assert!(go[0].1.is_some(), "Go's agent does not answer");
    for (go, ours) in go.into_iter().zip(answers(Kind::Ours)) {
        assert_eq!(go, ours);
    }
}

fn discover(cluster: &str) -> Value {
    json!({"discover": cluster, "profile": "local"})
}

/// Asks by multicast from a port of our own and gives the answer, if one comes. The end of waiting
/// is the answer to a second question that is always answered.
fn ask(name: &str, kind: u16, class: u16) -> Option<String> {
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    socket.set_read_timeout(Some(DEADLINE)).unwrap();
    let send = |id: u16, name: &str, kind: u16, class: u16| {
        let mut query = vec![];
        for number in [id, 0, 1, 0, 0, 0] {
            query.extend_from_slice(&number.to_be_bytes());
        }
        for label in name.split('.') {
            query.push(u8::try_from(label.len()).unwrap());
            query.extend_from_slice(label.as_bytes());
        }
        query.push(0);
        query.extend_from_slice(&kind.to_be_bytes());
        query.extend_from_slice(&class.to_be_bytes());
        socket.send_to(&query, "224.0.0.251:5353").unwrap();
    };
    send(0x1234, name, kind, class);
    send(0x4321, "_services._dns-sd._udp.local", 12, 0x8001);
    let mut buffer = [0; 9000];
    let mut answer = None;
    loop {
        let (len, from) = socket.recv_from(&mut buffer).expect("an answer");
        assert_eq!(from.port(), 5353);
        if buffer.starts_with(&[0x43, 0x21]) {
            return answer;
        }
        // Go's encoder also points to the host's name inside SRV; names are compared, not pointers.
        let packet = simple_dns::Packet::parse(&buffer[..len]).expect("an answer");
        answer = Some(format!("{} {packet:?}", hex::encode(&buffer[..12])));
    }
}
