//! Queries: who answers, how often, size and time limits; key queries and the name vote.

use super::{network::Net, *};

fn params() -> QueryParams {
    QueryParams { request_ack: true, ..QueryParams::default() }
}

fn ask(net: &mut Net, params: &QueryParams) -> QueryId {
    ask_named(net, "uptime", params).unwrap()
}

fn ask_named(net: &mut Net, name: &str, params: &QueryParams) -> Result<QueryId, Error> {
    let count = net.nodes.len();
    net.nodes[0].state.ask(count, name, b"now", params, Asker::User)
}

/// The updates received by the asker, abbreviated.
fn heard(node: &mut Node) -> Vec<String> {
    let updates = node.state.cx.effects.outputs.drain(..).filter_map(|output| match output {
        Output::Query { update, .. } => Some(update),
        _ => None,
    });
    let text = |update| match update {
        QueryUpdate::Ack { from } => format!("ack {from}"),
        QueryUpdate::Response { from, payload } => {
            format!("{from}: {}", String::from_utf8_lossy(&payload))
        }
        QueryUpdate::Finished { missing } => format!("missing {missing:?}"),
    };
    updates.map(text).collect()
}

fn queried(node: &mut Node) -> Vec<QueryId> {
    let events = node.state.cx.effects.outputs.iter().filter_map(|output| match output {
        Output::Event(Event::Query(query)) => Some(query.id),
        _ => None,
    });
    events.collect()
}

#[test]
fn everybody_acks_and_answers_once() {
    let mut net = Net::new(3);
    let id = ask(&mut net, &params());
    net.pump();
    assert_eq!(heard(&mut net.nodes[0]), ["ack n0", "ack n1", "ack n2"]);
    for at in [1, 2] {
        let node = &mut net.nodes[at];
        assert_eq!(queried(node), [id]);
        node.state.respond(id, b"3 days").unwrap();
        let again = node.state.respond(id, b"again").unwrap_err().go_text();
        assert_eq!(again, "failed to respond to key query: response already sent");
    }
    net.pump();
    assert_eq!(heard(&mut net.nodes[0]), ["n1: 3 days", "n2: 3 days"]);
    net.advance(Duration::from_secs(4));
    assert_eq!(heard(&mut net.nodes[0]), ["missing []"]);
    assert!(net.nodes[0].state.queries.asked.deadline(id).is_none());
}

#[test]
fn those_that_keep_silent_are_named() {
    let mut net = Net::new(4);
    net.cut.push(2);
    ask(&mut net, &QueryParams { filter_nodes: vec!["n1".into(), "n2".into()], ..params() });
    net.pump();
    net.advance(Duration::from_secs(4));
    assert_eq!(heard(&mut net.nodes[0]), ["ack n1", "missing [\"n2\"]"]);
}

#[test]
fn filters_are_anded_and_the_filtered_gossip_on() {
    for (nodes, tags, expected) in [
        (&["n1"][..], &[][..], vec!["n1"]),
        (&[], &[("role", "^w.b$")], vec!["n1", "n2"]),
        (&["n2", "n0"], &[("role", "web")], vec!["n2"]),
        (&[], &[("missing", "^$")], vec!["n0", "n1", "n2"]),
        (&[], &[("role", "(")], vec![]),
        (&["N1"], &[], vec![]),
    ] {
        let mut net = Net::new(3);
        for at in [1, 2] {
            net.nodes[at].state.cx.tags = Tags::from_pairs([("role".into(), "web".into())]);
        }
        let filter_tags =
            tags.iter().map(|(tag, expr)| (tag.to_string(), expr.to_string())).collect();
        let filter_nodes = nodes.iter().map(|name| name.to_string()).collect();
        let query = QueryParams { filter_nodes, filter_tags, ..params() };
        ask(&mut net, &query);
        let gossiped = net.nodes[0].gossip();
        for node in &mut net.nodes[1..] {
            node.state.on_user_message(&gossiped[0], origin());
            assert_eq!(node.gossip(), gossiped, "gossiped on whether it matches or not");
        }
        net.pump();
        let acks: Vec<_> =
            heard(&mut net.nodes[0]).iter().map(|ack| ack.replace("ack ", "")).collect();
        assert_eq!(acks, expected, "{nodes:?} {tags:?}");
    }
}

