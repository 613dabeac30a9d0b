//! Received queries: each is handled once, and can be answered until its deadline.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::Arc,
};

use super::{LamportTime, QueryId, message, ring::Admission};
use crate::{base::Instant, wire::RawAddr};

/// Ids of recent queries, stored by Lamport time modulo the length. Go: `queryBuffer`, whose slots
/// are unbounded.
pub(crate) struct QueryRing {
    slots: Vec<(LamportTime, BTreeSet<u32>)>,
    ids: usize,
    /// Times before this were evicted to make room: queries with such times are refused.
    floor: LamportTime,
}

impl QueryRing {
    /// Creates a ring for `len` Lamport times, at least one.
    pub(crate) fn new(len: usize) -> Self {
        let slots = vec![(LamportTime(0), BTreeSet::new()); len.max(1)];
        Self { slots, ids: 0, floor: LamportTime(0) }
    }

    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    /// Classifies a query; records it if it is new.
    pub(super) fn admit(&mut self, id: QueryId) -> Admission {
        if id.ltime < self.floor {
            return Admission::Full;
        }
        let index = usize::try_from(id.ltime.0 % self.slots.len() as u64).unwrap_or(0);
        if self.slots.get(index).is_some_and(|(ltime, ids)| *ltime != id.ltime && !ids.is_empty()) {
            self.clear(index);
        }
        if self.slots.get(index).is_some_and(|(_, ids)| ids.contains(&id.id)) {
            return Admission::Duplicate;
        }
        while self.ids >= RING_QUERIES_MAX {
            if !self.forget_oldest(id.ltime) {
                return Admission::Full;
            }
        }
        let Some((ltime, ids)) = self.slots.get_mut(index) else { return Admission::Full };
        *ltime = id.ltime;
        ids.insert(id.id);
        self.ids += 1;
        Admission::New
    }

    /// Evicts the oldest time, if there is one before `ltime`.
    fn forget_oldest(&mut self, ltime: LamportTime) -> bool {
        let times = self.slots.iter().enumerate().filter(|(_, (_, ids))| !ids.is_empty());
        let oldest = times.map(|(at, (time, _))| (*time, at)).min();
        let Some((time, at)) = oldest.filter(|(time, _)| *time < ltime) else { return false };
        self.clear(at);
        self.floor = LamportTime(time.0.saturating_add(1));
        true
    }

    fn clear(&mut self, index: usize) {
        let Some((_, ids)) = self.slots.get_mut(index) else { return };
        self.ids -= ids.len().min(self.ids);
        ids.clear();
    }
}

/// Queries that can be answered, until their deadline.
#[derive(Default)]
pub(crate) struct Received {
    queries: BTreeMap<QueryId, ReceivedQuery>,
    by_deadline: BTreeSet<(Instant, QueryId)>,
}

pub(super) struct ReceivedQuery {
    pub(super) target: Target,
    pub(super) deadline: Instant,
    pub(super) answered: bool,
}

/// Destination of acks and answers. All of it has been validated, so that it is small.
#[derive(Clone, Debug)]
pub(super) struct Target {
    pub(super) addr: Box<[u8]>,
    pub(super) port: u16,
    pub(super) node: Arc<str>,
    pub(super) relay_factor: u8,
}

impl Target {
    pub(super) fn of(query: &message::Query<'_>) -> Self {
        Self {
            addr: query.addr.as_slice().into(),
            port: query.port,
            node: String::from_utf8_lossy(query.source_node).into(),
            relay_factor: query.relay_factor,
        }
    }

    pub(super) fn socket_addr(&self) -> Option<SocketAddr> {
        RawAddr::from_wire(&self.addr)?.socket_addr(self.port)
    }
}

impl Received {
    pub(super) fn get(&self, id: QueryId) -> Option<&ReceivedQuery> {
        self.queries.get(&id)
    }

    pub(super) fn get_mut(&mut self, id: QueryId) -> Option<&mut ReceivedQuery> {
        self.queries.get_mut(&id)
    }

    /// Records a query; if there are too many, evicts the one with the latest deadline.
    pub(super) fn insert(&mut self, id: QueryId, query: ReceivedQuery) {
        let deadline = query.deadline;
        if let Some(replaced) = self.queries.insert(id, query) {
            self.by_deadline.remove(&(replaced.deadline, id));
        }
        self.by_deadline.insert((deadline, id));
        if self.queries.len() > RECEIVED_MAX
            && let Some((_, last)) = self.by_deadline.pop_last()
        {
            self.queries.remove(&last);
        }
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.queries.len()
    }

    /// Forgets queries whose deadline has passed.
    pub(crate) fn expire(&mut self, now: Instant) {
        while let Some((deadline, _)) = self.by_deadline.first()
            && *deadline < now
        {
            if let Some((_, id)) = self.by_deadline.pop_first() {
                self.queries.remove(&id);
            }
        }
    }
}

/// Most query ids recorded to handle each query once; the oldest times are evicted.
const RING_QUERIES_MAX: usize = 262_144;
/// Most queries that can be answered at the same time.
const RECEIVED_MAX: usize = 4_096;
