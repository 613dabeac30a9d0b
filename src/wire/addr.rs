//! Addresses as nodes announce them.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
};

/// An address as received: 0, 4 or 16 bytes, compared byte by byte.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RawAddr {
    bytes: [u8; 16],
    len: u8,
}

impl RawAddr {
    /// `None` unless `raw` has 0, 4 or 16 bytes.
    pub fn from_wire(raw: &[u8]) -> Option<Self> {
        if !matches!(raw.len(), 0 | 4 | 16) {
            return None;
        }
        let mut bytes = [0; 16];
        bytes.iter_mut().zip(raw).for_each(|(to, from)| *to = *from);
        Some(Self { bytes, len: raw.len() as u8 })
    }

    /// The bytes as sent on the wire.
    pub fn as_slice(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.len)).unwrap_or_default()
    }

    /// The address as an `IpAddr`; v4-mapped addresses become IPv4. `None` for the empty address.
    pub fn ip(&self) -> Option<IpAddr> {
        let [a, b, c, d, ..] = self.bytes;
        match self.len {
            4 => Some(IpAddr::from([a, b, c, d])),
            16 => Some(IpAddr::from(self.bytes).to_canonical()),
            _ => None,
        }
    }

    /// The address with `port`; `None` for the empty address.
    pub fn socket_addr(&self, port: u16) -> Option<SocketAddr> {
        Some(SocketAddr::new(self.ip()?, port))
    }
}

/// The short form: 4 bytes for IPv4.
impl From<IpAddr> for RawAddr {
    fn from(ip: IpAddr) -> Self {
        let (mut bytes, len) = ([0; 16], if ip.is_ipv4() { 4 } else { 16 });
        let mut fill = |octets: &[u8]| {
            bytes.iter_mut().zip(octets).for_each(|(to, from)| *to = *from);
        };
        match ip {
            IpAddr::V4(ip) => fill(&ip.octets()),
            IpAddr::V6(ip) => fill(&ip.octets()),
        }
        Self { bytes, len }
    }
}

/// Formats the address as Go formats a `net.IP`.
impl fmt::Display for RawAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.ip() {
            Some(ip) => ip.fmt(f),
            None => f.write_str("<nil>"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_lengths_of_addresses_are_taken_and_bytes_are_kept() {
        for (raw, text) in [
            (&[][..], "<nil>"),
            (&[10, 0, 0, 1], "10.0.0.1"),
            (&[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 10, 0, 0, 1], "10.0.0.1"),
            (&[0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1], "fe80::1"),
        ] {
            let addr = RawAddr::from_wire(raw).unwrap();
            assert_eq!((addr.as_slice(), &*addr.to_string()), (raw, text));
            assert_eq!(addr.ip().is_some(), !raw.is_empty());
        }
        for len in [1, 3, 5, 15, 17, 300] {
            assert_eq!(RawAddr::from_wire(&vec![0; len]), None, "{len}");
        }
        let ip: IpAddr = "10.0.0.1".parse().unwrap();
        assert_eq!(RawAddr::from(ip).as_slice(), [10, 0, 0, 1]);
        assert_eq!(RawAddr::from(ip).socket_addr(7).unwrap().to_string(), "10.0.0.1:7");
    }
}
