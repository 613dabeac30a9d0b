//! Queries the name servers of `/etc/resolv.conf` for records that the system's resolver does not
//! provide. Applies its search rules.

use std::{
    fs, io,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use resolv_conf::Config;
use simple_dns::{
    CLASS, Name, Packet, PacketFlag, QCLASS, QTYPE, Question, RCODE, TYPE, rdata::RData,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpStream, UdpSocket},
    time::timeout,
};

/// The target of a service record.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Target {
    priority: u16,
    /// Higher weights are preferred; reversed for sorting.
    weight: std::cmp::Reverse<u16>,
    pub(super) host: String,
    pub(super) port: u16,
}

/// The targets of a service, in order of preference.
///
/// # Errors
/// No server answers, or the service does not exist.
pub(super) async fn services(name: &str) -> Result<Vec<Target>, String> {
    let read = tokio::task::spawn_blocking(|| fs::read(RESOLV_CONF)).await;
    let text = read.unwrap_or_else(|error| Err(io::Error::other(error))).unwrap_or_default();
    let config = Config::parse(&text).unwrap_or_default();
    let servers: Vec<SocketAddr> = config
        .get_nameservers_or_local()
        .iter()
        .map(|server| SocketAddr::new(IpAddr::from(server), DNS_PORT))
        .take(SERVERS_MAX)
        .collect();
    let mut last = format!("lookup {name}: no such service");
    for full in candidates(name, &config) {
        match ask(&full, &servers).await {
            Ok(targets) if !targets.is_empty() => return Ok(targets),
            Ok(_) => {}
            Err(error) => last = format!("lookup {name}: {error}"),
        }
    }
    Err(last)
}

/// The full names that a name may stand for, in order of the search. resolv.conf(5).
fn candidates(name: &str, config: &Config) -> Vec<String> {
    if name.ends_with('.') {
        return vec![name.to_owned()];
    }
    let searched = config.get_last_search_or_domain().map(|domain| {
        let domain = domain.trim_matches('.');
        if domain.is_empty() { format!("{name}.") } else { format!("{name}.{domain}.") }
    });
    let mut all: Vec<String> = searched.take(SEARCH_MAX).collect();
    let absolute = format!("{name}.");
    let first = name.matches('.').count() >= config.ndots as usize;
    all.retain(|full| *full != absolute);
    let at = if first { 0 } else { all.len() };
    all.insert(at, absolute);
    all
}

/// The targets reported by the first server that answers; none if the name does not exist.
async fn ask(name: &str, servers: &[SocketAddr]) -> Result<Vec<Target>, String> {
    let mut last = "no name server".to_owned();
    for _ in 0..ATTEMPTS {
        for server in servers {
            match timeout(SERVER_TIME, ask_server(name, *server)).await {
                Ok(Ok(targets)) => return Ok(targets),
                Ok(Err(error)) => last = format!("{error} on {server}"),
                Err(_) => last = format!("i/o timeout on {server}"),
            }
        }
    }
    Err(last)
}

async fn ask_server(name: &str, server: SocketAddr) -> Result<Vec<Target>, String> {
    let (id, query) = query(name).map_err(|error| error.to_string())?;
    let text = |error: io::Error| error.to_string();
    let any: SocketAddr =
        if server.is_ipv4() { ([0; 4], 0).into() } else { ([0_u16; 8], 0).into() };
    let socket = UdpSocket::bind(any).await.map_err(text)?;
    // Connected, so that only datagrams of the server are received.
    socket.connect(server).await.map_err(text)?;
    socket.send(&query).await.map_err(text)?;
    let mut buf = vec![0; UDP_BYTES_MAX];
    loop {
        let len = socket.recv(&mut buf).await.map_err(text)?;
        match read(buf.get(..len).unwrap_or_default(), id, name) {
            Some(Reply::Targets(targets)) => return Ok(targets),
            Some(Reply::Failed(error)) => return Err(error),
            Some(Reply::Truncated) => break,
            // The answer to another question, or a forged one.
            None => {}
        }
    }
    let mut stream = TcpStream::connect(server).await.map_err(text)?;
    let len = u16::try_from(query.len()).unwrap_or_default();
    stream.write_all(&[&len.to_be_bytes(), query.as_slice()].concat()).await.map_err(text)?;
    let len = stream.read_u16().await.map_err(text)?;
    let mut buf = vec![0; usize::from(len)];
    stream.read_exact(&mut buf).await.map_err(text)?;
    match read(&buf, id, name) {
        Some(Reply::Targets(targets)) => Ok(targets),
        Some(Reply::Failed(error)) => Err(error),
        Some(Reply::Truncated) | None => Err("a broken answer".to_owned()),
    }
}

