//! The one task that owns the engine.

use std::{
    collections::BTreeMap,
    future::{Future, pending, poll_fn},
    io,
    net::SocketAddr,
    pin::{Pin, pin},
    sync::Arc,
    task::Poll,
    time::Duration,
};

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};
use tracing::{debug, warn};

use super::{
    StopReason,
    budget::Budget,
    clock,
    command::Command,
    inbox::{Inbox, Internal},
    metrics::{self, Exporter},
    node::Node,
    outbound::{Outbound, Outgoing},
    panics::catch_panic,
    stream::{Reply, StreamTask},
    tasks::Abort,
};
use crate::{
    base::{Instant, Rng},
    runtime::{Runtime, Timer, sleep, yield_now},
    serf::Output,
    swim::{self, StreamId, StreamInput},
    transport::{Batch, Transport},
    wire::Role,
};

/// Streams and packets of a node.
struct Io<T: Transport> {
    transport: Arc<T>,
    internal: mpsc::Sender<Internal>,
    streams: BTreeMap<StreamId, Open>,
    /// Memory of messages received on accepted and on dialled streams.
    accepted: Budget,
    opened: Budget,
    outbound: Outbound,
    /// Packets that are about to be sent.
    packets: Vec<(SocketAddr, Vec<u8>)>,
    rng: Rng,
    streams_max: usize,
    /// Time limit for the request of an accepted stream.
    timeout: Duration,
    /// Set after an error of the socket: it is not polled until then.
    deaf_until: Option<Instant>,
}

/// An open stream.
struct Open {
    task: Abort,
    /// The exchange is complete, but the peer may not have read everything yet.
    lingers: bool,
    /// Peer of an accepted stream whose request is not complete yet.
    reading_from: Option<SocketAddr>,
    reply: Option<oneshot::Sender<Reply>>,
}

/// Runs a node until it is stopped or its last handle is dropped.
///
/// Each turn drains the socket before it fires timers: an answer that is already in the kernel's
/// buffer is not late.
pub(super) async fn run<T: Transport>(
    mut node: Box<Node>,
    mut inbox: Inbox,
    internal: mpsc::Sender<Internal>,
    transport: T,
    rng: Rng,
    streams_max: usize,
) {
    let transport = Arc::new(transport);
    let (accepted, mut connections) = mpsc::channel(ACCEPTED_MAX);
    let runtime = Arc::clone(node.tasks.runtime());
    let accepting = accept(Arc::clone(&transport), accepted, internal.clone(), runtime.clone());
    node.tasks.spawn(accepting);
    let mut io = Io {
        transport,
        internal,
        streams: BTreeMap::new(),
        accepted: Budget::new(runtime.clone()),
        opened: Budget::new(runtime.clone()),
        outbound: Outbound::new(),
        packets: Vec::new(),
        rng,
        streams_max,
        timeout: node.tcp_timeout,
        deaf_until: None,
    };
    let mut exporter = Exporter::new(clock::now());
    let mut batch = Batch::new();
    let mut drained = true;
    io.pump(&mut node);
    node.end_turn();
    let mut due = clock::to_system(clock::now());
    // One timer for all waits: no allocation for each turn.
    let mut timer = runtime.timer(due);
    while node.stop.is_none() {
        let wake = io.wake_at(&node, &exporter);
        if due != wake {
            due = wake;
            timer.as_mut().reset(wake);
        }
        let socket = io.deaf_until.is_none().then_some(&*io.transport);
        let wake = next(socket, &mut inbox, &mut connections, timer.as_mut(), !drained).await;
        io.on_wake(&mut node, wake);
        drained = io.receive(&mut node, &mut batch);
        io.take_waiting(&mut node, &mut inbox);
        io.on_time(&mut node);
        node.send_events();
        io.pump(&mut node);
        exporter.export(clock::now(), &mut node.engine);
        node.end_turn();
        if !drained {
            yield_now().await;
        }
    }
    node.engine.shut_down(clock::now());
    io.pump(&mut node);
    exporter.export_counters(&mut node.engine);
    inbox.commands.close();
    // The sockets are closed once no task holds them.
    node.tasks.end().await;
    drop((io, connections));
    node.finish().await;
}

