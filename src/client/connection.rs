//! One connection: sends requests, and delivers responses and records to their waiters.

use std::{
    collections::HashMap,
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
    sync::{
        mpsc::{self, error::TrySendError},
        oneshot,
    },
    task::AbortHandle,
};

use super::Error;
#[cfg(feature = "tls")]
use super::Tls;
use crate::{
    base::go_net,
    rpc::{
        self, FrameReader, RpcError, decode,
        protocol::{RESPONSE_BYTES_MAX, ResponseHeader, errors},
    },
    transport::{self, Network},
};

pub(super) type Input = Box<dyn AsyncRead + Send + Unpin>;
type Output = Box<dyn AsyncWrite + Send + Unpin>;

/// There is none.
#[cfg(not(feature = "tls"))]
type Tls = std::convert::Infallible;

/// A response: the error text, and the body if the command has one.
pub(super) struct Reply {
    pub(super) error: String,
    pub(super) body: Vec<u8>,
}

/// Encoded records of one stream, and how many were lost.
#[derive(Debug)]
pub(super) struct Records {
    pub(super) records: mpsc::Receiver<Vec<u8>>,
    /// Bytes of those that wait to be read.
    pub(super) waiting: Arc<AtomicUsize>,
    pub(super) lost: Arc<AtomicU64>,
}

impl Records {
    /// The next one; `None` once the connection is over. Cancel-safe.
    pub(super) async fn recv(&mut self) -> Option<Vec<u8>> {
        let record = self.records.recv().await?;
        self.waiting.fetch_sub(record.len(), Ordering::Relaxed);
        Some(record)
    }
}

/// The waiter for a sequence number.
enum Waiting {
    Reply {
        has_body: bool,
        reply: oneshot::Sender<Reply>,
    },
    Stream {
        started: Option<oneshot::Sender<Reply>>,
        sink: Sink,
    },
    /// A stopped stream; records already sent still arrive.
    Stopped,
}

/// Where the records of a stream go.
struct Sink {
    records: mpsc::Sender<Vec<u8>>,
    waiting: Arc<AtomicUsize>,
    lost: Arc<AtomicU64>,
    /// Whether a record is the last one; a query has one.
    is_last: fn(&[u8]) -> bool,
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

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let closed = self.shared.closed.load(Ordering::Relaxed);
        f.debug_struct("Connection").field("closed", &closed).finish_non_exhaustive()
    }
}

impl Connection {
    /// Dials `addr`, `host:port` or `unix:PATH`, and shakes hands by TLS if it is wanted.
    pub(super) async fn dial(
        addr: &str,
        timeout: Duration,
        tls: Option<&Tls>,
    ) -> Result<Self, Error> {
        let dialed = tokio::time::timeout(timeout, async {
            let (input, output) = dial(addr).await?;
            match tls {
                #[cfg(feature = "tls")]
                Some(tls) => tls.secure(input, output).await,
                #[cfg(not(feature = "tls"))]
                Some(never) => match *never {},
                None => Ok((input, output)),
            }
        });
        let dialed = dialed.await;
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

    /// An unused sequence number.
    pub(super) fn next_seq(&self) -> u64 {
        self.seq.fetch_add(1, Ordering::Relaxed)
    }

    /// Sends an encoded request and waits for its response.
    pub(super) async fn call(
        &self,
        seq: u64,
        request: &[u8],
        has_body: bool,
    ) -> Result<Reply, Error> {
        let (reply, answer) = oneshot::channel();
        self.register(seq, Waiting::Reply { has_body, reply })?;
        self.send(seq, request).await?;
        answer.await.map_err(|_| Error::Closed)
    }

    /// Sends an encoded request that opens a stream and waits until it is accepted.
    pub(super) async fn open(
        &self,
        seq: u64,
        request: &[u8],
        is_last: fn(&[u8]) -> bool,
    ) -> Result<Records, Error> {
        let (started, answer) = oneshot::channel();
        let (sender, records) = mpsc::channel(RECORDS_MAX);
        let records = Records { records, waiting: Arc::default(), lost: Arc::default() };
        let (waiting, lost) = (Arc::clone(&records.waiting), Arc::clone(&records.lost));
        let sink = Sink { records: sender, waiting, lost, is_last };
        self.register(seq, Waiting::Stream { started: Some(started), sink })?;
        self.send(seq, request).await?;
        let reply = answer.await.map_err(|_| Error::Closed)?;
        if !reply.error.is_empty() {
            return Err(Error::Agent(reply.error));
        }
        Ok(records)
    }

    /// Forgets a stream that the agent has stopped.
    pub(super) fn forget(&self, seq: u64) {
        if let Some(waiting) = self.shared.lock().get_mut(&seq) {
            *waiting = Waiting::Stopped;
        }
    }

    fn register(&self, seq: u64, waiting: Waiting) -> Result<(), Error> {
        self.shared.lock().insert(seq, waiting);
        if self.shared.closed.load(Ordering::SeqCst) {
            self.shared.close();
            return Err(Error::Closed);
        }
        Ok(())
    }

    async fn send(&self, seq: u64, request: &[u8]) -> Result<(), Error> {
        let mut sending = Sending { connection: self, seq, state: SendState::Waiting };
        let mut output = self.output.lock().await;
        if self.shared.closed.load(Ordering::SeqCst) {
            return Err(Error::Closed);
        }
        sending.state = SendState::Writing;
        let sent = tokio::time::timeout(self.write_timeout, async {
            output.write_all(request).await?;
            output.flush().await
        });
        match sent.await {
            Ok(Ok(())) => {
                sending.state = SendState::Done;
                Ok(())
            }
            Ok(Err(_)) | Err(_) => Err(Error::Closed),
        }
    }
}

/// A request being sent; cleans up if its caller is dropped.
struct Sending<'c> {
    connection: &'c Connection,
    seq: u64,
    state: SendState,
}

