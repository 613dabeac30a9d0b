//! Joining: names to addresses, one exchange with each, and the rejoins that follow by themselves.

use std::{
    future::Future,
    io,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    sync::{Arc, Weak},
};

use tokio::sync::oneshot;
use tracing::{info, warn};

use super::handle::Shared;
use crate::swim::{JoinEntry, JoinErrors};

/// Seeds remembered for life at most.
const SEEDS_MAX: usize = 64;

/// A join that reached nobody, or whose announcement failed. Go returns a count and an error.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct JoinError {
    /// Nodes contacted.
    pub contacted: usize,
    /// Go's text of the collected errors.
    pub message: String,
}

/// Finds the addresses of a host name. Asked anew for each join.
pub trait Resolver: Send + Sync + 'static {
    /// All addresses of `host`.
    fn resolve<'a>(
        &'a self,
        host: &'a str,
    ) -> Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send + 'a>>;
}

/// The system's resolver.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemResolver;

impl Resolver for SystemResolver {
    fn resolve<'a>(
        &'a self,
        host: &'a str,
    ) -> Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send + 'a>> {
        Box::pin(async move {
            let mut ips: Vec<IpAddr> =
                tokio::net::lookup_host((host, 0)).await?.map(|addr| addr.ip()).collect();
            ips.dedup();
            Ok(ips)
        })
    }
}

/// Joins through every entry, one after the other, as Go does.
pub(super) async fn join(
    shared: Arc<Shared>,
    entries: Vec<String>,
    ignore_old: bool,
) -> Result<usize, JoinError> {
    let _one_at_a_time = shared.join_lock.lock().await;
    let fail = |message: String| JoinError { contacted: 0, message };
    shared
        .call(move |core, _| core.engine.begin_join(ignore_old))
        .await
        .map_err(|error| fail(error.to_string()))?
        .map_err(|error| fail(error.to_string()))?;
    let (contacted, errors) = contact_all(&shared, &entries).await;
    shared
        .call(move |core, now| core.engine.end_join(now, contacted))
        .await
        .map_err(|error| JoinError { contacted, message: error.to_string() })?;
    if contacted > 0 {
        shared.remember_seeds(&entries, SEEDS_MAX);
    }
    if contacted == 0 && !errors.is_empty() {
        return Err(fail(errors.to_string()));
    }
    Ok(contacted)
}

async fn contact_all(shared: &Arc<Shared>, entries: &[String]) -> (usize, JoinErrors) {
    let mut contacted = 0;
    let mut errors = JoinErrors::default();
    for entry in entries {
        let (name, addrs) = match resolve(shared, entry).await {
            Ok(found) => found,
            Err(error) => {
                warn!(target: "memberlist", "Failed to resolve {entry}: {error}");
                errors.unresolved(entry, &error);
                continue;
            }
        };
        for addr in addrs {
            match contact(shared, addr, name.clone()).await {
                Ok(()) => contacted += 1,
                Err(error) => errors.unreachable(&addr, &error),
            }
        }
    }
    (contacted, errors)
}

async fn resolve(shared: &Shared, entry: &str) -> Result<(String, Vec<SocketAddr>), String> {
    let JoinEntry { name, host, port } = JoinEntry::parse(entry, shared.bound.port())?;
    let ips = match host.parse() {
        Ok(ip) => vec![ip],
        Err(_) => shared
            .resolver
            .resolve(&host)
            .await
            .map_err(|error| format!("lookup {host}: {error}"))?,
    };
    if ips.is_empty() {
        return Err(format!("lookup {host}: no such host"));
    }
    let addrs = ips.into_iter().map(|ip| SocketAddr::new(ip, port)).collect();
    Ok((name.unwrap_or_default(), addrs))
}

/// One push/pull.
async fn contact(shared: &Shared, to: SocketAddr, name: String) -> Result<(), String> {
    let (done, result) = oneshot::channel();
    shared
        .call(move |core, now| {
            let op = core.engine.start_push_pull(now, to, &name);
            core.wait_for(op, done);
        })
        .await
        .map_err(|error| error.to_string())?;
    match result.await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err("serf is shut down".into()),
    }
}

/// Goes back to the peers of the snapshot, one after the other, until one answers. No join intent
/// is sent: to the others we never left. Go: `handleRejoin`.
pub(super) async fn rejoin_previous(shared: Weak<Shared>, peers: Vec<(String, String)>) {
    for (name, addr) in peers {
        let Some(shared) = shared.upgrade() else { return };
        info!(target: "serf", "Attempting re-join to previously known node: {name}: {addr}");
        let Ok(to) = addr.parse() else { continue };
        match contact(&shared, to, name.clone()).await {
            Ok(()) => {
                info!(target: "serf", "Re-joined to previously known node: {name}: {addr}");
                return;
            }
            Err(error) => {
                warn!(target: "serf", "Failed to re-join {name}: {error}");
            }
        }
    }
    warn!(target: "serf", "Failed to re-join any previously known node");
}

/// Nobody is left although a join once succeeded: join again through what the operator gave.
pub(super) fn rejoin_seeds(shared: Arc<Shared>) {
    tokio::spawn(async move {
        let seeds = shared.seeds();
        // A join under way does the same.
        if seeds.is_empty() || shared.join_lock.try_lock().is_err() {
            return;
        }
        info!(target: "serf", "Alone; joining again through {}", seeds.join(", "));
        if let Err(error) = join(shared, seeds, true).await {
            warn!(target: "serf", "Failed to join again: {error}");
        }
    });
}
