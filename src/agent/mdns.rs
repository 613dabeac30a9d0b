//! Finding each other on one network: what a node answers about itself by multicast DNS, and what
//! it asks. Go: `cmd/serf/command/agent/mdns.go` over `hashicorp/mdns`.
//!
//! A node asks from a port of its own and answers straight to the asker's port: that is what Go's
//! nodes do, and a socket of another program on port 5353 cannot take such answers away.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use simple_dns::{
    CLASS, Name, OPCODE, Packet, PacketFlag, QCLASS, QTYPE, Question, RCODE, ResourceRecord, TYPE,
    rdata::{A, AAAA, PTR, RData, SRV, TXT},
};
use socket2::{Domain, InterfaceIndexOrAddress, Protocol, Socket, Type};
use tokio::{
    net::UdpSocket,
    time::{Instant, timeout_at},
};
use tracing::{debug, error, info, warn};

use super::{
    AgentError, Settings,
    core::Agent,
    settings::{Mdns, host_name},
};

/// Answers and asks until it is dropped.
///
/// # Errors
/// No socket can listen for questions, or the node's name cannot be a name of DNS.
pub(super) async fn start(
    agent: Arc<Agent>,
    settings: &Mdns,
    host: &str,
) -> Result<tokio::task::JoinHandle<()>, AgentError> {
    let fail = |text: String| AgentError::Invalid(format!("Error starting mDNS listener: {text}"));
    let local = agent.serf.local_member().await;
    let ip = match *local.addr {
        [a, b, c, d] => Ipv4Addr::new(a, b, c, d).into(),
        ref bytes => <[u8; 16]>::try_from(bytes)
            .map(|bytes| Ipv6Addr::from(bytes).to_canonical())
            .map_err(|_| fail("the node has no address".to_owned()))?,
    };
    let service = Service {
        cluster: settings.cluster.clone(),
        instance: local.name.to_string(),
        host: host.to_owned(),
        addr: SocketAddr::new(ip, local.port),
    };
    service.check().map_err(|error| fail(error.to_string()))?;
    let listeners: Vec<_> = GROUPS
        .into_iter()
        .filter_map(|group| match listen(group, settings) {
            Ok(socket) => Some(Arc::new(socket)),
            Err(error) => {
                debug!(target: "agent.mdns", %group, %error, "no listener");
                None
            }
        })
        .collect();
    if listeners.is_empty() {
        return Err(fail("no multicast listeners could be started".to_owned()));
    }
    let settings = settings.clone();
    Ok(tokio::spawn(async move {
        let mut tasks = tokio::task::JoinSet::new();
        let service = Arc::new(service);
        for listener in listeners {
            tasks.spawn(answer(Arc::clone(&service), listener));
        }
        tasks.spawn(discover(agent, settings));
        while tasks.join_next().await.is_some() {}
    }))
}

/// Whether the names of the node, the machine and the cluster can be names of DNS.
pub(super) fn check(settings: &Settings) -> Result<(), AgentError> {
    let Some(mdns) = &settings.mdns else { return Ok(()) };
    let service = Service {
        cluster: mdns.cluster.clone(),
        instance: settings.node_name.clone(),
        host: host_name().unwrap_or_default(),
        addr: SocketAddr::from((Ipv4Addr::LOCALHOST, 1)),
    };
    let fail = |text: String| AgentError::Invalid(format!("Error starting mDNS listener: {text}"));
    service.check().map_err(|error| fail(error.to_string()))
}

