//! A whole Serf engine.

use std::{collections::BTreeMap, net::SocketAddr};

use super::Node;
use crate::{
    base::Instant,
    serf::{
        Completion, Config, Engine, Error, Event, Output as SerfOutput, QueryId, QueryUpdate,
        SnapshotOp,
    },
    swim::{OpId, Output, StreamId, StreamInput},
    wire::StreamCodec,
};

/// A [`crate::serf::Engine`] with the parts of a driver that the simulator needs: joins over
/// several addresses, the snapshot file, and an unbounded record of everything that came out.
pub struct SerfNode {
    engine: Engine,
    events: Vec<(Instant, Event)>,
    queries: BTreeMap<QueryId, Vec<QueryUpdate>>,
    done: BTreeMap<OpId, Result<Completion, Error>>,
    join: Option<Join>,
    snapshot: Option<String>,
    wants_shutdown: bool,
}

/// A join under way: it ends when each of its exchanges has.
struct Join {
    waiting: Vec<OpId>,
    contacted: usize,
}

impl SerfNode {
    /// Starts an engine. With `snapshot`, the lines it writes are kept as the file would be.
    ///
    /// # Errors
    /// A configuration that the engine refuses.
    pub fn build(config: Config, now: Instant, snapshot: Option<String>) -> Result<Self, Error> {
        let engine = Engine::build(config, now, snapshot.as_deref().map(str::as_bytes))?;
        Ok(Self {
            engine,
            events: Vec::new(),
            queries: BTreeMap::new(),
            done: BTreeMap::new(),
            join: None,
            snapshot,
            wants_shutdown: false,
        })
    }

    /// The engine, to look at.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// The engine, to call. Effects leave at the end of the call that gave access to the node.
    pub fn engine_mut(&mut self) -> &mut Engine {
        &mut self.engine
    }

    /// Starts a join with all of `targets`.
    ///
    /// # Errors
    /// The engine is not alive.
    pub fn join(
        &mut self,
        now: Instant,
        targets: &[SocketAddr],
        ignore_old: bool,
    ) -> Result<(), Error> {
        self.engine.begin_join(ignore_old)?;
        let waiting = targets.iter().map(|to| self.engine.start_push_pull(now, *to, "")).collect();
        self.join = Some(Join { waiting, contacted: 0 });
        Ok(())
    }

    /// Whether a join is under way.
    pub fn is_joining(&self) -> bool {
        self.join.is_some()
    }

    /// Every event since the start, with the node's own time.
    pub fn events(&self) -> &[(Instant, Event)] {
        &self.events
    }

    /// Takes the events, and the memory they hold.
    pub fn take_events(&mut self) -> Vec<(Instant, Event)> {
        std::mem::take(&mut self.events)
    }

    /// What became of a query this node asked, so far.
    pub fn query_updates(&self, id: QueryId) -> &[QueryUpdate] {
        self.queries.get(&id).map(Vec::as_slice).unwrap_or_default()
    }

    /// How an operation ended, if it has; joins are not kept.
    pub fn result(&self, op: OpId) -> Option<&Result<Completion, Error>> {
        self.done.get(&op)
    }

    /// The snapshot file as it is now, if one is kept.
    pub fn snapshot(&self) -> Option<&str> {
        self.snapshot.as_deref()
    }

    /// Whether the engine asked to be shut down (it lost the vote over its name).
    pub fn wants_shutdown(&self) -> bool {
        self.wants_shutdown
    }

    fn note_done(&mut self, now: Instant, op: OpId, result: Result<Completion, Error>) {
        let Some(join) = &mut self.join else {
            self.done.insert(op, result);
            return;
        };
        let Some(place) = join.waiting.iter().position(|waiting| *waiting == op) else {
            self.done.insert(op, result);
            return;
        };
        join.waiting.swap_remove(place);
        join.contacted += usize::from(result.is_ok());
        if join.waiting.is_empty() {
            let contacted = join.contacted;
            self.join = None;
            self.engine.end_join(now, contacted);
        }
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
                SerfOutput::Done { op, result } => self.note_done(now, op, result),
                SerfOutput::Snapshot(op) => self.write_snapshot(op),
                SerfOutput::KeyringChanged { .. } | SerfOutput::RejoinSeeds => {}
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
