//! Goal: peers that open streams cost an agent a bounded price, and nobody else waits for them.

use std::{
    fs,
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    thread,
    time::{Duration, Instant},
};

use compat_tests::{net::Net, peer::Peer, process::Kind};
use ruserf::{
    base::Rng,
    wire::{CodecConfig, PacketCodec, Role, UserHeader},
};

/// Method: 100 streams at once, each with a compressed user message near the largest size that is
/// taken; before, all of them were unpacked together.
#[test]
fn streams_that_unpack_to_much_take_bounded_memory() {
    let ip = Net::new().ip(1);
    let agent = Peer::start(Kind::Ours, "a", &ip, &["-log-level", "ERR"]);
    let before = peak_mib(&agent);
    let bytes = packed(19 * 1024 * 1024);
    let senders: Vec<_> = (0..100)
        .map(|_| {
            let (addr, bytes) = (agent.addr.clone(), bytes.clone());
            thread::spawn(move || {
                let mut stream = TcpStream::connect(addr).expect("it listens");
                let patience = Some(Duration::from_secs(30));
                stream.set_write_timeout(patience).expect("a timeout");
                stream.set_read_timeout(patience).expect("a timeout");
                // The agent may refuse it; either way it ends.
                let _ = stream.write_all(&bytes);
                let _ = stream.read(&mut [0]);
            })
        })
        .collect();
    for sender in senders {
        sender.join().expect("it ends");
    }
    let grown = peak_mib(&agent) - before;
    assert!(grown < 100, "{grown} MiB more");
    assert_eq!(agent.listed(), ["a alive"]);
}

/// Method: a seed that takes connections and says nothing has 10 s for each of two addresses;
/// meanwhile another join is asked for.
#[test]
fn join_does_not_wait_for_one_of_a_silent_seed() {
    let net = Net::new();
    let agent = Peer::start(Kind::Ours, "a", &net.ip(1), &[]);
    let good = Peer::start(Kind::Ours, "b", &net.ip(2), &[]);
    let silent = TcpListener::bind((net.ip(2), 0)).expect("a port");
    let seed = silent.local_addr().expect("an address").to_string();
    let rpc = agent.rpc.clone();
    let stuck = thread::spawn(move || {
        compat_tests::process::serf(Kind::Ours, &rpc, &["join", &seed, &seed])
    });
    silent.accept().expect("the first address is asked");
    let began = Instant::now();
    agent.ok(&["join", &good.addr]);
    let taken = began.elapsed();
    assert!(taken < Duration::from_secs(8), "{taken:?}");
    good.wait_member("a", "alive");
    drop(silent);
    let said = stuck.join().expect("it ends");
    assert_eq!(said.code, Some(1), "{said:?}");
    agent.wait_member("b", "alive");
}

/// A compressed user message of this many bytes, about 60 times smaller.
fn packed(bytes: usize) -> Vec<u8> {
    let mut message = Vec::new();
    UserHeader { user_msg_len: bytes as i64 }.encode(&mut message);
    // No message of Serf: it is dropped once it is whole.
    message.extend((0..bytes).map(|at| if at % 64 == 0 { (at / 64 % 251) as u8 } else { 0xff }));
    let config = CodecConfig { compression: true.into(), ..CodecConfig::default() };
    let codec = PacketCodec::build(config).expect("a codec").stream_codec();
    let mut sealed = Vec::new();
    codec.seal(&mut Rng::from_u64(1), Role::Dialer, &message, &mut sealed);
    assert!(sealed.len() < bytes / 20, "{}", sealed.len());
    sealed
}

/// The most memory that the agent has had.
fn peak_mib(agent: &Peer) -> i64 {
    let status = fs::read_to_string(format!("/proc/{}/status", agent.pid()));
    let status = status.expect("it runs");
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).expect("a size");
    let kib = line.split_whitespace().nth(1).and_then(|kib| kib.parse::<i64>().ok());
    kib.expect("a number") / 1024
}
