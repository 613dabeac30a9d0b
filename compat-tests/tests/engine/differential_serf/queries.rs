//! Queries: asking, receiving, answering, relaying; internal ones and keys.

use ruserf::{
    serf::{Filter, LamportTime, Message, MsgpackTransform, TransformDelegate, message},
    wire::Bin,
};
use serde_json::json;

use super::{
    pair::{Pair, key},
    step::{Query, Step, alive, alive_with, asked, dead, leave, query, serf},
};

const ACK: u32 = message::Query::ACK;
const NO_BROADCAST: u32 = message::Query::NO_BROADCAST;

fn reply(ltime: u64, from: &str, payload: &[u8]) -> Step {
    let (from, payload) = (from.to_owned(), payload.to_vec());
    Step::Reply { ltime, from, payload, ack: false, wrong_id: false }
}

fn ack(ltime: u64, from: &str) -> Step {
    Step::Reply { ltime, from: from.to_owned(), payload: vec![], ack: true, wrong_id: false }
}

fn ask(name: &str, ack: bool, ms: u64) -> Step {
    Step::Query(Query {
        name: name.to_owned(),
        payload: b"p".to_vec(),
        ack,
        ms,
        ..Query::default()
    })
}

#[test]
fn a_query_is_delivered_once_and_acked_and_answered() {
    for flags in [0, ACK, NO_BROADCAST, ACK | NO_BROADCAST, 0xffff_ff00] {
        let mut pair = Pair::start(json!({"answer": "yes", "query_buffer": 8}));
        pair.step(&alive(1, 1, &[]));
        for (ltime, id) in
            [(0, 1), (5, 1), (5, 2), (5, 1), (13, 1), (4, 1), (5, 3), (20, 1), (11, 9)]
        {
            let mut asked = asked(ltime, id, "q");
            asked.flags = flags;
            asked.payload = Bin::from(&b"payload"[..]);
            pair.step(&query(&asked));
        }
    }
}

#[test]
fn answers_that_come_late_or_are_too_long() {
    for (limit, think, timeout) in [
        (1024, 100, 200_000_000),
        (1024, 200, 200_000_000),
        (1024, 201, 200_000_000),
        (1024, 0, 0),
        (1024, 1, 0),
        (1024, 0, -5),
        (50, 0, 1_000_000_000),
        (60, 0, 1_000_000_000),
        (70, 0, 1_000_000_000),
    ] {
        let mut pair = Pair::start(json!({
            "answer": "a longer answer", "answer_ms": think, "query_response_size_limit": limit,
        }));
        for ltime in [1, 2, 300, 70_000] {
            let mut asked = asked(ltime, 1 + u32::try_from(ltime).unwrap(), "q");
            asked.timeout_ns = timeout;
            asked.flags = ACK;
            pair.step(&query(&asked)).step(&Step::Advance(150)).step(&Step::Advance(150));
        }
    }
}