#[test]
fn empty_and_unknown_filters_match_nobody() {
    for filter in [&b""[..], &[9, 0x80], &[0], &[1, 0xff]] {
        let mut node = Node::new("me");
        node.events();
        let query = message::Query {
            ltime: LamportTime(1),
            addr: [10, 0, 0, 9][..].into(),
            filters: vec![filter.into()],
            flags: message::Query::ACK,
            timeout_ns: 1_000_000_000,
            ..message::Query::default()
        };
        node.receive(&Message::Query(query));
        assert!(node.events().is_empty() && node.state.cx.effects.actions.is_empty());
        assert_eq!(node.gossip().len(), 1);
    }
}

#[test]
fn no_broadcast_flag_stops_the_gossip() {
    let mut node = Node::new("me");
    let query = message::Query {
        ltime: LamportTime(1),
        flags: message::Query::NO_BROADCAST,
        ..message::Query::default()
    };
    node.receive(&Message::Query(query));
    assert!(node.gossip().is_empty());
    assert_eq!(node.events().last().unwrap(), "query ");
}

#[test]
fn query_is_processed_once_and_never_when_old() {
    let mut node = Node::new("me");
    node.events();
    let query = |ltime, id| {
        let query = message::Query { ltime: LamportTime(ltime), id, ..message::Query::default() };
        Message::Query(query)
    };
    for (ltime, id) in [(1000, 1), (1000, 1), (1000, 2), (489, 1), (488, 1)] {
        node.receive(&query(ltime, id));
    }
    assert_eq!(node.events().len(), 3);
    assert_eq!(node.state.cx.clocks.query.time(), LamportTime(1001));
}

#[test]
fn limits_have_go_s_texts() {
    let mut net = Net::new(2);
    let now = net.nodes[0].now;
    let long = "x".repeat(1024);
    let error = ask_named(&mut net, &long, &params()).unwrap_err();
    assert_eq!(error.to_string(), "query exceeds limit of 1024 bytes");
    assert_eq!(net.nodes[0].state.cx.clocks.query.time(), LamportTime(1));
    let id = ask(&mut net, &params());
    net.pump();
    let node = &mut net.nodes[1];
    let error = node.state.respond(id, &[0; 1024]).unwrap_err().go_text();
    let text = "failed to respond to key query: response exceeds limit of 1024 bytes";
    assert_eq!(error, text);
    let late = now + Duration::from_secs(60);
    node.state.cx.now = late;
    let error = node.state.respond(id, b"").unwrap_err().go_text();
    assert_eq!(error, "failed to respond to key query: response is past the deadline");
    let mut old = Node::with("old", |config| config.protocol_version = 3);
    let error = old.state.ask(1, "q", b"", &params(), Asker::User).unwrap_err();
    assert_eq!(error.to_string(), "Feature not supported");
}

#[test]
fn default_timeout_grows_with_the_digits_of_the_cluster() {
    let node = Node::new("me");
    let seconds = |nodes| default_timeout(&node.state.cx.config, nodes).as_secs_f64();
    assert_eq!([1, 9, 10, 99, 100, 999].map(seconds), [3.2, 3.2, 6.4, 6.4, 9.6, 9.6]);
}

#[test]
fn relays_forward_a_second_copy_that_is_not_counted_twice() {
    let mut net = Net::new(5);
    ask(&mut net, &QueryParams { relay_factor: 2, ..params() });
    net.pump();
    let acks = heard(&mut net.nodes[0]);
    assert_eq!(acks.len(), 5, "{acks:?}");
    assert!(net.nodes[0].state.cx.stats.query_duplicate_acks > 0);
    let relayed = net.sent.iter().filter(|(_, _, raw)| raw[0] == 9);
    assert!(relayed.clone().count() >= 8, "each of five has two helpers");
    let own = |at: usize| net.nodes[at].state.members.local().addr().unwrap();
    assert!(relayed.clone().all(|(from, to, _)| *to != own(*from)));
}

