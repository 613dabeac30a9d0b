//! Callbacks of the layer below: memberlist's delegates.

use std::{collections::BTreeSet, net::SocketAddr, sync::Arc, time::Duration};

use tracing::{debug, error, warn};

use super::{
    LamportTime, Member, MemberStatus, Message,
    admission::{Refusal, node_name},
    broadcasts::QueueKind,
    effects::Action,
    intents::IntentKind,
    internal_query::InternalQuery,
    lamport::LamportClock,
    message::{self, kind},
    query::Queries,
    state::State,
};
use crate::{
    base::{PRINTABLE_BYTES_MAX, mutated, printable, printable_text},
    swim::{Exchange, Host, NodeStateKind, NodeView, Origin, Seal},
};

impl Host for State {
    fn node_meta(&mut self, limit: usize) -> Arc<[u8]> {
        debug_assert!(self.cx.meta.len() <= limit, "tags are checked when they are set");
        self.cx.meta.clone()
    }

    fn zone(&self, meta: &Arc<[u8]>) -> Option<Arc<str>> {
        let (tags, _) = self.cx.config.transform.decode_tags(meta);
        tags.get(ZONE_TAG).filter(|zone| !zone.is_empty()).map(Arc::from)
    }

    // serf/delegate.go: NotifyMsg.
    fn on_user_message(&mut self, message: &[u8], origin: Origin) {
        let Some(&kind) = message.first() else { return };
        self.cx.stats.msgs_received.count(message.len());
        let what = match kind {
            kind::LEAVE => "leave",
            kind::JOIN => "join",
            kind::USER_EVENT => "user event",
            kind::QUERY => "query",
            kind::QUERY_RESPONSE => "query response",
            kind::RELAY => "relay",
            // Parts of wrapper messages, which are invalid on their own, and unknown types.
            _ => {
                if self.cx.logs.messages.admit(self.cx.now) {
                    warn!(target: "serf", "Received message of unknown type: {kind}");
                }
                return;
            }
        };
        match self.cx.admit(message) {
            Ok(decoded) => {
                log_message(&decoded);
                self.dispatch(&decoded, message, origin);
            }
            Err(Refusal::Malformed(_)) if !self.cx.logs.messages.admit(self.cx.now) => {}
            Err(Refusal::Malformed(error)) => {
                let error = printable_text(&error, 2 * PRINTABLE_BYTES_MAX);
                if kind == kind::RELAY {
                    error!(target: "serf", "Error decoding relay header: {error}");
                } else {
                    error!(target: "serf", "Error decoding {what} message: {error}");
                }
            }
            Err(refusal) => {
                if self.cx.logs.details.admit(self.cx.now) {
                    debug!(target: "serf", bytes = message.len(), "refusing {what}: {refusal}");
                }
            }
        }
    }

    fn take_broadcasts(
        &mut self,
        overhead: usize,
        limit: usize,
        copies: u32,
        emit: &mut dyn FnMut(&[u8]),
    ) {
        let members = self.members.table.len();
        self.broadcasts.fill_packet(&mut self.cx, members, overhead, limit, copies, emit);
    }

    fn broadcast_bytes(&self, overhead: usize) -> usize {
        self.broadcasts.bytes(overhead)
    }

    fn has_broadcasts(&self) -> bool {
        !self.broadcasts.is_empty()
    }

    fn local_state(&mut self, _join: bool, out: &mut Vec<u8>) {
        self.encode_local_state(out);
    }

    fn merge_remote_state(&mut self, state: &[u8], exchange: Exchange) {
        self.merge_state(state, exchange);
    }

    fn on_join(&mut self, node: &NodeView<'_>) {
        self.members.handle_node_join(&mut self.cx, node);
    }

    fn on_leave(&mut self, node: &NodeView<'_>) {
        self.members.handle_node_leave(&mut self.cx, node);
    }

    fn on_update(&mut self, node: &NodeView<'_>) {
        if self.members.table.get(node.name).is_none() {
            self.cx.effects.act(Action::Recheck(node.name.clone()));
            return;
        }
        self.members.handle_node_update(&mut self.cx, node);
    }

    fn on_conflict(&mut self, existing: &NodeView<'_>, other: &NodeView<'_>) {
        let Self { cx, members, conflict, .. } = self;
        conflict.handle(cx, members, existing, other);
    }

