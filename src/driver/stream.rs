//! One task per TCP stream: it waits for the peer, so that the engine's task never does.

use std::{
    future::poll_fn,
    io,
    mem::MaybeUninit,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Poll, ready},
    time::Instant,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, ReadBuf},
    sync::{mpsc, oneshot},
};

use super::{
    budget::{FREE_BYTES, SMALL_BYTES_MAX, Share},
    inbox::Internal,
    metrics,
    outbound::Outgoing,
};
use crate::{
    base::go_net,
    runtime::{self, Runtime, timeout_at},
    swim::{StreamId, StreamInput},
    transport::{Connection, Transport},
    wire::{Decoded, Role, StreamCodec, StreamDecoder, StreamError, StreamPart},
};

/// Common parameters of a stream task.
pub(super) struct StreamTask {
    pub(super) id: StreamId,
    pub(super) codec: StreamCodec,
    /// Seed of the nonce of the one message sent.
    pub(super) seed: [u8; 32],
    /// The other end.
    pub(super) peer: SocketAddr,
    /// Deadline of the whole exchange, unless the engine's reply sets a later one.
    pub(super) deadline: Instant,
    pub(super) engine: mpsc::Sender<Internal>,
    pub(super) runtime: Arc<dyn Runtime>,
}

/// The engine's answer on an accepted stream.
pub(super) struct Reply {
    pub(super) message: Arc<Outgoing>,
    pub(super) deadline: Instant,
}

impl StreamTask {
    /// Waits for the first bytes of an accepted stream, then serves it: an idle stream does not
    /// hold the memory needed for that.
    pub(super) async fn serve<S: Connection>(
        self,
        mut stream: S,
        share: Share,
        reply: oneshot::Receiver<Reply>,
    ) {
        let first = timeout_at(&*self.runtime, self.deadline, read(&mut stream, FREE_BYTES));
        let first = first.await;
        Box::pin(self.serve_from(first, stream, share, reply)).await;
    }

    /// Reads the request, starting with the bytes already received, passes it to the engine, and
    /// sends the reply.
    pub(super) async fn serve_from<S: Connection>(
        mut self,
        first: Option<io::Result<Vec<u8>>>,
        mut stream: S,
        mut share: Share,
        reply: oneshot::Receiver<Reply>,
    ) {
        let input = self.receive(first, &mut stream, Role::Acceptor, &mut share).await;
        let has_failed = matches!(input, StreamInput::Failed { .. });
        self.hand_over(share.follow(input)).await;
        if has_failed {
            return;
        }
        // The engine answers at once, or closes the stream, which ends this task.
        let end = match timeout_at(&*self.runtime, self.deadline, reply).await {
            Some(Ok(reply)) => {
                self.deadline = reply.deadline;
                match self.send(&mut stream, &reply.message).await {
                    Ok(()) => StreamInput::Sent,
                    Err(error) => failed(self.text_of("write", &stream, &error)),
                }
            }
            Some(Err(_)) => return,
            None => failed(TIMEOUT.to_owned()),
        };
        let sent = matches!(end, StreamInput::Sent);
        self.hand_over(end).await;
        if sent {
            self.linger(stream).await;
        }
    }

    /// Connects, sends the request, and reads the reply, if one is expected.
    pub(super) async fn dial<T: Transport>(
        self,
        transport: Arc<T>,
        message: Arc<Outgoing>,
        reply: Option<Share>,
    ) {
        let to = self.peer;
        let mut stream =
            match timeout_at(&*self.runtime, self.deadline, transport.connect(to)).await {
                Some(Ok(stream)) => stream,
                Some(Err(error)) => {
                    let error = format!("dial tcp {to}: connect: {}", reason(&error));
                    return self.hand_over(StreamInput::Failed { connected: false, error }).await;
                }
                None => {
                    let error = format!("dial tcp {to}: {TIMEOUT}");
                    return self.hand_over(StreamInput::Failed { connected: false, error }).await;
                }
            };
        drop(transport);
        let input = match (self.send(&mut stream, &message).await, reply) {
            (Err(error), _) => failed(self.text_of("write", &stream, &error)),
            (Ok(()), Some(mut share)) => {
                drop(message);
                let first = share.within(self.deadline, read(&mut stream, READ_BYTES)).await;
                let input = self.receive(first, &mut stream, Role::Dialer, &mut share).await;
                share.follow(input)
            }
            (Ok(()), None) => StreamInput::Sent,
        };
        let sent = matches!(input, StreamInput::Sent);
        self.hand_over(input).await;
        if sent {
            self.linger(stream).await;
        }
    }

