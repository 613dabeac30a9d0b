//! Addresses given by users.

use std::{
    fmt, io, iter,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs as _},
};

use crate::runtime::blocking;

/// An address to bind or to announce: a socket address, or a text such as `10.0.0.1:7946`,
/// `10.0.0.1`, `[::1]:7946` or `host.example:7946`. A text is resolved when the node is started; if
/// a name has addresses of both families, the IPv4 one is used, as in Go.
#[derive(Clone, Debug)]
pub struct Address(Form);

#[derive(Clone, Debug)]
enum Form {
    Socket(SocketAddr),
    Text(String),
}

impl Address {
    /// Resolves to a socket address, with `port` if the text has none.
    ///
    /// # Errors
    /// The system's resolver does not know the name.
    pub(crate) async fn resolve(&self, port: u16) -> io::Result<SocketAddr> {
        let text = match &self.0 {
            Form::Socket(addr) => return Ok(*addr),
            Form::Text(text) => text,
        };
        if let Ok(addr) = text.parse() {
            return Ok(addr);
        }
        if let Ok(ip) = text.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>() {
            return Ok(SocketAddr::new(ip, port));
        }
        let with_port = if text.contains(':') { text.clone() } else { format!("{text}:{port}") };
        let look_up = move || with_port.to_socket_addrs().map(Iterator::collect::<Vec<_>>);
        let found = blocking(look_up).await.and_then(|found| found)?;
        let best = found.iter().find(|addr| addr.is_ipv4()).or(found.first());
        best.copied().ok_or_else(|| io::Error::other("no such host"))
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Form::Socket(addr) => addr.fmt(f),
            Form::Text(text) => text.fmt(f),
        }
    }
}

impl From<SocketAddr> for Address {
    fn from(addr: SocketAddr) -> Self {
        Self(Form::Socket(addr))
    }
}

impl<I: Into<IpAddr>> From<(I, u16)> for Address {
    fn from(addr: (I, u16)) -> Self {
        Self(Form::Socket(addr.into()))
    }
}

impl From<&str> for Address {
    fn from(text: &str) -> Self {
        Self(Form::Text(text.to_owned()))
    }
}

impl From<String> for Address {
    fn from(text: String) -> Self {
        Self(Form::Text(text))
    }
}

impl From<&String> for Address {
    fn from(text: &String) -> Self {
        text.as_str().into()
    }
}

/// Without a port.
impl From<IpAddr> for Address {
    fn from(ip: IpAddr) -> Self {
        ip.to_string().into()
    }
}

/// The addresses to connect to, in order: those of this machine for an unspecified one, which not
/// every system connects to. Go tries IPv4 after IPv6.
pub(super) fn to_dial(addr: SocketAddr) -> impl Iterator<Item = SocketAddr> {
    let four = SocketAddr::from((Ipv4Addr::LOCALHOST, addr.port()));
    let six = SocketAddr::from((Ipv6Addr::LOCALHOST, addr.port()));
    let (first, second) = match addr.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => (four, None),
        IpAddr::V6(ip) if ip.is_unspecified() => (six, Some(four)),
        IpAddr::V4(_) | IpAddr::V6(_) => (addr, None),
    };
    iter::once(first).chain(second)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn addresses_are_taken_in_every_form() {
        for (address, expected) in [
            (Address::from("127.0.0.1:1"), "127.0.0.1:1"),
            (Address::from("127.0.0.1"), "127.0.0.1:7946"),
            (Address::from("[::1]:5"), "[::1]:5"),
            (Address::from("::1"), "[::1]:7946"),
            (Address::from(([127, 0, 0, 1], 9)), "127.0.0.1:9"),
            (Address::from("localhost:4".to_owned()), "127.0.0.1:4"),
            (Address::from(&"127.0.0.1:4".to_owned()), "127.0.0.1:4"),
            (Address::from(IpAddr::from([127, 0, 0, 1])), "127.0.0.1:7946"),
            (Address::from("fe80::1".parse::<IpAddr>().unwrap()), "[fe80::1]:7946"),
        ] {
            assert_eq!(address.resolve(7946).await.unwrap(), expected.parse().unwrap());
        }
        assert!(Address::from("127.0.0.1:port").resolve(1).await.is_err());
    }
}
