//! The messages of memberlist, borrowed from the buffer they came in.

use std::borrow::Cow;

/// The version of what a node says about itself; only the node raises its own. Zero means unknown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Incarnation(pub u32);

/// Matches an ack or nack to its ping.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SeqNo(pub u32);

/// The six version bytes of a node: `[PMin, PMax, PCur, DMin, DMax, DCur]`.
pub type Vsn = [u8; 6];

/// A byte string that may be nil on the wire. Nil and empty compare unequal here because Go
/// encodes them differently, but protocol rules treat them alike: use [`Bin::as_slice`] there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bin<'a>(pub Option<Cow<'a, [u8]>>);

impl<'a> Bin<'a> {
    /// Go's nil slice.
    pub const NIL: Self = Self(None);

    /// The bytes; none if nil.
    pub fn as_slice(&self) -> &[u8] {
        self.0.as_deref().unwrap_or_default()
    }
}

impl<'a> From<&'a [u8]> for Bin<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        Self(Some(Cow::Borrowed(bytes)))
    }
}

/// Asks `node` for an [`Ack`]. On a stream it is the fallback for blocked UDP.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ping<'a> {
    /// Echoed by the ack.
    pub seq_no: SeqNo,
    /// Whom the ping is meant for; others drop it. Empty: anyone.
    pub node: &'a [u8],
    /// Where the ack goes (4 or 16 bytes); omitted on the wire when empty.
    pub source_addr: Bin<'a>,
    /// Port of the same; omitted when zero.
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
    /// Where the answer goes; omitted when empty.
    pub source_addr: Bin<'a>,
    /// Port of the same; omitted when zero.
    pub source_port: u16,
    /// Name of the requester; omitted when empty.
    pub source_node: &'a [u8],
}

/// Answers a ping.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ack<'a> {
    /// Of the ping.
    pub seq_no: SeqNo,
    /// Serf's coordinate; nil on streams and on relayed acks.
    pub payload: Bin<'a>,
}

/// Says that an indirect ping got no answer in time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Nack {
    /// Of the indirect ping.
    pub seq_no: SeqNo,
}

/// Refuses a stream request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ErrorReply<'a> {
    /// Text for a log; not to be matched on.
    pub error: &'a [u8],
}

/// Says that `from` could not reach `node`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Suspect<'a> {
    /// Of the suspected node, as the accuser knows it.
    pub incarnation: Incarnation,
    /// The suspected node.
    pub node: &'a [u8],
    /// The accuser.
    pub from: &'a [u8],
}

/// Says that `node` is dead, or, when `from` is the node itself, that it left.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dead<'a> {
    /// Of the dead node, as the accuser knows it.
    pub incarnation: Incarnation,
    /// The dead node.
    pub node: &'a [u8],
    /// The accuser.
    pub from: &'a [u8],
}

/// Says that `node` lives at an address with these tags and versions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Alive<'a> {
    /// Raised by the node for each change of what it says about itself.
    pub incarnation: Incarnation,
    /// Name.
    pub node: &'a [u8],
    /// Raw address of 4 or 16 bytes; forwarded verbatim.
    pub addr: Bin<'a>,
    /// Port; zero means the receiver's own bind port.
    pub port: u16,
    /// At most [`super::limits::META_BYTES_MAX`] bytes from honest peers.
    pub meta: Bin<'a>,
    /// [`Vsn`], or fewer bytes from broken peers.
    pub vsn: Bin<'a>,
}

/// Opens a push/pull; `nodes` rows and `user_state_len` raw bytes follow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PushPullHeader {
    /// Rows that follow (a Go `int`: may be negative on a hostile wire).
    pub nodes: i64,
    /// Bytes of user state after the rows (a Go `int`).
    pub user_state_len: i64,
    /// Whether this exchange is a join.
    pub join: bool,
}

/// One row of a push/pull.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeState<'a> {
    /// Name (key `Name`, not `Node`).
    pub name: &'a [u8],
    /// Raw address.
    pub addr: Bin<'a>,
    /// Port.
    pub port: u16,
    /// Tags.
    pub meta: Bin<'a>,
    /// Incarnation.
    pub incarnation: Incarnation,
    /// 0 alive, 1 suspect, 2 dead, 3 left (a Go `int`); others are ignored by the merge.
    pub state: i64,
    /// Versions.
    pub vsn: Bin<'a>,
}

/// One message of a packet: what follows its type byte, decoded.
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

impl<'a> Message<'a> {
    /// Decodes one complete message, type byte included. Trailing bytes are ignored, as in Go.
    ///
    /// # Errors
    /// An empty input, a type that may not stand in a packet, or a malformed body.
    pub fn decode(input: &'a [u8]) -> Result<Self, super::DecodeError> {
        let _ = input;
        todo!()
    }
}

macro_rules! encode_stub {
    ($($name:ident),*) => {$(
        impl $name<'_> {
            /// Appends the type byte and the body as Go encodes them.
            pub fn encode(&self, out: &mut Vec<u8>) {
                let _ = out;
                todo!()
            }
        }
    )*};
}
encode_stub!(Ping, IndirectPing, Ack, Suspect, Alive, Dead, ErrorReply);

impl Nack {
    /// Appends the type byte and the body.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let _ = out;
        todo!()
    }
}

impl PushPullHeader {
    /// Appends the type byte and the header; rows and user state follow it.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let _ = out;
        todo!()
    }
}

impl NodeState<'_> {
    /// Appends one row (rows have no type byte).
    pub fn encode(&self, out: &mut Vec<u8>) {
        let _ = out;
        todo!()
    }
}
