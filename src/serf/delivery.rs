//! Delivers events to the application: through the snapshot, internal queries and coalescers.

use tracing::warn;

use super::{
    Event, LamportTime, Output,
    coalesce::{MemberCoalescer, UserCoalescer},
    effects::{Action, Effects},
    internal_query::{InternalQuery, InternalRequest, PREFIX},
    logs::Logs,
    snapshot::Snapshot,
};
use crate::base::{Instant, printable};

pub(crate) struct Delivery {
    pub(crate) snapshot: Option<Snapshot>,
    pub(crate) member_coalescer: Option<MemberCoalescer>,
    pub(crate) user_coalescer: Option<UserCoalescer>,
}

impl Delivery {
    /// Records an event in the snapshot, if one is kept.
    pub(crate) fn record(&mut self, event: &Event, clock: LamportTime) {
        if let Some(snapshot) = &mut self.snapshot {
            snapshot.on_event(event, clock);
        }
    }

    /// Delivers an event, at once or through its coalescer; internal queries are answered by the
    /// engine instead.
    pub(crate) fn emit(
        &mut self,
        now: Instant,
        event: Event,
        effects: &mut Effects,
        logs: &mut Logs,
    ) {
        let event = match event {
            Event::Query(query) => match InternalQuery::parse(query.name.as_bytes()) {
                Some(Ok(kind)) => {
                    let request = InternalRequest { id: query.id, kind, payload: query.payload };
                    return effects.act(Action::Internal(request));
                }
                Some(Err(rest)) => {
                    if logs.old.admit(now) {
                        let rest = printable(rest);
                        warn!(target: "serf", "Unhandled internal query '{PREFIX}{rest}'");
                    }
                    return;
                }
                None => Event::Query(query),
            },
            Event::User(event) if event.coalesce => match &mut self.user_coalescer {
                Some(coalescer) => return coalescer.hold(now, event),
                None => Event::User(event),
            },
            Event::Member(event) => match &mut self.member_coalescer {
                Some(coalescer) => return coalescer.hold(now, event),
                None => Event::Member(event),
            },
            event @ Event::User(_) => event,
        };
        effects.output(Output::Event(event));
    }

    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        let member = self.member_coalescer.as_ref().and_then(MemberCoalescer::deadline);
        let user = self.user_coalescer.as_ref().and_then(UserCoalescer::deadline);
        member.into_iter().chain(user).min()
    }

    /// Delivers all that coalescers hold.
    pub(crate) fn flush_all(&mut self, effects: &mut Effects) {
        while self.next_timeout().is_some() {
            self.flush(Instant::FAR_FUTURE, effects);
        }
    }

    /// Delivers what coalescers hold whose deadline has passed; of many members some.
    pub(crate) fn flush(&mut self, now: Instant, effects: &mut Effects) {
        let due = |deadline: Option<Instant>| deadline.is_some_and(|deadline| deadline <= now);
        let outputs = &mut effects.outputs;
        if let Some(coalescer) = &mut self.user_coalescer
            && due(coalescer.deadline())
        {
            outputs.extend(coalescer.flush().map(|event| Output::Event(Event::User(event))));
        }
        if let Some(coalescer) = &mut self.member_coalescer
            && due(coalescer.deadline())
        {
            let events = coalescer.flush(now).into_iter();
            outputs.extend(events.map(|event| Output::Event(Event::Member(event))));
        }
    }
}
