//! The state of the engine's task besides the engine: waiting callers and their queries.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tokio::sync::{mpsc, watch};

use super::{
    Event, QueryHandle, StopReason,
    callers::{Callers, Reply},
    clock,
    command::{Change, Command, Question, Read},
    inbox::Internal,
    lookup,
    queue::{LagPolicy, Queue},
    sending::Sending,
    shared::Shared,
    tasks::Tasks,
    writer::Writer,
};
use crate::{
    runtime::{self, timeout_at},
    serf::{self, Engine, QueryId, QueryUpdate, SerfState, SnapshotOp},
    swim::OpId,
    transport::Resolver,
};

/// One node, without its sockets.
pub(super) struct Node {
    pub(super) engine: Engine,
    /// If set, the task ends after this turn.
    pub(super) stop: Option<StopReason>,
    /// Streams and look-ups; all end with the node.
    pub(super) tasks: Tasks,
    pub(super) tcp_timeout: Duration,
    pub(super) shared: Arc<Shared>,
    /// Set when everything has ended.
    pub(super) stopped: watch::Sender<Option<StopReason>>,
    /// Increases with each change of the members.
    pub(super) members: watch::Sender<u64>,
    pub(super) internal: mpsc::Sender<Internal>,
    /// For the handles of received queries, through which they are answered.
    pub(super) commands: mpsc::WeakSender<Command>,
    pub(super) resolver: Arc<dyn Resolver>,
    pub(super) writer: Option<Writer>,
    /// Callers that wait for the end of an operation.
    pub(super) callers: Callers,
    pub(super) queries: BTreeMap<QueryId, Arc<Queue<QueryUpdate>>>,
    /// Events of this turn that are not yet published to the subscribers.
    pub(super) events: Vec<Event>,
    /// User events that wait for room in the engine's queue.
    pub(super) sending: Sending,
}

impl Node {
    /// Performs a handle's request.
    pub(super) fn on_command(&mut self, command: Command) {
        // Replies to callers that are gone are dropped; the sends cannot fail for another reason.
        match command {
            Command::Join { entries, old, reply } => {
                let started = self.engine.start_join(clock::now(), &entries, old);
                self.callers.joins.add(started, reply);
            }
            Command::Keys { op, relay_factor, reply } => {
                let started = self.engine.start_key_op(clock::now(), &op, relay_factor);
                self.callers.keys.add(started, reply);
            }
            Command::Change(change, reply) => self.change(change, reply),
            Command::Read(what) => self.read(what),
            Command::SendEvents(events, reply) => {
                self.sending.add(events, reply);
                self.send_events();
            }
            Command::Query(question, reply) => drop(reply.send(self.query(question))),
            Command::Respond(id, payload, reply) => {
                let _ = reply.send(self.engine.respond(clock::now(), id, &payload));
            }
            Command::CloseQuery(id) => self.close_query(id),
            Command::Stop => self.stop(StopReason::Shutdown),
            #[cfg(all(test, feature = "tokio"))]
            Command::Inspect(look) => look(self),
        }
    }

    /// Sends waiting user events, as far as there is room.
    pub(super) fn send_events(&mut self) {
        self.sending.run(&mut self.engine);
    }

    fn change(&mut self, change: Change, reply: Reply<()>) {
        let (now, engine) = (clock::now(), &mut self.engine);
        let started = match change {
            Change::Leave => engine.start_leave(now),
            Change::SetTags(tags) => engine.start_set_tags(now, tags),
            Change::UpdateTags(change) => {
                let mut tags = engine.local_member().tags.clone().into();
                change(&mut tags);
                engine.start_set_tags(now, tags)
            }
            Change::ForceLeave { name, prune } => Ok(engine.start_force_leave(now, &name, prune)),
        };
        self.callers.changes.add(started, reply);
    }

    fn read(&self, what: Read) {
        let engine = &self.engine;
        match what {
            Read::Members(reply) => drop(reply.send(engine.roster().clone())),
            Read::Member(name, reply) => drop(reply.send(engine.member(&name).cloned())),
            Read::LocalMember(reply) => drop(reply.send(Arc::clone(engine.local_member()))),
            Read::Stats(reply) => drop(reply.send(engine.stats())),
            Read::Coordinate(name, reply) => drop(reply.send(engine.coordinate(&name).cloned())),
            Read::Counters(reply) => drop(reply.send(engine.counters())),
            Read::Encrypted(reply) => drop(reply.send(!engine.keyring().is_empty())),
            #[cfg(feature = "agent")]
            Read::KeysUnwritten(reply) => {
                let unwritten = self.writer.as_ref().is_some_and(Writer::keys_unwritten);
                let _ = reply.send(unwritten);
            }
            #[cfg(feature = "agent")]
            Read::KeyUse(reply) => drop(reply.send(engine.worrying_key_use())),
            #[cfg(feature = "agent")]
            Read::Troubles(reply) => drop(reply.send(engine.troubles())),
        }
    }

