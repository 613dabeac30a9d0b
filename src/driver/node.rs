//! What the engine's task keeps beside the engine: who waits for what.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};

use tokio::{
    sync::{mpsc, oneshot, watch},
    task::JoinSet,
};
use tracing::{debug, warn};

use super::{
    JoinError, Resolver, StopReason, clock,
    handle::Shared,
    join,
    queue::{LagPolicy, Queue},
    task::Internal,
    writer::Writer,
};
use crate::{
    serf::{
        Completion, Engine, Error, Event, Output, QueryId, QueryParams, QueryUpdate, SerfState,
    },
    swim::{JoinEntry, JoinErrors, OpId},
};

/// How an operation ended.
pub(super) type Outcome = Result<Completion, Error>;

/// One node, without its sockets.
pub(super) struct Node {
    pub(super) engine: Engine,
    /// Set: the task ends after this turn.
    pub(super) stop: Option<StopReason>,
    /// Streams, joins; all end with the node.
    pub(super) tasks: JoinSet<()>,
    pub(super) tcp_timeout: Duration,
    pub(super) shared: Arc<Shared>,
    /// Set at the very end.
    pub(super) stopped: watch::Sender<Option<StopReason>>,
    /// Grows with each change of the members.
    pub(super) members: watch::Sender<u64>,
    pub(super) internal: mpsc::Sender<Internal>,
    pub(super) resolver: Arc<dyn Resolver>,
    pub(super) writer: Option<Writer>,
    /// Port of entries that name none.
    pub(super) bind_port: u16,
    pub(super) ops: BTreeMap<OpId, Waiter>,
    pub(super) queries: BTreeMap<QueryId, Arc<Queue<QueryUpdate>>>,
    /// Joins that wait for the one under way.
    pub(super) joins: VecDeque<Join>,
    pub(super) joining: bool,
    /// What was given to joins, for the time when nobody else is left.
    pub(super) seeds: BTreeSet<String>,
}

/// Who waits for the end of an operation.
pub(super) enum Waiter {
    Call(oneshot::Sender<Outcome>),
    PushPull(oneshot::Sender<Result<(), Error>>),
}

