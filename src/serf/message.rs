//! Serf's messages, borrowed from the receive buffer. Names are unvalidated bytes.

use super::LamportTime;
pub use crate::msgpack::Bin;

/// Any message; the discriminant is the type byte. Go: `serf/messages.go`.
///
/// Can be matched exhaustively: a transform that does not know a message cannot carry it, so the
/// compiler should say so.
#[derive(Clone, Debug, PartialEq)]
#[repr(u8)]
pub enum Message<'a> {
    /// 0: a member announces its own leave or another member's. Gossiped.
    Leave(Leave<'a>) = kind::LEAVE,
    /// 1: a member announces its join. Gossiped.
    Join(Join<'a>) = kind::JOIN,
    /// 2: the user state of a push/pull.
    PushPull(PushPull<'a>) = kind::PUSH_PULL,
    /// 3: a user event. Gossiped.
    UserEvent(UserEvent<'a>) = kind::USER_EVENT,
    /// 4: a query. Gossiped.
    Query(Query<'a>) = kind::QUERY,
    /// 5: an ack or an answer, sent to the asking node.
    QueryResponse(QueryResponse<'a>) = kind::QUERY_RESPONSE,
    /// 6: payload of the answer to a name conflict query; `None`: the name is unknown.
    ConflictResponse(Option<MemberRecord<'a>>) = kind::CONFLICT_RESPONSE,
    /// 7: payload of a key query.
    KeyRequest(KeyRequest<'a>) = kind::KEY_REQUEST,
    /// 8: payload of the answer to a key query.
    KeyResponse(NodeKeyResponse<'a>) = kind::KEY_RESPONSE,
    /// 9: a message to be forwarded.
    Relay(Relay<'a>) = kind::RELAY,
}

/// First byte of every message. Go: `serf/messages.go`, `messageType`.
pub(crate) mod kind {
    pub(crate) const LEAVE: u8 = 0;
    pub(crate) const JOIN: u8 = 1;
    pub(crate) const PUSH_PULL: u8 = 2;
    pub(crate) const USER_EVENT: u8 = 3;
    pub(crate) const QUERY: u8 = 4;
    pub(crate) const QUERY_RESPONSE: u8 = 5;
    pub(crate) const CONFLICT_RESPONSE: u8 = 6;
    pub(crate) const KEY_REQUEST: u8 = 7;
    pub(crate) const KEY_RESPONSE: u8 = 8;
    pub(crate) const RELAY: u8 = 9;
}

/// See [`Message::Leave`]. Go: `messageLeave`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Leave<'a> {
    /// Lamport time of the member clock.
    pub ltime: LamportTime,
    /// Name of the leaving member.
    pub node: &'a [u8],
    /// Whether to forget the member at once.
    pub prune: bool,
}

/// See [`Message::Join`]. Go: `messageJoin`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Join<'a> {
    /// Lamport time of the member clock.
    pub ltime: LamportTime,
    /// Name of the member that joined.
    pub node: &'a [u8],
}

/// See [`Message::PushPull`]. Go: `messagePushPull`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PushPull<'a> {
    /// Member clock.
    pub ltime: LamportTime,
    /// Lamport time of the newest intent of every known member.
    pub status_ltimes: Vec<(&'a [u8], LamportTime)>,
    /// Names of members that left; never nil when written.
    pub left_members: Vec<&'a [u8]>,
    /// Event clock.
    pub event_ltime: LamportTime,
    /// The sender's ring of recent events; the indexes are meaningless to the receiver.
    pub events: Vec<Option<UserEvents<'a>>>,
    /// Query clock.
    pub query_ltime: LamportTime,
}

/// The events of one Lamport time. Go: `userEvents`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UserEvents<'a> {
    /// Lamport time of the event clock.
    pub ltime: LamportTime,
    /// Events with that time.
    pub events: Vec<RecentEvent<'a>>,
}

/// An event in the ring. Go: `userEvent`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecentEvent<'a> {
    /// Name of the event.
    pub name: &'a [u8],
    /// Payload of the event.
    pub payload: Bin<'a>,
}

/// See [`Message::UserEvent`]. Go: `messageUserEvent`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UserEvent<'a> {
    /// Lamport time of the event clock.
    pub ltime: LamportTime,
    /// Name of the event.
    pub name: &'a [u8],
    /// Payload of the event.
    pub payload: Bin<'a>,
    /// Whether it may be coalesced.
    pub coalesce: bool,
}

/// See [`Message::Query`]. Go: `messageQuery`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query<'a> {
    /// Lamport time of the query clock.
    pub ltime: LamportTime,
    /// Random number; Go uses 31 bits.
    pub id: u32,
    /// Raw address for acks and answers.
    pub addr: Bin<'a>,
    /// Port for acks and answers.
    pub port: u16,
    /// Name of the asking node.
    pub source_node: &'a [u8],
    /// Encoded [`Filter`]s, all of which must match. Empty is written as nil.
    pub filters: Vec<Bin<'a>>,
    /// [`Query::ACK`], [`Query::NO_BROADCAST`].
    pub flags: u32,
    /// Number of members that relay each ack and answer in addition.
    pub relay_factor: u8,
    /// Time limit for answers, counted from the receipt, in nanoseconds.
    pub timeout_ns: i64,
    /// Name of the query; internal ones begin with `_serf_`.
    pub name: &'a [u8],
    /// Payload of the query.
    pub payload: Bin<'a>,
}

impl Query<'_> {
    /// In a query: acks are requested. In a response: it is an ack.
    pub const ACK: u32 = 1;
    /// The query is not to be gossiped.
    pub const NO_BROADCAST: u32 = 2;
}

/// See [`Message::QueryResponse`]. Go: `messageQueryResponse`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QueryResponse<'a> {
    /// Lamport time of the query.
    pub ltime: LamportTime,
    /// Id of the query.
    pub id: u32,
    /// Name of the answering node.
    pub from: &'a [u8],
    /// [`Query::ACK`] for an ack.
    pub flags: u32,
    /// The answer; nil for acks.
    pub payload: Bin<'a>,
}

/// See [`Message::ConflictResponse`]. Go: `Member`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemberRecord<'a> {
    /// Name of the member.
    pub name: &'a [u8],
    /// Raw address.
    pub addr: Bin<'a>,
    /// Port of the member.
    pub port: u16,
    /// Tags, sorted by name.
    pub tags: Vec<(&'a [u8], &'a [u8])>,
    /// Number of the [`super::MemberStatus`].
    pub status: i64,
    /// Lowest memberlist protocol.
    pub protocol_min: u8,
    /// Highest memberlist protocol.
    pub protocol_max: u8,
    /// Current memberlist protocol.
    pub protocol_cur: u8,
    /// Lowest Serf protocol.
    pub delegate_min: u8,
    /// Highest Serf protocol.
    pub delegate_max: u8,
    /// Current Serf protocol.
    pub delegate_cur: u8,
}