    // serf/merge_delegate.go: NotifyMerge.
    fn check_merge(&mut self, nodes: &[NodeView<'_>]) -> Result<(), String> {
        let Some(delegate) = self.cx.config.delegates.merge.clone() else { return Ok(()) };
        let members = nodes.iter().map(|node| self.candidate(node)).collect::<Result<Vec<_>, _>>();
        delegate.check_merge(&members?)
    }

    // serf/merge_delegate.go: NotifyAlive.
    fn check_alive(&mut self, node: &NodeView<'_>) -> Result<(), String> {
        if node.name.chars().any(char::is_control) {
            return Err("node name contains control characters".to_owned());
        }
        let (merge, alive) = (&self.cx.config.delegates.merge, &self.cx.config.delegates.alive);
        let (merge, alive) = (merge.clone(), alive.clone());
        if merge.is_none() && alive.is_none() {
            return Ok(());
        }
        let member = self.candidate(node)?;
        if let Some(delegate) = alive {
            delegate.check_alive(&member)?;
        }
        merge.map_or(Ok(()), |delegate| delegate.check_merge(&[member]))
    }

    fn ack_payload(&mut self, out: &mut Vec<u8>) {
        if let Some(own) = self.members.coordinates.own() {
            self.cx.config.transform.encode_coordinate(own, out);
        }
    }

    fn on_ping_complete(&mut self, node: &NodeView<'_>, rtt: Duration, payload: &[u8]) {
        self.members.coordinates.handle_ping_complete(&mut self.cx, node.name, rtt, payload);
    }
}

impl State {
    /// Handles a message that we sent to ourselves.
    pub(crate) fn on_own_message(&mut self, message: &[u8]) {
        let from = self.members.local().addr();
        let from = from.unwrap_or_else(|| SocketAddr::from(([0, 0, 0, 0], 0)));
        self.on_user_message(message, Origin { from, seal: Seal::Key });
    }

    fn dispatch(&mut self, message: &Message<'_>, raw: &[u8], origin: Origin) {
        let clocks = self.cx.clocks;
        let (rebroadcast, kind) = match message {
            Message::Leave(leave) => {
                let again = self.is_plausible(clocks.member, leave.ltime)
                    && node_name(leave.node).is_ok_and(|name| {
                        let Self { cx, members, .. } = self;
                        members.handle_leave_intent(cx, leave.ltime, name, leave.prune)
                    });
                (again, QueueKind::Intent)
            }
            Message::Join(join) => {
                let again = self.is_plausible(clocks.member, join.ltime)
                    && node_name(join.node).is_ok_and(|name| {
                        self.members.handle_join_intent(&mut self.cx, join.ltime, name)
                    });
                (again, QueueKind::Intent)
            }
            Message::UserEvent(event) => {
                let again = self.is_plausible(clocks.event, event.ltime)
                    && self.events.handle(&mut self.cx, event);
                (again, QueueKind::Event)
            }
            Message::Query(query) => {
                let again = self.is_plausible(clocks.query, query.ltime)
                    && !self.refuses_key_query(query, origin)
                    && self.queries.handle(&mut self.cx, &self.members.table, query);
                (again, QueueKind::Query)
            }
            Message::QueryResponse(response) => {
                return self.handle_query_response(response, origin);
            }
            Message::Relay(relay) => return Queries::forward(&mut self.cx, relay),
            Message::PushPull(_)
            | Message::ConflictResponse(_)
            | Message::KeyRequest(_)
            | Message::KeyResponse(_) => return,
        };
        if rebroadcast {
            // Forwards the bytes as received: fields unknown to this version are preserved.
            self.broadcasts.relay(&mut self.cx, kind, raw);
        }
    }

    /// Whether a Lamport time is not too far ahead of our clock; other messages are dropped.
    fn is_plausible(&mut self, clock: LamportClock, ltime: LamportTime) -> bool {
        let plausible = clock.is_plausible(ltime, self.cx.config.lamport_jump_max);
        if !plausible {
            let ours = clock.time();
            self.ahead.note_implausible(&mut self.cx, &self.members.table, ours, ltime);
        }
        plausible
    }

    /// Whether a query is a key query in plaintext although we have keys.
    fn refuses_key_query(&mut self, query: &message::Query<'_>, origin: Origin) -> bool {
        let asks_keys = matches!(InternalQuery::parse(query.name), Some(Ok(InternalQuery::Key(_))));
        let refused = origin.seal == Seal::Clear && asks_keys;
        if refused {
            self.cx.stats.refused_key_queries += 1;
            if self.cx.logs.keys.admit(self.cx.now) {
                warn!(
                    target: "serf",
                    "Refusing a key query that came in clear (from: {}): see verify_incoming",
                    origin.from
                );
            }
        }
        refused
    }

    // serf/delegate.go: LocalState.
    fn encode_local_state(&self, out: &mut Vec<u8>) {
        let (cx, members) = (&self.cx, &self.members.table);
        let state = message::PushPull {
            ltime: cx.clocks.member.time(),
            status_ltimes: members
                .iter()
                .map(|entry| (entry.member.name.as_bytes(), entry.status_ltime))
                .collect(),
            left_members: members.left().iter().map(|(_, name)| name.as_bytes()).collect(),
            event_ltime: cx.clocks.event.time(),
            events: match mutated!(cx.config.swim, EventsLeftOut) {
                false => self.events.ring.to_message(),
                true => Vec::new(),
            },
            query_ltime: cx.clocks.query.time(),
        };
        cx.config.transform.encode_message(&Message::PushPull(state), out);
    }