/// Answers questions about one service for ever.
async fn answer(service: Arc<Service>, socket: Arc<UdpSocket>) {
    let mut buffer = vec![0; PACKET_BYTES_MAX];
    loop {
        let (len, from) = match socket.recv_from(&mut buffer).await {
            Ok(received) => received,
            Err(error) => {
                debug!(target: "agent.mdns", %error, "no question received");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        for reply in service.answers(buffer.get(..len).unwrap_or_default()) {
            if let Err(error) = socket.send_to(&reply, from).await {
                debug!(target: "agent.mdns", %from, %error, "answer not sent");
            }
        }
    }
}

/// Asks now and then who is there, and joins whom it did not know.
async fn discover(agent: Arc<Agent>, settings: Mdns) {
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

/// One question and a second of answers. What is found is joined once nothing more has come for a
/// moment.
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
    // The number bounds a flood of answers.
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

/// Joins beside the polls, so that an address where nobody answers holds up nothing else.
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
        // Found again by a later poll.
        seen.heard.retain(|addr, _| !addrs.contains(addr));
        return;
    }
    let agent = Arc::clone(agent);
    joins.spawn(async move { join(&agent, replay, addrs).await });
}

/// New addresses of one poll.
#[derive(Default)]
struct Found {
    addrs: Vec<SocketAddr>,
    taken: usize,
    /// How many each sender named: a node names itself.
    by_sender: HashMap<IpAddr, usize>,
}

impl Found {
    /// Takes an address that is to be joined. Whether it is new.
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

/// Addresses that were joined, and when they were last heard of: each is joined once as long as
/// it answers.
#[derive(Default)]
struct Seen {
    heard: HashMap<SocketAddr, Instant>,
}

impl Seen {
    /// Whether an address is known; then it stays so.
    fn refresh(&mut self, addr: SocketAddr, now: Instant) -> bool {
        self.heard.get_mut(&addr).map(|heard| *heard = now).is_some()
    }

    /// The one that was not heard of for longest makes room.
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

/// Asks by each family of addresses; the answers come to these sockets. Fails if none works.
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
        // One family that does not work must not stop the other; Go gives up here.
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

fn listen(group: SocketAddr, settings: &Mdns) -> std::io::Result<UdpSocket> {
    let index = settings.interface.as_ref().map_or(0, |interface| interface.index);
    let socket = Socket::new(Domain::for_address(group), Type::DGRAM, Some(Protocol::UDP))?;
    // Every responder of the machine gets each question.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    match group.ip() {
        IpAddr::V4(ip) => {
            socket.bind(&SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), PORT).into())?;
            let interface = match index {
                0 => InterfaceIndexOrAddress::Address(Ipv4Addr::UNSPECIFIED),
                index => InterfaceIndexOrAddress::Index(index),
            };
            socket.join_multicast_v4_n(&ip, &interface)?;
        }
        IpAddr::V6(ip) => {
            socket.set_only_v6(true)?;
            socket.bind(&SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), PORT).into())?;
            socket.join_multicast_v6(&ip, index)?;
        }
    }
    UdpSocket::from_std(socket.into())
}

fn ask_from(group: SocketAddr, settings: &Mdns) -> std::io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(group), Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_nonblocking(true)?;
    if group.is_ipv4() {
        if let Some(interface) = &settings.interface {
            let none = || std::io::Error::other("the interface has no IPv4 address");
            socket.set_multicast_if_v4(&interface.ipv4.ok_or_else(none)?)?;
        }
        socket.bind(&SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), 0).into())?;
    } else {
        socket.set_only_v6(true)?;
        if let Some(interface) = &settings.interface {
            socket.set_multicast_if_v6(interface.index)?;
        }
        socket.bind(&SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), 0).into())?;
    }
    UdpSocket::from_std(socket.into())
}

/// What a node says about itself.
struct Service {
    cluster: String,
    instance: String,
    /// Name of the machine, without a domain.
    host: String,
    addr: SocketAddr,
}

/// The names of a service, borrowed for an answer.
struct Names<'a> {
    service: Name<'a>,
    instance: Name<'a>,
    host: Name<'a>,
    all: Name<'a>,
}

impl Service {
    fn check(&self) -> simple_dns::Result<()> {
        let texts = self.texts();
        self.names(&texts)?;
        TXT::new().with_string(&texts.3)?;
        Ok(())
    }

    fn texts(&self) -> (String, String, String, String) {
        let service = service_name(&self.cluster);
        let instance = format!("{}.{service}", self.instance);
        let text = format!("Serf '{}' cluster", self.cluster);
        (service, instance, format!("{}.", self.host), text)
    }

