//! A node's environment in the world: its sockets, its clock, and the state of its process.

use std::{
    collections::{BTreeMap, VecDeque},
    net::SocketAddr,
};

use super::{
    network::{Fate, Network, address_of, node_at},
    node::{Node, Observation},
    post::{Content, Kind, Post, Step, StreamKey},
    queue::Event,
    trace::What,
};
use crate::{
    base::{Instant, Rng},
    swim::{Output, StreamId, StreamInput},
    wire::{Role, StreamCodec, StreamDecoder, StreamMessage},
};

/// Execution state of a node's process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Run {
    Up,
    /// Stopped like by SIGSTOP: the kernel still accepts packets and connections.
    Paused,
    /// Timers run, but no traffic passes: the anomaly of the Lifeguard paper.
    Blocked,
}

/// Traffic of a node since the start of the world.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Number of datagrams sent.
    pub packets_sent: u64,
    /// Bytes of datagrams sent.
    pub bytes_sent: u64,
    /// Number of datagrams that reached the process.
    pub packets_received: u64,
    /// Bytes of datagrams that reached the process.
    pub bytes_received: u64,
    /// Datagrams sent other than pings, acks and nacks (in an unencrypted cluster), i.e. gossip.
    pub gossip_sent: u64,
    /// Datagrams dropped because the socket buffer of a stopped process was full.
    pub overflowed: u64,
    /// Bytes of datagrams sent to addresses without a node.
    pub strange_bytes_sent: u64,
    /// Number of streams dialled.
    pub streams: u64,
    /// Bytes sent on streams, as dialler and as acceptor.
    pub stream_bytes_sent: u64,
    /// Bytes of gossip, of other datagrams and on streams sent to nodes of another group.
    pub group_bytes_sent: [u64; 3],
}

pub(crate) struct Slot<N> {
    pub(crate) index: u32,
    /// The engine; `None` after a crash.
    pub(crate) node: Option<N>,
    pub(crate) run: Run,
    /// Whether the machine is down, too: not even the kernel answers.
    pub(crate) host_down: bool,
    /// How often the node has changed its address.
    pub(crate) moves: u8,
    /// Number of starts of the process.
    pub(crate) life: u32,
    /// Difference between the node's clock and the world's.
    pub(crate) clock_ahead: u64,
    /// World time of the valid timer event; others are stale.
    pub(crate) timer_at: u64,
    pub(crate) counters: Counters,
    /// Size of the socket buffer in bytes.
    pub(crate) buffer_bytes_max: usize,
    rng: Rng,
    seq: u64,
    dials: BTreeMap<u64, Dial>,
    accepted: BTreeMap<u64, (StreamKey, StreamCodec)>,
    /// When the last byte of all streams has left the node.
    uplink_free: u64,
    held: VecDeque<Kind>,
    held_bytes: usize,
    unsent: Vec<Output>,
}

/// A stream this node opened.
struct Dial {
    peer: u32,
    decoder: StreamDecoder,
    content: Option<Content>,
    reply: bool,
    connected: bool,
}

impl<N: Node> Slot<N> {
    pub(crate) fn new(index: u32, node: N, seed: u64, buffer_bytes_max: usize) -> Self {
        Self {
            index,
            node: Some(node),
            run: Run::Up,
            host_down: false,
            moves: 0,
            life: 0,
            clock_ahead: 0,
            timer_at: u64::MAX,
            counters: Counters::default(),
            buffer_bytes_max,
            rng: Rng::from_u64(seed ^ (u64::from(index) << 32 | 0x5157)),
            seq: 0,
            dials: BTreeMap::new(),
            accepted: BTreeMap::new(),
            uplink_free: 0,
            held: VecDeque::new(),
            held_bytes: 0,
            unsent: Vec::new(),
        }
    }

    /// What the next event of the node looks at first.
    pub(crate) fn glance(&self) -> (u64, Option<Instant>) {
        (self.timer_at, self.node.as_ref().and_then(Node::poll_timeout))
    }

    /// The node's own clock at world time `now`.
    pub(crate) fn local(&self, now: u64) -> Instant {
        Instant::from_nanos(now.saturating_add(self.clock_ahead))
    }

