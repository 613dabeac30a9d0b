//! Queries: asking, receiving once, answering, relaying, collecting.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use tracing::{debug, error, warn};

use super::{
    Error, Event, EventName, Filter, MemberStatus, Message, Output, QueryId, QueryParams,
    QueryUpdate,
    membership::Entry,
    message,
    received::{ReceivedQuery, Target},
    regex::Allowance,
    state::{QueueKind, State, Timer},
    user_event::{Admission, is_too_old},
};
use crate::{
    base::{Instant, mutated, printable},
    msgpack::Bin,
    swim::{Author, OpId, Origin, Seal},
    wire::RawAddr,
};

/// Who gets the answers to a query that we asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asker {
    /// The application.
    User,
    /// A key operation.
    Keys(OpId),
    /// The vote over our name.
    Vote,
}

/// Queries that we asked, until their deadline. Go keys them by time alone, so that two of the
/// same time disturb each other.
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
    /// Nodes of which something is expected.
    expected: Vec<Arc<str>>,
}

impl State {
    /// Default time for answers in a cluster of `nodes`. Go: `DefaultQueryTimeout`.
    pub(crate) fn default_query_timeout(&self, nodes: usize) -> Duration {
        let digits = nodes.checked_ilog10().map_or(0, |log| log + 1);
        let mult = self.config.query_timeout_mult.saturating_mul(digits);
        self.config.swim.gossip_interval.saturating_mul(mult)
    }

    /// Asks a query of `nodes` alive nodes. Go: `serf/serf.go:Query`.
    pub(crate) fn ask(
        &mut self,
        now: Instant,
        nodes: usize,
        name: impl AsRef<[u8]>,
        payload: &[u8],
        params: &QueryParams,
        asker: Asker,
    ) -> Result<QueryId, Error> {
        if self.config.protocol_version < 4 {
            return Err(Error::State("Feature not supported"));
        }
        let timeout = match params.timeout {
            Duration::ZERO => self.default_query_timeout(nodes),
            timeout => timeout,
        };
        let filters = self.encode_filters(params);
        let local = self.local_member().clone();
        let id = QueryId { ltime: self.query_clock.time(), id: self.rng.u32() >> 1 };
        let query = message::Query {
            ltime: id.ltime,
            id: id.id,
            addr: (&*local.addr).into(),
            port: local.port,
            source_node: local.name.as_bytes(),
            filters: filters.iter().map(|filter| Bin::from(filter.as_slice())).collect(),
            flags: if params.request_ack { message::Query::ACK } else { 0 },
            relay_factor: params.relay_factor,
            timeout_ns: i64::try_from(timeout.as_nanos()).unwrap_or(i64::MAX),
            name: name.as_ref(),
            payload: payload.into(),
        };
        let mut raw = Vec::new();
        self.config.transform.encode_message(&Message::Query(query.clone()), &mut raw);
        let limit = self.config.query_size_limit;
        if raw.len() > limit {
            return Err(Error::Invalid(format!("query exceeds limit of {limit} bytes")));
        }
        let expected = match asker {
            Asker::User | Asker::Keys(_) => self.expected(&query),
            Asker::Vote => Vec::new(),
        };
        let deadline = now + timeout;
        self.start_query_timer(now, deadline, id);
        let asked = AskedQuery {
            asker,
            deadline,
            closed: false,
            wants_acks: params.request_ack,
            acks: BTreeSet::new(),
            responses: BTreeSet::new(),
            expected,
        };
        self.asked.queries.insert(id, asked);
        self.handle_query(now, &query);
        self.broadcast(QueueKind::Query, raw.into(), Author::Own(None));
        Ok(id)
    }

    /// A query arrived, or is our own; gives whether to gossip it on.
    /// Go: `serf/serf.go:handleQuery`.
    pub(crate) fn handle_query(&mut self, now: Instant, query: &message::Query<'_>) -> bool {
        self.query_clock.witness(query.ltime);
        if query.ltime < self.query_min_time {
            return false;
        }
        if is_too_old(self.query_clock.time(), query.ltime, self.queries.len()) {
            if self.logs.old.admit(self.now) {
                warn!(
                    target: "serf",
                    "received old query {} from time {} (current: {})",
                    printable(query.name), query.ltime.0, self.query_clock.time().0
                );
            }
            return false;
        }
        let id = QueryId { ltime: query.ltime, id: query.id };
        match self.queries.admit(id) {
            Admission::New => {}
            Admission::Duplicate => return false,
            Admission::Full => {
                self.stats.dropped_queries += 1;
                return false;
            }
        }
        self.stats.queries += 1;
        let name = EventName::from(query.name);
        self.count_name(name.text(), |counts| counts.queries += 1);
        let rebroadcast = query.flags & message::Query::NO_BROADCAST == 0;
        if !self.concerns_us(now, query) {
            return rebroadcast;
        }
        let target = Target::of(query);
        if query.flags & message::Query::ACK != 0 {
            self.send_ack(id, &target);
        }
        // A negative timeout is over before it begins.
        let timeout = query.timeout_ns.min(TIMEOUT_NS_MAX);
        let deadline = now.as_nanos().saturating_add_signed(timeout);
        let deadline = Instant::from_nanos(deadline);
        let source_node = target.node.clone();
        let source_addr = target.socket_addr();
        self.received.expire(now);
        self.received.insert(id, ReceivedQuery { target, deadline, answered: false });
        self.emit(
            now,
            Event::Query(super::Query {
                id,
                name,
                payload: Bytes::copy_from_slice(query.payload.as_slice()),
                source_node,
                source_addr,
                deadline,
            }),
        );
        rebroadcast
    }

