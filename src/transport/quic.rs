//! All traffic over QUIC: for clusters of Rust nodes. Go has no counterpart.
//!
//! There is one UDP socket, and one connection between two nodes, opened by either end when first
//! needed and closed by its idle timeout. Datagrams are sent as QUIC datagrams, or each in a stream
//! of its own if the path's MTU is too small; streams are bidirectional QUIC streams.

use std::{
    collections::HashMap,
    io,
    net::{SocketAddr, UdpSocket},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use quinn::{
    Connection, Endpoint, EndpointConfig, Incoming, RecvStream, SendStream, TransportConfig,
    crypto::rustls::{QuicClientConfig, QuicServerConfig},
};
use tokio::{
    io::Join,
    runtime::Handle,
    sync::{Mutex as AsyncMutex, Semaphore, mpsc, oneshot},
    time::timeout,
};
use tracing::debug;

use super::{Transport, rustls};

/// A QUIC endpoint on one UDP socket.
pub struct QuicTransport {
    local: SocketAddr,
    shared: Arc<Shared>,
    packets: Mutex<Packets>,
    streams: AsyncMutex<mpsc::Receiver<(QuicStream, SocketAddr)>>,
}

impl std::fmt::Debug for QuicTransport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("QuicTransport").field("local", &self.local).finish_non_exhaustive()
    }
}

/// Both directions of a bidirectional stream.
pub type QuicStream = Join<RecvStream, SendStream>;

struct Shared {
    endpoint: Endpoint,
    client: quinn::ClientConfig,
    server_name: String,
    peers: Mutex<HashMap<SocketAddr, Peer>>,
    packets: mpsc::Sender<(Bytes, SocketAddr)>,
    streams: mpsc::Sender<(QuicStream, SocketAddr)>,
    /// Limits the streams that carry one datagram each, in either direction.
    oversized: Arc<Semaphore>,
    runtime: Handle,
}

enum Peer {
    Open(Connection),
    Connecting { datagrams: Vec<Bytes>, waiters: Vec<oneshot::Sender<io::Result<Connection>>> },
}

struct Packets {
    queue: mpsc::Receiver<(Bytes, SocketAddr)>,
    /// A datagram received to find out whether there is one.
    next: Option<(Bytes, SocketAddr)>,
}

impl QuicTransport {
    /// Binds the socket. `server_name` must be in the certificates of all nodes: peers are known by
    /// address, which a certificate need not contain. Both configurations must allow TLS 1.3; set a
    /// protocol name (ALPN) of your own in both.
    ///
    /// Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// The address does not belong to this machine, the port is taken, or a configuration has no
    /// cipher suite for QUIC.
    pub fn bind(
        addr: SocketAddr,
        server_name: &str,
        client: Arc<rustls::ClientConfig>,
        server: Arc<rustls::ServerConfig>,
    ) -> io::Result<Self> {
        let mut transport = TransportConfig::default();
        transport.max_idle_timeout(Some(IDLE_MAX.try_into().map_err(io::Error::other)?));
        transport.datagram_receive_buffer_size(Some(CONNECTION_BUFFER_BYTES));
        transport.datagram_send_buffer_size(CONNECTION_BUFFER_BYTES);
        let transport = Arc::new(transport);
        let client = QuicClientConfig::try_from(client).map_err(io::Error::other)?;
        let mut client = quinn::ClientConfig::new(Arc::new(client));
        client.transport_config(Arc::clone(&transport));
        let server = QuicServerConfig::try_from(server).map_err(io::Error::other)?;
        let mut server = quinn::ServerConfig::with_crypto(Arc::new(server));
        server.transport_config(transport);
        let socket: UdpSocket = super::net::datagram_socket(addr)?.into();
        let runtime = Arc::new(quinn::TokioRuntime);
        let endpoint = Endpoint::new(EndpointConfig::default(), Some(server), socket, runtime)?;
        let local = endpoint.local_addr()?;
        let (packets, packet_queue) = mpsc::channel(PACKETS_MAX);
        let (streams, stream_queue) = mpsc::channel(STREAMS_MAX);
        let shared = Arc::new(Shared {
            endpoint: endpoint.clone(),
            client,
            server_name: server_name.to_owned(),
            peers: Mutex::default(),
            packets,
            streams,
            oversized: Arc::new(Semaphore::new(OVERSIZED_MAX)),
            runtime: Handle::current(),
        });
        tokio::spawn(listen(endpoint, Arc::clone(&shared)));
        let packets = Mutex::new(Packets { queue: packet_queue, next: None });
        Ok(Self { local, shared, packets, streams: AsyncMutex::new(stream_queue) })
    }

    fn packets(&self) -> MutexGuard<'_, Packets> {
        self.packets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for QuicTransport {
    fn drop(&mut self) {
        self.shared.endpoint.close(0_u32.into(), b"");
    }
}

impl Transport for QuicTransport {
    type Stream = QuicStream;

    fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// Sends over the existing connection. Without one, a few datagrams are queued until it is
    /// open.
    fn try_send_to(&self, data: &[u8], to: SocketAddr) -> io::Result<()> {
        let data = Bytes::copy_from_slice(data);
        let mut peers = self.shared.peers();
        match peers.get_mut(&to) {
            Some(Peer::Open(connection)) if connection.close_reason().is_none() => {
                self.shared.send(connection, data)
            }
            Some(Peer::Connecting { datagrams, .. }) if datagrams.len() >= WAITING_MAX => {
                Err(io::ErrorKind::WouldBlock.into())
            }
            Some(Peer::Connecting { datagrams, .. }) => {
                datagrams.push(data);
                Ok(())
            }
            _ => {
                self.shared.start_connecting(&mut peers, to, vec![data], Vec::new());
                Ok(())
            }
        }
    }

    async fn readable(&self) -> io::Result<()> {
        std::future::poll_fn(|cx| {
            let Packets { queue, next } = &mut *self.packets();
            if next.is_none() {
                *next = ready!(queue.poll_recv(cx));
            }
            Poll::Ready(Ok(()))
        })
        .await
    }

    fn try_recv_from(&self, buf: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        let Packets { queue, next } = &mut *self.packets();
        let packet = next.take().or_else(|| queue.try_recv().ok());
        let (data, from) = packet.ok_or(io::ErrorKind::WouldBlock)?;
        let len = data.len().min(buf.len());
        if let (Some(buf), Some(data)) = (buf.get_mut(..len), data.get(..len)) {
            buf.copy_from_slice(data);
        }
        Ok((len, from))
    }

    async fn connect(&self, to: SocketAddr) -> io::Result<QuicStream> {
        let connection = self.shared.connection(to).await?;
        let (send, recv) = connection.open_bi().await?;
        Ok(tokio::io::join(recv, send))
    }

    async fn accept(&self) -> io::Result<(QuicStream, SocketAddr)> {
        let accepted = self.streams.lock().await.recv().await;
        accepted.ok_or_else(|| io::ErrorKind::NotConnected.into())
    }
}

impl Shared {
    fn peers(&self) -> MutexGuard<'_, HashMap<SocketAddr, Peer>> {
        self.peers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The open connection to a peer, or a new one.
    async fn connection(self: &Arc<Self>, to: SocketAddr) -> io::Result<Connection> {
        let (waiter, opened) = oneshot::channel();
        {
            let mut peers = self.peers();
            match peers.get_mut(&to) {
                Some(Peer::Open(connection)) if connection.close_reason().is_none() => {
                    return Ok(connection.clone());
                }
                Some(Peer::Connecting { waiters, .. }) => {
                    waiters.retain(|waiter| !waiter.is_closed());
                    waiters.push(waiter);
                }
                _ => self.start_connecting(&mut peers, to, Vec::new(), vec![waiter]),
            }
        }
        opened.await.unwrap_or_else(|_| Err(io::ErrorKind::NotConnected.into()))
    }

    fn start_connecting(
        self: &Arc<Self>,
        peers: &mut HashMap<SocketAddr, Peer>,
        to: SocketAddr,
        datagrams: Vec<Bytes>,
        waiters: Vec<oneshot::Sender<io::Result<Connection>>>,
    ) {
        peers.insert(to, Peer::Connecting { datagrams, waiters });
        let shared = Arc::clone(self);
        self.runtime.spawn(async move {
            let connected = shared.dial(to).await;
            let waiting = match &connected {
                Ok(connection) => shared.peers().insert(to, Peer::Open(connection.clone())),
                Err(_) => shared.peers().remove(&to),
            };
            let Some(Peer::Connecting { datagrams, waiters }) = waiting else { return };
            for waiter in waiters {
                let copy = |error: &io::Error| io::Error::new(error.kind(), error.to_string());
                // A waiter that gave up does not need it.
                let _ = waiter.send(connected.as_ref().map(Clone::clone).map_err(copy));
            }
            match connected {
                Ok(connection) => {
                    for data in datagrams {
                        // Lost on failure, as datagrams may be.
                        let _ = shared.send(&connection, data);
                    }
                    shared.serve(connection, to).await;
                }
                Err(error) => debug!(target: "memberlist", addr = %to, %error, "no connection"),
            }
        });
    }

    async fn dial(&self, to: SocketAddr) -> io::Result<Connection> {
        let connecting = self
            .endpoint
            .connect_with(self.client.clone(), to, &self.server_name)
            .map_err(io::Error::other)?;
        Ok(timeout(HANDSHAKE_MAX, connecting).await??)
    }