    fn names<'a>(
        &self,
        texts: &'a (String, String, String, String),
    ) -> simple_dns::Result<Names<'a>> {
        Ok(Names {
            service: Name::new(&texts.0)?,
            instance: Name::new(&texts.1)?,
            host: Name::new(&texts.2)?,
            all: Name::new("_services._dns-sd._udp.local")?,
        })
    }

    /// Datagrams for whoever sent these bytes; none if they ask for something else or are broken.
    /// Questions that ask for it are answered under the query's id, the others under 0, as Go does.
    fn answers(&self, query: &[u8]) -> Vec<Vec<u8>> {
        let Some(query) = parse(query) else { return Vec::new() };
        let odd = query.opcode() != OPCODE::StandardQuery
            || query.rcode() != RCODE::NoError
            || query.has_flags(PacketFlag::TRUNCATION)
            || query.has_flags(PacketFlag::RESPONSE);
        if odd {
            return Vec::new();
        }
        let texts = self.texts();
        let Ok(names) = self.names(&texts) else { return Vec::new() };
        let mut replies = [(false, 0), (true, query.id())].map(|(unicast, id)| {
            let mut reply = Packet::new_reply(id);
            reply.set_flags(PacketFlag::AUTHORITATIVE_ANSWER);
            let asked = query.questions.iter().filter(|asked| asked.unicast_response == unicast);
            // Asking for the same again and again makes no answer longer than a packet.
            for asked in asked.take(QUESTIONS_MAX) {
                reply.answers.extend(self.records(asked, &names, &texts.3));
            }
            reply
        });
        let replies = replies.iter_mut().filter(|reply| !reply.answers.is_empty());
        replies.filter_map(|reply| reply.build_bytes_vec_compressed().ok()).collect()
    }

    /// Go: `MDNSService.Records`.
    fn records<'a>(
        &self,
        asked: &Question<'_>,
        names: &Names<'a>,
        text: &'a str,
    ) -> Vec<ResourceRecord<'a>> {
        let is = |kind| asked.qtype == QTYPE::TYPE(kind);
        let any = asked.qtype == QTYPE::ANY;
        let record =
            |name: &Name<'a>, data| ResourceRecord::new(name.clone(), CLASS::IN, TTL_SECS, data);
        let address = || match self.addr.ip() {
            IpAddr::V4(ip) => (TYPE::A, record(&names.host, RData::A(A { address: ip.to_bits() }))),
            IpAddr::V6(ip) => {
                (TYPE::AAAA, record(&names.host, RData::AAAA(AAAA { address: ip.to_bits() })))
            }
        };
        let srv = || {
            let (target, port) = (names.host.clone(), self.addr.port());
            record(&names.instance, RData::SRV(SRV { priority: 10, weight: 1, port, target }))
        };
        let txt = || {
            let txt = TXT::new().with_string(text).unwrap_or_default();
            record(&names.instance, RData::TXT(txt))
        };
        let ptr = |from, to: &Name<'a>| record(from, RData::PTR(PTR(to.clone())));
        let (family, address) = address();
        if asked.qname == names.all && (any || is(TYPE::PTR)) {
            vec![ptr(&names.all, &names.service)]
        } else if asked.qname == names.service && (any || is(TYPE::PTR)) {
            vec![ptr(&names.service, &names.instance), srv(), address, txt()]
        } else if asked.qname == names.instance && any {
            vec![srv(), address, txt()]
        } else if asked.qname == names.instance && is(TYPE::SRV) {
            vec![srv(), address]
        } else if asked.qname == names.instance && is(TYPE::TXT) {
            vec![txt()]
        } else if (asked.qname == names.instance || asked.qname == names.host) && is(family) {
            vec![address]
        } else {
            Vec::new()
        }
    }
}

fn service_name(cluster: &str) -> String {
    format!("_serf_{cluster}._tcp.local.")
}

/// "Who is there?"
fn question(cluster: &str) -> simple_dns::Result<Vec<u8>> {
    let service = service_name(cluster);
    let mut id = [0; 2];
    // Nothing is wrong with 0; Go does not compare it.
    let _ = rand::TryRng::try_fill_bytes(&mut rand::rngs::SysRng, &mut id);
    let mut query = Packet::new_query(u16::from_be_bytes(id));
    let (kind, class) = (QTYPE::TYPE(TYPE::PTR), QCLASS::CLASS(CLASS::IN));
    query.questions.push(Question::new(Name::new(&service)?, kind, class, false));
    query.build_bytes_vec()
}

/// The addresses of a cluster's nodes that an answer tells.
#[cfg_attr(not(feature = "sim"), expect(unreachable_pub, reason = "public for fuzzing only"))]
pub fn hosts(cluster: &str, answer: &[u8]) -> Vec<SocketAddr> {
    let service = service_name(cluster);
    let (Some(answer), Ok(service)) = (parse(answer), Name::new(&service)) else {
        return Vec::new();
    };
    let records = || answer.answers.iter().chain(&answer.additional_records);
    let mut found = Vec::new();
    for record in records() {
        let RData::SRV(srv) = &record.rdata else { continue };
        if srv.port == 0 || !record.name.is_subdomain_of(&service) {
            continue;
        }
        let ip = records().filter(|record| record.name == srv.target).find_map(|record| {
            match &record.rdata {
                RData::A(a) => Some(IpAddr::V4(Ipv4Addr::from_bits(a.address))),
                RData::AAAA(a) => Some(IpAddr::V6(Ipv6Addr::from_bits(a.address))),
                _ => None,
            }
        });
        match ip {
            Some(ip) if !ip.is_unspecified() && !ip.is_multicast() => {
                found.push(SocketAddr::new(ip, srv.port));
            }
            Some(ip) => warn!(target: "agent.mdns", %ip, "a node with an impossible address"),
            None => {}
        }
    }
    found
}