    /// Asks a query. Its handle is created here, so that dropping it ends the query even if the
    /// caller is already gone.
    fn query(&mut self, question: Question) -> Result<QueryHandle, super::Error> {
        let now = clock::now();
        let Question { name, payload, params } = question;
        let id = self.engine.query(now, name, payload, &params)?;
        let timeout = self.engine.query_deadline(id).map_or(Duration::ZERO, |end| end.since(now));
        // Each node sends at most one ack and one answer.
        let capacity = (2 * self.engine.roster().len() + 2).min(QUERY_UPDATES_MAX);
        let updates = Arc::new(Queue::new(capacity, LagPolicy::DropNewest, |_| None));
        self.queries.insert(id, Arc::clone(&updates));
        let commands = self.commands.clone();
        let close = Box::new(move |id| {
            if let Some(commands) = commands.upgrade() {
                // If the command queue is full, the next ack or answer ends the query.
                let _ = commands.try_send(Command::CloseQuery(id));
            }
        });
        Ok(QueryHandle { id, updates, timeout, close })
    }

    /// Starts the resolution of a host name for a join.
    pub(super) fn resolve(&mut self, op: OpId, host: String) {
        let (resolver, engine) = (Arc::clone(&self.resolver), self.internal.clone());
        let runtime = Arc::clone(self.tasks.runtime());
        self.tasks.spawn(async move {
            let result = lookup::resolve(&host, &*resolver, &*runtime).await;
            // If the engine has stopped, the result is not needed.
            let _ = engine.send(Internal::Resolved { op, result }).await;
        });
    }

    /// Passes an operation on the snapshot file to the writer.
    pub(super) fn on_snapshot(&mut self, op: SnapshotOp) {
        if let Some(writer) = &mut self.writer
            && writer.snapshot(op)
        {
            self.engine.rewrite_snapshot();
        }
    }

    /// Writes the keyring file; the result is reported to the engine.
    pub(super) fn store_keyring(&mut self, op: OpId) {
        let Some(writer) = &mut self.writer else { return };
        let stored = writer.keyring(self.engine.keyring());
        let (internal, runtime) = (self.internal.clone(), Arc::clone(self.tasks.runtime()));
        self.tasks.spawn(async move {
            // The engine gives up earlier: a hanging disk does not keep the task waiting.
            let limit = runtime::now() + STORING_TIMEOUT;
            if let Some(Ok(stored)) = timeout_at(&*runtime, limit, stored).await {
                // A stopped node no longer answers.
                let _ = internal.send(Internal::KeyringStored { op, stored }).await;
            }
        });
    }

    pub(super) fn on_event(&mut self, event: serf::Event) {
        if let serf::Event::Member(_) = event {
            self.members.send_modify(|generation| *generation += 1);
        }
        self.events.push(Event::new(event, &self.commands));
        if self.events.len() >= EVENTS_MAX {
            self.shared.hub.publish(&mut self.events);
        }
    }

    pub(super) fn on_query(&mut self, id: QueryId, update: QueryUpdate) {
        if matches!(update, QueryUpdate::Finished { .. }) {
            if let Some(queue) = self.queries.remove(&id) {
                queue.push_last(update);
            }
            return;
        }
        let Some(queue) = self.queries.get(&id) else { return };
        if !queue.push(update) {
            self.close_query(id);
        }
    }

    /// The handle of a query was dropped: ends the query.
    fn close_query(&mut self, id: QueryId) {
        if self.queries.remove(&id).is_some() {
            self.engine.close_query(clock::now(), id);
        }
    }

    /// Ends the task after this turn. The first reason is kept.
    pub(super) fn stop(&mut self, reason: StopReason) {
        self.stop.get_or_insert(reason);
    }

    /// Publishes the state and the events of the turn.
    pub(super) fn end_turn(&mut self) {
        self.shared.hub.publish(&mut self.events);
        self.shared.set_state(self.engine.state());
    }

    /// Performs the last steps, once the sockets are closed.
    pub(super) async fn finish(mut self: Box<Self>) {
        *self.shared.local() = Arc::clone(self.engine.local_member());
        // Closing their channels notifies the callers of the shutdown.
        self.callers = Callers::default();
        self.end_streams();
        if let Some(writer) = self.writer.take() {
            // The wait is limited: a hanging disk must not block the shutdown.
            let limit = runtime::now() + WRITER_TIMEOUT;
            let _ = timeout_at(&**self.tasks.runtime(), limit, writer.finish()).await;
        }
        self.set_stopped(self.stop.unwrap_or(StopReason::Shutdown));
    }

    fn set_stopped(&self, reason: StopReason) {
        self.stopped.send_if_modified(|stopped| stopped.replace(reason).is_none());
    }

    fn end_streams(&mut self) {
        self.shared.hub.publish(&mut self.events);
        self.shared.set_state(SerfState::Shutdown);
        for queue in self.queries.values() {
            queue.end();
        }
        self.shared.hub.end();
    }
}

impl Drop for Node {
    /// After a panic of a delegate or the end of the runtime the last steps are skipped; callers
    /// must still be notified that the node has stopped.
    fn drop(&mut self) {
        self.end_streams();
        if self.stopped.borrow().is_none() {
            let panicked = std::thread::panicking();
            self.set_stopped(if panicked { StopReason::Panic } else { StopReason::Aborted });
        }
    }
}

/// Events that are published together.
const EVENTS_MAX: usize = 256;
/// Most acks and answers queued for an asker that does not read them.
const QUERY_UPDATES_MAX: usize = 65_536;
/// Longer than any key request waits for the file.
const STORING_TIMEOUT: Duration = Duration::from_secs(20);
const WRITER_TIMEOUT: Duration = Duration::from_secs(10);
