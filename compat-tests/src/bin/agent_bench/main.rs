//! One agent of either kind under the loads that matter, for scripts/bench-agent.
//!
//! `agent_bench PROGRAM [lone|crowd|events|packets|steady|http|lists|raw]...` prints one line
//! `name value` a measure; with `lists` it takes several programs, `PROGRAM,PROGRAM`. It simulates
//! the rest of the cluster: one socket answers the pings of all 10,000 members.

mod flood;
mod http;
mod lists;

use std::{
    env, fs,
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream, UdpSocket},
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use ruserf::{
    client,
    rpc::protocol,
    serf::{
        LamportTime, Message as SerfMessage, MsgpackTransform, Tags, TransformDelegate,
        message::PushPull as SerfState,
    },
    wire::{
        Ack, CodecConfig, Incarnation, Message, NodeState, PacketCodec, PushPull, Role,
        StreamDecoder, StreamMessage,
    },
};

fn main() {
    let mut args = env::args().skip(1);
    let program = args.next().expect("the agent's program");
    let wanted: Vec<_> = args.collect();
    let parts: [(&str, Measure); 8] = [
        ("lone", lone),
        ("crowd", crowd),
        ("events", events),
        ("packets", flood::packets),
        ("steady", flood::steady),
        ("http", http::measure),
        ("lists", lists::measure),
        ("raw", raw),
    ];
    for (name, measure) in parts {
        // Go's agent has no HTTP, and the others are parts of those.
        if wanted.is_empty() && !matches!(name, "steady" | "http" | "lists")
            || wanted.iter().any(|part| part == name)
        {
            measure(&program);
        }
    }
}

/// Measures a program and prints.
type Measure = fn(&str);

