//! The interface of a transport.

use std::{future::Future, io, net::SocketAddr};

use super::Batch;
use crate::runtime::Connection;

/// Datagrams and streams of one node, which carry Serf's bytes unchanged.
///
/// Addresses are given as peers announce them: IPv4 is never IPv6-mapped.
pub trait Transport: Send + Sync + 'static {
    /// The stream type of [`Transport::connect`] and [`Transport::accept`].
    type Stream: Connection;

    /// The bound address; datagrams and streams share the port.
    fn local_addr(&self) -> SocketAddr;

    /// Sends a datagram without waiting; if the socket's buffer is full, the datagram is dropped,
    /// as the network would.
    ///
    /// # Errors
    /// The system refused the datagram.
    fn try_send_to(&self, data: &[u8], to: SocketAddr) -> io::Result<()>;

    /// Waits until datagrams are available to [`Transport::try_recv_from`]. Cancel-safe.
    fn readable(&self) -> impl Future<Output = io::Result<()>> + Send;

    /// Receives the next available datagram, even one that arrived after [`Transport::readable`]
    /// was last polled, so that a late timer does not win over an answer that has already arrived.
    ///
    /// # Errors
    /// `WouldBlock` if there is none.
    fn try_recv_from(&self, buf: &mut [u8]) -> io::Result<(usize, SocketAddr)>;

    /// Fills a batch with datagrams that wait. Without a method of its own a transport receives one
    /// after the other.
    ///
    /// # Errors
    /// As [`Transport::try_recv_from`]; those received before are in the batch.
    #[doc(hidden)]
    fn try_recv_batch(&self, batch: &mut Batch) -> io::Result<()> {
        batch.fill(|buf| self.try_recv_from(buf))
    }

    /// Sends datagrams as [`Transport::try_send_to`] does, and reports those that were refused.
    #[doc(hidden)]
    fn try_send_batch(
        &self,
        packets: &[(SocketAddr, Vec<u8>)],
        refused: &mut dyn FnMut(SocketAddr, io::Error),
    ) {
        for (to, data) in packets {
            if let Err(error) = self.try_send_to(data, *to) {
                refused(*to, error);
            }
        }
    }

    /// Opens a stream. The caller limits the time.
    fn connect(&self, to: SocketAddr) -> impl Future<Output = io::Result<Self::Stream>> + Send;

    /// The next stream opened by a peer. Cancel-safe.
    fn accept(&self) -> impl Future<Output = io::Result<(Self::Stream, SocketAddr)>> + Send;
}
