//! From the entries of a join to addresses. Go: `memberlist.go: resolveAddr`.

use std::{
    future::Future,
    io,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    time::Duration,
};

use super::caught::unless_it_panics;
use crate::swim::JoinEntry;

/// Finds the addresses behind a host name.
pub trait Resolver: Send + Sync {
    /// All addresses of `host`, best first. Asked anew for each join.
    fn resolve<'a>(&'a self, host: &'a str) -> Resolving<'a>;
}

/// What [`Resolver::resolve`] gives.
pub type Resolving<'a> = Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send + 'a>>;

/// The system's resolver.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemResolver;

impl Resolver for SystemResolver {
    fn resolve<'a>(&'a self, host: &'a str) -> Resolving<'a> {
        Box::pin(async move {
            let addrs = tokio::net::lookup_host((host, 0)).await?;
            let mut ips = addrs.map(|addr| addr.ip().to_canonical()).collect::<Vec<_>>();
            ips.dedup();
            Ok(ips)
        })
    }
}

/// All addresses of the entry's host.
///
/// # Errors
/// The reason, for operators.
pub(super) async fn resolve(
    entry: &JoinEntry,
    resolver: &dyn Resolver,
) -> Result<Vec<SocketAddr>, String> {
    let host = &entry.host;
    if let Ok(ip) = host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(ip.to_canonical(), entry.port)]);
    }
    let lookup = unless_it_panics(async { resolver.resolve(host).await });
    let lookup = async { lookup.await.unwrap_or_else(|| Err(io::Error::other("it panicked"))) };
    let lookup = tokio::time::timeout(RESOLVE_TIMEOUT, lookup);
    let reason = match lookup.await {
        Ok(Ok(ips)) if ips.is_empty() => "no such host".to_owned(),
        Ok(Ok(ips)) => {
            let addrs = ips.into_iter().take(ADDRESSES_MAX);
            return Ok(addrs.map(|ip| SocketAddr::new(ip, entry.port)).collect());
        }
        Ok(Err(error)) => error.to_string(),
        Err(_) => "i/o timeout".to_owned(),
    };
    Err(format!("lookup {host}: {reason}"))
}

const RESOLVE_TIMEOUT: Duration = Duration::from_secs(10);
/// Addresses of one name that are tried.
const ADDRESSES_MAX: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn literal_address_asks_no_resolver() {
        struct Never;
        impl Resolver for Never {
            fn resolve<'a>(&'a self, _: &'a str) -> Resolving<'a> {
                Box::pin(async { Err(io::Error::other("asked")) })
            }
        }
        let entry = JoinEntry::parse("10.0.0.1", 7946).unwrap();
        assert_eq!(resolve(&entry, &Never).await, Ok(vec!["10.0.0.1:7946".parse().unwrap()]));
        let entry = JoinEntry::parse("name", 7946).unwrap();
        assert_eq!(resolve(&entry, &Never).await, Err("lookup name: asked".to_owned()));
    }
}
