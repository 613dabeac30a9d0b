//! One small task for each connection: it waits, seals and opens, so that the engine's task need
//! not.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
    time::{Instant, timeout_at},
};

use super::builder::entropy;
use crate::{
    base::Rng,
    swim::{StreamId, StreamInput},
    transport::{Connection, Transport},
    wire::{Role, StreamCodec, StreamDecoder},
};

/// Bytes that all inbound streams together may hold; beyond it the one that wants more is closed.
const INBOUND_BYTES_MAX: usize = 128 * 1024 * 1024;
/// Bytes read at once.
const READ_BYTES: usize = 16 * 1024;

/// News for the engine.
pub(super) struct FromStream {
    pub(super) id: StreamId,
    pub(super) input: StreamInput,
}

/// Orders for an accepted stream; when the sender is gone, it closes.
pub(super) enum ToStream {
    Reply { message: Vec<u8>, deadline: Instant },
}

/// What all inbound streams share.
#[derive(Clone)]
pub(super) struct Budget {
    bytes: Arc<AtomicUsize>,
    connections: Arc<Semaphore>,
}

impl Budget {
    pub(super) fn new(connections: usize) -> Self {
        Self { bytes: Arc::default(), connections: Arc::new(Semaphore::new(connections)) }
    }

    pub(super) fn connection(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.connections).try_acquire_owned().ok()
    }
}

/// A stream's part of the byte budget.
struct Share {
    bytes: Arc<AtomicUsize>,
    held: usize,
}

impl Share {
    /// Whether the stream may hold this much.
    fn resize(&mut self, held: usize) -> bool {
        let before = self.bytes.fetch_add(held, Ordering::Relaxed);
        self.bytes.fetch_sub(self.held, Ordering::Relaxed);
        let grown = held > self.held;
        self.held = held;
        !grown || before.saturating_add(held) <= INBOUND_BYTES_MAX
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.bytes.fetch_sub(self.held, Ordering::Relaxed);
    }
}

/// A connection to be opened.
pub(super) struct Dial {
    pub(super) id: StreamId,
    pub(super) to: SocketAddr,
    pub(super) message: Vec<u8>,
    pub(super) reply: bool,
    pub(super) deadline: Instant,
    pub(super) codec: StreamCodec,
}

/// Connects, sends, and reads one message if one is expected.
pub(super) async fn dial<T: Transport>(
    transport: Arc<T>,
    job: Dial,
    engine: mpsc::Sender<FromStream>,
) {
    let (id, to) = (job.id, job.to);
    let mut connected = false;
    let input = match timeout_at(job.deadline, exchange(&*transport, job, &mut connected)).await {
        Ok(Ok(input)) => input,
        Ok(Err(error)) => StreamInput::Failed { connected, error: go_text(connected, to, &error) },
        Err(_) => {
            let error = if connected {
                format!("read tcp {to}: i/o timeout")
            } else {
                format!("dial tcp {to}: i/o timeout")
            };
            StreamInput::Failed { connected, error }
        }
    };
    let _ = engine.send(FromStream { id, input }).await;
}

async fn exchange<T: Transport>(
    transport: &T,
    job: Dial,
    connected: &mut bool,
) -> io::Result<StreamInput> {
    let mut stream = transport.connect(job.to).await?;
    *connected = true;
    let mut bytes = Vec::new();
    job.codec.seal(&mut nonces()?, Role::Dialer, &job.message, &mut bytes);
    drop(job.message);
    stream.write_all(&bytes).await?;
    drop(bytes);
    if !job.reply {
        stream.shutdown().await?;
        return Ok(StreamInput::Sent);
    }
    let mut decoder = StreamDecoder::new(job.codec, Role::Dialer);
    read(&mut stream, &mut decoder, None).await
}

/// A connection that was accepted.
pub(super) struct Serve {
    pub(super) id: StreamId,
    pub(super) deadline: Instant,
    pub(super) codec: StreamCodec,
    pub(super) orders: mpsc::Receiver<ToStream>,
    pub(super) budget: Budget,
    pub(super) permit: OwnedSemaphorePermit,
}

/// Reads one message, and sends the engine's answer if it has one.
pub(super) async fn serve<C: Connection>(
    mut stream: C,
    mut job: Serve,
    engine: mpsc::Sender<FromStream>,
) {
    let _permit = job.permit;
    let id = job.id;
    let mut share = Share { bytes: Arc::clone(&job.budget.bytes), held: 0 };
    let mut decoder = StreamDecoder::new(job.codec.clone(), Role::Acceptor);
    let reading = read(&mut stream, &mut decoder, Some(&mut share));
    let input = match timeout_at(job.deadline, reading).await {
        Ok(Ok(input)) => input,
        Ok(Err(error)) => StreamInput::Failed { connected: true, error: error.to_string() },
        Err(_) => StreamInput::Failed { connected: true, error: "i/o timeout".into() },
    };
    let failed = matches!(input, StreamInput::Failed { .. });
    drop(decoder);
    if engine.send(FromStream { id, input }).await.is_err() || failed {
        return;
    }
    // The message is in the engine's hands now; nothing of it is held here any more.
    share.resize(0);
    let Some(ToStream::Reply { message, deadline }) = job.orders.recv().await else { return };
    let input = match timeout_at(deadline, answer(&mut stream, &job.codec, &message)).await {
        Ok(Ok(())) => StreamInput::Sent,
        Ok(Err(error)) => StreamInput::Failed { connected: true, error: error.to_string() },
        Err(_) => StreamInput::Failed { connected: true, error: "i/o timeout".into() },
    };
    let _ = engine.send(FromStream { id, input }).await;
}

async fn answer<C: Connection>(
    stream: &mut C,
    codec: &StreamCodec,
    message: &[u8],
) -> io::Result<()> {
    let mut bytes = Vec::new();
    codec.seal(&mut nonces()?, Role::Acceptor, message, &mut bytes);
    stream.write_all(&bytes).await?;
    stream.shutdown().await
}

/// Reads until a message is whole or cannot become one.
async fn read<C: Connection>(
    stream: &mut C,
    decoder: &mut StreamDecoder,
    mut share: Option<&mut Share>,
) -> io::Result<StreamInput> {
    let mut buf = vec![0; READ_BYTES];
    loop {
        let len = stream.read(&mut buf).await?;
        if len == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "EOF"));
        }
        match decoder.feed(buf.get(..len).unwrap_or_default()) {
            Ok(Some(message)) => return Ok(StreamInput::Message(message)),
            Ok(None) => {}
            Err(error) => return Ok(StreamInput::Broken(error)),
        }
        if let Some(share) = &mut share
            && !share.resize(decoder.buffered())
        {
            return Err(io::Error::other("too many bytes held for inbound streams"));
        }
    }
}

/// A generator for the nonces of one stream.
fn nonces() -> io::Result<Rng> {
    entropy().map(Rng::from_seed)
}

/// A connection error as Go words it: operators and scripts look for these.
fn go_text(connected: bool, to: SocketAddr, error: &io::Error) -> String {
    let reason = match error.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused",
        io::ErrorKind::ConnectionReset => "connection reset by peer",
        io::ErrorKind::HostUnreachable => "no route to host",
        io::ErrorKind::NetworkUnreachable => "network is unreachable",
        io::ErrorKind::UnexpectedEof => return "EOF".into(),
        _ => return error.to_string(),
    };
    if connected {
        format!("read tcp {to}: read: {reason}")
    } else {
        format!("dial tcp {to}: connect: {reason}")
    }
}
