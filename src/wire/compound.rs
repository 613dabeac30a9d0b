//! Several messages in one packet. Go: `util.go`, `makeCompoundMessage`, `decodeCompoundMessage`.

use super::{DecodeError, limits::COMPOUND_PARTS_MAX, message::kind};

/// Appends one compound of the first parts, at most 255, and returns how many of `parts` it
/// consumed: call again with the rest until all are consumed.
///
/// An empty part (which crashes old Go versions) or one longer than 65,535 bytes (which Go would
/// cut) cannot be encoded: it counts as consumed but is omitted. Callers must not pass such parts.
pub fn encode_compound<P: AsRef<[u8]>>(parts: &[P], out: &mut Vec<u8>) -> usize {
    let taken = parts.len().min(COMPOUND_PARTS_MAX);
    let parts = || {
        parts.iter().take(taken).filter_map(|part| {
            let part = part.as_ref();
            let len = u16::try_from(part.len()).ok().filter(|&len| len > 0);
            debug_assert!(len.is_some(), "part of {} bytes in a compound", part.len());
            len.map(|len| (len, part))
        })
    };
    out.push(kind::COMPOUND);
    out.push(parts().count() as u8);
    for (len, _) in parts() {
        out.extend_from_slice(&len.to_be_bytes());
    }
    for (_, part) in parts() {
        out.extend_from_slice(part);
    }
    taken
}

/// Iterates over the messages of a compound body (after the type byte).
///
/// If the last part is truncated, the iteration ends with an error after the complete parts, as in
/// Go.
#[derive(Clone, Debug)]
pub struct CompoundParts<'a> {
    lengths: &'a [u8],
    bodies: &'a [u8],
}

impl<'a> CompoundParts<'a> {
    /// Reads the count and the lengths.
    ///
    /// # Errors
    /// The count or the lengths are truncated: no part is delivered.
    pub fn parse(body: &'a [u8]) -> Result<Self, DecodeError> {
        let (&count, rest) = body.split_first().ok_or(DecodeError::CompoundCount)?;
        let (lengths, bodies) =
            rest.split_at_checked(2 * usize::from(count)).ok_or(DecodeError::CompoundLengths)?;
        Ok(Self { lengths, bodies })
    }
}

impl<'a> Iterator for CompoundParts<'a> {
    type Item = Result<&'a [u8], DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        let (len, lengths) = self.lengths.split_first_chunk::<2>()?;
        let Some((part, bodies)) = self.bodies.split_at_checked(u16::from_be_bytes(*len).into())
        else {
            let missing = self.lengths.len() / 2;
            self.lengths = &[];
            return Some(Err(DecodeError::CompoundTruncated { missing }));
        };
        (self.lengths, self.bodies) = (lengths, bodies);
        Some(Ok(part))
    }
}