#[test]
fn filters_choose_who_answers_but_not_who_gossips() {
    let filter = |filter: &Filter<'_>| {
        let mut raw = Vec::new();
        MsgpackTransform.encode_filter(filter, &mut raw);
        raw
    };
    let nodes = |names: &[&'static str]| {
        filter(&Filter::Nodes(names.iter().map(|name| name.as_bytes()).collect()))
    };
    let tag =
        |tag: &str, expr: &str| filter(&Filter::Tag { tag: tag.as_bytes(), expr: expr.as_bytes() });
    let sets = [
        vec![nodes(&["self"])],
        vec![nodes(&["n1", "self", "n2"])],
        vec![nodes(&["Self"])],
        vec![nodes(&[])],
        vec![tag("role", "we")],
        vec![tag("role", "^we$")],
        vec![tag("role", "(?i)WEB"), tag("none", "^$"), nodes(&["self"])],
        vec![tag("role", "web"), tag("dc", "west")],
        vec![tag("dc", r"^e\w+t\d$"), tag("", ".*")],
        vec![tag("role", "(")],
        vec![tag("role", "a{1001}")],
        vec![tag("role", "x**")],
        vec![tag("role", r"[[:alpha:]]\z")],
        vec![vec![9, 0x80]],
        vec![vec![0, 0xc1]],
        vec![vec![1, 0x80]],
        vec![vec![0, 0xc0]],
    ];
    let mut pair = Pair::start(json!({"tags": {"role": "web", "dc": "east1"}, "answer": "yes"}));
    pair.step(&alive(1, 1, &[]));
    for (set, ltime) in sets.iter().zip(3..) {
        let mut asked = asked(ltime, 1, "filtered");
        asked.flags = ACK;
        asked.filters = set.iter().map(|filter| Bin::from(&filter[..])).collect();
        pair.step(&query(&asked));
    }
    // New tags count at once.
    pair.step(&Step::SetTags([("role".to_owned(), "db".to_owned())].into()));
    let mut asked = asked(90, 1, "filtered");
    let db = tag("role", "db");
    asked.filters = vec![Bin::from(&db[..])];
    pair.step(&query(&asked));
}

#[test]
fn acks_and_answers_are_collected_once() {
    let mut pair = Pair::start(json!({"answer": "own"}));
    pair.steps(&[alive(1, 1, &[]), alive(2, 1, &[]), alive(3, 1, &[])]);
    pair.step(&ask("q", true, 2_000));
    pair.steps(&[ack(1, "n1"), ack(1, "n1"), reply(1, "n1", b"1"), reply(1, "n1", b"2")]);
    pair.steps(&[reply(1, "n2", b""), ack(1, "stranger"), reply(5, "n1", b"no such query")]);
    let wrong_id = Step::Reply {
        ltime: 1,
        from: "n3".to_owned(),
        payload: vec![1],
        ack: false,
        wrong_id: true,
    };
    pair.step(&wrong_id);
    pair.step(&Step::Advance(1_999)).step(&reply(1, "n3", b"last")).step(&Step::Advance(2));
    pair.steps(&[reply(1, "n3", b"late"), ack(1, "n3")]);
    // Without acks; the default timeout.
    pair.step(&ask("q", false, 0));
    pair.steps(&[ack(2, "n1"), reply(2, "n1", b"1")]);
    pair.step(&Step::Advance(3_199)).step(&Step::Advance(2));
}

#[test]
fn own_queries_carry_filters_and_have_a_limit() {
    let mut pair = Pair::start(json!({"query_size_limit": 200, "tags": {"a": "b"}}));
    pair.step(&alive(1, 1, &[]));
    let nodes = vec!["n1".to_owned(), "self".to_owned()];
    let tags = |expr: &str| [("a".to_owned(), expr.to_owned())].into();
    for (nodes, tags) in [
        (vec![], tags("^b$")),
        (nodes.clone(), tags("c")),
        (nodes, tags("(")),
        (vec!["n1".to_owned()], [].into()),
    ] {
        pair.step(&Step::Query(Query {
            name: "own".to_owned(),
            nodes,
            tags,
            ack: true,
            relay_factor: 3,
            ms: 500,
            ..Query::default()
        }));
    }
    for len in [0, 40, 60, 75, 80, 81, 82, 83, 84, 85, 86, 87, 88, 89, 90, 91, 92, 93, 94, 95, 200]
    {
        let payload = vec![1; len];
        pair.step(&Step::Query(Query {
            name: "size".to_owned(),
            payload,
            ms: 500,
            ..Query::default()
        }));
    }
    pair.step(&Step::Advance(501));
}

