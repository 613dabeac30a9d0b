//! Builds one packet.

use crate::wire::{
    kind,
    limits::{COMPOUND_PARTS_MAX, PACKET_DEPTH_MAX},
};

/// Collects the parts of a packet in reusable buffers.
#[derive(Debug, Default)]
pub(super) struct PacketBuilder {
    bodies: Vec<u8>,
    ends: Vec<usize>,
    sent: usize,
    packet: Vec<u8>,
    scratch: Vec<Vec<u8>>,
}

impl PacketBuilder {
    pub(super) fn push(&mut self, message: &[u8]) {
        self.bodies.extend_from_slice(message);
        self.ends.push(self.bodies.len());
    }

    pub(super) fn push_user(&mut self, message: &[u8]) {
        self.bodies.push(kind::USER);
        self.push(message);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Bytes of all parts.
    pub(super) fn len(&self) -> usize {
        self.bodies.len()
    }

    /// The next packet: a single message, or a compound of up to 255. Go: `makeCompoundMessages`.
    pub(super) fn next_packet(&mut self) -> Option<&[u8]> {
        let first = self.sent;
        let ends = self.ends.get(first..)?;
        let count = ends.len().min(COMPOUND_PARTS_MAX);
        let ends = ends.get(..count)?;
        let last_end = *ends.last()?;
        let start = first.checked_sub(1).and_then(|i| self.ends.get(i)).copied().unwrap_or(0);
        let bodies = self.bodies.get(start..last_end)?;
        self.sent += count;
        self.packet.clear();
        if first == 0 && self.ends.len() == 1 {
            self.packet.extend_from_slice(bodies);
            return Some(&self.packet);
        }
        self.packet.extend_from_slice(&[kind::COMPOUND, count as u8]);
        let mut begin = start;
        for end in ends {
            debug_assert!(end - begin <= usize::from(u16::MAX), "part too long for a compound");
            self.packet.extend_from_slice(&((end - begin) as u16).to_be_bytes());
            begin = *end;
        }
        self.packet.extend_from_slice(bodies);
        Some(&self.packet)
    }

    /// Gives the same packets again.
    pub(super) fn rewind(&mut self) {
        self.sent = 0;
    }

    pub(super) fn clear(&mut self) {
        self.bodies.clear();
        self.ends.clear();
        self.sent = 0;
    }

    /// Takes an empty buffer, to be returned after use.
    pub(super) fn take_scratch(&mut self) -> Vec<u8> {
        self.scratch.pop().unwrap_or_default()
    }

    pub(super) fn put_scratch(&mut self, mut buf: Vec<u8>) {
        if self.scratch.len() <= PACKET_DEPTH_MAX {
            buf.clear();
            self.scratch.push(buf);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_part_goes_bare_and_many_are_split_at_255() {
        let mut builder = PacketBuilder::default();
        builder.push(b"\x04abc");
        assert_eq!(builder.next_packet(), Some(&b"\x04abc"[..]));
        assert_eq!(builder.next_packet(), None);
        builder.clear();

        for _ in 0..256 {
            builder.push(b"\x04x");
        }
        let first = builder.next_packet().map(<[u8]>::to_vec).unwrap();
        assert_eq!((first[0], first[1], first.len()), (7, 255, 2 + 255 * 2 + 255 * 2));
        assert_eq!(builder.next_packet(), Some(&b"\x07\x01\x00\x02\x04x"[..]));
        assert_eq!(builder.next_packet(), None);
    }
}