fn report(name: &str, value: f64) {
    println!("{name} {value:.6}");
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// An agent on ports of its own; killed by pid when dropped.
struct Agent {
    child: Child,
    gossip: SocketAddr,
    rpc: SocketAddr,
    started_in: Duration,
}

impl Agent {
    fn start(program: &str, flags: &[&str]) -> Self {
        let (gossip, rpc) = (free_addr(), free_addr());
        let mut command = Command::new(program);
        command.args(["agent", "-node", "subject", "-log-level", "warn"]);
        command.args(["-bind", &gossip.to_string(), "-rpc-addr", &rpc.to_string()]).args(flags);
        let began = Instant::now();
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the agent starts");
        while TcpStream::connect(rpc).is_err() {
            assert!(began.elapsed() < Duration::from_secs(20), "no RPC");
            thread::sleep(Duration::from_micros(200));
        }
        let mut agent = Self { child, gossip, rpc, started_in: Duration::ZERO };
        drop(agent.connect());
        agent.started_in = began.elapsed();
        agent
    }

    /// An RPC connection after its handshake.
    fn connect(&self) -> TcpStream {
        let mut stream = TcpStream::connect(self.rpc).expect("RPC");
        stream.set_nodelay(true).unwrap();
        stream.write_all(&request("handshake", 0, &protocol::Handshake { version: 1 })).unwrap();
        read_replies(&mut stream, 1, &mut Vec::new());
        stream
    }

    /// Joins the crowd and waits until all its members are listed.
    async fn join(&self, addr: String) {
        let config = client::Config::new(self.rpc.to_string());
        let client = client::Client::connect(config).await.expect("RPC");
        assert_eq!(client.join([addr], client::OldEvents::Ignore).await.expect("joined"), 1);
        while client.members().await.expect("members").len() < MEMBERS + 1 {
            thread::sleep(Duration::from_millis(2));
        }
    }

    /// Resident and anonymous KiB.
    fn memory(&self) -> (f64, f64) {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let value = |key: &str| {
            let line = status.lines().find(|line| line.starts_with(key)).expect("a line");
            line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap()
        };
        (value("VmRSS:"), value("RssAnon:"))
    }

    /// CPU seconds used so far.
    fn cpu(&self) -> f64 {
        // In nanoseconds, over the threads that live; agents keep theirs.
        let tasks = fs::read_dir(format!("/proc/{}/task", self.child.id())).unwrap();
        let nanos = |task: std::io::Result<fs::DirEntry>| -> Option<f64> {
            let text = fs::read_to_string(task.ok()?.path().join("schedstat")).ok()?;
            text.split_whitespace().next()?.parse().ok()
        };
        tasks.filter_map(nanos).sum::<f64>() / 1e9
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn free_addr() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().unwrap()
}

fn request<T: serde::Serialize>(command: &str, seq: u64, body: &T) -> Vec<u8> {
    let mut bytes = Vec::new();
    let header = protocol::RequestHeader::new(command, seq);
    ruserf::rpc::encode(&header, &mut bytes);
    ruserf::rpc::encode(body, &mut bytes);
    bytes
}

/// Reads until `count` more reply headers came.
fn read_replies(stream: &mut TcpStream, count: usize, rest: &mut Vec<u8>) {
    let mut buf = vec![0; 1 << 16];
    let mut seen = 0;
    while seen < count {
        let n = stream.read(&mut buf).expect("replies");
        assert!(n > 0, "the agent closed");
        rest.extend_from_slice(&buf[..n]);
        seen += rest.windows(4).filter(|window| window == b"\xa3Seq").count();
        // A header cut in two is counted with its rest.
        let keep = rest.len().min(3);
        rest.drain(..rest.len() - keep);
    }
}

fn lone(program: &str) {
    let mut starts = Vec::new();
    for _ in 0..9 {
        starts.push(Agent::start(program, &[]).started_in.as_secs_f64());
    }
    report("start_s", median(starts));
    let mut resident = Vec::new();
    for _ in 0..3 {
        let agent = Agent::start(program, &[]);
        thread::sleep(Duration::from_secs(3));
        resident.push(agent.memory().0 / 1024.0);
    }
    report("lone_rss_mib", median(resident));
}

/// A member list of 10,000 behind one address.
struct Crowd {
    tcp: TcpListener,
    udp: UdpSocket,
    stop: Arc<AtomicBool>,
    acks: Arc<AtomicU32>,
}

impl Crowd {
    fn open() -> Self {
        loop {
            let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
            if let Ok(udp) = UdpSocket::bind(tcp.local_addr().unwrap()) {
                let (stop, acks) = (Arc::default(), Arc::default());
                return Self { tcp, udp, stop, acks };
            }
        }
    }

    fn addr(&self) -> SocketAddr {
        self.udp.local_addr().unwrap()
    }

    /// Its half of a push/pull, in the frame that goes on the wire.
    fn state(&self, join: bool, members: usize) -> Vec<u8> {
        let names: Vec<String> = (0..members).map(|n| format!("member-{n:05}")).collect();
        let pairs = [("role", "web"), ("dc", "east-1"), ("build", "1.2.3"), ("rack", "r7")];
        let tags = Tags::from_pairs(pairs.map(|(key, value)| (key.to_owned(), value.to_owned())));
        let mut meta = Vec::new();
        MsgpackTransform.encode_tags(4, &tags, &mut meta);
        let rows = names.iter().map(|name| NodeState {
            name: name.as_bytes(),
            addr: [127, 0, 0, 1].as_slice().into(),
            port: self.addr().port(),
            meta: meta.as_slice().into(),
            incarnation: Incarnation(1),
            state: 0,
            vsn: VSN.as_slice().into(),
        });
        let state = SerfState {
            ltime: LamportTime(5),
            status_ltimes: names.iter().map(|name| (name.as_bytes(), LamportTime(3))).collect(),
            event_ltime: LamportTime(1),
            query_ltime: LamportTime(1),
            ..SerfState::default()
        };
        let mut user = Vec::new();
        MsgpackTransform.encode_message(&SerfMessage::PushPull(state), &mut user);
        let mut message = Vec::new();
        PushPull::encode(join, rows, &user, &mut message);
        let codec = PacketCodec::build(plain()).unwrap().stream_codec();
        let mut out = Vec::new();
        let mut rng = ruserf::base::Rng::from_u64(1);
        codec.seal(&mut rng, Role::Dialer, &message, &mut out);
        out
    }

    /// Answers every ping, and one push/pull for each connection.
    fn serve(&self) {
        let (udp, stop, acks) =
            (self.udp.try_clone().unwrap(), Arc::clone(&self.stop), Arc::clone(&self.acks));
        udp.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        thread::spawn(move || {
            let mut codec = PacketCodec::build(plain()).unwrap();
            let mut buf = vec![0; 65_536];
            while !stop.load(Ordering::Relaxed) {
                let Ok((n, from)) = udp.recv_from(&mut buf) else { continue };
                let mut scratch = Vec::new();
                let Ok(message) = codec.open(&buf[..n], &mut scratch) else { continue };
                answer(&udp, from, message, &acks);
            }
        });
        let (tcp, half, stop) =
            (self.tcp.try_clone().unwrap(), self.state(false, MEMBERS), Arc::clone(&self.stop));
        thread::spawn(move || {
            for stream in tcp.incoming() {
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                let Ok(mut stream) = stream else { continue };
                let codec = PacketCodec::build(plain()).unwrap().stream_codec();
                let mut decoder = StreamDecoder::new(codec.clone(), Role::Acceptor);
                let mut buf = vec![0; 1 << 16];
                while let Ok(n @ 1..) = stream.read(&mut buf) {
                    match decoder.feed(&buf[..n]) {
                        Ok(None) => {}
                        Ok(Some(StreamMessage::PushPull(_))) => {
                            let _ = stream.write_all(&half);
                            break;
                        }
                        _ => break,
                    }
                }
            }
        });
    }
}

fn answer(udp: &UdpSocket, from: SocketAddr, message: &[u8], acks: &AtomicU32) {
    match Message::decode(message) {
        Ok(Message::Ping(ping)) => {
            let mut out = Vec::new();
            Ack { seq_no: ping.seq_no, payload: (&b""[..]).into() }.encode(&mut out);
            let _ = udp.send_to(&out, from);
        }
        Ok(Message::Ack(_)) => {
            acks.fetch_add(1, Ordering::Relaxed);
        }
        Ok(Message::Compound(parts)) => {
            let Ok(parts) = ruserf::wire::CompoundParts::parse(parts) else { return };
            for part in parts.flatten() {
                answer(udp, from, part, acks);
            }
        }
        _ => {}
    }
}

fn plain() -> CodecConfig {
    CodecConfig { compression: true.into(), protocol_version: 2, ..CodecConfig::default() }
}

fn crowd(program: &str) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (mut joins, mut resident, mut anonymous) = (Vec::new(), Vec::new(), Vec::new());
    let mut kept = None;
    for _ in 0..3 {
        let crowd = Crowd::open();
        crowd.serve();
        let agent = Agent::start(program, &[]);
        let addr = crowd.addr().to_string();
        let began = Instant::now();
        runtime.block_on(agent.join(addr));
        joins.push(began.elapsed().as_secs_f64());
        thread::sleep(Duration::from_secs(10));
        let (all, anon) = agent.memory();
        resident.push(all / 1024.0);
        anonymous.push(anon / 1024.0);
        kept = Some((crowd, agent));
    }
    report("join_10000_s", median(joins));
    report("rss_10000_mib", median(resident));
    report("anon_10000_mib", median(anonymous));
    let (crowd, agent) = kept.expect("three rounds");

    let mut idle = Vec::new();
    for _ in 0..3 {
        let before = agent.cpu();
        thread::sleep(Duration::from_secs(10));
        idle.push((agent.cpu() - before) * 10.0);
    }
    report("idle_10000_percent", median(idle));

    report("members_rpc_ms", time_lists_ms(&agent));
    let (mut times, half) = (Vec::new(), crowd.state(false, 0));
    let before = agent.cpu();
    for _ in 0..15 {
        let began = Instant::now();
        let mut stream = TcpStream::connect(agent.gossip).unwrap();
        stream.write_all(&half).unwrap();
        let mut all = Vec::new();
        stream.read_to_end(&mut all).unwrap();
        assert!(all.len() > 10_000, "a whole state: {}", all.len());
        times.push(began.elapsed().as_secs_f64() * 1e3);
    }
    report("push_pull_served_ms", median(times));
    report("push_pull_cpu_ms", (agent.cpu() - before) * 1e3 / 15.0);
    crowd.stop.store(true, Ordering::Relaxed);
}

/// How long lists of all members over RPC take.
fn time_lists_ms(agent: &Agent) -> f64 {
    let mut times = Vec::new();
    let mut stream = agent.connect();
    let bytes = members_answer_bytes(&mut stream);
    for seq in 0..15 {
        let mut header = Vec::new();
        let request = protocol::RequestHeader::new("members", 100 + seq);
        ruserf::rpc::encode(&request, &mut header);
        let began = Instant::now();
        stream.write_all(&header).unwrap();
        let mut left = bytes;
        let mut buf = vec![0; 1 << 20];
        while left > 0 {
            left = left.saturating_sub(stream.read(&mut buf).expect("members"));
        }
        times.push(began.elapsed().as_secs_f64() * 1e3);
    }
    median(times)
}

/// How long the answer is: sequence numbers of 100 to 114 all take one byte.
fn members_answer_bytes(stream: &mut TcpStream) -> usize {
    let mut header = Vec::new();
    ruserf::rpc::encode(&protocol::RequestHeader::new("members", 99), &mut header);
    stream.write_all(&header).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
    let (mut total, mut buf) = (0, vec![0; 1 << 20]);
    while let Ok(n @ 1..) = stream.read(&mut buf) {
        total += n;
    }
    stream.set_read_timeout(None).unwrap();
    total
}

fn events(program: &str) {
    const EVENTS: usize = 50_000;
    let mut rates = Vec::new();
    for _ in 0..3 {
        let agent = Agent::start(program, &[]);
        let mut stream = agent.connect();
        let mut writer = stream.try_clone().unwrap();
        let sender = thread::spawn(move || {
            let mut batch = Vec::new();
            for seq in 1..=EVENTS {
                let event = protocol::EventRequest {
                    name: "deploy".into(),
                    payload: protocol::Blob(vec![b'p'; 80]),
                    coalesce: false,
                };
                batch.extend(request("event", seq as u64, &event));
                if batch.len() > 32_768 {
                    writer.write_all(&batch).unwrap();
                    batch.clear();
                }
            }
            writer.write_all(&batch).unwrap();
        });
        let began = Instant::now();
        read_replies(&mut stream, EVENTS, &mut Vec::new());
        rates.push(EVENTS as f64 / began.elapsed().as_secs_f64());
        sender.join().unwrap();
    }
    report("rpc_events_per_s", median(rates));
}

/// What the machine allows: a loop that receives such packets, one call each, and does nothing with
/// them, while another thread sends as many as it can.
fn raw(_program: &str) {
    let (to, from) = (UdpSocket::bind("127.0.0.1:0").unwrap(), UdpSocket::bind("127.0.0.1:0"));
    let (addr, from) = (to.local_addr().unwrap(), from.unwrap());
    to.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    let began = Instant::now();
    let sender = thread::spawn(move || {
        while began.elapsed() < Duration::from_secs(2) {
            (0..64).for_each(|_| drop(from.send_to(&[0; 700], addr)));
        }
    });
    let (mut count, mut buf) = (0_u64, [0; 2_048]);
    while to.recv_from(&mut buf).is_ok() {
        count += 1;
    }
    sender.join().unwrap();
    report("raw_recvfrom_per_s", count as f64 / 2.0);
}

const MEMBERS: usize = 10_000;
const VSN: [u8; 6] = [1, 5, 2, 2, 5, 4];
