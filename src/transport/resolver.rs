//! Custom resolvers of host names.

use std::{future::Future, io, net::IpAddr, pin::Pin};

use super::hosts::host_ips;

/// Resolves host names.
pub trait Resolver: Send + Sync {
    /// All addresses of `host`, in order of preference. Called again for each join.
    fn resolve<'a>(&'a self, host: &'a str) -> Resolving<'a>;
}

impl<T: Resolver + ?Sized> Resolver for std::sync::Arc<T> {
    fn resolve<'a>(&'a self, host: &'a str) -> Resolving<'a> {
        (**self).resolve(host)
    }
}

/// The future returned by [`Resolver::resolve`].
pub type Resolving<'a> = Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send + 'a>>;

/// The system's resolver.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemResolver;

impl Resolver for SystemResolver {
    fn resolve<'a>(&'a self, host: &'a str) -> Resolving<'a> {
        Box::pin(host_ips(host))
    }
}
