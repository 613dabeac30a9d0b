//! Encodes answers about this node, and decodes answers about others.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use simple_dns::{
    CLASS, Name, OPCODE, Packet, PacketFlag, QCLASS, QTYPE, Question, RCODE, ResourceRecord, TYPE,
    rdata::{A, AAAA, PTR, RData, SRV, TXT},
};
use tracing::warn;

/// What a node announces about itself.
pub(super) struct Service {
    pub(super) cluster: String,
    pub(super) instance: String,
    /// Name of the machine, without a domain.
    pub(super) host: String,
    pub(super) addr: SocketAddr,
}

/// The names of a service, borrowed for an answer.
struct Names<'a> {
    service: Name<'a>,
    instance: Name<'a>,
    host: Name<'a>,
    all: Name<'a>,
}

impl Service {
    pub(super) fn check(&self) -> simple_dns::Result<()> {
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

    /// Datagrams with answers to a query; empty if it asks for something else or cannot be decoded.
    /// Questions for unicast answers are answered with the query's id, others with 0, as in Go.
    pub(super) fn answers(&self, query: &[u8]) -> Vec<Vec<u8>> {
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
            // Repeated questions do not make an answer longer than a packet.
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

/// The question for all nodes of a cluster.
pub(super) fn question(cluster: &str) -> simple_dns::Result<Vec<u8>> {
    let service = service_name(cluster);
    let mut id = [0; 2];
    // Go ignores the id, so 0 is acceptable, too.
    let _ = rand::TryRng::try_fill_bytes(&mut rand::rngs::SysRng, &mut id);
    let mut query = Packet::new_query(u16::from_be_bytes(id));
    let (kind, class) = (QTYPE::TYPE(TYPE::PTR), QCLASS::CLASS(CLASS::IN));
    query.questions.push(Question::new(Name::new(&service)?, kind, class, false));
    query.build_bytes_vec()
}

/// The addresses of a cluster's nodes that an answer names.
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

/// Decodes a datagram, unless its header counts more records than such a datagram needs: the
/// decoder allocates by these counts.
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

const TTL_SECS: u32 = 120;
/// Most records and questions in one datagram.
const RECORDS_MAX: usize = 256;
/// Most questions of one datagram that are answered.
const QUESTIONS_MAX: usize = 8;

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
    fn malformed_datagrams_give_nothing() {
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
        // An answer is no question, and counts that no datagram can hold allocate nothing.
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
