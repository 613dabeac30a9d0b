//! Plain UDP and TCP, as used by Go nodes. Go: `memberlist/net_transport.go`.

use std::{
    fmt,
    future::poll_fn,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket},
    sync::Arc,
};

use socket2::{Domain, Protocol, SockRef, Socket, Type};

#[cfg(target_os = "linux")]
use std::cell::Cell;
#[cfg(target_os = "linux")]
use std::sync::atomic::{AtomicBool, Ordering};

use super::{NetStream, Transport, address::to_dial};
#[cfg(target_os = "linux")]
use super::{batch::Batch, many};
use crate::{
    base::error_texts,
    runtime::{self, Datagrams, Listener, Runtime},
};

/// One UDP and one TCP socket on the same port.
pub struct NetTransport {
    tcp: Box<dyn Listener>,
    udp: Box<dyn Datagrams>,
    /// The UDP socket again: reads and writes do not wait for the runtime to report readiness.
    direct: UdpSocket,
    runtime: Arc<dyn Runtime>,
    local: SocketAddr,
    /// Whether the system accepts many datagrams in one call.
    #[cfg(target_os = "linux")]
    takes_many: AtomicBool,
    /// Whether the sockets are IPv6; bound to an unspecified address they serve IPv4, too.
    is_ipv6: bool,
}

impl std::fmt::Debug for NetTransport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NetTransport").field("local", &self.local).finish_non_exhaustive()
    }
}

/// Which socket could not be bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SocketKind {
    /// The TCP listener.
    Tcp,
    /// The UDP socket.
    Udp,
}

impl fmt::Display for SocketKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
        })
    }
}

/// A socket could not be bound, e.g. because another program uses the port.
#[derive(Debug)]
pub struct BindError {
    /// The socket that could not be bound.
    pub kind: SocketKind,
    /// Address that was requested.
    pub addr: SocketAddr,
    /// The system's error.
    pub source: io::Error,
}

error_texts! {
    BindError {
        Self { kind, addr, source } => "failed to start {kind} listener on {:?} port {}: {source}",
            addr.ip().to_string(), addr.port();
    }
}

// No `source`: the text above contains it.
impl std::error::Error for BindError {}

impl NetTransport {
    /// Binds both sockets. With port 0 the system picks one for TCP, and UDP gets the same; if its
    /// UDP port is taken, another one is tried, up to ten times.
    ///
    /// Must be called inside a tokio runtime, or with the feature `smol`.
    ///
    /// # Errors
    /// The address does not belong to this machine, the port is taken, or there is no runtime.
    pub fn bind(addr: SocketAddr) -> Result<Self, BindError> {
        let no_runtime = || io::Error::other("there is no runtime");
        let runtime = runtime::current().ok_or_else(no_runtime);
        Self::bind_on(addr, runtime.map_err(failed(SocketKind::Tcp, addr))?)
    }

    /// As [`NetTransport::bind`], on sockets of a given runtime.
    ///
    /// # Errors
    /// The address does not belong to this machine, or the port is taken.
    pub fn bind_on(addr: SocketAddr, runtime: Arc<dyn Runtime>) -> Result<Self, BindError> {
        let mut attempt = 1;
        loop {
            match Self::bind_once(addr, &runtime) {
                Err(error)
                    if addr.port() == 0
                        && error.kind == SocketKind::Udp
                        && error.source.kind() == io::ErrorKind::AddrInUse
                        && attempt < BIND_ATTEMPTS_MAX =>
                {
                    attempt += 1;
                }
                result => return result,
            }
        }
    }

