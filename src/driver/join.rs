//! From host names to addresses. Go: `memberlist.go: resolveAddr`.

use std::{
    future::Future,
    io,
    net::IpAddr,
    pin::Pin,
    time::{Duration, Instant},
};

use super::caught::catch_panic;
use crate::{
    runtime::{Runtime, timeout_at},
    transport,
};

/// Finds the addresses behind a host name.
pub trait Resolver: Send + Sync {
    /// All addresses of `host`, best first. Asked anew for each join.
    fn resolve<'a>(&'a self, host: &'a str) -> Resolving<'a>;
}

impl<T: Resolver + ?Sized> Resolver for std::sync::Arc<T> {
    fn resolve<'a>(&'a self, host: &'a str) -> Resolving<'a> {
        (**self).resolve(host)
    }
}

/// What [`Resolver::resolve`] gives.
pub type Resolving<'a> = Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send + 'a>>;

/// The system's resolver.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemResolver;

impl Resolver for SystemResolver {
    fn resolve<'a>(&'a self, host: &'a str) -> Resolving<'a> {
        Box::pin(transport::host_ips(host))
    }
}

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
    let lookup = timeout_at(runtime, Instant::now() + RESOLVE_TIMEOUT, lookup);
    let reason = match lookup.await {
        Some(Ok(ips)) if ips.is_empty() => "no such host".to_owned(),
        Some(Ok(mut ips)) => {
            ips.truncate(ADDRESSES_MAX);
            return Ok(ips);
        }
        Some(Err(error)) => go_text(&error),
        None => "i/o timeout".to_owned(),
    };
    Err(format!("lookup {host}: {reason}"))
}

/// In Go's words, where the system's resolver knows no such name.
fn go_text(error: &io::Error) -> String {
    let text = error.to_string();
    let unknown = ["Name or service not known", "No address associated with hostname"];
    if unknown.iter().any(|end| text.ends_with(end)) { "no such host".to_owned() } else { text }
}

const RESOLVE_TIMEOUT: Duration = Duration::from_secs(10);
/// Addresses of one name that are tried.
const ADDRESSES_MAX: usize = 256;
