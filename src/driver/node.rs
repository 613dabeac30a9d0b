//! What the engine's task keeps beside the engine: who waits for what.

use std::{collections::BTreeMap, future::Future, sync::Arc, time::Duration};

use tokio::{
    runtime::Handle,
    sync::{mpsc, oneshot, watch},
    task::{AbortHandle, JoinSet},
};

use super::{
    Event, Resolver, StopReason, clock,
    handle::Shared,
    join,
    queue::{LagPolicy, Queue},
    task::{Command, Internal},
    writer::Writer,
};
use crate::{
    serf::{self, Completion, Engine, Error, Output, QueryId, QueryParams, QueryUpdate, SerfState},
    swim::OpId,
};

/// How an operation ended.
pub(super) type Outcome = Result<Completion, Error>;

/// One node, without its sockets.
pub(super) struct Node {
    pub(super) engine: Engine,
    /// Set: the task ends after this turn.
    pub(super) stop: Option<StopReason>,
    /// Streams, lookups; all end with the node.
    pub(super) tasks: JoinSet<()>,
    /// The runtime that they live in.
    pub(super) home: Handle,
    pub(super) tcp_timeout: Duration,
    pub(super) shared: Arc<Shared>,
    /// Set at the very end.
    pub(super) stopped: watch::Sender<Option<StopReason>>,
    /// Grows with each change of the members.
    pub(super) members: watch::Sender<u64>,
    pub(super) internal: mpsc::Sender<Internal>,
    /// For queries that are answered by who receives them.
    pub(super) commands: mpsc::WeakSender<Command>,
    pub(super) resolver: Arc<dyn Resolver>,
    pub(super) writer: Option<Writer>,
    /// Who waits for the end of an operation.
    pub(super) ops: BTreeMap<OpId, oneshot::Sender<Outcome>>,
    pub(super) queries: BTreeMap<QueryId, Arc<Queue<QueryUpdate>>>,
}

impl Node {
    /// Lets a caller wait for an operation that was started.
    pub(super) fn wait_for(
        &mut self,
        started: Result<OpId, Error>,
        reply: oneshot::Sender<Outcome>,
    ) {
        match started {
            Ok(op) => {
                self.ops.insert(op, reply);
            }
            // A caller that went away does not care.
            Err(error) => drop(reply.send(Err(error))),
        }
    }

    pub(super) fn query(
        &mut self,
        name: &[u8],
        payload: bytes::Bytes,
        params: &QueryParams,
    ) -> Result<(QueryId, Arc<Queue<QueryUpdate>>, Duration), Error> {
        let now = clock::now();
        let id = self.engine.query(now, name, payload, params)?;
        let timeout = self.engine.query_deadline(id).map_or(Duration::ZERO, |end| end.since(now));
        // Each node acks once and answers once.
        let capacity = (2 * self.engine.members().count() + 2).min(QUERY_UPDATES_MAX);
        let queue = Arc::new(Queue::new(capacity, LagPolicy::DropNewest, |_| None));
        self.queries.insert(id, Arc::clone(&queue));
        Ok((id, queue, timeout))
    }

    /// Runs a task that ends with the node.
    pub(super) fn spawn(&mut self, task: impl Future<Output = ()> + Send + 'static) -> AbortHandle {
        self.tasks.spawn_on(task, &self.home)
    }

    /// Has the addresses of a host name looked up for a join.
    fn resolve(&mut self, op: OpId, host: String) {
        let (resolver, engine) = (Arc::clone(&self.resolver), self.internal.clone());
        self.spawn(async move {
            let result = join::resolve(&host, &*resolver).await;
            // An engine that has stopped has no use for it.
            let _ = engine.send(Internal::Resolved { op, result }).await;
        });
    }

    /// An effect that is not for the sockets.
    pub(super) fn on_output(&mut self, output: Output) {
        match output {
            // Performed by the caller.
            Output::Swim(_) => {}
            Output::Event(event) => self.on_event(event),
            Output::Query { id, update } => self.on_query(id, update),
            Output::Done { op, result } => {
                if let Some(reply) = self.ops.remove(&op) {
                    // A caller that went away does not care.
                    let _ = reply.send(result);
                }
            }
            Output::Snapshot(op) => {
                if let Some(writer) = &mut self.writer
                    && writer.snapshot(op)
                {
                    self.engine.rewrite_snapshot();
                }
            }
            Output::KeyringChanged { op } => self.store_keyring(op),
            Output::Resolve { op, host } => self.resolve(op, host),
            Output::ShutDown => self.stop(StopReason::NameConflict),
        }
    }

    /// Writes the keyring file; the engine hears how that ended.
    fn store_keyring(&mut self, op: OpId) {
        let Some(writer) = &mut self.writer else { return };
        let stored = writer.keyring(self.engine.keyring());
        let internal = self.internal.clone();
        self.spawn(async move {
            // The engine has given up before: a disk that hangs keeps no task waiting.
            if let Ok(Ok(stored)) = tokio::time::timeout(STORING_TIMEOUT, stored).await {
                // A node that has stopped answers nobody.
                let _ = internal.send(Internal::KeyringStored { op, stored }).await;
            }
        });
    }

    fn on_event(&mut self, event: serf::Event) {
        if let serf::Event::Member(_) = event {
            self.members.send_modify(|generation| *generation += 1);
        }
        self.shared.hub.publish(Event::new(event, &self.commands));
    }

    fn on_query(&mut self, id: QueryId, update: QueryUpdate) {
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

    /// Nobody waits for the answers any more.
    pub(super) fn close_query(&mut self, id: QueryId) {
        if self.queries.remove(&id).is_some() {
            self.engine.close_query(clock::now(), id);
        }
    }

    /// Ends the task after this turn. The first reason counts.
    pub(super) fn stop(&mut self, reason: StopReason) {
        self.stop.get_or_insert(reason);
    }

    /// Tells what changed and forgets tasks that ended.
    pub(super) fn end_turn(&mut self) {
        while self.tasks.try_join_next().is_some() {}
        self.shared.set_state(self.engine.state());
    }

    /// The last steps, once the sockets are closed.
    pub(super) async fn finish(mut self) {
        *self.shared.local() = Arc::clone(self.engine.local_member());
        // Callers learn of the shutdown from their closed channels.
        self.ops.clear();
        self.end_streams();
        if let Some(writer) = self.writer.take() {
            // The thread always ends; a disk that hangs must not hang us.
            let _ = tokio::time::timeout(WRITER_TIMEOUT, writer.finish()).await;
        }
        self.set_stopped(self.stop.unwrap_or(StopReason::Shutdown));
    }

    fn set_stopped(&self, reason: StopReason) {
        self.stopped.send_if_modified(|stopped| stopped.replace(reason).is_none());
    }

    fn end_streams(&self) {
        self.shared.set_state(SerfState::Shutdown);
        for queue in self.queries.values() {
            queue.end();
        }
        self.shared.hub.end();
    }
}

impl Drop for Node {
    /// A delegate that panics and a runtime that ends skip the last steps; still, nobody may wait
    /// for a node that is gone.
    fn drop(&mut self) {
        self.end_streams();
        if self.stopped.borrow().is_none() {
            let panicked = std::thread::panicking();
            self.set_stopped(if panicked { StopReason::Panic } else { StopReason::Aborted });
        }
    }
}

/// Most acks and answers held for an asker that does not take them.
const QUERY_UPDATES_MAX: usize = 65_536;
/// Above the longest time that a key request waits for its file.
const STORING_TIMEOUT: Duration = Duration::from_secs(20);
const WRITER_TIMEOUT: Duration = Duration::from_secs(10);
