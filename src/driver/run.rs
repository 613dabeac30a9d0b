//! The engine's task: packets, streams, commands and deadlines, in that order of haste.

use std::{collections::HashMap, io, net::SocketAddr, sync::Arc};

use tokio::sync::{mpsc, watch};

use super::{
    core::{Clock, Command, Core},
    streams::{self, Budget, FromStream, ToStream},
};
use crate::{
    base::Instant,
    swim::{Output, StreamId, StreamInput},
    transport::Transport,
    wire::limits::DATAGRAM_BYTES_MAX,
};

/// Datagrams taken in one turn before anything else gets one.
const BATCH_MAX: usize = 256;
/// Streams' news waiting for the engine.
const STREAM_INPUTS_MAX: usize = 1024;
/// Accepted connections at most; the next one is closed at once.
const CONNECTIONS_MAX: usize = 1024;

/// Runs until a handle or the engine says stop, or the last handle is gone.
pub(super) async fn run<T: Transport>(
    core: Core,
    transport: T,
    clock: Clock,
    mut commands: mpsc::Receiver<Command>,
    ended: watch::Sender<bool>,
) {
    let transport = Arc::new(transport);
    let (to_engine, mut from_streams) = mpsc::channel(STREAM_INPUTS_MAX);
    let (accepted, mut incoming) = mpsc::channel(64);
    let acceptor = tokio::spawn(accept(Arc::clone(&transport), accepted));
    let mut task = Task {
        core,
        transport,
        clock,
        buf: vec![0; DATAGRAM_BYTES_MAX].into_boxed_slice(),
        streams: HashMap::new(),
        to_engine,
        budget: Budget::new(CONNECTIONS_MAX),
    };
    let sleep = tokio::time::sleep_until(clock.tokio(Instant::ZERO));
    tokio::pin!(sleep);
    loop {
        task.pump();
        if task.core.stop {
            break;
        }
        let deadline = task.core.engine.poll_timeout().unwrap_or(Instant::FAR_FUTURE);
        sleep.as_mut().reset(clock.tokio(deadline));
        tokio::select! {
            ready = task.transport.readable() => {
                if ready.is_ok() {
                    task.receive(BATCH_MAX);
                }
            }
            Some((stream, from)) = incoming.recv() => task.accept(stream, from),
            Some(FromStream { id, input }) = from_streams.recv() => {
                task.stream_input(id, input);
                while let Ok(FromStream { id, input }) = from_streams.try_recv() {
                    task.stream_input(id, input);
                }
            }
            command = commands.recv() => {
                let Some(command) = command else { break };
                command(&mut task.core, clock.now());
                // Whatever one reader of many requests sent is worked off in one go.
                while let Ok(command) = commands.try_recv() {
                    command(&mut task.core, clock.now());
                }
            }
            () = &mut sleep => {}
        }
        task.fire_due();
    }
    acceptor.abort();
    task.core.engine.shut_down(clock.now());
    task.pump();
    if let Some(files) = task.core.files.take() {
        let _ = tokio::task::spawn_blocking(move || files.finish()).await;
    }
    drop(task); // closes the sockets before anybody hears of the end
    let _ = ended.send(true);
}

async fn accept<T: Transport>(transport: Arc<T>, accepted: mpsc::Sender<(T::Stream, SocketAddr)>) {
    while let Ok(connection) = transport.accept().await {
        if accepted.send(connection).await.is_err() {
            return;
        }
    }
}

struct Task<T: Transport> {
    core: Core,
    transport: Arc<T>,
    clock: Clock,
    buf: Box<[u8]>,
    streams: HashMap<StreamId, mpsc::Sender<ToStream>>,
    to_engine: mpsc::Sender<FromStream>,
    budget: Budget,
}

impl<T: Transport> Task<T> {
    /// Reads what waits in the socket; `false` when it was emptied.
    fn receive(&mut self, max: usize) -> bool {
        for _ in 0..max {
            match self.transport.try_recv_from(&mut self.buf) {
                Ok((0, _)) => {}
                Ok((len, from)) => {
                    let now = self.clock.now();
                    let datagram = self.buf.get(..len).unwrap_or_default();
                    self.core.engine.handle_packet(now, from, datagram);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.core.engine.handle_queued(self.clock.now());
                    return false;
                }
                // An ICMP error of an earlier send; says nothing about this socket.
                Err(_) => {}
            }
        }
        self.core.engine.handle_queued(self.clock.now());
        true
    }

    /// Fires what is due, but hears first what has already arrived: an ack in the socket's buffer
    /// wins over its timeout.
    fn fire_due(&mut self) {
        let Some(deadline) = self.core.engine.poll_timeout() else { return };
        let now = self.clock.now();
        if deadline > now {
            return;
        }
        let mut batches = 0;
        while self.receive(BATCH_MAX) && batches < 8 {
            batches += 1;
        }
        let now = self.clock.now();
        self.core.engine.note_lateness(now, now - deadline);
        self.core.engine.handle_timeout(now);
    }

    /// Carries out what the engine wants.
    fn pump(&mut self) {
        while let Some(output) = self.core.next_network_output() {
            match output {
                Output::Packet { to, data } => {
                    // A full buffer or an unreachable peer loses the packet, like any network.
                    if let Err(error) = self.transport.try_send_to(&data, to) {
                        tracing::debug!(target: "memberlist", %to, %error, "packet not sent");
                    }
                }
                Output::Open { id, to, message, reply, deadline } => {
                    let job = streams::Dial {
                        id,
                        to,
                        message,
                        reply,
                        deadline: self.clock.tokio(deadline),
                        codec: self.core.engine.stream_codec(),
                    };
                    let transport = Arc::clone(&self.transport);
                    tokio::spawn(streams::dial(transport, job, self.to_engine.clone()));
                }
                Output::Reply { id, message, deadline } => {
                    let deadline = self.clock.tokio(deadline);
                    if let Some(stream) = self.streams.remove(&id) {
                        let _ = stream.try_send(ToStream::Reply { message, deadline });
                    }
                }
                // Dropping the sender tells the stream's task.
                Output::Close { id } => drop(self.streams.remove(&id)),
                Output::Done { .. } => {}
            }
        }
    }

    fn accept(&mut self, stream: T::Stream, from: SocketAddr) {
        let Some(permit) = self.budget.connection() else {
            tracing::warn!(target: "memberlist", %from, "too many connections, closing one");
            return;
        };
        let id = self.core.engine.accept_stream();
        let now = self.clock.now();
        self.core.engine.handle_stream(now, id, StreamInput::Accepted { from });
        let (to_stream, orders) = mpsc::channel(1);
        self.streams.insert(id, to_stream);
        let job = streams::Serve {
            id,
            deadline: self.clock.tokio(now + self.core.engine.tcp_timeout()),
            codec: self.core.engine.stream_codec(),
            orders,
            budget: self.budget.clone(),
            permit,
        };
        tokio::spawn(streams::serve(stream, job, self.to_engine.clone()));
    }

    fn stream_input(&mut self, id: StreamId, input: StreamInput) {
        if matches!(input, StreamInput::Failed { .. } | StreamInput::Sent) {
            self.streams.remove(&id);
        }
        self.core.engine.handle_stream(self.clock.now(), id, input);
    }
}
