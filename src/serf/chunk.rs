//! Memory for the payloads of events that are delivered soon after each other.

use bytes::{Bytes, BytesMut};

/// Copies small payloads into memory that several share, so that an event costs no allocation.
/// One that is kept keeps [`CHUNK_BYTES`].
#[derive(Default)]
pub(crate) struct Chunk {
    free: BytesMut,
}

impl Chunk {
    pub(crate) fn copy(&mut self, payload: &[u8]) -> Bytes {
        if payload.len() > SHARED_BYTES_MAX {
            return Bytes::copy_from_slice(payload);
        }
        if self.free.capacity() < payload.len() {
            self.free = BytesMut::with_capacity(CHUNK_BYTES);
        }
        self.free.extend_from_slice(payload);
        self.free.split().freeze()
    }
}

/// Largest payload that shares memory with others.
const SHARED_BYTES_MAX: usize = 256;
/// Memory that payloads share.
const CHUNK_BYTES: usize = 2_048;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_payloads_share_memory_and_large_ones_have_their_own() {
        let mut chunk = Chunk::default();
        let place = |bytes: &Bytes| bytes.as_ptr() as usize;
        let payloads: Vec<_> = (0..100_u8).map(|n| chunk.copy(&[n; 100])).collect();
        let next = |pair: &&[Bytes]| place(&pair[1]) == place(&pair[0]) + 100;
        // 20 fit.
        assert_eq!(payloads.windows(2).filter(next).count(), 95);
        let alone = chunk.copy(&[7; 300]);
        assert_ne!(place(&alone), place(&payloads[99]) + 100);
        assert!(chunk.copy(b"").is_empty());
        for (n, payload) in payloads.iter().enumerate() {
            assert_eq!(**payload, [n as u8; 100]);
        }
    }
}
