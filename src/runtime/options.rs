//! Socket options of streams, for all runtimes.

use std::{io, time::Duration};

use socket2::{SockRef, TcpKeepalive};

/// Sets the options of a stream. Without keep-alive, the stream of a vanished peer is still freed,
/// only later.
pub(super) fn prepare(stream: SockRef<'_>) -> io::Result<()> {
    // Go's dialers and listeners enable it by default.
    let keepalive = TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE);
    let _ = stream.set_tcp_keepalive(&keepalive);
    stream.set_tcp_nodelay(true)
}

/// Go: `defaultTCPKeepAliveIdle`.
pub(super) const KEEPALIVE: Duration = Duration::from_secs(15);
