//! Shared by all parts of the state: settings, time of the current call, clocks, counters, and the
//! queue of effects.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use super::{
    Config, Error, Event, EventName, Member, MemberEvent, MemberEventKind, Message, Oversize,
    SerfState, Stats, Tags,
    admission::{self, Refusal},
    chunk::Chunk,
    delivery::Delivery,
    effects::{Effects, Timer},
    lamport::LamportClock,
    logs::Logs,
};
use crate::{
    base::{Instant, Rng, mutated},
    wire::limits::META_BYTES_MAX,
};

pub(crate) struct Context {
    pub(crate) config: Config,
    pub(crate) name: Arc<str>,
    /// Our tags, as announced.
    pub(crate) tags: Tags,
    /// Our tags, encoded.
    pub(crate) meta: Arc<[u8]>,
    pub(crate) life: SerfState,
    /// Time of the current call; the state has no other clock.
    pub(crate) now: Instant,
    pub(crate) rng: Rng,
    pub(crate) clocks: Clocks,
    pub(crate) delivery: Delivery,
    pub(crate) effects: Effects,
    pub(crate) stats: Stats,
    pub(crate) logs: Logs,
    pub(crate) names: Names,
    pub(crate) payloads: Chunk,
}

/// The three Lamport clocks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clocks {
    pub(crate) member: LamportClock,
    pub(crate) event: LamportClock,
    pub(crate) query: LamportClock,
}

/// How many events and queries of one name were received.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NameCounts {
    /// User events; `serf.events.<name>`.
    pub events: u64,
    /// Queries, including internal and filtered ones; `serf.queries.<name>`.
    pub queries: u64,
}

/// Number of user events and queries by name since the driver last took the counts.
#[derive(Default)]
pub(crate) struct Names {
    counts: BTreeMap<Arc<str>, NameCounts>,
    /// The last name, and what is not added to its counts yet: a flood has few names.
    last: Option<(EventName, NameCounts)>,
}

impl Names {
    /// Counts an event or query under its name, which is returned: equal names in a row share their
    /// memory. Names come from the network: once there are [`NAMES_MAX`], new names are not counted
    /// until the driver has taken the counts.
    pub(crate) fn count(&mut self, name: &[u8], add: impl FnOnce(&mut NameCounts)) -> EventName {
        if self.last.as_ref().is_none_or(|(last, _)| last.as_bytes() != name) {
            self.settle();
        }
        let (name, counts) =
            self.last.get_or_insert_with(|| (EventName::from(name), NameCounts::default()));
        add(counts);
        name.clone()
    }

    pub(crate) fn take(&mut self) -> BTreeMap<Arc<str>, NameCounts> {
        self.settle();
        std::mem::take(&mut self.counts)
    }

    /// Adds the counts of the last name.
    fn settle(&mut self) {
        let Some((name, new)) = self.last.take() else { return };
        let name = name.text();
        if let Some(counts) = self.counts.get_mut(name) {
            counts.add(new);
        } else if self.counts.len() < NAMES_MAX && name.len() <= COUNTED_NAME_BYTES_MAX {
            self.counts.insert(Arc::clone(name), new);
        }
    }
}

impl NameCounts {
    fn add(&mut self, more: Self) {
        self.events += more.events;
        self.queries += more.queries;
    }
}

impl Context {
    /// Passes an event on to coalescing and delivery.
    pub(crate) fn emit(&mut self, event: Event) {
        let forgets = mutated!(self.config.swim, SnapshotForgets)
            && matches!(&event, Event::Member(event) if event.kind != MemberEventKind::Join);
        if !forgets {
            self.delivery.record(&event, self.clocks.member.time());
        }
        self.delivery.emit(self.now, event, &mut self.effects, &mut self.logs);
    }

    pub(crate) fn emit_member(&mut self, kind: MemberEventKind, member: Arc<Member>) {
        self.emit(Event::Member(MemberEvent { kind, members: vec![member] }));
    }

    /// Decodes and validates a message; refused messages are counted.
    pub(crate) fn admit<'a>(&mut self, raw: &'a [u8]) -> Result<Message<'a>, Refusal> {
        admission::read(&*self.config.transform, raw).inspect_err(|refusal| self.refuse(refusal))
    }

    /// Counts a refused message.
    pub(crate) fn refuse(&mut self, refusal: &Refusal) {
        let counter = match refusal {
            Refusal::Malformed(_) => &mut self.stats.dropped_malformed,
            Refusal::Size => &mut self.stats.refused_sizes,
            Refusal::Node(_) => &mut self.stats.refused_names,
            Refusal::Address => &mut self.stats.refused_addresses,
            Refusal::Filters => &mut self.stats.refused_filters,
        };
        *counter += 1;
    }

    pub(crate) fn encode(&self, message: &Message<'_>) -> Vec<u8> {
        let mut raw = Vec::new();
        self.config.transform.encode_message(message, &mut raw);
        raw
    }

    pub(crate) fn start_timer(&mut self, after: Duration, timer: Timer) {
        self.effects.timers.set(self.now + after, timer);
    }

    /// Makes the snapshot hand out its buffered lines, if one is kept.
    pub(crate) fn write_snapshot(&mut self, incarnation: u32) {
        if let Some(snapshot) = &mut self.delivery.snapshot {
            snapshot.on_timer(self.now, self.clocks.member.time(), incarnation);
            self.effects.timers.set(snapshot.next(), Timer::Snapshot);
        }
    }

    /// Earliest deadline of timers, coalescers and snapshot.
    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        let timer = self.effects.timers.next();
        timer.into_iter().chain(self.delivery.next_timeout()).min()
    }

    /// Delivers what coalescers hold that are due.
    pub(crate) fn flush_coalescers(&mut self) {
        self.delivery.flush(self.now, &mut self.effects);
    }

    /// Delivers what they hold whether due or not, since nothing comes after it.
    pub(crate) fn end_coalescers(&mut self) {
        self.delivery.flush_all(&mut self.effects);
    }
}

/// Encodes tags as a node's meta.
///
/// # Errors
/// The encoded tags are too long; Go's text.
pub(crate) fn encode_tags(config: &Config, tags: &Tags) -> Result<Arc<[u8]>, Error> {
    let mut meta = Vec::new();
    config.transform.encode_tags(config.protocol_version, tags, &mut meta);
    Oversize::Tags.check(meta.len(), META_BYTES_MAX)?;
    Ok(meta.into())
}

/// Most names counted until the driver takes the counts.
const NAMES_MAX: usize = 256;
/// Longest name that is counted separately.
const COUNTED_NAME_BYTES_MAX: usize = 255;
