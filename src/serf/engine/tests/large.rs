//! Many new members at once.

use super::*;
use crate::wire::{Incarnation, NodeState, PushPull, StreamMessage};

/// Goal: many members that come with one push/pull are one event, although neither taking them over
/// nor letting their event go is the work of one turn.
#[test]
fn many_new_members_are_one_event_and_many_turns() {
    let (mut engine, mut now) = fed();
    let (mut before, mut turns) = (engine.members().count(), 0);
    let members = loop {
        let events = member_events(&mut engine);
        if events.iter().any(|members| *members > 1) {
            break events;
        }
        now = now.max(engine.poll_timeout().unwrap());
        engine.handle_timeout(now);
        let after = engine.members().count();
        assert!(after - before <= 512, "{} in one turn", after - before);
        turns += usize::from(after > before);
        before = after;
    };
    assert_eq!(members, [COUNT + 1], "with ourselves");
    assert!(turns >= COUNT / 512, "{turns}");
    assert!(now < Instant::ZERO + PERIOD + Duration::from_millis(200));
}

/// Goal: nothing that is held is lost with the end of the node, also if it is on its way.
#[test]
fn many_new_members_are_reported_at_the_end() {
    for flushing in [false, true] {
        let (mut engine, mut now) = fed();
        while engine.members().count() <= COUNT {
            now = now.max(engine.poll_timeout().unwrap());
            engine.handle_timeout(now);
        }
        if flushing {
            now = Instant::ZERO + PERIOD;
            engine.handle_timeout(now);
        }
        assert!(member_events(&mut engine).is_empty());
        engine.shut_down(now);
        assert_eq!(member_events(&mut engine), [COUNT + 1]);
    }
}

/// An engine that was given many members.
fn fed() -> (Engine, Instant) {
    let mut config = Config::lan("me");
    config.swim.advertise_addr = vec![10, 0, 0, 1];
    config.swim.seed = [1; 32];
    (config.coalesce_period, config.quiescent_period) = (PERIOD, PERIOD);
    let now = Instant::ZERO;
    let mut engine = Engine::build(config, now, Some(b"")).unwrap();
    let names: Vec<_> = (0..COUNT).map(|n| format!("node-{n}")).collect();
    let rows = names.iter().map(|name| NodeState {
        name: name.as_bytes(),
        addr: [10, 0, 0, 9].as_slice().into(),
        port: 7946,
        meta: [].as_slice().into(),
        incarnation: Incarnation(1),
        state: 0,
        vsn: [1, 5, 2, 2, 5, 4].as_slice().into(),
    });
    let state = PushPull::from_rows(false, rows, bytes::Bytes::new());
    let id = engine.accept_stream();
    engine.handle_stream(now, id, StreamInput::Accepted { from: addr_of(2) });
    engine.handle_stream(now, id, StreamInput::Message(StreamMessage::PushPull(state)));
    (engine, now)
}

/// How many members the events have that come out.
fn member_events(engine: &mut Engine) -> Vec<usize> {
    let outputs = std::iter::from_fn(|| engine.poll_output());
    outputs
        .filter_map(|output| match output {
            Output::Event(Event::Member(event)) => Some(event.members.len()),
            _ => None,
        })
        .collect()
}

const COUNT: usize = 3_000;
const PERIOD: Duration = Duration::from_secs(1);