#[test]
fn answers_are_relayed() {
    let mut pair = Pair::start(json!({"answer": "yes", "query_response_size_limit": 120}));
    for number in 1..=9 {
        pair.step(&alive(number, 1, &[]));
    }
    pair.steps(&[dead("n8", 1, "n1"), leave(7, "n9")]);
    pair.step(&alive_with(7, 2, &[], [1, 4, 2, 2, 5, 4]));
    for (factor, source) in [
        (1, "n1"),
        (3, "n2"),
        (9, "n1"),
        (10, "n1"),
        (255, "n1"),
        (2, "n7-with-a-long-name-that-fills-the-message-to-its-limit"),
    ] {
        let mut asked = asked(10 + factor, 1, "relayed");
        asked.relay_factor = u8::try_from(factor).unwrap();
        asked.source_node = source.as_bytes();
        asked.flags = ACK;
        pair.step(&query(&asked));
    }
    // We are the relay.
    let response = message::QueryResponse {
        ltime: LamportTime(3),
        id: 5,
        from: b"n3",
        flags: 0,
        payload: Bin::from(&b"answer"[..]),
    };
    let mut inner = Vec::new();
    MsgpackTransform.encode_message(&Message::QueryResponse(response), &mut inner);
    for addr in [&[10, 0, 0, 14][..], &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 0, 0, 14]] {
        for name in [&b"n4"[..], b"nobody", b""] {
            pair.step(&serf(&Message::Relay(message::Relay {
                dest_addr: Bin::from(addr),
                dest_port: 7946,
                dest_name: name,
                message: &inner,
            })));
        }
    }
}

#[test]
fn addresses_of_askers() {
    let mut pair = Pair::start(json!({"answer": "yes"}));
    pair.step(&alive(1, 1, &[]));
    let addrs: [&[u8]; 4] = [
        &[10, 0, 0, 77],
        &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 0, 0, 77],
        &[0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1],
        &[10, 0, 0, 1],
    ];
    for (addr, ltime) in addrs.iter().zip(3..) {
        let mut asked = asked(ltime, 1, "q");
        asked.addr = Bin::from(*addr);
        asked.flags = ACK;
        pair.step(&query(&asked));
    }
}

#[test]
fn internal_queries_stay_inside() {
    let mut pair = Pair::start(json!({"answer": "yes", "tags": {"role": "web"}}));
    pair.steps(&[alive(1, 1, &[("dc", "east")]), alive(2, 1, &[]), dead("n2", 1, "n1")]);
    for (name, ltime) in
        ["_serf_ping", "_serf_unknown", "_serf_", "_serf", "_Serf_ping"].iter().zip(2..)
    {
        let mut asked = asked(ltime, 1, name);
        asked.flags = ACK;
        pair.step(&query(&asked));
    }
    for (about, ltime) in ["self", "n1", "n2", "nobody", ""].iter().zip(10..) {
        let mut asked = asked(ltime, 1, "_serf_conflict");
        asked.payload = Bin::from(about.as_bytes());
        pair.step(&query(&asked));
    }
}

#[test]
fn keys_are_changed_for_others() {
    for keyring in [json!([]), json!([key(1), key(2)])] {
        let with_keys = keyring != json!([]);
        let mut options = json!({"query_response_size_limit": 300});
        if with_keys {
            options["keyring"] = keyring;
        }
        let mut pair = Pair::start(options);
        pair.step(&alive(1, 1, &[]));
        let mut ltime = 3;
        let mut order = |pair: &mut Pair, name: &str, key: &[u8]| {
            let mut payload = Vec::new();
            let request = message::KeyRequest { key: Bin::from(key) };
            MsgpackTransform.encode_message(&Message::KeyRequest(request), &mut payload);
            let name = format!("_serf_{name}");
            let mut asked = asked(ltime, 1, &name);
            asked.payload = Bin::from(&payload[..]);
            pair.step(&query(&asked));
            ltime += 1;
        };
        for name in ["list-keys", "install-key", "list-keys", "use-key", "remove-key"] {
            for key in [[3; 32].as_slice(), &[4; 16], &[5; 24], &[6; 15], &[1; 32], &[2; 32], b""] {
                order(&mut pair, name, key);
            }
            order(&mut pair, "list-keys", b"");
        }
        // Until the list is cut.
        for number in 10..24 {
            order(&mut pair, "install-key", &[number; 32]);
            order(&mut pair, "list-keys", b"");
        }
    }
}

