//! Excess and invalid messages of peers: refused by validation, limited afterwards, and never at
//! the cost of other peers.

use super::*;
use crate::{msgpack::Bin, serf::message::Query};

fn quiet() -> Node {
    let mut node = Node::new("me");
    node.events();
    node.gossip();
    node
}

/// Asserts that nothing was stored, forwarded, answered or delivered.
#[track_caller]
fn assert_untouched(node: &mut Node, what: &str) {
    assert!(
        node.state.cx.effects.outputs.is_empty(),
        "{what}: {:?}",
        node.state.cx.effects.outputs
    );
    assert!(
        node.state.cx.effects.actions.is_empty(),
        "{what}: {:?}",
        node.state.cx.effects.actions
    );
    assert_eq!(node.state.members.intents.len(), 0, "{what}");
    assert_eq!(node.state.queries.received.len(), 0, "{what}");
    assert!(node.gossip().is_empty(), "{what}");
}

fn query<'a>(ltime: u64) -> Query<'a> {
    Query {
        ltime: LamportTime(ltime),
        id: 1,
        addr: Bin::from(&[10, 0, 0, 9][..]),
        port: 7946,
        source_node: b"asker",
        flags: Query::ACK,
        timeout_ns: 1_000_000_000,
        name: b"q",
        ..Query::default()
    }
}

fn event<'a>(ltime: u64, name: &'a [u8], payload: &'a [u8]) -> Message<'a> {
    let (ltime, payload) = (LamportTime(ltime), payload.into());
    Message::UserEvent(message::UserEvent { ltime, name, payload, coalesce: false })
}

fn tag(expr: &str) -> Vec<u8> {
    let mut raw = Vec::new();
    let filter = crate::serf::Filter::Tag { tag: b"role", expr: expr.as_bytes() };
    MsgpackTransform.encode_filter(&filter, &mut raw);
    raw
}

/// Goal: a name, address or payload that no sender makes is refused on each path. Method: a valid
/// message of each kind passes, the same with one invalid field has no effect.
#[test]
fn fields_out_of_bounds_are_refused_on_each_path() {
    let giant = vec![b'x'; 70_000];
    let long = vec![b'x'; 256];
    let broken = [0xff; 255];
    let raw = |query: Query<'_>| encode(&Message::Query(query));
    let names: [&[u8]; 4] = [&giant, &long, &broken, b"a\nb"];
    let mut refused: Vec<(String, Vec<u8>)> = Vec::new();
    for name in names {
        let ltime = LamportTime(5);
        let show = format!("name of {} bytes", name.len());
        let leave = Leave { ltime, node: name, prune: true };
        let response = message::QueryResponse { ltime, from: name, ..Default::default() };
        let response = encode(&Message::QueryResponse(response));
        let addr = Bin::from(&[10, 0, 0, 9][..]);
        let relay = |dest_name, message| {
            encode(&Message::Relay(Relay {
                dest_addr: addr.clone(),
                dest_port: 7946,
                dest_name,
                message,
            }))
        };
        let mut query = query(5);
        query.source_node = name;
        let ack = encode(&Message::QueryResponse(message::QueryResponse::default()));
        for (what, raw) in [
            ("leave", encode(&Message::Leave(leave))),
            ("join", encode(&Message::Join(Join { ltime, node: name }))),
            ("source node", encode(&Message::Query(query))),
            ("answer", response.clone()),
            ("relay", relay(name, &ack)),
            ("relayed answer", relay(b"x", &response)),
        ] {
            refused.push((format!("{what}: {show}"), raw));
        }
    }
    let filters = vec![tag("x"); 65];
    let list: Vec<_> = filters.iter().map(|filter| Bin::from(&filter[..])).collect();
    for (what, raw) in [
        ("name of a query", raw(Query { name: &giant[..9_217], ..query(5) })),
        ("payload of a query", raw(Query { payload: Bin::from(&giant[..]), ..query(5) })),
        ("address of 5 bytes", raw(Query { addr: Bin::from(&[1; 5][..]), ..query(5) })),
        ("giant address", raw(Query { addr: Bin::from(&giant[..]), ..query(5) })),
        ("filters", raw(Query { filters: list.clone(), ..query(5) })),
        ("giant filter", raw(Query { filters: vec![Bin::from(&giant[..])], ..query(5) })),
        ("name of an event", encode(&event(5, &giant, b""))),
        ("payload of an event", encode(&event(5, b"e", &giant[..9_217]))),
    ] {
        refused.push((what.to_owned(), raw));
    }
    let count = |node: &Node| {
        let stats = node.state.cx.stats;
        stats.refused_sizes + stats.refused_names + stats.refused_addresses + stats.refused_filters
    };
    for (what, raw) in refused {
        let mut node = quiet();
        node.state.on_user_message(&raw, origin());
        assert_untouched(&mut node, &what);
        assert_eq!(count(&node), 1, "{what}");
        assert_eq!(node.state.cx.clocks.event.time(), LamportTime(1), "{what}");
        assert_eq!(node.state.cx.clocks.query.time(), LamportTime(1), "{what}");
    }
    for raw in [raw(query(5)), raw(Query { filters: list[1..].to_vec(), ..query(5) })] {
        let mut node = quiet();
        node.state.on_user_message(&raw, origin());
        assert_eq!(count(&node), 0);
        assert_eq!(node.gossip().len(), 1);
    }
}

