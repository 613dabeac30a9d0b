//! Queries that this node asked, and their answers.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use tracing::{debug, warn};

use super::{
    MemberStatus, QueryId,
    context::Context,
    effects::Timer,
    members::{Entry, Members},
    message,
    roster::Roster,
};
use crate::{
    base::{Instant, mutated, printable},
    swim::{OpId, Origin, Seal},
};

/// Receiver of the answers to a query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asker {
    /// The application.
    User,
    /// A key operation of this node.
    Keys(OpId),
    /// The vote on our name.
    Vote,
}

/// Queries that this node asked, until their deadline. Go keys them by Lamport time alone, so that
/// two queries of the same time interfere.
#[derive(Default)]
pub(crate) struct Asked {
    queries: BTreeMap<QueryId, AskedQuery>,
}

struct AskedQuery {
    asker: Asker,
    deadline: Instant,
    closed: bool,
    wants_acks: bool,
    acks: BTreeSet<Arc<str>>,
    responses: BTreeSet<Arc<str>>,
    expected: Expected,
}

/// Nodes expected to ack or answer.
pub(crate) enum Expected {
    /// Those that were alive when the query was asked.
    Alive(Roster),
    These(Vec<Arc<str>>),
}

impl Expected {
    pub(crate) const NOBODY: Self = Self::These(Vec::new());

    /// Those of which `silent` returns true.
    fn missing(self, silent: impl Fn(&Arc<str>) -> bool) -> Vec<Arc<str>> {
        match self {
            Self::Alive(members) => {
                let alive = members.iter().filter(|member| member.status == MemberStatus::Alive);
                alive.map(|member| &member.name).filter(|name| silent(name)).cloned().collect()
            }
            Self::These(names) => names.into_iter().filter(silent).collect(),
        }
    }
}

/// An accepted ack or answer.
pub(crate) struct Answer<'a> {
    pub(crate) id: QueryId,
    pub(crate) asker: Asker,
    pub(crate) from: Arc<str>,
    pub(crate) is_ack: bool,
    pub(crate) payload: &'a [u8],
}

/// A query that has ended.
pub(crate) struct Finished {
    pub(crate) id: QueryId,
    pub(crate) asker: Asker,
    /// The asker closed it early.
    pub(crate) closed: bool,
    /// Expected nodes that sent neither ack nor answer.
    pub(crate) missing: Vec<Arc<str>>,
}

impl Asked {
    /// Registers a query: collects answers until `deadline`, at least those of `expected`.
    pub(crate) fn begin(
        &mut self,
        cx: &mut Context,
        id: QueryId,
        asker: Asker,
        deadline: Instant,
        wants_acks: bool,
        expected: Expected,
    ) {
        start_timer(cx, deadline, id);
        let query = AskedQuery {
            asker,
            deadline,
            closed: false,
            wants_acks,
            acks: BTreeSet::new(),
            responses: BTreeSet::new(),
            expected,
        };
        self.queries.insert(id, query);
    }