/// See [`Message::KeyRequest`]. Go: `keyRequest`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyRequest<'a> {
    /// The raw key; empty to list keys.
    pub key: Bin<'a>,
}

/// See [`Message::KeyResponse`]. Go: `nodeKeyResponse`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeKeyResponse<'a> {
    /// Whether the request succeeded.
    pub result: bool,
    /// Why it failed, or that the list is truncated.
    pub message: &'a [u8],
    /// Base64 keys, primary first.
    pub keys: Keys<'a>,
    /// The primary key in base64.
    pub primary_key: &'a [u8],
}

/// A list of keys; an empty list is nil on the wire.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Keys<'a>(pub Vec<&'a [u8]>);

/// See [`Message::Relay`]. Go: `relayHeader` and the message after it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Relay<'a> {
    /// Raw address to forward to.
    pub dest_addr: Bin<'a>,
    /// Port to forward to (a Go `int`).
    pub dest_port: i64,
    /// Name of the node at that address.
    pub dest_name: &'a [u8],
    /// The whole message to forward, type byte first.
    pub message: &'a [u8],
}

/// One condition of a query. Go: `filterNode`, `filterTag`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Filter<'a> {
    /// 0: the node's name is one of these.
    Nodes(Vec<&'a [u8]>),
    /// 1: the tag's value matches the expression; a missing tag is the empty string.
    Tag {
        /// Name of the tag.
        tag: &'a [u8],
        /// Unanchored regular expression in RE2 syntax.
        expr: &'a [u8],
    },
}