    pub(crate) fn handle_packet(&mut self, now: u64, from: SocketAddr, data: &[u8]) {
        let local = self.local(now);
        if let Some(node) = &mut self.node {
            node.handle_packet(local, from, data);
        }
    }

    pub(crate) fn handle_timeout(&mut self, now: u64, post: &mut Post, network: &Network) {
        let local = self.local(now);
        let Some(node) = &mut self.node else { return };
        if node.poll_timeout().is_some_and(|deadline| deadline <= local) {
            node.handle_timeout(local);
        }
        self.settle(now, post, network);
    }

    /// Processes the outputs of the last call and sets the timer.
    pub(crate) fn settle(&mut self, now: u64, post: &mut Post, network: &Network) {
        let local = self.local(now);
        if let Some(node) = &mut self.node {
            node.handle_queued(local);
        }
        while let Some(output) = self.node.as_mut().and_then(|node| node.poll_output(local)) {
            if self.run == Run::Up {
                self.perform(now, output, post, network);
            } else {
                self.unsent.push(output);
            }
        }
        self.arm(now, post);
    }

    fn arm(&mut self, now: u64, post: &mut Post) {
        let Some(deadline) = self.node.as_ref().and_then(Node::poll_timeout) else { return };
        if deadline == Instant::FAR_FUTURE {
            return;
        }
        // A deadline that is not in the future would stop the world: use the next nanosecond.
        let at = deadline.as_nanos().saturating_sub(self.clock_ahead).max(now + 1);
        if at < self.timer_at {
            self.timer_at = at;
            self.post(at, self.index, Kind::Timer, post);
        }
    }

    fn post(&mut self, at: u64, dst: u32, kind: Kind, post: &mut Post) {
        let seq = self.seq;
        self.seq += 1;
        post.push(Event { at, src: self.index, dst, seq, kind });
    }

    fn perform(&mut self, now: u64, output: Output, post: &mut Post, network: &Network) {
        match output {
            Output::Packet { to, data } => self.send_packet(now, to, data, post, network),
            Output::Open { id, to, message, reply, deadline } => {
                self.open(now, id, to, &message, reply, deadline, post, network);
            }
            Output::Reply { id, message, .. } => {
                let Some((key, codec)) = self.accepted.remove(&id.0) else { return };
                let content = self.content(id, &codec, Role::Acceptor, &message);
                self.send_step(now, key.dialer, key, Step::Reply(content), post, network);
                if self.uplink_free > now {
                    let sent = Kind::Sent { life: self.life, id: id.0 };
                    return self.post(self.uplink_free, self.index, sent, post);
                }
                let local = self.local(now);
                if let Some(node) = &mut self.node {
                    node.handle_stream(local, id, StreamInput::Sent);
                }
            }
            Output::Close { id } => {
                if self.dials.remove(&id.0).is_none()
                    && let Some((key, _)) = self.accepted.remove(&id.0)
                {
                    self.send_step(now, key.dialer, key, Step::Fin, post, network);
                }
            }
        }
    }

    fn send_packet(
        &mut self,
        now: u64,
        to: SocketAddr,
        data: Vec<u8>,
        post: &mut Post,
        network: &Network,
    ) {
        self.counters.packets_sent += 1;
        self.counters.bytes_sent += data.len() as u64;
        self.counters.gossip_sent += u64::from(is_gossip(&data));
        let Some((dst, to_moves)) = node_at(to).filter(|(dst, _)| *dst < post.nodes) else {
            self.counters.strange_bytes_sent += data.len() as u64;
            return;
        };
        post.trace.add(now, self.index, What::Sent, dst, data.len());
        let (from, from_moves) = (self.index, self.moves);
        if network.group(from) != network.group(dst) {
            let [gossip, others, _] = &mut self.counters.group_bytes_sent;
            *(if is_gossip(&data) { gossip } else { others }) += data.len() as u64;
        }
        match network.datagram(&mut self.rng, self.index, dst) {
            Fate::Lost => post.trace.add(now, self.index, What::Lost, dst, data.len()),
            Fate::Once(wait) => {
                let kind = Kind::Packet { from, from_moves, to_moves, data };
                self.post(now + wait, dst, kind, post);
            }
            Fate::Twice(first, second) => {
                let copy = Kind::Packet { from, from_moves, to_moves, data: data.clone() };
                self.post(now + first, dst, copy, post);
                self.post(
                    now + second,
                    dst,
                    Kind::Packet { from, from_moves, to_moves, data },
                    post,
                );
            }
        }
    }

