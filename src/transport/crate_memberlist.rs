//! Transports of the crate `memberlist`, carrying our bytes: any of its transports can be used, on
//! its own runtime; the node itself runs on tokio. [`NetTransport`](super::NetTransport) costs
//! less.
//!
//! At level trace the crate logs whole datagrams: raise the level of its targets (`memberlist_net`,
//! `memberlist_quic`).

use std::{
    future::Future,
    io,
    net::SocketAddr,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, ready},
    time::Duration,
};

use memberlist::{
    agnostic::RuntimeLite,
    proto::Payload,
    transport::{Packet, PacketSubscriber, StreamSubscriber, Transport as CrateTransport},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    runtime::Handle,
    sync::Semaphore,
    time::timeout,
};
use tracing::debug;

use super::Transport;

/// A transport of the crate `memberlist`, such as its `NetTransport` or `QuicTransport`.
pub struct MemberlistTransport<T: CrateTransport<ResolvedAddress = SocketAddr>> {
    inner: Arc<T>,
    packets: PacketSubscriber<SocketAddr, InstantOf<T>>,
    /// A packet received to find out whether there is one.
    next: Mutex<Option<Packet<SocketAddr, InstantOf<T>>>>,
    streams: StreamSubscriber<SocketAddr, T::Connection>,
    /// Limits datagrams whose sending is delayed, e.g. by a handshake.
    sending: Arc<Semaphore>,
    runtime: Handle,
}

impl<T: CrateTransport<ResolvedAddress = SocketAddr>> std::fmt::Debug for MemberlistTransport<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MemberlistTransport")
            .field("local", self.inner.advertise_address())
            .finish_non_exhaustive()
    }
}

type InstantOf<T> = <<T as CrateTransport>::Runtime as RuntimeLite>::Instant;

impl<T: CrateTransport<ResolvedAddress = SocketAddr>> MemberlistTransport<T> {
    /// Creates the transport with the crate's own options. Its address to advertise is what
    /// [`Transport::local_addr`] returns.
    ///
    /// Must run inside a tokio runtime.
    ///
    /// # Errors
    /// The crate's errors: an address in use, a name without an address.
    pub async fn new(options: T::Options) -> Result<Self, T::Error> {
        let inner = Arc::new(T::new(options).await?);
        Ok(Self {
            packets: inner.packet(),
            next: Mutex::default(),
            streams: inner.stream(),
            sending: Arc::new(Semaphore::new(SENDING_MAX)),
            runtime: Handle::current(),
            inner,
        })
    }

    fn next(&self) -> MutexGuard<'_, Option<Packet<SocketAddr, InstantOf<T>>>> {
        self.next.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: CrateTransport<ResolvedAddress = SocketAddr>> Transport for MemberlistTransport<T> {
    type Stream = MemberlistStream<T::Connection>;

    fn local_addr(&self) -> SocketAddr {
        *self.inner.advertise_address()
    }

    fn try_send_to(&self, data: &[u8], to: SocketAddr) -> io::Result<()> {
        let permit = Arc::clone(&self.sending).try_acquire_owned();
        let permit = permit.map_err(|_| io::ErrorKind::WouldBlock)?;
        let mut payload = Payload::new(self.inner.header_overhead(), data.len());
        payload.data_mut().copy_from_slice(data);
        let inner = Arc::clone(&self.inner);
        self.runtime.spawn(async move {
            let _permit = permit;
            match timeout(SENDING_TIME, inner.send_to(&to, payload)).await {
                Ok(Ok(_)) => {}
                Ok(Err(error)) => debug!(target: "memberlist", addr = %to, %error, "datagram lost"),
                Err(_) => debug!(target: "memberlist", addr = %to, "datagram lost: too late"),
            }
        });
        Ok(())
    }

    async fn readable(&self) -> io::Result<()> {
        if self.next().is_some() {
            return Ok(());
        }
        let packet = self.packets.recv().await.map_err(closed)?;
        *self.next() = Some(packet);
        Ok(())
    }

    fn try_recv_from(&self, buf: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        let packet = self.next().take().or_else(|| self.packets.try_recv().ok());
        let (from, _, data) = packet.ok_or(io::ErrorKind::WouldBlock)?.into_components();
        let len = data.len().min(buf.len());
        if let (Some(buf), Some(data)) = (buf.get_mut(..len), data.get(..len)) {
            buf.copy_from_slice(data);
        }
        Ok((len, from))
    }

    async fn connect(&self, to: SocketAddr) -> io::Result<Self::Stream> {
        let deadline = <T::Runtime as RuntimeLite>::now() + CONNECT_MAX;
        let connection = self.inner.open(&to, deadline).await;
        connection.map(MemberlistStream::new).map_err(|error| io::Error::other(error.to_string()))
    }

    async fn accept(&self) -> io::Result<(Self::Stream, SocketAddr)> {
        let (from, connection) = self.streams.recv().await.map_err(closed)?;
        Ok((MemberlistStream::new(connection), from))
    }
}

fn closed(error: impl std::error::Error) -> io::Error {
    io::Error::new(io::ErrorKind::NotConnected, error.to_string())
}

/// A connection of the crate as a byte stream: written data is sent when flushed, and a write waits
/// for a read that has started.
pub struct MemberlistStream<C> {
    state: State<C>,
    /// Data received but not yet read by the caller.
    arrived: Vec<u8>,
    /// Whether the peer has closed its side.
    ended: bool,
    /// Whether our side is closed.
    shut: bool,
}

impl<C> std::fmt::Debug for MemberlistStream<C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MemberlistStream")
            .field("ended", &self.ended)
            .field("shut", &self.shut)
            .finish_non_exhaustive()
    }
}