    /// Answers a query. Go: `serf/event.go:Query.Respond`.
    pub(crate) fn respond(
        &mut self,
        now: Instant,
        id: QueryId,
        payload: &[u8],
    ) -> Result<(), Error> {
        let wrap = |error: &dyn std::fmt::Display| {
            Error::Invalid(format!("failed to respond to key query: {error}"))
        };
        let raw = self.encode_response(id, payload);
        let limit = self.config.query_response_size_limit;
        if raw.len() > limit {
            return Err(wrap(&format_args!("response exceeds limit of {limit} bytes")));
        }
        let query = self.received.get(id);
        let query = query.ok_or(Error::PastDeadline)?;
        if query.answered {
            return Err(wrap(&"response already sent"));
        }
        if now > query.deadline {
            return Err(Error::PastDeadline);
        }
        let target = query.target.clone();
        let Some(to) = target.socket_addr() else {
            return Err(wrap(&"the query carries no valid address"));
        };
        self.send(to, raw.clone());
        self.relay(&target, &raw).map_err(|error| wrap(&error))?;
        if let Some(query) = self.received.get_mut(id) {
            query.answered = true;
        }
        Ok(())
    }

    /// An answer with `payload`, encoded.
    pub(crate) fn encode_response(&self, id: QueryId, payload: &[u8]) -> Vec<u8> {
        let response = message::QueryResponse {
            ltime: id.ltime,
            id: id.id,
            from: self.name.as_bytes(),
            flags: 0,
            payload: payload.into(),
        };
        let mut raw = Vec::new();
        self.config.transform.encode_message(&Message::QueryResponse(response), &mut raw);
        raw
    }

    /// Somebody answered one of our queries. Go: `serf/serf.go:handleQueryResponse`.
    pub(crate) fn handle_query_response(
        &mut self,
        now: Instant,
        response: &message::QueryResponse<'_>,
        origin: Origin,
    ) {
        let id = QueryId { ltime: response.ltime, id: response.id };
        // The gate lets text pass alone.
        let from = std::str::from_utf8(response.from).unwrap_or_default();
        let members = self.members.len();
        let Some(query) = self.asked.queries.get_mut(&id) else {
            self.log_stray_response(id, from);
            return;
        };
        if query.closed || now > query.deadline {
            return;
        }
        let trusted = match query.asker {
            Asker::User => true,
            Asker::Keys(_) => self.members.get(from).is_some_and(is_alive),
            Asker::Vote => self.members.get(from).is_some_and(|e| is_alive(e) && speaks(e, origin)),
        };
        if !trusted {
            self.stats.ignored_responses += 1;
            debug!(target: "serf", "ignoring the answer of {from} at {}: no member", origin.from);
            return;
        }
        let is_ack = response.flags & message::Query::ACK != 0;
        let seen = if is_ack { &mut query.acks } else { &mut query.responses };
        if seen.contains(from) && !mutated!(self.config.swim, AnswersTwice) {
            let duplicates = if is_ack {
                &mut self.stats.query_duplicate_acks
            } else {
                &mut self.stats.query_duplicate_responses
            };
            *duplicates += 1;
            return;
        }
        // Names can be forged, and late joiners answer too.
        let full = seen.len() >= members + STRANGERS_MAX;
        if full || (is_ack && !query.wants_acks) {
            if self.logs.answers.admit(self.now) {
                warn!(target: "serf", "Failed to deliver query response, dropping");
            }
            return;
        }
        let from: Arc<str> = from.into();
        seen.insert(from.clone());
        let asker = query.asker;
        if is_ack {
            self.stats.query_acks += 1;
        } else {
            self.stats.query_responses += 1;
        }
        let payload = response.payload.as_slice();
        match asker {
            Asker::User => {
                let update = if is_ack {
                    QueryUpdate::Ack { from }
                } else {
                    QueryUpdate::Response { from, payload: Bytes::copy_from_slice(payload) }
                };
                self.outputs.push_back(Output::Query { id, update });
            }
            Asker::Keys(_) if is_ack => {}
            Asker::Keys(op) => self.handle_key_response(op, &from, payload),
            Asker::Vote if is_ack => {}
            Asker::Vote => self.handle_vote(payload),
        }
    }