    /// Reads until the message is complete, the peer closes or the deadline passes. The share
    /// covers memory before it is used, and finally the message's memory.
    async fn receive<S: Connection>(
        &self,
        first: Option<io::Result<Vec<u8>>>,
        stream: &mut S,
        role: Role,
        share: &mut Share,
    ) -> StreamInput {
        let mut decoder = StreamDecoder::new(self.codec.clone(), role);
        let mut arrived = 0;
        let broken = |decoder: &StreamDecoder, stream: &S, error: &io::Error| {
            ended(decoder, role, Some(self.text_of("read", stream, error)))
        };
        let mut next = first;
        loop {
            let bytes = match next.take() {
                Some(Ok(bytes)) if bytes.is_empty() => return ended(&decoder, role, None),
                Some(Ok(bytes)) => bytes,
                Some(Err(error)) => return broken(&decoder, stream, &error),
                None if runtime::now() >= self.deadline => {
                    return broken(&decoder, stream, &io::ErrorKind::TimedOut.into());
                }
                None => return failed(TIMEOUT.to_owned()),
            };
            arrived += bytes.len();
            if !share.grow_to(decoder.room(bytes.len()), self.deadline).await {
                return failed(TIMEOUT.to_owned());
            }
            let mut decoded = decoder.push(&bytes);
            drop(bytes);
            if let Ok(Decoded::Packed) = decoded {
                let Some(unpacked) = self.unpack(&mut decoder, share).await else {
                    return failed(TIMEOUT.to_owned());
                };
                decoded = unpacked;
            }
            match decoded {
                Ok(Decoded::More | Decoded::Packed) => {}
                Ok(Decoded::Message(message)) => {
                    if self.codec.encrypts() {
                        metrics::remote_size(arrived);
                    }
                    share.shrink_to(message.held_bytes());
                    return StreamInput::Message(message);
                }
                Err(error) => return StreamInput::Broken(error),
            }
            // As much as is buffered already: a stream that waits for memory buffers little.
            let bytes_max = decoder.buffered().clamp(FREE_BYTES, READ_BYTES);
            next = share.within(self.deadline, read(stream, bytes_max)).await;
        }
    }

    /// Decompresses a message, whose size is not known in advance: with the memory held, if that
    /// suffices, then with more. `None`: there was not enough memory in time.
    async fn unpack(
        &self,
        decoder: &mut StreamDecoder,
        share: &mut Share,
    ) -> Option<Result<Decoded, StreamError>> {
        for bytes in [share.bytes_max(), SMALL_BYTES_MAX, usize::MAX] {
            if !share.grow_to(bytes, self.deadline).await {
                return None;
            }
            let room = share.bytes_max().saturating_sub(decoder.buffered());
            match decoder.unpack(room) {
                Ok(Decoded::Packed) => {}
                decoded => return Some(decoded),
            }
        }
        None
    }

    async fn send<S: Connection>(&self, stream: &mut S, message: &Outgoing) -> io::Result<()> {
        let sending = async {
            stream.write_all(message.sealed(self.seed).await).await?;
            stream.flush().await
        };
        match timeout_at(&*self.runtime, self.deadline, sending).await {
            Some(result) => result,
            None => Err(io::ErrorKind::TimedOut.into()),
        }
    }