    #[allow(clippy::too_many_arguments)]
    fn open(
        &mut self,
        now: u64,
        id: StreamId,
        to: SocketAddr,
        message: &[u8],
        reply: bool,
        deadline: Instant,
        post: &mut Post,
        network: &Network,
    ) {
        let Some(node) = &self.node else { return };
        let codec = node.stream_codec();
        let content = Some(self.content(id, &codec, Role::Dialer, message));
        self.counters.streams += 1;
        let at = deadline.as_nanos().saturating_sub(self.clock_ahead).max(now + 1);
        self.post(at, self.index, Kind::DialDeadline { life: self.life, id: id.0 }, post);
        let peer = node_at(to).filter(|(peer, _)| *peer < post.nodes);
        let decoder = StreamDecoder::new(codec, Role::Dialer);
        let number = peer.map_or(u32::MAX, |(peer, _)| peer);
        self.dials.insert(id.0, Dial { peer: number, decoder, content, reply, connected: false });
        if let Some((peer, moves)) = peer {
            let key = StreamKey { dialer: self.index, life: self.life, id: id.0 };
            self.send_step(now, peer, key, Step::Syn(moves), post, network);
        }
    }

    /// What goes over the network for a message of the engine.
    fn content(
        &mut self,
        id: StreamId,
        codec: &StreamCodec,
        role: Role,
        message: &[u8],
    ) -> Content {
        if let Some(shared) = self.node.as_mut().and_then(|node| node.take_shared(id)) {
            return Content::Shared(Box::new(shared));
        }
        let mut bytes = Vec::with_capacity(message.len() + 64);
        codec.seal(&mut self.rng, role, message, &mut bytes);
        Content::Sealed(bytes)
    }

    fn send_step(
        &mut self,
        now: u64,
        dst: u32,
        key: StreamKey,
        step: Step,
        post: &mut Post,
        network: &Network,
    ) {
        let bytes = match &step {
            Step::Data(content) | Step::Reply(content) => content.len(),
            Step::Syn(_) | Step::SynAck | Step::Refused | Step::Fin => 0,
        };
        self.counters.stream_bytes_sent += bytes as u64;
        if network.group(self.index) != network.group(dst) {
            self.counters.group_bytes_sent[2] += bytes as u64;
        }
        post.trace.add(now, self.index, What::Stream, dst, bytes);
        let mut leaves = now;
        if bytes > 0 {
            leaves = self.uplink_free.max(now) + network.uplink_nanos(bytes);
            self.uplink_free = leaves;
        }
        if let Some(wait) = network.segment(&mut self.rng, self.index, dst, bytes) {
            self.post(leaves + wait, dst, Kind::Stream { key, step }, post);
        }
    }

    pub(crate) fn handle_step(
        &mut self,
        now: u64,
        key: StreamKey,
        step: Step,
        post: &mut Post,
        network: &Network,
    ) {
        if self.host_down {
            return;
        }
        match step {
            Step::Syn(moves) if moves != self.moves => {}
            Step::Syn(_) => {
                let answer = if self.node.is_some() { Step::SynAck } else { Step::Refused };
                self.send_step(now, key.dialer, key, answer, post, network);
            }
            Step::Data(content) => self.accept(now, key, content, post, network),
            Step::SynAck => {
                let Some(dial) = self.dial(key) else { return };
                dial.connected = true;
                let (content, reply, peer) = (dial.content.take(), dial.reply, dial.peer);
                if let Some(content) = content {
                    self.send_step(now, peer, key, Step::Data(content), post, network);
                }
                if !reply {
                    self.dials.remove(&key.id);
                    self.stream_input(now, key.id, StreamInput::Sent, post, network);
                }
            }
            Step::Refused => {
                self.fail(now, key, "connection refused", post, network);
            }
            Step::Fin => self.fail(now, key, "EOF", post, network),
            Step::Reply(content) => {
                let Some(dial) = self.dial(key) else { return };
                let input = received(&mut dial.decoder, content);
                self.dials.remove(&key.id);
                self.stream_input(now, key.id, input, post, network);
            }
        }
    }