#[test]
fn keys_are_changed_by_us() {
    let response = |result: bool, text: &str, keys: &[&str], primary: &str| {
        let response = message::NodeKeyResponse {
            result,
            message: text.as_bytes(),
            keys: message::Keys(keys.iter().map(|key| key.as_bytes()).collect()),
            primary_key: primary.as_bytes(),
        };
        let mut raw = Vec::new();
        MsgpackTransform.encode_message(&Message::KeyResponse(response), &mut raw);
        raw
    };
    let order = |op: &'static str, key: &str| Step::Keys { op, key: key.to_owned() };
    let mut pair = Pair::start(json!({"keyring": [key(1)]}));
    pair.steps(&[alive(1, 1, &[]), alive(2, 1, &[])]);
    // Our own answer comes at once; the others', good and bad, end it early.
    pair.step(&order("install-key", &key(2)));
    pair.steps(&[
        reply(1, "n1", &response(true, "", &[], "")),
        reply(1, "n2", &response(true, "", &[], "")),
    ]);
    pair.step(&order("use-key", &key(2)));
    pair.steps(&[reply(2, "n1", &response(false, "cannot", &[], "")), reply(2, "n2", b"\x08\xc1")]);
    pair.step(&order("list-keys", ""));
    pair.steps(&[
        reply(3, "n1", &response(true, "cut", &[&key(1), &key(2)], &key(1))),
        reply(3, "n1", &response(true, "again", &[&key(1)], &key(1))),
        reply(3, "n2", b"\x07\x80"),
    ]);
    pair.step(&order("remove-key", &key(2)));
    pair.steps(&[reply(4, "n1", b""), ack(4, "n1"), Step::Advance(3_300)]);
    pair.step(&order("remove-key", &key(1)));
    pair.step(&Step::Advance(3_300));
    pair.steps(&[order("install-key", "no base64!"), order("install-key", "AAAA")]);
    pair.step(&Step::Advance(3_300));
}

#[test]
fn a_conflict_over_our_name_is_voted_on() {
    let record = |last: u8| {
        let addr = [10, 0, 0, last];
        let record = message::MemberRecord {
            name: b"self",
            addr: Bin::from(&addr[..]),
            port: 7946,
            ..message::MemberRecord::default()
        };
        let mut raw = Vec::new();
        MsgpackTransform.encode_message(&Message::ConflictResponse(Some(record)), &mut raw);
        raw
    };
    let unknown = b"\x06\xc0".to_vec();
    let votes = [
        vec![record(1)],
        vec![record(9), record(1), record(1)],
        vec![unknown.clone(), record(1), record(1)],
        vec![b"\x05\x80".to_vec(), record(1)],
        vec![record(9)],
        vec![record(9), record(1)],
        vec![unknown],
    ];
    let outcomes = votes.iter().map(|votes| {
        let mut pair = Pair::start(json!({}));
        pair.steps(&[alive(1, 1, &[]), alive(2, 1, &[]), alive(3, 1, &[])]);
        pair.step(&super::step::alive_as("self", 9, 1));
        for (vote, from) in votes.iter().zip(1..) {
            pair.step(&reply(1, &format!("n{from}"), vote));
        }
        pair.last(&Step::Advance(3_201));
        pair.ours().state()
    });
    let (stays, quits) = ("alive", "shutdown");
    assert_eq!(outcomes.collect::<Vec<_>>(), [stays, stays, stays, stays, quits, quits, quits]);
    let mut pair = Pair::start(json!({"disable_name_resolution": true}));
    pair.steps(&[
        alive(1, 1, &[]),
        super::step::alive_as("self", 9, 1),
        super::step::alive_as("n1", 9, 5),
    ]);
}
