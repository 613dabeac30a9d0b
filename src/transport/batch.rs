//! Datagrams that are received together.

use std::{fmt, io, net::SocketAddr};

/// Room for some datagrams of any size, which is used again and again. Memory of places that were
/// never filled is not touched.
pub struct Batch {
    bytes: Vec<u8>,
    received: Vec<(usize, SocketAddr)>,
}

impl Batch {
    /// Room for 16 datagrams.
    pub fn new() -> Self {
        let bytes = vec![0; PLACES * PLACE_BYTES];
        Self { bytes, received: Vec::with_capacity(PLACES) }
    }

    /// Forgets the datagrams.
    pub fn clear(&mut self) {
        self.received.clear();
    }

    /// Whether there is no datagram.
    pub fn is_empty(&self) -> bool {
        self.received.is_empty()
    }

    /// Whether there is no room for another datagram.
    pub fn is_full(&self) -> bool {
        self.received.len() >= PLACES
    }

    /// Adds datagrams that `read` receives, until there is no room.
    ///
    /// # Errors
    /// That of `read`; what it received before is in the batch.
    pub fn fill(
        &mut self,
        mut read: impl FnMut(&mut [u8]) -> io::Result<(usize, SocketAddr)>,
    ) -> io::Result<()> {
        let places = self.bytes.chunks_exact_mut(PLACE_BYTES).skip(self.received.len());
        for place in places {
            self.received.push(read(place)?);
        }
        Ok(())
    }

    /// The datagrams, and who sent them.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], SocketAddr)> {
        let places = self.bytes.chunks_exact(PLACE_BYTES);
        let filled = self.received.iter().zip(places);
        filled.map(|((len, from), place)| (place.get(..*len).unwrap_or(place), *from))
    }

    /// The places that are free, and where their lengths and senders go.
    #[cfg(target_os = "linux")]
    pub(super) fn free(
        &mut self,
    ) -> (std::slice::ChunksExactMut<'_, u8>, &mut Vec<(usize, SocketAddr)>) {
        let start = (self.received.len() * PLACE_BYTES).min(self.bytes.len());
        let free = self.bytes.get_mut(start..).unwrap_or_default();
        (free.chunks_exact_mut(PLACE_BYTES), &mut self.received)
    }
}

impl Default for Batch {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Batch").field("received", &self.received).finish_non_exhaustive()
    }
}

/// Datagrams in a batch: a system call is a small part of what they cost then, and together they
/// have less than the 2 MiB that some kernels back at once.
pub(super) const PLACES: usize = 16;
/// No datagram is larger.
const PLACE_BYTES: usize = 64 * 1024;
