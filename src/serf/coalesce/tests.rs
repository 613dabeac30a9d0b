use super::*;
use crate::serf::{MemberStatus, Tags};

const PERIOD: Duration = Duration::from_millis(500);
const QUIET: Duration = Duration::from_millis(100);

#[test]
fn zero_times_disable_coalescing() {
    assert!(MemberCoalescer::new(Duration::ZERO, QUIET).is_none());
    assert!(UserCoalescer::new(PERIOD, Duration::ZERO).is_none());
}

#[test]
fn quiet_time_ends_the_window_early_and_the_period_in_any_case() {
    let mut coalescer = MemberCoalescer::new(PERIOD, QUIET).unwrap();
    assert_eq!(coalescer.deadline(), None);
    coalescer.hold(at(0), event(MemberEventKind::Join, "a"));
    assert_eq!(coalescer.deadline(), Some(at(100)));
    for ms in (50..=450).step_by(50) {
        coalescer.hold(at(ms), event(MemberEventKind::Join, "a"));
    }
    assert_eq!(coalescer.deadline(), Some(at(500)));
    assert_eq!(coalescer.flush(at(500)).len(), 1);
    assert_eq!(coalescer.deadline(), None);
}

#[test]
fn last_event_of_a_member_wins() {
    let mut coalescer = MemberCoalescer::new(PERIOD, QUIET).unwrap();
    for (kind, name) in [
        (MemberEventKind::Join, "a"),
        (MemberEventKind::Join, "b"),
        (MemberEventKind::Failed, "b"),
        (MemberEventKind::Join, "c"),
    ] {
        coalescer.hold(at(0), event(kind, name));
    }
    assert_eq!(
        names(coalescer.flush(at(500))),
        [(MemberEventKind::Join, "a c".to_owned()), (MemberEventKind::Failed, "b".to_owned())]
    );
}

#[test]
fn what_was_said_is_not_said_again_except_updates() {
    let mut coalescer = MemberCoalescer::new(PERIOD, QUIET).unwrap();
    coalescer.hold(at(0), event(MemberEventKind::Join, "a"));
    assert_eq!(coalescer.flush(at(500)).len(), 1);
    coalescer.hold(at(0), event(MemberEventKind::Failed, "a"));
    coalescer.hold(at(0), event(MemberEventKind::Join, "a"));
    assert!(coalescer.flush(at(500)).is_empty());
    for _ in 0..2 {
        coalescer.hold(at(0), event(MemberEventKind::Update, "a"));
        assert_eq!(coalescer.flush(at(500)).len(), 1);
    }
    // Go reports the update at every later flush.
    coalescer.hold(at(0), event(MemberEventKind::Join, "b"));
    assert_eq!(names(coalescer.flush(at(500))), [(MemberEventKind::Join, "b".to_owned())]);
}

#[test]
fn memory_ends_with_the_member() {
    let mut coalescer = MemberCoalescer::new(PERIOD, QUIET).unwrap();
    coalescer.hold(at(0), event(MemberEventKind::Join, "a"));
    coalescer.flush(at(500));
    coalescer.hold(at(0), event(MemberEventKind::Reap, "a"));
    coalescer.flush(at(500));
    assert!(coalescer.said.is_empty() && coalescer.held.is_empty());
}

/// Goal: however many members joined at once, no turn looks at more than some of them, and they are
/// one event all the same. What comes meanwhile about one that was looked at is not lost.
#[test]
fn many_members_are_let_go_some_at_a_time() {
    const COUNT: usize = 10 * MEMBERS_AT_ONCE + 1;
    let mut coalescer = MemberCoalescer::new(PERIOD, QUIET).unwrap();
    for n in 0..COUNT {
        coalescer.hold(at(0), event(MemberEventKind::Join, &format!("{n:05}")));
    }
    let mut now = at(100);
    let mut turns = 0;
    let events = loop {
        assert_eq!(coalescer.deadline(), Some(now), "turn {turns}");
        let before = coalescer.said.len();
        let events = coalescer.flush(now);
        turns += 1;
        assert!(coalescer.said.len() - before <= MEMBERS_AT_ONCE, "turn {turns}");
        if !events.is_empty() {
            break events;
        }
        if turns == 5 {
            coalescer.hold(now, event(MemberEventKind::Failed, "00000"));
        }
        now += PAUSE;
    };
    assert_eq!(turns, 11);
    let [joined] = events.as_slice() else { panic!("{} events", events.len()) };
    assert_eq!((joined.kind, joined.members.len()), (MemberEventKind::Join, COUNT));
    assert_eq!(coalescer.deadline(), Some(at(104) + QUIET), "when it came");
    let failed = names(coalescer.flush(at(300)));
    assert_eq!(failed, [(MemberEventKind::Failed, "00000".to_owned())]);
}

#[test]
fn newest_user_events_of_a_name_are_kept() {
    let mut coalescer = UserCoalescer::new(PERIOD, QUIET).unwrap();
    for (name, ltime, payload) in
        [("x", 5, "old"), ("x", 7, "one"), ("y", 1, "y"), ("x", 6, "late"), ("x", 7, "two")]
    {
        let payload = bytes::Bytes::from(payload);
        let ltime = LamportTime(ltime);
        coalescer.hold(at(0), UserEvent { ltime, name: name.into(), payload, coalesce: true });
    }
    let flushed: Vec<_> = coalescer.flush().map(|event| event.payload).collect();
    assert_eq!(flushed, ["one", "two", "y"]);
    assert_eq!(coalescer.flush().count(), 0);
}

fn at(ms: u64) -> Instant {
    Instant::ZERO + Duration::from_millis(ms)
}

fn event(kind: MemberEventKind, name: &str) -> MemberEvent {
    let member = Member {
        name: name.into(),
        addr: [127, 0, 0, 1].into(),
        port: 1,
        tags: Tags::default(),
        status: MemberStatus::Alive,
        vsn: Default::default(),
    };
    MemberEvent { kind, members: vec![Arc::new(member)] }
}

fn names(events: Vec<MemberEvent>) -> Vec<(MemberEventKind, String)> {
    let name = |member: Arc<Member>| member.name.to_string();
    events
        .into_iter()
        .map(|event| {
            (event.kind, event.members.into_iter().map(name).collect::<Vec<_>>().join(" "))
        })
        .collect()
}

#[test]
fn too_many_bytes_end_the_window_of_user_events() {
    let mut coalescer = UserCoalescer::new(PERIOD, QUIET).unwrap();
    let event = |n: u64| UserEvent {
        ltime: LamportTime(n),
        name: n.to_string().as_str().into(),
        payload: vec![0; 9_000].into(),
        coalesce: true,
    };
    for n in 0..110 {
        coalescer.hold(at(0), event(n));
    }
    assert_eq!(coalescer.deadline(), Some(at(100)));
    for n in 110..120 {
        coalescer.hold(at(1), event(n));
    }
    assert_eq!(coalescer.deadline(), Some(at(1)));
    assert_eq!(coalescer.flush().count(), 120);
    coalescer.hold(at(2), event(1));
    assert_eq!(coalescer.deadline(), Some(at(102)));
}