    fn accept(
        &mut self,
        now: u64,
        key: StreamKey,
        content: Content,
        post: &mut Post,
        network: &Network,
    ) {
        let local = self.local(now);
        let Some(node) = &mut self.node else {
            self.send_step(now, key.dialer, key, Step::Fin, post, network);
            return;
        };
        let id = node.accept_stream();
        let codec = node.stream_codec();
        let from = address_of(key.dialer, 0);
        node.handle_stream(local, id, StreamInput::Accepted { from });
        let input = received(&mut StreamDecoder::new(codec.clone(), Role::Acceptor), content);
        let answered = !matches!(
            input,
            StreamInput::Message(StreamMessage::User(_)) | StreamInput::Failed { .. }
        );
        if answered {
            self.accepted.insert(id.0, (key, codec));
            if self.accepted.len() > ACCEPTED_MAX {
                self.accepted.pop_first();
            }
        }
        self.stream_input(now, id.0, input, post, network);
    }

    pub(crate) fn handle_dial_deadline(
        &mut self,
        now: u64,
        life: u32,
        id: u64,
        post: &mut Post,
        network: &Network,
    ) {
        let key = StreamKey { dialer: self.index, life, id };
        self.fail(now, key, "i/o timeout", post, network);
    }

    pub(crate) fn handle_sent(
        &mut self,
        now: u64,
        life: u32,
        id: u64,
        post: &mut Post,
        network: &Network,
    ) {
        if life == self.life {
            self.stream_input(now, id, StreamInput::Sent, post, network);
        }
    }

    fn fail(&mut self, now: u64, key: StreamKey, error: &str, post: &mut Post, network: &Network) {
        let Some(dial) = self.dial(key) else { return };
        let connected = dial.connected;
        self.dials.remove(&key.id);
        let input = StreamInput::Failed { connected, error: error.to_owned() };
        self.stream_input(now, key.id, input, post, network);
    }

    fn stream_input(
        &mut self,
        now: u64,
        id: u64,
        input: StreamInput,
        post: &mut Post,
        network: &Network,
    ) {
        let local = self.local(now);
        if let Some(node) = &mut self.node {
            node.handle_stream(local, StreamId(id), input);
        }
        self.settle(now, post, network);
    }

    /// A stream that this node dialled in its current life.
    fn dial(&mut self, key: StreamKey) -> Option<&mut Dial> {
        if key.dialer != self.index || key.life != self.life {
            return None;
        }
        self.dials.get_mut(&key.id)
    }

    /// Buffers arriving data for a stopped process, as the kernel does.
    pub(crate) fn hold(&mut self, kind: Kind) {
        if let Kind::Packet { data, .. } = &kind {
            // The kernel adds its overhead to each datagram.
            let charge = data.len() + DATAGRAM_CHARGE;
            if self.held_bytes + charge > self.buffer_bytes_max {
                self.counters.overflowed += 1;
                return;
            }
            self.held_bytes += charge;
        }
        self.held.push_back(kind);
    }

    pub(crate) fn stop(&mut self, run: Run) {
        if self.run == Run::Up {
            self.run = run;
        }
    }