/// Why the engine's task wakes.
enum Wake<S> {
    Readable(io::Result<()>),
    Command(Command),
    /// The last handle was dropped.
    Abandoned,
    /// The runtime of the streams has ended.
    Homeless,
    Internal(Internal),
    Accepted(S, SocketAddr),
    Time,
}

/// Waits for the first wake-up. Accepted streams are checked first, since a turn serves only one of
/// them; of all other sources it takes everything that is available, so that none starves. With
/// `at_once` it does not wait, because datagrams or messages of them are left.
async fn next<T: Transport>(
    socket: Option<&T>,
    inbox: &mut Inbox,
    connections: &mut mpsc::Receiver<(T::Stream, SocketAddr)>,
    mut timer: Pin<&mut dyn Timer>,
    at_once: bool,
) -> Wake<T::Stream> {
    let mut readable = pin!(async {
        match socket {
            Some(socket) => socket.readable().await,
            None => pending().await,
        }
    });
    poll_fn(|cx| {
        if let Poll::Ready(connection) = connections.poll_recv(cx) {
            let accepted = |(stream, from)| Wake::Accepted(stream, from);
            return Poll::Ready(connection.map_or(Wake::Homeless, accepted));
        }
        if let Poll::Ready(command) = inbox.commands.poll_recv(cx) {
            return Poll::Ready(command.map_or(Wake::Abandoned, Wake::Command));
        }
        if let Poll::Ready(Some(message)) = inbox.internal.poll_recv(cx) {
            return Poll::Ready(Wake::Internal(message));
        }
        if let Poll::Ready(result) = readable.as_mut().poll(cx) {
            return Poll::Ready(Wake::Readable(result));
        }
        if at_once {
            return Poll::Ready(Wake::Time);
        }
        timer.as_mut().poll(cx).map(|()| Wake::Time)
    })
    .await
}

impl<T: Transport> Io<T> {
    fn on_wake(&mut self, node: &mut Node, wake: Wake<T::Stream>) {
        match wake {
            Wake::Readable(Ok(())) | Wake::Time => {}
            Wake::Readable(Err(error)) => {
                debug!(target: "memberlist", "Error reading UDP packet: {error}");
                self.deaf_until = Some(clock::now() + DEAF);
            }
            Wake::Command(command) => node.on_command(command),
            Wake::Homeless => node.stop(StopReason::Aborted),
            Wake::Abandoned => node.stop(StopReason::Shutdown),
            Wake::Internal(message) => self.on_internal(node, message),
            Wake::Accepted(stream, from) => self.on_accepted(node, stream, from),
        }
    }

    /// Deadline at which the engine's task must wake.
    fn wake_at(&mut self, node: &Node, exporter: &Exporter) -> std::time::Instant {
        self.deaf_until.take_if(|until| *until <= clock::now());
        let wake = node.engine.poll_timeout().unwrap_or(Instant::FAR_FUTURE).min(exporter.next());
        clock::to_system(self.deaf_until.map_or(wake, |until| until.min(wake)))
    }

