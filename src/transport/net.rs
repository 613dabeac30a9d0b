//! Plain UDP and TCP: what Go peers speak.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::net::{TcpListener, TcpStream, UdpSocket};

use super::Transport;

/// Receive buffer asked of the kernel; halved until it agrees. Go: `udpRecvBufSize`.
const RECEIVE_BUFFER_BYTES: usize = 2 * 1024 * 1024;
/// Attempts to find a port that is free for TCP and UDP. Go: `NewMemberlist`.
const PORT_ATTEMPTS: usize = 10;
/// Connections waiting to be accepted.
const BACKLOG: i32 = 1024;

/// One UDP socket and one TCP listener on the same port.
#[derive(Debug)]
pub struct NetTransport {
    udp: UdpSocket,
    tcp: TcpListener,
    addr: SocketAddr,
}

impl NetTransport {
    /// Binds both sockets. With port 0 the system picks a TCP port that is free for UDP too.
    ///
    /// # Errors
    /// The address is in use or not ours.
    pub fn bind(addr: SocketAddr) -> io::Result<Self> {
        let mut attempt = 1;
        loop {
            match Self::bind_once(addr) {
                Err(error)
                    if addr.port() == 0
                        && error.kind() == io::ErrorKind::AddrInUse
                        && attempt < PORT_ATTEMPTS =>
                {
                    attempt += 1;
                }
                result => return result,
            }
        }
    }

    fn bind_once(addr: SocketAddr) -> io::Result<Self> {
        let listener = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
        listener.set_reuse_address(true)?;
        listener.set_nonblocking(true)?;
        listener.bind(&addr.into())?;
        listener.listen(BACKLOG)?;
        let tcp = TcpListener::from_std(listener.into())?;
        let bound = tcp.local_addr()?;

        let socket = Socket::new(Domain::for_address(addr), Type::DGRAM, Some(Protocol::UDP))?;
        socket.set_nonblocking(true)?;
        let mut size = RECEIVE_BUFFER_BYTES;
        while size > 0 && socket.set_recv_buffer_size(size).is_err() {
            size /= 2;
        }
        socket.bind(&bound.into())?;
        Ok(Self { udp: UdpSocket::from_std(socket.into())?, tcp, addr: bound })
    }
}

impl Transport for NetTransport {
    type Stream = TcpStream;

    fn local_addr(&self) -> SocketAddr {
        self.addr
    }

    fn try_send_to(&self, data: &[u8], to: SocketAddr) -> io::Result<()> {
        // Straight to the system: the runtime's idea of readiness is stale at the start, and a
        // datagram it held back would be lost.
        SockRef::from(&self.udp).send_to(data, &to.into()).map(drop)
    }

    async fn readable(&self) -> io::Result<()> {
        self.udp.readable().await
    }

    fn try_recv_from(&self, buf: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        let (len, from) = self.udp.try_recv_from(buf)?;
        Ok((len, canonical(from)))
    }

    async fn connect(&self, to: SocketAddr) -> io::Result<TcpStream> {
        let stream = TcpStream::connect(to).await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    async fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        let mut pause = Duration::from_millis(5);
        loop {
            match self.tcp.accept().await {
                Ok((stream, from)) => {
                    // A connection reset before we looked at it is no reason to stop accepting.
                    let _ = stream.set_nodelay(true);
                    return Ok((stream, canonical(from)));
                }
                Err(error) => {
                    tracing::error!(target: "memberlist", "Error accepting TCP connection: {error}");
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(Duration::from_secs(1));
                }
            }
        }
    }
}

/// A dual-stack socket reports IPv4 peers as v4-mapped.
fn canonical(addr: SocketAddr) -> SocketAddr {
    match addr.ip() {
        IpAddr::V4(_) => addr,
        IpAddr::V6(_) => SocketAddr::new(addr.ip().to_canonical(), addr.port()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn port_zero_gives_one_port_for_both_sockets() {
        let transport = NetTransport::bind(([127, 0, 0, 1], 0).into()).unwrap();
        assert_ne!(transport.local_addr().port(), 0);
        assert_eq!(transport.udp.local_addr().unwrap(), transport.tcp.local_addr().unwrap());
    }

    #[tokio::test]
    async fn datagrams_and_streams_carry_bytes_unchanged() {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let a = NetTransport::bind(([127, 0, 0, 1], 0).into()).unwrap();
        let b = NetTransport::bind(([127, 0, 0, 1], 0).into()).unwrap();
        a.try_send_to(b"\x00\xffping", b.local_addr()).unwrap();
        let mut buf = [0; 64];
        let (len, from) = loop {
            b.readable().await.unwrap();
            match b.try_recv_from(&mut buf) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                result => break result.unwrap(),
            }
        };
        assert_eq!((&buf[..len], from), (&b"\x00\xffping"[..], a.local_addr()));

        let (dialed, accepted) = tokio::join!(a.connect(b.local_addr()), b.accept());
        dialed.unwrap().write_all(b"state").await.unwrap();
        let mut text = Vec::new();
        accepted.unwrap().0.read_to_end(&mut text).await.unwrap();
        assert_eq!(text, b"state");
    }
}