#[test]
fn odd_parts_of_a_push_pull_are_left_out_and_the_rest_is_merged() {
    let mut node = quiet();
    let giant = vec![b'x'; 300_000];
    let recent = |name| message::RecentEvent { name, payload: Bin::NIL };
    let state = PushPull {
        ltime: LamportTime(9),
        status_ltimes: vec![
            (&giant, LamportTime(5)),
            (b"a", LamportTime(6)),
            (b"\xff", LamportTime(7)),
        ],
        left_members: vec![&giant, b"b", b"\xfe"],
        event_ltime: LamportTime(9),
        events: vec![Some(UserEvents {
            ltime: LamportTime(8),
            events: vec![recent(&giant), recent(b"fine")],
        })],
        query_ltime: LamportTime(9),
    };
    node.state.merge_remote_state(&encode(&Message::PushPull(state)), exchange(false));
    assert_eq!(node.events(), ["user 8 fine "]);
    assert_eq!(node.state.members.intents.len(), 2);
    assert!(
        node.state.members.intents.get("a").is_some()
            && node.state.members.intents.get("b").is_some()
    );
    assert_eq!(node.state.cx.stats.refused_names, 3);
    assert_eq!(node.state.cx.stats.refused_sizes, 1);
}

#[test]
fn a_name_counts_once_in_a_push_pull() {
    let mut node = quiet();
    let state = PushPull {
        status_ltimes: (0..100_000).map(|n| (&b"x"[..], LamportTime(n % 7))).collect(),
        left_members: vec![b"y"; 100_000],
        ..PushPull::default()
    };
    node.state.merge_remote_state(&encode(&Message::PushPull(state)), exchange(false));
    assert_eq!(node.state.cx.effects.actions.len(), 1, "one look for a pruned member");
    assert_eq!(node.state.members.intents.len(), 2);
    assert_eq!(node.state.members.intents.get("x").unwrap().ltime, LamportTime(6));
    let many: Vec<_> = (0..90_000).map(|n| n.to_string()).collect();
    let state = PushPull {
        status_ltimes: many.iter().map(|name| (name.as_bytes(), LamportTime(9))).collect(),
        ..PushPull::default()
    };
    node.state.merge_remote_state(&encode(&Message::PushPull(state)), exchange(false));
    assert!(
        node.state.cx.effects.actions.len() < 70_000,
        "{}",
        node.state.cx.effects.actions.len()
    );
}

#[test]
fn what_fits_no_packet_is_delivered_and_not_gossiped() {
    let mut node = quiet();
    node.receive(&event(5, b"large", &[0; 1_500]));
    let names = vec![b"another-node-of-this-cluster".as_slice(); 100];
    let mut filter = Vec::new();
    MsgpackTransform.encode_filter(&crate::serf::Filter::Nodes(names), &mut filter);
    let mut large = query(5);
    large.filters = vec![Bin::from(&filter[..])];
    node.receive(&Message::Query(large));
    assert_eq!(node.events().len(), 1);
    assert!(node.gossip().is_empty());
    assert_eq!(node.state.cx.stats.dropped_broadcasts, 2);
    let mut node = Node::with("me", |config| config.user_event_size_limit = 9_216);
    node.events();
    node.state.user_event("ours", &[0; 8_000], false).unwrap();
    assert_eq!(node.events().len(), 1);
    assert!(node.gossip().is_empty());
    let ring = node.state.events.ring.to_message();
    assert_eq!(ring.iter().flatten().count(), 1, "push/pulls carry it");
}

/// Number of packets until one contains `wanted`.
fn packets_until(node: &mut Node, wanted: &[u8]) -> usize {
    for packet in 1..=1_000 {
        let mut found = false;
        node.state.take_broadcasts(3, 1_396, 1, &mut |message| found |= message == wanted);
        if found {
            return packet;
        }
    }
    panic!("it was never sent")
}

