//! The querier.

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use tokio::{
    net::UdpSocket,
    time::{Instant, timeout_at},
};
use tracing::{debug, error, info};

use super::{
    service::{hosts, question},
    socket::{GROUPS, PACKET_BYTES_MAX, ask_from},
};
use crate::agent::{operations::Agent, settings::Mdns};

/// Asks periodically, and joins newly discovered members.
pub(super) async fn discover(agent: Arc<Agent>, settings: Mdns) {
    let mut seen = Seen::default();
    let mut joins = tokio::task::JoinSet::new();
    loop {
        let next = Instant::now() + POLL_INTERVAL;
        seen.expire(Instant::now());
        match poll(&agent, &settings, &mut seen, &mut joins).await {
            Ok(()) => {}
            Err(error) => {
                error!(target: "agent.mdns", "Failed to poll for new hosts: {error}");
            }
        }
        tokio::time::sleep_until(next).await;
    }
}

/// Asks once and collects answers for a second. New addresses are joined after a short time without
/// further ones.
async fn poll(
    agent: &Arc<Agent>,
    settings: &Mdns,
    seen: &mut Seen,
    joins: &mut tokio::task::JoinSet<()>,
) -> std::io::Result<()> {
    let mut sockets = ask(settings).await?.into_iter();
    let Some(first) = sockets.next() else { return Ok(()) };
    let second = sockets.next();
    let end = Instant::now() + POLL_TIME;
    let mut found = Found::default();
    let mut quiet = end;
    let mut buffers = (vec![0; PACKET_BYTES_MAX], vec![0; PACKET_BYTES_MAX]);
    // Bounds a flood of answers.
    for _ in 0..ANSWERS_MAX {
        let more = async {
            tokio::select! {
                received = first.recv_from(&mut buffers.0) => received.map(|got| (got, true)),
                received = recv(second.as_ref(), &mut buffers.1) => {
                    received.map(|got| (got, false))
                }
            }
        };
        match timeout_at(quiet.min(end), more).await {
            Ok(Ok(((len, from), of_first))) => {
                let buffer = if of_first { &buffers.0 } else { &buffers.1 };
                for addr in hosts(&settings.cluster, buffer.get(..len).unwrap_or_default()) {
                    if found.take(addr, from.ip(), seen, Instant::now()) {
                        quiet = Instant::now() + QUIET_INTERVAL;
                    }
                }
            }
            Ok(Err(error)) => {
                debug!(target: "agent.mdns", %error, "no answer received");
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            Err(_) => {
                if found.addrs.is_empty() && Instant::now() >= end {
                    return Ok(());
                }
                start_join(agent, settings.replay, &mut found, seen, joins);
                quiet = end;
            }
        }
    }
    start_join(agent, settings.replay, &mut found, seen, joins);
    Ok(())
}

/// Joins in a task of its own, so that an address that does not answer delays nothing else.
fn start_join(
    agent: &Arc<Agent>,
    replay: bool,
    found: &mut Found,
    seen: &mut Seen,
    joins: &mut tokio::task::JoinSet<()>,
) {
    let addrs = std::mem::take(&mut found.addrs);
    while joins.try_join_next().is_some() {}
    if addrs.is_empty() {
        return;
    }
    if joins.len() >= JOINS_MAX {
        // A later poll discovers them again.
        seen.heard.retain(|addr, _| !addrs.contains(addr));
        return;
    }
    let agent = Arc::clone(agent);
    joins.spawn(async move { join(&agent, replay, addrs).await });
}

/// New addresses found in one poll.
#[derive(Default)]
struct Found {
    addrs: Vec<SocketAddr>,
    taken: usize,
    /// Number of addresses named by each sender; a well-behaved node names only itself.
    by_sender: HashMap<IpAddr, usize>,
}

impl Found {
    /// Adds an address to join; returns whether it is new.
    fn take(&mut self, addr: SocketAddr, from: IpAddr, seen: &mut Seen, now: Instant) -> bool {
        if seen.refresh(addr, now) {
            return false;
        }
        let named = self.by_sender.entry(from).or_default();
        if self.taken >= FOUND_MAX || *named >= FOUND_PER_SENDER_MAX {
            metrics::counter!("agent.mdns.dropped").increment(1);
            return false;
        }
        *named += 1;
        self.taken += 1;
        seen.add(addr, now);
        self.addrs.push(addr);
        true
    }
}

/// Addresses that were joined, with the time they were last named: each is joined only once while
/// it continues to be named.
#[derive(Default)]
struct Seen {
    heard: HashMap<SocketAddr, Instant>,
}

impl Seen {
    /// Whether an address is known; if so its time is renewed.
    fn refresh(&mut self, addr: SocketAddr, now: Instant) -> bool {
        self.heard.get_mut(&addr).map(|heard| *heard = now).is_some()
    }

    /// Evicts the oldest when full.
    fn add(&mut self, addr: SocketAddr, now: Instant) {
        if self.heard.len() >= SEEN_MAX {
            let oldest = self.heard.iter().min_by_key(|(_, heard)| **heard).map(|(addr, _)| *addr);
            oldest.map(|oldest| self.heard.remove(&oldest));
        }
        self.heard.insert(addr, now);
    }

    fn expire(&mut self, now: Instant) {
        self.heard.retain(|_, heard| now - *heard < SEEN_TIME);
    }
}

/// Asks over each address family; the answers arrive at these sockets. Fails if none works.
async fn ask(settings: &Mdns) -> std::io::Result<Vec<UdpSocket>> {
    let question = question(&settings.cluster)
        .map_err(|error| std::io::Error::other(format!("question: {error}")))?;
    let mut sockets = Vec::new();
    let mut failure = None;
    for group in GROUPS {
        let off = if group.is_ipv4() { settings.disable_ipv4 } else { settings.disable_ipv6 };
        if off {
            continue;
        }
        // One family that does not work must not prevent the other; Go gives up here.
        let sent = match ask_from(group, settings) {
            Ok(socket) => socket.send_to(&question, group).await.map(|_| socket),
            Err(error) => Err(error),
        };
        match sent {
            Ok(socket) => sockets.push(socket),
            Err(error) => failure = Some(error),
        }
    }
    match failure {
        Some(error) if sockets.is_empty() => Err(error),
        Some(_) | None => Ok(sockets),
    }
}

async fn recv(
    socket: Option<&UdpSocket>,
    buffer: &mut [u8],
) -> std::io::Result<(usize, SocketAddr)> {
    match socket {
        Some(socket) => socket.recv_from(buffer).await,
        None => std::future::pending().await,
    }
}

async fn join(agent: &Agent, replay: bool, found: Vec<SocketAddr>) {
    let addrs: Vec<_> = found.iter().map(SocketAddr::to_string).collect();
    match agent.join(&addrs, replay).await {
        Ok(0) => {}
        Ok(joined) => info!(target: "agent.mdns", "Joined {joined} hosts"),
        Err(error) => {
            let text = error.go_text();
            error!(target: "agent.mdns", list = text.as_str(), "Failed to join: ");
        }
    }
}

/// Go: `mdnsPollInterval`.
const POLL_INTERVAL: Duration = Duration::from_secs(60);
/// Go: the default time of a query.
const POLL_TIME: Duration = Duration::from_secs(1);
/// Go: `mdnsQuietInterval`.
const QUIET_INTERVAL: Duration = Duration::from_millis(100);
/// New addresses that are joined together; the next poll takes the rest.
const FOUND_MAX: usize = 64;
/// Most answers processed in one poll.
const ANSWERS_MAX: usize = 1_024;
/// Most new addresses accepted from one sender in a poll.
const FOUND_PER_SENDER_MAX: usize = 4;
/// Most addresses remembered as joined; any host on the network can forge some.
const SEEN_MAX: usize = 4_096;
/// An address not named for this long is joined again.
const SEEN_TIME: Duration = Duration::from_secs(600);
/// Most joins in progress.
const JOINS_MAX: usize = 4;

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn forged_addresses_neither_end_discovery_nor_keep_others_out() {
        let addr = |n: u32| SocketAddr::new(Ipv4Addr::from_bits(0x0a00_0000 + n).into(), 7946);
        let sender = |n: u8| IpAddr::from([192, 0, 2, n]);
        let (mut seen, mut now) = (Seen::default(), Instant::now());
        let mut found = Found::default();
        let forged = (0..100_000).filter(|n| found.take(addr(*n), sender(1), &mut seen, now));
        assert_eq!(forged.count(), FOUND_PER_SENDER_MAX);
        let honest = addr(1 << 20);
        assert!(found.take(honest, sender(2), &mut seen, now));
        assert!(!found.take(honest, sender(2), &mut seen, now), "joined once");
        // However many senders there are, and for however long.
        for poll in 0..SEEN_MAX as u32 {
            now += POLL_INTERVAL;
            let mut found = Found::default();
            let all = (0..200)
                .filter(|n| found.take(addr(poll * 256 + n), sender(*n as u8), &mut seen, now));
            assert!(all.count() <= FOUND_MAX);
            assert!(seen.heard.len() <= SEEN_MAX);
            seen.expire(now);
        }
        assert!(Found::default().take(honest, sender(2), &mut seen, now), "forgotten");
    }
}
