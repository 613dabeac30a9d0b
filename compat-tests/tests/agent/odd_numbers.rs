//! Goal: numbers that are none, or have no end, in what a peer says about itself do to a live agent
//! what they do to Go's: such a coordinate is not used, and such a tag is no text. Method: a member
//! that this test forges is probed by agents of both programs, and acks with them.

use std::{
    collections::VecDeque,
    net::{SocketAddr, UdpSocket},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use compat_tests::{
    net::Net,
    peer::Peer,
    process::{BOTH, Kind},
    rpc::{Client, Value},
    wait::eventually,
};
use ruserf::wire::{
    Ack, Alive, CodecConfig, CompoundParts, Dead, Incarnation, Message, PacketCodec, Suspect,
};

/// Goal: a peer cannot move an agent to nowhere. Those of huge numbers are numbers; what they make
/// of our own begins anew.
// parity: agent-net: Coordinates that are no numbers
#[test]
fn coordinates_that_are_no_numbers_are_rejected_as_by_go() {
    let [go, ours] = of_both(coordinates_of);
    assert_eq!(ours, go);
}

/// What an agent knows after odd coordinates.
fn coordinates_of(agent: &Peer, forged: &Forged) -> Vec<String> {
    let ask = |name: &str| {
        let mut client = Client::ready(&agent.rpc);
        client.call("get-coordinate", 1, Some(Value::map([("Node", name.into())])));
        client.next().expect("an answer")
    };
    let known = || {
        let answer = ask("forged");
        (answer.get("Ok") == Some(&true.into())).then(|| answer.get("Coord").unwrap().encode())
    };
    let mut seen = Vec::new();
    forged.ack_with(odd_coordinates());
    seen.push(format!("after odd ones: {:?}", known()));
    // A good one is taken, so that those before it were looked at; and it stays.
    let good = || coordinate(&[0.001; 8], [0.0, 0.5, 0.000_01]);
    forged.ack_with(vec![good()]);
    let taken = known().expect("a good coordinate is taken");
    forged.ack_with(odd_coordinates());
    assert_eq!(known().as_ref(), Some(&taken), "{}", agent.name);
    for huge in [f64::MAX, -1e200] {
        forged.ack_with(vec![coordinate(&[huge; 8], [huge; 3])]);
        seen.push(format!("{huge:e} is taken: {}", known() != Some(taken.clone())));
    }
    let own = ask("a");
    let own = own.get("Coord").expect("our own coordinate");
    let Some(Value::Array(parts)) = own.get("Vec") else { panic!("{own:?}") };
    let rest = ["Adjustment", "Error", "Height"].map(|part| own.get(part).expect(part));
    assert!(parts.iter().chain(rest).all(is_finite), "{}: our own is {own:?}", agent.name);
    seen.push(format!("{} parts; {:?}", parts.len(), agent.listed()));
    seen
}

// parity: agent-net: Tags that are numbers
#[test]
fn tags_that_are_numbers_are_those_of_go() {
    let [go, ours] = of_both(tags_of);
    assert_eq!(ours, go);
}

/// What an agent shows of tags of which one is an odd number.
fn tags_of(agent: &Peer, forged: &Forged) -> Vec<String> {
    let odd = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, f64::MAX, 1.0];
    let shown = odd.iter().enumerate().map(|(at, odd)| {
        let number = b'0' + u8::try_from(at).expect("few");
        let mut meta = vec![0xff, 0x83, 0xa1, b'a', 0xa1, number, 0xa1, b'b', 0xcb];
        meta.extend(odd.to_be_bytes());
        meta.extend([0xa1, b'c', 0xa1, b'3']);
        forged.announce(&meta);
        let tags = eventually("the tags of the forged member", || {
            let mut client = Client::ready(&agent.rpc);
            client.request("members", 2, None);
            let [_, answer] = client.record();
            let Some(Value::Array(rows)) = answer.get("Members") else { panic!("{answer:?}") };
            let row = rows.iter().find(|row| row.text("Name") == "forged")?;
            let tags = row.get("Tags")?.clone();
            (tags.text("a").as_bytes() == [number]).then(|| tags.sorted())
        });
        format!("{odd}: {tags:?}")
    });
    shown.collect()
}

/// The same of Go's agent and of ours, each with a forged member.
fn of_both(ask: fn(&Peer, &Forged) -> Vec<String>) -> [Vec<String>; 2] {
    let of = |kind: Kind| {
        let net = Net::new();
        let agent = Peer::start(kind, "a", &net.ip(2), &["-profile", "local"]);
        let forged = Forged::beside(&agent, &net.ip(3));
        forged.announce(b"");
        agent.wait_for_members(2);
        ask(&agent, &forged)
    };
    thread::scope(|scope| {
        BOTH.map(|kind| scope.spawn(move || of(kind))).map(|asked| asked.join().expect("answers"))
    })
}

/// Coordinates of which Go uses none.
fn odd_coordinates() -> Vec<Vec<u8>> {
    let (nan, inf) = (f64::NAN, f64::INFINITY);
    let mut one = [0.001; 8];
    one[3] = nan;
    let rest = [0.0, 0.5, 0.000_01];
    vec![
        coordinate(&one, rest),
        coordinate(&[inf; 8], rest),
        coordinate(&[0.0; 8], [nan, 0.5, 0.1]),
        coordinate(&[0.0; 8], [0.0, -inf, 0.1]),
        coordinate(&[0.0; 8], [0.0, 0.5, inf]),
        coordinate(&[0.0; 7], rest),
    ]
}