    fn bind_once(addr: SocketAddr, runtime: &Arc<dyn Runtime>) -> Result<Self, BindError> {
        let tcp = bind_tcp(addr).and_then(|tcp| Ok((tcp.local_addr()?, runtime.listener(tcp)?)));
        let (local, tcp) = tcp.map_err(failed(SocketKind::Tcp, addr))?;
        let is_ipv6 = local.is_ipv6();
        let addr = SocketAddr::new(addr.ip(), local.port());
        let udp = bind_udp(addr).and_then(|udp| Ok((runtime.datagrams(udp.try_clone()?)?, udp)));
        let (udp, direct) = udp.map_err(failed(SocketKind::Udp, addr))?;
        // As requested: `0.0.0.0` is not shown as `::`.
        Ok(Self {
            tcp,
            udp,
            direct,
            runtime: runtime.clone(),
            local: addr,
            #[cfg(target_os = "linux")]
            takes_many: AtomicBool::new(true),
            is_ipv6,
        })
    }

    /// `WouldBlock` says that the socket is empty, also beside datagrams: a batch that is not full
    /// spares the call that would find nothing.
    #[cfg(target_os = "linux")]
    fn recv_many(&self, batch: &mut Batch) -> io::Result<()> {
        let called = Cell::new(false);
        let mut read = || {
            called.set(true);
            many::receive(&self.direct, self.is_ipv6, batch)?;
            if batch.is_full() { Ok(()) } else { Err(io::ErrorKind::WouldBlock.into()) }
        };
        let result = self.udp.try_read(&mut read);
        match result {
            // The runtime does not know yet what is there all the same: it must not be late.
            Some(_) if !called.get() => read(),
            Some(result) => result,
            None => batch.fill(|buf| self.try_recv_from(buf)),
        }
    }

    /// Converts an address for the socket: an IPv6 socket accepts IPv4 addresses only in mapped
    /// form.
    fn to_socket(&self, to: SocketAddr) -> SocketAddr {
        match to.ip() {
            IpAddr::V4(ip) if self.is_ipv6 => {
                SocketAddr::new(ip.to_ipv6_mapped().into(), to.port())
            }
            IpAddr::V4(_) | IpAddr::V6(_) => to,
        }
    }
}

impl Transport for NetTransport {
    type Stream = NetStream;

    fn local_addr(&self) -> SocketAddr {
        self.local
    }

    fn try_send_to(&self, data: &[u8], to: SocketAddr) -> io::Result<()> {
        self.direct.send_to(data, self.to_socket(to)).map(drop)
    }

    async fn readable(&self) -> io::Result<()> {
        poll_fn(|cx| self.udp.poll_readable(cx)).await
    }

    fn try_recv_from(&self, buf: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        let (len, from) = match self.direct.recv_from(buf) {
            // Through the runtime, so that it clears its readiness state.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.udp.try_recv_from(buf)?
            }
            result => result?,
        };
        Ok((len, SocketAddr::new(from.ip().to_canonical(), from.port())))
    }

    #[cfg(target_os = "linux")]
    fn try_recv_batch(&self, batch: &mut Batch) -> io::Result<()> {
        if !self.takes_many.load(Ordering::Relaxed) {
            return batch.fill(|buf| self.try_recv_from(buf));
        }
        match self.recv_many(batch) {
            Err(error) if is_unknown_call(&error) => {
                self.takes_many.store(false, Ordering::Relaxed);
                batch.fill(|buf| self.try_recv_from(buf))
            }
            result => result,
        }
    }

    #[cfg(target_os = "linux")]
    fn try_send_batch(
        &self,
        mut packets: &[(SocketAddr, Vec<u8>)],
        refused: &mut dyn FnMut(SocketAddr, io::Error),
    ) {
        while let Some(((to, data), others)) = packets.split_first() {
            let many = !others.is_empty() && self.takes_many.load(Ordering::Relaxed);
            let sent = match many {
                true => many::send(&self.direct, packets, |to| self.to_socket(to)),
                false => self.try_send_to(data, *to).map(|()| 1),
            };
            match sent {
                Ok(count) => packets = packets.get(count.max(1)..).unwrap_or_default(),
                Err(error) if many && is_unknown_call(&error) => {
                    self.takes_many.store(false, Ordering::Relaxed);
                }
                Err(error) => {
                    refused(*to, error);
                    packets = others;
                }
            }
        }
    }

    async fn connect(&self, to: SocketAddr) -> io::Result<NetStream> {
        let mut first = None;
        for addr in to_dial(to) {
            match self.runtime.connect(addr).await {
                Ok(stream) => return Ok(stream),
                Err(error) => first = first.or(Some(error)),
            }
        }
        Err(first.unwrap_or_else(|| io::ErrorKind::AddrNotAvailable.into()))
    }

    async fn accept(&self) -> io::Result<(NetStream, SocketAddr)> {
        let (stream, from) = poll_fn(|cx| self.tcp.poll_accept(cx)).await?;
        Ok((stream, SocketAddr::new(from.ip().to_canonical(), from.port())))
    }
}

