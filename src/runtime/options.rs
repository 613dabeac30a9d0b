//! Options of streams, whatever the runtime.

use std::{io, time::Duration};

use socket2::{SockRef, TcpKeepalive};

/// Options of a stream. A peer that vanished frees its stream without keep-alive, only later.
pub(super) fn prepare(stream: SockRef<'_>) -> io::Result<()> {
    // Go's dialers and listeners do so by default.
    let keepalive = TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE);
    let _ = stream.set_tcp_keepalive(&keepalive);
    stream.set_tcp_nodelay(true)
}

/// Go: `defaultTCPKeepAliveIdle`.
pub(super) const KEEPALIVE: Duration = Duration::from_secs(15);
