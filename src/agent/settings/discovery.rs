//! Settings of multicast DNS.

use super::address::Interface;
use crate::agent::{AgentError, FileConfig};

/// How agents on one network discover each other by multicast DNS.
#[derive(Clone, Debug)]
pub struct Mdns {
    /// Cluster name shared by the agents.
    pub cluster: String,
    /// Interface for queries and answers; the system's choice if `None`.
    pub interface: Option<MdnsInterface>,
    /// Do not use IPv4.
    pub disable_ipv4: bool,
    /// Do not use IPv6.
    pub disable_ipv6: bool,
    /// Deliver user events from before a join.
    pub replay: bool,
}

/// A network interface for multicasts.
#[derive(Clone, Debug)]
pub struct MdnsInterface {
    /// Name of the interface.
    pub name: String,
    /// Index of the interface.
    pub index: u32,
}

impl Mdns {
    /// Go's checks, which it also makes at each reload.
    pub(super) fn check(written: &FileConfig) -> Result<(), AgentError> {
        let invalid = |text: &str| Err(AgentError::Invalid(text.to_owned()));
        let Some(interface) = &written.mdns_interface else { return Ok(()) };
        if written.discover.is_none() {
            return invalid("mDNS interface specified without enabling mDNS discovery");
        }
        if Interface::find(interface).is_err() {
            let text = "Invalid mDNS network interface: route ip+net: no such network interface";
            return invalid(text);
        }
        if written.mdns_disable_ipv4 && written.mdns_disable_ipv6 {
            return invalid("Invalid mDNS configuration: both IPv4 and IPv6 are disabled");
        }
        Ok(())
    }

    pub(super) fn build(written: &FileConfig) -> Option<Self> {
        let interface = written.mdns_interface.as_ref().or(written.interface.as_ref());
        Some(Self {
            cluster: written.discover.clone()?,
            interface: interface.and_then(|name| MdnsInterface::find(name)),
            disable_ipv4: written.mdns_disable_ipv4,
            disable_ipv6: written.mdns_disable_ipv6,
            replay: written.replay_on_join,
        })
    }
}

impl MdnsInterface {
    /// Finds an interface; `None` if it does not exist.
    fn find(name: &str) -> Option<Self> {
        Some(Self { name: name.to_owned(), index: Interface::index(name)? })
    }
}

/// The name of this machine.
pub(in crate::agent) fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}