/// A kernel that has no such call, or a filter around it that does not let it through.
#[cfg(target_os = "linux")]
fn is_unknown_call(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::Unsupported
}

fn failed(kind: SocketKind, addr: SocketAddr) -> impl Fn(io::Error) -> BindError {
    move |source| BindError { kind, addr, source }
}

/// Listens for streams. An unspecified address of either family covers both.
#[cfg(feature = "agent")]
pub(crate) fn listen(addr: SocketAddr) -> io::Result<tokio::net::TcpListener> {
    tokio::net::TcpListener::from_std(bind_tcp(addr)?)
}

fn bind_tcp(addr: SocketAddr) -> io::Result<TcpListener> {
    on_both_families(addr, bind_tcp_as_is)
}

fn bind_tcp_as_is(addr: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    // As in Go: a restart must not wait for connections of the previous run.
    #[cfg(not(windows))]
    socket.set_reuse_address(true)?;
    both_families(&socket, addr)?;
    socket.bind(&addr.into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

fn bind_udp(addr: SocketAddr) -> io::Result<UdpSocket> {
    Ok(on_both_families(addr, datagram_socket)?.into())
}

/// A bound, non-blocking datagram socket with large buffers.
pub(super) fn datagram_socket(addr: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(addr), Type::DGRAM, Some(Protocol::UDP))?;
    both_families(&socket, addr)?;
    socket.bind(&addr.into())?;
    socket.set_nonblocking(true)?;
    widen(&socket);
    Ok(socket)
}

/// Binds `0.0.0.0` as `::`, so that one socket serves both families, unless the system has no IPv6.
/// Go: `favoriteAddrFamily`.
fn on_both_families<T>(
    addr: SocketAddr,
    bind: impl Fn(SocketAddr) -> io::Result<T>,
) -> io::Result<T> {
    if addr.ip() != IpAddr::V4(Ipv4Addr::UNSPECIFIED) {
        return bind(addr);
    }
    let both = bind(SocketAddr::from((Ipv6Addr::UNSPECIFIED, addr.port())));
    match both {
        Err(error) if error.kind() != io::ErrorKind::AddrInUse => bind(addr),
        both => both,
    }
}

/// `::` covers both families, whatever the system's default.
fn both_families(socket: &Socket, addr: SocketAddr) -> io::Result<()> {
    if addr.ip() == IpAddr::V6(Ipv6Addr::UNSPECIFIED) {
        socket.set_only_v6(false)?;
    }
    Ok(())
}

/// Requests a large receive buffer and accepts what the system grants. Go: `setUDPRecvBuf`.
fn widen(socket: &Socket) {
    let mut size = RECEIVE_BUFFER_BYTES;
    while size > 0 && SockRef::from(socket).set_recv_buffer_size(size).is_err() {
        size /= 2;
    }
}

/// Go: `udpRecvBufSize`.
const RECEIVE_BUFFER_BYTES: usize = 2 * 1024 * 1024;
/// Go: the limit in `memberlist.go: newMemberlist`.
const BIND_ATTEMPTS_MAX: u32 = 10;
/// Most connections that the kernel queues until they are accepted.
const BACKLOG: i32 = 1024;

#[cfg(all(test, feature = "tokio"))]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;
    use crate::transport::batch::Batch;

    fn bind(addr: &str) -> NetTransport {
        NetTransport::bind(addr.parse().unwrap()).unwrap()
    }

    #[tokio::test]
    async fn both_sockets_get_the_port_that_the_system_picked() {
        let transport = bind("127.0.0.1:0");
        assert_ne!(transport.local_addr().port(), 0);
        assert_eq!(transport.direct.local_addr().unwrap(), transport.local_addr());
        assert!(std::net::TcpStream::connect(transport.local_addr()).is_ok());
    }

    #[tokio::test]
    async fn taken_port_is_refused_with_the_kind_of_socket() {
        let first = bind("127.0.0.1:0");
        let error = NetTransport::bind(first.local_addr()).err().unwrap();
        assert_eq!(error.kind, SocketKind::Tcp);
        let port = first.local_addr().port();
        let start = format!("failed to start TCP listener on \"127.0.0.1\" port {port}: ");
        assert!(error.to_string().starts_with(&start), "{error}");
    }

    #[tokio::test]
    async fn datagram_is_there_before_the_runtime_notices() {
        let (a, b) = (bind("127.0.0.1:0"), bind("127.0.0.1:0"));
        let mut buf = [0; 16];
        assert_eq!(
            a.try_recv_from(&mut buf).err().map(|error| error.kind()),
            Some(io::ErrorKind::WouldBlock)
        );
        b.try_send_to(b"hello", a.local_addr()).unwrap();
        // No await in between: loopback has already delivered it.
        assert_eq!(a.try_recv_from(&mut buf).unwrap(), (5, b.local_addr()));
        b.try_send_to(b"again", a.local_addr()).unwrap();
        a.readable().await.unwrap();
        assert_eq!(a.try_recv_from(&mut buf).unwrap(), (5, b.local_addr()));
    }

    /// Many at once, and the runtime still says when the next one comes.
    #[tokio::test]
    async fn datagrams_come_and_go_in_batches() {
        for addr in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(a) = NetTransport::bind(addr.parse().unwrap()) else {
                continue; // A system without IPv6.
            };
            let b = bind(addr);
            let mut batch = Batch::new();
            for round in 1..=3_u8 {
                let (a_addr, b_addr) = (a.local_addr(), b.local_addr());
                let packets: Vec<_> = (0..40).map(|n| (a_addr, vec![round, n])).collect();
                b.try_send_batch(&packets, &mut |to, error| panic!("{to}: {error}"));
                a.readable().await.unwrap();
                let mut received = Vec::new();
                while received.len() < packets.len() {
                    batch.clear();
                    let result = a.try_recv_batch(&mut batch);
                    assert!(!batch.is_empty(), "{result:?} after {}", received.len());
                    assert!(batch.iter().all(|(_, from)| from == b_addr));
                    received.extend(batch.iter().map(|(data, _)| data.to_vec()));
                }
                assert!(packets.iter().map(|(_, data)| data).eq(&received));
                batch.clear();
                let none = a.try_recv_batch(&mut batch).unwrap_err();
                assert_eq!((none.kind(), batch.is_empty()), (io::ErrorKind::WouldBlock, true));
                // It is not taken for ready any more: a loop would be busy.
                let soon = std::time::Duration::from_millis(20);
                assert!(tokio::time::timeout(soon, a.readable()).await.is_err());
            }
        }
    }

    #[tokio::test]
    async fn a_datagram_that_is_refused_keeps_no_other_back() {
        let (a, b) = (bind("127.0.0.1:0"), bind("127.0.0.1:0"));
        let to = a.local_addr();
        let (wrong, large) = ("[::1]:9".parse().unwrap(), vec![0; 70_000]);
        let packets = [(to, vec![1]), (wrong, vec![2]), (to, vec![3]), (to, large), (to, vec![5])];
        let mut refused = Vec::new();
        b.try_send_batch(&packets, &mut |to, _| refused.push(to));
        assert_eq!(refused, [wrong, to]);
        let mut batch = Batch::new();
        a.readable().await.unwrap();
        let _ = a.try_recv_batch(&mut batch);
        let received: Vec<_> = batch.iter().map(|(data, _)| data[0]).collect();
        assert_eq!(received, [1, 3, 5]);
    }

    #[tokio::test]
    async fn without_the_calls_for_many_datagrams_they_go_one_by_one() {
        let (a, b) = (bind("127.0.0.1:0"), bind("127.0.0.1:0"));
        #[cfg(target_os = "linux")]
        for transport in [&a, &b] {
            transport.takes_many.store(false, Ordering::Relaxed);
        }
        let packets = [(a.local_addr(), vec![1]), (a.local_addr(), vec![2])];
        b.try_send_batch(&packets, &mut |to, error| panic!("{to}: {error}"));
        a.readable().await.unwrap();
        let mut batch = Batch::new();
        assert_eq!(a.try_recv_batch(&mut batch).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        assert!(batch.iter().map(|(data, _)| data).eq([[1], [2]]));
    }

    #[tokio::test]
    async fn ipv4_peers_of_an_ipv6_socket_look_like_ipv4() {
        let Ok(six) = NetTransport::bind("[::]:0".parse().unwrap()) else {
            return; // A system without IPv6.
        };
        let four = bind("127.0.0.1:0");
        let to = SocketAddr::from(([127, 0, 0, 1], six.local_addr().port()));
        four.try_send_to(b"x", to).unwrap();
        six.readable().await.unwrap();
        let (_, from) = six.try_recv_from(&mut [0; 4]).unwrap();
        assert_eq!(from, four.local_addr());
        six.try_send_to(b"y", from).unwrap();
        four.readable().await.unwrap();
        assert_eq!(four.try_recv_from(&mut [0; 4]).unwrap(), (1, to));
    }

    #[tokio::test]
    async fn the_unspecified_address_of_ipv4_serves_both_families() {
        if NetTransport::bind("[::1]:0".parse().unwrap()).is_err() {
            return; // A system without IPv6.
        }
        let all = bind("0.0.0.0:0");
        assert!(all.local_addr().is_ipv4());
        let port = all.local_addr().port();
        for ip in ["127.0.0.1", "[::1]"] {
            let peer = bind(&format!("{ip}:0"));
            let to: SocketAddr = format!("{ip}:{port}").parse().unwrap();
            peer.try_send_to(b"x", to).unwrap();
            all.readable().await.unwrap();
            let (_, from) = all.try_recv_from(&mut [0; 4]).unwrap();
            assert_eq!(from, peer.local_addr());
            all.try_send_to(b"y", from).unwrap();
            peer.readable().await.unwrap();
            assert_eq!(peer.try_recv_from(&mut [0; 4]).unwrap(), (1, to));
            let (dialled, accepted) = tokio::join!(peer.connect(to), all.accept());
            assert_eq!(accepted.unwrap().1.ip(), to.ip());
            drop(dialled.unwrap());
        }
    }

    #[tokio::test]
    async fn streams_carry_bytes_both_ways() {
        let (a, b) = (bind("127.0.0.1:0"), bind("127.0.0.1:0"));
        let (dialled, accepted) = tokio::join!(b.connect(a.local_addr()), a.accept());
        let (mut dialled, (mut accepted, _)) = (dialled.unwrap(), accepted.unwrap());
        dialled.write_all(b"ask").await.unwrap();
        let mut buf = [0; 3];
        accepted.read_exact(&mut buf).await.unwrap();
        assert_eq!(&buf, b"ask");
    }
}
