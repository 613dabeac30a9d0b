//! The label header, in plaintext before everything else. Go: `label.go`.

use super::{DecodeError, limits::LABEL_BYTES_MAX, message::kind};

/// Appends the header; nothing for an empty label.
pub(super) fn encode(label: &[u8], out: &mut Vec<u8>) {
    // The configuration refuses longer labels.
    if let Ok(len @ 1..) = u8::try_from(label.len()) {
        out.extend_from_slice(&[kind::HAS_LABEL, len]);
        out.extend_from_slice(label);
    }
}

/// Length of the header.
pub(super) fn overhead(label: &[u8]) -> usize {
    if label.is_empty() { 0 } else { 2 + label.len() }
}

/// Splits off the header; returns an empty label if there is none.
///
/// # Errors
/// The header is truncated or empty.
pub(super) fn split(input: &[u8]) -> Result<(&[u8], &[u8]), DecodeError> {
    let Some((&kind::HAS_LABEL, rest)) = input.split_first() else { return Ok((&[], input)) };
    let (&len, rest) = rest.split_first().ok_or(DecodeError::TruncatedLabel)?;
    if len == 0 {
        return Err(DecodeError::EmptyLabel);
    }
    rest.split_at_checked(len.into()).ok_or(DecodeError::TruncatedLabel)
}

/// Compares a peer's label with ours.
///
/// # Errors
/// The labels differ.
pub(super) fn check(ours: &[u8], got: &[u8]) -> Result<(), DecodeError> {
    if got == ours { Ok(()) } else { Err(DecodeError::ForeignLabel { got: got.to_vec() }) }
}

/// # Errors
/// The label is too long for the header.
pub(super) fn validate(label: &[u8]) -> Result<(), DecodeError> {
    match label.len() {
        0..=LABEL_BYTES_MAX => Ok(()),
        len => Err(DecodeError::LabelTooLong { len }),
    }
}
