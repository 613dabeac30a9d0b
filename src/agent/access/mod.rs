//! Access control of the RPC and HTTP: tokens, and what each of them allows.

mod authenticator;
mod capability;
mod tokens;

pub(super) use authenticator::{Authenticator, Holder};
pub(super) use capability::{Capabilities, Capability};
