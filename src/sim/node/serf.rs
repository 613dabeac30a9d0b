//! A node with a whole Serf engine.

use std::{collections::BTreeMap, net::SocketAddr};

use super::Node;
use crate::{
    base::Instant,
    serf::{
        Completion, Config, Engine, Error, Event, OldEvents, Output as SerfOutput, QueryId,
        QueryUpdate, SnapshotOp,
    },
    swim::{OpId, Output, StreamId, StreamInput},
    wire::StreamCodec,
};

/// A [`crate::serf::Engine`] with the parts of a driver that the simulator needs: the snapshot
/// file, and an unbounded record of all outputs. There are no host names.
pub struct SerfNode {
    engine: Engine,
    events: Vec<(Instant, Event)>,
    queries: BTreeMap<QueryId, Vec<QueryUpdate>>,
    done: BTreeMap<OpId, Result<Completion, Error>>,
    snapshot: Option<String>,
    wants_shutdown: bool,
}

impl SerfNode {
    /// Starts an engine. With `snapshot`, its snapshot lines are kept as in a file.
    ///
    /// # Errors
    /// The engine refuses the configuration.
    pub fn build(config: Config, now: Instant, snapshot: Option<String>) -> Result<Self, Error> {
        let engine = Engine::build(config, now, snapshot.as_deref().map(str::as_bytes))?;
        Ok(Self {
            engine,
            events: Vec::new(),
            queries: BTreeMap::new(),
            done: BTreeMap::new(),
            snapshot,
            wants_shutdown: false,
        })
    }

    /// The engine, for inspection.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// The engine, for calls. Outputs are processed at the end of the call that gave access to the
    /// node.
    pub fn engine_mut(&mut self) -> &mut Engine {
        &mut self.engine
    }

    /// Starts a join with all of `targets`, one after the other.
    ///
    /// # Errors
    /// As [`Engine::start_join`].
    pub fn join(
        &mut self,
        now: Instant,
        targets: &[SocketAddr],
        old: OldEvents,
    ) -> Result<OpId, Error> {
        let entries: Vec<_> = targets.iter().map(SocketAddr::to_string).collect();
        self.engine.start_join(now, &entries, old)
    }

    /// All events since the start, with the node's own time.
    pub fn events(&self) -> &[(Instant, Event)] {
        &self.events
    }

    /// Takes the events, which empties the list.
    pub fn take_events(&mut self) -> Vec<(Instant, Event)> {
        std::mem::take(&mut self.events)
    }

    /// The updates so far of a query that this node asked.
    pub fn query_updates(&self, id: QueryId) -> &[QueryUpdate] {
        self.queries.get(&id).map(Vec::as_slice).unwrap_or_default()
    }

    /// The result of an operation, if it has ended.
    pub fn result(&self, op: OpId) -> Option<&Result<Completion, Error>> {
        self.done.get(&op)
    }

    /// The current contents of the snapshot file, if one is kept.
    pub fn snapshot(&self) -> Option<&str> {
        self.snapshot.as_deref()
    }

    /// Whether the engine asked to be shut down (it lost the vote on its name).
    pub fn wants_shutdown(&self) -> bool {
        self.wants_shutdown
    }

    fn write_snapshot(&mut self, op: SnapshotOp) {
        let Some(file) = &mut self.snapshot else { return };
        match op {
            SnapshotOp::Append(lines) => file.push_str(&lines),
            SnapshotOp::Replace(lines) => *file = lines,
            SnapshotOp::Sync => {}
        }
    }
}

impl Node for SerfNode {
    fn handle_packet(&mut self, now: Instant, from: SocketAddr, datagram: &[u8]) {
        self.engine.handle_packet(now, from, datagram);
    }

    fn handle_queued(&mut self, now: Instant) {
        self.engine.handle_queued(now);
    }

    fn handle_stream(&mut self, now: Instant, id: StreamId, input: StreamInput) {
        self.engine.handle_stream(now, id, input);
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.engine.handle_timeout(now);
    }

    fn poll_output(&mut self, now: Instant) -> Option<Output> {
        loop {
            match self.engine.poll_output()? {
                SerfOutput::Swim(output) => return Some(output),
                SerfOutput::Event(event) => self.events.push((now, event)),
                SerfOutput::Query { id, update } => {
                    self.queries.entry(id).or_default().push(update);
                }
                SerfOutput::Done { op, result } => drop(self.done.insert(op, result)),
                SerfOutput::Snapshot(op) => self.write_snapshot(op),
                SerfOutput::Resolve { op, host } => {
                    let error = format!("lookup {host}: no such host");
                    self.engine.resolved(now, op, Err(error));
                }
                SerfOutput::KeyringChanged { .. } => {}
                SerfOutput::ShutDown => self.wants_shutdown = true,
            }
        }
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.engine.poll_timeout()
    }

    fn accept_stream(&mut self) -> StreamId {
        self.engine.accept_stream()
    }

    fn stream_codec(&self) -> StreamCodec {
        self.engine.stream_codec()
    }
}
