//! The messages of memberlist, borrowed from the buffer they came in.

use super::DecodeError;
use crate::msgpack::{self, Bin, Reader, Value, Writer, message};

/// The version of a node's own record; only the node raises it. Zero means unknown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Incarnation(pub u32);

/// Matches an ack or nack to its ping.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SeqNo(pub u32);

/// Asks `node` for an [`Ack`]. On a stream it is the fallback for blocked UDP.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ping<'a> {
    /// Echoed by the ack.
    pub seq_no: SeqNo,
    /// The node the ping is for; other nodes drop it. Empty: any node.
    pub node: &'a [u8],
    /// Where the ack goes (4 or 16 bytes); omitted on the wire when empty.
    pub source_addr: Bin<'a>,
    /// Port of `source_addr`; omitted when zero.
    pub source_port: u16,
    /// Name of the sender; omitted when empty.
    pub source_node: &'a [u8],
}

/// Asks a peer to ping `node` at `target` for us.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IndirectPing<'a> {
    /// Echoed by the relayed ack and by the nack.
    pub seq_no: SeqNo,
    /// Address of the node to ping, raw.
    pub target: Bin<'a>,
    /// Port of the node to ping.
    pub port: u16,
    /// Name of the node to ping.
    pub node: &'a [u8],
    /// Whether a [`Nack`] is wanted when the ping times out.
    pub nack: bool,
    /// Address for the answer; omitted when empty.
    pub source_addr: Bin<'a>,
    /// Port of `source_addr`; omitted when zero.
    pub source_port: u16,
    /// Name of the requester; omitted when empty.
    pub source_node: &'a [u8],
}

/// Answers a ping.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ack<'a> {
    /// Sequence number of the ping.
    pub seq_no: SeqNo,
    /// Serf's coordinate; nil on streams and on relayed acks.
    pub payload: Bin<'a>,
}

/// Reports that an indirect ping got no answer in time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Nack {
    /// Sequence number of the indirect ping.
    pub seq_no: SeqNo,
}

/// Refuses a stream request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ErrorReply<'a> {
    /// Text for a log; do not match on it.
    pub error: &'a [u8],
}

/// Reports that `from` could not reach `node`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Suspect<'a> {
    /// Incarnation of the suspected node, as the accuser knows it.
    pub incarnation: Incarnation,
    /// The suspected node.
    pub node: &'a [u8],
    /// The accuser.
    pub from: &'a [u8],
}

/// Reports that `node` is dead or, when `from` is the node itself, that it left.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dead<'a> {
    /// Incarnation of the dead node, as the accuser knows it.
    pub incarnation: Incarnation,
    /// The dead node.
    pub node: &'a [u8],
    /// The accuser.
    pub from: &'a [u8],
}

/// Announces that `node` is alive, with its address, tags and versions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Alive<'a> {
    /// Raised by the node for each change of its own record.
    pub incarnation: Incarnation,
    /// Name of the node.
    pub node: &'a [u8],
    /// Raw address of 4 or 16 bytes; forwarded verbatim.
    pub addr: Bin<'a>,
    /// Port; zero means the receiver's own bind port.
    pub port: u16,
    /// Encoded tags; at most [`super::limits::META_BYTES_MAX`] bytes from well-behaved peers.
    pub meta: Bin<'a>,
    /// A [`Vsn`](super::Vsn), or fewer bytes from faulty peers.
    pub vsn: Bin<'a>,
}

/// Opens a push/pull; `nodes` rows and `user_state_len` raw bytes follow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PushPullHeader {
    /// Number of rows that follow (a Go `int`: a hostile peer can send a negative one).
    pub nodes: i64,
    /// Bytes of user state after the rows (a Go `int`).
    pub user_state_len: i64,
    /// Whether this exchange is a join.
    pub join: bool,
}

/// Opens a user message on a stream; `user_msg_len` raw bytes follow. (In a packet there is no
/// header.)
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UserHeader {
    /// Bytes that follow (a Go `int`: a hostile peer can send a negative one).
    pub user_msg_len: i64,
}

/// Wraps a whole message, type byte included, compressed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Compress<'a> {
    /// Algorithm: zero is LZW, the only one that Go defines.
    pub algo: u8,
    /// The compressed message.
    pub buf: Bin<'a>,
}

/// One row of a push/pull.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeState<'a> {
    /// Name of the node (key `Name`, not `Node`).
    pub name: &'a [u8],
    /// Raw address.
    pub addr: Bin<'a>,
    /// Port of the node.
    pub port: u16,
    /// Encoded tags.
    pub meta: Bin<'a>,
    /// Incarnation of the record.
    pub incarnation: Incarnation,
    /// Number of the [`NodeStateKind`] (a Go `int`); the merge ignores unknown numbers.
    pub state: i64,
    /// Version bytes, as in [`Alive`].
    pub vsn: Bin<'a>,
}

impl NodeState<'_> {
    /// Whether the sender considers the node alive.
    #[inline]
    pub fn is_alive(&self) -> bool {
        self.state == NodeStateKind::Alive.to_wire()
    }
}