    /// Reads the socket, at most [`BATCHES_PER_TURN`], and then takes some of what was handed off;
    /// returns whether nothing is left. A burst waits in the hand-off queues, and pings are
    /// answered meanwhile.
    fn receive(&mut self, node: &mut Node, batch: &mut Batch) -> bool {
        let mut drained = false;
        for _ in 0..BATCHES_PER_TURN {
            batch.clear();
            let result = self.transport.try_recv_batch(batch);
            if !batch.is_empty() {
                let now = clock::now();
                for (datagram, from) in batch.iter() {
                    node.engine.handle_packet(now, from, datagram);
                }
                // Acks must not wait for what else waits.
                self.pump(node);
            }
            match result {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    drained = true;
                    break;
                }
                // Some systems report an unreachable peer (ICMP) here: the probes will detect it.
                Err(error) => debug!(target: "memberlist", "Error reading UDP packet: {error}"),
            }
        }
        let waiting = node.engine.handle_some_queued(clock::now(), HANDED_OFF_PER_TURN);
        drained && !waiting
    }

    /// Handles queued messages of the inbox, limited in number and time, so that no source starves
    /// another: a single large push/pull may take milliseconds.
    fn take_waiting(&mut self, node: &mut Node, inbox: &mut Inbox) {
        let end = clock::now() + TURN;
        for _ in 0..MESSAGES_PER_TURN {
            let Ok(command) = inbox.commands.try_recv() else { break };
            node.on_command(command);
            if clock::now() >= end {
                break;
            }
        }
        for _ in 0..MESSAGES_PER_TURN {
            let Ok(message) = inbox.internal.try_recv() else { break };
            self.on_internal(node, message);
            if clock::now() >= end {
                break;
            }
        }
    }

    fn on_time(&mut self, node: &mut Node) {
        let now = clock::now();
        let Some(due) = node.engine.poll_timeout().filter(|due| *due <= now) else { return };
        let late = now.since(due);
        if late > LATENESS_MIN {
            node.engine.note_lateness(now, late);
        }
        let rounds = node.engine.swim_stats().gossip_rounds;
        node.engine.handle_timeout(now);
        if node.engine.swim_stats().gossip_rounds > rounds {
            self.pump(node);
            metrics::gossip_round(now, clock::now());
        }
    }

    /// Performs the engine's effects.
    fn pump(&mut self, node: &mut Node) {
        while let Some(output) = node.engine.poll_output() {
            match output {
                Output::Swim(output) => self.perform(node, output),
                Output::Event(event) => node.on_event(event),
                Output::Query { id, update } => node.on_query(id, update),
                Output::Done { op, result } => node.callers.complete(op, result),
                Output::Snapshot(op) => node.on_snapshot(op),
                Output::KeyringChanged { op } => node.store_keyring(op),
                Output::Resolve { op, host } => node.resolve(op, host),
                Output::ShutDown => node.stop(StopReason::NameConflict),
            }
        }
        self.send_packets(node);
    }

    fn send_packets(&mut self, node: &mut Node) {
        if self.packets.is_empty() {
            return;
        }
        self.transport.try_send_batch(&self.packets, &mut |to, error| {
            metrics::counter("memberlist.udp.failed", 1);
            debug!(target: "memberlist", addr = %to, %error, "Failed to send UDP message");
        });
        for (_, data) in self.packets.drain(..) {
            node.engine.recycle(data);
        }
    }

    fn perform(&mut self, node: &mut Node, output: swim::Output) {
        match output {
            swim::Output::Packet { to, data } => {
                self.packets.push((to, data));
                if self.packets.len() >= PACKETS_SENT_MAX {
                    self.send_packets(node);
                }
            }
            swim::Output::Open { id, to, message, reply, deadline } => {
                let Some(message) = self.admit(node, message, Role::Dialer) else {
                    return self.fail(node, id, false);
                };
                let task = self.task(node, id, to, clock::to_system(deadline));
                let transport = Arc::clone(&self.transport);
                let share = reply.then(|| self.opened.share());
                let dial = task.dial(transport, message, share);
                let task = self.spawn_stream(node, id, dial);
                let open = Open { task, lingers: false, reading_from: None, reply: None };
                self.streams.insert(id, open);
            }
            swim::Output::Reply { id, message, deadline } => {
                let reply = self.streams.get_mut(&id).and_then(|open| open.reply.take());
                let Some(reply) = reply else { return };
                let Some(message) = self.admit(node, message, Role::Acceptor) else {
                    return self.fail(node, id, true);
                };
                // A task that has ended reports its failure itself.
                let _ = reply.send(Reply { message, deadline: clock::to_system(deadline) });
            }
            swim::Output::Close { id } => {
                if let Some(open) = self.streams.remove(&id) {
                    open.task.abort();
                }
            }
        }
    }

    /// Admits a message for sending, unless too many bytes are already being sent.
    fn admit(&mut self, node: &Node, message: Bytes, role: Role) -> Option<Arc<Outgoing>> {
        self.outbound.admit(message, node.engine.stream_codec(), role)
    }

    /// Ends a stream whose message was not admitted.
    fn fail(&mut self, node: &mut Node, id: StreamId, connected: bool) {
        metrics::counter("memberlist.tcp.refused", 1);
        if let Some(open) = self.streams.remove(&id) {
            open.task.abort();
        }
        let error = "too many states are on their way to peers".to_owned();
        let input = StreamInput::Failed { connected, error };
        node.engine.handle_stream(clock::now(), id, input);
    }

    fn on_accepted(&mut self, node: &mut Node, stream: T::Stream, from: SocketAddr) {
        if self.streams.len() >= self.streams_max && !self.evict(node) {
            warn!(target: "memberlist", addr = %from, "too many streams, closing a new one");
            return;
        }
        let now = clock::now();
        let id = node.engine.accept_stream();
        node.engine.handle_stream(now, id, StreamInput::Accepted { from });
        let task = self.task(node, id, from, clock::to_system(now + self.timeout));
        let (reply, answer) = oneshot::channel();
        let serve = task.serve(stream, self.accepted.share(), answer);
        let task = self.spawn_stream(node, id, serve);
        let open = Open { task, lingers: false, reading_from: Some(from), reply: Some(reply) };
        self.streams.insert(id, open);
    }

    /// Closes the oldest lingering stream, or else the oldest unfinished request of the address
    /// that has most of them, so that one peer with many idle connections cannot block others.
    fn evict(&mut self, node: &mut Node) -> bool {
        let lingering = self.streams.iter().find(|(_, open)| open.lingers).map(|(id, _)| *id);
        if let Some(open) = lingering.and_then(|id| self.streams.remove(&id)) {
            open.task.abort();
            return true;
        }
        let mut counts = BTreeMap::new();
        for from in self.streams.values().filter_map(|open| open.reading_from) {
            *counts.entry(from.ip()).or_insert(0_usize) += 1;
        }
        let Some((busiest, _)) = counts.into_iter().max_by_key(|(_, count)| *count) else {
            return false;
        };
        // Ids increase with time.
        let victim = self
            .streams
            .iter()
            .find(|(_, open)| open.reading_from.is_some_and(|from| from.ip() == busiest))
            .map(|(id, _)| *id);
        let Some(id) = victim else { return false };
        if let Some(open) = self.streams.remove(&id) {
            open.task.abort();
        }
        metrics::counter("memberlist.tcp.evicted", 1);
        let error = "closed in favour of newer streams".to_owned();
        let input = StreamInput::Failed { connected: true, error };
        node.engine.handle_stream(clock::now(), id, input);
        true
    }

    fn on_internal(&mut self, node: &mut Node, message: Internal) {
        match message {
            Internal::Stream { id, input } => self.on_stream(node, id, input),
            Internal::KeyringStored { op, stored } => {
                node.engine.handle_keyring_stored(clock::now(), op, stored);
            }
            Internal::Closed { id } => drop(self.streams.remove(&id)),
            Internal::Resolved { op, result } => {
                node.engine.resolved(clock::now(), op, result);
            }
            Internal::NotAccepted => drop(self.evict(node)),
        }
    }

    fn on_stream(&mut self, node: &mut Node, id: StreamId, input: StreamInput) {
        let Some(open) = self.streams.get_mut(&id) else { return };
        let more = open.reply.is_some()
            && matches!(input, StreamInput::Message(_) | StreamInput::Broken(_));
        open.reading_from = None;
        open.lingers = matches!(input, StreamInput::Sent);
        if !more && !open.lingers {
            self.streams.remove(&id);
        }
        node.engine.handle_stream(clock::now(), id, input);
    }

    fn spawn_stream(
        &self,
        node: &Node,
        id: StreamId,
        task: impl Future<Output = ()> + Send + 'static,
    ) -> Abort {
        // Boxed: each surrounding future would store it twice, as its argument and as its own
        // field.
        let task = report_panic(self.internal.clone(), id, Box::pin(task));
        node.tasks.spawn_abortable(Box::pin(task))
    }

    fn task(
        &mut self,
        node: &Node,
        id: StreamId,
        peer: SocketAddr,
        deadline: std::time::Instant,
    ) -> StreamTask {
        let mut seed = [0; 32];
        self.rng.fill(&mut seed);
        StreamTask {
            id,
            codec: node.engine.stream_codec(),
            seed,
            peer,
            deadline,
            engine: self.internal.clone(),
            runtime: Arc::clone(node.tasks.runtime()),
        }
    }
}