#[test]
fn only_answers_are_relayed() {
    let mut node = Node::new("me");
    let inner_relay = encode(&Message::Relay(Relay::default()));
    let event = encode(&Message::UserEvent(message::UserEvent::default()));
    let ack = encode(&Message::QueryResponse(message::QueryResponse::default()));
    let mut forwarded = |inner: &[u8], port: i64| {
        let dest_addr = [10, 9, 9, 9][..].into();
        let relay = Relay { dest_addr, dest_port: port, dest_name: b"x", message: inner };
        node.receive(&Message::Relay(relay));
        node.state.cx.effects.actions.drain(..).count()
    };
    assert_eq!(forwarded(&ack, 7946), 1);
    assert_eq!(forwarded(&inner_relay, 7946), 0);
    assert_eq!(forwarded(&event, 7946), 0);
    assert_eq!(forwarded(b"", 7946), 0);
    assert_eq!(forwarded(&ack, -1), 0);
    assert_eq!(forwarded(&ack, 65_536), 0);
}

#[test]
fn answers_to_nothing_late_answers_and_forged_floods_are_dropped() {
    let mut net = Net::new(2);
    let id = ask(&mut net, &QueryParams::default());
    net.nodes[0].events();
    let answer = |id: QueryId, from: &str, flags| {
        encode(&Message::QueryResponse(message::QueryResponse {
            ltime: id.ltime,
            id: id.id,
            from: from.as_bytes(),
            flags,
            payload: b"x"[..].into(),
        }))
    };
    let node = &mut net.nodes[0];
    let other = QueryId { id: id.id ^ 1, ..id };
    let now = node.now;
    node.state.on_user_message(&answer(other, "n1", 0), origin());
    node.state.on_user_message(&answer(id, "n1", message::Query::ACK), origin());
    assert!(heard(node).is_empty(), "another id; an ack that was not asked for");
    for n in 0..1000 {
        node.state.on_user_message(&answer(id, &n.to_string(), 0), origin());
    }
    assert_eq!(heard(node).len(), 2 + 64);
    node.state.cx.now = now + Duration::from_secs(60);
    node.state.on_user_message(&answer(id, "late", 0), origin());
    assert!(heard(node).is_empty());
    node.state.cx.now = now;
    node.state.queries.asked.close(now, id);
    node.state.on_user_message(&answer(id, "closed", 0), origin());
    node.advance(Duration::from_secs(10));
    assert!(heard(node).is_empty());
}

#[test]
fn late_joiners_are_heard() {
    let mut net = Net::new(1);
    let id = ask(&mut net, &QueryParams::default());
    let node = &mut net.nodes[0];
    node.events();
    for name in ["n7", "n8", "n9"] {
        node.receive(&Message::QueryResponse(message::QueryResponse {
            ltime: id.ltime,
            id: id.id,
            from: name.as_bytes(),
            flags: 0,
            payload: b"late"[..].into(),
        }));
    }
    assert_eq!(heard(node), ["n7: late", "n8: late", "n9: late"]);
}

#[test]
fn two_queries_of_one_time_do_not_disturb_each_other() {
    let mut net = Net::new(2);
    let first = ask(&mut net, &params());
    // The clock of a peer that has not received it.
    net.nodes[0].state.cx.clocks.query = LamportClock::restore(LamportTime(0));
    let second = ask(&mut net, &params());
    assert_eq!(first.ltime, second.ltime);
    net.pump();
    assert_eq!(heard(&mut net.nodes[0]).len(), 4);
}

