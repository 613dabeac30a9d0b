//! Queries: asks, receives, answers and relays them.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use tracing::{debug, error, warn};

use super::{
    Config, Error, Event, Filter, LamportTime, MemberStatus, Message, Oversize, QueryId,
    QueryParams,
    asked::{Asked, Asker, Expected},
    broadcasts::{Broadcasts, QueueKind},
    context::Context,
    filter::Filters,
    members::Members,
    membership::Membership,
    message,
    received::{QueryRing, Received, ReceivedQuery, Target},
    regex::Allowance,
    ring::{Admission, is_too_old},
};
use crate::{
    base::{Instant, printable},
    msgpack::Bin,
    wire::RawAddr,
};

/// Queries of this node, queries to be answered, and ids of recent queries.
pub(crate) struct Queries {
    /// Queries with an earlier Lamport time are not delivered.
    min_time: LamportTime,
    ring: QueryRing,
    pub(crate) asked: Asked,
    pub(crate) received: Received,
    pub(crate) filters: Filters,
}

/// A query to ask.
#[derive(Clone, Copy)]
pub(crate) struct Question<'a> {
    pub(crate) asker: Asker,
    /// Number of alive nodes.
    pub(crate) nodes: usize,
    pub(crate) name: &'a [u8],
    pub(crate) payload: &'a [u8],
    pub(crate) params: &'a QueryParams,
}

impl Queries {
    pub(crate) fn new(min_time: LamportTime, ring: QueryRing, now: Instant) -> Self {
        Self {
            min_time,
            ring,
            asked: Asked::default(),
            received: Received::default(),
            filters: Filters::new(now),
        }
    }

