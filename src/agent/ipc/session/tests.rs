use std::{
    io,
    pin::Pin,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf},
    task::JoinSet,
};

use super::*;
use crate::{
    agent::{
        ipc::{
            admission::{Admission, LARGE_REQUESTS_MAX},
            answers::ANSWERS_BYTES_MAX,
        },
        testing::agent,
    },
    rpc::protocol::{Blob, Handshake},
};

fn request(command: &str, seq: u64, body: Option<&impl Serialize>) -> Vec<u8> {
    #[derive(Serialize)]
    #[serde(rename_all = "PascalCase")]
    struct Header<'a> {
        command: &'a str,
        seq: u64,
    }
    let mut bytes = Vec::new();
    encode(&Header { command, seq }, &mut bytes);
    if let Some(body) = body {
        encode(body, &mut bytes);
    }
    bytes
}

fn handshake() -> Vec<u8> {
    request("handshake", 0, Some(&Handshake { version: 1 }))
}

fn client(
    input: impl AsyncRead + Send + Unpin + 'static,
    output: impl AsyncWrite + Send + Unpin + 'static,
) -> Accepted {
    Accepted {
        name: "c".to_owned(),
        origin: None,
        uid: None,
        certificate: None,
        input: Box::new(input),
        output: Box::new(output),
    }
}

fn pass() -> Pass {
    Admission::new(64).admit(None, std::time::Instant::now()).unwrap()
}

/// Provides its data in reads of the requested size, and counts them.
struct Input {
    bytes: io::Cursor<Vec<u8>>,
    taken: Arc<AtomicUsize>,
}

impl AsyncRead for Input {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        let read = Pin::new(&mut this.bytes).poll_read(context, buf);
        this.taken.fetch_add(buf.filled().len() - before, Ordering::Relaxed);
        read
    }
}

/// Accepts everything and records the sizes of writes, or accepts nothing.
#[derive(Clone, Default)]
struct Output {
    takes: bool,
    writes: Arc<Mutex<Vec<usize>>>,
}

