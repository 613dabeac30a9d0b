//! Layer 2: the membership engine (Go's memberlist) as one value without I/O.
//!
//! Inputs go in through `handle_*` with the time they happened; effects come out of
//! [`Swim::poll_output`] and the next wake-up out of [`Swim::poll_timeout`]. What memberlist asks
//! its delegates in the middle of a call, the engine asks its [`Host`].

mod config;
mod engine;
mod error;
mod host;
mod output;

pub use config::{Cidr, Config};
pub use engine::{Stats, Swim};
pub use error::Error;
pub use host::{Host, NodeStateKind, NodeView};
pub use output::{OpId, OpResult, Output, StreamId, StreamInput};
