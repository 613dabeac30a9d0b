//! Layer 0: Go's MessagePack dialect.
//!
//! Go nodes write structs as maps with bytewise sorted keys, strings and byte strings in the old
//! "raw" family, and read far more than they write. [`Writer`] emits what current Go emits,
//! [`Reader`] takes what any Go takes, borrowing from the input and never trusting a length.
//! [`message!`](crate::msgpack::message) declares a struct once for both directions;
//! `to_vec` and `from_slice` (feature `serde`) do the same for serde types. [`Scanner`] finds the end of a
//! value that arrives in pieces.

#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing))]

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

#[cfg(feature = "serde")]
pub use de::{Deserializer, from_reader, from_slice};
pub use macros::{is_permutation, is_sorted};
pub use reader::{Error, Reader};
pub use scanner::Scanner;
#[cfg(feature = "serde")]
pub use ser::{Serializer, to_vec};
pub use value::{Bin, Value};
pub use writer::{Dialect, Writer};

pub use crate::__msgpack_message as message;

/// For `#[serde(with = "msgpack::as_bytes")]` on a `Vec<u8>` that is Go's `[]byte`.
#[cfg(feature = "serde")]
pub mod as_bytes {
    use serde::{Deserializer, Serializer, de};

    /// Serializes as bytes rather than as an array.
    ///
    /// # Errors
    /// Those of the serializer.
    pub fn serialize<S: Serializer>(
        bytes: impl AsRef<[u8]>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(bytes.as_ref())
    }

    /// Takes what Go takes for a `[]byte`; nil is empty.
    ///
    /// # Errors
    /// Those of the deserializer.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        struct Visitor;

        impl<'de> de::Visitor<'de> for Visitor {
            type Value = Vec<u8>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("bytes")
            }

            fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Vec<u8>, E> {
                Ok(bytes.to_vec())
            }

            /// The old family of strings is that of bytes, too.
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Vec<u8>, E> {
                Ok(text.into())
            }

            fn visit_byte_buf<E: de::Error>(self, bytes: Vec<u8>) -> Result<Vec<u8>, E> {
                Ok(bytes)
            }
        }

        deserializer.deserialize_byte_buf(Visitor)
    }
}

/// Deepest nesting that unknown values may have. Go has no bound.
pub const DEPTH_MAX: usize = 16;

#[cfg(all(test, feature = "serde"))]
mod tests;