    /// Continues the process: handles buffered data first, then timers, as the driver does; after a
    /// block, at the pace of a busy process.
    pub(crate) fn resume(&mut self, now: u64, post: &mut Post, network: &Network) {
        let was = std::mem::replace(&mut self.run, Run::Up);
        for output in std::mem::take(&mut self.unsent) {
            self.perform(now, output, post, network);
        }
        let held = std::mem::take(&mut self.held);
        self.held_bytes = 0;
        if was == Run::Blocked {
            for (place, kind) in held.into_iter().enumerate() {
                self.post(now + 1 + place as u64 * DRAIN_SPACING, self.index, kind, post);
            }
            return;
        }
        for kind in held {
            match kind {
                Kind::Packet { from, from_moves, to_moves, data } => {
                    if to_moves == self.moves {
                        self.counters.packets_received += 1;
                        self.counters.bytes_received += data.len() as u64;
                        self.handle_packet(now, address_of(from, from_moves), &data);
                    }
                }
                Kind::Stream { key, step } => {
                    self.handle_step(now, key, step, post, network);
                }
                Kind::DialDeadline { life, id } => {
                    self.handle_dial_deadline(now, life, id, post, network);
                }
                Kind::Sent { life, id } => self.handle_sent(now, life, id, post, network),
                Kind::Timer => {}
            }
        }
        self.settle(now, post, network);
        self.timer_at = u64::MAX;
        self.handle_timeout(now, post, network);
    }

    /// Ends the process and drops the contents of its sockets.
    pub(crate) fn crash(&mut self, host: bool) -> Option<N> {
        self.host_down = host;
        self.run = Run::Up;
        self.held.clear();
        self.held_bytes = 0;
        self.unsent.clear();
        self.dials.clear();
        self.accepted.clear();
        self.uplink_free = 0;
        self.timer_at = u64::MAX;
        self.life += 1;
        self.node.take()
    }

    /// Takes what the node observed in the event at `now`, in world time.
    pub(crate) fn take_observations(&mut self, now: u64, into: &mut Vec<Observation>) {
        let Some(node) = &mut self.node else { return };
        let seen = node.take_observations().into_iter();
        into.extend(seen.map(|seen| Observation { at: now, ..seen }));
    }
}

/// What the other end of a stream makes of its content.
fn received(decoder: &mut StreamDecoder, content: Content) -> StreamInput {
    let bytes = match content {
        Content::Sealed(bytes) => bytes,
        Content::Shared(shared) => {
            return StreamInput::Message(StreamMessage::PushPull(shared.state));
        }
    };
    match decoder.feed(&bytes) {
        Ok(Some(message)) => StreamInput::Message(message),
        Ok(None) => StreamInput::Failed { connected: true, error: "EOF".to_owned() },
        Err(error) => StreamInput::Broken(error),
    }
}

/// Whether an unencrypted datagram is gossip rather than part of a probe.
fn is_gossip(data: &[u8]) -> bool {
    let kind = match data.first() {
        // After the checksum.
        Some(12) => data.get(5),
        kind => kind,
    };
    match kind {
        Some(0 | 1 | 2 | 11) | None => false,
        // The first part of a compound starts after the count and the lengths.
        Some(7) => {
            let at = if data.first() == Some(&12) { 6 } else { 1 };
            let parts = data.get(at).copied().map_or(0, usize::from);
            !matches!(data.get(at + 1 + 2 * parts), Some(0 | 1 | 2 | 11))
        }
        Some(_) => true,
    }
}

/// Most accepted streams waiting for an answer; an engine that forgets them must not cost memory.
const ACCEPTED_MAX: usize = 4096;
/// Linux's overhead for a small datagram in a socket buffer.
const DATAGRAM_CHARGE: usize = 512;
/// Time that a busy process takes for a packet after a block.
const DRAIN_SPACING: u64 = 20_000;

#[cfg(test)]
mod tests {
    use super::is_gossip;

    #[test]
    fn gossip_is_distinguished_from_probes() {
        assert!(!is_gossip(&[0, 1]), "ping");
        assert!(!is_gossip(&[2, 1]), "ack");
        assert!(is_gossip(&[4, 1]), "alive");
        assert!(is_gossip(&[12, 0, 0, 0, 0, 4]), "alive behind a checksum");
        assert!(!is_gossip(&[7, 2, 0, 1, 0, 1, 0, 3]), "ping with a suspect: the buddy rule");
        assert!(is_gossip(&[7, 2, 0, 1, 0, 1, 4, 3]));
        assert!(!is_gossip(&[12, 9, 9, 9, 9, 7, 1, 0, 1, 2]));
        assert!(!is_gossip(&[]));
    }
}
