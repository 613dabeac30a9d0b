//! One engine; one rule for each test.

use NodeStateKind::{Alive as Up, Dead as Down, Left, Suspect as Suspected};

use super::*;
use crate::wire::{IndirectPing, Nack, Ping, SeqNo};

#[test]
fn first_alive_joins_and_is_gossiped_on() {
    let mut me = Node::new(quiet());
    me.alive("a", 1);
    assert_eq!(me.row("a"), Some((Up, 1)));
    assert_eq!(me.events(), ["join a"]);
    me.wait(Duration::from_millis(400));
    assert!(me.sent().contains(&"alive a 1".to_owned()));
}

#[test]
fn alive_of_equal_or_lower_incarnation_is_ignored_and_higher_with_new_meta_updates() {
    let mut me = Node::new(quiet());
    me.alive("a", 5);
    me.alive_at("a", 5, &[10, 0, 0, 9], b"x");
    me.alive_at("a", 4, &[10, 0, 0, 9], b"x");
    assert_eq!(me.events(), ["join a"]);
    me.alive_at("a", 6, &[10, 0, 0, 9], b"x");
    assert_eq!(me.events(), ["update a"]);
    me.alive_at("a", 7, &[10, 0, 0, 9], b"x");
    assert!(me.events().is_empty());
    assert_eq!(me.row("a"), Some((Up, 7)));
}

#[test]
fn first_alive_of_incarnation_zero_is_listed_dead_without_an_event() {
    let mut me = Node::new(quiet());
    me.alive("a", 0);
    assert_eq!(me.row("a"), Some((Down, 0)));
    assert!(me.events().is_empty());
}

#[test]
fn alive_never_revives_at_the_same_incarnation_but_does_at_the_next() {
    // Without probes, whose own suspicions would mask the first one's effect.
    let mut me = Node::new(Config { probe_interval: Duration::ZERO, ..quiet() });
    me.alive("a", 1);
    me.suspect("a", 1, "b");
    me.alive("a", 1);
    assert_eq!(me.row("a"), Some((Suspected, 1)));
    me.events();
    me.alive("a", 2);
    assert_eq!(me.row("a"), Some((Up, 2)));
    assert!(me.events().is_empty(), "suspect to alive is no event");
    me.wait(Duration::from_secs(60));
    assert_eq!(me.row("a"), Some((Up, 2)), "the suspicion of before has no effect any more");
    assert!(me.events().is_empty());
}

#[test]
fn another_address_is_a_conflict_for_a_live_node() {
    let mut me = Node::new(quiet());
    me.alive("a", 1);
    me.events();
    me.alive_at("a", 9, &[10, 0, 0, 8], b"");
    assert_eq!(me.events(), ["conflict a [10, 0, 0, 8]"]);
    assert_eq!(me.row("a"), Some((Up, 1)));
    // Go compares bytes: the long form of the same address conflicts, too.
    me.alive_at("a", 9, &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 10, 0, 0, 9], b"");
    assert_eq!(me.events().len(), 1);
}

#[test]
fn another_address_takes_over_a_left_name_at_any_incarnation() {
    let mut me = Node::new(quiet());
    me.alive("a", 7);
    me.dead("a", 7, "a");
    assert_eq!(me.row("a"), Some((Left, 7)));
    me.events();
    me.alive_at("a", 1, &[10, 0, 0, 8], b"");
    assert_eq!(me.row("a"), Some((Up, 1)));
    assert_eq!(me.events(), ["join a"]);
}

#[test]
fn another_address_takes_over_a_dead_name_only_after_the_reclaim_time() {
    for (reclaim, wait, taken) in [(0, 20, false), (10, 9, false), (10, 11, true)] {
        let mut config = quiet();
        config.dead_node_reclaim_time = Duration::from_secs(reclaim);
        let mut me = Node::new(config);
        me.alive("a", 7);
        me.dead("a", 7, "b");
        me.wait(Duration::from_secs(wait));
        me.alive_at("a", 1, &[10, 0, 0, 8], b"");
        assert_eq!(me.row("a").map(|row| row.0 == Up), Some(taken), "{reclaim} s, {wait} s");
    }
}

#[test]
fn accusations_of_us_are_refuted_above_their_incarnation() {
    let mut me = Node::new(quiet());
    me.suspect("me", 5, "b");
    assert_eq!(me.row("me"), Some((Up, 6)));
    me.dead("me", 9, "b");
    assert_eq!(me.row("me"), Some((Up, 10)));
    assert_eq!(me.swim.health_score(), 2);
    me.alive("a", 1);
    me.wait(Duration::from_millis(400));
    assert!(me.sent().contains(&"alive me 10".to_owned()));
}