enum SendState {
    /// Another request is being written.
    Waiting,
    /// Part of it may have been written: the agent would not understand anything after it.
    Writing,
    Done,
}

impl Drop for Sending<'_> {
    fn drop(&mut self) {
        match self.state {
            SendState::Waiting => drop(self.connection.shared.lock().remove(&self.seq)),
            SendState::Writing => {
                self.connection.shared.close();
                self.connection.reader.abort();
            }
            SendState::Done => {}
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

    /// Fails all waiters.
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
    if addr.is_empty() {
        return Err(fail(": missing address".to_owned()));
    }
    let found = transport::resolve_async(Network::Tcp, addr).await;
    let found = found.map_err(|reason| fail(format!(": {reason}")))?;
    let mut first = None;
    for to in found.to_dial() {
        match TcpStream::connect(to).await {
            Ok(stream) => {
                rpc::tune(&stream);
                let (input, output) = stream.into_split();
                return Ok((Box::new(input), Box::new(output)));
            }
            Err(error) => {
                let reason = go_net::error_text(&error);
                first.get_or_insert(fail(format!(" {}: connect: {reason}", found.named())));
            }
        }
    }
    Err(first.unwrap_or_else(|| fail(format!(": lookup {addr}: no such host"))))
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
    // Callers get `Error::Closed` whatever the reason, as from Go's client.
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
            Some(Waiting::Stopped) => true,
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
            // The caller may have been dropped; then the response is not needed.
            Some(Waiting::Reply { reply: sender, .. }) => drop(sender.send(reply)),
            Some(Waiting::Stream { started: Some(started), sink }) => {
                if reply.error.is_empty() {
                    waiting.insert(seq, Waiting::Stream { started: None, sink });
                }
                drop(started.send(reply));
            }
            Some(Waiting::Stream { started: None, sink }) => {
                let last = (sink.is_last)(&reply.body);
                let next = match sink.put(reply.body) {
                    true => Waiting::Stream { started: None, sink },
                    false => Waiting::Stopped,
                };
                if !last {
                    waiting.insert(seq, next);
                }
            }
            Some(Waiting::Stopped) => drop(waiting.insert(seq, Waiting::Stopped)),
            None => {}
        }
    }
}

impl Sink {
    /// Queues a record, or counts it as lost; false: there is no reader any more.
    fn put(&self, record: Vec<u8>) -> bool {
        let bytes = record.len();
        let before = self.waiting.fetch_add(bytes, Ordering::Relaxed);
        let has_room = before == 0 || before.saturating_add(bytes) <= RECORDS_BYTES_MAX;
        let put =
            if has_room { self.records.try_send(record) } else { Err(TrySendError::Full(record)) };
        let Err(error) = put else { return true };
        self.waiting.fetch_sub(bytes, Ordering::Relaxed);
        let is_full = matches!(error, TrySendError::Full(_));
        self.lost.fetch_add(u64::from(is_full), Ordering::Relaxed);
        is_full
    }
}

/// Records queued for the reader of a stream, and their bytes unless it is a single one; further
/// ones are dropped and counted.
const RECORDS_MAX: usize = 8192;
const RECORDS_BYTES_MAX: usize = 64 << 20;

#[cfg(test)]
mod tests {
    use tokio::{io::AsyncReadExt, net::TcpListener};

    use super::*;
    use crate::rpc::encode;

    /// A connection and the agent's end of it.
    async fn pair() -> (Connection, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap().to_string();
        let dialed = Connection::dial(&addr, Duration::from_secs(60), None).await.unwrap();
        (dialed, listener.accept().await.unwrap().0)
    }

