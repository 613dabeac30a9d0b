//! Reassembles bytes that arrive in pieces, out of order, repeated or overlapping.

use std::collections::BTreeMap;

/// The pieces of one sequence of bytes. Where pieces overlap, the first to arrive is used.
#[derive(Debug, Default)]
pub(super) struct Assembly {
    /// Number of bytes already taken.
    taken: u64,
    /// Pieces after these, by position, without overlaps.
    pieces: BTreeMap<u64, Vec<u8>>,
    held: usize,
}

/// Error: there is no room for more pieces.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Full;

impl Assembly {
    /// Number of bytes taken so far: the position of the next one.
    pub(super) fn taken(&self) -> u64 {
        self.taken
    }

    /// Memory held by the pieces.
    pub(super) fn held(&self) -> usize {
        self.held
    }

    /// Number of bytes missing before the first pending piece.
    pub(super) fn missing(&self) -> Option<u64> {
        self.pieces.first_key_value().map(|(at, _)| at - self.taken)
    }

    /// Adds a piece; returns how many of its bytes are new.
    ///
    /// # Errors
    /// Too many bytes are pending behind missing ones.
    pub(super) fn insert(&mut self, at: u64, piece: &[u8]) -> Result<usize, Full> {
        let end = at.saturating_add(piece.len() as u64);
        let (mut cursor, mut fresh) = (at.max(self.taken), 0);
        while cursor < end {
            let before = self.pieces.range(..=cursor).next_back();
            if let Some((start, known)) = before
                && start + known.len() as u64 > cursor
            {
                cursor = start + known.len() as u64;
                continue;
            }
            let next = self.pieces.range(cursor..).next().map_or(end, |(start, _)| end.min(*start));
            let range = (cursor - at) as usize..(next - at) as usize;
            let part = piece.get(range).unwrap_or_default();
            let held = self.held + part.len() + PIECE_OVERHEAD;
            if held > HELD_MAX {
                return Err(Full);
            }
            self.held = held;
            fresh += part.len();
            self.pieces.insert(cursor, part.to_vec());
            cursor = next;
        }
        Ok(fresh)
    }

    /// Takes the next contiguous bytes, if any.
    pub(super) fn take(&mut self) -> Option<Vec<u8>> {
        let piece = self.pieces.remove(&self.taken)?;
        self.held -= piece.len() + PIECE_OVERHEAD;
        self.taken += piece.len() as u64;
        Some(piece)
    }
}

/// Most pending bytes, in a direction of a connection or in a fragmented datagram.
pub(super) const HELD_MAX: usize = 1024 * 1024;
/// Memory of a piece in addition to its bytes.
const PIECE_OVERHEAD: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;

    fn text(assembly: &mut Assembly) -> String {
        let mut all = Vec::new();
        while let Some(piece) = assembly.take() {
            all.extend(piece);
        }
        String::from_utf8(all).unwrap()
    }

    #[test]
    fn pieces_in_any_order_make_the_same_whole_and_the_first_to_come_counts() {
        let mut assembly = Assembly::default();
        assert_eq!(assembly.insert(6, b"gh"), Ok(2));
        assert_eq!(assembly.insert(2, b"cd"), Ok(2));
        assert_eq!(assembly.missing(), Some(2));
        assert_eq!(text(&mut assembly), "");
        assert_eq!(assembly.insert(1, b"bXXefXXij"), Ok(5), "only what is new");
        assert_eq!(assembly.insert(0, b"a"), Ok(1));
        assert_eq!(text(&mut assembly), "abcdefghij");
        assert_eq!((assembly.taken(), assembly.held(), assembly.missing()), (10, 0, None));
        assert_eq!(assembly.insert(0, b"abcdefghijk"), Ok(1), "the rest was taken");
        assert_eq!(text(&mut assembly), "k");
        assert_eq!(assembly.insert(3, b""), Ok(0));
    }

    #[test]
    fn what_waits_is_bounded_however_small_the_pieces_are() {
        let mut assembly = Assembly::default();
        let full = (0..).find(|n| assembly.insert(1 + 2 * n, b"x").is_err()).unwrap();
        assert!(full as usize <= HELD_MAX / PIECE_OVERHEAD);
        assert_eq!(assembly.insert(0, &vec![0; HELD_MAX]), Err(Full));
        assert!(assembly.held() <= HELD_MAX);
    }
}