#[test]
fn alive_about_us_is_refuted_if_anything_differs() {
    let mut me = Node::new(quiet());
    let here = [10, 0, 0, 1];
    me.alive_at("me", 1, &here, b"");
    assert_eq!(me.row("me"), Some((Up, 1)), "it is what we said");
    me.alive_at("me", 1, &here, b"other");
    assert_eq!(me.row("me"), Some((Up, 2)));
    me.alive_at("me", 8, &here, b"");
    assert_eq!(me.row("me"), Some((Up, 9)));
    me.alive_at("me", 20, &[10, 0, 0, 2], b"");
    assert_eq!(me.row("me"), Some((Up, 9)), "another address is a conflict");
    assert_eq!(me.events(), ["conflict me [10, 0, 0, 2]"]);
}

#[test]
fn the_last_incarnation_evicts_nobody() {
    let mut me = Node::new(quiet());
    me.alive("a", 1);
    for incarnation in [u32::MAX, u32::MAX - 1] {
        for name in ["me", "a"] {
            me.suspect(name, incarnation, "b");
            me.dead(name, incarnation, "b");
            me.dead(name, incarnation, name);
        }
    }
    assert_eq!(me.row("me").map(|row| row.0), Some(Up));
    assert_eq!(me.row("a"), Some((Up, 1)));
}

#[test]
fn a_node_at_the_last_incarnation_can_still_be_found_dead_by_our_own_probe() {
    let mut me = Node::new(quiet());
    me.alive("a", u32::MAX);
    me.dead("a", u32::MAX, "b");
    assert_eq!(me.row("a"), Some((Up, u32::MAX)));
    me.wait(Duration::from_secs(20));
    assert_eq!(me.row("a"), Some((Down, u32::MAX)));
}

#[test]
fn dead_needs_an_incarnation_not_below_and_comes_once() {
    let mut me = Node::new(quiet());
    me.alive("a", 5);
    me.events();
    me.dead("a", 4, "b");
    assert!(me.events().is_empty());
    me.dead("a", 5, "b");
    me.dead("a", 6, "a");
    assert_eq!(me.events(), ["leave a Dead"]);
    assert_eq!(me.row("a").map(|row| row.0), Some(Down), "dead never turns into left");
    me.alive("a", 6);
    assert_eq!(me.row("a").map(|row| row.0), Some(Down), "late evidence holds");
    me.alive("a", 7);
    assert_eq!(me.row("a"), Some((Up, 7)));
}

#[test]
fn unknown_names_are_neither_suspected_nor_dead() {
    let mut me = Node::new(quiet());
    me.suspect("x", 1, "b");
    me.dead("x", 1, "b");
    assert!(me.row("x").is_none());
    assert_eq!((me.swim.node_count(), me.swim.stats().msg_dead), (1, 0));
}

#[test]
fn names_that_break_a_line_are_not_admitted() {
    let mut me = Node::new(quiet());
    let long = "x".repeat(256);
    for name in ["", "a\nb", "a\u{7f}", long.as_str()] {
        me.alive(name, 1);
    }
    assert_eq!((me.swim.node_count(), me.swim.stats().dropped_inadmissible), (1, 4));
    me.alive("näme", 1);
    assert_eq!(me.swim.node_count(), 2);
}

#[test]
fn suspicion_runs_out_after_the_shortest_time_in_a_tiny_cluster() {
    let mut config = quiet();
    config.probe_interval = Duration::from_secs(1);
    let mut me = Node::new(config);
    me.alive("a", 3);
    me.suspect("a", 3, "b");
    me.events();
    me.wait(Duration::from_millis(3_999));
    assert_eq!(me.row("a"), Some((Suspected, 3)));
    me.wait(Duration::from_millis(2));
    assert_eq!(me.row("a"), Some((Down, 3)));
    assert_eq!(me.events(), ["leave a Dead"]);
    assert!(me.sent().contains(&"suspect a 3 b".to_owned()));
}

#[test]
fn suspect_is_gossiped_again_only_for_a_new_accuser() {
    let mut me = Node::new(quiet());
    for name in ["a", "b", "c", "d", "e", "f"] {
        me.alive(name, 1);
    }
    let queued = |me: &Node| me.swim.stats().msg_suspect;
    me.suspect("a", 1, "b");
    me.suspect("a", 1, "b");
    assert_eq!(queued(&me), 1);
    me.suspect("a", 1, "c");
    me.suspect("a", 1, "d");
    // With two confirmations the shortest timeout applies.
    me.wait(Duration::from_millis(4_100));
    assert_eq!(me.row("a").map(|row| row.0), Some(Down));
}

