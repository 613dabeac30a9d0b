//! A node with a bare membership engine, whose host only records.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use super::{Node, Observation, ObservationKind};
use crate::{
    base::Instant,
    swim::{
        Cast, Config, Error, Exchange, Host, NodeStateKind, NodeView, OpId, Origin, Output, Shared,
        StreamId, StreamInput, Swim,
    },
    wire::StreamCodec,
};

/// A bare [`Swim`] engine: the lightweight node for large simulations.
pub struct SwimNode {
    engine: Swim,
    host: NotingHost,
    ended: Option<Result<(), Error>>,
}

struct NotingHost {
    index: u32,
    zone: Option<u8>,
    meta: Arc<[u8]>,
    notes: Vec<Observation>,
    user_messages: u64,
}

impl SwimNode {
    /// The name of node `index`.
    pub fn name_of(index: u32) -> String {
        format!("n{index:05}")
    }

    /// The index of a node whose name [`SwimNode::name_of`] created.
    pub fn index_of(name: &str) -> u32 {
        let digits = name.strip_prefix('n').unwrap_or_default();
        digits.parse().unwrap_or(Observation::FOREIGN)
    }

    /// Starts the engine of node `index`; its zone, if any, is the first byte of its meta.
    ///
    /// # Errors
    /// The engine refuses the configuration.
    pub fn build(
        index: u32,
        zone: Option<u8>,
        config: Config,
        now: Instant,
    ) -> Result<Self, Error> {
        let meta = zone.as_slice().into();
        let mut host = NotingHost { index, zone, meta, notes: Vec::new(), user_messages: 0 };
        let engine = Swim::build(config, now, &mut host)?;
        host.notes.clear();
        Ok(Self { engine, host, ended: None })
    }

    /// The engine, for inspection.
    pub fn engine(&self) -> &Swim {
        &self.engine
    }

    /// Fills the node's table with the others; nothing is queued about them.
    pub fn preload(&mut self, now: Instant, cast: &Cast) {
        self.engine.preload(now, cast);
    }

    /// Starts a push/pull.
    pub fn start_push_pull(&mut self, now: Instant, to: SocketAddr, join: bool) -> OpId {
        self.engine.start_push_pull(now, to, "", join, &mut self.host)
    }

    /// How the last operation ended, once after its end.
    pub fn take_ended(&mut self) -> Option<Result<(), Error>> {
        self.ended.take()
    }

    /// Announces a leave.
    pub fn start_leave(&mut self, now: Instant) -> OpId {
        self.engine.start_leave(now, &mut self.host)
    }

    /// Announces changed meta; the zone stays.
    pub fn start_update(&mut self, now: Instant, meta: &[u8]) -> OpId {
        self.host.meta = self.host.zone.as_slice().iter().chain(meta).copied().collect();
        self.engine.start_update(now, &mut self.host)
    }

    /// The zone that a host sees in the meta of a node with a zone.
    pub fn zone_of(meta: &[u8]) -> Option<Arc<str>> {
        meta.first().map(|zone| format!("zone-{zone}").into())
    }

    /// The meta that the node announces.
    pub fn meta(&self) -> &[u8] {
        &self.host.meta
    }

    /// Number of user messages received.
    pub fn user_messages(&self) -> u64 {
        self.host.user_messages
    }

    /// Calls the engine with its host, for hooks of the simulator.
    pub fn with_engine<R>(&mut self, call: impl FnOnce(&mut Swim, &mut dyn Host) -> R) -> R {
        call(&mut self.engine, &mut self.host)
    }
}

impl Node for SwimNode {
    fn handle_packet(&mut self, now: Instant, from: SocketAddr, datagram: &[u8]) {
        self.engine.handle_packet(now, from, datagram, &mut self.host);
    }

    fn handle_queued(&mut self, now: Instant) {
        self.engine.handle_queued(now, &mut self.host);
    }

    fn handle_stream(&mut self, now: Instant, id: StreamId, input: StreamInput) {
        self.engine.handle_stream(now, id, input, &mut self.host);
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.engine.handle_timeout(now, &mut self.host);
    }

    fn poll_output(&mut self, _now: Instant) -> Option<Output> {
        while let Some(done) = self.engine.poll_done() {
            self.ended = Some(done.result);
        }
        self.engine.poll_output()
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

    fn take_shared(&mut self, id: StreamId) -> Option<Shared> {
        self.engine.take_shared(id)
    }

    fn take_observations(&mut self) -> Vec<Observation> {
        std::mem::take(&mut self.host.notes)
    }

    fn has_observations(&self) -> bool {
        !self.host.notes.is_empty()
    }
}

impl NotingHost {
    fn note(&mut self, kind: ObservationKind, node: &NodeView<'_>) {
        self.notes.push(Observation {
            // The slot sets it: the node's own clock may have been stepped.
            at: 0,
            observer: self.index,
            subject: SwimNode::index_of(node.name),
            kind,
            incarnation: node.incarnation.0,
        });
    }
}

impl Host for NotingHost {
    fn node_meta(&mut self, _limit: usize) -> Arc<[u8]> {
        self.meta.clone()
    }

    fn zone(&self, meta: &Arc<[u8]>) -> Option<Arc<str>> {
        SwimNode::zone_of(meta)
    }

    fn on_user_message(&mut self, _message: &[u8], _: Origin) {
        self.user_messages += 1;
    }

    fn take_broadcasts(&mut self, _: usize, _: usize, _: u32, _: &mut dyn FnMut(&[u8])) {}

    fn has_broadcasts(&self) -> bool {
        false
    }

    fn local_state(&mut self, _join: bool, _out: &mut Vec<u8>) {}

    fn merge_remote_state(&mut self, _state: &[u8], _: Exchange) {}

    fn on_join(&mut self, node: &NodeView<'_>) {
        self.note(ObservationKind::Joined, node);
    }

    fn on_leave(&mut self, node: &NodeView<'_>) {
        let kind = match node.state {
            NodeStateKind::Left => ObservationKind::Left,
            NodeStateKind::Alive | NodeStateKind::Suspect | NodeStateKind::Dead => {
                ObservationKind::Failed
            }
        };
        self.note(kind, node);
    }

    fn on_update(&mut self, node: &NodeView<'_>) {
        self.note(ObservationKind::Updated, node);
    }

    fn on_conflict(&mut self, existing: &NodeView<'_>, _other: &NodeView<'_>) {
        self.note(ObservationKind::Conflict, existing);
    }

    fn check_merge(&mut self, _nodes: &[NodeView<'_>]) -> Result<(), String> {
        Ok(())
    }

    fn check_alive(&mut self, _node: &NodeView<'_>) -> Result<(), String> {
        Ok(())
    }

    fn ack_payload(&mut self, _out: &mut Vec<u8>) {}

    fn on_ping_complete(&mut self, _node: &NodeView<'_>, _rtt: Duration, _payload: &[u8]) {}
}
