//! Effects that a datagram may cause: packets, bytes, log lines. Each kind is tested in several
//! wrappings.

use super::*;
use crate::{
    base::lines_of,
    wire::{IndirectPing, Keyring, Ping, SeqNo},
};

/// Configurations that differ in the layers around messages.
fn wrappings() -> Vec<Config> {
    let plain = quiet();
    let mut labelled = plain.clone();
    labelled.codec.label = b"dc1".to_vec();
    let mut sealed = labelled.clone();
    sealed.codec.keyring = Keyring::build(&[], &[7; 16]).unwrap();
    let mut padded = sealed.clone();
    padded.protocol_version = 1;
    padded.bind_port = 7946;
    vec![plain, labelled, sealed, padded]
}

/// A datagram with a message, as sent by a peer with this configuration.
fn wrapped(config: &Config, compress: bool, seed: u64, message: &[u8]) -> Vec<u8> {
    let mut codec_config = config.codec.clone();
    codec_config.protocol_version = config.protocol_version;
    codec_config.compression = compress.into();
    let mut codec = PacketCodec::build(codec_config).unwrap();
    let mut data = Vec::new();
    codec.seal(&mut Rng::from_u64(seed), message, false, &mut data);
    data
}

fn compound(parts: &[Vec<u8>]) -> Vec<u8> {
    let mut out = vec![7, parts.len() as u8];
    parts.iter().for_each(|part| out.extend((part.len() as u16).to_be_bytes()));
    parts.iter().for_each(|part| out.extend(part));
    out
}

/// Several ways of putting very many copies of a message into one datagram.
fn crowds(config: &Config, message: &[u8]) -> Vec<Vec<u8>> {
    let inner = compound(&vec![message.to_vec(); 255]);
    let nested = compound(&vec![inner.clone(); 3]);
    let packed = wrapped(&quiet(), true, 1, &compound(&vec![inner.clone(); 3]));
    let twice = compound(&vec![packed; 4]);
    vec![
        wrapped(config, false, 1, &inner),
        wrapped(config, true, 1, &inner),
        wrapped(config, true, 1, &nested),
        wrapped(config, false, 1, &twice),
        wrapped(config, true, 1, &twice),
    ]
}

fn encoded(encode: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = Vec::new();
    encode(&mut out);
    out
}

fn packets(me: &mut Node) -> Vec<(SocketAddr, Vec<u8>)> {
    me.outputs()
        .into_iter()
        .filter_map(|output| match output {
            Output::Packet { to, data } => Some((to, data)),
            _ => None,
        })
        .collect()
}

fn receive(me: &mut Node, from: SocketAddr, datagram: &[u8]) {
    me.swim.handle_packet(me.now, from, datagram, &mut me.host);
    me.swim.handle_queued(me.now, &mut me.host);
}

const VICTIM: [u8; 4] = [10, 9, 9, 9];

/// A node with queued gossip, and with members at 10.0.0.9:7946.
fn gossiping(config: &Config) -> Node {
    let mut me = Node::new(config.clone());
    for i in 0..20 {
        let data = encoded(|out| alive(&format!("n{i}"), 1, &[10, 0, 0, 9], b"").encode(out));
        receive(&mut me, peer(), &wrapped(config, false, 100 + i, &data));
    }
    assert_eq!(me.swim.node_count(), 21);
    me.outputs();
    me
}