#[test]
fn networks_that_are_not_allowed_are_kept_out_by_source_and_by_address() {
    let mut config = quiet();
    config.cidrs_allowed =
        vec![super::super::Cidr { addr: "10.0.0.0".parse().unwrap(), prefix: 24 }];
    let mut me = Node::new(config);
    me.alive_at("far", 1, &[10, 1, 0, 1], b"");
    me.alive_at("none", 1, &[], b"");
    let mut message = Vec::new();
    alive("near", 1, &[10, 0, 0, 3], b"").encode(&mut message);
    let foreign = "192.168.0.1:1".parse().unwrap();
    me.swim.handle_packet(me.now, foreign, &message, &mut me.host);
    me.swim.handle_queued(me.now, &mut me.host);
    assert_eq!(me.swim.node_count(), 1);
    me.packet(&message);
    assert_eq!(me.swim.node_count(), 2);
}

#[test]
fn port_zero_means_our_bind_port() {
    let mut config = quiet();
    config.bind_port = 1234;
    let mut me = Node::new(config);
    me.send(|out| Alive { port: 0, ..alive("a", 1, &[10, 0, 0, 9], b"") }.encode(out));
    assert_eq!(me.swim.node("a").unwrap().port, 1234);
}

#[test]
fn versions_are_checked_and_kept_byte_for_byte() {
    let mut me = Node::new(quiet());
    let mut send = |name: &str, vsn: &[u8]| {
        me.send(|out| {
            Alive { vsn: vsn.into(), ..alive(name, 1, &[10, 0, 0, 9], b"") }.encode(out);
        });
        me.swim.node(name).map(|node| node.vsn.0)
    };
    assert_eq!(send("zero", &[0, 5, 2, 0, 0, 0]), None);
    assert_eq!(send("order", &[4, 3, 3, 0, 0, 0]), None);
    assert_eq!(send("odd", &[1, 4, 3, 0, 9, 0]), Some([1, 4, 3, 0, 9, 0]));
    assert_eq!(send("long", &[1, 5, 2, 0, 0, 0, 9]), Some([1, 5, 2, 0, 0, 0]));
    assert_eq!(send("short", &[1, 5]), None);
}

#[test]
fn the_alive_filter_can_refuse() {
    let mut config = quiet();
    config.filter_alive = true;
    let mut me = Node::new(config);
    me.host.veto = Some("no".into());
    me.alive("a", 1);
    assert!(me.row("a").is_none());
    me.host.veto = None;
    me.alive("a", 1);
    assert_eq!(me.row("a"), Some((Up, 1)));
}

