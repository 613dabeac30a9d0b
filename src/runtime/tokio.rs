//! The tokio runtime.

use std::{
    io,
    net::{SocketAddr, TcpListener, UdpSocket},
    pin::Pin,
    task::{Context, Poll, ready},
    time::Instant,
};

use socket2::SockRef;
use tokio::{
    io::Interest,
    net,
    runtime::{Builder, Handle},
    time::{Sleep, sleep_until},
};

use super::{Connecting, Datagrams, Listener, NetStream, Runtime, Task, Timer, options::prepare};

/// A tokio runtime with its time and I/O drivers enabled.
#[derive(Clone, Debug)]
pub struct TokioRuntime(Handle);

impl TokioRuntime {
    /// The runtime that the caller runs in, if any.
    pub fn current() -> Option<Self> {
        Handle::try_current().ok().map(Self)
    }
}

impl From<Handle> for TokioRuntime {
    fn from(handle: Handle) -> Self {
        Self(handle)
    }
}

/// Timers and sockets belong to the runtime in which they are created.
impl Runtime for TokioRuntime {
    fn spawn(&self, task: Task) {
        self.0.spawn(task);
    }

    fn block_on(&self, future: Task) -> io::Result<()> {
        Builder::new_current_thread().enable_all().build()?.block_on(future);
        Ok(())
    }

    fn timer(&self, at: Instant) -> Pin<Box<dyn Timer>> {
        Box::pin(sleep_until(at.into()))
    }

    fn datagrams(&self, socket: UdpSocket) -> io::Result<Box<dyn Datagrams>> {
        Ok(Box::new(net::UdpSocket::from_std(socket)?))
    }

    fn listener(&self, socket: TcpListener) -> io::Result<Box<dyn Listener>> {
        Ok(Box::new(net::TcpListener::from_std(socket)?))
    }

    fn connect(&self, to: SocketAddr) -> Connecting {
        Box::pin(async move { Ok(Box::new(dial(to).await?) as NetStream) })
    }
}

async fn dial(to: SocketAddr) -> io::Result<net::TcpStream> {
    let stream = net::TcpStream::connect(to).await?;
    prepare(SockRef::from(&stream))?;
    Ok(stream)
}

impl Timer for Sleep {
    fn reset(self: Pin<&mut Self>, at: Instant) {
        Sleep::reset(self, at.into());
    }
}

impl Datagrams for net::UdpSocket {
    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_recv_ready(cx)
    }

    fn try_recv_from(&self, buf: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        self.try_recv_from(buf)
    }

    fn try_read(&self, read: &mut dyn FnMut() -> io::Result<()>) -> Option<io::Result<()>> {
        Some(self.try_io(Interest::READABLE, read))
    }
}

impl Listener for net::TcpListener {
    fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<(NetStream, SocketAddr)>> {
        let (stream, from) = ready!(self.poll_accept(cx))?;
        // If the peer is already gone, the first read reports it.
        let _ = prepare(SockRef::from(&stream));
        Poll::Ready(Ok((Box::new(stream), from)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::options::KEEPALIVE;

    #[tokio::test]
    async fn streams_do_not_delay_and_are_kept_alive() {
        let socket = net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (dialled, accepted) = tokio::join!(dial(socket.local_addr().unwrap()), socket.accept());
        let (dialled, (accepted, _)) = (dialled.unwrap(), accepted.unwrap());
        prepare(SockRef::from(&accepted)).unwrap();
        for stream in [&dialled, &accepted] {
            assert!(stream.nodelay().unwrap());
            assert_eq!(SockRef::from(stream).tcp_keepalive_time().unwrap(), KEEPALIVE);
        }
    }
}
