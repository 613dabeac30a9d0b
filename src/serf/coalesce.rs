//! Coalescers: delay events so that a burst is delivered as few events. Go: `serf/coalesce*.go`.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use super::{EventName, LamportTime, Member, MemberEvent, MemberEventKind, UserEvent};
use crate::base::Instant;

/// When delayed events are delivered: at the end of the period, or earlier after a quiet time.
#[derive(Clone, Copy, Debug)]
struct Window {
    period: Duration,
    quiet: Duration,
    /// End of the period and of the quiet time, while an event is held.
    open: Option<(Instant, Instant)>,
}

impl Window {
    /// Creates a window, if both times are set.
    fn new(period: Duration, quiet: Duration) -> Option<Self> {
        let enabled = !period.is_zero() && !quiet.is_zero();
        enabled.then_some(Self { period, quiet, open: None })
    }

    fn touch(&mut self, now: Instant) {
        let end = self.open.map_or(now + self.period, |(end, _)| end);
        self.open = Some((end, now + self.quiet));
    }

    /// Closes the window at once.
    fn end(&mut self, now: Instant) {
        self.open = Some((now, now));
    }

    fn deadline(&self) -> Option<Instant> {
        self.open.map(|(end, quiet)| end.min(quiet))
    }
}

/// Keeps the last event of each member, and drops it if it repeats the last one delivered.
pub(crate) struct MemberCoalescer {
    window: Window,
    held: Changes,
    /// What is being let go; what comes meanwhile is held for the next time.
    flush: Option<Flush>,
    /// The kind delivered last for each member, unless the member was reaped.
    said: BTreeMap<Arc<str>, MemberEventKind>,
}

type Changes = BTreeMap<Arc<str>, (MemberEventKind, Arc<Member>)>;

/// Changes on their way out.
struct Flush {
    /// Not looked at yet.
    left: Changes,
    events: BTreeMap<MemberEventKind, Vec<Arc<Member>>>,
    next: Instant,
}

impl MemberCoalescer {
    pub(crate) fn new(period: Duration, quiet: Duration) -> Option<Self> {
        let window = Window::new(period, quiet)?;
        Some(Self { window, held: Changes::new(), flush: None, said: BTreeMap::new() })
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.flush.as_ref().map(|flush| flush.next).or_else(|| self.window.deadline())
    }

    pub(crate) fn hold(&mut self, now: Instant, event: MemberEvent) {
        self.window.touch(now);
        for member in event.members {
            self.held.insert(member.name.clone(), (event.kind, member));
        }
    }

    /// At most one event of each kind; none while there are more members than are looked at in one
    /// turn. Flushed events are dropped; Go keeps them and delivers updates again and again.
    pub(crate) fn flush(&mut self, now: Instant) -> Vec<MemberEvent> {
        let mut flush = self.flush.take().unwrap_or_else(|| {
            self.window.open = None;
            Flush { left: std::mem::take(&mut self.held), events: BTreeMap::new(), next: now }
        });
        for _ in 0..MEMBERS_AT_ONCE {
            let Some((name, (kind, member))) = flush.left.pop_first() else { break };
            let again = self.said.get(&name) == Some(&kind);
            if again && kind != MemberEventKind::Update {
                continue;
            }
            if kind == MemberEventKind::Reap {
                self.said.remove(&name);
            } else {
                self.said.insert(name, kind);
            }
            flush.events.entry(kind).or_default().push(member);
        }
        if !flush.left.is_empty() {
            flush.next = now + PAUSE;
            self.flush = Some(flush);
            return Vec::new();
        }
        let events = flush.events.into_iter();
        events.map(|(kind, members)| MemberEvent { kind, members }).collect()
    }
}

/// For each name, keeps the events with the newest Lamport time.
pub(crate) struct UserCoalescer {
    window: Window,
    held: BTreeMap<EventName, (LamportTime, Vec<UserEvent>)>,
    /// Bytes of names and payloads received since the last flush.
    bytes: usize,
}

impl UserCoalescer {
    pub(crate) fn new(period: Duration, quiet: Duration) -> Option<Self> {
        let window = Window::new(period, quiet)?;
        Some(Self { window, held: BTreeMap::new(), bytes: 0 })
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.window.deadline()
    }

    pub(crate) fn hold(&mut self, now: Instant, event: UserEvent) {
        self.window.touch(now);
        self.bytes += 2 * event.name.len() + event.payload.len() + EVENT_OVERHEAD;
        if self.bytes > HELD_BYTES_MAX {
            self.window.end(now);
        }
        let ltime = event.ltime;
        let (newest, events) =
            self.held.entry(event.name.clone()).or_insert_with(|| (ltime, Vec::new()));
        if ltime > *newest {
            *newest = ltime;
            events.clear();
        }
        if ltime == *newest {
            events.push(event);
        }
    }

    /// Returns the held events, sorted by name and then in the order received.
    pub(crate) fn flush(&mut self) -> impl Iterator<Item = UserEvent> + use<> {
        self.window.open = None;
        self.bytes = 0;
        std::mem::take(&mut self.held).into_values().flat_map(|(_, events)| events)
    }
}

/// Members looked at in one turn when they are let go: a millisecond of work.
const MEMBERS_AT_ONCE: usize = 512;
/// Time for other work before the next ones.
const PAUSE: Duration = Duration::from_millis(1);
/// When held user events exceed this many bytes, they are delivered at once.
const HELD_BYTES_MAX: usize = 1024 * 1024;
/// Approximate memory of an event in addition to its bytes.
const EVENT_OVERHEAD: usize = 128;

#[cfg(test)]
mod tests;