/// State of a node, in the table and in a row of a push/pull.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum NodeStateKind {
    /// Number 0.
    #[default]
    Alive,
    /// Number 1.
    Suspect,
    /// Number 2.
    Dead,
    /// Number 3.
    Left,
}

impl NodeStateKind {
    /// The state with this number, if there is one.
    pub fn from_wire(number: i64) -> Option<Self> {
        match number {
            0 => Some(Self::Alive),
            1 => Some(Self::Suspect),
            2 => Some(Self::Dead),
            3 => Some(Self::Left),
            _ => None,
        }
    }

    /// The number of the state.
    pub fn to_wire(self) -> i64 {
        self as i64
    }

    /// Whether the node counts as a member: alive or suspect.
    pub fn is_live(self) -> bool {
        matches!(self, Self::Alive | Self::Suspect)
    }
}

/// One message of a packet: the decoded content after its type byte.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message<'a> {
    /// Type 0.
    Ping(Ping<'a>),
    /// Type 1.
    IndirectPing(IndirectPing<'a>),
    /// Type 2.
    Ack(Ack<'a>),
    /// Type 3.
    Suspect(Suspect<'a>),
    /// Type 4.
    Alive(Alive<'a>),
    /// Type 5.
    Dead(Dead<'a>),
    /// Type 7: the body after the type byte, for [`super::CompoundParts`].
    Compound(&'a [u8]),
    /// Type 8: the raw user message.
    User(&'a [u8]),
    /// Type 9: the body after the type byte, for [`super::PacketCodec::decompress`].
    Compress(&'a [u8]),
    /// Type 11.
    Nack(Nack),
}

/// First byte of every message. Go: `net.go`, `messageType`.
pub(crate) mod kind {
    pub(crate) const PING: u8 = 0;
    pub(crate) const INDIRECT_PING: u8 = 1;
    pub(crate) const ACK: u8 = 2;
    pub(crate) const SUSPECT: u8 = 3;
    pub(crate) const ALIVE: u8 = 4;
    pub(crate) const DEAD: u8 = 5;
    pub(crate) const PUSH_PULL: u8 = 6;
    pub(crate) const COMPOUND: u8 = 7;
    pub(crate) const USER: u8 = 8;
    pub(crate) const COMPRESS: u8 = 9;
    pub(crate) const ENCRYPT: u8 = 10;
    pub(crate) const NACK: u8 = 11;
    pub(crate) const HAS_CRC: u8 = 12;
    pub(crate) const ERROR: u8 = 13;
    pub(crate) const HAS_LABEL: u8 = 244;
}

/// Type of a message that may come in a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// See [`Ping`].
    Ping,
    /// See [`IndirectPing`].
    IndirectPing,
    /// See [`Ack`].
    Ack,
    /// See [`Suspect`].
    Suspect,
    /// See [`Alive`].
    Alive,
    /// See [`Dead`].
    Dead,
    /// See [`Message::Compound`].
    Compound,
    /// See [`Message::User`].
    User,
    /// See [`Message::Compress`].
    Compress,
    /// See [`Nack`].
    Nack,
}

impl Kind {
    /// Splits a message into its type and its body; does not decode the body.
    ///
    /// # Errors
    /// The input is empty, or the type is not allowed in packets.
    pub fn split(message: &[u8]) -> Result<(Self, &[u8]), DecodeError> {
        let (&kind, body) = message.split_first().ok_or(DecodeError::Empty)?;
        let kind = match kind {
            kind::PING => Self::Ping,
            kind::INDIRECT_PING => Self::IndirectPing,
            kind::ACK => Self::Ack,
            kind::SUSPECT => Self::Suspect,
            kind::ALIVE => Self::Alive,
            kind::DEAD => Self::Dead,
            kind::COMPOUND => Self::Compound,
            kind::USER => Self::User,
            kind::COMPRESS => Self::Compress,
            kind::NACK => Self::Nack,
            kind => return Err(DecodeError::unsupported(kind)),
        };
        Ok((kind, body))
    }
}

/// Decodes what follows a type byte. Trailing bytes are ignored, as in Go.
pub(crate) fn decode_body<'a, T: Value<'a>>(body: &'a [u8]) -> Result<T, DecodeError> {
    Ok(Value::decode(&mut Reader::new(body))?)
}

impl<'a> Message<'a> {
    /// Decodes one complete message, type byte included. Trailing bytes are ignored, as in Go.
    ///
    /// # Errors
    /// The input is empty, the type is not allowed in packets, or the body is malformed.
    pub fn decode(input: &'a [u8]) -> Result<Self, DecodeError> {
        let (kind, body) = Kind::split(input)?;
        Ok(match kind {
            Kind::Ping => Self::Ping(decode_body(body)?),
            Kind::IndirectPing => Self::IndirectPing(decode_body(body)?),
            Kind::Ack => Self::Ack(decode_body(body)?),
            Kind::Suspect => Self::Suspect(decode_body(body)?),
            Kind::Alive => Self::Alive(decode_body(body)?),
            Kind::Dead => Self::Dead(decode_body(body)?),
            Kind::Compound => Self::Compound(body),
            Kind::User => Self::User(body),
            Kind::Compress => Self::Compress(body),
            Kind::Nack => Self::Nack(decode_body(body)?),
        })
    }
}

/// Implements encoding for a message with a type byte.
macro_rules! framed {
    ($($name:ty: $kind:ident),* $(,)?) => {$(
        impl $name {
            /// Appends the type byte and the body as Go encodes them.
            pub fn encode(&self, out: &mut Vec<u8>) {
                out.push(kind::$kind);
                Value::encode(self, &mut Writer::new(out));
            }
        }
    )*};
}

framed! {
    Ping<'_>: PING,
    IndirectPing<'_>: INDIRECT_PING,
    Ack<'_>: ACK,
    Nack: NACK,
    ErrorReply<'_>: ERROR,
    Suspect<'_>: SUSPECT,
    Dead<'_>: DEAD,
    Alive<'_>: ALIVE,
    PushPullHeader: PUSH_PULL,
    UserHeader: USER,
}

impl Ack<'_> {
    /// Appends an ack that omits the payload field, which decodes as nil: it is shorter than any
    /// ping.
    pub(crate) fn encode_bare(seq_no: SeqNo, out: &mut Vec<u8>) {
        out.push(kind::ACK);
        Value::encode(&Nack { seq_no }, &mut Writer::new(out));
    }
}

impl NodeState<'_> {
    /// Appends one row (rows have no type byte).
    pub fn encode(&self, out: &mut Vec<u8>) {
        Value::encode(self, &mut Writer::new(out));
    }
}

message! {
    impl<'a> Ping<'a> {
        wire: {
            node: "Node",
            seq_no: "SeqNo",
            source_addr: "SourceAddr" omitempty,
            source_node: "SourceNode" omitempty,
            source_port: "SourcePort" omitempty,
        },
        declared: ["SeqNo", "Node", "SourceAddr", "SourcePort", "SourceNode"],
    }
}

message! {
    impl<'a> IndirectPing<'a> {
        wire: {
            nack: "Nack",
            node: "Node",
            port: "Port",
            seq_no: "SeqNo",
            source_addr: "SourceAddr" omitempty,
            source_node: "SourceNode" omitempty,
            source_port: "SourcePort" omitempty,
            target: "Target",
        },
        declared: [
            "SeqNo", "Target", "Port", "Node", "Nack", "SourceAddr", "SourcePort", "SourceNode",
        ],
    }
}

message! {
    impl<'a> Ack<'a> {
        wire: { payload: "Payload", seq_no: "SeqNo" },
        declared: ["SeqNo", "Payload"],
    }
}

message! {
    impl<'a> Nack {
        wire: { seq_no: "SeqNo" },
        declared: ["SeqNo"],
    }
}

message! {
    impl<'a> ErrorReply<'a> {
        wire: { error: "Error" },
        declared: ["Error"],
    }
}

message! {
    impl<'a> Suspect<'a> {
        wire: { from: "From", incarnation: "Incarnation", node: "Node" },
        declared: ["Incarnation", "Node", "From"],
    }
}

message! {
    impl<'a> Dead<'a> {
        wire: { from: "From", incarnation: "Incarnation", node: "Node" },
        declared: ["Incarnation", "Node", "From"],
    }
}

message! {
    impl<'a> Alive<'a> {
        wire: {
            addr: "Addr",
            incarnation: "Incarnation",
            meta: "Meta",
            node: "Node",
            port: "Port",
            vsn: "Vsn",
        },
        declared: ["Incarnation", "Node", "Addr", "Port", "Meta", "Vsn"],
    }
}

message! {
    impl<'a> PushPullHeader {
        wire: { join: "Join", nodes: "Nodes", user_state_len: "UserStateLen" },
        declared: ["Nodes", "UserStateLen", "Join"],
    }
}

message! {
    impl<'a> UserHeader {
        wire: { user_msg_len: "UserMsgLen" },
        declared: ["UserMsgLen"],
    }
}

message! {
    impl<'a> NodeState<'a> {
        wire: {
            addr: "Addr",
            incarnation: "Incarnation",
            meta: "Meta",
            name: "Name",
            port: "Port",
            state: "State",
            vsn: "Vsn",
        },
        declared: ["Name", "Addr", "Port", "Meta", "Incarnation", "State", "Vsn"],
    }
}

message! {
    impl<'a> Compress<'a> {
        wire: { algo: "Algo", buf: "Buf" },
        declared: ["Algo", "Buf"],
    }
}

/// Implements `Value` for a newtype of `u32`.
macro_rules! newtype {
    ($($name:ident),*) => {$(
        impl<'a> Value<'a> for $name {
            #[inline]
            fn decode(reader: &mut Reader<'a>) -> Result<Self, msgpack::Error> {
                reader.u32().map(Self)
            }

            #[inline]
            fn encode(&self, writer: &mut Writer<'_>) {
                writer.uint(u64::from(self.0));
            }
        }
    )*};
}

newtype!(Incarnation, SeqNo);
