//! The interface of a runtime.

use std::{
    any::Any,
    fmt,
    future::Future,
    io,
    net::{SocketAddr, TcpListener, UdpSocket},
    pin::Pin,
    task::{Context, Poll},
    time::Instant,
};

use tokio::io::{AsyncRead, AsyncWrite};

/// A runtime: runs tasks, and provides timers and socket readiness.
///
/// It is not involved in each packet: datagrams are sent and received on the socket directly, and
/// the runtime only reports when the socket is readable again.
pub trait Runtime: fmt::Debug + Send + Sync + 'static {
    /// Runs a task in the background.
    fn spawn(&self, task: Task);

    /// Runs a future on the calling thread until it completes, together with the timers and sockets
    /// created by it.
    ///
    /// # Errors
    /// The system lacks a resource, such as file descriptors.
    fn block_on(&self, future: Task) -> io::Result<()>;

    /// Creates a timer that expires at `at`.
    fn timer(&self, at: Instant) -> Pin<Box<dyn Timer>>;

    /// Registers a non-blocking datagram socket.
    ///
    /// # Errors
    /// The system's error.
    fn datagrams(&self, socket: UdpSocket) -> io::Result<Box<dyn Datagrams>>;

    /// Registers a non-blocking listener of streams.
    ///
    /// # Errors
    /// The system's error.
    fn listener(&self, socket: TcpListener) -> io::Result<Box<dyn Listener>>;

    /// Opens a stream without delaying small writes (`TCP_NODELAY`).
    fn connect(&self, to: SocketAddr) -> Connecting;
}

/// A task of a runtime.
pub type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A stream being opened. Dropping it cancels the attempt.
pub type Connecting = Pin<Box<dyn Future<Output = io::Result<NetStream>> + Send>>;

/// A runtime's stream.
pub type NetStream = Box<dyn Connection>;

/// A bidirectional byte stream.
pub trait Connection: AsyncRead + AsyncWrite + Send + Unpin + 'static {
    /// Our address, if the stream is one of a [`Runtime`] of this crate.
    #[doc(hidden)]
    fn local_addr(&self) -> Option<SocketAddr>;
}

impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> Connection for T {
    fn local_addr(&self) -> Option<SocketAddr> {
        let stream: &dyn Any = self;
        if let Some(stream) = stream.downcast_ref::<NetStream>() {
            return (**stream).local_addr();
        }
        #[cfg(feature = "tokio")]
        if let Some(stream) = stream.downcast_ref::<::tokio::net::TcpStream>() {
            return stream.local_addr().ok();
        }
        #[cfg(feature = "smol")]
        if let Some(stream) = stream.downcast_ref::<super::smol_stream::SmolStream>() {
            return stream.0.get_ref().local_addr().ok();
        }
        None
    }
}

/// A future that completes at its time.
pub trait Timer: Future<Output = ()> + Send {
    /// Changes the time.
    fn reset(self: Pin<&mut Self>, at: Instant);
}

/// A datagram socket. Only one task waits for it.
pub trait Datagrams: Send + Sync {
    /// Waits until there may be a datagram.
    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// Receives the next datagram.
    ///
    /// # Errors
    /// `WouldBlock` if there is none: then wait with [`Datagrams::poll_readable`].
    fn try_recv_from(&self, buf: &mut [u8]) -> io::Result<(usize, SocketAddr)>;

    /// Calls `read`, which reads many datagrams from the socket itself, and takes `WouldBlock` from
    /// it as from [`Datagrams::try_recv_from`]. If the runtime takes the socket for empty, `read`
    /// need not be called. `None` where a runtime has no such thing: then datagrams are read one by
    /// one.
    #[doc(hidden)]
    fn try_read(&self, read: &mut dyn FnMut() -> io::Result<()>) -> Option<io::Result<()>> {
        let _ = read;
        None
    }
}

/// A listener of streams. Only one task waits for it.
pub trait Listener: Send + Sync {
    /// The next stream opened by a peer, without delaying small writes.
    fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<(NetStream, SocketAddr)>>;
}
