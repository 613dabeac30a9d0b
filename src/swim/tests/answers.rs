//! Answers to push/pulls, whose rows are copied from the last one page by page.

use bytes::Bytes;
use proptest::prelude::*;

use super::{exchange::push_pull, *};
use crate::{base::Rng, swim::StreamId, wire::PushPull};

/// What may happen to a table before somebody asks for it.
#[derive(Clone, Debug)]
enum Step {
    /// Some nodes join, or announce tags of this length.
    Alive {
        first: usize,
        count: usize,
        meta: usize,
    },
    Suspect(usize),
    Dead(usize),
    /// All dead nodes are forgotten.
    Reap,
    /// The state of the layer above has this many bytes.
    State(usize),
    /// Somebody asks; his stream ends later if `stays`. Meanwhile a node may change.
    Ask {
        join: bool,
        stays: bool,
        meanwhile: Option<usize>,
    },
    /// All streams end.
    Sent,
    Wait(u64),
}

fn step(nodes: usize) -> impl Strategy<Value = Step> {
    let node = 0..nodes;
    let alive = (node.clone(), 1..nodes, 0..=512_usize);
    let ask = (any::<bool>(), any::<bool>(), prop::option::of(node.clone()));
    prop_oneof![
        3 => alive.prop_map(|(first, count, meta)| Step::Alive { first, count: count % 90, meta }),
        3 => node.clone().prop_map(Step::Suspect),
        3 => node.prop_map(Step::Dead),
        1 => Just(Step::Reap),
        1 => (0..1_000_usize).prop_map(Step::State),
        8 => ask.prop_map(|(join, stays, meanwhile)| Step::Ask { join, stays, meanwhile }),
        1 => Just(Step::Sent),
        1 => (0..12_u64).prop_map(Step::Wait),
    ]
}

/// Applies steps and compares each answer with what encoding all rows anew gives. Returns the
/// number of answers compared.
fn compare(me: &mut Node, steps: &[Step]) -> usize {
    let (mut compared, mut open, mut incarnation) = (0, Vec::new(), 1);
    for step in steps {
        incarnation += 1;
        let change = |me: &mut Node, node: usize| {
            me.alive_at(&format!("n{node}"), incarnation, &[10, 0, 0, 9], b"changed");
        };
        match *step {
            Step::Alive { first, count, meta } => (first..first + count).for_each(|node| {
                let meta = vec![incarnation as u8; meta];
                me.alive_at(&format!("n{node}"), incarnation, &[10, 0, 0, 9], &meta);
            }),
            Step::Suspect(node) => me.suspect(&format!("n{node}"), incarnation, "x"),
            Step::Dead(node) => me.dead(&format!("n{node}"), incarnation, "x"),
            Step::Reap => {
                let dead = |row: &crate::swim::row::Row, _| row.state == NodeStateKind::Dead;
                me.swim.table.reap(dead, &mut Rng::from_u64(1));
            }
            Step::State(bytes) => me.host.state = vec![incarnation as u8; bytes],
            Step::Ask { join, stays, meanwhile } => {
                let own = !me.swim.encodes(join);
                let before = me.swim.table.generation();
                let id = request(me, join);
                let mut message = reply_now(me, id);
                if let (None, Some(node)) = (&message, meanwhile) {
                    me.wait(Duration::ZERO);
                    change(me, node);
                }
                let message = message.take().unwrap_or_else(|| reply(me, id));
                if own && before == me.swim.table.generation() {
                    assert!(message == anew(me, join), "{step:?} of {steps:?}");
                    compared += 1;
                }
                open.push(id);
                if !stays {
                    sent(me, &mut open);
                }
            }
            Step::Sent => sent(me, &mut open),
            Step::Wait(seconds) => me.wait(Duration::from_secs(seconds)),
        }
        me.outputs();
    }
    compared
}

fn request(me: &mut Node, join: bool) -> StreamId {
    let id = me.swim.accept_stream();
    me.swim.handle_stream(me.now, id, StreamInput::Accepted { from: peer() }, &mut me.host);
    let state = StreamInput::Message(push_pull(&[], join, b""));
    me.swim.handle_stream(me.now, id, state, &mut me.host);
    id
}

/// The reply on a stream, if there is one.
fn reply_now(me: &mut Node, id: StreamId) -> Option<Bytes> {
    me.outputs().into_iter().find_map(|output| match output {
        Output::Reply { id: stream, message, .. } if stream == id => Some(message),
        _ => None,
    })
}

/// The same, now or after some turns.
fn reply(me: &mut Node, id: StreamId) -> Bytes {
    for _ in 0..100 {
        if let Some(message) = reply_now(me, id) {
            return message;
        }
        me.wait(Duration::from_millis(1));
    }
    panic!("no reply");
}

