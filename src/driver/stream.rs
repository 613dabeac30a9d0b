//! One task per TCP stream: it waits for the peer, so that the engine's task never does.

use std::{io, net::SocketAddr, sync::Arc};

use bytes::Bytes;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot},
    time::{Instant as TokioInstant, timeout_at},
};

use super::{metrics, task::Internal};
use crate::{
    base::Rng,
    swim::{StreamId, StreamInput},
    transport::{Connection, Transport},
    wire::{Role, StreamCodec, StreamDecoder},
};

/// What every stream task needs.
pub(super) struct StreamTask {
    pub(super) id: StreamId,
    pub(super) codec: StreamCodec,
    /// For the nonces.
    pub(super) rng: Rng,
    /// End of the whole exchange, unless the engine's reply sets a later one.
    pub(super) deadline: TokioInstant,
    pub(super) engine: mpsc::Sender<Internal>,
}

/// The engine's answer on an accepted stream.
pub(super) struct Reply {
    pub(super) message: Bytes,
    pub(super) deadline: TokioInstant,
}

/// Memory that inbound streams hold together, in KiB: a peer cannot make us hold more by opening
/// more connections. What is below the free share needs no permit, so that pings and user
/// messages pass while syncs wait.
#[derive(Clone)]
pub(super) struct Budget(Arc<Semaphore>);

impl Budget {
    pub(super) fn new() -> Self {
        Self::of_kib(BUDGET_KIB)
    }

    pub(super) fn of_kib(kib: usize) -> Self {
        Self(Arc::new(Semaphore::new(kib)))
    }
}

/// One stream's part of the [`Budget`]; given back when dropped.
pub(super) struct Share {
    budget: Budget,
    permit: Option<OwnedSemaphorePermit>,
}

impl Share {
    fn new(budget: Budget) -> Self {
        Self { budget, permit: None }
    }

    /// Waits until the stream may hold `bytes`.
    async fn grow_to(&mut self, bytes: usize) {
        let wanted = bytes.saturating_sub(FREE_BYTES).div_ceil(1024);
        let held = self.permit.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        let Ok(missing) = u32::try_from(wanted.saturating_sub(held)) else { return };
        if missing == 0 {
            return;
        }
        // The semaphore is never closed.
        let Ok(more) = self.budget.0.clone().acquire_many_owned(missing).await else { return };
        match &mut self.permit {
            Some(permit) => permit.merge(more),
            None => self.permit = Some(more),
        }
    }
}

impl StreamTask {
    /// Reads the request of a peer that connected, hands it over, and sends the reply.
    pub(super) async fn serve<S: Connection>(
        mut self,
        mut stream: S,
        budget: Budget,
        reply: oneshot::Receiver<Reply>,
    ) {
        let mut share = Share::new(budget);
        let mut decoder = StreamDecoder::new(self.codec.clone(), Role::Acceptor);
        let input = self.receive(&mut stream, &mut decoder, Some(&mut share)).await;
        drop(decoder);
        let failed = matches!(input, StreamInput::Failed { .. });
        self.hand_over(input, Some(share)).await;
        if failed {
            return;
        }
        // The engine answers at once or closes, which ends this task.
        let end = match timeout_at(self.deadline, reply).await {
            Ok(Ok(reply)) => {
                self.deadline = reply.deadline;
                let mut sealed = Vec::new();
                self.codec.seal(&mut self.rng, Role::Acceptor, &reply.message, &mut sealed);
                drop(reply.message);
                match self.send(&mut stream, &sealed).await {
                    Ok(()) => StreamInput::Sent,
                    Err(error) => failure(true, &error),
                }
            }
            Ok(Err(_)) => return,
            Err(_) => StreamInput::Failed { connected: true, error: TIMEOUT.to_owned() },
        };
        let sent = matches!(end, StreamInput::Sent);
        self.hand_over(end, None).await;
        if sent {
            linger(stream, self.deadline).await;
        }
    }

