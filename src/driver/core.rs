//! What the engine's task owns: everything but the sockets.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Arc, Weak},
    time::Duration,
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use tokio::sync::{mpsc, oneshot};
use tracing::warn;

use super::{files::FileWriter, handle::Shared};
use crate::{
    base::Instant,
    serf::{Completion, Engine, Error, KeyResponse, Output, QueryId, QueryUpdate},
    swim::{self, OpId},
};

/// Acks and answers held for a slow asker.
pub(super) const QUERY_UPDATES_MAX: usize = 16_384;

/// A piece of work for the engine's task.
pub(super) type Command = Box<dyn FnOnce(&mut Core, Instant) + Send>;

/// The engine's clock: monotonic nanoseconds since the start.
#[derive(Clone, Copy)]
pub(super) struct Clock(std::time::Instant);

impl Clock {
    pub(super) fn start() -> Self {
        Self(std::time::Instant::now())
    }

    pub(super) fn now(self) -> Instant {
        let nanos = self.0.elapsed().as_nanos();
        Instant::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    pub(super) fn tokio(self, at: Instant) -> tokio::time::Instant {
        // Far enough for "never", near enough not to overflow the timer.
        const NEVER: Duration = Duration::from_secs(365 * 24 * 3600);
        let after = (at - Instant::ZERO).min(NEVER);
        tokio::time::Instant::from_std(self.0 + after)
    }
}

/// The engine and whoever waits for it.
pub(super) struct Core {
    pub(super) engine: Engine,
    pub(super) shared: Weak<Shared>,
    pub(super) files: Option<FileWriter>,
    pub(super) keyring_file: Option<PathBuf>,
    ops: BTreeMap<OpId, oneshot::Sender<Result<Completion, Error>>>,
    queries: BTreeMap<QueryId, mpsc::Sender<QueryUpdate>>,
    /// The engine asked to be stopped, or a handle did.
    pub(super) stop: bool,
    events: Arc<super::subscribe::Subscribers>,
    lost_updates: u64,
}

impl Core {
    pub(super) fn new(
        engine: Engine,
        shared: Weak<Shared>,
        events: Arc<super::subscribe::Subscribers>,
        files: FileWriter,
        keyring_file: Option<PathBuf>,
    ) -> Self {
        Self {
            engine,
            shared,
            files: Some(files),
            keyring_file,
            ops: BTreeMap::new(),
            queries: BTreeMap::new(),
            stop: false,
            events,
            lost_updates: 0,
        }
    }

    /// Remembers who waits for an operation that has just begun.
    pub(super) fn wait_for(
        &mut self,
        op: OpId,
        waiter: oneshot::Sender<Result<Completion, Error>>,
    ) {
        self.ops.insert(op, waiter);
    }

    /// Remembers who asked a query.
    pub(super) fn watch_query(&mut self, id: QueryId, updates: mpsc::Sender<QueryUpdate>) {
        self.queries.insert(id, updates);
    }

    /// Takes effects out of the engine until one is for the sockets.
    pub(super) fn next_network_output(&mut self) -> Option<swim::Output> {
        while let Some(output) = self.engine.poll_output() {
            match output {
                Output::Swim(output) => return Some(output),
                Output::Event(event) => self.events.publish(&event),
                Output::Query { id, update } => self.query_update(id, update),
                Output::Done { op, result } => {
                    if let Some(waiter) = self.ops.remove(&op) {
                        let _ = waiter.send(result); // the caller may have lost interest
                    }
                }
                Output::Snapshot(op) => {
                    if let Some(files) = &self.files {
                        files.snapshot(op);
                    }
                }
                Output::KeyringChanged => self.write_keyring(),
                Output::RejoinSeeds => {
                    if let Some(shared) = self.shared.upgrade() {
                        super::join::rejoin_seeds(shared);
                    }
                }
                Output::ShutDown => self.stop = true,
            }
        }
        None
    }

    fn query_update(&mut self, id: QueryId, update: QueryUpdate) {
        let Some(updates) = self.queries.get(&id) else { return };
        let last = matches!(update, QueryUpdate::Finished { .. });
        if updates.try_send(update).is_err() && !updates.is_closed() {
            self.lost_updates += 1;
            warn!(
                target: "serf",
                lost = self.lost_updates, "Failed to deliver query response, dropping"
            );
        }
        if last {
            self.queries.remove(&id);
        }
    }

    /// Go's format: base64, primary first, two spaces, no newline at the end.
    fn write_keyring(&self) {
        let (Some(path), Some(files)) = (&self.keyring_file, &self.files) else { return };
        let keys: Vec<_> = self
            .engine
            .keyring()
            .keys()
            .map(|key| format!("  \"{}\"", BASE64_STANDARD.encode(key)))
            .collect();
        files.replace(path, format!("[\n{}\n]", keys.join(",\n")).into_bytes());
    }
}

/// What a key operation's completion holds.
pub(super) fn key_outcome(completion: Completion) -> (KeyResponse, Option<String>) {
    match completion {
        Completion::Keys { response, error } => (response, error),
        Completion::Done => (KeyResponse::default(), None),
    }
}
