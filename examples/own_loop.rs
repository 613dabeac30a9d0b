//! The engine on a loop of one's own: sockets and threads of std, no tokio.
//!
//! The engine is a value. The loop feeds it datagrams, what happens on streams, and the time, and
//! does what comes out. A stream is one request and at most one answer; here each has a thread.
//!
//! Run it: `cargo run --no-default-features --example own_loop`

use std::{
    collections::HashMap,
    hash::{BuildHasher as _, Hasher as _, RandomState},
    io::{self, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream, UdpSocket},
    sync::mpsc::{self, Receiver, Sender},
    thread,
    time::Duration,
};

use ruserf::{
    Config, UserEventSpec,
    engine::{
        Engine, Event, Instant, Machine, OldEvents, Output, Rng, Role, StreamCodec, StreamDecoder,
        StreamId, StreamInput, SwimOutput,
    },
};

type Command = Box<dyn FnOnce(&mut Engine, Instant) + Send>;

fn main() -> io::Result<()> {
    let (a, heard_by_a) = start("a")?;
    let (b, _heard_by_b) = start("b")?;
    let entry = a.address.to_string();
    b.run(move |engine, now| drop(engine.start_join(now, &[entry], OldEvents::Ignore)));
    let wait = |what: &str| {
        // Longer than any of the engine's timers.
        let heard = heard_by_a.iter().find(|line| line == what);
        println!("a heard: {}", heard.expect("the node runs"));
    };
    wait("member-join b");
    b.run(|engine, now| {
        engine.user_event(now, &UserEventSpec::new("deploy", "v2")).expect("it is small");
    });
    wait("deploy v2");
    b.run(|engine, now| drop(engine.start_leave(now)));
    wait("member-leave b");
    Ok(())
}

/// A node that runs on a thread.
struct Handle {
    address: SocketAddr,
    commands: Sender<Command>,
}

impl Handle {
    fn run(&self, command: impl FnOnce(&mut Engine, Instant) + Send + 'static) {
        self.commands.send(Box::new(command)).expect("the node runs");
    }
}

/// Starts a node on a free port of loopback; gives its events as text.
fn start(name: &str) -> io::Result<(Handle, Receiver<String>)> {
    // UDP and TCP have the same port.
    let tcp = TcpListener::bind("127.0.0.1:0")?;
    tcp.set_nonblocking(true)?;
    let address = tcp.local_addr()?;
    let udp = UdpSocket::bind(address)?;
    let origin = std::time::Instant::now();
    let machine = Machine::new(address, seed());
    let engine =
        Engine::new(Config::local(name), machine, Instant::ZERO).expect("a valid configuration");
    let (commands, command_queue) = mpsc::channel();
    let (happened, inputs) = mpsc::channel();
    let (heard, events) = mpsc::channel();
    let accepted = HashMap::new();
    let node =
        Node { engine, udp, tcp, origin, commands: command_queue, happened, inputs, accepted };
    thread::spawn(move || node.run(&heard));
    Ok((Handle { address, commands }, events))
}

struct Node {
    engine: Engine,
    udp: UdpSocket,
    tcp: TcpListener,
    origin: std::time::Instant,
    commands: Receiver<Command>,
    /// What happened on streams, from their threads.
    happened: Sender<(StreamId, StreamInput)>,
    inputs: Receiver<(StreamId, StreamInput)>,
    /// Accepted streams that may be answered.
    accepted: HashMap<StreamId, TcpStream>,
}

impl Node {
    /// Runs until nobody listens to its events any more.
    fn run(mut self, heard: &Sender<String>) {
        let mut datagram = [0; 65_536];
        loop {
            while let Some(output) = self.engine.poll_output() {
                if let Output::Event(event) = output {
                    if heard.send(text(&event)).is_err() {
                        return;
                    }
                } else if let Output::Swim(output) = output {
                    self.perform(output);
                }
            }
            // Waits for datagrams; streams and commands are looked at every few milliseconds.
            let now = self.now();
            let due = self.engine.poll_timeout().map_or(TURN, |at| at.since(now));
            let wait = due.clamp(Duration::from_millis(1), TURN);
            self.udp.set_read_timeout(Some(wait)).expect("the time is not zero");
            if let Ok((len, from)) = self.udp.recv_from(&mut datagram) {
                self.engine.handle_packet(self.now(), from, &datagram[..len]);
                self.engine.handle_queued(self.now());
            }
            if let Ok((stream, from)) = self.tcp.accept() {
                self.accept(stream, from);
            }
            let now = self.now();
            while let Ok((id, input)) = self.inputs.try_recv() {
                self.engine.handle_stream(now, id, input);
            }
            while let Ok(command) = self.commands.try_recv() {
                command(&mut self.engine, now);
            }
            if self.engine.poll_timeout().is_some_and(|at| at <= now) {
                self.engine.handle_timeout(now);
            }
        }
    }

