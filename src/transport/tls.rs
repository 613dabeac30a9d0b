//! Plain UDP, and streams over TLS: for clusters of Rust nodes. Go has no counterpart.
//!
//! TLS protects only the streams, so a keyring is needed as well: it encrypts the datagrams, and
//! the streams a second time. The two configurations validate certificates; with a client verifier
//! in the server configuration both ends must present one.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use tokio::{sync::Mutex, task::JoinSet, time::timeout};
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};

use super::{Batch, BindError, NetStream, NetTransport, Transport, rustls};

/// [`NetTransport`] with TLS for its streams.
///
/// ```no_run
/// # use std::{net::SocketAddr, sync::Arc};
/// use ruserf::{Config, Serf, transport::{TlsTransport, rustls}};
///
/// # async fn start(
/// #     addr: SocketAddr, client: Arc<rustls::ClientConfig>, server: Arc<rustls::ServerConfig>,
/// # ) -> Result<(), Box<dyn std::error::Error>> {
/// let transport = TlsTransport::bind(addr, "node.serf".try_into()?, client, server)?;
/// let serf = Serf::builder(Config::lan("web-1")).start_on(transport).await?;
/// # Ok(())
/// # }
/// ```
pub struct TlsTransport {
    net: NetTransport,
    connector: TlsConnector,
    acceptor: TlsAcceptor,
    server_name: rustls::pki_types::ServerName<'static>,
    /// Connections in the TLS handshake. Only one task uses the lock.
    handshakes: Mutex<JoinSet<Option<Accepted>>>,
}

impl std::fmt::Debug for TlsTransport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TlsTransport").field("net", &self.net).finish_non_exhaustive()
    }
}

type Accepted = (TlsStream<NetStream>, SocketAddr);

impl TlsTransport {
    /// Binds both sockets as [`NetTransport::bind`] does. `server_name` must be in the certificates
    /// of all nodes: peers are known by address, which a certificate need not contain.
    ///
    /// Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// The address does not belong to this machine, or the port is taken.
    pub fn bind(
        addr: SocketAddr,
        server_name: rustls::pki_types::ServerName<'static>,
        client: Arc<rustls::ClientConfig>,
        server: Arc<rustls::ServerConfig>,
    ) -> Result<Self, BindError> {
        Ok(Self {
            net: NetTransport::bind(addr)?,
            connector: client.into(),
            acceptor: server.into(),
            server_name,
            handshakes: Mutex::default(),
        })
    }
}

impl Transport for TlsTransport {
    type Stream = TlsStream<NetStream>;

    fn local_addr(&self) -> SocketAddr {
        self.net.local_addr()
    }

    fn try_send_to(&self, data: &[u8], to: SocketAddr) -> io::Result<()> {
        self.net.try_send_to(data, to)
    }

    async fn readable(&self) -> io::Result<()> {
        self.net.readable().await
    }

    fn try_recv_from(&self, buf: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        self.net.try_recv_from(buf)
    }

    fn try_recv_batch(&self, batch: &mut Batch) -> io::Result<()> {
        self.net.try_recv_batch(batch)
    }

    fn try_send_batch(
        &self,
        packets: &[(SocketAddr, Vec<u8>)],
        refused: &mut dyn FnMut(SocketAddr, io::Error),
    ) {
        self.net.try_send_batch(packets, refused);
    }

    async fn connect(&self, to: SocketAddr) -> io::Result<Self::Stream> {
        let stream = self.net.connect(to).await?;
        Ok(self.connector.connect(self.server_name.clone(), stream).await?.into())
    }

    /// The next peer that has completed its handshake; slow ones do not delay others.
    async fn accept(&self) -> io::Result<Accepted> {
        let mut handshakes = self.handshakes.lock().await;
        loop {
            let room = handshakes.len() < HANDSHAKES_MAX;
            tokio::select! {
                // Failed handshakes are dropped, like broken streams.
                Some(done) = handshakes.join_next() => if let Ok(Some(accepted)) = done {
                    return Ok(accepted);
                },
                accepted = self.net.accept(), if room => {
                    let (stream, from) = accepted?;
                    let handshake = self.acceptor.accept(stream);
                    handshakes.spawn(async move {
                        let stream = timeout(HANDSHAKE_MAX, handshake).await.ok()?.ok()?;
                        Some((stream.into(), from))
                    });
                }
            }
        }
    }
}

/// Most handshakes in progress; further peers wait in the listener's backlog.
const HANDSHAKES_MAX: usize = 4_096;
/// Half of the default time limit of an exchange.
const HANDSHAKE_MAX: Duration = Duration::from_secs(5);