    // serf/delegate.go: MergeRemoteState.
    fn merge_state(&mut self, state: &[u8], exchange: Exchange) {
        match state.first() {
            None => {
                if self.cx.logs.states.admit(self.cx.now) {
                    error!(target: "serf", "Remote state is zero bytes");
                }
                return;
            }
            Some(&kind::PUSH_PULL) => {}
            Some(kind) => {
                if self.cx.logs.states.admit(self.cx.now) {
                    error!(target: "serf", "Remote state has bad type prefix: {kind}");
                }
                return;
            }
        }
        let remote = match self.cx.admit(state) {
            Ok(Message::PushPull(remote)) => remote,
            Ok(_) => return,
            Err(refusal) => {
                if self.cx.logs.states.admit(self.cx.now) {
                    let error = printable_text(&refusal, PRINTABLE_BYTES_MAX);
                    error!(target: "serf", "Failed to decode remote state: {error}");
                }
                return;
            }
        };
        let Self { cx, members, ahead, .. } = self;
        let adopted = ahead.adopt_clocks(cx, &members.table, &remote, exchange);
        if mutated!(cx.config.swim, ClockFallsBack) {
            cx.clocks.event = LamportClock::restore(remote.event_ltime);
        }
        self.merge_intents(remote.status_ltimes, remote.left_members);
        let Self { cx, events, .. } = self;
        if exchange.join && events.join_ignores_old && adopted.event_clock {
            events.min_time = events.min_time.max(remote.event_ltime);
        }
        events.merge(cx, &remote.events);
    }

    /// Merges the statuses of a push/pull: each name once, and no more names than a well-behaved
    /// peer can know. Its rows were merged before, so the names it knows beyond our members are
    /// gone.
    fn merge_intents(&mut self, mut ltimes: Vec<(&[u8], LamportTime)>, mut left: Vec<&[u8]>) {
        let names_max = 2 * self.members.table.len() + STRANGERS_MAX;
        ltimes.truncate(names_max);
        ltimes.sort_unstable();
        // The newest time for each name, as in Go's map.
        ltimes.dedup_by(|later, kept| {
            let again = later.0 == kept.0;
            if again {
                *kept = *later;
            }
            again
        });
        left.truncate(names_max);
        let mut seen = BTreeSet::new();
        // In the sender's order, as in Go.
        left.retain(|node| seen.insert(*node));
        for node in left {
            let first = ltimes.partition_point(|(name, _)| *name < node);
            let status = ltimes.get(first).filter(|(name, _)| *name == node);
            let ltime = status.map_or(0, |(_, ltime)| ltime.0).saturating_add(1);
            self.merge_intent(node, LamportTime(ltime), IntentKind::Leave);
        }
        for (node, ltime) in ltimes {
            if !seen.contains(node) {
                self.merge_intent(node, ltime, IntentKind::Join);
            }
        }
    }

    fn merge_intent(&mut self, node: &[u8], ltime: LamportTime, kind: IntentKind) {
        let Self { cx, members, .. } = self;
        if !cx.clocks.member.is_plausible(ltime, cx.config.lamport_jump_max) {
            return;
        }
        match (node_name(node), kind) {
            (Ok(name), IntentKind::Leave) => members.handle_leave_intent(cx, ltime, name, false),
            (Ok(name), IntentKind::Join) => members.handle_join_intent(cx, ltime, name),
            (Err(refusal), _) => {
                cx.refuse(&refusal);
                false
            }
        };
    }

    /// A node as seen by the merge delegate, after the checks that Go makes first.
    fn candidate(&mut self, node: &NodeView<'_>) -> Result<Member, String> {
        if self.cx.config.validate_node_names {
            super::build::validate_name(node.name)?;
        }
        if !matches!(node.addr.len(), 4 | 16) {
            return Err(format!(
                "IP byte length is invalid: {} bytes is not either 4 or 16",
                node.addr.len()
            ));
        }
        let limit = crate::wire::limits::META_BYTES_MAX;
        if node.meta.len() > limit {
            return Err(format!("Encoded length of tags exceeds limit of {limit} bytes"));
        }
        let status = match node.state {
            NodeStateKind::Left => MemberStatus::Left,
            NodeStateKind::Alive | NodeStateKind::Suspect | NodeStateKind::Dead => {
                MemberStatus::None
            }
        };
        Ok(Member { status, ..self.members.member_of(&mut self.cx, node) })
    }
}

/// Logs a line for each message, as Go does. These lines have a target of their own, so that they
/// cost nothing while it is disabled.
fn log_message(message: &Message<'_>) {
    let (kind, name) = match message {
        Message::Leave(leave) => ("Leave", leave.node),
        Message::Join(join) => ("Join", join.node),
        Message::UserEvent(event) => ("UserEvent", event.name),
        Message::Query(query) => ("Query", query.name),
        Message::QueryResponse(response) => ("QueryResponse", response.from),
        // Relays are logged with their destination elsewhere.
        Message::Relay(_)
        | Message::PushPull(_)
        | Message::ConflictResponse(_)
        | Message::KeyRequest(_)
        | Message::KeyResponse(_) => return,
    };
    debug!(target: "serf.messages", "message{kind}Type: {}", printable(name));
}

/// The tag that names a node's zone.
const ZONE_TAG: &str = "zone";
/// Most names in a push/pull in addition to twice our number of members, for departed and new
/// members.
const STRANGERS_MAX: usize = 65_536;