fn ask(me: &mut Node, join: bool) -> (StreamId, Bytes) {
    let id = request(me, join);
    (id, reply(me, id))
}

fn sent(me: &mut Node, streams: &mut Vec<StreamId>) {
    for id in streams.drain(..) {
        me.swim.handle_stream(me.now, id, StreamInput::Sent, &mut me.host);
    }
}

fn anew(me: &Node, join: bool) -> Vec<u8> {
    let rows: Vec<_> = me.swim.table.rows().map(|row| row.to_wire()).collect();
    let mut message = Vec::new();
    PushPull::encode(join, rows.into_iter(), &me.host.state, &mut message);
    message
}

/// An engine that speaks of itself only if asked, with some members.
fn node(members: usize, meta: usize) -> Node {
    let mut config = quiet();
    (config.probe_interval, config.gossip_interval) = (Duration::ZERO, Duration::ZERO);
    config.push_pull_interval = Duration::ZERO;
    let mut me = Node::new(config);
    for index in 0..members {
        me.alive_at(&format!("n{index}"), 1, &[10, 0, 0, 9], &vec![7; meta]);
    }
    me.outputs();
    me
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// Goal: an answer is, byte for byte, what encoding all rows would give.
    #[test]
    fn answers_from_pages_are_those_encoded_anew(
        steps in prop::collection::vec(step(300), 1..60),
    ) {
        compare(&mut node(0, 0), &steps);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]

    /// Goal: the same of a state that takes several turns, in whose midst nodes change.
    #[test]
    fn answers_in_slices_are_those_encoded_anew(
        steps in prop::collection::vec(step(1_400), 30..60),
    ) {
        let mut me = node(1_400, 400);
        prop_assert!(request(&mut me, false) != request(&mut me, true) && me.swim.encodes(true));
        me.wait(Duration::from_secs(1));
        prop_assert!(compare(&mut me, &steps) > 0);
    }
}

/// Goal: unchanged pages are copied, also for the other flag, and changed ones are not. Bytes that
/// no row has show where they are from.
#[test]
fn only_pages_that_changed_are_encoded() {
    let mut me = node(200, 0);
    let (id, _) = ask(&mut me, true);
    sent(&mut me, &mut vec![id]);
    let mut last = me.swim.answers.newest().unwrap().clone();
    let marked = last.rows.bytes.to_vec();
    let mark = |name: &[u8], mark: &[u8], message: &[u8]| {
        let at = message.windows(name.len()).position(|window| window == name).unwrap();
        [&message[..at], mark, &message[at + name.len()..]].concat()
    };
    let marked = mark(b"\xa2n5", b"\xa2X5", &mark(b"\xa4n190", b"\xa4X190", &marked));
    last.rows.bytes = marked.into();
    me.swim.answers.begin(me.now, &last);
    let has = |message: &[u8], name: &[u8]| message.windows(name.len()).any(|part| part == name);

    me.suspect("n190", 1, "x");
    let (_, next) = ask(&mut me, false);
    assert!(has(&next, b"\xa2X5") && !has(&next, b"\xa2n5"), "copied");
    assert!(has(&next, b"\xa4n190") && !has(&next, b"X190"), "encoded");
    me.suspect("n6", 1, "x");
    let (_, next) = ask(&mut me, true);
    assert!(!has(&next, b"\xa2X5") && next == anew(&me, true));
}

/// Goal: an answer that was sent is there for the next request, but not for long, and not if it is
/// large.
#[test]
fn only_small_answers_are_kept_and_not_for_long() {
    let mut me = node(100, 0);
    let timeout = me.swim.config().tcp_timeout;
    let (id, message) = ask(&mut me, false);
    sent(&mut me, &mut vec![id]);
    me.wait(timeout / 2);
    // The other one counts, too: both are kept for the next request of either kind.
    let (id, other) = ask(&mut me, true);
    sent(&mut me, &mut vec![id]);
    me.wait(timeout * 3 / 4);
    assert!(!message.is_unique() && !other.is_unique(), "the first deadline has passed");
    me.wait(timeout / 4);
    assert!(message.is_unique() && other.is_unique());

    me.host.state = vec![7; 512 << 10];
    let (id, message) = ask(&mut me, false);
    assert!(!message.is_unique());
    sent(&mut me, &mut vec![id]);
    assert!(message.is_unique());
    // One that is still being sent at its deadline is not kept either.
    me.host.state.clear();
    let (_, message) = ask(&mut me, false);
    me.wait(timeout);
    assert!(message.is_unique());
}
