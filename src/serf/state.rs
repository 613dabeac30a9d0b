//! The parts of the engine's state, and operations on several of them.

use bytes::Bytes;

use super::{
    Error, KeyOp, Message, Output, QueryId, QueryParams, QueryUpdate,
    ahead::{Ahead, ask_clocks},
    asked::{Answer, Asker, Finished},
    broadcasts::{Broadcasts, QueueKind},
    conflict::{Conflict, answer_conflict},
    context::Context,
    effects::Timer,
    internal_query::{InternalQuery, InternalRequest},
    keys::KeyOps,
    membership::Membership,
    message,
    query::Queries,
    query_parts::QueryParts,
    user_event::{EventGroup, UserEvents},
};
use crate::{
    swim::{OpId, Origin},
    wire::Keyring,
};

/// All state of the engine except the layer below, whose host it is.
pub(crate) struct State {
    pub(crate) cx: Context,
    pub(crate) members: Membership,
    pub(crate) events: UserEvents,
    pub(crate) queries: Queries,
    pub(crate) broadcasts: Broadcasts,
    /// Members whose clocks are far ahead of ours.
    pub(crate) ahead: Ahead,
    pub(crate) keys: KeyOps,
    pub(crate) conflict: Conflict,
}

/// Timers that the engine handles, as they need the layer below or an operation.
#[derive(Clone, Copy, Debug)]
pub(crate) enum OwnTimer {
    Snapshot,
    Op(OpId),
    Rejoin,
}

impl State {
    /// Queues a message of ours to be gossiped, with the operation that waits for it.
    pub(crate) fn broadcast(&mut self, kind: QueueKind, message: Bytes, op: Option<OpId>) {
        self.broadcasts.push(&mut self.cx, kind, message, op);
    }

    /// Announces our join; returns the message. Go: `serf/serf.go:broadcastJoin`.
    pub(crate) fn broadcast_join(&mut self) -> Bytes {
        let Self { cx, members, .. } = self;
        members.refuting = false;
        let ltime = cx.clocks.member.time();
        let name = cx.name.clone();
        let join = message::Join { ltime, node: name.as_bytes() };
        let raw = Bytes::from(cx.encode(&Message::Join(join)));
        members.handle_join_intent(cx, ltime, &name);
        self.broadcast(QueueKind::Intent, raw.clone(), None);
        raw
    }

    /// Creates and processes a leave intent about `name`; returns the message.
    pub(crate) fn leave_intent(&mut self, name: &str, prune: bool) -> Bytes {
        let Self { cx, members, .. } = self;
        let ltime = cx.clocks.member.time();
        cx.clocks.member.increment();
        let leave = message::Leave { ltime, node: name.as_bytes(), prune };
        let raw = cx.encode(&Message::Leave(leave));
        members.handle_leave_intent(cx, ltime, name, prune);
        raw.into()
    }

    /// Sends a user event.
    #[cfg(test)]
    pub(crate) fn user_event(
        &mut self,
        name: impl AsRef<[u8]>,
        payload: &[u8],
        coalesce: bool,
    ) -> Result<(), Error> {
        let event = (name.as_ref(), payload, coalesce);
        self.user_event_of(&mut EventGroup::default(), event)
    }

    /// Sends an event, alone or as part of a batch.
    ///
    /// # Errors
    /// The event is too large; Go's texts.
    pub(crate) fn user_event_of(
        &mut self,
        group: &mut EventGroup,
        event: (&[u8], &[u8], bool),
    ) -> Result<(), Error> {
        let Self { cx, events, broadcasts, .. } = self;
        events.send(cx, broadcasts, group, event)
    }

    /// Asks a query; `nodes` is the number of alive nodes.
    ///
    /// # Errors
    /// The query is too large, or the protocol version is below 4.
    pub(crate) fn ask(
        &mut self,
        nodes: usize,
        name: impl AsRef<[u8]>,
        payload: &[u8],
        params: &QueryParams,
        asker: Asker,
    ) -> Result<QueryId, Error> {
        self.split().0.ask(asker, nodes, name.as_ref(), payload, params)
    }

    /// Answers a query.
    ///
    /// # Errors
    /// The query was answered before, its deadline has passed, or the answer is too large; Go's
    /// texts.
    pub(crate) fn respond(&mut self, id: QueryId, payload: &[u8]) -> Result<(), Error> {
        self.split().0.respond(id, payload)
    }

    /// Handles an ack or answer to a query of ours.
    pub(crate) fn handle_query_response(
        &mut self,
        response: &message::QueryResponse<'_>,
        origin: Origin,
    ) {
        let Self { cx, members, queries, keys, conflict, .. } = self;
        let answer = queries.asked.take_response(cx, &members.table, response, origin);
        let Some(Answer { id, asker, from, is_ack, payload }) = answer else { return };
        match asker {
            Asker::User => {
                let update = if is_ack {
                    QueryUpdate::Ack { from }
                } else {
                    QueryUpdate::Response { from, payload: Bytes::copy_from_slice(payload) }
                };
                cx.effects.output(Output::Query { id, update });
            }
            Asker::Keys(op) if !is_ack => {
                if let Some(query) = keys.handle_response(cx, op, &from, payload) {
                    queries.asked.close(cx.now, query);
                }
            }
            Asker::Vote if !is_ack => conflict.count_vote(cx, members.local(), payload),
            Asker::Keys(_) | Asker::Vote => {}
        }
    }