    /// Asks a query. Go: `serf/serf.go:Query`.
    ///
    /// # Errors
    /// The query is too large, or the protocol version is below 4.
    pub(crate) fn ask(
        &mut self,
        cx: &mut Context,
        members: &Membership,
        broadcasts: &mut Broadcasts,
        question: Question<'_>,
    ) -> Result<QueryId, Error> {
        let Question { asker, nodes, name, payload, params } = question;
        if cx.config.protocol_version < 4 {
            return Err(Error::ProtocolTooOld);
        }
        let timeout = match params.timeout {
            Duration::ZERO => default_timeout(&cx.config, nodes),
            timeout => timeout,
        };
        let filters = encode_filters(&cx.config, params);
        let local = members.local();
        let id = QueryId { ltime: cx.clocks.query.time(), id: cx.rng.u32() >> 1 };
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
            name,
            payload: payload.into(),
        };
        let raw = cx.encode(&Message::Query(query.clone()));
        Oversize::Query.check(raw.len(), cx.config.query_size_limit)?;
        let expected = match asker {
            Asker::User | Asker::Keys(_) => self.expected(cx, &members.table, &query),
            Asker::Vote => Expected::NOBODY,
        };
        self.asked.begin(cx, id, asker, cx.now + timeout, params.request_ack, expected);
        self.handle(cx, &members.table, &query);
        broadcasts.push(cx, QueueKind::Query, raw.into(), None);
        Ok(id)
    }

    /// Delivers a query of ours or a peer's, if it is new and for us; returns whether to gossip it.
    /// Go: `serf/serf.go:handleQuery`.
    pub(crate) fn handle(
        &mut self,
        cx: &mut Context,
        members: &Members,
        query: &message::Query<'_>,
    ) -> bool {
        cx.clocks.query.witness(query.ltime);
        if query.ltime < self.min_time {
            return false;
        }
        if is_too_old(cx.clocks.query.time(), query.ltime, self.ring.len()) {
            if cx.logs.old.admit(cx.now) {
                warn!(
                    target: "serf",
                    "received old query {} from time {} (current: {})",
                    printable(query.name), query.ltime.0, cx.clocks.query.time().0
                );
            }
            return false;
        }
        let id = QueryId { ltime: query.ltime, id: query.id };
        match self.ring.admit(id) {
            Admission::New => {}
            Admission::Duplicate => return false,
            Admission::Full => {
                cx.stats.dropped_queries += 1;
                return false;
            }
        }
        cx.stats.queries += 1;
        let name = cx.names.count(query.name, |counts| counts.queries += 1);
        let rebroadcast = query.flags & message::Query::NO_BROADCAST == 0;
        if !self.filters.concern_us(cx, query) {
            return rebroadcast;
        }
        let target = Target::of(query);
        if query.flags & message::Query::ACK != 0 {
            send_ack(cx, members, id, &target);
        }
        // A query with a negative timeout has already ended.
        let timeout = query.timeout_ns.min(TIMEOUT_NS_MAX);
        let deadline = cx.now.as_nanos().saturating_add_signed(timeout);
        let deadline = Instant::from_nanos(deadline);
        let source_node = target.node.clone();
        let source_addr = target.socket_addr();
        self.received.expire(cx.now);
        self.received.insert(id, ReceivedQuery { target, deadline, answered: false });
        cx.emit(Event::Query(super::Query {
            id,
            name,
            payload: Bytes::copy_from_slice(query.payload.as_slice()),
            source_node,
            source_addr,
            deadline,
        }));
        rebroadcast
    }

    /// Answers a query. Go: `serf/event.go:Query.Respond`.
    ///
    /// # Errors
    /// The query was answered before, its deadline has passed, or the answer is too large; Go's
    /// texts.
    pub(crate) fn respond(
        &mut self,
        cx: &mut Context,
        members: &Members,
        id: QueryId,
        payload: &[u8],
    ) -> Result<(), Error> {
        let raw = encode_response(cx, id, payload);
        Oversize::Response.check(raw.len(), cx.config.query_response_size_limit)?;
        let query = self.received.get(id);
        let query = query.ok_or(Error::DeadlinePassed)?;
        if query.answered {
            return Err(Error::AlreadyAnswered);
        }
        if cx.now > query.deadline {
            return Err(Error::DeadlinePassed);
        }
        let target = query.target.clone();
        let Some(to) = target.socket_addr() else {
            return Err(Error::NoReturnAddress);
        };
        cx.effects.send(to, raw.clone());
        relay(cx, members, &target, &raw)?;
        if let Some(query) = self.received.get_mut(id) {
            query.answered = true;
        }
        Ok(())
    }

    /// Forwards an answer on behalf of a peer. Go: `serf/delegate.go:NotifyMsg`, relay.
    pub(crate) fn forward(cx: &mut Context, relay: &message::Relay<'_>) {
        // Only answers are ever relayed; anything else would make this node an amplifier.
        let is_answer = matches!(cx.admit(relay.message), Ok(Message::QueryResponse(_)));
        let to = u16::try_from(relay.dest_port)
            .ok()
            .and_then(|port| RawAddr::from_wire(relay.dest_addr.as_slice())?.socket_addr(port));
        let (Some(to), true) = (to, is_answer) else {
            cx.stats.dropped_malformed += 1;
            if cx.logs.details.admit(cx.now) {
                let node = printable(relay.dest_name);
                debug!(target: "serf", %node, "dropping relay message");
            }
            return;
        };
        if cx.logs.details.admit(cx.now) {
            debug!(target: "serf", "Relaying response to addr: {to}");
        }
        cx.effects.send(to, relay.message.to_vec());
    }

    /// Alive members that match the filters.
    fn expected(
        &mut self,
        cx: &mut Context,
        members: &Members,
        query: &message::Query<'_>,
    ) -> Expected {
        let members = members.roster();
        if query.filters.is_empty() {
            return Expected::Alive(members.clone());
        }
        let alive = members.iter().filter(|member| member.status == MemberStatus::Alive);
        let mut work = Allowance(OWN_WORK_MAX);
        let wanted =
            alive.filter(|member| self.filters.match_member(cx, query, Some(member), &mut work));
        Expected::These(wanted.map(|member| member.name.clone()).collect())
    }
}

