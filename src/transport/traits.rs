//! What a node needs of the network.

use std::{future::Future, io, net::SocketAddr};

use crate::runtime::Connection;

/// Datagrams and streams of one node. Byte-transparent: everything Serf is above it.
///
/// Addresses are as peers announce them: IPv4 is never given in its IPv6-mapped form.
pub trait Transport: Send + Sync + 'static {
    /// What [`Transport::connect`] and [`Transport::accept`] give.
    type Stream: Connection;

    /// The bound address; both kinds of socket share the port.
    fn local_addr(&self) -> SocketAddr;

    /// Sends a datagram without waiting; a full socket buffer drops it, as the network would.
    ///
    /// # Errors
    /// The system refused the datagram.
    fn try_send_to(&self, data: &[u8], to: SocketAddr) -> io::Result<()>;

    /// Waits until datagrams are there; then [`Transport::try_recv_from`] gives them. Cancel-safe.
    fn readable(&self) -> impl Future<Output = io::Result<()>> + Send;

    /// The next waiting datagram; also one that arrived since [`Transport::readable`] was last
    /// polled, so that a late timeout does not win over an answer that is already here.
    ///
    /// # Errors
    /// `WouldBlock` when there is none.
    fn try_recv_from(&self, buf: &mut [u8]) -> io::Result<(usize, SocketAddr)>;

    /// Opens a stream. The caller bounds the time.
    fn connect(&self, to: SocketAddr) -> impl Future<Output = io::Result<Self::Stream>> + Send;

    /// The next stream a peer opened. Cancel-safe.
    fn accept(&self) -> impl Future<Output = io::Result<(Self::Stream, SocketAddr)>> + Send;
}
