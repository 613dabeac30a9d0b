//! Layer 0: Go's MessagePack dialect.
//!
//! Go nodes write structs as maps with bytewise sorted keys, strings and byte strings in the old
//! "raw" family, and read far more than they write. [`Writer`] emits what current Go emits,
//! [`Reader`] takes what any Go takes, borrowing from the input and never trusting a length.
//! [`message!`](crate::msgpack::message) declares a struct once for both directions;
//! [`to_vec`] and [`from_slice`] do the same for serde types. [`Scanner`] finds the end of a
//! value that arrives in pieces.

#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing))]

mod macros;
mod reader;
mod scanner;
mod value;
mod writer;

pub use macros::{is_permutation, is_sorted};
pub use reader::{Error, Reader};
pub use scanner::Scanner;
pub use value::{Bin, Value};
pub use writer::{Dialect, Writer};

pub use crate::__msgpack_message as message;

/// Deepest nesting that unknown values may have. Go has no bound.
pub const DEPTH_MAX: usize = 16;

#[cfg(test)]
mod tests;
