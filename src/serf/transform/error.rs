//! Why bytes were refused.

use crate::base::error_texts;

/// Why bytes were refused.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TransformError {
    /// Nothing where a type byte should be.
    Empty,
    /// A type byte that means nothing.
    UnknownType(u8),
    /// Another version of the ack payload.
    Version(u8),
    /// The body is not what the type says.
    Malformed(String),
    /// More items than any honest peer sends.
    TooMany(usize),
}

error_texts! {
    TransformError {
        Self::Empty => "empty message";
        Self::UnknownType(kind) => "unknown type: {kind}";
        Self::Version(version) => "Unsupported ping version: {version}";
        Self::Malformed(text) => "{text}";
        Self::TooMany(max) => "more than {max} items";
    }
}

impl std::error::Error for TransformError {}