/// Encodes a question for the service records of a name; returns it with its id.
fn query(name: &str) -> simple_dns::Result<(u16, Vec<u8>)> {
    let mut id = [0; 2];
    // Without random ids only forging answers becomes easier.
    let _ = rand::TryRng::try_fill_bytes(&mut rand::rngs::SysRng, &mut id);
    let id = u16::from_be_bytes(id);
    let mut packet = Packet::new_query(id);
    packet.set_flags(PacketFlag::RECURSION_DESIRED);
    let (kind, class) = (QTYPE::TYPE(TYPE::SRV), QCLASS::CLASS(CLASS::IN));
    packet.questions.push(Question::new(Name::new(name)?, kind, class, false));
    Ok((id, packet.build_bytes_vec()?))
}

/// A server's reply.
#[derive(Debug, PartialEq, Eq)]
enum Reply {
    Targets(Vec<Target>),
    Failed(String),
    /// The answer does not fit a datagram.
    Truncated,
}

/// Decodes the answer to a question; `None` for any other datagram.
fn read(bytes: &[u8], id: u16, name: &str) -> Option<Reply> {
    let packet = Packet::parse(bytes).ok()?;
    let asked = packet.questions.first()?.qname.to_string();
    let same = asked.trim_end_matches('.').eq_ignore_ascii_case(name.trim_end_matches('.'));
    if packet.id() != id || !packet.has_flags(PacketFlag::RESPONSE) || !same {
        return None;
    }
    if packet.has_flags(PacketFlag::TRUNCATION) {
        return Some(Reply::Truncated);
    }
    match packet.rcode() {
        RCODE::NoError => {}
        RCODE::NameError => return Some(Reply::Targets(Vec::new())),
        code => return Some(Reply::Failed(format!("server answers {code:?}"))),
    }
    let mut targets: Vec<Target> = packet
        .answers
        .iter()
        .filter_map(|record| match &record.rdata {
            RData::SRV(srv) => Some(Target {
                priority: srv.priority,
                weight: std::cmp::Reverse(srv.weight),
                host: srv.target.to_string().trim_end_matches('.').to_owned(),
                port: srv.port,
            }),
            _ => None,
        })
        // "." means that the service is explicitly not available.
        .filter(|target| !target.host.is_empty())
        .take(TARGETS_MAX)
        .collect();
    targets.sort();
    Some(Reply::Targets(targets))
}

const RESOLV_CONF: &str = "/etc/resolv.conf";
const DNS_PORT: u16 = 53;
/// The number of servers that the C library queries.
const SERVERS_MAX: usize = 3;
const SEARCH_MAX: usize = 32;
const ATTEMPTS: usize = 2;
const SERVER_TIME: Duration = Duration::from_secs(3);
const UDP_BYTES_MAX: usize = 4096;
/// Most targets of a service that are used.
const TARGETS_MAX: usize = 256;

#[cfg(test)]
mod tests {
    use simple_dns::{ResourceRecord, rdata::SRV};

    use super::*;

    fn reply(id: u16, name: &str, targets: &[(u16, u16, &str)]) -> Vec<u8> {
        let mut packet = Packet::new_reply(id);
        let (kind, class) = (QTYPE::TYPE(TYPE::SRV), QCLASS::CLASS(CLASS::IN));
        packet.questions.push(Question::new(Name::new(name).unwrap(), kind, class, false));
        for (priority, weight, host) in targets {
            let target = Name::new(host).unwrap();
            let srv = SRV { priority: *priority, weight: *weight, port: 7946, target };
            let name = Name::new(name).unwrap();
            packet.answers.push(ResourceRecord::new(name, CLASS::IN, 1, RData::SRV(srv)));
        }
        packet.build_bytes_vec().unwrap()
    }

    #[test]
    fn targets_come_by_priority_and_weight_and_other_answers_are_ignored() {
        let answer = reply(7, "x.y", &[(2, 0, "c.y"), (1, 1, "b.y"), (1, 9, "a.y")]);
        let Some(Reply::Targets(targets)) = read(&answer, 7, "X.y.") else { panic!() };
        let hosts: Vec<_> = targets.iter().map(|target| target.host.as_str()).collect();
        assert_eq!(hosts, ["a.y", "b.y", "c.y"]);
        assert_eq!(read(&answer, 8, "x.y."), None);
        assert_eq!(read(&answer, 7, "z.y."), None);
        assert_eq!(read(&answer[..answer.len() - 1], 7, "x.y."), None);
        let (id, question) = query("x.y.").unwrap();
        assert_eq!(read(&question, id, "x.y."), None, "no answer");
    }

