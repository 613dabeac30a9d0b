//! Selects the address to announce. Go: `net_transport.go: FinalAdvertiseAddr` and `go-sockaddr`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

/// An address in its wire form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Announced {
    /// 4 or 16 bytes. Peers compare bytes: a node that replaces a Go node must keep the form.
    pub(super) bytes: Vec<u8>,
    pub(super) addr: SocketAddr,
}

/// Selects the address: the configured one; else, for an unspecified bind address, the first
/// private one of an interface; else the bound one. `None` if there is no such address.
pub(super) fn announced(
    bind: IpAddr,
    bound: SocketAddr,
    advertise: Option<SocketAddr>,
) -> Option<Announced> {
    if let Some(advertise) = advertise {
        let port = if advertise.port() == 0 { bound.port() } else { advertise.port() };
        let addr = SocketAddr::new(advertise.ip().to_canonical(), port);
        return Some(Announced { bytes: short(addr.ip()), addr });
    }
    if bind.is_unspecified() {
        // Go announces a literal `::` when bound to it, which no peer can reach: used only if there
        // is no other address.
        let found = private_ip(&interfaces(), default_route());
        let ip = found.or(Some(bind).filter(IpAddr::is_ipv6))?;
        return Some(Announced { bytes: long(ip), addr: SocketAddr::new(ip, bound.port()) });
    }
    let addr = SocketAddr::new(bound.ip().to_canonical(), bound.port());
    Some(Announced { bytes: short(addr.ip()), addr })
}

/// Whether this machine has an address that a node bound to all addresses can announce.
#[cfg(feature = "agent")]
pub(crate) fn has_private_ip() -> bool {
    private_ip(&interfaces(), default_route()).is_some()
}

/// An address of an interface that is up.
#[derive(Clone, Copy, Debug)]
struct Candidate {
    ip: IpAddr,
    prefix: u8,
    interface: u32,
}

/// The preferred private address: on the interface of the default route first, then IPv4 before
/// IPv6, then the larger network. Go: `sockaddr.GetPrivateIP`.
fn private_ip(candidates: &[Candidate], default_route: Option<IpAddr>) -> Option<IpAddr> {
    let default_interface = candidates
        .iter()
        .find(|candidate| Some(candidate.ip) == default_route)
        .map(|candidate| candidate.interface);
    candidates
        .iter()
        .filter(|candidate| is_forwardable(candidate.ip) && is_private(candidate.ip))
        .min_by_key(|candidate| {
            let default = Some(candidate.interface) == default_interface;
            (!default, candidate.ip.is_ipv6(), candidate.prefix)
        })
        .map(|candidate| candidate.ip)
}

fn interfaces() -> Vec<Candidate> {
    let interfaces = if_addrs::get_if_addrs().unwrap_or_default();
    let candidates = interfaces.iter().filter(|interface| {
        use if_addrs::IfOperStatus::{Down, LowerLayerDown, NotPresent};
        !matches!(interface.oper_status, Down | LowerLayerDown | NotPresent)
    });
    candidates
        .map(|interface| Candidate {
            ip: interface.ip(),
            prefix: match &interface.addr {
                if_addrs::IfAddr::V4(addr) => addr.prefixlen,
                if_addrs::IfAddr::V6(addr) => addr.prefixlen,
            },
            interface: interface.index.unwrap_or(0),
        })
        .collect()
}

/// Our address on the default route; queries the routing table without sending anything.
fn default_route() -> Option<IpAddr> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    // Any public address serves.
    socket.connect((Ipv4Addr::new(1, 0, 0, 1), 9)).ok()?;
    Some(socket.local_addr().ok()?.ip())
}

/// Special-purpose space of RFC 6890, in which Go looks for "private" addresses.
fn is_private(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => matches!(
            ip.octets(),
            [0 | 10 | 127 | 240..=255, ..]
                | [192, 168, ..]
                | [169, 254, ..]
                | [100, 64..=127, ..]
                | [172, 16..=31, ..]
                | [198, 18 | 19, ..]
                | [192, 0, 0 | 2, _]
                | [192, 88, 99, _]
                | [198, 51, 100, _]
                | [203, 0, 113, _]
        ),
        IpAddr::V6(ip) => {
            ip.is_unique_local()
                || ip.is_unicast_link_local()
                || is_documentation(ip)
                || ip.is_loopback()
        }
    }
}

/// The part of that space that routers forward.
fn is_forwardable(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => !matches!(
            ip.octets(),
            [0 | 127 | 240..=255, ..]
                | [169, 254, ..]
                | [192, 0, 0 | 2, _]
                | [198, 51, 100, _]
                | [203, 0, 113, _]
        ),
        IpAddr::V6(ip) => {
            !ip.is_loopback()
                && !ip.is_unicast_link_local()
                && !is_documentation(ip)
                && ip.to_ipv4_mapped().is_none()
        }
    }
}

fn is_documentation(ip: Ipv6Addr) -> bool {
    matches!(ip.segments(), [0x2001, 0x0db8, ..])
}

fn short(ip: IpAddr) -> Vec<u8> {
    match ip {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    }
}

fn long(ip: IpAddr) -> Vec<u8> {
    match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped().octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(ip: &str, prefix: u8, interface: u32) -> Candidate {
        Candidate { ip: ip.parse().unwrap(), prefix, interface }
    }

    fn pick(candidates: &[Candidate], default: &str) -> Option<String> {
        private_ip(candidates, default.parse().ok()).map(|ip| ip.to_string())
    }

    #[test]
    fn interface_of_the_default_route_comes_first() {
        let candidates = [
            candidate("127.0.0.1", 8, 1),
            candidate("10.0.0.5", 8, 2),
            candidate("192.168.1.7", 24, 3),
        ];
        assert_eq!(pick(&candidates, "192.168.1.7").as_deref(), Some("192.168.1.7"));
        assert_eq!(pick(&candidates, "").as_deref(), Some("10.0.0.5"));
    }

    #[test]
    fn public_loopback_and_link_local_addresses_are_not_announced() {
        let candidates = [
            candidate("127.0.0.1", 8, 1),
            candidate("169.254.1.1", 16, 2),
            candidate("8.8.8.8", 24, 3),
            candidate("fe80::1", 64, 3),
            candidate("::1", 128, 1),
        ];
        assert_eq!(pick(&candidates, "8.8.8.8"), None);
        let with_private = [candidates[2], candidate("fd00::2", 64, 3)];
        assert_eq!(pick(&with_private, "8.8.8.8").as_deref(), Some("fd00::2"));
    }

    #[test]
    fn configured_ipv4_has_four_bytes() {
        let bound = "127.0.0.1:7946".parse().unwrap();
        let given = Some("10.1.2.3:0".parse().unwrap());
        let announced = announced(IpAddr::V4(Ipv4Addr::UNSPECIFIED), bound, given).unwrap();
        assert_eq!(announced.bytes, [10, 1, 2, 3]);
        assert_eq!(announced.addr, "10.1.2.3:7946".parse().unwrap());
    }

    #[test]
    fn bound_ipv4_has_four_bytes_and_a_detected_one_sixteen() {
        let bound: SocketAddr = "127.0.0.1:7946".parse().unwrap();
        assert_eq!(announced(bound.ip(), bound, None).unwrap().bytes, [127, 0, 0, 1]);
        assert_eq!(long("10.0.0.5".parse().unwrap())[10..], [255, 255, 10, 0, 0, 5]);
    }
}
