//! Finds the end of a value while its bytes are still arriving.

use super::{DEPTH_MAX, Error, reader::shape};

/// Scans one value as its bytes arrive and looks at each byte once: `n` pieces cost the same as the
/// whole value.
#[derive(Clone, Debug)]
pub struct Scanner {
    /// Bytes of the value scanned so far; exceeds the bytes received while a string's payload is
    /// outstanding.
    position: u64,
    /// Outstanding values at each open level. The first level is the value itself, the second its
    /// items; two more than [`DEPTH_MAX`], as an unknown field of a struct may be as deep as
    /// `Reader::skip` allows.
    pending: [u64; DEPTH_MAX + 2],
    depth: usize,
}

impl Default for Scanner {
    fn default() -> Self {
        Self::new()
    }
}

impl Scanner {
    /// Creates a scanner at the first byte of a value.
    pub fn new() -> Self {
        let mut pending = [0; DEPTH_MAX + 2];
        if let Some(outermost) = pending.first_mut() {
            *outermost = 1;
        }
        Self { position: 0, pending, depth: 0 }
    }

    /// Continues with `input`, which is everything received since the first byte of the value.
    /// Returns the length of the value once it is complete.
    ///
    /// # Errors
    /// The reserved byte, or nesting beyond [`DEPTH_MAX`].
    pub fn advance(&mut self, input: &[u8]) -> Result<Option<usize>, Error> {
        loop {
            while let Some(0) = self.pending.get(self.depth) {
                let Some(outer) = self.depth.checked_sub(1) else {
                    let end = usize::try_from(self.position).unwrap_or(usize::MAX);
                    return Ok((end <= input.len()).then_some(end));
                };
                self.depth = outer;
            }
            let rest = usize::try_from(self.position).ok().and_then(|at| input.get(at..));
            let Some((&marker, rest)) = rest.and_then(<[u8]>::split_first) else {
                return Ok(None);
            };
            let mut header = 1;
            let shape = shape(marker, |n| {
                header += n as u64;
                let bytes = rest.get(..n).ok_or(Error::Truncated)?;
                Ok(bytes.iter().fold(0, |len, &byte| len << 8 | u64::from(byte)))
            });
            let (payload, items) = match shape {
                Ok(shape) => shape,
                Err(Error::Truncated) => return Ok(None),
                Err(error) => {
                    let before = usize::try_from(self.position).unwrap_or(usize::MAX);
                    return Err(error.after(before.saturating_add(1)));
                }
            };
            self.position = self.position.saturating_add(header).saturating_add(payload);
            if let Some(pending) = self.pending.get_mut(self.depth) {
                *pending = pending.saturating_sub(1);
            }
            if items > 0 {
                self.depth += 1;
                *self.pending.get_mut(self.depth).ok_or(Error::Depth)? = items;
            }
        }
    }

    /// Lower bound of the value's length, as far as it is known.
    pub fn len_min(&self) -> u64 {
        let pending = self.pending.iter().take(self.depth + 1).copied();
        pending.fold(self.position, u64::saturating_add)
    }
}
