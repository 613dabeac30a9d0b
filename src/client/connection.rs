//! One connection: requests out, answers and records to whoever waits for them.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
    sync::{mpsc, oneshot},
    task::AbortHandle,
};

use super::Error;
use crate::{
    base::go_net,
    rpc::{
        FrameReader, RpcError, decode,
        protocol::{RESPONSE_BYTES_MAX, ResponseHeader, errors},
    },
};

/// Records held for whoever reads a stream; what comes beyond that is dropped and counted.
const RECORDS_MAX: usize = 8192;

pub(super) type Input = Box<dyn AsyncRead + Send + Unpin>;
type Output = Box<dyn AsyncWrite + Send + Unpin>;

/// An answer: the error text, and the body if the command has one.
pub(super) struct Reply {
    pub(super) error: String,
    pub(super) body: Vec<u8>,
}

/// Encoded records of one stream, and how many were lost.
pub(super) struct Records {
    pub(super) records: mpsc::Receiver<Vec<u8>>,
    pub(super) lost: Arc<AtomicU64>,
}

/// Who waits for a number.
enum Waiting {
    Reply {
        has_body: bool,
        reply: oneshot::Sender<Reply>,
    },
    Stream {
        started: Option<oneshot::Sender<Reply>>,
        records: mpsc::Sender<Vec<u8>>,
        lost: Arc<AtomicU64>,
    },
}

#[derive(Default)]
struct Shared {
    waiting: Mutex<HashMap<u64, Waiting>>,
    closed: AtomicBool,
}

pub(super) struct Connection {
    shared: Arc<Shared>,
    seq: AtomicU64,
    output: tokio::sync::Mutex<Output>,
    reader: AbortHandle,
    write_timeout: Duration,
}

impl Connection {
    /// Dials `addr`: `host:port`, or `unix:PATH`.
    pub(super) async fn dial(addr: &str, timeout: Duration) -> Result<Self, Error> {
        let dialed = tokio::time::timeout(timeout, dial(addr)).await;
        let (input, output) =
            dialed.unwrap_or_else(|_| Err(Error::Dial(format!("dial tcp {addr}: i/o timeout"))))?;
        let shared = Arc::new(Shared::default());
        let reader = tokio::spawn(read(input, Arc::clone(&shared))).abort_handle();
        Ok(Self {
            shared,
            seq: AtomicU64::new(0),
            output: tokio::sync::Mutex::new(output),
            reader,
            write_timeout: timeout,
        })
    }

    /// A fresh request number.
    pub(super) fn next_seq(&self) -> u64 {
        self.seq.fetch_add(1, Ordering::Relaxed)
    }

    /// Sends an encoded request and waits for its answer.
    pub(super) async fn call(
        &self,
        seq: u64,
        request: &[u8],
        has_body: bool,
    ) -> Result<Reply, Error> {
        let (reply, answer) = oneshot::channel();
        self.register(seq, Waiting::Reply { has_body, reply })?;
        self.send(request).await?;
        answer.await.map_err(|_| Error::Closed)
    }

    /// Sends an encoded request that opens a stream and waits until it is accepted.
    pub(super) async fn open(&self, seq: u64, request: &[u8]) -> Result<Records, Error> {
        let (started, answer) = oneshot::channel();
        let (sender, records) = mpsc::channel(RECORDS_MAX);
        let lost = Arc::new(AtomicU64::new(0));
        let waiting =
            Waiting::Stream { started: Some(started), records: sender, lost: Arc::clone(&lost) };
        self.register(seq, waiting)?;
        self.send(request).await?;
        let reply = answer.await.map_err(|_| Error::Closed)?;
        if !reply.error.is_empty() {
            return Err(Error::Agent(reply.error));
        }
        Ok(Records { records, lost })
    }

    /// Forgets a stream that the agent has stopped.
    pub(super) fn forget(&self, seq: u64) {
        self.shared.lock().remove(&seq);
    }

    fn register(&self, seq: u64, waiting: Waiting) -> Result<(), Error> {
        self.shared.lock().insert(seq, waiting);
        if self.shared.closed.load(Ordering::SeqCst) {
            self.shared.close();
            return Err(Error::Closed);
        }
        Ok(())
    }