    /// Why a stream cannot be read or written, as Go words it.
    fn text_of<S: Connection>(&self, verb: &str, stream: &S, error: &io::Error) -> String {
        let of_system = match error.kind() {
            io::ErrorKind::TimedOut if error.raw_os_error().is_none() => TIMEOUT.to_owned(),
            _ if error.raw_os_error().is_some() => format!("{verb}: {}", reason(error)),
            // TLS and other layers have words of their own.
            _ => return error.to_string(),
        };
        let to = self.peer;
        match stream.local_addr() {
            Some(from) => {
                let from = SocketAddr::new(from.ip().to_canonical(), from.port());
                format!("{verb} tcp {from}->{to}: {of_system}")
            }
            None => format!("{verb} tcp {to}: {of_system}"),
        }
    }

    /// Closes the stream without destroying data that the peer has not read yet: closing a socket
    /// with unread input resets the connection.
    async fn linger<S: Connection>(&self, mut stream: S) {
        let deadline = self.deadline.min(runtime::now() + LINGER);
        let _ = timeout_at(&*self.runtime, deadline, async {
            stream.shutdown().await?;
            let mut buf = [0; 1024];
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
        drop(stream);
        let _ = self.engine.send(Internal::Closed { id: self.id }).await;
    }

    async fn hand_over(&self, input: StreamInput) {
        // If the engine has stopped, the result is not needed. Boxed: a waiting stream then
        // reserves no space for it.
        let _ = Box::pin(self.engine.send(Internal::Stream { id: self.id, input })).await;
    }
}

/// Reads the next bytes into a buffer of their size: a waiting stream holds no buffer. Empty at the
/// end of the stream.
async fn read<S: Connection>(stream: &mut S, bytes_max: usize) -> io::Result<Vec<u8>> {
    poll_fn(|cx| {
        let mut space = [const { MaybeUninit::uninit() }; READ_BYTES];
        let mut buf = ReadBuf::uninit(space.get_mut(..bytes_max).unwrap_or_default());
        ready!(Pin::new(&mut *stream).poll_read(cx, &mut buf))?;
        Poll::Ready(Ok(buf.filled().to_vec()))
    })
    .await
}

/// The peer has closed the stream, or it failed for the given reason. As in Go, the log reports a
/// closed stream only if part of a message has arrived.
fn ended(decoder: &StreamDecoder, role: Role, failure: Option<String>) -> StreamInput {
    let (part, cut, is_closed) = (decoder.part(), decoder.cut(), failure.is_none());
    let text = cut.text(failure);
    let error = match (role, part) {
        (Role::Dialer, _) => return failed(text),
        (Role::Acceptor, StreamPart::Label) if is_closed && !decoder.is_at_start() => {
            StreamError::Lost(part, "cannot decode label; stream has been truncated".to_owned())
        }
        (Role::Acceptor, StreamPart::Label | StreamPart::Layers)
            if is_closed && cut.error.is_end() =>
        {
            return failed(text);
        }
        (Role::Acceptor, StreamPart::Layers) if cut.is_of_input() => StreamError::Refuse(cut.error),
        (Role::Acceptor, _) if cut.is_of_input() => StreamError::Body(part, cut.error),
        (Role::Acceptor, _) => StreamError::Lost(part, text),
    };
    StreamInput::Broken(error)
}

fn failed(error: String) -> StreamInput {
    StreamInput::Failed { connected: true, error }
}

/// The error as Go formats it, without the error number that Rust appends.
fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::TimedOut => TIMEOUT.to_owned(),
        _ => go_net::error_text(error),
    }
}

const TIMEOUT: &str = "i/o timeout";
const READ_BYTES: usize = 8 * 1024;
const LINGER: std::time::Duration = std::time::Duration::from_millis(500);
const LINGER_BYTES_MAX: usize = 1024 * 1024;
