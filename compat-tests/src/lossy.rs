//! An unreliable network in user space: each host is a network namespace with a TUN device, and all
//! packets pass a switch in this process, which delays, drops or duplicates them by rules that can
//! change at any time. Works where the kernel has no netem or netfilter.
//! Needs root, `ip` and /dev/net/tun.

use std::{
    cmp::Reverse,
    collections::BinaryHeap,
    process::Command,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use ruserf::base::Rng;
use tun_rs::{DeviceBuilder, SyncDevice};

/// What happens to matching packets. The delays of several rules add up; their probabilities are
/// independent.
#[derive(Clone, Debug, Default)]
pub struct Rule {
    /// Sending hosts; empty: all.
    pub from: Vec<usize>,
    /// Receiving hosts; empty: all.
    pub to: Vec<usize>,
    /// UDP or TCP only; absent: all packets.
    pub protocol: Option<Protocol>,
    /// Delay of each packet.
    pub delay: Duration,
    /// Additional delay, uniformly distributed up to this; so packets are reordered.
    pub jitter: Duration,
    /// Share of packets that are dropped, 0 to 1.
    pub loss: f64,
    /// Share of packets that are duplicated, 0 to 1.
    pub duplicate: f64,
}

/// Protocols that a rule can be limited to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// UDP, and fragments of it.
    Udp,
    /// TCP.
    Tcp,
}

/// Hosts 0 to n-1 and the switch between them. Dropping it removes the hosts.
pub struct Net {
    prefix: String,
    hosts: usize,
    shared: Arc<Shared>,
}

/// Packets so far.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    /// Packets that arrived at the switch.
    pub seen: u64,
    /// Packets dropped by a rule.
    pub lost: u64,
    /// Packets duplicated by a rule.
    pub doubled: u64,
    /// Bytes of the packets that arrived at the switch, IP headers included.
    pub bytes: u64,
}

impl Net {
    /// Whether this process may create such networks.
    pub fn possible() -> bool {
        let name = format!("rs{}probe", std::process::id());
        let made = ip(&["netns", "add", &name]).is_ok();
        let _ = ip(&["netns", "del", &name]);
        made && std::path::Path::new("/dev/net/tun").exists()
    }

    /// Creates the hosts. At first there are no faults.
    ///
    /// # Panics
    /// When the system does not permit it.
    pub fn start(hosts: usize, seed: u64) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let prefix = format!("rs{}x{number}h", std::process::id());
        let net = Self { prefix, hosts, shared: Arc::default() };
        let devices: Vec<_> = (0..hosts).map(|host| Arc::new(net.make_host(host))).collect();
        for (host, device) in devices.iter().enumerate() {
            let (shared, device) = (Arc::clone(&net.shared), Arc::clone(device));
            let rng = Rng::from_u64(seed.wrapping_add(host as u64));
            thread::spawn(move || shared.receive(host, &device, hosts, rng));
        }
        let shared = Arc::clone(&net.shared);
        thread::spawn(move || shared.deliver(&devices));
        net
    }

    /// The name of a host's namespace, for `ip netns exec`.
    pub fn namespace(&self, host: usize) -> String {
        format!("{}{host}", self.prefix)
    }

    /// The address of a host.
    pub fn ip(&self, host: usize) -> String {
        format!("{SUBNET}{}", host + 1)
    }

    /// Replaces all rules. Packets that are already delayed are not affected.
    pub fn set_rules(&self, rules: Vec<Rule>) {
        *self.shared.rules.write().unwrap_or_else(PoisonError::into_inner) = rules;
    }

    /// Packets so far.
    pub fn counts(&self) -> Counts {
        let Shared { seen, lost, doubled, bytes, .. } = &*self.shared;
        let [seen, lost, doubled, bytes] =
            [seen, lost, doubled, bytes].map(|counter| counter.load(Ordering::Relaxed));
        Counts { seen, lost, doubled, bytes }
    }

    fn make_host(&self, host: usize) -> SyncDevice {
        let namespace = self.namespace(host);
        ip(&["netns", "add", &namespace]).expect("a namespace");
        let device = DeviceBuilder::new().name(&namespace).build_sync().expect("a TUN device");
        // The device is removed; the switch keeps its other end.
        ip(&["link", "set", &namespace, "netns", &namespace]).expect("the device moves");
        let address = format!("{}/24", self.ip(host));
        for args in [
            &["addr", "add", &address, "dev", &namespace][..],
            &["link", "set", &namespace, "mtu", "1500", "up"],
            &["link", "set", "lo", "up"],
        ] {
            ip(&[&["-n", &namespace][..], args].concat()).expect("the host's network");
        }
        device
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        for host in 0..self.hosts {
            // Together with its device, which ends the thread that reads from it.
            let _ = ip(&["netns", "del", &self.namespace(host)]);
        }
        self.shared.queue().ended = true;
        self.shared.changed.notify_all();
    }
}