/// Default time limit for answers in a cluster of `nodes` nodes. Go: `DefaultQueryTimeout`.
pub(crate) fn default_timeout(config: &Config, nodes: usize) -> Duration {
    let digits = nodes.checked_ilog10().map_or(0, |log| log + 1);
    let mult = config.query_timeout_mult.saturating_mul(digits);
    config.swim.gossip_interval.saturating_mul(mult)
}

/// Encodes an answer with `payload`.
pub(crate) fn encode_response(cx: &Context, id: QueryId, payload: &[u8]) -> Vec<u8> {
    let response = message::QueryResponse {
        ltime: id.ltime,
        id: id.id,
        from: cx.name.as_bytes(),
        flags: 0,
        payload: payload.into(),
    };
    cx.encode(&Message::QueryResponse(response))
}

/// Go: `serf/query.go:relayResponse`.
fn relay(
    cx: &mut Context,
    members: &Members,
    target: &Target,
    response: &[u8],
) -> Result<(), Error> {
    let factor = usize::from(target.relay_factor);
    if factor == 0 || members.len() < factor + 1 {
        return Ok(());
    }
    let relay = message::Relay {
        dest_addr: (&*target.addr).into(),
        dest_port: i64::from(target.port),
        dest_name: target.node.as_bytes(),
        message: response,
    };
    let raw = cx.encode(&Message::Relay(relay));
    Oversize::RelayedResponse.check(raw.len(), cx.config.query_response_size_limit)?;
    for to in relays(cx, members, factor) {
        cx.effects.send(to, raw.clone());
    }
    Ok(())
}

/// Up to `count` distinct members that can relay, chosen at random. Go:
/// `serf/query.go:kRandomMembers`.
fn relays(cx: &mut Context, members: &Members, count: usize) -> Vec<SocketAddr> {
    let mut relays: Vec<(SocketAddr, Arc<str>)> = Vec::new();
    // If most members are gone, it is pointless to try all.
    for _ in 0..(3 * members.len()).min(RELAY_TRIES_MAX) {
        if relays.len() == count {
            break;
        }
        let Some(entry) = members.at(cx.rng.below(members.len())) else { break };
        let member = &entry.member;
        let usable = member.status == MemberStatus::Alive
            && member.vsn.max() >= RELAY_PROTOCOL_MIN
            && *member.name != *cx.name
            && !relays.iter().any(|(_, name)| *name == member.name);
        if let (true, Some(addr)) = (usable, member.addr()) {
            relays.push((addr, member.name.clone()));
        }
    }
    relays.into_iter().map(|(addr, _)| addr).collect()
}

fn send_ack(cx: &mut Context, members: &Members, id: QueryId, target: &Target) {
    let Some(to) = target.socket_addr() else {
        if cx.logs.answers.admit(cx.now) {
            error!(target: "serf", "failed to send ack: the query carries no valid address");
        }
        return;
    };
    let ack = message::QueryResponse {
        ltime: id.ltime,
        id: id.id,
        from: cx.name.as_bytes(),
        flags: message::Query::ACK,
        payload: Bin::NIL,
    };
    let raw = cx.encode(&Message::QueryResponse(ack));
    cx.effects.send(to, raw.clone());
    if let Err(error) = relay(cx, members, target, &raw)
        && cx.logs.answers.admit(cx.now)
    {
        error!(target: "serf", "failed to relay ack: {error}");
    }
}

fn encode_filters(config: &Config, params: &QueryParams) -> Vec<Vec<u8>> {
    let encode = |filter: &Filter<'_>| {
        let mut raw = Vec::new();
        config.transform.encode_filter(filter, &mut raw);
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

/// Most members tried to find relays.
const RELAY_TRIES_MAX: usize = 1_024;
/// Lowest memberlist protocol of a relaying member. Go: `serf/query.go:relayResponse`.
const RELAY_PROTOCOL_MIN: u8 = 5;
/// Longest time limit accepted in a peer's query: a day, in nanoseconds.
const TIMEOUT_NS_MAX: i64 = 24 * 3_600 * 1_000_000_000;
/// Work for the expressions of an own query, over all members: about 100 ms.
const OWN_WORK_MAX: u64 = 20_000_000;
