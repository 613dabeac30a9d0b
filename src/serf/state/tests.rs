//! The engine without the layer below: calls its callbacks and checks its effects.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use super::*;
use crate::{
    base::Instant,
    serf::{
        Completion, Config, Coordinate, Event, KeyOp, LamportTime, Member, Message,
        MsgpackTransform, QueryParams, QueryUpdate, SerfState, SnapshotOp, Tags, TransformDelegate,
        asked::Asker,
        build::build_state,
        effects::Action,
        lamport::LamportClock,
        message::{self, Join, Leave, PushPull, Relay, UserEvents},
        query::default_timeout,
    },
    swim::{Exchange, Host, NodeStateKind, NodeView, Origin, Seal},
    wire::{Incarnation, Keyring},
};

mod admission;
mod logs;
mod members;
mod network;
mod queries;
mod reap;
mod sync;
mod trust;
mod user_events;

/// A named state whose own member is alive, as after the start.
pub(super) struct Node {
    pub(super) state: State,
    pub(super) keyring: Keyring,
    pub(super) now: Instant,
}

impl Node {
    pub(super) fn new(name: &str) -> Self {
        Self::with(name, |_| {})
    }

    pub(super) fn with(name: &str, change: impl FnOnce(&mut Config)) -> Self {
        Self::build(name, None, change)
    }

    pub(super) fn build(
        name: &str,
        snapshot: Option<&[u8]>,
        change: impl FnOnce(&mut Config),
    ) -> Self {
        let mut config = Config::lan(name);
        config.protocol_version = 5;
        config.swim.seed = [name.len() as u8; 32];
        config.swim.seed[0] = name.as_bytes()[name.len() - 1];
        change(&mut config);
        let state = build_state(config, Instant::ZERO, snapshot).unwrap();
        let mut node = Self { state, keyring: Keyring::default(), now: Instant::ZERO };
        node.join(name);
        node
    }

    /// The layer below reports that a node is alive.
    pub(super) fn join(&mut self, name: &str) {
        self.notify(name, |state, view| state.on_join(view));
    }

    /// The layer below reports that a node died or left.
    pub(super) fn leave(&mut self, name: &str) {
        self.notify(name, |state, view| state.on_leave(view));
    }

    pub(super) fn notify(&mut self, name: &str, call: impl FnOnce(&mut State, &NodeView<'_>)) {
        let meta: Arc<[u8]> = if *name == *self.state.cx.name {
            self.state.cx.meta.clone()
        } else {
            tags_meta(&[("role", "web")])
        };
        let addr = address(name).ip();
        let std::net::IpAddr::V4(addr) = addr else { panic!("v4 only") };
        let view = NodeView {
            name: &name.into(),
            addr: &addr.octets(),
            port: address(name).port(),
            meta: &meta,
            vsn: crate::wire::Vsn([1, 5, 2, 2, 5, 5]),
            incarnation: Incarnation(1),
            state: NodeStateKind::Alive,
        };
        call(&mut self.state, &view);
    }

    /// Handles a user message.
    pub(super) fn receive(&mut self, message: &Message<'_>) {
        let raw = encode(message);
        self.state.on_user_message(&raw, origin());
    }

    pub(super) fn leave_intent(&mut self, ltime: u64, name: &str, prune: bool) {
        let leave = Leave { ltime: LamportTime(ltime), node: name.as_bytes(), prune };
        self.receive(&Message::Leave(leave));
    }

    pub(super) fn join_intent(&mut self, ltime: u64, name: &str) {
        let join = Join { ltime: LamportTime(ltime), node: name.as_bytes() };
        self.receive(&Message::Join(join));
    }

    pub(super) fn status(&self, name: &str) -> Option<&'static str> {
        let status = self.state.members.table.get(name)?.member.status;
        Some(match status {
            crate::serf::MemberStatus::None => "none",
            crate::serf::MemberStatus::Alive => "alive",
            crate::serf::MemberStatus::Leaving => "leaving",
            crate::serf::MemberStatus::Left => "left",
            crate::serf::MemberStatus::Failed => "failed",
        })
    }

    pub(super) fn status_ltime(&self, name: &str) -> u64 {
        self.state.members.table.get(name).unwrap().status_ltime.0
    }

    /// Texts of the events since the last call.
    pub(super) fn events(&mut self) -> Vec<String> {
        let mut events = Vec::new();
        for output in self.state.cx.effects.outputs.drain(..) {
            match output {
                Output::Event(Event::Member(event)) => {
                    for member in event.members {
                        events.push(format!("{} {} {}", event.kind, member.name, member.status));
                    }
                }
                Output::Event(Event::User(event)) => {
                    let payload = String::from_utf8_lossy(&event.payload).into_owned();
                    events.push(format!("user {} {} {payload}", event.ltime.0, event.name));
                }
                Output::Event(Event::Query(query)) => events.push(format!("query {}", query.name)),
                Output::Swim(_)
                | Output::Query { .. }
                | Output::Done { .. }
                | Output::Snapshot(_)
                | Output::KeyringChanged { .. }
                | Output::Resolve { .. }
                | Output::ShutDown => {}
            }
        }
        events
    }

    /// All queued messages, which are then dropped.
    pub(super) fn gossip(&mut self) -> Vec<Vec<u8>> {
        let mut sent = Vec::new();
        self.state.take_broadcasts(3, 600_000, 1, &mut |message| sent.push(message.to_vec()));
        for kind in [QueueKind::Intent, QueueKind::Query, QueueKind::Event] {
            self.state.broadcasts.queue(kind).prune(0);
        }
        sent
    }

    /// Advances the time and fires timers.
    pub(super) fn advance(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(at) = self.state.cx.next_timeout().filter(|at| *at <= end) {
            self.now = at;
            self.state.cx.now = at;
            self.state.cx.flush_coalescers();
            while let Some((_, timer)) = self.state.cx.effects.timers.pop_due(at) {
                self.fire(timer);
            }
        }
        self.now = end;
        self.state.cx.now = end;
    }

    fn fire(&mut self, timer: Timer) {
        match self.state.fire(timer) {
            Some(OwnTimer::Snapshot) => self.state.cx.write_snapshot(1),
            Some(OwnTimer::Op(_) | OwnTimer::Rejoin) | None => {}
        }
    }
}

/// The origin of a plaintext message from an unknown sender.
pub(super) fn origin() -> Origin {
    Origin { from: "10.9.9.9:7946".parse().unwrap(), seal: Seal::NoKeys }
}

/// A member's answer to our push/pull.
pub(super) fn answer_of(name: &str, join: bool) -> Exchange {
    Exchange { peer: address(name), ours: true, join }
}

/// A push/pull initiated by the peer.
pub(super) fn exchange(join: bool) -> Exchange {
    Exchange { peer: "10.9.9.9:7946".parse().unwrap(), ours: false, join }
}

/// Address of a test node: `n7` is at 10.0.0.7.
pub(super) fn address(name: &str) -> SocketAddr {
    let sum = name.bytes().fold(0u8, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte));
    SocketAddr::from(([10, 0, name.len() as u8, sum], 7946))
}

pub(super) fn encode(message: &Message<'_>) -> Vec<u8> {
    let mut raw = Vec::new();
    MsgpackTransform.encode_message(message, &mut raw);
    raw
}

pub(super) fn tags_meta(tags: &[(&str, &str)]) -> Arc<[u8]> {
    let pairs = tags.iter().map(|(name, value)| (name.to_string(), value.to_string()));
    let mut meta = Vec::new();
    MsgpackTransform.encode_tags(5, &Tags::from_pairs(pairs), &mut meta);
    meta.into()
}