#[test]
fn internal_queries_never_reach_the_application() {
    let mut net = Net::new(2);
    for name in ["_serf_ping", "_serf_unheard-of", "_serf_"] {
        ask_named(&mut net, name, &params()).unwrap();
        net.pump();
        assert_eq!(heard(&mut net.nodes[0]), ["ack n0", "ack n1"], "{name}");
        assert!(net.nodes.iter_mut().all(|node| node.events().is_empty()), "{name}");
    }
    assert_eq!(net.nodes[1].state.cx.clocks.query.time(), LamportTime(4));
}

#[test]
fn deadline_of_a_hostile_timeout_is_harmless() {
    let mut node = Node::new("me");
    for (n, timeout_ns) in [i64::MAX, i64::MIN, -1, 0].into_iter().enumerate() {
        let query = message::Query {
            ltime: LamportTime(1 + n as u64),
            id: 1,
            timeout_ns,
            ..message::Query::default()
        };
        node.receive(&Message::Query(query));
    }
    assert_eq!(queried(&mut node).len(), 4);
    for n in 0..10_000 {
        let query = message::Query {
            ltime: LamportTime(10 + n),
            timeout_ns: i64::MAX,
            ..message::Query::default()
        };
        node.receive(&Message::Query(query));
        node.gossip();
        node.state.cx.effects.outputs.clear();
    }
}

mod keys {
    use base64::{Engine as _, prelude::BASE64_STANDARD};

    use super::*;
    use crate::serf::KeyResponse;

    fn key(n: u8) -> Vec<u8> {
        vec![n; 16]
    }

    fn text(n: u8) -> String {
        BASE64_STANDARD.encode(key(n))
    }

    fn encrypted(count: usize) -> Net {
        let mut net = Net::new(count);
        for node in &mut net.nodes {
            node.keyring = Keyring::build(&[], &key(1)).unwrap();
        }
        net
    }

    fn run(net: &mut Net, op: &KeyOp) -> (KeyResponse, Option<String>) {
        net.nodes[0].state.queue_key_op(OpId(1), op, 0).unwrap();
        net.pump();
        net.advance(Duration::from_secs(10));
        let done =
            net.nodes[0].state.cx.effects.outputs.drain(..).find_map(|output| match output {
                Output::Done { result: Ok(Completion::Keys { response, error }), .. } => {
                    Some((response, error))
                }
                _ => None,
            });
        done.expect("the operation ends")
    }

    #[test]
    fn keys_are_rotated_in_the_whole_cluster() {
        let mut net = encrypted(3);
        for op in [KeyOp::Install(text(2)), KeyOp::Use(text(2)), KeyOp::Remove(text(1))] {
            let (response, error) = run(&mut net, &op);
            assert_eq!((response.num_nodes, response.num_resp, response.num_err), (3, 3, 0));
            assert_eq!(error, None);
            assert_eq!(response.primary_keys[""], 3, "as Go counts");
            assert!(response.missing.is_empty());
        }
        for node in &net.nodes {
            assert_eq!(node.keyring.keys().collect::<Vec<_>>(), [key(2)]);
        }
        let (response, error) = run(&mut net, &KeyOp::List);
        assert_eq!(error, None);
        assert_eq!(response.keys[&text(2)], 3);
        assert_eq!(response.primary_keys[&text(2)], 3);
    }

    #[test]
    fn failures_carry_go_s_texts() {
        let mut net = encrypted(2);
        let (response, error) = run(&mut net, &KeyOp::Use(text(9)));
        assert_eq!(error.unwrap(), "2/2 nodes reported failure");
        assert_eq!(response.messages["n1"], "requested key is not in the keyring");
        let (response, _) = run(&mut net, &KeyOp::Remove(text(1)));
        assert_eq!(response.messages["n0"], "removing the primary key is not allowed");
        let (response, _) = run(&mut net, &KeyOp::Install(BASE64_STANDARD.encode(b"short")));
        assert_eq!(response.messages["n0"], "key size must be 16, 24 or 32 bytes");
        let error = net.nodes[0].state.queue_key_op(OpId(1), &KeyOp::Use("!".into()), 0);
        assert_eq!(error.unwrap_err().to_string(), "illegal base64 data at input byte 0");
    }

