//! Peers that open streams and misuse them.

use std::{
    io,
    net::{SocketAddr, TcpListener, UdpSocket},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex},
    sync::{Mutex, mpsc},
};

use super::{
    super::inbox::Internal,
    super::{
        budget::{Budget, FREE_BYTES, SMALL_KIB},
        stream::StreamTask,
        task::STREAMS_MAX,
    },
    measured::Recorded,
    *,
};
use crate::{
    base::Rng,
    runtime::{self, Runtime},
    swim::{StreamId, StreamInput},
    transport::Transport,
    wire::{
        CodecConfig, PacketCodec, Ping, PushPull, Role, SeqNo, UserHeader,
        limits::{DECOMPRESSED_BYTES_MAX, DECOMPRESSED_RATIO_MAX},
    },
};

/// A network without sockets: streams come from the test, datagrams are dropped.
struct Quiet(Mutex<mpsc::Receiver<(DuplexStream, SocketAddr)>>);

impl Transport for Quiet {
    type Stream = DuplexStream;

    fn local_addr(&self) -> SocketAddr {
        ([10, 0, 0, 1], 7946).into()
    }

    fn try_send_to(&self, _: &[u8], _: SocketAddr) -> io::Result<()> {
        Ok(())
    }

    async fn readable(&self) -> io::Result<()> {
        std::future::pending().await
    }

    fn try_recv_from(&self, _: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        Err(io::ErrorKind::WouldBlock.into())
    }

    async fn connect(&self, _: SocketAddr) -> io::Result<DuplexStream> {
        Err(io::ErrorKind::ConnectionRefused.into())
    }

    async fn accept(&self) -> io::Result<(DuplexStream, SocketAddr)> {
        match self.0.lock().await.recv().await {
            Some(stream) => Ok(stream),
            None => std::future::pending().await,
        }
    }
}

/// A runtime that records the size of the last task.
#[derive(Debug)]
struct Sizes {
    inner: Arc<dyn Runtime>,
    last: Arc<AtomicUsize>,
}

impl Runtime for Sizes {
    fn spawn(&self, task: runtime::Task) {
        self.last.store(size_of_val(&*task), Ordering::Relaxed);
        self.inner.spawn(task);
    }

    fn block_on(&self, future: runtime::Task) -> io::Result<()> {
        self.inner.block_on(future)
    }

    fn timer(&self, at: Instant) -> Pin<Box<dyn runtime::Timer>> {
        self.inner.timer(at)
    }

    fn datagrams(&self, socket: UdpSocket) -> io::Result<Box<dyn runtime::Datagrams>> {
        self.inner.datagrams(socket)
    }

    fn listener(&self, socket: TcpListener) -> io::Result<Box<dyn runtime::Listener>> {
        self.inner.listener(socket)
    }

    fn connect(&self, to: SocketAddr) -> runtime::Connecting {
        self.inner.connect(to)
    }
}

#[tokio::test]
async fn an_idle_stream_costs_a_few_kilobytes() {
    let idle = idle_bytes().await;
    assert!(idle <= 2 * 1024, "{idle}");
}

/// Goal: the streams, whatever they do, leave a margin below the memory limit of 64 MiB.
#[tokio::test]
async fn all_streams_together_take_50_mib_at_most() {
    let (_reply, answer) = tokio::sync::oneshot::channel();
    let (_ours, theirs) = duplex(1);
    let serving = stream_task().serve_from(None, theirs, Budget::new(here()).share(), answer);
    let (idle, served) = (idle_bytes().await, size_of_val(&serving));
    // An idle task, a serving one, the memory without a permit, and the last read.
    let each = idle + served + FREE_BYTES + FREE_BYTES;
    let largest = DECOMPRESSED_BYTES_MAX + DECOMPRESSED_BYTES_MAX / DECOMPRESSED_RATIO_MAX;
    let all = STREAMS_MAX * each + SMALL_KIB * 1024 + largest;
    assert!(all <= 50 << 20, "{all} bytes: {idle} for an idle one, {served} to serve one");
}