    /// A name server for one question: what it answers over UDP, and then over TCP.
    async fn server(
        udp: impl Fn(u16) -> Vec<Vec<u8>> + Send + 'static,
        tcp: impl Fn(u16) -> Vec<u8> + Send + 'static,
    ) -> SocketAddr {
        let (listener, socket) = loop {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            // The number may be in use for UDP.
            if let Ok(socket) = UdpSocket::bind(listener.local_addr().unwrap()).await {
                break (listener, socket);
            }
        };
        let addr = socket.local_addr().unwrap();
        tokio::spawn(async move {
            let mut buf = [0; 512];
            let (len, from) = socket.recv_from(&mut buf).await.unwrap();
            let id = Packet::parse(&buf[..len]).unwrap().id();
            for answer in udp(id) {
                socket.send_to(&answer, from).await.unwrap();
            }
            let (mut stream, _) = listener.accept().await.unwrap();
            let asked = stream.read_u16().await.unwrap();
            stream.read_exact(&mut buf[..usize::from(asked)]).await.unwrap();
            let id = Packet::parse(&buf[..usize::from(asked)]).unwrap().id();
            let answer = tcp(id);
            // In pieces, as an answer of many segments comes.
            stream.write_u16(u16::try_from(answer.len()).unwrap()).await.unwrap();
            for piece in answer.chunks(1000) {
                stream.write_all(piece).await.unwrap();
                tokio::task::yield_now().await;
            }
        });
        addr
    }

    #[tokio::test]
    async fn an_answer_that_does_not_fit_a_datagram_comes_over_tcp() {
        let hosts: Vec<String> = (0..200).map(|n| format!("serf-{n}.serf.default.svc.x")).collect();
        let all = move |id| {
            let targets: Vec<_> = hosts.iter().map(|host| (1, 1, host.as_str())).collect();
            reply(id, "_serf._udp.x.", &targets)
        };
        let cut = |id: u16| {
            let mut cut = reply(id, "_serf._udp.x.", &[(1, 1, "serf-0.x")]);
            // The flag TC.
            cut[2] |= 2;
            cut
        };
        // Before it, an answer to another question, one to nothing, and no answer at all.
        let datagrams = move |id: u16| {
            let forged = reply(id, "other.", &[(1, 1, "evil.x")]);
            vec![reply(!id, "_serf._udp.x.", &[(1, 1, "evil.x")]), forged, b"x".into(), cut(id)]
        };
        let addr = server(datagrams, all).await;
        let targets = ask("_serf._udp.x.", &[addr]).await.unwrap();
        assert_eq!(targets.len(), 200);
        assert!(targets.iter().all(|target| target.host.starts_with("serf-")), "{targets:?}");
        // What is cut over TCP as well is no answer.
        let addr = server(move |id| vec![cut(id)], cut).await;
        assert_eq!(ask_server("_serf._udp.x.", addr).await, Err("a broken answer".to_owned()));
    }

    #[tokio::test]
    async fn the_next_server_is_asked_when_one_fails() {
        let refusing = |id: u16| {
            let mut packet = Packet::new_reply(id);
            *packet.rcode_mut() = RCODE::ServerFailure;
            let (kind, class) = (QTYPE::TYPE(TYPE::SRV), QCLASS::CLASS(CLASS::IN));
            packet.questions.push(Question::new(Name::new("x.").unwrap(), kind, class, false));
            vec![packet.build_bytes_vec().unwrap()]
        };
        let good = |id: u16| vec![reply(id, "x.", &[(1, 1, "a.x")])];
        let servers = [server(refusing, |_| Vec::new()).await, server(good, |_| Vec::new()).await];
        let targets = ask("x.", &servers).await.unwrap();
        assert_eq!(targets.len(), 1);
        let failing = server(refusing, |_| Vec::new()).await;
        let error = ask_server("x.", failing).await.unwrap_err();
        assert_eq!(error, "server answers ServerFailure");
    }

    #[test]
    fn names_are_searched_for_as_the_resolver_of_the_system_does() {
        let config = Config::parse("search a.b c\noptions ndots:2\n").unwrap();
        assert_eq!(candidates("x.y.", &config), ["x.y."]);
        assert_eq!(candidates("x.y", &config), ["x.y.a.b.", "x.y.c.", "x.y."]);
        assert_eq!(candidates("x.y.z", &config), ["x.y.z.", "x.y.z.a.b.", "x.y.z.c."]);
    }
}
