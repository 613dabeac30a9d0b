//! Checks of this machine, if the agent runs on it.

use std::net::{IpAddr, Ipv4Addr};

use super::{evidence::Evidence, finding::Finding};

/// Checks the network interface of the agent's address.
pub(super) fn findings(evidence: &Evidence) -> Vec<Finding> {
    let ip = evidence.own().and_then(|own| {
        let bytes = own.addr.0.as_slice();
        let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
        v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from)).ok()
    });
    let ip = ip.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |ip| ip.to_canonical());
    let interfaces = if_addrs::get_if_addrs().unwrap_or_default();
    let Some(interface) = interfaces.into_iter().find(|interface| interface.ip() == ip) else {
        // The agent is behind NAT, or on another machine.
        return Vec::new();
    };
    let path = format!("/sys/class/net/{}/mtu", interface.name);
    let mtu = std::fs::read_to_string(path).ok().and_then(|text| text.trim().parse::<u32>().ok());
    let least = GOSSIP_BYTES + if ip.is_ipv4() { 28 } else { 48 };
    let small = mtu.filter(|mtu| *mtu < least);
    let found = small.map(|mtu| {
        let problem = format!(
            "The MTU of {} is {mtu}, but gossip packets have up to {least} bytes: they are sent in \
             fragments, which firewalls and tunnels often drop.",
            interface.name
        );
        Finding::new("mtu", problem, MTU)
    });
    found.into_iter().collect()
}

/// Bytes of a full packet, without headers.
const GOSSIP_BYTES: u32 = 1400;
const MTU: &str = "Set the MTU of the interface and of its tunnel to 1500, or allow fragments \
    in firewalls.";