/// Bytes of the tasks of a stream that has received nothing.
async fn idle_bytes() -> usize {
    let (_reply, answer) = tokio::sync::oneshot::channel();
    let (_ours, theirs) = duplex(1);
    let waiting = size_of_val(&stream_task().serve(theirs, Budget::new(here()).share(), answer));

    // And of the task around it.
    let last = Arc::new(AtomicUsize::new(0));
    let (streams, accepted) = mpsc::channel(1);
    let builder = builder("sizes").runtime(Sizes { inner: here(), last: Arc::clone(&last) });
    let _node = builder.start_on(Quiet(Mutex::new(accepted))).await.unwrap();
    last.store(0, Ordering::Relaxed);
    let mut stream = open(&streams, [10, 0, 0, 9]).await;
    stream.write_all(&ping()).await.unwrap();
    let _ = within(stream.read(&mut [0; 16])).await;
    let around = last.load(Ordering::Relaxed);
    assert_ne!(around, 0);
    waiting + around
}

fn stream_task() -> StreamTask {
    let (engine, _) = mpsc::channel(4);
    let codec = PacketCodec::build(CodecConfig::default()).unwrap().stream_codec();
    let (seed, deadline, runtime) = ([1; 32], Instant::now(), here());
    StreamTask {
        id: StreamId(1),
        codec,
        seed,
        peer: SocketAddr::from(([10, 0, 0, 9], 1)),
        deadline,
        engine,
        runtime,
    }
}

/// A node, and the sender of its streams.
async fn quiet(timeout: Duration) -> (Serf, mpsc::Sender<(DuplexStream, SocketAddr)>) {
    let (streams, accepted) = mpsc::channel(1);
    let mut builder = builder("quiet");
    builder.config.timing.tcp_timeout = timeout;
    builder.config.compression = false.into();
    let node = builder.start_on(Quiet(Mutex::new(accepted))).await.unwrap();
    (node, streams)
}

async fn open(streams: &mpsc::Sender<(DuplexStream, SocketAddr)>, from: [u8; 4]) -> DuplexStream {
    let (ours, theirs) = duplex(64 * 1024);
    streams.send((theirs, (from, 7946).into())).await.unwrap();
    ours
}

/// A stream ping.
fn ping() -> Vec<u8> {
    let mut ping = Vec::new();
    Ping { seq_no: SeqNo(7), node: b"quiet", ..Ping::default() }.encode(&mut ping);
    ping
}

async fn is_answered(stream: &mut DuplexStream) {
    stream.write_all(&ping()).await.unwrap();
    let mut answer = Vec::new();
    within(stream.read_to_end(&mut answer)).await.unwrap();
    assert_eq!(answer.first(), Some(&2), "an ack: {answer:?}");
}

/// Whether the node has closed a stream.
async fn is_closed(stream: &mut DuplexStream) -> bool {
    let read = timeout(Duration::from_millis(1), stream.read(&mut [0; 16])).await;
    matches!(read, Ok(Ok(0) | Err(_)))
}

#[tokio::test(start_paused = true)]
async fn idle_streams_of_one_peer_keep_nobody_out() {
    let reports = Recorded::default();
    let _guard = metrics::set_default_local_recorder(&reports);
    let (_node, streams) = quiet(Duration::from_secs(600)).await;
    // Two slow but well-behaved peers, and one that fills the table.
    let mut early = open(&streams, [10, 0, 0, 2]).await;
    let mut idle = Vec::new();
    for _ in 0..1_100 {
        idle.push(open(&streams, [10, 0, 0, 66]).await);
    }
    is_answered(&mut open(&streams, [10, 0, 0, 3]).await).await;
    is_answered(&mut early).await;
    let evicted = reports.count("memberlist.tcp.evicted");
    assert!((77..=80).contains(&evicted), "1,024 stay open: {evicted}");
    // The oldest stream of the busiest peer was closed.
    assert!(is_closed(&mut idle[0]).await);
    assert!(!is_closed(idle.last_mut().unwrap()).await);
}

