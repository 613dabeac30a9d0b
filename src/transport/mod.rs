//! The transports of a node's bytes: UDP and TCP, as in Go, or for clusters of Rust nodes TLS,
//! QUIC, a transport of the crate memberlist, or a custom [`Transport`], which is passed to
//! [`Builder::start_on`](crate::Builder::start_on).
//!
//! This module also contains [`Address`], an address in any form that a user writes, and the
//! [`Resolver`] for host names.

mod address;
mod batch;
#[cfg(feature = "memberlist")]
mod crate_memberlist;
mod hosts;
#[cfg(target_os = "linux")]
mod many;
mod net;
#[cfg(feature = "quic")]
mod quic;
// The client dials by name; otherwise only the agent binds and advertises by name.
#[cfg(feature = "client")]
#[cfg_attr(not(feature = "agent"), allow(dead_code))]
mod resolve;
mod resolver;
#[cfg(feature = "tls")]
mod tls;
mod traits;

pub use crate::runtime::{Connection, NetStream};
pub use address::Address;
/// Of our own transports: it may change.
#[doc(hidden)]
pub use batch::Batch;
#[cfg(feature = "memberlist")]
pub use crate_memberlist::{MemberlistStream, MemberlistTransport};
#[cfg(feature = "agent")]
pub(crate) use hosts::host_addrs;
pub(crate) use hosts::lookup_reason;
#[cfg(feature = "agent")]
pub(crate) use net::listen;
pub use net::{BindError, NetTransport, SocketKind};
#[cfg(feature = "quic")]
pub use quic::{QuicStream, QuicTransport};
#[cfg(feature = "client")]
pub(crate) use resolve::{Network, resolve_async};
#[cfg(feature = "agent")]
pub(crate) use resolve::{Prefer, Resolved, check_dialled, resolve};
pub use resolver::{Resolver, Resolving, SystemResolver};
#[cfg(feature = "tls")]
pub use tls::TlsTransport;
/// Needed to configure the transports.
#[cfg(feature = "tls")]
pub use tokio_rustls::rustls;
pub use traits::Transport;
