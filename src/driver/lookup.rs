//! Resolves host names. Go: `memberlist.go: resolveAddr`.

use std::{io, net::IpAddr, time::Duration};

use super::panics::catch_panic;
use crate::{
    runtime::{self, Runtime, timeout_at},
    transport::{Resolver, lookup_reason},
};

/// All addresses of a host name.
///
/// # Errors
/// The reason, for operators.
pub(super) async fn resolve(
    host: &str,
    resolver: &dyn Resolver,
    runtime: &dyn Runtime,
) -> Result<Vec<IpAddr>, String> {
    let lookup = catch_panic(async { resolver.resolve(host).await });
    let lookup = async { lookup.await.unwrap_or_else(|| Err(io::Error::other("it panicked"))) };
    let lookup = timeout_at(runtime, runtime::now() + RESOLVE_TIMEOUT, lookup);
    let reason = match lookup.await {
        Some(Ok(ips)) if ips.is_empty() => "no such host".to_owned(),
        Some(Ok(mut ips)) => {
            ips.truncate(ADDRESSES_MAX);
            return Ok(ips);
        }
        Some(Err(error)) => lookup_reason(&error),
        None => "i/o timeout".to_owned(),
    };
    Err(format!("lookup {host}: {reason}"))
}

const RESOLVE_TIMEOUT: Duration = Duration::from_secs(10);
/// Most addresses of one name that are contacted.
const ADDRESSES_MAX: usize = 256;
