//! Multicast sockets.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use rustix::net::sockopt::set_ip_multicast_if_with_ifindex;
use socket2::{Domain, InterfaceIndexOrAddress, Protocol, Socket, Type};
use tokio::net::UdpSocket;

use crate::agent::settings::Mdns;

/// A socket for questions, shared with other responders of this machine.
pub(super) fn listen(group: SocketAddr, settings: &Mdns) -> std::io::Result<UdpSocket> {
    let index = settings.interface.as_ref().map_or(0, |interface| interface.index);
    let socket = Socket::new(Domain::for_address(group), Type::DGRAM, Some(Protocol::UDP))?;
    // Each responder of the machine receives each question.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    match group.ip() {
        IpAddr::V4(ip) => {
            socket.bind(&SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), PORT).into())?;
            let interface = match index {
                0 => InterfaceIndexOrAddress::Address(Ipv4Addr::UNSPECIFIED),
                index => InterfaceIndexOrAddress::Index(index),
            };
            socket.join_multicast_v4_n(&ip, &interface)?;
        }
        IpAddr::V6(ip) => {
            socket.set_only_v6(true)?;
            socket.bind(&SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), PORT).into())?;
            socket.join_multicast_v6(&ip, index)?;
        }
    }
    UdpSocket::from_std(socket.into())
}

/// A socket that asks, and receives the answers.
pub(super) fn ask_from(group: SocketAddr, settings: &Mdns) -> std::io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(group), Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_nonblocking(true)?;
    if group.is_ipv4() {
        if let Some(interface) = &settings.interface {
            // By its number: it may have no IPv4 address.
            let any = Ipv4Addr::UNSPECIFIED;
            set_ip_multicast_if_with_ifindex(&socket, &any, &any, interface.index)?;
        }
        socket.bind(&SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), 0).into())?;
    } else {
        socket.set_only_v6(true)?;
        if let Some(interface) = &settings.interface {
            socket.set_multicast_if_v6(interface.index)?;
        }
        socket.bind(&SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), 0).into())?;
    }
    UdpSocket::from_std(socket.into())
}

/// RFC 6762 section 3.
const PORT: u16 = 5353;
pub(super) const GROUPS: [SocketAddr; 2] = [
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(224, 0, 0, 251)), PORT),
    SocketAddr::new(IpAddr::V6(Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0xfb)), PORT),
];
/// RFC 6762 section 17.
pub(super) const PACKET_BYTES_MAX: usize = 9_000;
