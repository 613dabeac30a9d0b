//! Forged incarnations: no node can be silenced for good, and a name stays with its node.

use NodeStateKind::{Alive as Up, Dead as Down, Left};

use super::*;
use crate::wire::{NodeState, PushPull};

const LEAP: u32 = 1 << 24;

fn addr_of(name: &str) -> [u8; 4] {
    [10, 0, 0, if name == "me" { 1 } else { 9 }]
}

fn row<'a>(name: &'a str, incarnation: u32, state: i64, meta: &'a [u8]) -> NodeState<'a> {
    static ADDRESSES: [[u8; 4]; 2] = [[10, 0, 0, 1], [10, 0, 0, 9]];
    NodeState {
        name: name.as_bytes(),
        addr: ADDRESSES[usize::from(name != "me")].as_slice().into(),
        port: 7946,
        meta: meta.into(),
        incarnation: Incarnation(incarnation),
        state,
        vsn: VSN.as_slice().into(),
    }
}

/// Addresses of the push/pulls that were opened, each answered with `rows`.
fn answer_all(me: &mut Node, rows: &[NodeState<'_>]) -> Vec<SocketAddr> {
    let opened = me.outputs().into_iter().filter_map(|output| match output {
        Output::Open { id, to, .. } => Some((id, to)),
        _ => None,
    });
    let opened: Vec<_> = opened.collect();
    for (id, _) in &opened {
        let state = PushPull::from_rows(false, rows.iter().cloned(), bytes::Bytes::new());
        let input = StreamInput::Message(StreamMessage::PushPull(state));
        me.swim.handle_stream(me.now, *id, input, &mut me.host);
    }
    opened.into_iter().map(|(_, to)| to).collect()
}

/// A node that neither probes nor syncs by itself.
fn still() -> Node {
    let mut config = quiet();
    config.probe_interval = Duration::ZERO;
    config.push_pull_interval = Duration::ZERO;
    Node::new(config)
}

fn a() -> SocketAddr {
    SocketAddr::from((addr_of("a"), 7946))
}

#[test]
fn a_claim_about_us_that_a_peer_holds_is_outbid_however_far_it_is() {
    for claimed in [7, LEAP + 9, 1 << 31, u32::MAX - 1, u32::MAX] {
        for (state, meta) in [(0, b"evil".as_slice()), (1, b""), (2, b""), (3, b"")] {
            let mut me = still();
            me.swim.start_push_pull(me.now, a(), "", true, &mut me.host);
            assert_eq!(answer_all(&mut me, &[row("me", claimed, state, meta)]), [a()]);
            let above = claimed.saturating_add(1);
            assert_eq!(me.row("me"), Some((Up, above)), "claim {claimed}, state {state}");
            let sent: Vec<_> = me.swim.broadcasts().map(|(_, m)| m.to_vec()).collect();
            let Ok(Message::Alive(sent)) = Message::decode(&sent[0]) else { panic!("{sent:?}") };
            assert_eq!((sent.node, sent.incarnation.0), (b"me".as_slice(), above));
        }
    }
}

#[test]
fn others_raise_our_incarnation_slowly() {
    // Goal: for every kind of message that claims it, in any steps, from any unknown sender.
    let kinds: [fn(&mut Node, u32); 4] = [
        |me, claimed| me.suspect("me", claimed, "x"),
        |me, claimed| me.dead("me", claimed, "x"),
        |me, claimed| me.dead("me", claimed, "me"),
        |me, claimed| me.alive_at("me", claimed, &addr_of("me"), b"evil"),
    ];
    for (kind, claim) in kinds.into_iter().enumerate() {
        for step in [LEAP, LEAP / 3, 1 << 20] {
            let mut me = still();
            for _ in 0..512 {
                let (_, mine) = me.row("me").unwrap();
                claim(&mut me, mine.saturating_add(step));
                me.wait(Duration::from_millis(10));
            }
            let (state, mine) = me.row("me").unwrap();
            assert_eq!(state, Up, "kind {kind}");
            assert!(mine < 2 * LEAP, "kind {kind}: {mine} in steps of {step}");
            assert_eq!(me.swim.kept_incarnation().0, 1, "a restart does not go on with it");
        }
        let mut me = still();
        for claimed in [LEAP + 2, 1 << 31, u32::MAX - 1, u32::MAX] {
            claim(&mut me, claimed);
        }
        assert_eq!(me.row("me"), Some((Up, 1)), "kind {kind}");
    }
    let mut me = still();
    for incarnation in 1..=2_000 {
        me.suspect("me", incarnation, "x");
    }
    assert_eq!(me.swim.kept_incarnation().0, 2_001, "small steps are kept");
}

#[test]
fn a_far_claim_in_a_message_makes_us_ask_a_member_now_and_then() {
    let mut me = still();
    me.alive("a", 1);
    me.outputs();
    let mut asked = 0;
    for _ in 0..1_000 {
        me.suspect("me", u32::MAX - 7, "x");
        me.wait(Duration::from_millis(10));
        // It does not know the claim: we keep our incarnation.
        asked += answer_all(&mut me, &[row("me", 1, 0, b"")]).len();
    }
    assert!((4..=6).contains(&asked), "{asked} times in ten seconds");
    assert_eq!(me.row("me"), Some((Up, 1)));
    me.wait(Duration::from_secs(2));
    me.suspect("me", u32::MAX - 7, "x");
    me.wait(Duration::from_secs(2));
    answer_all(&mut me, &[row("me", u32::MAX - 7, 1, b"")]);
    assert_eq!(me.row("me"), Some((Up, u32::MAX - 6)), "it has: we go above");
}

#[test]
fn a_leap_of_another_is_believed_from_itself_alone() {
    let mut me = still();
    me.alive("a", 1);
    me.events();
    me.outputs();
    me.alive_at("a", LEAP + 2, &addr_of("a"), b"new");
    me.wait(Duration::from_millis(1));
    // Neither an answer of another node at that address nor a third node's claim is accepted.
    assert_eq!(answer_all(&mut me, &[row("b", 5, 0, b"")]), [a()]);
    assert_eq!(me.row("a"), Some((Up, 1)));
    me.swim.start_push_pull(me.now, peer(), "", false, &mut me.host);
    assert_eq!(answer_all(&mut me, &[row("a", LEAP + 2, 0, b"new")]), [peer()]);
    assert_eq!(me.row("a"), Some((Up, 1)));
    me.wait(Duration::from_secs(2));
    assert_eq!(answer_all(&mut me, &[row("a", LEAP + 2, 0, b"new")]), [a()]);
    assert_eq!(me.row("a"), Some((Up, LEAP + 2)));
    assert_eq!(me.events(), ["join b", "update a"]);
}

#[test]
fn at_the_end_of_the_range_a_node_still_speaks_for_itself() {
    let mut me = still();
    me.alive("a", u32::MAX);
    me.events();
    me.outputs();
    let says = |me: &mut Node, state, meta: &[u8]| {
        match state {
            0 => me.alive_at("a", u32::MAX, &addr_of("a"), meta),
            _ => me.dead("a", u32::MAX, "a"),
        }
        assert!(me.events().is_empty(), "a message alone changes nothing");
        me.wait(Duration::from_secs(2));
        assert_eq!(answer_all(me, &[row("a", u32::MAX, state, meta)]), [a()]);
        me.events()
    };
    assert_eq!(says(&mut me, 0, b"new tags"), ["update a"]);
    assert_eq!(says(&mut me, 3, b"new tags"), ["leave a Left"]);
    assert_eq!(me.row("a"), Some((Left, u32::MAX)));
    assert_eq!(says(&mut me, 0, b"restarted"), ["join a"]);
    // A claim that is already known is not verified.
    me.alive_at("a", u32::MAX, &addr_of("a"), b"restarted");
    me.wait(Duration::from_secs(4));
    assert!(answer_all(&mut me, &[]).is_empty());
}

#[test]
fn a_dead_node_at_the_end_of_the_range_comes_back() {
    let mut config = quiet();
    config.push_pull_interval = Duration::ZERO;
    config.gossip_to_the_dead_time = Duration::from_secs(600);
    let mut me = Node::new(config);
    me.alive("a", u32::MAX);
    me.wait(Duration::from_secs(20));
    assert_eq!(me.row("a"), Some((Down, u32::MAX)));
    me.outputs();
    me.alive_at("a", u32::MAX, &addr_of("a"), b"");
    me.wait(Duration::from_millis(1));
    assert_eq!(answer_all(&mut me, &[row("a", u32::MAX, 0, b"")]), [a()]);
    assert_eq!(me.row("a"), Some((Up, u32::MAX)));
}

#[test]
fn doubtful_claims_cost_one_exchange_in_two_seconds() {
    let mut me = still();
    for at in 0..200 {
        me.alive(&format!("n{at}"), 1);
    }
    me.outputs();
    for _ in 0..50 {
        for at in 0..200 {
            me.alive_at(&format!("n{at}"), 2 + LEAP, &addr_of("a"), b"");
        }
        me.wait(Duration::from_millis(200));
    }
    let opened = me.outputs().iter().filter(|o| matches!(o, Output::Open { .. })).count();
    assert!((5..=6).contains(&opened), "{opened} in ten seconds");
}

#[test]
fn the_few_are_notified_directly_of_joins_and_leaves() {
    for (others, direct) in [(1, 1), (3, 3), (10, 10), (11, 0)] {
        let mut me = still();
        for at in 0..others {
            me.alive_at(&format!("n{at}"), 1, &[10, 0, 1, at], b"");
        }
        me.dead("n0", 1, "x");
        me.alive_at("n0", 2, &[10, 0, 1, 0], b"");
        let sent = |me: &mut Node, what: &str| {
            me.sent().iter().filter(|text| text.starts_with(what)).count()
        };
        sent(&mut me, "");
        me.swim.start_push_pull(me.now, peer(), "", true, &mut me.host);
        let Some(id) = me.outputs().iter().find_map(|output| match output {
            Output::Open { id, .. } => Some(*id),
            _ => None,
        }) else {
            panic!("no push/pull")
        };
        let state = PushPull::from_rows(true, [], bytes::Bytes::new());
        let input = StreamInput::Message(StreamMessage::PushPull(state));
        me.swim.handle_stream(me.now, id, input, &mut me.host);
        assert_eq!(sent(&mut me, "alive me 1"), direct, "join, {others} others");
        me.swim.start_leave(me.now, &mut me.host);
        assert_eq!(sent(&mut me, "dead me 1 me"), direct, "leave, {others} others");
        me.swim.send_user_to_few(b"hello");
        assert_eq!(sent(&mut me, "user hello"), direct, "message, {others} others");
    }
}

#[test]
fn sequence_numbers_start_anywhere() {
    let first = |seed: u8| {
        let mut config = quiet();
        config.seq_no_start = None;
        config.seed = [seed; 32];
        let mut me = Node::new(config);
        me.alive("a", 1);
        me.wait(Duration::from_secs(2));
        let probed = me.outputs().into_iter().find_map(|output| {
            let Output::Packet { data, .. } = output else { return None };
            // Gossip announces it.
            let first = match Message::decode(&data) {
                Ok(Message::Compound(body)) => CompoundParts::parse(body).unwrap().next()?.unwrap(),
                Ok(_) | Err(_) => &data,
            };
            let Ok(Message::Ping(ping)) = Message::decode(first) else { return None };
            Some(ping.seq_no.0)
        });
        probed.expect("a probe")
    };
    assert_eq!(first(1), first(1), "the same seed is the same run");
    let far = (1..20).filter(|seed| first(*seed) > 1 << 16).count();
    assert!(far >= 15, "{far} of 19");
}

#[test]
fn the_layer_above_learns_what_protected_a_message() {
    let key = crate::wire::Keyring::build(&[], &[1; 16]).unwrap();
    for (keyring, verify, sealed, expected) in [
        (crate::wire::Keyring::default(), true, false, Some(Seal::NoKeys)),
        (key.clone(), false, false, Some(Seal::Clear)),
        (key.clone(), false, true, Some(Seal::Key)),
        (key.clone(), true, true, Some(Seal::Key)),
        (key, true, false, None),
    ] {
        let mut config = quiet();
        config.codec.keyring = keyring;
        config.codec.verify_incoming = verify;
        config.codec.verify_outgoing = sealed;
        let mut packet = Vec::new();
        let mut codec = PacketCodec::build(config.codec.clone()).unwrap();
        codec.seal(&mut Rng::from_u64(3), b"\x08hello", false, &mut packet);
        let mut me = Node::new(config);
        me.packet(&packet);
        assert_eq!(me.host.seals, expected.into_iter().collect::<Vec<_>>());
    }
}