#[test]
fn many_pings_in_a_datagram_cause_a_few_packets_and_no_more_bytes() {
    let ping = Ping { seq_no: SeqNo(1), node: b"me", ..Ping::default() };
    let third = Ping { source_addr: VICTIM.as_slice().into(), source_port: 5, ..ping.clone() };
    let named = Ping { source_node: b"n1", ..third.clone() };
    let own_host =
        Ping { source_addr: [10, 0, 0, 2].as_slice().into(), source_port: 5, ..ping.clone() };
    let relay = IndirectPing {
        seq_no: SeqNo(1),
        target: VICTIM.as_slice().into(),
        port: 5,
        node: b"v",
        nack: true,
        source_addr: VICTIM.as_slice().into(),
        source_port: 5,
        ..IndirectPing::default()
    };
    let messages = [
        encoded(|out| ping.encode(out)),
        encoded(|out| third.encode(out)),
        encoded(|out| named.encode(out)),
        encoded(|out| own_host.encode(out)),
        encoded(|out| relay.encode(out)),
    ];
    for (config, message) in
        wrappings().iter().flat_map(|config| messages.iter().map(move |m| (config, m)))
    {
        for datagram in crowds(config, message) {
            let mut me = gossiping(config);
            let gossip: Vec<_> = me.swim.broadcasts().map(|(sent, _)| sent).collect();
            receive(&mut me, peer(), &datagram);
            let now = packets(&mut me);
            assert!(!now.is_empty() && now.len() <= 4, "{} packets", now.len());
            me.swim.deschedule();
            me.wait(Duration::from_secs(2)); // nacks
            let sent = [now, packets(&mut me)].concat();
            assert!(sent.len() <= 8);
            let bytes: usize = sent.iter().map(|(_, data)| data.len()).sum();
            assert!(bytes <= datagram.len(), "{bytes} bytes for {}", datagram.len());
            let after: Vec<_> = me.swim.broadcasts().map(|(sent, _)| sent).collect();
            assert_eq!(gossip, after, "strangers get no gossip");
        }
    }
}

#[test]
fn an_answer_goes_to_a_member_or_to_the_sender_but_to_no_third_party() {
    let mut me = gossiping(&quiet());
    let ping = Ping { seq_no: SeqNo(7), node: b"me", ..Ping::default() };
    let (member, sender) = ("10.0.0.9:7946", "10.0.0.2:7946");
    let table: [(&[u8], u16, &[u8], &str); 8] = [
        (&[], 0, b"", sender),
        (&[10, 0, 0, 9], 7946, b"n3", member),
        (&[10, 0, 0, 9], 7946, b"", member),
        (&[10, 0, 0, 9], 7946, b"unknown", member),
        (&[10, 0, 0, 9], 7947, b"n3", sender),
        (&VICTIM, 5, b"n3", sender),
        (&[10, 0, 0, 2], 5, b"x", "10.0.0.2:5"),
        (&[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 10, 0, 0, 9], 7946, b"x", member),
    ];
    for (addr, source_port, source_node, to) in table {
        let source_addr = addr.into();
        let ping = Ping { source_addr, source_port, source_node, ..ping.clone() };
        receive(&mut me, peer(), &encoded(|out| ping.encode(out)));
        let sent = packets(&mut me);
        assert_eq!(sent.len(), 1);
        assert_eq!(sent[0].0, to.parse().unwrap(), "{addr:?}:{source_port}");
    }
    // A member that moved to another address is no member at the old one.
    me.dead("n3", 1, "n3");
    me.alive_at("n3", 2, &VICTIM, b"");
    let ping = Ping { source_addr: VICTIM.as_slice().into(), source_port: 7946, ..ping.clone() };
    receive(&mut me, peer(), &encoded(|out| ping.encode(out)));
    assert_eq!(packets(&mut me)[0].0, "10.9.9.9:7946".parse().unwrap());
}

#[test]
fn members_get_gossip_with_an_answer_once_a_datagram() {
    let mut me = gossiping(&quiet());
    let ping = Ping {
        seq_no: SeqNo(7),
        node: b"me",
        source_addr: [10, 0, 0, 9].as_slice().into(),
        source_port: 7946,
        source_node: b"n1",
    };
    let ping = encoded(|out| ping.encode(out));
    receive(&mut me, peer(), &ping);
    let texts = me.sent();
    assert_eq!(texts.iter().filter(|text| **text == "ack 7 [42]").count(), 1);
    assert!(texts.iter().any(|text| text.starts_with("alive n")), "{texts:?}");
    receive(&mut me, peer(), &compound(&vec![ping; 50]));
    let sizes: Vec<_> = packets(&mut me).iter().map(|(_, data)| data.len()).collect();
    assert_eq!(sizes.len(), 4);
    assert!(sizes[0] > 100 && sizes[1..].iter().all(|size| *size < 30), "{sizes:?}");
}