/// A join that was asked for.
pub(super) struct Join {
    pub(super) entries: Vec<String>,
    pub(super) ignore_old: bool,
    pub(super) reply: Option<oneshot::Sender<Result<usize, JoinError>>>,
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
                self.ops.insert(op, Waiter::Call(reply));
            }
            // A caller that went away does not care.
            Err(error) => drop(reply.send(Err(error))),
        }
    }

    pub(super) fn query(
        &mut self,
        name: &str,
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

    /// Joins, after those that were asked for before.
    pub(super) fn join(&mut self, join: Join) {
        self.joins.push_back(join);
        self.start_join();
    }

    fn start_join(&mut self) {
        while !self.joining
            && let Some(join) = self.joins.pop_front()
        {
            if let Err(error) = self.engine.begin_join(join.ignore_old) {
                if let Some(reply) = join.reply {
                    let error = JoinError { contacted: 0, message: error.to_string() };
                    drop(reply.send(Err(error)));
                }
                continue;
            }
            for entry in &join.entries {
                if self.seeds.len() < SEEDS_MAX {
                    self.seeds.insert(entry.clone());
                }
            }
            self.joining = true;
            let run =
                run_join(join, self.bind_port, Arc::clone(&self.resolver), self.internal.clone());
            self.tasks.spawn(run);
        }
    }

    /// One exchange of the join under way.
    pub(super) fn push_pull(
        &mut self,
        to: SocketAddr,
        name: &str,
        reply: oneshot::Sender<Result<(), Error>>,
    ) {
        let op = self.engine.start_push_pull(clock::now(), to, name);
        self.ops.insert(op, Waiter::PushPull(reply));
    }

    pub(super) fn joined(&mut self, contacted: usize) {
        self.engine.end_join(clock::now(), contacted);
        self.joining = false;
        self.start_join();
    }

    /// An effect that is not for the sockets.
    pub(super) fn on_output(&mut self, output: Output) {
        match output {
            // Performed by the caller.
            Output::Swim(_) => {}
            Output::Event(event) => self.on_event(event),
            Output::Query { id, update } => self.on_query(id, update),
            Output::Done { op, result } => match self.ops.remove(&op) {
                // Callers that went away do not care.
                Some(Waiter::Call(reply)) => drop(reply.send(result)),
                Some(Waiter::PushPull(reply)) => drop(reply.send(result.map(drop))),
                None => {}
            },
            Output::Snapshot(op) => {
                if let Some(writer) = &mut self.writer
                    && writer.snapshot(op)
                {
                    self.engine.rewrite_snapshot();
                }
            }
            Output::KeyringChanged { op } => self.store_keyring(op),
            Output::RejoinSeeds => {
                if !self.joining && !self.seeds.is_empty() {
                    debug!(target: "serf", "nobody else is alive, joining again");
                    let entries = self.seeds.iter().cloned().collect();
                    self.join(Join { entries, ignore_old: true, reply: None });
                }
            }
            Output::ShutDown => self.stop(StopReason::NameConflict),
        }
    }

    /// Writes the keyring file; the engine hears how that ended.
    fn store_keyring(&mut self, op: OpId) {
        let Some(writer) = &mut self.writer else { return };
        let stored = writer.keyring(self.engine.keyring());
        let internal = self.internal.clone();
        self.tasks.spawn(async move {
            if let Ok(stored) = stored.await {
                // A node that has stopped answers nobody.
                let _ = internal.send(Internal::KeyringStored { op, stored }).await;
            }
        });
    }

    fn on_event(&mut self, event: Event) {
        if let Event::Member(_) = event {
            self.members.send_modify(|generation| *generation += 1);
        }
        self.shared.hub.publish(event);
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
        self.joins.clear();
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

/// Go: `memberlist.go: Join`.
async fn run_join(
    join: Join,
    bind_port: u16,
    resolver: Arc<dyn Resolver>,
    engine: mpsc::Sender<Internal>,
) {
    let mut contacted = 0;
    let mut errors = JoinErrors::default();
    for text in &join.entries {
        let entry = match JoinEntry::parse(text, bind_port) {
            Ok(entry) => entry,
            Err(error) => {
                errors.unresolved(text, &error);
                continue;
            }
        };
        let addrs = match join::resolve(&entry, &*resolver).await {
            Ok(addrs) => addrs,
            Err(error) => {
                warn!(target: "memberlist", "Failed to resolve {text}: {error}");
                errors.unresolved(text, &error);
                continue;
            }
        };
        for addr in addrs {
            match exchange(&engine, addr, entry.name.clone().unwrap_or_default()).await {
                Some(Ok(())) => contacted += 1,
                Some(Err(error)) => {
                    debug!(target: "memberlist", "Failed to join {addr}: {error}");
                    errors.unreachable(&addr, &error);
                }
                None => return,
            }
        }
    }
    // Before the answer, so that a caller finds the join closed.
    if engine.send(Internal::Joined { contacted }).await.is_err() {
        return;
    }
    let result = if contacted == 0 && !errors.is_empty() {
        Err(JoinError { contacted, message: errors.to_string() })
    } else {
        Ok(contacted)
    };
    if let Some(reply) = join.reply {
        // A caller that went away does not care.
        let _ = reply.send(result);
    }
}

/// One push/pull; `None` when the node has stopped.
async fn exchange(
    engine: &mpsc::Sender<Internal>,
    to: SocketAddr,
    name: String,
) -> Option<Result<(), Error>> {
    let (reply, result) = oneshot::channel();
    engine.send(Internal::PushPull { to, name, reply }).await.ok()?;
    result.await.ok()
}

/// Most acks and answers held for an asker that does not take them.
const QUERY_UPDATES_MAX: usize = 65_536;
/// Most entries of joins remembered.
const SEEDS_MAX: usize = 64;
const WRITER_TIMEOUT: Duration = Duration::from_secs(10);
