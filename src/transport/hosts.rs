//! Resolves a host to addresses by the rules of Go's resolver.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs, UdpSocket},
};

use crate::runtime::blocking;

/// [`look_up`] with the host in the text of errors.
///
/// # Errors
/// As [`look_up`].
#[cfg(any(feature = "client", test))]
pub(crate) fn host_addrs(host: &str, port: u16) -> Result<Vec<SocketAddr>, String> {
    look_up(host, port).map_err(|reason| format!("lookup {host}: {reason}"))
}

/// All addresses of a host, in order of preference; IPv4 addresses are never IPv6-mapped.
///
/// # Errors
/// The host has no address, or the system's resolver could not find out.
fn look_up(host: &str, port: u16) -> Result<Vec<SocketAddr>, String> {
    let unknown = || NO_SUCH_HOST.to_owned();
    if let Ok(ip) = host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(ip.to_canonical(), port)]);
    }
    // `127.1` and `0177.0.0.1` are addresses for the C library but names for Go.
    if is_short_form(host) {
        return Err(unknown());
    }
    let found = match ((host, port).to_socket_addrs(), zoned(host)) {
        (Ok(found), _) => found,
        (Err(_), Some(ip)) => vec![SocketAddr::new(ip, port)].into_iter(),
        (Err(error), None) => return Err(lookup_reason(&error)),
    };
    let canonical = |addr: SocketAddr| match addr {
        // Keeps the scope id (zone).
        SocketAddr::V6(six) if six.ip().to_ipv4_mapped().is_none() => addr,
        addr => SocketAddr::new(addr.ip().to_canonical(), port),
    };
    let mut addrs: Vec<_> = found.map(canonical).collect();
    addrs.dedup();
    unique_local_last(&mut addrs);
    if addrs.is_empty() { Err(unknown()) } else { Ok(addrs) }
}

/// Why a lookup failed, in Go's words. A name server that does not answer is not a wrong name.
pub(crate) fn lookup_reason(error: &io::Error) -> String {
    let text = error.to_string();
    let reason = text.strip_prefix(STD_PREFIX).unwrap_or(&text);
    if UNKNOWN.contains(&reason) { NO_SUCH_HOST.to_owned() } else { reason.to_owned() }
}

/// Moves unique local addresses behind the others that can be reached, as RFC 6724 and Go have it.
/// The C library prefers them to IPv4.
fn unique_local_last(addrs: &mut [SocketAddr]) {
    let is_local =
        |addr: &SocketAddr| matches!(addr.ip(), IpAddr::V6(six) if six.is_unique_local());
    if addrs.iter().any(is_local) && !addrs.iter().all(is_local) {
        addrs.sort_by_cached_key(|addr| (!has_route(addr.ip()), is_local(addr)));
    }
}

/// Whether the system has an address from which to send to `ip`. Nothing is sent.
fn has_route(ip: IpAddr) -> bool {
    let any = match ip {
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
    UdpSocket::bind((any, 0)).and_then(|socket| socket.connect((ip, DISCARD_PORT))).is_ok()
}

/// Forms accepted by `inet_aton` other than four decimal numbers.
fn is_short_form(host: &str) -> bool {
    let is_number = |part: &str| {
        let hex = part.strip_prefix("0x").or_else(|| part.strip_prefix("0X"));
        match hex {
            Some(digits) => digits.bytes().all(|byte| byte.is_ascii_hexdigit()),
            None => !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()),
        }
    };
    host.split('.').count() <= 4 && host.split('.').all(is_number)
}

/// An IPv6 address with a zone, without the zone. Go ignores zones that the system's resolver
/// refuses: those that name no interface, or belong to an address that needs no zone.
fn zoned(host: &str) -> Option<IpAddr> {
    let (ip, zone) = host.split_once('%')?;
    let ip: Ipv6Addr = ip.parse().ok()?;
    (!zone.is_empty()).then_some(ip.into())
}

/// [`look_up`] without blocking the runtime.
///
/// # Errors
/// As [`look_up`].
pub(crate) async fn host_ips(host: &str) -> io::Result<Vec<IpAddr>> {
    let owned = host.to_owned();
    let addrs = blocking(move || look_up(&owned, 0)).await?;
    let addrs = addrs.map_err(io::Error::other)?;
    Ok(addrs.into_iter().map(|addr| addr.ip()).collect())
}

const NO_SUCH_HOST: &str = "no such host";
/// What the standard library puts before a text of the C library.
const STD_PREFIX: &str = "failed to lookup address information: ";
/// The C libraries' texts (glibc, musl, macOS) for names that are not there, or have no address.
const UNKNOWN: [&str; 5] = [
    "Name or service not known",
    "No address associated with hostname",
    "Name does not resolve",
    "Name has no usable address",
    "nodename nor servname provided, or not known",
];
/// Any port will do.
const DISCARD_PORT: u16 = 9;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_and_octal_forms_are_no_addresses() {
        for host in ["127.1", "0177.0.0.1", "2130706433", "0x7f.1", "127.0.0.01", "1.2.3.256"] {
            let error = format!("lookup {host}: no such host");
            assert_eq!(host_addrs(host, 1), Err(error));
        }
        assert_eq!(host_addrs("127.0.0.1", 1), Ok(vec![([127, 0, 0, 1], 1).into()]));
    }

    #[test]
    fn a_name_server_that_fails_is_no_unknown_name() {
        let reason = |text: &str| lookup_reason(&io::Error::other(format!("{STD_PREFIX}{text}")));
        for unknown in UNKNOWN {
            assert_eq!(reason(unknown), NO_SUCH_HOST);
        }
        let again = "Temporary failure in name resolution";
        assert_eq!(reason(again), again);
        assert_eq!(lookup_reason(&io::Error::other("i/o timeout")), "i/o timeout");
    }

    #[test]
    fn mapped_addresses_are_of_ipv4() {
        assert_eq!(host_addrs("::ffff:127.0.0.1", 1), Ok(vec![([127, 0, 0, 1], 1).into()]));
    }

    #[test]
    fn a_zone_that_means_nothing_is_ignored() {
        for host in ["::1%lo", "::1%no-such-interface", "::1%7"] {
            let ips = host_addrs(host, 1).map(|found| found.iter().map(SocketAddr::ip).collect());
            assert_eq!(ips, Ok(vec![IpAddr::from(Ipv6Addr::LOCALHOST)]), "{host}");
        }
        for host in ["::1%", "127.0.0.1%lo"] {
            assert_eq!(host_addrs(host, 1), Err(format!("lookup {host}: no such host")));
        }
    }
}