#[test]
fn a_node_that_pings_before_we_know_it_gets_its_ack() {
    let ping = |node: &'static str| Ping {
        seq_no: SeqNo(u32::MAX),
        node: node.as_bytes(),
        ..Ping::default()
    };
    for config in wrappings() {
        for node in ["", "me"] {
            let mut me = Node::new(config.clone());
            let message = encoded(|out| ping(node).encode(out));
            let datagram = wrapped(&config, false, 1, &message);
            receive(&mut me, peer(), &datagram);
            let sent = packets(&mut me);
            assert_eq!(sent.len(), 1);
            assert!(sent[0].1.len() <= datagram.len());
        }
    }
    // The payload is present if it fits: real pings contain their source.
    let mut me = Node::new(quiet());
    let whole = Ping {
        source_addr: [10, 0, 0, 2].as_slice().into(),
        source_port: 7946,
        source_node: b"b",
        ..ping("me")
    };
    receive(&mut me, peer(), &encoded(|out| whole.encode(out)));
    assert_eq!(me.sent(), ["ack 4294967295 [42]"]);
}

#[test]
fn those_who_ask_for_many_relays_keep_nobody_from_asking() {
    let mut me = gossiping(&quiet());
    let request = |i: u32, target: [u8; 4], source: [u8; 4]| {
        let request = IndirectPing {
            seq_no: SeqNo(i),
            target: target.as_slice().into(),
            port: 7946,
            node: b"n1",
            nack: true,
            source_addr: source.as_slice().into(),
            source_port: 7946,
            source_node: b"n2",
        };
        encoded(|out| request.encode(out))
    };
    // One host with made-up and real sources and targets, and any port.
    for i in 0..5_000_u32 {
        let [_, _, a, b] = i.to_be_bytes();
        let from = SocketAddr::from(([10, 66, 0, 1], 1 + i as u16));
        for (target, source) in [([10, 0, 0, 9], [10, 0, 0, 9]), ([10, 7, a, b], [10, 8, a, b])] {
            receive(&mut me, from, &request(i, target, source));
        }
    }
    assert_eq!(packets(&mut me).len(), 8);
    assert_eq!(me.swim.stats().dropped_relays, 10_000 - 8);
    // Many hosts.
    for i in 0..5_000_u32 {
        let [_, _, a, b] = i.to_be_bytes();
        let from = SocketAddr::from(([10, 67, a, b], 7946));
        receive(&mut me, from, &request(i, [10, 0, 0, 9], [10, 0, 0, 9]));
    }
    assert_eq!(packets(&mut me).len(), 512 - 8);
    // A member asks.
    let member = "10.0.0.9:7946".parse().unwrap();
    receive(&mut me, member, &request(1, [10, 0, 0, 9], [10, 0, 0, 9]));
    assert!(me.sent().contains(&"ping n1".to_owned()));
    // Once the other relays have expired, all may ask again.
    me.wait(Duration::from_millis(501));
    packets(&mut me);
    receive(&mut me, peer(), &request(2, [10, 0, 0, 9], [10, 0, 0, 9]));
    assert!(me.sent().contains(&"ping n1".to_owned()));
}

#[test]
fn a_target_that_we_do_not_know_is_pinged_without_gossip() {
    let mut me = gossiping(&quiet());
    let request = IndirectPing {
        seq_no: SeqNo(9),
        target: VICTIM.as_slice().into(),
        port: 7946,
        node: b"new",
        nack: true,
        ..IndirectPing::default()
    };
    let datagram = encoded(|out| request.encode(out));
    receive(&mut me, peer(), &datagram);
    assert_eq!(me.sent(), ["ping new"]);
    me.swim.deschedule();
    me.wait(Duration::from_millis(501));
    assert_eq!(me.sent(), ["nack 9"]);
}

