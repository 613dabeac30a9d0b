//! Gossip of user events at a fixed rate, plain and encrypted.

use std::{
    net::{SocketAddr, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use ruserf::{
    base::Rng,
    serf::{
        LamportTime, Message as SerfMessage, MsgpackTransform, TransformDelegate,
        message::UserEvent,
    },
    wire::{CodecConfig, Keyring, PacketCodec, Ping, SeqNo},
};

use super::{Agent, median, plain, report};

/// The most packets a second while pings are answered, and what a packet costs, plain and
/// encrypted.
pub(super) fn packets(program: &str) {
    for keys in [Keys::None, Keys::One] {
        let cost = |rate: u64| {
            let seconds = if rate > 64_000 { 1 } else { 3 };
            flood(&Agent::start(program, keys.flags()), rate, seconds, keys)
        };
        report_steady(&cost(STEADY), keys);
        let mut best = 0.0;
        for thousands in [4, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256] {
            let Flood { ping_ms, reached, .. } = cost(thousands * 1_000);
            if ping_ms > 10.0 {
                break;
            }
            best = f64::max(best, reached);
        }
        report(&format!("packets_per_s_with_pings_in_10_ms{}", keys.suffix()), best);
    }
}

/// What a packet costs at a rate that any agent takes, of several programs in turn:
/// `PROGRAM,PROGRAM`.
pub(super) fn steady(programs: &str) {
    for _ in 0..STEADY_ROUNDS {
        for keys in [Keys::None, Keys::One] {
            for (index, program) in programs.split(',').enumerate() {
                print!("{index} ");
                let cost = flood(&Agent::start(program, keys.flags()), STEADY, 4, keys);
                report_steady(&cost, keys);
            }
        }
    }
}

fn report_steady(cost: &Flood, keys: Keys) {
    let suffix = keys.suffix();
    report(&format!("cpu_us_per_packet_at_{STEADY}{suffix}"), cost.cpu_us);
    report(&format!("rss_mib_after_{STEADY}{suffix}"), cost.memory_mib);
}

/// Whether the gossip is encrypted.
#[derive(Clone, Copy)]
pub(super) enum Keys {
    None,
    /// AES-128, the usual kind.
    One,
}

impl Keys {
    fn flags(self) -> &'static [&'static str] {
        match self {
            Self::None => &[],
            Self::One => &["-encrypt", KEY_TEXT],
        }
    }

    fn suffix(self) -> &'static str {
        match self {
            Self::None => "",
            Self::One => "_encrypted",
        }
    }

    fn codec(self) -> PacketCodec {
        let config = match self {
            Self::None => plain(),
            Self::One => CodecConfig {
                keyring: Keyring::build(&[], &KEY).unwrap(),
                verify_incoming: true,
                verify_outgoing: true,
                ..plain()
            },
        };
        PacketCodec::build(config).unwrap()
    }
}

/// What a flood of packets cost.
pub(super) struct Flood {
    /// Median time of a ping meanwhile.
    pub(super) ping_ms: f64,
    /// Of a packet.
    pub(super) cpu_us: f64,
    /// Packets a second.
    pub(super) reached: f64,
    /// Resident memory afterwards.
    pub(super) memory_mib: f64,
}

/// Gossip packets, each with ten new user events of 80 bytes, at a fixed rate; pings in between.
pub(super) fn flood(agent: &Agent, rate: u64, seconds: u64, keys: Keys) -> Flood {
    let ready = sealed_packets(rate * seconds, keys);
    let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
    let pinger = UdpSocket::bind("127.0.0.1:0").unwrap();
    pinger.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let (to, ended) = (agent.gossip, Arc::clone(&stop));
    let pings = thread::spawn(move || ping_times(&pinger, to, &ended, keys.codec()));
    let before = agent.cpu();
    let began = Instant::now();
    for (n, packet) in ready.iter().enumerate() {
        sender.send_to(packet, agent.gossip).unwrap();
        let due = Duration::from_secs_f64((n + 1) as f64 / rate as f64);
        if n % 16 == 0 {
            thread::sleep(due.saturating_sub(began.elapsed()));
        }
    }
    let took = began.elapsed().as_secs_f64();
    stop.store(true, Ordering::Relaxed);
    let ping_ms = median(pings.join().unwrap());
    let count = ready.len() as f64;
    Flood {
        ping_ms,
        cpu_us: (agent.cpu() - before) * 1e6 / count,
        reached: count / took,
        memory_mib: agent.memory().0 / 1024.0,
    }
}

fn sealed_packets(count: u64, keys: Keys) -> Vec<Vec<u8>> {
    let mut codec = keys.codec();
    let mut rng = Rng::from_u64(2);
    let mut ltimes = 1..;
    let mut packet = || {
        let mut parts = Vec::new();
        for ltime in ltimes.by_ref().take(10) {
            let event = UserEvent {
                ltime: LamportTime(ltime),
                name: b"deploy",
                payload: [b'p'; 80][..].into(),
                coalesce: false,
            };
            let mut raw = vec![8];
            MsgpackTransform.encode_message(&SerfMessage::UserEvent(event), &mut raw);
            parts.push(raw);
        }
        let mut body = Vec::new();
        ruserf::wire::encode_compound(&parts, &mut body);
        let mut out = Vec::new();
        codec.seal(&mut rng, &body, false, &mut out);
        out
    };
    (0..count).map(|_| packet()).collect()
}

/// Milliseconds that pings took until `ended`; those without an answer count as 500.
fn ping_times(
    pinger: &UdpSocket,
    to: SocketAddr,
    ended: &AtomicBool,
    mut codec: PacketCodec,
) -> Vec<f64> {
    let (mut times, mut buf, mut seq) = (Vec::new(), [0; 65_536], 0);
    let mut rng = Rng::from_u64(3);
    while !ended.load(Ordering::Relaxed) {
        seq += 1;
        let (mut message, mut out) = (Vec::new(), Vec::new());
        Ping { seq_no: SeqNo(seq), node: b"subject", ..Ping::default() }.encode(&mut message);
        codec.seal(&mut rng, &message, false, &mut out);
        let began = Instant::now();
        pinger.send_to(&out, to).unwrap();
        let answered = pinger.recv_from(&mut buf).is_ok();
        times.push(if answered { began.elapsed().as_secs_f64() * 1e3 } else { 500.0 });
        thread::sleep(Duration::from_millis(5));
    }
    times
}

/// Packets a second, at which every agent keeps up.
const STEADY: u64 = 5_000;
const STEADY_ROUNDS: usize = 3;
const KEY: [u8; 16] = *b"a key of 16 byte";
const KEY_TEXT: &str = "YSBrZXkgb2YgMTYgYnl0ZQ==";