    /// A timer of a query fired.
    pub(crate) fn query_timeout(&mut self, id: QueryId) {
        let Self { cx, queries, keys, conflict, .. } = self;
        let finished = queries.asked.handle_timer(cx, id);
        let Some(Finished { id, asker, closed, missing }) = finished else { return };
        match asker {
            Asker::User if closed => {}
            Asker::User => {
                let update = QueryUpdate::Finished { missing };
                cx.effects.output(Output::Query { id, update });
            }
            Asker::Keys(op) => keys.finish(cx, op, missing),
            Asker::Vote => conflict.finish_vote(cx),
        }
    }

    /// Handles an internal query. If it changed the keyring, returns the new one, and
    /// [`State::keyring_changed`] answers the query.
    pub(crate) fn handle_internal(
        &mut self,
        request: &InternalRequest,
        keyring: &Keyring,
    ) -> Option<Keyring> {
        let InternalRequest { id, kind, payload } = request;
        let (mut parts, keys, _) = self.split();
        match kind {
            // The ack is the whole answer.
            InternalQuery::Ping => None,
            InternalQuery::Conflict => {
                answer_conflict(&mut parts, *id, payload);
                None
            }
            InternalQuery::Key(verb) => keys.answer(&mut parts, *id, *verb, payload, keyring),
        }
    }

    /// Queues a key operation.
    ///
    /// # Errors
    /// The key is not base64; Go's text.
    pub(crate) fn queue_key_op(
        &mut self,
        op: OpId,
        what: &KeyOp,
        relay_factor: u8,
    ) -> Result<(), Error> {
        self.keys.queue(op, what, relay_factor)
    }

    /// Starts the next key operation if none is running; `nodes` is the number of alive nodes.
    /// Returns whether it started one.
    pub(crate) fn start_key_op(&mut self, nodes: usize) -> bool {
        let (mut parts, keys, _) = self.split();
        keys.start_next(&mut parts, nodes)
    }

    /// See [`KeyOps::changed`].
    pub(crate) fn keyring_changed(&mut self, id: QueryId, op: OpId) {
        let (mut parts, keys, _) = self.split();
        keys.changed(&mut parts, id, op);
    }

    /// See [`KeyOps::stored`].
    pub(crate) fn keyring_stored(&mut self, op: OpId, stored: Result<(), String>) {
        let (mut parts, keys, _) = self.split();
        keys.stored(&mut parts, op, stored);
    }

    /// Asks the other members at which address they know us.
    pub(crate) fn start_vote(&mut self, nodes: usize) {
        let (mut parts, _, conflict) = self.split();
        conflict.start_vote(&mut parts, nodes);
    }

    /// Fires a timer; returns those that the engine must handle.
    pub(crate) fn fire(&mut self, timer: Timer) -> Option<OwnTimer> {
        let Self { cx, members, queries, broadcasts, .. } = self;
        match timer {
            Timer::Reap => {
                members.reap(cx);
                cx.start_timer(cx.config.reap_interval, Timer::Reap);
            }
            Timer::Reconnect => {
                members.reconnect(cx);
                cx.start_timer(cx.config.reconnect_interval, Timer::Reconnect);
            }
            Timer::QueueCheck => {
                let others = members.has_alive_others();
                broadcasts.check_depths(cx, members.table.len(), others);
                queries.received.expire(cx.now);
                cx.start_timer(cx.config.queue_check_interval, Timer::QueueCheck);
            }
            Timer::Query(id) => self.query_timeout(id),
            Timer::Prune(name) => members.finish_prune(cx, &name),
            Timer::AskClocks(name) => ask_clocks(cx, &members.table, &name),
            Timer::Storing(op) => {
                let (mut parts, keys, _) = self.split();
                keys.storing_timeout(&mut parts, op);
            }
            Timer::Snapshot => return Some(OwnTimer::Snapshot),
            Timer::Op(op) => return Some(OwnTimer::Op(op)),
            Timer::Rejoin => return Some(OwnTimer::Rejoin),
        }
        None
    }

    /// Splits the state into the parts for queries, the key operations and the vote.
    fn split(&mut self) -> (QueryParts<'_>, &mut KeyOps, &mut Conflict) {
        let Self { cx, members, queries, broadcasts, keys, conflict, .. } = self;
        (QueryParts { cx, members, queries, broadcasts }, keys, conflict)
    }
}

#[cfg(test)]
mod tests;
