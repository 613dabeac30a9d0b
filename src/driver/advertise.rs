//! Which address a node announces. Go: `net_transport.go`, `FinalAdvertiseAddr`; go-sockaddr.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// The raw bytes and the port to announce.
///
/// A configured or bound IPv4 address goes out as 4 bytes, an auto-detected one as 16: peers
/// compare bytes, and this is what a Go node in the same place would send.
///
/// # Errors
/// Bound to everything on a machine without a private address, in Go's words.
pub(super) fn advertise(
    configured: Option<SocketAddr>,
    bound: SocketAddr,
) -> Result<(Vec<u8>, u16), String> {
    if let Some(addr) = configured {
        return Ok((short(addr.ip()), addr.port()));
    }
    if bound.ip() == IpAddr::V4(Ipv4Addr::UNSPECIFIED) {
        let ip = private_ip().ok_or("no private IP address found, and explicit IP not provided")?;
        let bytes = match ip {
            IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
            IpAddr::V6(ip) => ip.octets(),
        };
        return Ok((bytes.to_vec(), bound.port()));
    }
    Ok((short(bound.ip()), bound.port()))
}

fn short(ip: IpAddr) -> Vec<u8> {
    match ip {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    }
}

/// The first private address: of the default route's interface if it has one, IPv4 before IPv6,
/// the wider network first.
fn private_ip() -> Option<IpAddr> {
    let default = default_route_interface();
    let mut found: Vec<_> = if_addrs::get_if_addrs()
        .unwrap_or_default()
        .into_iter()
        .filter(|interface| is_private(interface.ip()))
        .map(|interface| {
            let prefix = match &interface.addr {
                if_addrs::IfAddr::V4(addr) => u32::from(addr.netmask).count_ones(),
                if_addrs::IfAddr::V6(addr) => u128::from(addr.netmask).count_ones(),
            };
            let other = default.as_deref() != Some(interface.name.as_str());
            (other, interface.ip().is_ipv6(), prefix, interface.ip())
        })
        .collect();
    found.sort();
    found.first().map(|(.., ip)| *ip)
}

/// Private space of RFC 6890 that can be forwarded.
fn is_private(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => {
            let [a, b, ..] = ip.octets();
            ip.is_private() || (a == 100 && (64..128).contains(&b)) || (a == 198 && b & 0xfe == 18)
        }
        IpAddr::V6(ip) => ip.is_unique_local(),
    }
}

#[cfg(target_os = "linux")]
fn default_route_interface() -> Option<String> {
    let routes = std::fs::read_to_string("/proc/net/route").ok()?;
    routes.lines().skip(1).find_map(|line| {
        let mut fields = line.split_whitespace();
        let name = fields.next()?;
        (fields.next()? == "00000000").then(|| name.to_owned())
    })
}

#[cfg(not(target_os = "linux"))]
fn default_route_interface() -> Option<String> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn configured_and_bound_addresses_are_announced_short() {
        let bound = SocketAddr::from(([127, 0, 0, 1], 7946));
        assert_eq!(advertise(None, bound), Ok((vec![127, 0, 0, 1], 7946)));
        let configured = SocketAddr::from(([10, 0, 0, 9], 8301));
        assert_eq!(advertise(Some(configured), bound), Ok((vec![10, 0, 0, 9], 8301)));
    }

    #[test]
    fn private_space_is_rfc_6890_without_what_is_not_forwarded() {
        let table = [
            ("10.1.2.3", true),
            ("172.31.0.1", true),
            ("192.168.0.1", true),
            ("100.64.0.1", true),
            ("198.19.0.1", true),
            ("fd00::1", true),
            ("127.0.0.1", false),
            ("169.254.1.1", false),
            ("8.8.8.8", false),
            ("fe80::1", false),
        ];
        for (ip, private) in table {
            assert_eq!(is_private(ip.parse().unwrap()), private, "{ip}");
        }
    }
}