#[tokio::test(start_paused = true)]
async fn stream_that_dribbles_ends_at_the_timeout() {
    let limit = Duration::from_millis(300);
    let (_node, streams) = quiet(limit).await;
    let began = tokio::time::Instant::now();
    let mut slow = open(&streams, [10, 0, 0, 66]).await;
    let mut sync = Vec::new();
    PushPull::encode(false, std::iter::empty(), &vec![2; 100 * 1024], &mut sync);
    let dribble = async {
        for byte in &sync {
            if slow.write_all(&[*byte]).await.is_err() {
                return began.elapsed();
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("all of it was taken");
    };
    let cut = within(dribble).await;
    assert!((limit..limit + Duration::from_millis(50)).contains(&cut), "cut after {cut:?}");
    is_answered(&mut open(&streams, [10, 0, 0, 2]).await).await;
}

fn here() -> Arc<dyn Runtime> {
    runtime::current().unwrap()
}

/// A task that reads a request with a budget; its reports are sent to the channel.
fn serve(id: u64, budget: &Budget) -> (DuplexStream, mpsc::Receiver<Internal>) {
    let (ours, theirs) = duplex(1024 * 1024);
    let (engine, reports) = mpsc::channel(4);
    let codec = PacketCodec::build(CodecConfig::default()).unwrap().stream_codec();
    let deadline = Instant::now() + Duration::from_secs(600);
    let seed = [id as u8; 32];
    let runtime = here();
    let task = StreamTask {
        id: StreamId(id),
        codec,
        seed,
        peer: SocketAddr::from(([10, 0, 0, 9], 1)),
        deadline,
        engine,
        runtime,
    };
    let (_reply, answer) = tokio::sync::oneshot::channel();
    tokio::spawn(task.serve(theirs, budget.share(), answer));
    (ours, reports)
}

#[tokio::test]
async fn streams_share_one_budget_and_small_ones_pass() {
    // Goal: memory of inbound streams is bounded together. Method: the first stream takes most of
    // the budget and keeps it while its message waits for the engine; the second must wait.
    let budget = Budget::of_kib(640, here());
    let mut sync = Vec::new();
    PushPull::encode(false, std::iter::empty(), &vec![2; 400 * 1024], &mut sync);
    let (mut first, mut first_reports) = serve(1, &budget);
    first.write_all(&sync).await.unwrap();
    let held = within(first_reports.recv()).await.unwrap();
    assert!(is_message(&held));

    let (mut second, mut second_reports) = serve(2, &budget);
    second.write_all(&sync).await.unwrap();
    // A ping needs no memory of the budget.
    let (mut small, mut small_reports) = serve(3, &budget);
    small.write_all(&ping()).await.unwrap();
    assert!(is_message(&within(small_reports.recv()).await.unwrap()));
    let waits = timeout(Duration::from_millis(100), second_reports.recv()).await;
    assert!(waits.is_err(), "the second was read without room");

    drop(held);
    assert!(is_message(&within(second_reports.recv()).await.unwrap()));
}

fn is_message(reports: &Internal) -> bool {
    matches!(reports, Internal::Stream { input: StreamInput::Message(_), .. })
}

/// A compressed user message of this size.
fn bomb(bytes: usize) -> Vec<u8> {
    let mut message = Vec::new();
    UserHeader { user_msg_len: bytes as i64 }.encode(&mut message);
    // Compresses only little below the allowed ratio.
    message.extend((0..bytes).map(|at| if at % 64 == 0 { (at / 64 % 251) as u8 } else { 0 }));
    let config = CodecConfig { compression: true.into(), ..CodecConfig::default() };
    let codec = PacketCodec::build(config).unwrap().stream_codec();
    let mut sealed = Vec::new();
    codec.seal(&mut Rng::from_u64(1), Role::Dialer, &message, &mut sealed);
    sealed
}

#[tokio::test]
async fn what_unpacks_to_more_than_a_small_stream_holds_waits_for_its_turn() {
    // Goal: compressed streams are charged by their decompressed size, also while the message waits
    // for the engine. Method: several large ones at once; only one may be decompressed at a time.
    let budget = Budget::of_kib(8 * 1024, here());
    let packed = bomb(4 * 1024 * 1024);
    assert!(packed.len() < 200 * 1024, "{}", packed.len());
    let (mut first, mut first_reports) = serve(1, &budget);
    first.write_all(&packed).await.unwrap();
    let held = within(first_reports.recv()).await.unwrap();
    assert!(is_message(&held));
    let mut others = Vec::new();
    for id in 2..6 {
        let (mut stream, reports) = serve(id, &budget);
        stream.write_all(&packed).await.unwrap();
        others.push((stream, reports));
    }
    // Those with a small decompressed size pass meanwhile.
    let (mut small, mut small_reports) = serve(9, &budget);
    small.write_all(&bomb(500 * 1024)).await.unwrap();
    assert!(is_message(&within(small_reports.recv()).await.unwrap()));
    for (_, reports) in &mut others {
        let waits = timeout(Duration::from_millis(20), reports.recv()).await;
        assert!(waits.is_err(), "two were unpacked at a time");
    }
    drop(held);
    for (_, reports) in &mut others {
        assert!(is_message(&within(reports.recv()).await.unwrap()));
    }
}

#[tokio::test]
async fn memory_is_asked_for_before_the_buffer_grows() {
    // Goal: endless streams (e.g. encrypted with an unknown key) take no more memory than the
    // budget. Method: many streams that never finish; those without a share are not read.
    let budget = Budget::of_kib(256, here());
    let mut header = Vec::new();
    UserHeader { user_msg_len: 20 * 1024 * 1024 }.encode(&mut header);
    let mut streams = Vec::new();
    for id in 0..16 {
        let (mut stream, reports) = serve(id, &budget);
        stream.write_all(&header).await.unwrap();
        streams.push((stream, reports));
    }
    let piece = vec![0; 8 * 1024];
    let mut taken = 0;
    for (stream, _) in &mut streams {
        // The duplex holds 1 MiB; data read by the node makes room for more.
        while timeout(Duration::from_millis(5), stream.write_all(&piece)).await.is_ok() {
            taken += piece.len();
        }
    }
    let unread = streams.len() * 1024 * 1024;
    let held = taken.saturating_sub(unread);
    assert!(held <= 256 * 1024 + 16 * 3 * 16 * 1024, "{held} bytes were taken");
}

#[tokio::test]
async fn share_that_others_wait_for_is_not_held_for_long() {
    let budget = Budget::of_kib(600, here());
    let mut sync = Vec::new();
    PushPull::encode(false, std::iter::empty(), &vec![2; 400 * 1024], &mut sync);
    // It stops in the middle, which is tolerated as long as no other stream waits.
    let (mut idle, mut idle_reports) = serve(1, &budget);
    idle.write_all(&sync[..300 * 1024]).await.unwrap();
    assert!(timeout(Duration::from_millis(3_500), idle_reports.recv()).await.is_err());
    // Another stream needs its memory.
    let (mut busy, mut busy_reports) = serve(2, &budget);
    busy.write_all(&sync).await.unwrap();
    assert!(is_message(&within(busy_reports.recv()).await.unwrap()));
    let ended = within(idle_reports.recv()).await.unwrap();
    assert!(matches!(ended, Internal::Stream { input: StreamInput::Failed { .. }, .. }));
}

#[tokio::test(start_paused = true)]
async fn lingering_streams_count_until_they_are_closed() {
    let (node, streams) = quiet(Duration::from_secs(600)).await;
    // Answered, but not closed by the peer: each lingers for half a second.
    let mut lingering = Vec::new();
    for _ in 0..1_100 {
        let mut stream = open(&streams, [10, 0, 0, 66]).await;
        stream.write_all(&ping()).await.unwrap();
        lingering.push(stream);
    }
    is_answered(&mut open(&streams, [10, 0, 0, 3]).await).await;
    let tasks = node.inspect(|node| node.tasks.count()).await.unwrap();
    // The additional one accepts streams.
    assert!(tasks <= 1_024 + 1, "{tasks} tasks");
}

/// A socket that fails whenever it is polled.
struct Broken(std::sync::atomic::AtomicUsize);

impl Transport for Arc<Broken> {
    type Stream = DuplexStream;

    fn local_addr(&self) -> SocketAddr {
        ([10, 0, 0, 1], 7946).into()
    }

    fn try_send_to(&self, _: &[u8], _: SocketAddr) -> io::Result<()> {
        Ok(())
    }

    async fn readable(&self) -> io::Result<()> {
        self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        Err(io::ErrorKind::Other.into())
    }

    fn try_recv_from(&self, _: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        Err(io::ErrorKind::WouldBlock.into())
    }

    async fn connect(&self, _: SocketAddr) -> io::Result<DuplexStream> {
        Err(io::ErrorKind::ConnectionRefused.into())
    }

    async fn accept(&self) -> io::Result<(DuplexStream, SocketAddr)> {
        std::future::pending().await
    }
}

#[tokio::test(start_paused = true)]
async fn socket_that_fails_holds_up_no_calls_and_is_not_asked_all_the_time() {
    let socket = Arc::new(Broken(0.into()));
    let node = builder("a").start_on(Arc::clone(&socket)).await.unwrap();
    let began = tokio::time::Instant::now();
    for _ in 0..1_000 {
        within(node.members()).await;
        tokio::time::sleep(Duration::from_micros(1)).await;
    }
    let asked = socket.0.load(std::sync::atomic::Ordering::Relaxed);
    let millis = began.elapsed().as_millis() as usize;
    assert!(asked <= millis + 10, "asked {asked} times in {millis} ms");
    assert!(asked > 1, "never again");
}
