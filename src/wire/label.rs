//! The label header, in clear before everything else. Go: `label.go`.

use super::{DecodeError, limits::LABEL_BYTES_MAX, message::kind};

/// Appends the header; nothing for an empty label.
pub(super) fn encode(label: &[u8], out: &mut Vec<u8>) {
    // The configuration admits no longer label.
    if let Ok(len @ 1..) = u8::try_from(label.len()) {
        out.extend_from_slice(&[kind::HAS_LABEL, len]);
        out.extend_from_slice(label);
    }
}

/// Bytes that the header takes.
pub(super) fn overhead(label: &[u8]) -> usize {
    if label.is_empty() { 0 } else { 2 + label.len() }
}

/// Splits off the header; an empty label if there is none.
///
/// # Errors
/// The header is cut off or empty.
pub(super) fn split(input: &[u8]) -> Result<(&[u8], &[u8]), DecodeError> {
    let Some((&kind::HAS_LABEL, rest)) = input.split_first() else { return Ok((&[], input)) };
    let (&len, rest) = rest.split_first().ok_or(DecodeError::TruncatedLabel)?;
    if len == 0 {
        return Err(DecodeError::EmptyLabel);
    }
    rest.split_at_checked(len.into()).ok_or(DecodeError::TruncatedLabel)
}

/// Checks the label that a peer sent.
///
/// # Errors
/// It is not ours.
pub(super) fn check(ours: &[u8], got: &[u8]) -> Result<(), DecodeError> {
    if got == ours { Ok(()) } else { Err(DecodeError::ForeignLabel { got: got.to_vec() }) }
}

/// # Errors
/// Too long for the header.
pub(super) fn validate(label: &[u8]) -> Result<(), DecodeError> {
    match label.len() {
        0..=LABEL_BYTES_MAX => Ok(()),
        len => Err(DecodeError::LabelTooLong { len }),
    }
}