    /// Runs a call for a moment and drops it.
    async fn begin(call: impl Future<Output = Result<Reply, Error>>) {
        let pending = tokio::time::timeout(Duration::from_millis(50), call).await;
        assert!(pending.is_err(), "it cannot have ended");
    }

    async fn answer(agent: &mut TcpStream, seq: u64, body: &str) {
        let mut out = Vec::new();
        encode(&ResponseHeader { seq, error: String::new() }, &mut out);
        if !body.is_empty() {
            encode(&body, &mut out);
        }
        agent.write_all(&out).await.unwrap();
    }

    #[tokio::test]
    async fn half_a_request_closes_the_connection() {
        let (connection, _agent) = pair().await;
        let large = vec![0; 64 * 1024 * 1024];
        begin(connection.call(1, &large, false)).await;
        let next = connection.call(2, b"x", false).await;
        assert!(matches!(next, Err(Error::Closed)));
        assert!(connection.shared.lock().is_empty());
    }

    #[tokio::test]
    async fn call_dropped_before_it_was_sent_leaves_nothing() {
        let (connection, mut agent) = pair().await;
        let held = connection.output.lock().await;
        begin(connection.call(1, b"first", false)).await;
        drop(held);
        assert!(connection.shared.lock().is_empty());
        begin(connection.call(2, b"second", false)).await;
        let mut seen = [0; 6];
        agent.read_exact(&mut seen).await.unwrap();
        assert_eq!(&seen, b"second");
        // It was sent, so its response is still expected.
        assert_eq!(connection.shared.lock().len(), 1);
    }

    #[tokio::test]
    async fn streams_end_with_their_last_record_and_unread_records_are_dropped() {
        let (connection, mut agent) = pair().await;
        let is_last = |record: &[u8]| decode::<String>(record).is_ok_and(|record| record == "last");
        let (opened, ()) =
            tokio::join!(connection.open(1, b"x", is_last), answer(&mut agent, 1, ""));
        let mut records = opened.unwrap();
        answer(&mut agent, 1, "one").await;
        answer(&mut agent, 1, "last").await;
        assert_eq!(decode::<String>(&records.records.recv().await.unwrap()).unwrap(), "one");
        assert_eq!(decode::<String>(&records.records.recv().await.unwrap()).unwrap(), "last");
        assert!(records.records.recv().await.is_none());
        assert!(connection.shared.lock().is_empty());

        let never = |_: &[u8]| false;
        let (opened, ()) = tokio::join!(connection.open(2, b"x", never), answer(&mut agent, 2, ""));
        let lost = Arc::clone(&opened.unwrap().lost);
        answer(&mut agent, 2, "unread").await;
        answer(&mut agent, 2, "unread").await;
        // The connection stays in step.
        let (replied, ()) =
            tokio::join!(connection.call(3, b"x", true), answer(&mut agent, 3, "body"));
        assert_eq!(decode::<String>(&replied.unwrap().body).unwrap(), "body");
        assert_eq!(lost.load(Ordering::Relaxed), 0);
        assert!(matches!(connection.shared.lock().get(&2), Some(Waiting::Stopped)));
    }

    #[tokio::test]
    async fn records_that_wait_are_bounded_in_bytes_and_those_beyond_are_counted() {
        let (records, waiting) = mpsc::channel(RECORDS_MAX);
        let mut records_read =
            Records { records: waiting, waiting: Arc::default(), lost: Arc::default() };
        let sink = Sink {
            records,
            waiting: Arc::clone(&records_read.waiting),
            lost: Arc::clone(&records_read.lost),
            is_last: |_| false,
        };
        let lost = || sink.lost.load(Ordering::Relaxed);
        // One alone may be larger than all together.
        assert!(sink.put(vec![0; RECORDS_BYTES_MAX + 1]) && sink.put(vec![0]));
        assert_eq!((lost(), records_read.recv().await.unwrap().len()), (1, RECORDS_BYTES_MAX + 1));
        for _ in 0..65 {
            assert!(sink.put(vec![0; 1 << 20]));
        }
        assert_eq!(lost(), 2);
        assert_eq!(records_read.recv().await.unwrap().len(), 1 << 20);
        assert!(sink.put(vec![0; 1 << 20]));
        assert_eq!(lost(), 2);
        while records_read.waiting.load(Ordering::Relaxed) > 0 {
            records_read.recv().await.unwrap();
        }
        for _ in 0..RECORDS_MAX + 10 {
            assert!(sink.put(Vec::new()));
        }
        assert_eq!(lost(), 12);
        drop(records_read);
        assert!(!sink.put(vec![0]));
    }
}
