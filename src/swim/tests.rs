//! The membership engine through its public calls; one engine or a few, in virtual time.

mod answers;
mod cluster;
mod detection;
mod echo;
mod exchange;
mod identity;
mod large_state;
mod probing;
mod rules;
mod zones;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use super::{
    Config, Done, Exchange, Host, NodeStateKind, NodeView, OpId, Origin, Output, Seal, StreamInput,
    Swim,
};
use crate::{
    base::{Instant, Rng},
    wire::{
        Alive, CompoundParts, Dead, Incarnation, Message, PacketCodec, Role, StreamDecoder,
        StreamMessage, Suspect, encode_compound,
    },
};

/// A host that records its notifications.
#[derive(Default)]
struct Notes {
    meta: Vec<u8>,
    events: Vec<String>,
    user: Vec<Vec<u8>>,
    seals: Vec<Seal>,
    broadcasts: Vec<Vec<u8>>,
    veto: Option<String>,
    state: Vec<u8>,
    merged: Vec<Vec<u8>>,
    rtts: Vec<Duration>,
}

impl Host for Notes {
    fn node_meta(&mut self, _limit: usize) -> Arc<[u8]> {
        self.meta.as_slice().into()
    }

    fn zone(&self, meta: &Arc<[u8]>) -> Option<Arc<str>> {
        std::str::from_utf8(meta).ok().filter(|zone| !zone.is_empty()).map(Arc::from)
    }

    fn on_user_message(&mut self, message: &[u8], origin: Origin) {
        self.seals.push(origin.seal);
        self.user.push(message.to_vec());
    }

    fn take_broadcasts(
        &mut self,
        overhead: usize,
        limit: usize,
        _copies: u32,
        emit: &mut dyn FnMut(&[u8]),
    ) {
        let mut used = 0;
        while let Some(message) = self.broadcasts.pop() {
            used += message.len() + overhead;
            if used > limit {
                self.broadcasts.push(message);
                break;
            }
            emit(&message);
        }
    }

    fn broadcast_bytes(&self, overhead: usize) -> usize {
        self.broadcasts.iter().map(|message| message.len() + overhead).sum()
    }

    fn has_broadcasts(&self) -> bool {
        !self.broadcasts.is_empty()
    }

    fn local_state(&mut self, _join: bool, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.state);
    }

    fn merge_remote_state(&mut self, state: &[u8], _: Exchange) {
        self.merged.push(state.to_vec());
    }

    fn on_join(&mut self, node: &NodeView<'_>) {
        self.events.push(format!("join {}", node.name));
    }

    fn on_leave(&mut self, node: &NodeView<'_>) {
        self.events.push(format!("leave {} {:?}", node.name, node.state));
    }

    fn on_update(&mut self, node: &NodeView<'_>) {
        self.events.push(format!("update {}", node.name));
    }

    fn on_conflict(&mut self, existing: &NodeView<'_>, other: &NodeView<'_>) {
        self.events.push(format!("conflict {} {:?}", existing.name, other.addr));
    }

    fn check_merge(&mut self, _nodes: &[NodeView<'_>]) -> Result<(), String> {
        self.veto.clone().map_or(Ok(()), Err)
    }

    fn check_alive(&mut self, _node: &NodeView<'_>) -> Result<(), String> {
        self.veto.clone().map_or(Ok(()), Err)
    }

    fn ack_payload(&mut self, out: &mut Vec<u8>) {
        out.push(42);
    }

    fn on_ping_complete(&mut self, _node: &NodeView<'_>, rtt: Duration, payload: &[u8]) {
        assert_eq!(payload, [42]);
        self.rtts.push(rtt);
    }
}

/// An engine named `me` at 10.0.0.1, with its host and clock.
struct Node {
    swim: Swim,
    host: Notes,
    now: Instant,
}

const VSN: [u8; 6] = [1, 5, 2, 0, 0, 0];

fn quiet() -> Config {
    let mut config = Config::lan("me");
    config.advertise_addr = vec![10, 0, 0, 1];
    config.codec.compression = false.into();
    config.seq_no_start = Some(0);
    config
}

fn peer() -> SocketAddr {
    "10.0.0.2:7946".parse().unwrap()
}

fn alive<'a>(name: &'a str, incarnation: u32, addr: &'a [u8], meta: &'a [u8]) -> Alive<'a> {
    Alive {
        incarnation: Incarnation(incarnation),
        node: name.as_bytes(),
        addr: addr.into(),
        port: 7946,
        meta: meta.into(),
        vsn: VSN.as_slice().into(),
    }
}