    /// The time of a query that we asked is over.
    fn finish_query(&mut self, id: QueryId) {
        let Some(query) = self.asked.queries.remove(&id) else { return };
        let silent =
            |name: &Arc<str>| !query.acks.contains(name) && !query.responses.contains(name);
        let missing = query.expected.into_iter().filter(silent).collect();
        match query.asker {
            Asker::User if query.closed => {}
            Asker::User => {
                let update = QueryUpdate::Finished { missing };
                self.outputs.push_back(Output::Query { id, update });
            }
            Asker::Keys(op) => self.finish_key_op(op, missing),
            Asker::Vote => self.finish_vote(),
        }
    }

    /// Ends a query before its time, without a word. It is known for a while yet, so that answers
    /// under way are no surprise.
    pub(crate) fn close_query(&mut self, id: QueryId) {
        let Some(query) = self.asked.queries.get_mut(&id) else { return };
        query.closed = true;
        query.expected = Vec::new();
        query.acks.clear();
        query.responses.clear();
        query.deadline = query.deadline.min(self.now + CLOSED_QUERY_TIME);
    }

    /// A timer of a query fired: ends it at its deadline, which closing brings nearer. Each query
    /// has one timer at a time, so that those of closed ones do not add up.
    pub(crate) fn query_timeout(&mut self, now: Instant, id: QueryId) {
        match self.query_deadline(id) {
            Some(deadline) if deadline > now => self.start_query_timer(now, deadline, id),
            Some(_) => self.finish_query(id),
            None => {}
        }
    }

    fn start_query_timer(&mut self, now: Instant, deadline: Instant, id: QueryId) {
        self.timers.set(deadline.min(now + CLOSED_QUERY_TIME), Timer::Query(id));
    }

    /// Time left of a query that we asked.
    pub(crate) fn query_deadline(&self, id: QueryId) -> Option<Instant> {
        self.asked.queries.get(&id).map(|query| query.deadline)
    }

    /// Until when a query that we received can be answered.
    pub(crate) fn received_deadline(&self, id: QueryId) -> Option<Instant> {
        self.received.get(id).map(|query| query.deadline)
    }

    /// Queries under way.
    #[cfg(test)]
    pub(crate) fn asked_ids(&self) -> impl Iterator<Item = QueryId> {
        self.asked.queries.keys().copied()
    }

    /// Go: `serf/delegate.go:NotifyMsg`, relay.
    pub(crate) fn handle_relay(&mut self, relay: &message::Relay<'_>) {
        // Only answers are ever relayed; anything else would make us an amplifier.
        let is_answer = matches!(self.admit(relay.message), Ok(Message::QueryResponse(_)));
        let to = u16::try_from(relay.dest_port)
            .ok()
            .and_then(|port| socket_addr(relay.dest_addr.as_slice(), port));
        let (Some(to), true) = (to, is_answer) else {
            self.stats.dropped_malformed += 1;
            if self.logs.details.admit(self.now) {
                debug!(target: "serf", node = %printable(relay.dest_name), "dropping relay message");
            }
            return;
        };
        if self.logs.details.admit(self.now) {
            debug!(target: "serf", "Relaying response to addr: {to}");
        }
        self.send(to, relay.message.to_vec());
    }

    /// Go: `serf/query.go:relayResponse`.
    fn relay(&mut self, target: &Target, response: &[u8]) -> Result<(), Error> {
        let factor = usize::from(target.relay_factor);
        if factor == 0 || self.members.len() < factor + 1 {
            return Ok(());
        }
        let relay = message::Relay {
            dest_addr: (&*target.addr).into(),
            dest_port: i64::from(target.port),
            dest_name: target.node.as_bytes(),
            message: response,
        };
        let mut raw = Vec::new();
        self.config.transform.encode_message(&Message::Relay(relay), &mut raw);
        let limit = self.config.query_response_size_limit;
        if raw.len() > limit {
            let text = format!("relayed response exceeds limit of {limit} bytes");
            return Err(Error::Invalid(text));
        }
        for to in self.relays(factor) {
            self.send(to, raw.clone());
        }
        Ok(())
    }

