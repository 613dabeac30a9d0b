//! A deterministic simulator around the unchanged production engines.
pub(crate) mod network;
pub(crate) mod node;
mod parallel;
pub(crate) mod queue;
mod shard;
mod slot;
mod trace;
mod world;

pub use network::{Link, Network, Traffic, address_of, node_at};
pub use node::{Node, Observation, ObservationKind, SerfNode, SwimNode};
pub use slot::Counters;
pub use world::{World, WorldConfig};
