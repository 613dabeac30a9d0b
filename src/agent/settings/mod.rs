//! The agent's validated settings.

mod address;
mod build;
mod discovery;
mod node;
mod reloadable;

pub(super) use address::RpcAddr;
pub use build::Settings;
pub(super) use build::level;
pub(super) use discovery::{Mdns, host_name};
pub use reloadable::Notices;
pub(super) use reloadable::{Reloadable, Retry};
