//! Layer 1b: bytes over sockets behind one small trait.

#[cfg(feature = "memberlist")]
mod crate_memberlist;
mod hosts;
mod net;
#[cfg(feature = "quic")]
mod quic;
// The client dials; only the agent binds and advertises by name.
#[cfg(feature = "client")]
#[cfg_attr(not(feature = "agent"), allow(dead_code))]
mod resolve;
#[cfg(feature = "tls")]
mod tls;
mod traits;

pub use crate::runtime::{Connection, NetStream};
#[cfg(feature = "memberlist")]
pub use crate_memberlist::{MemberlistStream, MemberlistTransport};
pub(crate) use hosts::host_ips;
#[cfg(feature = "agent")]
pub(crate) use net::listen;
pub use net::{BindError, NetTransport, SocketKind};
#[cfg(feature = "quic")]
pub use quic::{QuicStream, QuicTransport};
#[cfg(feature = "client")]
pub(crate) use resolve::{Network, resolve_async};
#[cfg(feature = "agent")]
pub(crate) use resolve::{Prefer, resolve};
#[cfg(feature = "tls")]
pub use tls::TlsTransport;
/// What the transports are configured with.
#[cfg(feature = "tls")]
pub use tokio_rustls::rustls;
pub use traits::Transport;
