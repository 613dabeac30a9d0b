//! TLS of the agent's listeners, and the PEM files that the listeners and the commands read.

#[cfg(not(feature = "agent-tls"))]
mod absent;
#[cfg(feature = "agent-tls")]
mod certificate;
mod identity;
#[cfg(feature = "agent-tls")]
mod pem;
#[cfg(feature = "agent-tls")]
mod server;

#[cfg(not(feature = "agent-tls"))]
pub(super) use absent::ServerTls;
pub(super) use identity::{AltName, Identity};
#[cfg(feature = "agent-tls")]
pub(crate) use pem::client_config;
#[cfg(feature = "agent-tls")]
pub(super) use server::ServerTls;
