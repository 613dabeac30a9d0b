//! Log lines that peers cause.

use super::*;
use crate::base::lines_of;

#[test]
fn a_flood_of_messages_is_ten_log_lines_a_second_and_none_can_break_out_of_its_own() {
    let old = |name| {
        encode(&Message::UserEvent(message::UserEvent {
            ltime: LamportTime(1),
            name,
            payload: Default::default(),
            coalesce: false,
        }))
    };
    let forged = old("x\n[ERR] serf: forged\x1b[2J".as_bytes());
    let long = old("y".repeat(9_000).leak().as_bytes());
    let invalid = old(&[0xff; 5_000]);
    let far = encode(&Message::UserEvent(message::UserEvent {
        ltime: LamportTime(1 << 62),
        name: b"e",
        payload: Default::default(),
        coalesce: false,
    }));
    for message in [vec![77], vec![3, 0xff], vec![9, 0xff], forged, long, invalid, far] {
        let mut node = Node::new("me");
        node.state.cx.clocks.event.witness(LamportTime(10_000));
        let lines = lines_of(|| {
            for _ in 0..2_000 {
                node.state.on_user_message(&message, origin());
                node.now += Duration::from_millis(1);
                node.state.cx.logs.report(node.now);
            }
        });
        assert!((5..=20).contains(&lines.len()), "{} lines for {:?}", lines.len(), &message[..2]);
        for line in &lines {
            assert!(line.len() < 800 && !line.contains(char::is_control), "{line}");
        }
    }
}

#[test]
fn a_flood_of_key_and_conflict_queries_is_ten_log_lines_a_second() {
    for name in ["list-keys", "install-key", "use-key", "remove-key", "conflict", "unknown"] {
        for keyring in [Keyring::default(), Keyring::build(&[], &[7; 16]).unwrap()] {
            let mut node = Node::new("me");
            let lines = lines_of(|| {
                for id in 0..2_000 {
                    let raw = encode(&Message::Query(message::Query {
                        ltime: LamportTime(3),
                        id,
                        addr: [10, 0, 0, 2][..].into(),
                        port: 7946,
                        source_node: b"a",
                        timeout_ns: 5_000_000_000,
                        name: format!("_serf_{name}").as_bytes(),
                        payload: b"nobody"[..].into(),
                        ..message::Query::default()
                    }));
                    node.state.cx.now = node.now;
                    node.state.on_user_message(&raw, origin());
                    while let Some(action) = node.state.cx.effects.actions.pop_front() {
                        let Action::Internal(query) = action else { continue };
                        node.state.handle_internal(&query, &keyring);
                    }
                    node.now += Duration::from_millis(1);
                    node.state.cx.logs.report(node.now);
                }
            });
            // Two seconds of two causes: the request, and that it cannot be served.
            assert!(lines.len() <= 40, "{} lines for {name}", lines.len());
            assert_eq!(node.state.cx.stats.queries, 2_000, "{name}");
        }
    }
}
