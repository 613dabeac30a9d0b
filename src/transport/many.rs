//! Many datagrams in one system call: `recvmmsg` and `sendmmsg`.

use std::{
    array,
    cell::RefCell,
    io::{self, IoSlice, IoSliceMut},
    net::{SocketAddr, UdpSocket},
    os::fd::AsRawFd as _,
};

use nix::sys::socket::{MsgFlags, MultiHeaders, SockaddrStorage, recvmmsg};
use rustix::net::{MMsgHdr, SendAncillaryBuffer, SendFlags, SocketAddrAny, sendmmsg};

use super::batch::{Batch, PLACES};

type Headers = RefCell<MultiHeaders<SockaddrStorage>>;

fn headers() -> Headers {
    RefCell::new(MultiHeaders::preallocate(PLACES, None))
}

thread_local! {
    // The kernel notes the length of an address in them, which differs between the families.
    static RECEIVE_V4: Headers = headers();
    static RECEIVE_V6: Headers = headers();
}

/// Fills what is free of the batch with datagrams that wait on a socket, without waiting.
pub(super) fn receive(socket: &UdpSocket, is_ipv6: bool, batch: &mut Batch) -> io::Result<()> {
    let headers = if is_ipv6 { &RECEIVE_V6 } else { &RECEIVE_V4 };
    headers.with_borrow_mut(|headers| {
        let (mut free, received) = batch.free();
        let count = free.len();
        let mut places: [_; PLACES] =
            array::from_fn(|_| [IoSliceMut::new(free.next().unwrap_or_default())]);
        let places = places.iter_mut().take(count);
        let fd = socket.as_raw_fd();
        let messages = recvmmsg(fd, headers, places, MsgFlags::MSG_DONTWAIT, None)?;
        received.extend(
            messages.filter_map(|message| Some((message.bytes, to_std(&message.address?)?))),
        );
        Ok(())
    })
}

/// Sends the first datagrams to addresses in the form that the socket wants; gives how many went
/// out, at least one. Nix would look at addresses that it never set to count them.
pub(super) fn send(
    socket: &UdpSocket,
    packets: &[(SocketAddr, Vec<u8>)],
    to_socket: impl Fn(SocketAddr) -> SocketAddr,
) -> io::Result<usize> {
    let count = packets.len().min(PLACES);
    let packet = |at: usize| packets.get(at).or(packets.first());
    let nothing = (SocketAddr::from(([0; 4], 0)), &[][..]);
    let mut parts: [_; PLACES] = array::from_fn(|at| {
        let (to, data) = packet(at).map_or(nothing, |(to, data)| (to_socket(*to), &**data));
        (SocketAddrAny::from(to), [IoSlice::new(data)], SendAncillaryBuffer::default())
    });
    let mut headers =
        parts.each_mut().map(|(to, bytes, none)| MMsgHdr::new_with_addr(to, bytes, none));
    let headers = headers.get_mut(..count).unwrap_or_default();
    Ok(sendmmsg(socket, headers, SendFlags::DONTWAIT)?)
}

/// The sender as peers announce it: an IPv4 address is never in its IPv6 form.
fn to_std(address: &SockaddrStorage) -> Option<SocketAddr> {
    let v4 = address.as_sockaddr_in().map(|addr| SocketAddr::from(*addr));
    let v6 = || address.as_sockaddr_in6().map(|addr| SocketAddr::from(*addr));
    let from = v4.or_else(v6)?;
    Some(SocketAddr::new(from.ip().to_canonical(), from.port()))
}