/// Reports a stream whose task panics, e.g. in a third-party transport, as failed.
async fn report_panic(
    internal: mpsc::Sender<Internal>,
    id: StreamId,
    task: impl Future<Output = ()>,
) {
    if catch_panic(task).await.is_none() {
        let error = "its task panicked".to_owned();
        let input = StreamInput::Failed { connected: true, error };
        // If the engine has stopped, the result is not needed. Boxed because it is rare.
        let _ = Box::pin(internal.send(Internal::Stream { id, input })).await;
    }
}

/// Accepts streams until the engine or the runtime ends. Go: `net_transport.go: tcpListen`.
async fn accept<T: Transport>(
    transport: Arc<T>,
    accepted: mpsc::Sender<(T::Stream, SocketAddr)>,
    internal: mpsc::Sender<Internal>,
    runtime: Arc<dyn Runtime>,
) {
    let mut pause = Duration::ZERO;
    loop {
        let panicked = || Err(io::Error::other("the transport panicked"));
        match catch_panic(transport.accept()).await.unwrap_or_else(panicked) {
            Ok(connection) => {
                pause = Duration::ZERO;
                if accepted.send(connection).await.is_err() {
                    return;
                }
            }
            Err(error) => {
                pause = (2 * pause).clamp(PAUSE_MIN, PAUSE_MAX);
                warn!(target: "memberlist", "Error accepting TCP connection: {error}");
                // If the engine has stopped, the result is not needed.
                let _ = internal.send(Internal::NotAccepted).await;
                sleep(&*runtime, pause).await;
            }
        }
    }
}

/// Most batches of datagrams handled in a row.
const BATCHES_PER_TURN: usize = 16;
/// Handed off messages handled before the socket is read again: some hundred microseconds.
const HANDED_OFF_PER_TURN: usize = 512;
/// Packets that are sent together.
const PACKETS_SENT_MAX: usize = 64;
/// Most commands, and most messages of tasks, handled in a row.
const MESSAGES_PER_TURN: usize = 64;
/// After this time datagrams are handled again, whatever else is queued.
const TURN: Duration = Duration::from_millis(2);
/// Most streams open at a time, dialled and accepted, unless the builder sets another number.
pub(super) const STREAMS_MAX: usize = 1_024;
/// Most accepted streams that wait for the engine's task.
const ACCEPTED_MAX: usize = 64;
/// Go: `tcpListen`.
const PAUSE_MIN: Duration = Duration::from_millis(5);
const PAUSE_MAX: Duration = Duration::from_secs(1);
/// How long a failed socket is not polled.
const DEAF: Duration = Duration::from_millis(1);
/// Smaller delays are due to the timer's granularity and do not count as lateness.
const LATENESS_MIN: Duration = Duration::from_millis(2);
