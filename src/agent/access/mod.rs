//! Who may do what over the RPC and HTTP.

mod capability;
mod door;
mod tokens;

pub(super) use capability::{Capabilities, Capability};
pub(super) use door::{Door, Holder};