    /// Handles an ack or answer to a query of ours; returns it if it is the first of its sender.
    /// Go: `serf/serf.go:handleQueryResponse`.
    pub(crate) fn take_response<'r>(
        &mut self,
        cx: &mut Context,
        members: &Members,
        response: &'r message::QueryResponse<'_>,
        origin: Origin,
    ) -> Option<Answer<'r>> {
        let id = QueryId { ltime: response.ltime, id: response.id };
        // Validation has ensured that it is text.
        let from = std::str::from_utf8(response.from).unwrap_or_default();
        let Some(query) = self.queries.get_mut(&id) else {
            self.log_stray_response(cx, id, from);
            return None;
        };
        if query.closed || cx.now > query.deadline {
            return None;
        }
        let trusted = match query.asker {
            Asker::User => true,
            Asker::Keys(_) => members.get(from).is_some_and(is_alive),
            Asker::Vote => members.get(from).is_some_and(|e| is_alive(e) && speaks(e, origin)),
        };
        if !trusted {
            cx.stats.ignored_responses += 1;
            debug!(target: "serf", "ignoring the answer of {from} at {}: no member", origin.from);
            return None;
        }
        let is_ack = response.flags & message::Query::ACK != 0;
        let seen = if is_ack { &mut query.acks } else { &mut query.responses };
        if seen.contains(from) && !mutated!(cx.config.swim, AnswersTwice) {
            let duplicates = if is_ack {
                &mut cx.stats.query_duplicate_acks
            } else {
                &mut cx.stats.query_duplicate_responses
            };
            *duplicates += 1;
            return None;
        }
        // Names can be forged, and nodes that joined later answer, too.
        let full = seen.len() >= members.len() + STRANGERS_MAX;
        if full || (is_ack && !query.wants_acks) {
            if cx.logs.answers.admit(cx.now) {
                warn!(target: "serf", "Failed to deliver query response, dropping");
            }
            return None;
        }
        let from: Arc<str> = from.into();
        seen.insert(from.clone());
        let asker = query.asker;
        if is_ack {
            cx.stats.query_acks += 1;
        } else {
            cx.stats.query_responses += 1;
        }
        Some(Answer { id, asker, from, is_ack, payload: response.payload.as_slice() })
    }

    /// Removes and returns an ended query.
    fn finish(&mut self, id: QueryId) -> Option<Finished> {
        let query = self.queries.remove(&id)?;
        let silent =
            |name: &Arc<str>| !query.acks.contains(name) && !query.responses.contains(name);
        let missing = query.expected.missing(silent);
        Some(Finished { id, asker: query.asker, closed: query.closed, missing })
    }

    /// Closes a query before its deadline. It stays registered for a while, so that answers in
    /// flight are not reported as unexpected.
    pub(crate) fn close(&mut self, now: Instant, id: QueryId) {
        let Some(query) = self.queries.get_mut(&id) else { return };
        query.closed = true;
        query.expected = Expected::NOBODY;
        query.acks.clear();
        query.responses.clear();
        query.deadline = query.deadline.min(now + CLOSED_QUERY_TIME);
    }

    /// A timer of a query fired: ends it at its deadline, which closing moves forward. Each query
    /// has one timer at a time, so that the timers of closed ones do not accumulate.
    pub(crate) fn handle_timer(&mut self, cx: &mut Context, id: QueryId) -> Option<Finished> {
        let deadline = self.deadline(id)?;
        if deadline > cx.now {
            start_timer(cx, deadline, id);
            return None;
        }
        self.finish(id)
    }

    /// Deadline of a query that we asked.
    pub(crate) fn deadline(&self, id: QueryId) -> Option<Instant> {
        self.queries.get(&id).map(|query| query.deadline)
    }

    /// Ids of the running queries.
    #[cfg(test)]
    pub(crate) fn ids(&self) -> impl Iterator<Item = QueryId> {
        self.queries.keys().copied()
    }

    fn log_stray_response(&self, cx: &mut Context, id: QueryId, from: &str) {
        if !cx.logs.answers.admit(cx.now) {
            return;
        }
        let same_time =
            QueryId { ltime: id.ltime, id: 0 }..=QueryId { ltime: id.ltime, id: u32::MAX };
        match self.queries.range(same_time).next() {
            Some((local, _)) => warn!(
                target: "serf",
                "query reply ID mismatch (Local: {}, Response: {})", local.id, id.id
            ),
            None => warn!(
                target: "serf",
                "reply for non-running query (LTime: {}, ID: {}) From: {}",
                id.ltime.0, id.id, printable(from)
            ),
        }
    }
}

fn start_timer(cx: &mut Context, deadline: Instant, id: QueryId) {
    cx.effects.timers.set(deadline.min(cx.now + CLOSED_QUERY_TIME), Timer::Query(id));
}

fn is_alive(entry: &Entry) -> bool {
    entry.member.status == MemberStatus::Alive
}

/// Whether an answer is authentic: encrypted with one of our keys, or at least sent from the
/// member's address.
fn speaks(entry: &Entry, origin: Origin) -> bool {
    let at = entry.member.addr().map(|addr| addr.ip());
    origin.seal == Seal::Key || at == Some(origin.from.ip().to_canonical())
}

/// Answers accepted in addition to one for each member.
const STRANGERS_MAX: usize = 64;
/// How long a query that was closed early stays registered.
const CLOSED_QUERY_TIME: Duration = Duration::from_secs(60);
