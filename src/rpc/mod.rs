//! Layer 5: encodings of the agent's RPC, shared by server and client.

#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing))]

mod error;
mod frame;
#[cfg(feature = "agent")]
mod listed;
pub mod protocol;
#[cfg(feature = "agent")]
mod raw;
mod socket;

pub use error::RpcError;
pub use frame::{FrameReader, decode, encode, encode_members};
#[cfg(feature = "agent")]
pub(crate) use frame::{encode_member, members_bytes_max};
#[cfg(feature = "agent")]
pub(crate) use listed::{ListedMember, ListedVersions, address, endpoint};
#[cfg(feature = "agent")]
pub(crate) use raw::Raw;
pub(crate) use socket::tune;

#[cfg(test)]
mod tests;