#[test]
fn what_is_wrong_with_a_datagram_is_one_line() {
    let other = Ping { seq_no: SeqNo(1), node: b"a\nb\x1b[2J\xff", ..Ping::default() };
    let parts = [
        vec![],
        vec![99],
        vec![4, 0xff],
        vec![7, 2, 0],
        vec![9, 1],
        encoded(|out| other.encode(out)),
    ];
    for config in wrappings() {
        for part in &parts {
            for datagram in crowds(&config, part) {
                let mut me = Node::new(config.clone());
                let lines = lines_of(|| receive(&mut me, peer(), &datagram));
                assert!(lines.len() <= 1, "{lines:?}");
                let pings = part.first() == Some(&0);
                assert!(pings || lines.len() == 1, "{part:?}");
                let clean = |c: char| !c.is_control();
                assert!(lines.iter().all(|line| line.len() < 300 && line.chars().all(clean)));
            }
        }
    }
}

#[test]
fn a_datagram_with_many_broken_parts_is_not_looked_at_to_its_end() {
    let mut parts = vec![vec![99]; 15];
    parts.push(encoded(|out| alive("a", 1, &[10, 0, 0, 9], b"").encode(out)));
    parts.push(vec![99]);
    parts.push(encoded(|out| alive("b", 1, &[10, 0, 0, 9], b"").encode(out)));
    let mut me = Node::new(quiet());
    me.packet(&compound(&parts));
    assert_eq!((me.row("a").is_some(), me.row("b").is_some()), (true, false));
    assert_eq!(me.swim.stats().dropped_malformed, 16);
    // Valid parts are limited, too: a compound has at most 255.
    let user = compound(&vec![b"\x08x".to_vec(); 255]);
    me.packet(&compound(&vec![user; 4]));
    assert_eq!(me.host.user.len(), 509, "512 with the compounds around them");
}

#[test]
fn a_flood_is_ten_log_lines_a_second_and_a_count() {
    // Goal: packets that no key decrypts, other garbage, wrong names; each for two seconds.
    let mut sealed = quiet();
    sealed.codec.keyring = Keyring::build(&[], &[7; 16]).unwrap();
    let wrong = Ping { seq_no: SeqNo(1), node: b"other", ..Ping::default() };
    for (config, datagram) in [
        (sealed, [&[1][..], &[9; 40]].concat()),
        (quiet(), vec![99]),
        (quiet(), encoded(|out| wrong.encode(out))),
    ] {
        let mut me = Node::new(config);
        let lines = lines_of(|| {
            for _ in 0..2_000 {
                receive(&mut me, peer(), &datagram);
                me.wait(Duration::from_millis(1));
            }
            me.wait(Duration::from_secs(2));
        });
        assert!((5..=20).contains(&lines.len()), "{} lines", lines.len());
        assert!(lines.iter().any(|line| line.starts_with("suppressed ")), "{lines:?}");
    }
}

