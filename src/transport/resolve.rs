//! Resolves address texts by the rules of Go's `net` package without cgo.

use std::{
    collections::HashMap,
    fs,
    net::{Ipv4Addr, SocketAddr},
};

use super::{address::to_dial, hosts::host_addrs};
use crate::base::go_net;

/// The network whose services a port name is looked up in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Network {
    Tcp,
    Udp,
}

/// Preference if a name has several addresses but only one is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Prefer {
    /// IPv4. Go: `net.Listen`.
    Four,
    /// IPv4, or IPv6 for a host in brackets. Go: `net.ResolveTCPAddr`.
    Written,
}

/// The addresses of a host, if one was given, and a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Resolved {
    /// Empty without a host: any address of this machine. In order of preference.
    pub(crate) addrs: Vec<SocketAddr>,
    pub(crate) port: u16,
    bracketed: bool,
}

impl Resolved {
    /// The preferred address; `None`: no host was given.
    pub(crate) fn one(&self, prefer: Prefer) -> Option<SocketAddr> {
        let six = prefer == Prefer::Written && self.bracketed;
        let wanted = self.addrs.iter().find(|addr| addr.is_ipv6() == six);
        wanted.or(self.addrs.first()).copied()
    }

    /// Addresses to connect to, in order; those of this machine if the host is missing or
    /// unspecified.
    pub(crate) fn to_dial(&self) -> Vec<SocketAddr> {
        if self.addrs.is_empty() {
            return to_dial((Ipv4Addr::UNSPECIFIED, self.port).into()).collect();
        }
        self.addrs.iter().copied().flat_map(to_dial).collect()
    }

    /// How Go names it when none of these addresses can be reached.
    pub(crate) fn named(&self) -> String {
        match self.addrs.first() {
            Some(addr) => addr.to_string(),
            None => format!(":{}", self.port),
        }
    }
}

/// Resolves `host:port`, each of which may be a name. Blocks on the system's resolver.
///
/// # Errors
/// The error in Go's words.
pub(crate) fn resolve(network: Network, text: &str) -> Result<Resolved, String> {
    let (host, service) = go_net::split_host_port(text).map_err(|error| error.to_string())?;
    let port = port(network, service)?;
    let addrs = if host.is_empty() { Vec::new() } else { host_addrs(host, port)? };
    Ok(Resolved { addrs, port, bracketed: text.contains('[') })
}

/// Checks the form of an address to connect to, without a lookup of its host.
///
/// # Errors
/// The error in Go's words.
#[cfg(feature = "agent")]
pub(crate) fn check_dialled(network: Network, text: &str) -> Result<(), String> {
    if text.is_empty() {
        return Err("missing address".to_owned());
    }
    let (_, service) = go_net::split_host_port(text).map_err(|error| error.to_string())?;
    port(network, service).map(drop)
}

/// As [`resolve`], without blocking the runtime.
///
/// # Errors
/// The error in Go's words.
pub(crate) async fn resolve_async(network: Network, text: &str) -> Result<Resolved, String> {
    if text.parse::<SocketAddr>().is_ok() {
        // Nothing is looked up, and at the start a thread for it would cost more than all the rest.
        return resolve(network, text);
    }
    let owned = text.to_owned();
    let resolving = tokio::task::spawn_blocking(move || resolve(network, &owned));
    resolving.await.map_err(|error| error.to_string())?
}

/// Parses a port number or a service name. Go: `net.Resolver.LookupPort`.
///
/// # Errors
/// The name is unknown, or the number is not a port.
pub(crate) fn port(network: Network, service: &str) -> Result<u16, String> {
    let digits = service.strip_prefix(['+', '-']).unwrap_or(service);
    if digits.bytes().all(|byte| byte.is_ascii_digit()) {
        // An empty text is port 0.
        let number: u64 = match digits {
            "" => 0,
            digits => digits.parse().unwrap_or(u64::MAX),
        };
        let negative = service.starts_with('-') && number > 0;
        return u16::try_from(number)
            .ok()
            .filter(|_| !negative)
            .ok_or_else(|| format!("address {service}: invalid port"));
    }
    let name = service.to_ascii_lowercase();
    let listed = services(network, &fs::read_to_string("/etc/services").unwrap_or_default());
    let found = listed.get(&name).copied().or_else(|| {
        let known = BUILT_IN.iter().find(|(of, known, _)| *of == network && *known == name);
        known.map(|(_, _, port)| *port)
    });
    let net = if network == Network::Tcp { "tcp" } else { "udp" };
    found.ok_or_else(|| format!("lookup {net}/{service}: unknown port"))
}