    /// Connects, sends the request, and reads the reply if one is wanted.
    pub(super) async fn dial<T: Transport>(
        mut self,
        transport: Arc<T>,
        to: SocketAddr,
        message: Bytes,
        reply: bool,
    ) {
        let mut stream = match timeout_at(self.deadline, transport.connect(to)).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => {
                let error = format!("dial tcp {to}: connect: {}", text(&error));
                return self.hand_over(StreamInput::Failed { connected: false, error }, None).await;
            }
            Err(_) => {
                let error = format!("dial tcp {to}: {TIMEOUT}");
                return self.hand_over(StreamInput::Failed { connected: false, error }, None).await;
            }
        };
        drop(transport);
        let mut sealed = Vec::new();
        self.codec.seal(&mut self.rng, Role::Dialer, &message, &mut sealed);
        drop(message);
        let input = match self.send(&mut stream, &sealed).await {
            Err(error) => failure(true, &error),
            Ok(()) if reply => {
                drop(sealed);
                let mut decoder = StreamDecoder::new(self.codec.clone(), Role::Dialer);
                self.receive(&mut stream, &mut decoder, None).await
            }
            Ok(()) => StreamInput::Sent,
        };
        let sent = matches!(input, StreamInput::Sent);
        self.hand_over(input, None).await;
        if sent {
            linger(stream, self.deadline).await;
        }
    }

    /// Reads until the message is whole, or the peer or the time is at its end.
    async fn receive<S: Connection>(
        &self,
        stream: &mut S,
        decoder: &mut StreamDecoder,
        mut share: Option<&mut Share>,
    ) -> StreamInput {
        let mut buf = vec![0; READ_BYTES];
        let mut arrived = 0;
        let timed_out = || StreamInput::Failed { connected: true, error: TIMEOUT.to_owned() };
        loop {
            let read = match timeout_at(self.deadline, stream.read(&mut buf)).await {
                Ok(Ok(0)) => {
                    return StreamInput::Failed { connected: true, error: "EOF".to_owned() };
                }
                Ok(Ok(len)) => buf.get(..len).unwrap_or_default(),
                Ok(Err(error)) => return failure(true, &error),
                Err(_) => return timed_out(),
            };
            arrived += read.len();
            match decoder.feed(read) {
                Ok(None) => {}
                Ok(Some(message)) => {
                    if self.codec.encrypts() {
                        metrics::remote_size(arrived);
                    }
                    return StreamInput::Message(message);
                }
                Err(error) => return StreamInput::Broken(error),
            }
            if let Some(share) = &mut share
                && timeout_at(self.deadline, share.grow_to(decoder.buffered())).await.is_err()
            {
                return timed_out();
            }
        }
    }

    async fn send<S: Connection>(&self, stream: &mut S, bytes: &[u8]) -> io::Result<()> {
        let sending = async {
            stream.write_all(bytes).await?;
            stream.flush().await
        };
        match timeout_at(self.deadline, sending).await {
            Ok(result) => result,
            Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, TIMEOUT)),
        }
    }

    async fn hand_over(&self, input: StreamInput, share: Option<Share>) {
        // An engine that has stopped has no use for it.
        let _ = self.engine.send(Internal::Stream { id: self.id, input, share }).await;
    }
}

/// Closes without destroying what the peer has not read yet: closing a socket with unread input
/// resets the connection.
async fn linger<S: Connection>(mut stream: S, deadline: TokioInstant) {
    let deadline = deadline.min(TokioInstant::now() + LINGER);
    let _ = timeout_at(deadline, async {
        stream.shutdown().await?;
        let mut buf = [0; 4096];
        let mut left = LINGER_BYTES_MAX;
        while left > 0 {
            match stream.read(&mut buf).await? {
                0 => break,
                len => left = left.saturating_sub(len),
            }
        }
        io::Result::Ok(())
    })
    .await;
}

fn failure(connected: bool, error: &io::Error) -> StreamInput {
    StreamInput::Failed { connected, error: text(error) }
}

/// As Go says it, without the number that Rust appends.
fn text(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused".to_owned(),
        io::ErrorKind::ConnectionReset => "connection reset by peer".to_owned(),
        io::ErrorKind::TimedOut => TIMEOUT.to_owned(),
        _ => error.to_string(),
    }
}

const TIMEOUT: &str = "i/o timeout";
/// 128 MiB for all inbound streams: six syncs of the largest size that peers accept.
const BUDGET_KIB: usize = 128 * 1024;
/// What one stream holds without a permit.
const FREE_BYTES: usize = 64 * 1024;
const READ_BYTES: usize = 16 * 1024;
const LINGER: std::time::Duration = std::time::Duration::from_millis(500);
const LINGER_BYTES_MAX: usize = 1024 * 1024;