    fn now(&self) -> Instant {
        Instant::ZERO + self.origin.elapsed()
    }

    fn perform(&mut self, output: SwimOutput) {
        let (codec, happened) = (self.engine.stream_codec(), self.happened.clone());
        let now = self.now();
        match output {
            // A datagram that cannot be sent is lost, as others are on the way.
            SwimOutput::Packet { to, data } => drop(self.udp.send_to(&data, to)),
            SwimOutput::Open { id, to, message, reply, deadline } => {
                let time = deadline.since(now).max(Duration::from_millis(1));
                thread::spawn(move || {
                    let input = match TcpStream::connect_timeout(&to, time) {
                        Ok(stream) => ask(&stream, &codec, &message, reply, time),
                        Err(error) => failed(false, &error),
                    };
                    // A node that has ended has no use for it.
                    let _ = happened.send((id, input));
                });
            }
            SwimOutput::Reply { id, message, deadline } => {
                let Some(stream) = self.accepted.remove(&id) else { return };
                let time = deadline.since(now).max(Duration::from_millis(1));
                thread::spawn(move || {
                    let input = match send(&stream, &codec, Role::Acceptor, &message, time) {
                        Ok(()) => StreamInput::Sent,
                        Err(error) => failed(true, &error),
                    };
                    let _ = happened.send((id, input));
                });
            }
            SwimOutput::Close { id } => drop(self.accepted.remove(&id)),
        }
    }

    fn accept(&mut self, stream: TcpStream, from: SocketAddr) {
        let id = self.engine.accept_stream();
        self.engine.handle_stream(self.now(), id, StreamInput::Accepted { from });
        let (codec, happened) = (self.engine.stream_codec(), self.happened.clone());
        let Ok(reader) = stream.try_clone() else { return };
        self.accepted.insert(id, stream);
        thread::spawn(move || {
            let input = receive(&reader, codec, Role::Acceptor, STREAM_TIME)
                .unwrap_or_else(|error| failed(true, &error));
            let _ = happened.send((id, input));
        });
    }
}

/// A stream that we opened: a request, and an answer if there is to be one.
fn ask(
    stream: &TcpStream,
    codec: &StreamCodec,
    message: &[u8],
    reply: bool,
    time: Duration,
) -> StreamInput {
    let answer = send(stream, codec, Role::Dialer, message, time).and_then(|()| match reply {
        true => receive(stream, codec.clone(), Role::Dialer, time),
        false => Ok(StreamInput::Sent),
    });
    answer.unwrap_or_else(|error| failed(true, &error))
}

fn send(
    mut stream: &TcpStream,
    codec: &StreamCodec,
    role: Role,
    message: &[u8],
    time: Duration,
) -> io::Result<()> {
    let mut bytes = Vec::new();
    codec.seal(&mut Rng::from_seed(seed()), role, message, &mut bytes);
    stream.set_nonblocking(false)?;
    stream.set_write_timeout(Some(time))?;
    stream.write_all(&bytes)
}

/// Reads one message.
fn receive(
    mut stream: &TcpStream,
    codec: StreamCodec,
    role: Role,
    time: Duration,
) -> io::Result<StreamInput> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(time))?;
    let mut decoder = StreamDecoder::new(codec, role);
    let mut buffer = [0; 4096];
    loop {
        let len = stream.read(&mut buffer)?;
        if len == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        match decoder.feed(&buffer[..len]) {
            Ok(Some(message)) => return Ok(StreamInput::Message(message)),
            Ok(None) => {}
            Err(error) => return Ok(StreamInput::Broken(error)),
        }
    }
}

fn failed(connected: bool, error: &io::Error) -> StreamInput {
    StreamInput::Failed { connected, error: error.to_string() }
}

fn text(event: &Event) -> String {
    match event {
        Event::Member(change) => format!("{} {}", change.kind, change.members[0].name),
        Event::User(event) => format!("{} {}", event.name, String::from_utf8_lossy(&event.payload)),
        Event::Query(query) => format!("asked {}", query.name),
        _ => String::new(),
    }
}

/// What std has of randomness. A program with keys takes 32 bytes from the system instead.
fn seed() -> [u8; 32] {
    let mut seed = [0; 32];
    for part in seed.chunks_mut(8) {
        part.copy_from_slice(&RandomState::new().build_hasher().finish().to_ne_bytes());
    }
    seed
}

/// Longest wait for a datagram before streams and commands are looked at.
const TURN: Duration = Duration::from_millis(5);
/// Longest time for the request of an accepted stream.
const STREAM_TIME: Duration = Duration::from_secs(10);