#[test]
fn a_copy_of_an_encrypted_packet_is_dropped_for_a_minute() {
    for config in &wrappings()[2..] {
        for compress in [false, true] {
            let mut me = Node::new(config.clone());
            let datagram =
                wrapped(config, compress, 1, &[b"\x08".as_slice(), &[b'x'; 99]].concat());
            let mut broken = datagram.clone();
            *broken.last_mut().unwrap() ^= 1;
            receive(&mut me, peer(), &broken);
            assert_eq!(me.swim.stats().dropped_replays, 0, "no key has opened it");
            for _ in 0..3 {
                receive(&mut me, peer(), &datagram);
            }
            me.now += Duration::from_secs(59);
            receive(&mut me, "10.0.0.77:1".parse().unwrap(), &datagram);
            assert_eq!((me.host.user.len(), me.swim.stats().dropped_replays), (1, 3));
            // The same message sent again is a different packet.
            receive(&mut me, peer(), &wrapped(config, compress, 2, b"\x08y"));
            receive(&mut me, peer(), &wrapped(config, compress, 3, b"\x08y"));
            assert_eq!(me.host.user.len(), 3);
            me.now += Duration::from_secs(180);
            receive(&mut me, peer(), &datagram);
            assert_eq!(me.host.user.len(), 4);
        }
        let mut me = Node::new(Config { drop_replays: false, ..config.clone() });
        let datagram = wrapped(config, false, 1, b"\x08x");
        receive(&mut me, peer(), &datagram);
        receive(&mut me, peer(), &datagram);
        assert_eq!((me.host.user.len(), me.swim.stats().dropped_replays), (2, 0));
    }
    // In plaintext, equal packets are equal messages.
    let mut me = Node::new(quiet());
    me.packet(b"\x08x");
    me.packet(b"\x08x");
    assert_eq!(me.host.user.len(), 2);
}

#[test]
fn what_we_send_again_has_another_nonce() {
    let mut config = wrappings().remove(2);
    config.gossip_nodes = 4;
    let mut me = gossiping(&config);
    me.wait(Duration::from_secs(1));
    let sent = packets(&mut me);
    let distinct: std::collections::BTreeSet<_> = sent.iter().map(|(_, data)| data).collect();
    assert!(sent.len() > 5 && distinct.len() == sent.len());
}

#[test]
fn a_claim_to_an_address_does_not_end_its_owners() {
    let mut me = gossiping(&quiet());
    let from = "10.0.0.1:7946".parse().unwrap();
    let ping = encoded(|out| Ping { node: b"me", ..Ping::default() }.encode(out));
    let whole = |me: &mut Node| {
        receive(me, from, &ping);
        packets(me)[0].1.len() > 100
    };
    assert!(whole(&mut me));
    me.alive_at("x", 1, &[10, 0, 0, 1], b"");
    me.dead("x", 1, "x");
    me.alive_at("x", 2, &VICTIM, b"");
    assert!(whole(&mut me));
}

/// Goal: acks, answers and relays of the layer above, which are sent to any address in a message,
/// do not amplify the traffic of their sender.
#[test]
fn messages_of_the_layer_above_to_strangers_are_no_more_bytes_than_came_in() {
    let stranger: SocketAddr = "192.0.2.1:9".parse().unwrap();
    let sent = |me: &mut Node, to: SocketAddr, bytes: usize| {
        for _ in 0..2_000 {
            me.swim.send_user(to, &vec![7; bytes]);
        }
        let packets = me.outputs().into_iter().filter_map(|output| match output {
            Output::Packet { data, .. } => Some(data.len()),
            _ => None,
        });
        packets.fold((0, 0), |(count, sum), len| (count + 1, sum + len))
    };
    for config in wrappings() {
        let mut me = Node::new(config.clone());
        let mut message = Vec::new();
        alive("a", 1, &[10, 0, 0, 9], &[0; 400]).encode(&mut message);
        me.packet(&wrapped(&config, false, 0, &message));
        let member: SocketAddr = "10.0.0.9:7946".parse().unwrap();
        assert_eq!(sent(&mut me, member, 40).0, 2_000);
        let (packets, bytes) = sent(&mut me, stranger, 40);
        assert!((5..=20).contains(&packets) && bytes <= 2_048, "{packets} packets, {bytes} bytes");
        for seed in 1..10 {
            let datagram = wrapped(&config, false, seed, &message);
            me.packet(&datagram);
            let (packets, bytes) = sent(&mut me, stranger, 40);
            assert!(packets <= 4 && bytes <= datagram.len(), "{packets} packets, {bytes} bytes");
        }
        assert!(me.swim.stats().dropped_answers > 1_000);
    }
}