    /// Up to `count` distinct members that can relay. Go: `serf/query.go:kRandomMembers`.
    fn relays(&mut self, count: usize) -> Vec<SocketAddr> {
        let mut relays: Vec<(SocketAddr, Arc<str>)> = Vec::new();
        let members = self.members.len();
        // In a table of members that are gone it is no use to try each.
        for _ in 0..(3 * members).min(RELAY_TRIES_MAX) {
            if relays.len() == count {
                break;
            }
            let Some(entry) = self.members.at(self.rng.below(members)) else { break };
            let member = &entry.member;
            let usable = member.status == MemberStatus::Alive
                && member.vsn.max() >= RELAY_PROTOCOL_MIN
                && *member.name != *self.name
                && !relays.iter().any(|(_, name)| *name == member.name);
            if let (true, Some(addr)) = (usable, member.socket_addr()) {
                relays.push((addr, member.name.clone()));
            }
        }
        relays.into_iter().map(|(addr, _)| addr).collect()
    }

    fn send_ack(&mut self, id: QueryId, target: &Target) {
        let Some(to) = target.socket_addr() else {
            if self.logs.answers.admit(self.now) {
                error!(target: "serf", "failed to send ack: the query carries no valid address");
            }
            return;
        };
        let ack = message::QueryResponse {
            ltime: id.ltime,
            id: id.id,
            from: self.name.as_bytes(),
            flags: message::Query::ACK,
            payload: Bin::NIL,
        };
        let mut raw = Vec::new();
        self.config.transform.encode_message(&Message::QueryResponse(ack), &mut raw);
        self.send(to, raw.clone());
        if let Err(error) = self.relay(target, &raw)
            && self.logs.answers.admit(self.now)
        {
            error!(target: "serf", "failed to relay ack: {error}");
        }
    }

    fn encode_filters(&self, params: &QueryParams) -> Vec<Vec<u8>> {
        let encode = |filter: &Filter<'_>| {
            let mut raw = Vec::new();
            self.config.transform.encode_filter(filter, &mut raw);
            raw
        };
        let nodes = params.filter_nodes.iter().map(String::as_bytes).collect::<Vec<_>>();
        let nodes = (!nodes.is_empty()).then(|| encode(&Filter::Nodes(nodes)));
        let tags = params
            .filter_tags
            .iter()
            .map(|(tag, expr)| encode(&Filter::Tag { tag: tag.as_bytes(), expr: expr.as_bytes() }));
        nodes.into_iter().chain(tags).collect()
    }

    /// Alive members that the filters let answer.
    fn expected(&mut self, query: &message::Query<'_>) -> Vec<Arc<str>> {
        let alive = |member: &&Arc<super::Member>| member.status == MemberStatus::Alive;
        let members = self.members.iter().map(|entry| &entry.member).filter(alive);
        if query.filters.is_empty() {
            return members.map(|member| member.name.clone()).collect();
        }
        let members = members.cloned().collect::<Vec<_>>();
        let mut work = Allowance(OWN_WORK_MAX);
        members
            .into_iter()
            .filter(|member| self.matches(query, Some(member), &mut work))
            .map(|member| member.name.clone())
            .collect()
    }

    fn log_stray_response(&mut self, id: QueryId, from: &str) {
        if !self.logs.answers.admit(self.now) {
            return;
        }
        let same_time =
            QueryId { ltime: id.ltime, id: 0 }..=QueryId { ltime: id.ltime, id: u32::MAX };
        match self.asked.queries.range(same_time).next() {
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

fn is_alive(entry: &Entry) -> bool {
    entry.member.status == MemberStatus::Alive
}

/// Whether a message is the member's own: it holds one of our keys, or at least its address.
fn speaks(entry: &Entry, origin: Origin) -> bool {
    let at = entry.member.socket_addr().map(|addr| addr.ip());
    origin.seal == Seal::Key || at == Some(origin.from.ip().to_canonical())
}

/// A raw address of 4 or 16 bytes.
pub(crate) fn socket_addr(addr: &[u8], port: u16) -> Option<SocketAddr> {
    RawAddr::from_wire(addr)?.socket_addr(port)
}

/// Members that are looked at to find relays.
const RELAY_TRIES_MAX: usize = 1_024;
/// Lowest memberlist protocol of a relay. Go: `serf/query.go:relayResponse`.
const RELAY_PROTOCOL_MIN: u8 = 5;
/// Longest time for the answers to a query of a peer: a day, in nanoseconds.
const TIMEOUT_NS_MAX: i64 = 24 * 3_600 * 1_000_000_000;
/// Work for the expressions of an own query, over all members: some 100 ms.
const OWN_WORK_MAX: u64 = 20_000_000;
/// Answers accepted beyond the number of members.
const STRANGERS_MAX: usize = 64;
/// How long a query that was closed early is known yet.
const CLOSED_QUERY_TIME: Duration = Duration::from_secs(60);