impl Node {
    fn new(config: Config) -> Self {
        let mut host = Notes::default();
        let now = Instant::from_nanos(100_000_000_000);
        let swim = Swim::build(config, now, &mut host).unwrap();
        assert_eq!(host.events, ["join me"]);
        host.events.clear();
        Self { swim, host, now }
    }

    fn packet(&mut self, message: &[u8]) {
        self.swim.handle_packet(self.now, peer(), message, &mut self.host);
        self.swim.handle_queued(self.now, &mut self.host);
    }

    fn alive(&mut self, name: &str, incarnation: u32) {
        self.alive_at(name, incarnation, &[10, 0, 0, 9], b"");
    }

    fn alive_at(&mut self, name: &str, incarnation: u32, addr: &[u8], meta: &[u8]) {
        self.send(|out| alive(name, incarnation, addr, meta).encode(out));
    }

    fn suspect(&mut self, node: &str, incarnation: u32, from: &str) {
        let (node, from) = (node.as_bytes(), from.as_bytes());
        let incarnation = Incarnation(incarnation);
        self.send(|out| Suspect { incarnation, node, from }.encode(out));
    }

    fn dead(&mut self, node: &str, incarnation: u32, from: &str) {
        let (node, from) = (node.as_bytes(), from.as_bytes());
        let incarnation = Incarnation(incarnation);
        self.send(|out| Dead { incarnation, node, from }.encode(out));
    }

    fn send(&mut self, encode: impl FnOnce(&mut Vec<u8>)) {
        let mut message = Vec::new();
        encode(&mut message);
        self.packet(&message);
    }

    fn wait(&mut self, time: Duration) {
        let until = self.now + time;
        while let Some(at) = self.swim.poll_timeout().filter(|at| *at <= until) {
            self.now = self.now.max(at);
            self.swim.handle_timeout(self.now, &mut self.host);
        }
        self.now = until;
    }

    /// State and incarnation of a node.
    fn row(&self, name: &str) -> Option<(NodeStateKind, u32)> {
        self.swim.node(name).map(|node| (node.state, node.incarnation.0))
    }

    fn outputs(&mut self) -> Vec<Output> {
        std::iter::from_fn(|| self.swim.poll_output()).collect()
    }

    /// Operations completed since the last call, with their results.
    fn done(&mut self) -> Vec<(OpId, Result<(), String>)> {
        let done = std::iter::from_fn(|| self.swim.poll_done());
        done.map(|Done { op, result }| (op, result.map_err(|error| error.to_string()))).collect()
    }

    /// Debug texts of all messages in packets sent since the last call, one for each message.
    fn sent(&mut self) -> Vec<String> {
        let mut codec = PacketCodec::build(self.swim.config().codec.clone()).unwrap();
        let mut texts = Vec::new();
        for output in self.outputs() {
            if let Output::Packet { data, .. } = output {
                let mut buf = Vec::new();
                let message = codec.open(&data, &mut buf).unwrap();
                collect(message, &mut texts);
            }
        }
        texts
    }

    fn events(&mut self) -> Vec<String> {
        std::mem::take(&mut self.host.events)
    }
}

fn collect(message: &[u8], texts: &mut Vec<String>) {
    let name = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    texts.push(match Message::decode(message).unwrap() {
        Message::Compound(body) => {
            for part in CompoundParts::parse(body).unwrap() {
                collect(part.unwrap(), texts);
            }
            return;
        }
        Message::Ping(ping) => format!("ping {}", name(ping.node)),
        Message::IndirectPing(ping) => format!("indirect {} nack={}", name(ping.node), ping.nack),
        Message::Ack(ack) => format!("ack {} {:?}", ack.seq_no.0, ack.payload.as_slice()),
        Message::Nack(nack) => format!("nack {}", nack.seq_no.0),
        Message::Suspect(m) => {
            format!("suspect {} {} {}", name(m.node), m.incarnation.0, name(m.from))
        }
        Message::Dead(m) => format!("dead {} {} {}", name(m.node), m.incarnation.0, name(m.from)),
        Message::Alive(m) => format!("alive {} {}", name(m.node), m.incarnation.0),
        Message::User(body) => format!("user {}", name(body)),
        Message::Compress(_) => "compress".to_owned(),
    });
}
