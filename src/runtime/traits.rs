//! What a runtime has to give.

use std::{
    fmt,
    future::Future,
    io,
    net::{SocketAddr, TcpListener, UdpSocket},
    pin::Pin,
    task::{Context, Poll},
    time::Instant,
};

use tokio::io::{AsyncRead, AsyncWrite};

/// A runtime: where tasks run, and who says when a time has come or a socket is ready.
///
/// Nothing here is called for each packet: datagrams are sent and received on the socket itself,
/// and the runtime says when to look again.
pub trait Runtime: fmt::Debug + Send + Sync + 'static {
    /// Runs a task in the background.
    fn spawn(&self, task: Task);

    /// Runs a future on the calling thread until it ends, together with the timers and sockets
    /// that are made while it runs.
    ///
    /// # Errors
    /// The system has no room for that, such as no more open files.
    fn block_on(&self, future: Task) -> io::Result<()>;

    /// A timer that ends at `at`.
    fn timer(&self, at: Instant) -> Pin<Box<dyn Timer>>;

    /// Watches a socket of datagrams, which never blocks.
    ///
    /// # Errors
    /// The system's.
    fn datagrams(&self, socket: UdpSocket) -> io::Result<Box<dyn Datagrams>>;

    /// Accepts streams from a socket, which never blocks.
    ///
    /// # Errors
    /// The system's.
    fn listener(&self, socket: TcpListener) -> io::Result<Box<dyn Listener>>;

    /// Opens a stream, without delay of small writes (`TCP_NODELAY`).
    fn connect(&self, to: SocketAddr) -> Connecting;
}

/// What a runtime runs.
pub type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A stream that is being opened. Dropping it ends the attempt.
pub type Connecting = Pin<Box<dyn Future<Output = io::Result<NetStream>> + Send>>;

/// A stream of a runtime.
pub type NetStream = Box<dyn Connection>;

/// A connection.
pub trait Connection: AsyncRead + AsyncWrite + Send + Unpin + 'static {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> Connection for T {}

/// Ends when its time has come.
pub trait Timer: Future<Output = ()> + Send {
    /// Sets another time.
    fn reset(self: Pin<&mut Self>, at: Instant);
}

/// A socket of datagrams. One task waits for it.
pub trait Datagrams: Send + Sync {
    /// Waits until there may be datagrams.
    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// The next datagram.
    ///
    /// # Errors
    /// `WouldBlock` when there is none: then [`Datagrams::poll_readable`] waits for the next.
    fn try_recv_from(&self, buf: &mut [u8]) -> io::Result<(usize, SocketAddr)>;
}

/// A socket that streams are accepted from. One task waits for it.
pub trait Listener: Send + Sync {
    /// The next stream that a peer opened, without delay of small writes.
    fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<(NetStream, SocketAddr)>>;
}
