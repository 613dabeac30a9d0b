//! Layer 0: Go's MessagePack dialect.
//!
//! Go nodes write structs as maps with bytewise sorted keys and strings and byte strings in the old
//! "raw" family; they accept far more than they write. [`Writer`] emits what current Go emits,
//! [`Reader`] accepts what any Go version accepts, borrows from the input and never trusts a
//! length.
//! [`message!`](crate::msgpack::message) declares a struct once for both directions;
//! `to_vec` and `from_slice` (feature `serde`) do the same for serde types. [`Scanner`] finds the
//! end of a value that arrives in pieces.

#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing))]

#[cfg(feature = "serde")]
pub mod as_bytes;
mod bin;
#[cfg(feature = "serde")]
mod de;
mod macros;
mod marker;
mod reader;
mod scanner;
#[cfg(feature = "serde")]
mod ser;
mod value;
mod writer;

pub use bin::Bin;
#[cfg(feature = "serde")]
pub use de::{Deserializer, from_reader, from_slice};
pub use macros::{is_permutation, is_sorted};
pub use reader::{At, DEPTH_MAX, Error, Expected, Reader};
pub use scanner::Scanner;
#[cfg(feature = "serde")]
pub use ser::{Serializer, to_vec};
pub use value::Value;
pub use writer::{Dialect, Writer};

pub use crate::__msgpack_message as message;

#[cfg(all(test, feature = "serde"))]
mod tests;