    #[test]
    fn plain_nodes_say_so_and_silent_nodes_are_counted() {
        let mut net = Net::new(3);
        let (response, _) = run(&mut net, &KeyOp::Install(text(2)));
        assert_eq!(response.messages["n1"], "No keyring to modify (encryption not enabled)");
        let (response, _) = run(&mut net, &KeyOp::List);
        assert_eq!(response.messages["n1"], "Keyring is empty (encryption not enabled)");
        let mut net = encrypted(3);
        net.cut.push(2);
        let (response, error) = run(&mut net, &KeyOp::List);
        assert_eq!(error.unwrap(), "2/3 nodes reported success");
        assert_eq!(response.missing, [Arc::from("n2")]);
    }

    #[test]
    fn operations_wait_for_each_other() {
        let mut net = encrypted(2);
        let state = &mut net.nodes[0].state;
        state.queue_key_op(OpId(1), &KeyOp::Install(text(2)), 0).unwrap();
        state.queue_key_op(OpId(2), &KeyOp::Use(text(2)), 0).unwrap();
        net.pump();
        let done: Vec<_> = net.nodes[0]
            .state
            .cx
            .effects
            .outputs
            .iter()
            .filter_map(|output| match output {
                Output::Done { op, .. } => Some(op.0),
                _ => None,
            })
            .collect();
        assert_eq!(done, [1, 2]);
        assert_eq!(net.nodes[1].keyring.primary(), Some(&key(2)[..]));
    }

    #[test]
    fn long_key_lists_are_cut_as_go_cuts_them() {
        // 32-byte keys, a name of six bytes and a small id: 19 fit whole, 20 are cut to 17.
        for (count, shown) in [(19, 19), (20, 17), (60, 17)] {
            let keys: Vec<Vec<u8>> = (0..count).map(|n| vec![n as u8; 32]).collect();
            let mut node = Node::new("node-a");
            node.keyring = Keyring::build(&keys[1..], &keys[0]).unwrap();
            let id = QueryId { ltime: LamportTime(5), id: 7 };
            node.receive(&Message::Query(message::Query {
                ltime: id.ltime,
                id: id.id,
                addr: [10, 9, 9, 9][..].into(),
                port: 7946,
                timeout_ns: 1_000_000_000,
                name: b"_serf_list-keys",
                payload: b"\x07\x81\xa3Key\xa0"[..].into(),
                ..message::Query::default()
            }));
            let Some(Action::Internal(query)) = node.state.cx.effects.actions.pop_front() else {
                panic!()
            };
            node.state.handle_internal(&query, &node.keyring);
            let Some(Action::Send { message: raw, .. }) = node.state.cx.effects.actions.pop_front()
            else {
                panic!("no answer");
            };
            assert!(raw.len() <= 1024);
            let Ok(Message::QueryResponse(response)) = MsgpackTransform.decode_message(&raw) else {
                panic!();
            };
            let payload = response.payload.as_slice();
            let Ok(Message::KeyResponse(list)) = MsgpackTransform.decode_message(payload) else {
                panic!();
            };
            assert_eq!(list.keys.0.len(), shown, "{count}");
            let text = String::from_utf8_lossy(list.message).into_owned();
            if shown == count {
                assert_eq!(text, "");
            } else {
                let expected =
                    format!("truncated key list response, showing first {shown} of {count} keys");
                assert_eq!(text, expected);
            }
        }
    }