enum State<C> {
    Idle(Option<Box<C>>),
    Busy(Pin<Box<dyn Future<Output = (Box<C>, Outcome)> + Send>>),
}

enum Outcome {
    Read(io::Result<Vec<u8>>),
    Written(io::Result<()>),
}

impl<C: memberlist::transport::Connection + 'static> MemberlistStream<C> {
    fn new(connection: C) -> Self {
        let state = State::Idle(Some(Box::new(connection)));
        Self { state, arrived: Vec::new(), ended: false, shut: false }
    }

    /// Waits until no read or write is in progress; returns the connection.
    fn poll_idle(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Box<C>>> {
        if let State::Busy(turn) = &mut self.state {
            let (connection, outcome) = ready!(turn.as_mut().poll(cx));
            self.state = State::Idle(Some(connection));
            match outcome {
                Outcome::Read(bytes) => {
                    self.arrived = bytes?;
                    self.ended = self.arrived.is_empty();
                }
                Outcome::Written(result) => result?,
            }
        }
        let State::Idle(connection) = &mut self.state else { return Poll::Pending };
        Poll::Ready(connection.take().ok_or_else(|| io::ErrorKind::NotConnected.into()))
    }

    fn rest(&mut self, connection: Box<C>) {
        self.state = State::Idle(Some(connection));
    }

    fn begin(&mut self, turn: impl Future<Output = (Box<C>, Outcome)> + Send + 'static) {
        self.state = State::Busy(Box::pin(turn));
    }
}

impl<C: memberlist::transport::Connection + 'static> AsyncRead for MemberlistStream<C> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        while self.arrived.is_empty() {
            let mut connection = ready!(self.poll_idle(cx))?;
            if !self.arrived.is_empty() || self.ended {
                self.rest(connection);
                break;
            }
            self.begin(async move {
                let mut bytes = vec![0; CHUNK_BYTES];
                let read = connection.read(&mut bytes).await.map(|len| {
                    bytes.truncate(len);
                    bytes
                });
                (connection, Outcome::Read(read))
            });
        }
        let len = self.arrived.len().min(buf.remaining());
        let rest = self.arrived.split_off(len);
        buf.put_slice(&std::mem::replace(&mut self.arrived, rest));
        Poll::Ready(Ok(()))
    }
}

impl<C: memberlist::transport::Connection + 'static> AsyncWrite for MemberlistStream<C> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let mut connection = ready!(self.poll_idle(cx))?;
        let bytes = buf.get(..CHUNK_BYTES).unwrap_or(buf).to_vec();
        let len = bytes.len();
        self.begin(async move {
            let written = match connection.write_all(&bytes).await {
                Ok(()) => connection.flush().await,
                error => error,
            };
            (connection, Outcome::Written(written))
        });
        Poll::Ready(Ok(len))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let connection = ready!(self.poll_idle(cx))?;
        self.rest(connection);
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut connection = ready!(self.poll_idle(cx))?;
        if self.shut {
            self.rest(connection);
            return Poll::Ready(Ok(()));
        }
        self.shut = true;
        self.begin(async move {
            let closed = connection.close().await;
            (connection, Outcome::Written(closed))
        });
        self.poll_flush(cx)
    }
}

/// Most datagrams being sent at a time.
const SENDING_MAX: usize = 1_024;
/// A datagram delayed longer is useless.
const SENDING_TIME: Duration = Duration::from_secs(2);
/// Time limit for a connection of the crate; the caller has a limit of its own.
const CONNECT_MAX: Duration = Duration::from_secs(10);
/// Most bytes read or written at a time.
const CHUNK_BYTES: usize = 16 * 1024;