#[derive(Default)]
struct Shared {
    rules: RwLock<Vec<Rule>>,
    queue: Mutex<Queue>,
    changed: Condvar,
    seen: AtomicU64,
    lost: AtomicU64,
    doubled: AtomicU64,
    bytes: AtomicU64,
}

/// Due time, order of arrival, receiver, packet.
type Waiting = (Instant, u64, usize, Vec<u8>);

#[derive(Default)]
struct Queue {
    /// Earliest first.
    packets: BinaryHeap<Reverse<Waiting>>,
    next: u64,
    ended: bool,
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn receive(&self, from: usize, device: &SyncDevice, hosts: usize, mut rng: Rng) {
        let mut buffer = vec![0; 65_536];
        while let Ok(len) = device.recv(&mut buffer) {
            let packet = &buffer[..len];
            // Only IPv4 between the hosts; the kernel also sends router solicitations.
            let Some(([a, b, c], host)) = destination(packet) else { continue };
            if format!("{a}.{b}.{c}.") != SUBNET || host == 0 || usize::from(host) > hosts {
                continue;
            }
            let to = usize::from(host) - 1;
            self.seen.fetch_add(1, Ordering::Relaxed);
            self.bytes.fetch_add(len as u64, Ordering::Relaxed);
            for delay in self.fate(from, to, packet[9], &mut rng) {
                let due = Instant::now() + delay;
                let mut queue = self.queue();
                queue.next += 1;
                let next = queue.next;
                queue.packets.push(Reverse((due, next, to, packet.to_vec())));
                self.changed.notify_all();
            }
        }
    }

    /// The delay of each copy that will arrive.
    fn fate(&self, from: usize, to: usize, protocol: u8, rng: &mut Rng) -> Vec<Duration> {
        let protocol = match protocol {
            6 => Some(Protocol::Tcp),
            17 => Some(Protocol::Udp),
            _ => None,
        };
        let rules = self.rules.read().unwrap_or_else(PoisonError::into_inner);
        let among = |hosts: &[usize], host| hosts.is_empty() || hosts.contains(&host);
        let (mut base, mut jitter, mut copies) = (Duration::ZERO, Duration::ZERO, 1);
        for rule in rules.iter() {
            let concerned = among(&rule.from, from) && among(&rule.to, to);
            if !concerned || (rule.protocol.is_some() && rule.protocol != protocol) {
                continue;
            }
            if rng.unit() < rule.loss {
                self.lost.fetch_add(1, Ordering::Relaxed);
                return Vec::new();
            }
            if rng.unit() < rule.duplicate {
                self.doubled.fetch_add(1, Ordering::Relaxed);
                copies += 1;
            }
            base += rule.delay;
            jitter += rule.jitter;
        }
        (0..copies).map(|_| base + jitter.mul_f64(rng.unit())).collect()
    }

    fn deliver(&self, devices: &[Arc<SyncDevice>]) {
        let mut queue = self.queue();
        while !queue.ended {
            let now = Instant::now();
            match queue.packets.peek() {
                Some(Reverse((due, ..))) if *due <= now => {
                    let Some(Reverse((_, _, to, packet))) = queue.packets.pop() else { continue };
                    drop(queue);
                    // If the queue of the device is full, the packet is lost.
                    let _ = devices[to].send(&packet);
                    queue = self.queue();
                }
                Some(Reverse((due, ..))) => {
                    let wait = due.saturating_duration_since(now);
                    let waited = self.changed.wait_timeout(queue, wait);
                    queue = waited.unwrap_or_else(PoisonError::into_inner).0;
                }
                None => queue = self.changed.wait(queue).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }
}

fn destination(packet: &[u8]) -> Option<([u8; 3], u8)> {
    match packet.get(..20)? {
        [first, .., a, b, c, host] if first >> 4 == 4 => Some(([*a, *b, *c], *host)),
        _ => None,
    }
}

fn ip(args: &[&str]) -> Result<(), String> {
    let output = Command::new("timeout").args(["60", "ip"]).args(args).output();
    let output = output.map_err(|error| format!("ip: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("ip {}: {}", args.join(" "), String::from_utf8_lossy(&output.stderr)))
}

const SUBNET: &str = "10.99.0.";
