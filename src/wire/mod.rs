//! Layer 1: memberlist's bytes to typed messages and back, without any I/O.

mod keyring;
pub mod limits;
mod message;
mod packet;
mod stream;

pub use keyring::{Keyring, KeyringError};
pub use message::{
    Ack, Alive, Bin, Dead, ErrorReply, Incarnation, IndirectPing, Message, Nack, NodeState, Ping,
    PushPullHeader, SeqNo, Suspect, Vsn,
};
pub use packet::{CodecConfig, CompoundParts, DecodeError, PacketCodec};
pub use stream::{PushPull, Role, StreamCodec, StreamDecoder, StreamError, StreamMessage};
