//! What both sides are made to do.

use std::{collections::BTreeMap, net::SocketAddr};

use compat_tests::go::base64;
use ruserf::{
    serf::{LamportTime, Message, MsgpackTransform, TransformDelegate, message},
    wire::{self, Alive, Bin, Dead, Incarnation, NodeState, PushPull, Role},
};
use serde_json::{Value, json};

use super::view::show_state;

/// One step of a script.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// A datagram without layers, from a stranger.
    Packet(Vec<u8>),
    /// A peer dials and sends this.
    Stream(Vec<u8>),
    /// Milliseconds pass.
    Advance(u64),
    Event {
        name: String,
        payload: Vec<u8>,
        coalesce: bool,
    },
    Query(Query),
    /// Somebody answers a query that the node asked at this time, or at a wrong id.
    Reply {
        ltime: u64,
        from: String,
        payload: Vec<u8>,
        ack: bool,
        wrong_id: bool,
    },
    SetTags(BTreeMap<String, String>),
    ForceLeave {
        name: String,
        prune: bool,
    },
    Leave,
    Join {
        to: Vec<SocketAddr>,
        ignore_old: bool,
    },
    /// From now on this address answers each stream with these bytes.
    Peer {
        addr: SocketAddr,
        reply: Vec<u8>,
    },
    /// `install-key`, `use-key`, `remove-key` or `list-keys`.
    Keys {
        op: &'static str,
        key: String,
    },
}

/// A query that the node asks.
#[derive(Clone, Debug, Default)]
pub(crate) struct Query {
    pub(crate) name: String,
    pub(crate) payload: Vec<u8>,
    pub(crate) nodes: Vec<String>,
    pub(crate) tags: BTreeMap<String, String>,
    pub(crate) ack: bool,
    pub(crate) relay_factor: u8,
    /// Zero: the default.
    pub(crate) ms: u64,
}

impl Step {
    /// The step as a person reads it.
    pub(crate) fn describe(&self) -> String {
        let bytes = match self {
            Self::Packet(bytes) => bytes,
            Self::Stream(raw) => return format!("Stream {}", show_state(raw, Role::Acceptor)),
            Self::Peer { addr, reply } => {
                return format!("Peer {addr} {}", show_state(reply, Role::Dialer));
            }
            _ => return format!("{self:?}"),
        };
        match wire::Message::decode(bytes) {
            Ok(wire::Message::User(raw)) => match MsgpackTransform.decode_message(raw) {
                Ok(message) => format!("{message:?}"),
                Err(error) => format!("{} ({error})", hex::encode(raw)),
            },
            Ok(message) => format!("{message:?}"),
            Err(error) => format!("{} ({error})", hex::encode(bytes)),
        }
    }

    /// The step as `serffeed` reads it; a reply is made for each side apart.
    pub(crate) fn to_go(&self) -> Value {
        match self {
            Self::Packet(bytes) => {
                json!({"step": "packet", "hex": hex::encode(bytes), "from": STRANGER})
            }
            Self::Stream(bytes) => json!({"step": "stream", "hex": hex::encode(bytes)}),
            Self::Advance(ms) => json!({"step": "advance", "ms": ms}),
            Self::Event { name, payload, coalesce } => json!({
                "step": "event", "name": name, "payload": base64(payload), "coalesce": coalesce,
            }),
            Self::Query(query) => json!({
                "step": "query", "name": query.name, "payload": base64(&query.payload),
                "filter_nodes": query.nodes, "filter_tags": query.tags, "ack": query.ack,
                "relay_factor": query.relay_factor, "ms": query.ms,
            }),
            Self::Reply { .. } => unreachable!("a reply is a packet with the side's own query id"),
            Self::SetTags(tags) => json!({"step": "set-tags", "tags": tags}),
            Self::ForceLeave { name, prune } => {
                json!({"step": "force-leave", "name": name, "prune": prune})
            }
            Self::Leave => json!({"step": "leave"}),
            Self::Join { to, ignore_old } => json!({
                "step": "join", "ignore_old": ignore_old,
                "addrs": to.iter().map(ToString::to_string).collect::<Vec<_>>(),
            }),
            Self::Peer { addr, reply } => {
                json!({"step": "peer", "from": addr.to_string(), "hex": hex::encode(reply)})
            }
            Self::Keys { op, key } => json!({"step": op, "name": key}),
        }
    }
}

/// A user message in a datagram.
pub(crate) fn serf(message: &Message<'_>) -> Step {
    let mut raw = vec![USER];
    MsgpackTransform.encode_message(message, &mut raw);
    Step::Packet(raw)
}

/// A Serf message whose body is made by hand.
pub(crate) fn raw(kind: u8, body: &[u8]) -> Step {
    Step::Packet([&[USER, kind], body].concat())
}

pub(crate) fn leave(ltime: u64, node: &str) -> Step {
    leave_or_prune(ltime, node, false)
}

pub(crate) fn prune(ltime: u64, node: &str) -> Step {
    leave_or_prune(ltime, node, true)
}

