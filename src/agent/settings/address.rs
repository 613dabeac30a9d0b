//! Addresses and network interfaces. Go: `cmd/serf/command/agent/config.go`, `AddrParts`.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::PathBuf,
};

use crate::{
    agent::AgentError,
    base::go_net::{self, AddressFault},
    swim::Cidr,
    transport::{self, Network, Prefer},
};

/// The address that gossip sockets bind.
#[derive(Clone, Debug)]
pub struct Bind {
    /// The address.
    pub addr: SocketAddr,
    /// The address as Go shows it.
    pub shown: String,
    /// Interface that the address was taken from, if any.
    interface: Option<String>,
}

impl Bind {
    pub(super) fn build(
        written: Option<&str>,
        interface: Option<Interface>,
    ) -> Result<Self, AgentError> {
        let found = gossip_addr(written.unwrap_or("0.0.0.0"))
            .map_err(|error| AgentError::Invalid(format!("Invalid bind address: {error}")))?;
        if let Some(interface) = interface {
            return interface.bind(&found);
        }
        let (addr, shown) = match found {
            GossipAddr::Any { port } => {
                (SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), port), format!(":{port}"))
            }
            GossipAddr::One(addr) => (addr, addr.to_string()),
        };
        Ok(Self { addr, shown, interface: None })
    }

    /// Go's notice about the interface.
    pub(super) fn interface_notice(&self) -> Option<String> {
        let interface = self.interface.as_ref()?;
        Some(format!("Using interface '{interface}' address '{}'", self.addr.ip()))
    }
}

/// The address to announce.
pub(super) fn advertised(written: &str) -> Result<SocketAddr, AgentError> {
    match gossip_addr(written) {
        Ok(GossipAddr::One(addr)) => Ok(addr),
        // Go detects that only when it starts the node.
        Ok(GossipAddr::Any { .. }) => Err(AgentError::Start(
            "Failed to create memberlist: failed to get final advertise address: failed to parse \
             advertise address \"<nil>\""
                .to_owned(),
        )),
        Err(error) => Err(AgentError::Invalid(format!("Invalid advertise address: {error}"))),
    }
}

/// The networks whose nodes are accepted.
pub(super) fn cidrs(written: &[String]) -> Result<Vec<Cidr>, AgentError> {
    let parse = |text: &String| {
        let (addr, prefix) = text.split_once('/')?;
        let addr: IpAddr = addr.parse().ok()?;
        let prefix: u8 = prefix.parse().ok()?;
        let longest = if addr.is_ipv4() { 32 } else { 128 };
        (prefix <= longest).then_some(Cidr { addr, prefix })
    };
    let invalid = |text| AgentError::Invalid(format!("invalid CIDR address: {text}"));
    written.iter().map(|text| parse(text).ok_or_else(|| invalid(text))).collect()
}

/// Address of the RPC or HTTP listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RpcAddr {
    /// No listener.
    Off,
    /// A Unix socket.
    Unix(PathBuf),
    /// `host:port`, resolved when the listener is bound.
    Tcp(String),
}

impl RpcAddr {
    pub(super) fn new(written: Option<String>) -> Self {
        let written = written.unwrap_or_else(|| "127.0.0.1:7373".to_owned());
        match written.strip_prefix("unix:") {
            Some(path) => Self::Unix(path.strip_prefix("//").unwrap_or(path).into()),
            None if written == "off" => Self::Off,
            None => Self::Tcp(written),
        }
    }

    /// The HTTP listener's address: off unless configured.
    pub(super) fn http(written: Option<String>) -> Self {
        Self::new(Some(written.unwrap_or_else(|| "off".to_owned())))
    }
}

impl fmt::Display for RpcAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str("off"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Tcp(addr) => f.write_str(addr),
        }
    }
}

/// An address for gossip.
enum GossipAddr {
    /// The host is empty: any address.
    Any {
        port: u16,
    },
    One(SocketAddr),
}

/// Parses a gossip address as Go does: the default port is 7946, names are resolved. Go:
/// `AddrParts`.
fn gossip_addr(text: &str) -> Result<GossipAddr, String> {
    let missing =
        go_net::split_host_port(text).is_err_and(|error| error.fault == AddressFault::MissingPort);
    let text = if missing { format!("{text}:7946") } else { text.to_owned() };
    let found = transport::resolve(Network::Tcp, &text)?;
    Ok(match found.one(Prefer::Written) {
        // The zone is dropped, as in Go.
        Some(addr) => GossipAddr::One(SocketAddr::new(addr.ip(), addr.port())),
        None => GossipAddr::Any { port: found.port },
    })
}

/// A network interface.
pub(super) struct Interface {
    name: String,
    addrs: Vec<IpAddr>,
}

impl Interface {
    pub(super) fn find(name: &str) -> Result<Self, AgentError> {
        let all = if_addrs::get_if_addrs().unwrap_or_default();
        let addrs: Vec<_> =
            all.iter().filter(|found| found.name == name).map(if_addrs::Interface::ip).collect();
        if addrs.is_empty() && Self::index(name).is_none() {
            return Err(AgentError::Invalid(
                "Invalid network interface: route ip+net: no such network interface".to_owned(),
            ));
        }
        Ok(Self { name: name.to_owned(), addrs })
    }

    /// The index of an interface, even if it has no addresses.
    #[cfg(target_os = "linux")]
    pub(super) fn index(name: &str) -> Option<u32> {
        let any_socket = std::net::UdpSocket::bind("127.0.0.1:0").ok()?;
        rustix::net::netdevice::name_to_index(any_socket, name).ok()
    }

    #[cfg(not(target_os = "linux"))]
    pub(super) fn index(name: &str) -> Option<u32> {
        let all = if_addrs::get_if_addrs().unwrap_or_default();
        all.iter().find(|found| found.name == name)?.index
    }

    /// Selects the address to bind: `0.0.0.0` means the interface's first usable address; any
    /// other must be one of its addresses.
    fn bind(self, bind: &GossipAddr) -> Result<Bind, AgentError> {
        let invalid = |text: String| Err(AgentError::Invalid(text));
        let name = self.name;
        if self.addrs.is_empty() {
            return invalid(format!("Interface '{name}' has no addresses"));
        }
        let bind = match *bind {
            GossipAddr::Any { .. } => {
                return invalid(format!("Interface '{name}' has no '<nil>' address"));
            }
            GossipAddr::One(bind) => bind,
        };
        if bind.ip() != IpAddr::V4(Ipv4Addr::UNSPECIFIED) {
            return if self.addrs.contains(&bind.ip()) {
                Ok(Bind { addr: bind, shown: bind.to_string(), interface: None })
            } else {
                invalid(format!("Interface '{name}' has no '{}' address", bind.ip()))
            };
        }
        let link_local = |ip: &IpAddr| match ip {
            IpAddr::V4(ip) => ip.is_link_local(),
            IpAddr::V6(ip) => ip.is_unicast_link_local(),
        };
        match self.addrs.iter().find(|ip| !link_local(ip)) {
            Some(ip) => {
                let addr = SocketAddr::new(*ip, bind.port());
                Ok(Bind { addr, shown: addr.to_string(), interface: Some(name) })
            }
            None => invalid(format!("Failed to find usable address for interface '{name}'")),
        }
    }
}
