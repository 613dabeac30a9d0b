//! Layer 5: the agent's RPC as bytes, shared by server and client.

#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing))]

mod error;
mod frame;
pub mod protocol;
mod socket;

pub use error::RpcError;
#[cfg(feature = "agent")]
pub(crate) use frame::members_bytes_max;
pub use frame::{FrameReader, decode, encode, encode_members};
pub(crate) use socket::tune;

#[cfg(test)]
mod tests;