    /// Sends a datagram, in a stream of its own if it is too large for a QUIC datagram on this
    /// path.
    fn send(&self, connection: &Connection, data: Bytes) -> io::Result<()> {
        if connection.max_datagram_size().is_some_and(|max| data.len() <= max) {
            return connection.send_datagram(data).map_err(io::Error::other);
        }
        let permit = Arc::clone(&self.oversized).try_acquire_owned();
        let permit = permit.map_err(|_| io::ErrorKind::WouldBlock)?;
        let connection = connection.clone();
        self.runtime.spawn(async move {
            let _permit = permit;
            let sending = async {
                let mut stream = connection.open_uni().await.ok()?;
                stream.write_all(&data).await.ok()?;
                stream.finish().ok()
            };
            // Lost if that takes too long, as datagrams may be.
            let _ = timeout(OVERSIZED_TIME, sending).await;
        });
        Ok(())
    }

    /// Receives from a peer until the connection is closed.
    async fn serve(self: Arc<Self>, connection: Connection, from: SocketAddr) {
        loop {
            tokio::select! {
                datagram = connection.read_datagram() => match datagram {
                    Ok(data) => self.deliver(data, from),
                    Err(_) => break,
                },
                stream = connection.accept_bi() => match stream {
                    // If the queue is full, dropping the stream refuses it.
                    Ok((send, recv)) => {
                        drop(self.streams.try_send((tokio::io::join(recv, send), from)));
                    }
                    Err(_) => break,
                },
                stream = connection.accept_uni() => match stream {
                    Ok(stream) => self.receive(stream, from),
                    Err(_) => break,
                },
            }
        }
        let mut peers = self.peers();
        if let Some(Peer::Open(last)) = peers.get(&from)
            && last.stable_id() == connection.stable_id()
        {
            peers.remove(&from);
        }
    }

    /// Reads a datagram that was sent in a stream of its own.
    fn receive(self: &Arc<Self>, mut stream: RecvStream, from: SocketAddr) {
        let Ok(permit) = Arc::clone(&self.oversized).try_acquire_owned() else { return };
        let shared = Arc::clone(self);
        self.runtime.spawn(async move {
            let _permit = permit;
            let reading = timeout(OVERSIZED_TIME, stream.read_to_end(DATAGRAM_BYTES_MAX));
            if let Ok(Ok(data)) = reading.await {
                shared.deliver(data.into(), from);
            }
        });
    }

    /// Queues a datagram for the engine; drops it if the queue is full, as a socket would.
    fn deliver(&self, data: Bytes, from: SocketAddr) {
        if self.packets.try_send((data, from)).is_err() {
            #[cfg(feature = "metrics")]
            metrics::counter!("memberlist.quic.dropped").increment(1);
            debug!(target: "memberlist", addr = %from, "datagram lost: the queue is full");
        }
    }
}

/// Accepts connections until the endpoint is closed; each has its own task from the first packet
/// on.
async fn listen(endpoint: Endpoint, shared: Arc<Shared>) {
    while let Some(incoming) = endpoint.accept().await {
        let open = endpoint.open_connections();
        if open >= CONNECTIONS_MAX {
            incoming.refuse();
            continue;
        }
        // From this number on, peers must prove their address.
        if open >= CONNECTIONS_UNPROVEN_MAX && incoming.may_retry() {
            // Fails only if a retry is not allowed.
            let _ = incoming.retry();
            continue;
        }
        tokio::spawn(welcome(incoming, Arc::clone(&shared)));
    }
}

async fn welcome(incoming: Incoming, shared: Arc<Shared>) {
    let Ok(Ok(connection)) = timeout(HANDSHAKE_MAX, incoming).await else { return };
    let from = connection.remote_address();
    let from = SocketAddr::new(from.ip().to_canonical(), from.port());
    {
        let mut peers = shared.peers();
        // The peer may have restarted and not know an earlier connection. Data that waits for our
        // own connection attempt continues to wait for it.
        if !matches!(peers.get(&from), Some(Peer::Connecting { .. })) {
            peers.insert(from, Peer::Open(connection.clone()));
        }
    }
    shared.serve(connection, from).await;
}

/// Most datagrams that wait for the engine.
const PACKETS_MAX: usize = 512;
/// Most streams that wait to be accepted.
const STREAMS_MAX: usize = 256;
/// Most datagrams that wait for a connection.
const WAITING_MAX: usize = 16;
/// Most open streams with one datagram each.
const OVERSIZED_MAX: usize = 256;
/// Time limit of such a stream: a datagram delayed longer is useless.
const OVERSIZED_TIME: Duration = Duration::from_secs(2);
/// The largest datagram, as with UDP.
const DATAGRAM_BYTES_MAX: usize = 65_536;
/// Most open connections; further peers are refused and may retry.
const CONNECTIONS_MAX: usize = 4_096;
/// An unused connection is closed soon: a restarted peer does not know it, and what we send on it
/// until then is lost.
const IDLE_MAX: Duration = Duration::from_secs(5);
/// Buffer for datagrams of one connection, in each direction.
const CONNECTION_BUFFER_BYTES: usize = 256 * 1024;
/// Most open connections to addresses that are not validated.
const CONNECTIONS_UNPROVEN_MAX: usize = 256;
/// Half of the default time limit of an exchange.
const HANDSHAKE_MAX: Duration = Duration::from_secs(5);
