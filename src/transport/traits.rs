//! The interface of a transport.

use std::{future::Future, io, net::SocketAddr};

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

    /// Opens a stream. The caller limits the time.
    fn connect(&self, to: SocketAddr) -> impl Future<Output = io::Result<Self::Stream>> + Send;

    /// The next stream opened by a peer. Cancel-safe.
    fn accept(&self) -> impl Future<Output = io::Result<(Self::Stream, SocketAddr)>> + Send;
}
