//! Validated settings: what the agent runs by.

mod address;
mod build;
mod discovery;
mod node;
mod reloadable;

pub(super) use address::RpcAddr;
pub(super) use build::level;
pub use build::{Notices, Settings};
pub(super) use discovery::{Mdns, host_name};
pub(super) use reloadable::Reloadable;