/// Parses lines such as `http 80/tcp www www-http # World Wide Web HTTP`.
fn services(network: Network, text: &str) -> HashMap<String, u16> {
    let wanted = if network == Network::Tcp { "tcp" } else { "udp" };
    let mut services = HashMap::new();
    for line in text.lines() {
        let line = line.split('#').next().unwrap_or_default();
        let mut fields = line.split_ascii_whitespace();
        let (Some(name), Some(port)) = (fields.next(), fields.next()) else { continue };
        let Some((port, net)) = port.split_once('/') else { continue };
        let (Ok(port @ 1..), true) = (port.parse::<u16>(), net == wanted) else { continue };
        services.extend([name].into_iter().chain(fields).map(|name| (name.to_owned(), port)));
    }
    services
}

/// Go: `net/lookup.go: services`.
const BUILT_IN: &[(Network, &str, u16)] = &[
    (Network::Udp, "domain", 53),
    (Network::Tcp, "domain", 53),
    (Network::Tcp, "ftp", 21),
    (Network::Tcp, "ftps", 990),
    (Network::Tcp, "gopher", 70),
    (Network::Tcp, "http", 80),
    (Network::Tcp, "https", 443),
    (Network::Tcp, "imap2", 143),
    (Network::Tcp, "imap3", 220),
    (Network::Tcp, "imaps", 993),
    (Network::Tcp, "pop3", 110),
    (Network::Tcp, "pop3s", 995),
    (Network::Tcp, "smtp", 25),
    (Network::Tcp, "submissions", 465),
    (Network::Tcp, "ssh", 22),
    (Network::Tcp, "telnet", 23),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_numbers_or_names_of_services() {
        for (text, number) in [("80", 80), ("+80", 80), ("", 0), ("-0", 0), ("https", 443)] {
            assert_eq!(port(Network::Tcp, text), Ok(number), "{text}");
        }
        assert_eq!(port(Network::Tcp, "HTTP"), Ok(80));
        for (text, message) in [
            ("70000", "address 70000: invalid port"),
            ("99999999999999999999999", "address 99999999999999999999999: invalid port"),
            ("-80", "address -80: invalid port"),
            ("no-such", "lookup tcp/no-such: unknown port"),
            ("8x", "lookup tcp/8x: unknown port"),
        ] {
            assert_eq!(port(Network::Tcp, text).unwrap_err(), message);
        }
        assert!(port(Network::Udp, "ssh-none").unwrap_err().starts_with("lookup udp/"));
    }

    #[test]
    fn services_have_aliases_and_comments() {
        let text = "# all\nhttp\t80/tcp www www-http # web\nhttp-alt 8080/tcp\nx 0/tcp\ny z\n\
                    dns 53/udp domain\n";
        let tcp = services(Network::Tcp, text);
        assert_eq!(tcp.len(), 4);
        assert_eq!(tcp["www-http"], 80);
        assert_eq!(tcp["http-alt"], 8080);
        assert_eq!(services(Network::Udp, text)["domain"], 53);
    }

    #[test]
    fn one_of_several_addresses_is_taken_as_go_takes_it() {
        let six: SocketAddr = "[::1]:7".parse().unwrap();
        let four: SocketAddr = "127.0.0.1:7".parse().unwrap();
        let named = |bracketed| Resolved { addrs: vec![six, four], port: 7, bracketed };
        assert_eq!(named(false).one(Prefer::Four), Some(four));
        assert_eq!(named(true).one(Prefer::Four), Some(four));
        assert_eq!(named(false).one(Prefer::Written), Some(four));
        assert_eq!(named(true).one(Prefer::Written), Some(six));
        let only_six = Resolved { addrs: vec![six], port: 7, bracketed: false };
        assert_eq!(only_six.one(Prefer::Written), Some(six));
        assert_eq!(resolve(Network::Tcp, ":7").unwrap().one(Prefer::Four), None);
    }

    #[test]
    fn unspecified_addresses_are_dialled_here() {
        let [four, six] = ["127.0.0.1:7", "[::1]:7"].map(|text| text.parse().unwrap());
        for (text, dialled, named) in [
            (":7", &[four][..], ":7"),
            ("0.0.0.0:7", &[four], "0.0.0.0:7"),
            ("[::ffff:127.0.0.1]:7", &[four], "127.0.0.1:7"),
            ("[::]:7", &[six, four], "[::]:7"),
        ] {
            let found = resolve(Network::Tcp, text).unwrap();
            assert_eq!((&*found.to_dial(), &*found.named()), (dialled, named), "{text}");
        }
    }
}
