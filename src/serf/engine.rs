//! The engine's entry points.

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc};

use bytes::Bytes;

use super::{Config, Error, KeyOp, Member, Output, QueryId, QueryParams, SerfState};
use crate::{
    base::Instant,
    swim::{OpId, StreamId, StreamInput},
    wire::{Keyring, StreamCodec},
};

/// One member's Serf engine, the membership engine inside.
pub struct Engine {}

impl Engine {
    /// Makes the member. `snapshot` is the whole snapshot file of an earlier run, if one is kept;
    /// with it, snapshot work comes out of [`Engine::poll_output`].
    ///
    /// # Errors
    /// A configuration that cannot work, with Go's texts.
    pub fn build(config: Config, now: Instant, snapshot: Option<&[u8]>) -> Result<Self, Error> {
        let _ = (config, now, snapshot);
        todo!()
    }

    /// A datagram arrived.
    pub fn handle_packet(&mut self, now: Instant, from: SocketAddr, datagram: &[u8]) {
        let _ = (now, from, datagram);
        todo!()
    }

    /// Something happened on a stream.
    pub fn handle_stream(&mut self, now: Instant, id: StreamId, input: StreamInput) {
        let _ = (now, id, input);
        todo!()
    }

    /// Works off what the packets of a batch left in the hand-off queues.
    pub fn handle_queued(&mut self, now: Instant) {
        let _ = now;
        todo!()
    }

    /// Time has come.
    pub fn handle_timeout(&mut self, now: Instant) {
        let _ = now;
        todo!()
    }

    /// The next effect, oldest first.
    pub fn poll_output(&mut self) -> Option<Output> {
        todo!()
    }

    /// When [`Engine::handle_timeout`] wants to be called.
    pub fn poll_timeout(&self) -> Option<Instant> {
        todo!()
    }

    /// Names a stream the driver is about to accept.
    pub fn accept_stream(&mut self) -> StreamId {
        todo!()
    }

    /// Codec for streams opened or accepted from now on.
    pub fn stream_codec(&self) -> StreamCodec {
        todo!()
    }

    /// Opens a join: until [`Engine::end_join`], old events of join exchanges are ignored if asked.
    ///
    /// # Errors
    /// Not alive.
    pub fn begin_join(&mut self, ignore_old: bool) -> Result<(), Error> {
        let _ = ignore_old;
        todo!()
    }

    /// One exchange of a join with a resolved address; ends with [`Output::Done`].
    pub fn start_push_pull(&mut self, now: Instant, to: SocketAddr, name: &str) -> OpId {
        let _ = (now, to, name);
        todo!()
    }

    /// Closes a join; announces it if somebody was contacted.
    pub fn end_join(&mut self, now: Instant, contacted: usize) {
        let _ = (now, contacted);
        todo!()
    }

    /// The whole graceful leave; done at the latest after two broadcast timeouts and the
    /// propagate delay.
    ///
    /// # Errors
    /// Already leaving, or shut down.
    pub fn start_leave(&mut self, now: Instant) -> Result<OpId, Error> {
        let _ = now;
        todo!()
    }

    /// The driver is about to stop: state becomes Shutdown, a last snapshot line comes out.
    pub fn shut_down(&mut self, now: Instant) {
        let _ = now;
        todo!()
    }

    /// Sends a user event.
    ///
    /// # Errors
    /// Too large; Go's texts.
    pub fn user_event(
        &mut self,
        now: Instant,
        name: &str,
        payload: Bytes,
        coalesce: bool,
    ) -> Result<(), Error> {
        let _ = (now, name, payload, coalesce);
        todo!()
    }

    /// Asks a query; progress comes as [`Output::Query`].
    ///
    /// # Errors
    /// Too large, or the protocol version is below 4.
    pub fn query(
        &mut self,
        now: Instant,
        name: &str,
        payload: Bytes,
        params: &QueryParams,
    ) -> Result<QueryId, Error> {
        let _ = (now, name, payload, params);
        todo!()
    }

    /// Ends a query we asked before its time.
    pub fn close_query(&mut self, now: Instant, id: QueryId) {
        let _ = (now, id);
        todo!()
    }

    /// Answers a query that was delivered as an event.
    ///
    /// # Errors
    /// Already answered, past the deadline, too large; Go's texts.
    pub fn respond(&mut self, now: Instant, id: QueryId, payload: &[u8]) -> Result<(), Error> {
        let _ = (now, id, payload);
        todo!()
    }

    /// Replaces all tags and announces them.
    ///
    /// # Errors
    /// The encoded tags are too long.
    pub fn start_set_tags(
        &mut self,
        now: Instant,
        tags: BTreeMap<String, String>,
    ) -> Result<OpId, Error> {
        let _ = (now, tags);
        todo!()
    }

    /// Declares a failed member left, or with `prune` forgets it.
    pub fn start_force_leave(&mut self, now: Instant, name: &str, prune: bool) -> OpId {
        let _ = (now, name, prune);
        todo!()
    }

    /// Changes or lists keys in the whole cluster.
    ///
    /// # Errors
    /// The key is not base64; Go's text.
    pub fn start_key_op(
        &mut self,
        now: Instant,
        op: &KeyOp,
        relay_factor: u8,
    ) -> Result<OpId, Error> {
        let _ = (now, op, relay_factor);
        todo!()
    }

    /// Every member, ourselves and the gone included, by name.
    pub fn members(&self) -> impl Iterator<Item = &Arc<Member>> {
        std::iter::empty()
    }

    /// Our own record.
    pub fn local_member(&self) -> &Arc<Member> {
        todo!()
    }

    /// Go's `Stats` keys, sorted.
    pub fn stats(&self) -> BTreeMap<&'static str, String> {
        todo!()
    }

    /// State of this member's life.
    pub fn state(&self) -> SerfState {
        todo!()
    }

    /// Keys in force.
    pub fn keyring(&self) -> &Keyring {
        todo!()
    }

    /// The coordinate of a member as last heard, or our own. Go: `GetCachedCoordinate`.
    pub fn coordinate(&self, name: &str) -> Option<&super::Coordinate> {
        let _ = name;
        todo!()
    }

    /// Peers of the snapshot to be tried one after the other at the start, shuffled:
    /// `(name, "ip:port")`.
    pub fn previous_peers(&mut self) -> Vec<(String, String)> {
        todo!()
    }
}