#[test]
fn pings_are_answered_to_the_named_source_or_else_to_the_sender() {
    let mut me = Node::new(quiet());
    let ping = Ping { seq_no: SeqNo(7), node: b"me", ..Ping::default() };
    me.send(|out| ping.encode(out));
    me.alive_at("b", 1, &[10, 0, 0, 3], b"");
    let source_addr = [10, 0, 0, 3].as_slice().into();
    let source = Ping { source_addr, source_port: 7946, ..ping };
    me.send(|out| source.encode(out));
    let to: Vec<_> = me
        .outputs()
        .iter()
        .map(|output| match output {
            Output::Packet { to, .. } => *to,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(to, [peer(), "10.0.0.3:7946".parse().unwrap()]);
    me.send(|out| Ping { node: b"other", ..source }.encode(out));
    assert!(me.outputs().is_empty(), "not for us");
}

#[test]
fn an_indirect_ping_is_relayed_and_answered_with_a_nack_in_time() {
    let mut me = Node::new(quiet());
    let request = IndirectPing {
        seq_no: SeqNo(99),
        target: [10, 0, 0, 5].as_slice().into(),
        port: 7946,
        node: b"t",
        nack: true,
        ..IndirectPing::default()
    };
    me.send(|out| request.encode(out));
    assert!(me.sent().contains(&"ping t".to_owned()));
    me.wait(Duration::from_millis(501));
    assert!(me.sent().contains(&"nack 99".to_owned()));
}

#[test]
fn missing_nacks_lower_our_health_and_received_ones_do_not() {
    for (nacks, score) in [(0, 3), (2, 1), (3, 0)] {
        let mut config = quiet();
        config.gossip_interval = Duration::ZERO;
        let mut me = Node::new(config);
        for name in ["a", "b", "c", "d"] {
            me.alive(name, 1);
        }
        // The first probe, then its indirect phase.
        while !me.sent().iter().any(|text| text.starts_with("indirect")) {
            me.wait(Duration::from_millis(10));
        }
        for _ in 0..nacks {
            me.send(|out| Nack { seq_no: SeqNo(1) }.encode(out));
        }
        me.wait(Duration::from_millis(510));
        assert_eq!(me.swim.health_score(), score, "{nacks} nacks");
    }
}

#[test]
fn compounds_nest_up_to_a_depth_and_broken_ones_harm_nobody() {
    let mut inner = Vec::new();
    alive("a", 1, &[10, 0, 0, 9], b"").encode(&mut inner);
    let mut me = Node::new(quiet());
    for depth in 1..20 {
        let mut outer = Vec::new();
        encode_compound(&[&inner], &mut outer);
        inner = outer;
        let mut fresh = Node::new(quiet());
        fresh.packet(&inner);
        assert_eq!(fresh.row("a").is_some(), depth <= 8, "depth {depth}");
        inner.pop();
        me.packet(&inner);
        inner.push(0);
    }
    assert!(me.swim.stats().dropped_malformed > 0);
}

#[test]
fn a_packet_that_unpacks_without_end_is_cut_off() {
    // Goal: compressed compounds of compressed compounds multiply by hundreds at each level.
    let mut codec_config = quiet().codec;
    codec_config.compression = true.into();
    let mut codec = PacketCodec::build(codec_config).unwrap();
    let mut message = b"\x08".repeat(60_000);
    for _ in 0..4 {
        let mut packed = Vec::new();
        codec.seal(&mut Rng::from_u64(1), &message, false, &mut packed);
        let copies = (60_000 / packed.len()).clamp(1, 255);
        message.clear();
        encode_compound(&vec![packed; copies], &mut message);
    }
    let mut me = Node::new(quiet());
    me.packet(&message);
    assert!(me.host.user.len() <= 5, "{} copies were unpacked", me.host.user.len());
}

#[test]
fn a_datagram_of_another_label_is_dropped() {
    let mut config = quiet();
    config.codec.label = b"dc1".to_vec();
    let mut me = Node::new(config);
    me.alive("a", 1);
    assert_eq!((me.swim.node_count(), me.swim.stats().dropped_malformed), (1, 1));
}

#[test]
fn leaving_is_done_at_once_when_alone_and_else_at_the_transmit_limit() {
    let mut me = Node::new(quiet());
    me.swim.start_leave(me.now, &mut me.host);
    assert!(me.outputs().is_empty());
    assert!(matches!(&me.done()[..], [(_, Ok(()))]));

    let mut me = Node::new(quiet());
    me.alive("a", 1);
    me.swim.start_leave(me.now, &mut me.host);
    assert!(me.done().is_empty());
    me.wait(Duration::from_secs(2));
    assert!(matches!(&me.done()[..], [(_, Ok(()))]));
    assert_eq!(me.row("me"), Some((Left, 1)));
    me.alive_at("me", 9, &[10, 0, 0, 1], b"");
    assert_eq!(me.row("me"), Some((Left, 1)), "what others say about us no longer matters");
    me.send(|out| Ping { seq_no: SeqNo(1), node: b"me", ..Ping::default() }.encode(out));
    assert!(me.sent().iter().any(|text| text.starts_with("ack 1")));
}

#[test]
fn an_update_announces_new_meta_with_the_next_incarnation() {
    let mut me = Node::new(quiet());
    me.host.meta = b"new".to_vec();
    me.swim.start_update(me.now, &mut me.host);
    assert_eq!(me.row("me"), Some((Up, 2)));
    assert_eq!(me.events(), ["update me"]);
    me.host.meta = vec![0; 513];
    me.swim.start_update(me.now, &mut me.host);
    assert!(me.done().iter().any(|(_, end)| end.is_err()));
}

#[test]
fn broadcasts_of_the_layer_above_ride_along() {
    let mut me = Node::new(quiet());
    me.alive("a", 1);
    me.host.broadcasts = vec![b"hello".to_vec()];
    me.wait(Duration::from_millis(400));
    assert!(me.sent().contains(&"user hello".to_owned()));
    me.packet(b"\x08hi");
    assert_eq!(me.host.user, [b"hi"]);
}

#[test]
fn the_dead_are_reaped_after_a_while_and_left_ones_too() {
    let mut me = Node::new(quiet());
    for name in ["a", "b"] {
        me.alive(name, 1);
    }
    me.dead("a", 1, "x");
    me.dead("b", 1, "b");
    me.wait(Duration::from_secs(29));
    assert_eq!(me.swim.node_count(), 3);
    me.wait(Duration::from_secs(6));
    assert_eq!(me.swim.node_count(), 1);
}
