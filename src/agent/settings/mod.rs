//! The agent's validated settings.

mod address;
mod build;
mod discovery;
mod node;
mod reloadable;
mod sandbox;
mod tls;

pub(super) use address::RpcAddr;
pub use build::Settings;
pub(super) use build::level;
pub(super) use discovery::{Mdns, host_name};
pub use reloadable::Notices;
pub(super) use reloadable::{Reloadable, Retry};
pub(super) use sandbox::Sandbox;
pub(super) use tls::TlsFiles;