    #[test]
    fn malformed_key_queries_are_answered_without_panic() {
        for payload in [&b""[..], b"\x07", b"\x03", b"\x07\xff", b"\xff\xff"] {
            let mut node = Node::new("me");
            node.keyring = Keyring::build(&[], &key(1)).unwrap();
            node.receive(&Message::Query(message::Query {
                ltime: LamportTime(1),
                addr: [10, 9, 9, 9][..].into(),
                timeout_ns: 1_000_000_000,
                name: b"_serf_install-key",
                payload: payload.into(),
                ..message::Query::default()
            }));
            let Some(Action::Internal(query)) = node.state.cx.effects.actions.pop_front() else {
                panic!()
            };
            let ring = node.state.handle_internal(&query, &node.keyring);
            assert!(ring.is_none());
            assert_eq!(node.state.cx.effects.actions.len(), 1, "a failure is answered");
        }
    }

    #[test]
    fn strange_answers_are_shown_as_go_shows_them() {
        let mut net = encrypted(2);
        net.cut.push(1);
        net.nodes[0].state.queue_key_op(OpId(1), &KeyOp::List, 0).unwrap();
        net.pump();
        let State { cx, keys, .. } = &mut net.nodes[0].state;
        keys.handle_response(cx, OpId(1), "n1", &[1, 2, 255]);
        let done =
            net.nodes[0].state.cx.effects.outputs.drain(..).find_map(|output| match output {
                Output::Done { result: Ok(Completion::Keys { response, .. }), .. } => {
                    Some(response)
                }
                _ => None,
            });
        let response = done.expect("all answered");
        assert_eq!(response.messages["n1"], "Invalid key query response type: [1 2 255]");
        assert_eq!(response.num_err, 1);
    }
}

mod conflict {
    use super::*;

    /// `n0` receives a conflict: another node claims its name.
    fn conflict(net: &mut Net) {
        net.nodes[0].notify("n0", |state, view| {
            let other = NodeView { addr: &[10, 200, 0, 1], ..view.clone() };
            state.on_conflict(view, &other);
            state.on_conflict(view, &other);
        });
        net.pump();
        net.advance(Duration::from_secs(10));
    }

    fn shuts_down(node: &Node) -> bool {
        node.state.cx.effects.outputs.iter().any(|output| matches!(output, Output::ShutDown))
    }

    /// Makes a node store another address for `n0`.
    fn persuade(node: &mut Node) {
        node.notify("n0", |state, view| {
            let moved = NodeView { addr: &[10, 200, 0, 1], ..view.clone() };
            state.on_join(&moved);
        });
    }

    #[test]
    fn majority_stays() {
        let mut net = Net::new(4);
        persuade(&mut net.nodes[1]);
        conflict(&mut net);
        assert!(!shuts_down(&net.nodes[0]), "two of three know our address");
    }

    #[test]
    fn minority_shuts_down() {
        let mut net = Net::new(4);
        persuade(&mut net.nodes[1]);
        persuade(&mut net.nodes[2]);
        conflict(&mut net);
        assert!(shuts_down(&net.nodes[0]));
    }

    #[test]
    fn even_vote_is_a_minority() {
        let mut net = Net::new(3);
        persuade(&mut net.nodes[1]);
        conflict(&mut net);
        assert!(shuts_down(&net.nodes[0]));
    }

    #[test]
    fn silence_is_no_verdict() {
        let mut net = Net::new(1);
        conflict(&mut net);
        assert!(!shuts_down(&net.nodes[0]));
    }

    #[test]
    fn disabled_resolution_asks_nobody() {
        let mut net = Net::with(3, |config| config.enable_name_conflict_resolution = false);
        persuade(&mut net.nodes[1]);
        persuade(&mut net.nodes[2]);
        conflict(&mut net);
        assert!(!shuts_down(&net.nodes[0]));
        assert_eq!(net.nodes[1].state.cx.clocks.query.time(), LamportTime(1));
    }

    #[test]
    fn conflicts_of_others_are_only_noted() {
        let mut net = Net::new(2);
        net.nodes[0].notify("n1", |state, view| {
            let other = NodeView { addr: &[10, 200, 0, 1], ..view.clone() };
            state.on_conflict(view, &other);
        });
        assert!(net.nodes[0].state.cx.effects.actions.is_empty());
    }
}
