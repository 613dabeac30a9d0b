//! Reports the agent's state to systemd: ready, reloading, stopping, alive. See sd_notify(3).

use std::{
    ffi::{OsStr, OsString},
    os::unix::net::{SocketAddr, UnixDatagram},
    time::Duration,
};

/// The socket of the service manager, if there is one.
#[derive(Clone, Debug, Default)]
pub(super) struct Notify {
    socket: Option<OsString>,
    watchdog: Option<Duration>,
}

impl Notify {
    /// Reads the environment variables set by systemd.
    pub(super) fn from_env() -> Self {
        let watchdog = std::env::var("WATCHDOG_USEC").ok().and_then(|micros| micros.parse().ok());
        let ours =
            std::env::var("WATCHDOG_PID").map_or(true, |pid| pid == std::process::id().to_string());
        Self {
            socket: std::env::var_os("NOTIFY_SOCKET").filter(|path| !path.is_empty()),
            watchdog: watchdog.filter(|_| ours).map(Duration::from_micros),
        }
    }

    /// Interval for calls of [`Notify::alive`]: half of systemd's timeout.
    pub(super) fn watchdog_interval(&self) -> Option<Duration> {
        self.socket.as_ref()?;
        self.watchdog.map(|limit| (limit / 2).max(Duration::from_millis(1)))
    }

    /// Reports that the node is running and the RPC is listening.
    pub(super) fn ready(&self) {
        self.send("READY=1");
    }

    /// Reports that the configuration is being reloaded, until [`Notify::ready`].
    pub(super) fn reloading(&self) {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        let micros = i128::from(now.tv_sec) * 1_000_000 + i128::from(now.tv_nsec) / 1_000;
        self.send(&format!("RELOADING=1\nMONOTONIC_USEC={micros}"));
    }

    /// Reports that the agent is stopping.
    pub(super) fn stopping(&self) {
        self.send("STOPPING=1");
    }

    /// Reports that the engine answers.
    pub(super) fn alive(&self) {
        self.send("WATCHDOG=1");
    }

    /// Errors of the service manager's socket are ignored.
    fn send(&self, state: &str) {
        let Some(path) = &self.socket else { return };
        let Ok(socket) = UnixDatagram::unbound() else { return };
        let _ = socket.set_nonblocking(true);
        if let Some(addr) = address(path) {
            let _ = socket.send_to_addr(state.as_bytes(), &addr);
        }
    }
}

#[cfg(target_os = "linux")]
fn address(path: &OsStr) -> Option<SocketAddr> {
    use std::os::{linux::net::SocketAddrExt as _, unix::ffi::OsStrExt as _};
    match path.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name).ok(),
        None => SocketAddr::from_pathname(path).ok(),
    }
}

/// Only Linux has abstract socket addresses; elsewhere, managers that imitate systemd use files.
#[cfg(not(target_os = "linux"))]
fn address(path: &OsStr) -> Option<SocketAddr> {
    SocketAddr::from_pathname(path).ok()
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::os::linux::net::SocketAddrExt as _;

    use super::*;

    #[test]
    fn states_are_sent_to_files_and_abstract_names() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let file = UnixDatagram::bind(&path).unwrap();
        let name = format!("ruserf-test-{}", std::process::id());
        let addr = SocketAddr::from_abstract_name(&name).unwrap();
        let hidden = UnixDatagram::bind_addr(&addr).unwrap();
        for (server, socket) in [(file, path.into_os_string()), (hidden, format!("@{name}").into())]
        {
            let watchdog = Some(Duration::from_secs(10));
            let notify = Notify { socket: Some(socket), watchdog };
            assert_eq!(notify.watchdog_interval(), Some(Duration::from_secs(5)));
            notify.ready();
            notify.reloading();
            notify.stopping();
            notify.alive();
            let mut buf = [0; 256];
            let mut next = || {
                let n = server.recv(&mut buf).unwrap();
                String::from_utf8_lossy(&buf[..n]).into_owned()
            };
            assert_eq!(next(), "READY=1");
            let reloading = next();
            let micros = reloading.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").unwrap();
            assert!(micros.parse::<u64>().unwrap() > 0);
            assert_eq!((next(), next()), ("STOPPING=1".into(), "WATCHDOG=1".into()));
        }
        Notify::default().ready();
        assert_eq!(Notify::default().watchdog_interval(), None);
    }
}