    async fn send(&self, request: &[u8]) -> Result<(), Error> {
        let mut output = self.output.lock().await;
        let sent = tokio::time::timeout(self.write_timeout, async {
            output.write_all(request).await?;
            output.flush().await
        });
        match sent.await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => {
                self.shared.close();
                Err(Error::Closed)
            }
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

impl Shared {
    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<u64, Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Everyone who waits hears that the connection is over.
    fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
        self.lock().clear();
    }
}

async fn dial(addr: &str) -> Result<(Input, Output), Error> {
    if let Some(path) = addr.strip_prefix("unix:") {
        return dial_unix(path.strip_prefix("//").unwrap_or(path)).await;
    }
    let fail = |text: String| Error::Dial(format!("dial tcp{text}"));
    let (host, port) = go_net::split_host_port(addr).map_err(|text| fail(format!(": {text}")))?;
    let number: u16 =
        port.parse().map_err(|_| fail(format!(": lookup tcp/{port}: unknown port")))?;
    let host = if host.is_empty() { "127.0.0.1" } else { host };
    let found = tokio::net::lookup_host((host, number)).await;
    let found: Vec<_> =
        found.map_err(|_| fail(format!(": lookup {host}: no such host")))?.collect();
    let mut last = fail(format!(": lookup {host}: no such host"));
    for addr in found {
        match TcpStream::connect(addr).await {
            Ok(stream) => {
                // A delay of small requests is all that failing here costs.
                let _ = stream.set_nodelay(true);
                let (input, output) = stream.into_split();
                return Ok((Box::new(input), Box::new(output)));
            }
            Err(error) => {
                last = fail(format!(" {addr}: connect: {}", go_net::error_text(&error)));
            }
        }
    }
    Err(last)
}

#[cfg(unix)]
async fn dial_unix(path: &str) -> Result<(Input, Output), Error> {
    let stream = tokio::net::UnixStream::connect(path).await.map_err(|error| {
        Error::Dial(format!("dial unix {path}: connect: {}", go_net::error_text(&error)))
    })?;
    let (input, output) = stream.into_split();
    Ok((Box::new(input), Box::new(output)))
}

#[cfg(not(unix))]
async fn dial_unix(path: &str) -> Result<(Input, Output), Error> {
    Err(Error::Dial(format!("dial unix {path}: not supported here")))
}

async fn read(input: Input, shared: Arc<Shared>) {
    // The reason is of no use to the callers: Go's client tells them no more either.
    let _ = dispatch(FrameReader::new(input), &shared).await;
    shared.close();
}

async fn dispatch(mut frames: FrameReader<Input>, shared: &Shared) -> Result<(), RpcError> {
    loop {
        let Some(header) = frames.next(RESPONSE_BYTES_MAX).await? else { return Ok(()) };
        let ResponseHeader { seq, error } = decode(header)?;
        let has_body = match shared.lock().get(&seq) {
            // Go's agents send the body with an error too, except for this one.
            Some(Waiting::Reply { has_body, .. }) => *has_body && error != errors::AUTH_REQUIRED,
            Some(Waiting::Stream { started, .. }) => started.is_none(),
            None => false,
        };
        let body = match has_body {
            true => frames.next(RESPONSE_BYTES_MAX).await?.ok_or(RpcError::Truncated)?.to_vec(),
            false => Vec::new(),
        };
        shared.deliver(seq, Reply { error, body });
    }
}

impl Shared {
    fn deliver(&self, seq: u64, reply: Reply) {
        let mut waiting = self.lock();
        match waiting.remove(&seq) {
            // Whoever asked may have gone; then nobody misses the answer.
            Some(Waiting::Reply { reply: sender, .. }) => drop(sender.send(reply)),
            Some(Waiting::Stream { started: Some(started), records, lost }) => {
                if reply.error.is_empty() {
                    waiting.insert(seq, Waiting::Stream { started: None, records, lost });
                }
                drop(started.send(reply));
            }
            Some(Waiting::Stream { started: None, records, lost }) => {
                if records.try_send(reply.body).is_err() {
                    lost.fetch_add(1, Ordering::Relaxed);
                }
                waiting.insert(seq, Waiting::Stream { started: None, records, lost });
            }
            None => {}
        }
    }
}
