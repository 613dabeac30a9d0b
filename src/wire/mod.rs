//! Layer 1: decodes and encodes memberlist's messages, without any I/O.

#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing))]

mod addr;
mod cipher;
mod codec_config;
mod compound;
mod compress;
mod crypto;
mod error;
mod keyring;
mod label;
#[cfg(feature = "agent")]
mod layers;
pub mod limits;
mod lzw;
mod message;
mod packet;
mod stream;
mod versions;

pub use addr::RawAddr;
pub use codec_config::CodecConfig;
pub use compound::{CompoundParts, encode_compound};
pub use compress::Compression;
pub(crate) use crypto::Seal;
#[cfg(feature = "agent")]
pub(crate) use crypto::Sealed;
pub use error::{CryptoError, DecodeError, ForeignProtocol};
pub use keyring::{Keyring, KeyringError};
#[cfg(feature = "agent")]
pub(crate) use layers::{Layers, split_label};
pub use message::{
    Ack, Alive, Compress, Dead, ErrorReply, Incarnation, IndirectPing, Kind, Message, Nack,
    NodeState, NodeStateKind, Ping, PushPullHeader, SeqNo, Suspect, UserHeader,
};
pub(crate) use message::{decode_body, kind};
pub use packet::PacketCodec;
#[cfg(feature = "sim")]
pub use stream::SharedRows;
pub use stream::{
    Decoded, PushPull, PushPullBuilder, Role, StreamCodec, StreamDecoder, StreamError,
    StreamMessage, StreamPart,
};
pub use versions::{Incompatible, Versions, Vsn};

pub use crate::msgpack::Bin;

#[cfg(test)]
mod tests;
