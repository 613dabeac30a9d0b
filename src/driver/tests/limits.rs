//! Peers that open streams and do nothing good with them.

use std::{io, net::SocketAddr, time::Instant};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex},
    sync::{Mutex, mpsc},
};

use super::{
    super::stream::{Budget, StreamTask},
    super::task::Internal,
    measured::Told,
    *,
};
use crate::{
    base::Rng,
    swim::{StreamId, StreamInput},
    transport::Transport,
    wire::{CodecConfig, PacketCodec, Ping, PushPull, SeqNo},
};

/// A network without sockets: streams come from the test, datagrams go nowhere.
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

/// A node, and where its streams come from.
async fn quiet(timeout: Duration) -> (Serf, mpsc::Sender<(DuplexStream, SocketAddr)>) {
    let (streams, accepted) = mpsc::channel(1);
    let mut builder = builder("quiet");
    builder.config.swim.tcp_timeout = timeout;
    builder.config.swim.codec.compression = false.into();
    let node = builder.start_on(Quiet(Mutex::new(accepted))).await.unwrap();
    (node, streams)
}

async fn open(streams: &mpsc::Sender<(DuplexStream, SocketAddr)>, from: [u8; 4]) -> DuplexStream {
    let (ours, theirs) = duplex(64 * 1024);
    streams.send((theirs, (from, 7946).into())).await.unwrap();
    ours
}

/// A ping of a stream.
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

#[tokio::test]
async fn idle_streams_of_one_peer_keep_nobody_out() {
    let told = Told::default();
    let _guard = metrics::set_default_local_recorder(&told);
    let (_node, streams) = quiet(Duration::from_secs(600)).await;
    // Two honest peers that take their time, and one that fills the table.
    let mut early = open(&streams, [10, 0, 0, 2]).await;
    let mut idle = Vec::new();
    for _ in 0..1_100 {
        idle.push(open(&streams, [10, 0, 0, 66]).await);
    }
    is_answered(&mut open(&streams, [10, 0, 0, 3]).await).await;
    is_answered(&mut early).await;
    let evicted = told.count("memberlist.tcp.evicted");
    assert!((77..=80).contains(&evicted), "1,024 stay open: {evicted}");
    // The oldest of the busiest went.
    assert!(is_closed(&mut idle[0]).await);
    assert!(!is_closed(idle.last_mut().unwrap()).await);
}

#[tokio::test]
async fn stream_that_dribbles_ends_at_the_timeout() {
    let limit = Duration::from_millis(300);
    let (_node, streams) = quiet(limit).await;
    let began = Instant::now();
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
    assert!(cut >= limit, "cut after {cut:?}");
    is_answered(&mut open(&streams, [10, 0, 0, 2]).await).await;
}

/// A task that reads a request under a budget; what it tells comes out of the channel.
fn serve(id: u64, budget: &Budget) -> (DuplexStream, mpsc::Receiver<Internal>) {
    let (ours, theirs) = duplex(1024 * 1024);
    let (engine, told) = mpsc::channel(4);
    let codec = PacketCodec::build(CodecConfig::default()).unwrap().stream_codec();
    let deadline = tokio::time::Instant::now() + Duration::from_secs(600);
    let rng = Rng::from_u64(id);
    let task = StreamTask { id: StreamId(id), codec, rng, deadline, engine };
    let (_reply, answer) = tokio::sync::oneshot::channel();
    tokio::spawn(task.serve(theirs, budget.clone(), answer));
    (ours, told)
}

#[tokio::test]
async fn streams_share_one_budget_and_small_ones_pass() {
    // Goal: memory of inbound streams is bounded together. Method: the first stream takes most of
    // the budget and keeps it while its message waits for the engine; the second must wait.
    let budget = Budget::of_kib(640);
    let mut sync = Vec::new();
    PushPull::encode(false, std::iter::empty(), &vec![2; 400 * 1024], &mut sync);
    let (mut first, mut first_told) = serve(1, &budget);
    first.write_all(&sync).await.unwrap();
    let held = within(first_told.recv()).await.unwrap();
    assert!(is_message(&held));

    let (mut second, mut second_told) = serve(2, &budget);
    second.write_all(&sync).await.unwrap();
    // A ping needs nothing of the budget.
    let (mut small, mut small_told) = serve(3, &budget);
    small.write_all(&ping()).await.unwrap();
    assert!(is_message(&within(small_told.recv()).await.unwrap()));
    let waits = timeout(Duration::from_millis(100), second_told.recv()).await;
    assert!(waits.is_err(), "the second was read without room");

    drop(held);
    assert!(is_message(&within(second_told.recv()).await.unwrap()));
}

fn is_message(told: &Internal) -> bool {
    matches!(told, Internal::Stream { input: StreamInput::Message(_), .. })
}