/// The payload of an ack: version, then adjustment, error, height and vector.
fn coordinate(vec: &[f64], rest: [f64; 3]) -> Vec<u8> {
    let float = |number: f64| Value::Scalar([&[0xcb][..], &number.to_be_bytes()].concat());
    let [adjustment, error, height] = rest.map(float);
    let value = Value::map([
        ("Adjustment", adjustment),
        ("Error", error),
        ("Height", height),
        ("Vec", Value::Array(vec.iter().map(|part| float(*part)).collect())),
    ]);
    [vec![1], value.encode()].concat()
}

fn is_finite(value: &Value) -> bool {
    let Value::Scalar(bytes) = value else { panic!("{value:?}") };
    let [0xcb, number @ ..] = bytes.as_slice() else { panic!("{value:?}") };
    f64::from_be_bytes(number.try_into().expect("a number")).is_finite()
}

/// A member that answers probes, with coordinates of choice, and refutes suspicions.
struct Forged {
    member: Arc<Member>,
    ended: Arc<AtomicBool>,
}

struct Member {
    socket: UdpSocket,
    agent: SocketAddr,
    incarnation: AtomicU32,
    /// Its tags, as last announced.
    meta: Mutex<Vec<u8>>,
    /// Payloads of the next acks; the last one is that of all further ones.
    payloads: Mutex<VecDeque<Vec<u8>>>,
    acks: AtomicUsize,
}

impl Forged {
    fn beside(agent: &Peer, ip: &str) -> Self {
        let socket = UdpSocket::bind((ip, 7946)).expect("a free address");
        socket.set_read_timeout(Some(Duration::from_millis(50))).expect("a limit");
        let member = Arc::new(Member {
            socket,
            agent: agent.addr.parse().expect("an address"),
            incarnation: AtomicU32::new(1),
            meta: Mutex::default(),
            payloads: Mutex::default(),
            acks: AtomicUsize::default(),
        });
        let ended = Arc::new(AtomicBool::new(false));
        let forged = Self { member: Arc::clone(&member), ended: Arc::clone(&ended) };
        thread::spawn(move || {
            let mut codec = PacketCodec::build(CodecConfig::default()).expect("no keys");
            let (mut datagram, mut scratch) = (vec![0; 65_536], Vec::new());
            while !ended.load(Ordering::Relaxed) {
                let Ok((len, from)) = member.socket.recv_from(&mut datagram) else { continue };
                let Ok(message) = codec.open(&datagram[..len], &mut scratch) else { continue };
                member.answer(from, message);
            }
        });
        forged
    }

    fn announce(&self, meta: &[u8]) {
        *locked(&self.member.meta) = meta.to_vec();
        self.member.announce();
    }

    /// Acks a probe with each of these, and waits until the agent has used them all: it begins its
    /// next probe after that.
    fn ack_with(&self, payloads: Vec<Vec<u8>>) {
        let queue = || locked(&self.member.payloads);
        let acks = || self.member.acks.load(Ordering::Relaxed);
        *queue() = payloads.into();
        eventually("probes of the forged member", || queue().len() == 1);
        let before = acks();
        eventually("another probe", || acks() >= before + 2);
    }
}

impl Drop for Forged {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
    }
}

impl Member {
    fn answer(&self, from: SocketAddr, message: &[u8]) {
        match Message::decode(message) {
            Ok(Message::Ping(ping)) => {
                let mut payloads = locked(&self.payloads);
                let payload = match payloads.len() {
                    0 | 1 => payloads.front().cloned(),
                    _ => payloads.pop_front(),
                };
                let payload = payload.unwrap_or_default();
                let mut ack = Vec::new();
                Ack { seq_no: ping.seq_no, payload: payload.as_slice().into() }.encode(&mut ack);
                let _ = self.socket.send_to(&ack, from);
                self.acks.fetch_add(1, Ordering::Relaxed);
            }
            // On a busy machine an answer can come too late.
            Ok(Message::Suspect(Suspect { node: b"forged", .. })) => self.announce(),
            Ok(Message::Dead(Dead { node: b"forged", .. })) => self.announce(),
            Ok(Message::Compound(parts)) => {
                let Ok(parts) = CompoundParts::parse(parts) else { return };
                parts.flatten().for_each(|part| self.answer(from, part));
            }
            _ => {}
        }
    }

    /// Says that it is alive, with an incarnation above all before.
    fn announce(&self) {
        let SocketAddr::V4(own) = self.socket.local_addr().expect("an address") else {
            panic!("an address of another family")
        };
        let (mut message, ip) = (Vec::new(), own.ip().octets());
        let meta = locked(&self.meta);
        let alive = Alive {
            incarnation: Incarnation(self.incarnation.fetch_add(1, Ordering::Relaxed)),
            node: b"forged",
            addr: ip.as_slice().into(),
            port: own.port(),
            meta: meta.as_slice().into(),
            vsn: [1, 5, 2, 2, 5, 4].as_slice().into(),
        };
        alive.encode(&mut message);
        self.socket.send_to(&message, self.agent).expect("a packet to the agent");
    }
}

fn locked<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}