impl AsyncWrite for Output {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if !self.takes {
            return Poll::Pending;
        }
        self.writes.lock().unwrap().push(bytes.len());
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[tokio::test]
async fn many_answers_to_pipelined_requests_go_out_in_parts() {
    const REQUESTS: usize = 20_000;
    let agent = agent("{}").await;
    let mut bytes = handshake();
    // From now on the buffer is large: all further data is available at once.
    let large = EventRequest { payload: Blob(vec![0; 900 << 10]), ..EventRequest::default() };
    bytes.extend(request("event", 1, Some(&large)));
    for _ in 0..REQUESTS {
        bytes.extend(request("members", 2, None::<&()>));
    }
    let input = Input { bytes: io::Cursor::new(bytes), taken: Arc::default() };
    let output = Output { takes: true, ..Output::default() };
    let events = Arc::new(Events::start(&agent));
    run(agent, events, pass(), client(input, output.clone())).await;
    let writes = output.writes.lock().unwrap();
    assert!(writes.iter().sum::<usize>() > REQUESTS * 100, "{writes:?}");
    let largest = writes.iter().max().unwrap();
    assert!(*largest < 512 << 10, "{writes:?}");
}

/// If a client pipelines requests for large answers without reading, only one answer is prepared,
/// and a second client waits for its turn rather than for memory.
#[tokio::test]
async fn large_answers_that_nobody_reads_cost_a_bounded_price() {
    let admission = Admission::new(64);
    let (out, mut frames) = Outbox::new(Arc::clone(&admission.answers));
    let (other, mut other_frames) = Outbox::new(Arc::clone(&admission.answers));
    let large = ANSWERS_BYTES_MAX / 2 + 1;
    assert!(out.answer(vec![0; large]).await);
    let waits = async |future: &mut (dyn Future<Output = bool> + Unpin)| {
        tokio::time::timeout(Duration::from_millis(50), future).await.is_err()
    };
    let mut second = Box::pin(out.answer(vec![0; large]));
    assert!(waits(&mut second).await, "one at a time for a client");
    let mut third = Box::pin(other.answer(vec![0; large]));
    assert!(waits(&mut third).await, "all clients share");
    // Small answers and records of other clients pass.
    let (small, mut small_frames) = Outbox::new(Arc::clone(&admission.answers));
    assert!(small.answer(vec![0; 1_000]).await);
    assert!(small.record(small.place(1_000).await, vec![0; 1_000]));
    drop(second);
    drop(frames.recv().await.unwrap());
    assert!(third.await);
    assert!(other_frames.recv().await.is_some() && small_frames.recv().await.is_some());
}

#[tokio::test]
async fn records_wait_for_the_answer_to_the_request_that_caused_them() {
    let (out, mut frames) = Outbox::new(Admission::new(64).answers.clone());
    let turn = out.turn().await;
    let records = out.clone();
    let sent = async move { records.record(records.place(6).await, b"record".to_vec()) };
    let sent = tokio::spawn(sent);
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert!(out.answer(b"answer".to_vec()).await);
    drop(turn);
    assert!(sent.await.unwrap());
    for expected in [&b"answer"[..], b"record"] {
        assert_eq!(frames.recv().await.unwrap().bytes(), expected);
    }
}

#[tokio::test]
async fn who_does_not_read_answers_is_asked_for_no_more_requests() {
    let agent = agent("{}").await;
    let mut bytes = handshake();
    let one = request("members", 2, None::<&()>);
    for _ in 0..200_000 {
        bytes.extend(&one);
    }
    let (all, taken) = (bytes.len(), Arc::new(AtomicUsize::new(0)));
    let input = Input { bytes: io::Cursor::new(bytes), taken: Arc::clone(&taken) };
    let events = Arc::new(Events::start(&agent));
    let session = run(agent, events, pass(), client(input, Output::default()));
    let session = tokio::spawn(session);
    let mut before = 0;
    loop {
        tokio::time::sleep(Duration::from_millis(300)).await;
        let now = taken.load(Ordering::Relaxed);
        if now == before && now > 0 {
            break;
        }
        before = now;
    }
    session.abort();
    assert!(before < 128 << 10, "{before} of {all} bytes of requests were taken");
}

/// Goal: the received parts of large requests are held for a few clients at a time; the others wait
/// for their turn, and small requests do not wait.
#[tokio::test]
async fn large_requests_are_read_a_few_at_a_time() {
    let agent = agent("{}").await;
    let (events, admission) = (Arc::new(Events::start(&agent)), Admission::new(64));
    let large = EventRequest { payload: Blob(vec![0; 900 << 10]), ..EventRequest::default() };
    let mut half = handshake();
    half.extend(&request("event", 1, Some(&large))[..600 << 10]);
    let (mut clients, mut sent) = (Vec::new(), JoinSet::new());
    for _ in 0..LARGE_REQUESTS_MAX + 1 {
        let (ours, theirs) = tokio::io::duplex(8 << 10);
        let (input, output) = tokio::io::split(theirs);
        let pass = admission.admit(None, std::time::Instant::now()).unwrap();
        let (agent, events) = (Arc::clone(&agent), Arc::clone(&events));
        let session = run(agent, events, pass, client(input, output));
        clients.push(Task(tokio::spawn(session)));
        let (_, mut ours) = tokio::io::split(ours);
        let half = half.clone();
        sent.spawn(async move { ours.write_all(&half).await.map(|()| ours) });
    }
    let mut first = Vec::new();
    while first.len() < LARGE_REQUESTS_MAX {
        first.push(sent.join_next().await.unwrap().unwrap().unwrap());
    }
    assert!(timeout(Duration::from_millis(300), sent.join_next()).await.is_err());
    assert!(answer_to_members(&agent, &events, &admission).await > 100);
    // One client goes, which makes room for the last.
    first.pop();
    let last = timeout(Duration::from_secs(20), sent.join_next()).await;
    assert!(matches!(last, Ok(Some(Ok(Ok(_))))));
    drop(clients);
}

/// Without room, a session whose client has disconnected ends, whatever it waits for, and releases
/// its place; one whose client is connected continues once there is room.
#[tokio::test]
async fn who_has_closed_does_not_wait_for_room() {
    let agent = agent("{}").await;
    let (events, admission) = (Arc::new(Events::start(&agent)), Admission::new(64));
    let ask = |requests: Vec<u8>| {
        let (ours, theirs) = tokio::io::duplex(64 << 10);
        let (input, output) = tokio::io::split(theirs);
        let pass = admission.admit(None, std::time::Instant::now()).unwrap();
        let (agent, events) = (Arc::clone(&agent), Arc::clone(&events));
        let session = run(agent, events, pass, client(input, output));
        let session = tokio::spawn(session);
        async move {
            let (mut answers, mut ours) = tokio::io::split(ours);
            ours.write_all(&requests).await.unwrap();
            // Only the sending side, so that answers could still be read.
            ours.shutdown().await.unwrap();
            let mut read = Vec::new();
            let _ = answers.read_to_end(&mut read).await;
            session.await.unwrap();
            read.len()
        }
    };
    let mut many = handshake();
    (0..400).for_each(|_| many.extend(request("members", 2, None::<&()>)));
    // If there is room, the end of the requests does not lose answers.
    let all = timeout(Duration::from_secs(20), ask(many.clone())).await.unwrap();
    assert!(all > 2 * OWN_BYTES_MAX, "{all}");

    let room = admission.answers.try_share(ANSWERS_BYTES_MAX).unwrap();
    let none = timeout(Duration::from_secs(20), ask(many.clone())).await;
    assert!(none.is_ok_and(|read| read < all));
    let mut turns = Vec::new();
    let waiting = admission.admit(None, std::time::Instant::now()).unwrap();
    for _ in 0..LARGE_REQUESTS_MAX {
        turns.push(waiting.large_request().await);
    }
    let large = EventRequest { payload: Blob(vec![0; 900 << 10]), ..EventRequest::default() };
    let mut half = handshake();
    half.extend(&request("event", 1, Some(&large))[..20 << 10]);
    assert!(timeout(Duration::from_secs(20), ask(half)).await.is_ok());
    drop((room, turns));
    assert_eq!(timeout(Duration::from_secs(20), ask(many)).await.unwrap(), all);
}

/// Sends one request and returns the size of the answer.
async fn answer_to_members(
    agent: &Arc<Agent>,
    events: &Arc<Events>,
    admission: &Arc<Admission>,
) -> usize {
    let mut bytes = handshake();
    bytes.extend(request("members", 2, None::<&()>));
    let input = Input { bytes: io::Cursor::new(bytes), taken: Arc::default() };
    let output = Output { takes: true, ..Output::default() };
    let pass = admission.admit(None, std::time::Instant::now()).unwrap();
    let (agent, events) = (Arc::clone(agent), Arc::clone(events));
    run(agent, events, pass, client(input, output.clone())).await;
    output.writes.lock().unwrap().iter().sum()
}
