//! From host names to addresses, by whichever resolver a program has.

use std::{future::Future, io, net::IpAddr, pin::Pin};

use super::hosts::host_ips;

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
        Box::pin(host_ips(host))
    }
}
