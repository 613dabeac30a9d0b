//! The listening sockets of the RPC and of HTTP, and the loop that accepts clients on them.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{
    net::{TcpListener, UnixListener},
    task::JoinSet,
};
use tracing::warn;

use super::{
    RpcAddr,
    accepted::Accepted,
    admission::{Admission, Pass, origin},
};
use crate::{
    agent::files,
    base::go_net,
    rpc,
    transport::{self, Network, Prefer, Resolved},
};

/// A listening socket; `Off` if the server is not configured.
pub(in crate::agent) enum Listener {
    Tcp(TcpListener),
    Unix { listener: UnixListener, path: PathBuf, uid: u32 },
    Off,
}

/// A server that handles the clients of a listener.
pub(in crate::agent) trait Service {
    /// Logs that a connection could not be accepted.
    fn log_failure(&self, error: &str);

    /// Reports that a client is disconnected because too many are connected.
    fn refuse(&mut self, client: &Accepted);

    /// Serves a client until its connection ends.
    fn serve(
        &mut self,
        pass: Pass,
        client: Accepted,
    ) -> impl Future<Output = ()> + Send + 'static + use<Self>;
}

impl Listener {
    /// Binds an address.
    ///
    /// # Errors
    /// It cannot be bound; the text is Go's.
    pub(in crate::agent) async fn bind(addr: &RpcAddr) -> Result<Self, String> {
        let addr = match addr {
            RpcAddr::Off => return Ok(Self::Off),
            RpcAddr::Unix(path) => return Self::bind_unix(path.clone()),
            RpcAddr::Tcp(addr) => addr,
        };
        let (to, shown) = to_bind(transport::resolve_async(Network::Tcp, addr).await)?;
        transport::listen(to).map(Self::Tcp).map_err(|error| {
            let reason = go_net::error_text(&error);
            format!("listen tcp {shown}: bind: {reason}")
        })
    }

