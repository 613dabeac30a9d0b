//! Errors of transforms.

use crate::base::error_texts;

/// Why bytes could not be decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TransformError {
    /// There is no type byte.
    Empty,
    /// The type byte is unknown.
    UnknownType(u8),
    /// The ack payload has another version.
    Version(u8),
    /// The body does not match the type.
    Malformed(String),
    /// More items than any well-behaved peer sends.
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
