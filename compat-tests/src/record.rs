//! A transport that records all bytes sent and received: each datagram, and each stream when it
//! ends.

use std::{
    fs::File,
    io::{self, Write},
    net::SocketAddr,
    path::Path,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
};

use ruserf::transport::{NetTransport, Transport};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The usual transport with a record: a JSON object a line, of `ours` (whether this node wrote it),
/// `kind` (packet, stream or reply: see [`crate::go::decode`]), `hex`, and the fields of the header
/// it was opened with.
pub struct Recording {
    inner: NetTransport,
    log: Arc<Log>,
}

impl Recording {
    /// Records the traffic of `inner` in a new file; each line also has the fields of `header`.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn start(inner: NetTransport, file: &Path, header: Value) -> io::Result<Self> {
        let file = Mutex::new(File::create(file)?);
        Ok(Self { inner, log: Arc::new(Log { file, header }) })
    }

    fn stream(&self, inner: Stream, dialed: bool) -> Recorded {
        Recorded {
            inner,
            log: Arc::clone(&self.log),
            dialed,
            read: Vec::new(),
            written: Vec::new(),
        }
    }
}

impl Transport for Recording {
    type Stream = Recorded;

    fn local_addr(&self) -> SocketAddr {
        self.inner.local_addr()
    }

    fn try_send_to(&self, data: &[u8], to: SocketAddr) -> io::Result<()> {
        self.log.write(true, "packet", data);
        self.inner.try_send_to(data, to)
    }

    async fn readable(&self) -> io::Result<()> {
        self.inner.readable().await
    }

    fn try_recv_from(&self, buf: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        let (len, from) = self.inner.try_recv_from(buf)?;
        self.log.write(false, "packet", &buf[..len]);
        Ok((len, from))
    }

    async fn connect(&self, to: SocketAddr) -> io::Result<Recorded> {
        Ok(self.stream(self.inner.connect(to).await?, true))
    }

    async fn accept(&self) -> io::Result<(Recorded, SocketAddr)> {
        let (stream, from) = self.inner.accept().await?;
        Ok((self.stream(stream, false), from))
    }
}

type Stream = <NetTransport as Transport>::Stream;

/// A stream of a [`Recording`].
pub struct Recorded {
    inner: Stream,
    log: Arc<Log>,
    dialed: bool,
    read: Vec<u8>,
    written: Vec<u8>,
}

impl AsyncRead for Recorded {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.inner).poll_read(context, buf);
        self.read.extend_from_slice(&buf.filled()[before..]);
        polled
    }
}

impl AsyncWrite for Recorded {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.inner).poll_write(context, data);
        if let Poll::Ready(Ok(written)) = polled {
            self.written.extend_from_slice(&data[..written]);
        }
        polled
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}

impl Drop for Recorded {
    fn drop(&mut self) {
        let (ours, theirs) = if self.dialed { ("stream", "reply") } else { ("reply", "stream") };
        self.log.write(true, ours, &self.written);
        self.log.write(false, theirs, &self.read);
    }
}

struct Log {
    file: Mutex<File>,
    header: Value,
}

impl Log {
    fn write(&self, ours: bool, kind: &str, data: &[u8]) {
        if data.is_empty() {
            return;
        }
        let mut line = self.header.clone();
        line["ours"] = json!(ours);
        line["kind"] = json!(kind);
        line["hex"] = json!(hex::encode(data));
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        // In one call, so that a killed node leaves no incomplete lines.
        let _ = file.write_all(format!("{line}\n").as_bytes());
    }
}
