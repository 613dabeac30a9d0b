//! What the layer below asks: memberlist's delegates.

use std::{borrow::Cow, collections::BTreeSet, net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use tracing::{debug, error, warn};

use super::{
    LamportTime, Member, MemberStatus, Message,
    admission::{self, Refusal, node_name},
    intents::IntentKind,
    internal_query::InternalQuery,
    message::{self, kind},
    state::{Action, QueueKind, State},
};
use crate::{
    base::{Instant, PRINTABLE_BYTES_MAX, mutated, printable_text},
    swim::{Author, Exchange, Host, NodeStateKind, NodeView, Origin, Seal},
};

impl Host for State {
    fn node_meta(&mut self, limit: usize) -> Arc<[u8]> {
        debug_assert!(self.meta.len() <= limit, "tags are checked when they are set");
        self.meta.clone()
    }

    // serf/delegate.go: NotifyMsg.
    fn on_user_message(&mut self, now: Instant, message: &[u8], origin: Origin) {
        self.now = now;
        let Some(&kind) = message.first() else { return };
        self.stats.msgs_received.count(message.len());
        let what = match kind {
            kind::LEAVE => "leave",
            kind::JOIN => "join",
            kind::USER_EVENT => "user event",
            kind::QUERY => "query",
            kind::QUERY_RESPONSE => "query response",
            kind::RELAY => "relay",
            // Parts of others, which do not come by themselves, and unknown ones.
            _ => {
                if self.logs.messages.admit(self.now) {
                    warn!(target: "serf", "Received message of unknown type: {kind}");
                }
                return;
            }
        };
        match self.admit(message) {
            Ok(decoded) => self.dispatch(now, &decoded, message, origin),
            Err(Refusal::Malformed(_)) if !self.logs.messages.admit(now) => {}
            Err(Refusal::Malformed(error)) => {
                let error = printable_text(&error, 2 * PRINTABLE_BYTES_MAX);
                if kind == kind::RELAY {
                    error!(target: "serf", "Error decoding relay header: {error}");
                } else {
                    error!(target: "serf", "Error decoding {what} message: {error}");
                }
            }
            Err(refusal) => {
                if self.logs.details.admit(now) {
                    debug!(target: "serf", bytes = message.len(), "refusing {what}: {refusal}");
                }
            }
        }
    }

    fn take_broadcasts(&mut self, overhead: usize, limit: usize, emit: &mut dyn FnMut(&[u8])) {
        self.fill_packet(overhead, limit, emit);
    }

    fn has_broadcasts(&self) -> bool {
        [&self.intent_queue, &self.query_queue, &self.event_queue].iter().any(|q| !q.is_empty())
    }

    fn local_state(&mut self, _join: bool, out: &mut Vec<u8>) {
        self.encode_local_state(out);
    }

    fn merge_remote_state(&mut self, now: Instant, state: &[u8], exchange: Exchange) {
        self.now = now;
        self.merge_state(now, state, exchange);
    }

    fn on_join(&mut self, now: Instant, node: &NodeView<'_>) {
        self.now = now;
        self.handle_node_join(now, node);
    }

    fn on_leave(&mut self, now: Instant, node: &NodeView<'_>) {
        self.now = now;
        self.handle_node_leave(now, node);
    }

    fn on_update(&mut self, now: Instant, node: &NodeView<'_>) {
        self.now = now;
        if self.members.get(node.name).is_none() {
            self.actions.push_back(Action::Recheck(node.name.clone()));
            return;
        }
        self.handle_node_update(now, node);
    }

    fn on_conflict(&mut self, now: Instant, existing: &NodeView<'_>, other: &NodeView<'_>) {
        self.now = now;
        self.handle_conflict(existing, other);
    }

    // serf/merge_delegate.go: NotifyMerge.
    fn check_merge(&mut self, nodes: &[NodeView<'_>]) -> Result<(), String> {
        let Some(delegate) = self.config.delegates.merge.clone() else { return Ok(()) };
        let members = nodes.iter().map(|node| self.candidate(node)).collect::<Result<Vec<_>, _>>();
        delegate.check_merge(&members?)
    }

    // serf/merge_delegate.go: NotifyAlive.
    fn check_alive(&mut self, node: &NodeView<'_>) -> Result<(), String> {
        if node.name.chars().any(char::is_control) {
            return Err("node name contains control characters".to_owned());
        }
        let (merge, alive) = (&self.config.delegates.merge, &self.config.delegates.alive);
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
        if let Some(vivaldi) = &self.vivaldi {
            self.config.transform.encode_coordinate(vivaldi.coordinate(), out);
        }
    }

    fn on_ping_complete(
        &mut self,
        now: Instant,
        node: &NodeView<'_>,
        rtt: Duration,
        payload: &[u8],
    ) {
        self.now = now;
        self.handle_ping_complete(node.name, rtt, payload);
    }
}

impl State {
    /// A message that we sent to ourselves.
    pub(crate) fn on_own_message(&mut self, now: Instant, message: &[u8]) {
        let from = self.local_member().socket_addr();
        let from = from.unwrap_or_else(|| SocketAddr::from(([0, 0, 0, 0], 0)));
        self.on_user_message(now, message, Origin { from, seal: Seal::Key });
    }

    fn dispatch(&mut self, now: Instant, message: &Message<'_>, raw: &[u8], origin: Origin) {
        let jump_max = self.config.lamport_jump_max;
        let (clock, ltime) = match message {
            Message::Leave(leave) => (&self.clock, leave.ltime),
            Message::Join(join) => (&self.clock, join.ltime),
            Message::UserEvent(event) => (&self.event_clock, event.ltime),
            Message::Query(query) => (&self.query_clock, query.ltime),
            Message::QueryResponse(response) => {
                return self.handle_query_response(now, response, origin);
            }
            Message::Relay(relay) => return self.handle_relay(relay),
            Message::PushPull(_)
            | Message::ConflictResponse(_)
            | Message::KeyRequest(_)
            | Message::KeyResponse(_) => return,
        };
        if !clock.is_plausible(ltime, jump_max) {
            return self.note_implausible(now, ltime);
        }
        if let Message::Query(query) = message
            && origin.seal == Seal::Clear
            && let Some(Ok(InternalQuery::Key(_))) = InternalQuery::parse(query.name)
        {
            self.stats.refused_key_queries += 1;
            if self.logs.keys.admit(now) {
                warn!(
                    target: "serf",
                    "Refusing a key query that came in clear (from: {}): see verify_incoming",
                    origin.from
                );
            }
            return;
        }
        let (rebroadcast, kind) = match message {
            Message::Leave(leave) => {
                let again = node_name(leave.node).is_ok_and(|name| {
                    self.handle_leave_intent(now, leave.ltime, name, leave.prune)
                });
                (again, QueueKind::Intent)
            }
            Message::Join(join) => {
                let again = node_name(join.node)
                    .is_ok_and(|name| self.handle_join_intent(now, join.ltime, name));
                (again, QueueKind::Intent)
            }
            Message::UserEvent(event) => (self.handle_user_event(now, event), QueueKind::Event),
            Message::Query(query) => (self.handle_query(now, query), QueueKind::Query),
            Message::QueryResponse(_)
            | Message::Relay(_)
            | Message::PushPull(_)
            | Message::ConflictResponse(_)
            | Message::KeyRequest(_)
            | Message::KeyResponse(_) => return,
        };
        if rebroadcast {
            // The bytes as received: fields that we do not know survive.
            self.broadcast(kind, Bytes::copy_from_slice(raw), Author::Peer);
        }
    }

    // serf/delegate.go: LocalState.
    fn encode_local_state(&self, out: &mut Vec<u8>) {
        let state = message::PushPull {
            ltime: self.clock.time(),
            status_ltimes: self
                .members
                .iter()
                .map(|entry| (entry.member.name.as_bytes(), entry.status_ltime))
                .collect(),
            left_members: self.members.left().iter().map(|(_, name)| name.as_bytes()).collect(),
            event_ltime: self.event_clock.time(),
            events: match mutated!(self.config.swim, EventsLeftOut) {
                false => self.events.to_message(),
                true => Vec::new(),
            },
            query_ltime: self.query_clock.time(),
        };
        self.config.transform.encode_message(&Message::PushPull(state), out);
    }

    // serf/delegate.go: MergeRemoteState.
    fn merge_state(&mut self, now: Instant, state: &[u8], exchange: Exchange) {
        match state.first() {
            None => {
                if self.logs.states.admit(self.now) {
                    error!(target: "serf", "Remote state is zero bytes");
                }
                return;
            }
            Some(&kind::PUSH_PULL) => {}
            Some(kind) => {
                if self.logs.states.admit(self.now) {
                    error!(target: "serf", "Remote state has bad type prefix: {kind}");
                }
                return;
            }
        }
        let remote = match self.admit(state) {
            Ok(Message::PushPull(remote)) => remote,
            Ok(_) => return,
            Err(refusal) => {
                if self.logs.states.admit(self.now) {
                    let error = printable_text(&refusal, PRINTABLE_BYTES_MAX);
                    error!(target: "serf", "Failed to decode remote state: {error}");
                }
                return;
            }
        };
        let adopted = self.adopt_clocks(now, &remote, exchange);
        if mutated!(self.config.swim, ClockFallsBack) {
            self.event_clock = super::lamport::LamportClock::restore(remote.event_ltime);
        }
        self.merge_intents(now, remote.status_ltimes, remote.left_members);
        if exchange.join && self.join_ignores_old && adopted.event_clock {
            self.event_min_time = self.event_min_time.max(remote.event_ltime);
        }
        self.merge_events(now, &remote.events);
    }

    /// The recent events of a peer.
    fn merge_events(&mut self, now: Instant, slots: &[Option<message::UserEvents<'_>>]) {
        let jump_max = self.config.lamport_jump_max;
        let mut left = EVENTS_MAX;
        for slot in slots.iter().flatten() {
            if !self.event_clock.is_plausible(slot.ltime, jump_max) {
                self.stats.dropped_implausible += 1;
                continue;
            }
            self.stats.dropped_events += slot.events.len().saturating_sub(left) as u64;
            for event in slot.events.iter().take(left) {
                left -= 1;
                let admitted = admission::check_event(event.name, event.payload.as_slice());
                if admitted.inspect_err(|refusal| self.refuse(refusal)).is_err() {
                    continue;
                }
                let payload = event.payload.0.as_deref().map(Cow::Borrowed);
                self.handle_user_event(
                    now,
                    &message::UserEvent {
                        ltime: slot.ltime,
                        name: event.name,
                        payload: crate::msgpack::Bin(payload),
                        coalesce: false,
                    },
                );
            }
        }
    }

    /// The statuses of a push/pull: each name once, and no more names than a peer of ours can
    /// know. Its rows were merged before, so that what it knows beyond our members is gone.
    fn merge_intents(
        &mut self,
        now: Instant,
        mut ltimes: Vec<(&[u8], LamportTime)>,
        mut left: Vec<&[u8]>,
    ) {
        let names_max = 2 * self.members.len() + STRANGERS_MAX;
        ltimes.truncate(names_max);
        ltimes.sort_unstable();
        // The newest of each name, as Go's map has it.
        ltimes.dedup_by(|later, kept| {
            let again = later.0 == kept.0;
            if again {
                *kept = *later;
            }
            again
        });
        left.truncate(names_max);
        let mut seen = BTreeSet::new();
        // In the sender's order, as Go does.
        left.retain(|node| seen.insert(*node));
        for node in left {
            let first = ltimes.partition_point(|(name, _)| *name < node);
            let status = ltimes.get(first).filter(|(name, _)| *name == node);
            let ltime = status.map_or(0, |(_, ltime)| ltime.0).saturating_add(1);
            self.merge_intent(now, node, LamportTime(ltime), IntentKind::Leave);
        }
        for (node, ltime) in ltimes {
            if !seen.contains(node) {
                self.merge_intent(now, node, ltime, IntentKind::Join);
            }
        }
    }

    fn merge_intent(&mut self, now: Instant, node: &[u8], ltime: LamportTime, kind: IntentKind) {
        if !self.clock.is_plausible(ltime, self.config.lamport_jump_max) {
            return;
        }
        match (node_name(node), kind) {
            (Ok(name), IntentKind::Leave) => self.handle_leave_intent(now, ltime, name, false),
            (Ok(name), IntentKind::Join) => self.handle_join_intent(now, ltime, name),
            (Err(refusal), _) => {
                self.refuse(&refusal);
                false
            }
        };
    }

    /// A node as the merge delegate sees it, after the checks that Go makes before.
    fn candidate(&mut self, node: &NodeView<'_>) -> Result<Member, String> {
        if self.config.validate_node_names {
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
        Ok(Member { status, ..self.member_of(node) })
    }
}

/// Most names in a push/pull beyond twice the members that we know: those that are gone, and
/// those that are new.
const STRANGERS_MAX: usize = 65_536;
/// Most events of one push/pull that are looked at: some ten milliseconds of work. An honest ring
/// holds a few thousand.
pub(super) const EVENTS_MAX: usize = 16_384;
