//! smol: its executor, timers and reactor serve the whole process.

use std::{
    future::Future,
    io,
    net::{SocketAddr, TcpListener, TcpStream, UdpSocket},
    pin::Pin,
    task::{Context, Poll, ready},
    time::Instant,
};

use smol::Async;
use socket2::SockRef;

use super::{
    Connecting, Datagrams, Listener, NetStream, Runtime, Task, Timer, options::prepare,
    smol_stream::SmolStream,
};

/// The smol runtime.
#[derive(Clone, Copy, Debug, Default)]
pub struct SmolRuntime;

impl Runtime for SmolRuntime {
    fn spawn(&self, task: Task) {
        smol::spawn(task).detach();
    }

    fn block_on(&self, future: Task) -> io::Result<()> {
        smol::block_on(future);
        Ok(())
    }

    fn timer(&self, at: Instant) -> Pin<Box<dyn Timer>> {
        Box::pin(SmolTimer(smol::Timer::at(at)))
    }

    fn datagrams(&self, socket: UdpSocket) -> io::Result<Box<dyn Datagrams>> {
        Ok(Box::new(Async::new_nonblocking(socket)?))
    }

    fn listener(&self, socket: TcpListener) -> io::Result<Box<dyn Listener>> {
        Ok(Box::new(Async::new_nonblocking(socket)?))
    }

    fn connect(&self, to: SocketAddr) -> Connecting {
        Box::pin(async move {
            let stream = Async::<TcpStream>::connect(to).await?;
            prepare(SockRef::from(&stream))?;
            Ok(Box::new(SmolStream(stream)) as NetStream)
        })
    }
}

struct SmolTimer(smol::Timer);

impl Future for SmolTimer {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        Pin::new(&mut self.0).poll(cx).map(drop)
    }
}

impl Timer for SmolTimer {
    fn reset(mut self: Pin<&mut Self>, at: Instant) {
        self.0.set_at(at);
    }
}

impl Datagrams for Async<UdpSocket> {
    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_readable(cx)
    }

    fn try_recv_from(&self, buf: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        self.get_ref().recv_from(buf)
    }

    /// Readiness is not remembered.
    fn try_read(&self, read: &mut dyn FnMut() -> io::Result<()>) -> Option<io::Result<()>> {
        Some(read())
    }
}

impl Listener for Async<TcpListener> {
    fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<(NetStream, SocketAddr)>> {
        loop {
            match self.get_ref().accept() {
                Ok((stream, from)) => {
                    // If the peer is already gone, the first read reports it.
                    let _ = prepare(SockRef::from(&stream));
                    let stream = SmolStream(Async::new(stream)?);
                    return Poll::Ready(Ok((Box::new(stream), from)));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    ready!(self.poll_readable(cx))?;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{future::poll_fn, time::Duration};

    use ::tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;
    use crate::runtime::{blocking, sleep, timeout_at, yield_now};

    #[test]
    fn streams_carry_bytes_and_their_end() {
        smol::block_on(async {
            let socket = TcpListener::bind("127.0.0.1:0").unwrap();
            socket.set_nonblocking(true).unwrap();
            let addr = socket.local_addr().unwrap();
            let listener = SmolRuntime.listener(socket).unwrap();
            let mut dialled = SmolRuntime.connect(addr).await.unwrap();
            let (mut accepted, _) = poll_fn(|cx| listener.poll_accept(cx)).await.unwrap();
            let large = vec![7; 4 * 1024 * 1024];
            let sent = large.clone();
            let sending = smol::spawn(async move {
                dialled.write_all(&sent).await.unwrap();
                dialled.shutdown().await.unwrap();
                let mut back = Vec::new();
                dialled.read_to_end(&mut back).await.unwrap();
                back
            });
            let mut read = Vec::new();
            accepted.read_to_end(&mut read).await.unwrap();
            assert!(read == large);
            // Only the peer's half is closed.
            accepted.write_all(b"back").await.unwrap();
            drop(accepted);
            assert_eq!(sending.await, b"back");
        });
    }

    #[test]
    fn datagrams_wake_the_reader() {
        smol::block_on(async {
            let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
            socket.set_nonblocking(true).unwrap();
            let (peer, addr) =
                (UdpSocket::bind("127.0.0.1:0").unwrap(), socket.local_addr().unwrap());
            let datagrams = SmolRuntime.datagrams(socket).unwrap();
            for byte in 0..3 {
                let mut buf = [0; 8];
                let none = datagrams.try_recv_from(&mut buf).unwrap_err();
                assert_eq!(none.kind(), io::ErrorKind::WouldBlock);
                let sender = peer.try_clone().unwrap();
                let sending = smol::spawn(async move {
                    sleep(&SmolRuntime, Duration::from_millis(20)).await;
                    sender.send_to(&[byte], addr).unwrap();
                });
                poll_fn(|cx| datagrams.poll_readable(cx)).await.unwrap();
                let from = peer.local_addr().unwrap();
                assert_eq!(datagrams.try_recv_from(&mut buf).unwrap(), (1, from));
                assert_eq!(buf[0], byte);
                sending.await;
            }
        });
    }

    #[test]
    fn timers_end_and_can_be_set_anew() {
        smol::block_on(async {
            let now = Instant::now();
            let mut timer = SmolRuntime.timer(now + Duration::from_secs(3600));
            timer.as_mut().reset(now + Duration::from_millis(10));
            timer.await;
            assert!(now.elapsed() >= Duration::from_millis(10));
            let never = std::future::pending::<()>();
            assert_eq!(timeout_at(&SmolRuntime, now, never).await, None);
            assert_eq!(timeout_at(&SmolRuntime, now, async { 1 }).await, Some(1));
            yield_now().await;
            assert_eq!(blocking(|| 2).await.unwrap(), 2);
        });
    }
}
