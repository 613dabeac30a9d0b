//! Layer 2: the membership engine (Go's memberlist) as one value without I/O.
//!
//! Inputs are passed to `handle_*` with the time they happened; [`Swim::poll_output`] returns
//! effects and [`Swim::poll_timeout`] the next wake-up. Where memberlist calls its delegates
//! synchronously, the engine calls its [`Host`].
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing))]

mod addrs;
mod answers;
mod awareness;
mod budget;
mod claim;
mod config;
mod counters;
#[cfg(feature = "sim")]
mod digest;
mod draw;
mod encoding;
mod engine;
mod error;
mod few;
mod gossip;
mod handoff;
mod host;
mod incarnation;
mod join;
mod logs;
mod merge;
mod name;
mod order;
mod output;
mod packet_builder;
mod packets;
mod page;
mod ping;
#[cfg(feature = "sim")]
mod preload;
mod probe;
mod probes;
mod push_pull;
mod queue;
mod reach;
mod relayed;
mod relays;
mod replay;
mod round_trips;
mod row;
mod rows;
#[cfg(feature = "sim")]
mod sharing;
mod state;
mod streams;
mod suspicion;
mod table;
#[cfg(test)]
mod tests;
mod timer;
mod times;
mod under_way;
mod verify;
mod zones;

pub use config::{Cidr, Config, push_pull_scale};
pub use counters::Stats;
pub use engine::Swim;
pub use error::{ConfigError, Error};
pub use host::{Exchange, Host, NodeView, Origin, Seal};
pub use join::{JoinEntry, JoinErrors, JoinFailure};
pub(crate) use name::check_name;
#[cfg(feature = "sim")]
pub use output::Shared;
pub use output::{Done, OpId, Output, StreamId, StreamInput};
#[cfg(feature = "sim")]
pub use preload::Cast;
pub use queue::retransmit_limit;
pub(crate) use queue::{BroadcastQueue, Fate, Order};
#[cfg(feature = "agent")]
pub(crate) use reach::Trouble;
pub use suspicion::suspicion_timeout;
pub use times::Times;

pub use crate::wire::NodeStateKind;