/// Goal: whatever the size of the messages that fill a queue, our own messages and small ones of
/// others are sent at once.
#[test]
fn a_flood_of_messages_that_fit_silences_nobody() {
    for size in [1_300, 300, 10] {
        let mut node = quiet();
        node.join("other");
        for n in 0..5_000_u64 {
            let id = format!("{n:06}");
            let payload = vec![b'j'; size];
            node.receive(&event(10 + n / 1_000, id.as_bytes(), &payload));
            node.receive(&Message::Query(Query {
                name: id.as_bytes(),
                payload: Bin::from(&payload[..]),
                id: n as u32,
                flags: 0,
                ..query(10 + n / 1_000)
            }));
            node.leave_intent(10, &format!("{id}{}", "j".repeat(size.min(200))), false);
            node.state.cx.effects.outputs.clear();
        }
        node.state.user_event("ours", b"small", false).unwrap();
        let ours = node.state.broadcasts.events.len();
        assert!(ours > 4_000, "{ours} events wait");
        let raw = encode(&event(node.state.cx.clocks.event.time().0 - 1, b"ours", b"small"));
        assert!(packets_until(&mut node, &raw) <= 2, "own event among junk of {size} bytes");
        let theirs = encode(&event(30, b"theirs", b""));
        node.state.on_user_message(&theirs, origin());
        let packets = packets_until(&mut node, &theirs);
        assert!(packets <= 2 || size < 20, "{packets} packets for theirs, junk of {size} bytes");
        node.state.broadcast_join();
        let join =
            Join { ltime: node.state.members.table.get("me").unwrap().status_ltime, node: b"me" };
        assert!(packets_until(&mut node, &encode(&Message::Join(join))) <= 2);
    }
}

#[test]
fn queries_can_be_answered_until_their_deadline_and_a_day_at_most() {
    let mut node = quiet();
    let ask = |node: &mut Node, ltime: u64, timeout_ns: i64| {
        node.receive(&Message::Query(Query { timeout_ns, ..query(ltime) }));
        QueryId { ltime: LamportTime(ltime), id: 1 }
    };
    let short = ask(&mut node, 1, 1_000_000_000);
    let long = ask(&mut node, 2, i64::MAX);
    assert_eq!(node.state.queries.received.len(), 2);
    node.advance(Duration::from_secs(31));
    assert_eq!(node.state.queries.received.len(), 1, "the queue check forgets what is over");
    assert!(node.state.respond(short, b"").is_err());
    // Those with the latest deadlines are evicted for others.
    for ltime in 10..10_000 {
        ask(&mut node, ltime, 2_000_000_000);
        node.gossip();
        node.state.cx.effects.actions.clear();
    }
    assert!(node.state.queries.received.len() <= 4_096);
    assert!(node.state.respond(long, b"").is_err());
    node.advance(Duration::from_secs(24 * 3_600));
    assert_eq!(node.state.queries.received.len(), 0);
}

/// Goal: expressions of peers keep the engine busy for at most a few milliseconds, and the next
/// ordinary query is answered. Method: counts work units, as a clock would make the test depend on
/// the machine.
#[test]
fn expensive_expressions_match_nobody_and_ordinary_ones_go_on() {
    let mut node = quiet();
    let now = node.now;
    let full = node.state.queries.filters.work.at(now).0;
    let ask = |node: &mut Node, ltime: u64, expr: &dyn Fn(usize) -> String, count: usize| {
        let filters: Vec<_> = (0..count).map(|n| tag(&expr(n))).collect();
        let filters = filters.iter().map(|filter| Bin::from(&filter[..])).collect();
        node.receive(&Message::Query(Query { filters, ..query(ltime) }));
        node.gossip();
        node.state.cx.effects.actions.clear();
        node.events().len()
    };
    for ltime in 1..=6 {
        let matched = ask(&mut node, ltime, &|n| format!("(?i)[\\pL]{{0,20}}x{n}{ltime}|"), 64);
        assert_eq!(matched, 0);
    }
    assert!(node.state.queries.filters.work.at(now).0 < full / 4, "all of it was charged");
    assert!(node.state.cx.stats.refused_filters > 0);
    node.advance(Duration::from_millis(50));
    assert_eq!(ask(&mut node, 20, &|_| "^(web|)$".to_owned(), 1), 1);
    // Names are compared first: queries for other nodes cost nothing.
    let before = node.state.queries.filters.work.at(node.now).0;
    let mut names = Vec::new();
    let filter = crate::serf::Filter::Nodes(vec![b"other"]);
    MsgpackTransform.encode_filter(&filter, &mut names);
    let expensive = tag("\\pL{0,50}|");
    let filters = vec![Bin::from(&expensive[..]), Bin::from(&names[..])];
    node.receive(&Message::Query(Query { filters, ..query(21) }));
    assert_eq!(node.state.queries.filters.work.at(node.now).0, before);
}

#[test]
fn a_flood_of_queries_leaves_room_for_those_of_later_times() {
    let mut node = quiet();
    for id in 0..265_000 {
        let filters = vec![Bin::from(&[9][..])];
        node.receive(&Message::Query(Query { id, filters, flags: 2, ..query(7) }));
    }
    assert!(node.state.cx.stats.dropped_queries > 2_000);
    assert!(node.events().is_empty());
    node.receive(&Message::Query(query(8)));
    node.receive(&Message::Query(query(8)));
    assert_eq!(node.events(), ["query q"]);
}