/// Decodes a datagram, unless its header promises more than such a datagram has reason to hold: the
/// decoder takes memory by these numbers.
fn parse(datagram: &[u8]) -> Option<Packet<'_>> {
    let header: &[u8; 12] = datagram.first_chunk()?;
    let (_, counts) = header.split_at_checked(4)?;
    let count =
        |pair: &[u8]| pair.iter().fold(0, |sum: usize, byte| sum * 256 + usize::from(*byte));
    if counts.chunks(2).map(count).sum::<usize>() > RECORDS_MAX {
        return None;
    }
    Packet::parse(datagram).ok()
}

/// RFC 6762 section 3.
const PORT: u16 = 5353;
const GROUPS: [SocketAddr; 2] = [
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(224, 0, 0, 251)), PORT),
    SocketAddr::new(IpAddr::V6(Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0xfb)), PORT),
];
/// Go: `mdnsPollInterval`.
const POLL_INTERVAL: Duration = Duration::from_secs(60);
/// Go: the default time of a query.
const POLL_TIME: Duration = Duration::from_secs(1);
/// Go: `mdnsQuietInterval`.
const QUIET_INTERVAL: Duration = Duration::from_millis(100);
const TTL_SECS: u32 = 120;
/// RFC 6762 section 17.
const PACKET_BYTES_MAX: usize = 9_000;
/// Records and questions of one datagram.
const RECORDS_MAX: usize = 256;
/// Questions of one datagram that are answered.
const QUESTIONS_MAX: usize = 8;
/// New addresses that are joined together: more are left to the next poll.
const FOUND_MAX: usize = 64;
/// Answers and pauses of one poll.
const ANSWERS_MAX: usize = 1_024;
/// New addresses of one poll that one sender names.
const FOUND_PER_SENDER_MAX: usize = 4;
/// Addresses that are remembered as joined; anybody on the network can make some up.
const SEEN_MAX: usize = 4_096;
/// An address that did not answer for so long is joined again when it does.
const SEEN_TIME: Duration = Duration::from_secs(600);
/// Joins under way.
const JOINS_MAX: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;

    fn service(addr: &str) -> Service {
        Service {
            cluster: "blue".into(),
            instance: "g1".into(),
            host: "box".into(),
            addr: addr.parse().unwrap(),
        }
    }

    #[test]
    fn a_node_is_found_by_its_own_answer() {
        for addr in ["127.0.0.2:7946", "[fd00::1]:99"] {
            let replies = service(addr).answers(&question("blue").unwrap());
            assert_eq!(replies.len(), 1);
            assert_eq!(hosts("blue", &replies[0]), [addr.parse().unwrap()]);
            assert!(hosts("green", &replies[0]).is_empty());
            assert!(service(addr).answers(&question("green").unwrap()).is_empty());
        }
    }

    #[test]
    fn made_up_addresses_neither_end_discovery_nor_keep_others_out() {
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

    #[test]
    fn broken_datagrams_give_nothing() {
        let service = service("127.0.0.2:7946");
        let question = question("blue").unwrap();
        let answer = service.answers(&question).remove(0);
        for whole in [&question, &answer] {
            for len in 0..whole.len() {
                assert!(service.answers(&whole[..len]).is_empty(), "{len}");
                assert!(hosts("blue", &whole[..len]).is_empty(), "{len}");
            }
            for at in 0..whole.len() {
                for value in [0, 1, 0x3f, 0x40, 0xc0, 0xff] {
                    let mut changed = whole.clone();
                    changed[at] = value;
                    let _ = (service.answers(&changed), hosts("blue", &changed));
                }
            }
        }
        // An answer is no question, and numbers that no datagram can hold take no memory.
        assert!(service.answers(&answer).is_empty());
        let mut many = answer;
        many[6..8].copy_from_slice(&[0xff; 2]);
        assert!(parse(&many).is_none());
    }

    #[test]
    fn repeated_questions_make_no_long_answer() {
        let name = service_name("blue");
        let mut query = Packet::new_query(1);
        for _ in 0..200 {
            let (kind, class) = (QTYPE::TYPE(TYPE::PTR), QCLASS::CLASS(CLASS::IN));
            query.questions.push(Question::new(Name::new(&name).unwrap(), kind, class, false));
        }
        let query = query.build_bytes_vec_compressed().unwrap();
        let replies = service("127.0.0.2:7946").answers(&query);
        assert_eq!(replies.len(), 1);
        assert!(replies[0].len() < 1_400, "{}", replies[0].len());
    }
}