    /// The TCP address it listens on.
    pub(in crate::agent) fn tcp_addr(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(listener) => listener.local_addr().ok(),
            Self::Unix { .. } | Self::Off => None,
        }
    }

    /// Checks an address without binding it; `taken` are those that the agent binds before it, to
    /// which it is added.
    ///
    /// # Errors
    /// The address is invalid, does not resolve, is taken, or is the path of no new socket.
    pub(in crate::agent) fn check(addr: &RpcAddr, taken: &mut Vec<Taken>) -> Result<(), String> {
        let in_use = "bind: address already in use";
        match addr {
            RpcAddr::Off => {}
            RpcAddr::Unix(path) => {
                if taken.iter().any(|taken| matches!(taken, Taken::Unix(other) if other == path)) {
                    return Err(format!("listen unix {}: {in_use}", path.display()));
                }
                check_path(path).map_err(|error| unix_failure(path, &error))?;
                taken.push(Taken::Unix(path.clone()));
            }
            RpcAddr::Tcp(addr) => {
                let (to, shown) = to_bind(transport::resolve(Network::Tcp, addr))?;
                if taken.iter().any(|taken| matches!(taken, Taken::Tcp(other) if meet(*other, to)))
                {
                    return Err(format!("listen tcp {shown}: {in_use}"));
                }
                taken.push(Taken::Tcp(to));
            }
        }
        Ok(())
    }

    /// Accepts clients until the future is dropped, and serves each one in a task of its own.
    pub(in crate::agent) async fn serve(self, admission: &Arc<Admission>, mut by: impl Service) {
        let mut clients = JoinSet::new();
        loop {
            while clients.try_join_next().is_some() {}
            let client = match self.accept().await {
                Ok(client) => client,
                Err(error) => {
                    by.log_failure(&go_net::error_text(&error));
                    // Most likely out of file descriptors: evicting a stranger frees one, and an
                    // immediate retry would only waste CPU time.
                    admission.evict();
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            match admission.admit(client.origin, Instant::now()) {
                Some(pass) => drop(clients.spawn(by.serve(pass, client))),
                None => by.refuse(&client),
            }
        }
    }

    /// Waits for the next client.
    async fn accept(&self) -> io::Result<Accepted> {
        match self {
            Self::Tcp(listener) => {
                let (stream, addr) = listener.accept().await?;
                // A dual-stack listener reports IPv4 clients with IPv4-mapped IPv6 addresses.
                let addr = SocketAddr::new(addr.ip().to_canonical(), addr.port());
                rpc::tune(&stream);
                let (input, output) = stream.into_split();
                Ok(Accepted {
                    name: addr.to_string(),
                    origin: origin(addr.ip()),
                    uid: None,
                    certificate: None,
                    input: Box::new(input),
                    output: Box::new(output),
                })
            }
            Self::Unix { listener, uid, .. } => loop {
                let (stream, _) = listener.accept().await?;
                let peer = stream.peer_cred()?;
                if peer.uid() != *uid && peer.uid() != 0 {
                    warn!(target: "agent.ipc", "Refusing client: user id {}", peer.uid());
                    continue;
                }
                let name = format!("unix:{}", peer.pid().unwrap_or(0));
                let (input, output) = stream.into_split();
                return Ok(Accepted {
                    name,
                    origin: None,
                    uid: Some(peer.uid()),
                    certificate: None,
                    input: Box::new(input),
                    output: Box::new(output),
                });
            },
            Self::Off => std::future::pending().await,
        }
    }

    fn bind_unix(path: PathBuf) -> Result<Self, String> {
        use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};

        let fail = |error: io::Error| unix_failure(&path, &error);
        // A socket without a listener is left over from an agent that was killed.
        let stale = std::fs::metadata(&path).is_ok_and(|found| found.file_type().is_socket())
            && std::os::unix::net::UnixStream::connect(&path).is_err();
        if stale {
            std::fs::remove_file(&path).map_err(fail)?;
        }
        let listener = UnixListener::bind(&path).map_err(fail)?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).map_err(fail)?;
        // The owner of the new file is the user of this process.
        let uid = std::fs::metadata(&path).map_err(fail)?.uid();
        Ok(Self::Unix { listener, path, uid })
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Self::Unix { path, .. } = self {
            // It may have been removed already.
            let _ = std::fs::remove_file(path);
        }
    }
}

/// What an agent binds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::agent) enum Taken {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

/// Whether only one of two sockets can listen. `0.0.0.0` is bound for both families.
fn meet(a: SocketAddr, b: SocketAddr) -> bool {
    let any = [a, b].iter().any(|addr| addr.ip().is_unspecified());
    a.port() == b.port() && a.port() != 0 && (a.ip() == b.ip() || any)
}

/// The address to bind, and how Go shows it.
fn to_bind(found: Result<Resolved, String>) -> Result<(SocketAddr, String), String> {
    let found = found.map_err(|reason| format!("listen tcp: {reason}"))?;
    let any = SocketAddr::from((Ipv4Addr::UNSPECIFIED, found.port));
    Ok(match found.one(Prefer::Four) {
        Some(to) => (to, to.to_string()),
        None => (any, format!(":{}", found.port)),
    })
}

fn unix_failure(path: &Path, error: &io::Error) -> String {
    format!("listen unix {}: bind: {}", path.display(), go_net::error_text(error))
}

/// Whether a socket can be made at a path. One that is there may be left over from another agent.
fn check_path(path: &Path) -> io::Result<()> {
    use std::os::unix::{fs::FileTypeExt as _, net::SocketAddr};

    SocketAddr::from_pathname(path)?;
    match std::fs::metadata(path) {
        Ok(found) if found.file_type().is_socket() => Ok(()),
        // Also a link that leads nowhere.
        _ if path.symlink_metadata().is_ok() => Err(rustix::io::Errno::ADDRINUSE.into()),
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Err(error) if path.as_os_str().is_empty() => Err(error),
        Ok(_) | Err(_) => files::check_dir_of(path),
    }
}

/// Wait after a failed accept.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