pub(crate) fn leave_or_prune(ltime: u64, node: &str, prune: bool) -> Step {
    let leave = message::Leave { ltime: LamportTime(ltime), node: node.as_bytes(), prune };
    serf(&Message::Leave(leave))
}

pub(crate) fn join(ltime: u64, node: &str) -> Step {
    serf(&Message::Join(message::Join { ltime: LamportTime(ltime), node: node.as_bytes() }))
}

pub(crate) fn user(ltime: u64, name: &str, payload: &[u8], coalesce: bool) -> Step {
    serf(&Message::UserEvent(message::UserEvent {
        ltime: LamportTime(ltime),
        name: name.as_bytes(),
        payload: Bin::from(payload),
        coalesce,
    }))
}

/// A query of the node `n1`.
pub(crate) fn asked<'a>(ltime: u64, id: u32, name: &'a str) -> message::Query<'a> {
    message::Query {
        ltime: LamportTime(ltime),
        id,
        addr: Bin::from(&[10, 0, 0, 11][..]),
        port: 7946,
        source_node: b"n1",
        timeout_ns: 5_000_000_000,
        name: name.as_bytes(),
        ..message::Query::default()
    }
}

pub(crate) fn query(query: &message::Query<'_>) -> Step {
    serf(&Message::Query(query.clone()))
}

/// The node `n<number>` is alive, with tags.
pub(crate) fn alive(number: u8, incarnation: u32, tags: &[(&str, &str)]) -> Step {
    alive_with(number, incarnation, tags, [1, 5, 2, 2, 5, 4])
}

pub(crate) fn alive_with(
    number: u8,
    incarnation: u32,
    tags: &[(&str, &str)],
    vsn: [u8; 6],
) -> Step {
    alive_at(&format!("n{number}"), 10 + number, incarnation, tags, vsn)
}

/// A node claims a name at the address `10.0.0.<last>`.
pub(crate) fn alive_as(name: &str, last: u8, incarnation: u32) -> Step {
    alive_at(name, last, incarnation, &[], [1, 5, 2, 2, 5, 4])
}

fn alive_at(name: &str, last: u8, incarnation: u32, tags: &[(&str, &str)], vsn: [u8; 6]) -> Step {
    let meta = meta(tags);
    let mut raw = Vec::new();
    Alive {
        incarnation: Incarnation(incarnation),
        node: name.as_bytes(),
        addr: Bin::from(&[10, 0, 0, last][..]),
        port: 7946,
        meta: Bin::from(&meta[..]),
        vsn: Bin::from(&vsn[..]),
    }
    .encode(&mut raw);
    Step::Packet(raw)
}

/// `from` says that `node` is dead; from itself: that it left.
pub(crate) fn dead(node: &str, incarnation: u32, from: &str) -> Step {
    let mut raw = Vec::new();
    Dead { incarnation: Incarnation(incarnation), node: node.as_bytes(), from: from.as_bytes() }
        .encode(&mut raw);
    Step::Packet(raw)
}

/// A whole push/pull with rows of alive nodes `n<number>`.
pub(crate) fn push_pull(join: bool, alive: &[u8], state: &message::PushPull<'_>) -> Vec<u8> {
    let mut user_state = Vec::new();
    MsgpackTransform.encode_message(&Message::PushPull(state.clone()), &mut user_state);
    push_pull_raw(join, alive, &user_state)
}

pub(crate) fn push_pull_raw(join: bool, alive: &[u8], user_state: &[u8]) -> Vec<u8> {
    let meta = meta(&[]);
    let rows = alive.iter().map(|number| (format!("n{number}"), [10, 0, 0, 10 + number]));
    let rows = rows.collect::<Vec<_>>();
    let rows = rows.iter().map(|(name, addr)| NodeState {
        name: name.as_bytes(),
        addr: Bin::from(&addr[..]),
        port: 7946,
        meta: Bin::from(&meta[..]),
        incarnation: Incarnation(1),
        state: 0,
        vsn: Bin::from(&[1, 5, 2, 2, 5, 4][..]),
    });
    let mut raw = Vec::new();
    PushPull::encode(join, rows, user_state, &mut raw);
    raw
}

/// A push/pull that only names nodes which are alive.
pub(crate) fn push_pull_of(names: &[String]) -> Vec<u8> {
    let meta = meta(&[]);
    let rows = names.iter().map(|name| NodeState {
        name: name.as_bytes(),
        addr: Bin::from(&[10, 1, 0, 1][..]),
        port: 7946,
        meta: Bin::from(&meta[..]),
        incarnation: Incarnation(1),
        state: 0,
        vsn: Bin::from(&[1, 5, 2, 2, 5, 4][..]),
    });
    let mut raw = Vec::new();
    PushPull::encode(false, rows, b"", &mut raw);
    raw
}

fn meta(tags: &[(&str, &str)]) -> Vec<u8> {
    let tags = tags.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let mut meta = Vec::new();
    MsgpackTransform.encode_tags(5, &ruserf::serf::Tags::from_pairs(tags), &mut meta);
    meta
}

/// Where datagrams come from.
pub(crate) const STRANGER: &str = "10.0.0.9:7946";
/// Type byte of a user message.
pub(crate) const USER: u8 = 8;
