//! A deterministic simulator around the unchanged production engines: virtual time, a seeded
//! network, faults, and rules that must hold whatever happens.
//!
//! - [`Cluster`]: Serf engines on a virtual network, for tests of what is built on them.
//! - [`World`]: the same machinery for any [`Node`], in as many threads as wanted; [`SwimNode`] is
//!   the light node for ten thousand of them.
//! - [`Swarm`]: a cluster under a mixture of faults that a seed draws, then the recovery;
//!   [`invariants`] says what is checked.
//! - [`Experiment`]: how fast news spreads and deaths are found; [`theory`] says what to expect.
//! - [`lifeguard`]: the experiments of the Lifeguard paper.
//!
//! A run is reproduced by its seed: nothing in it depends on the machine, on real time or on the
//! number of threads.

mod cluster;
pub mod command;
mod dissemination;
mod faults;
mod forge;
pub mod invariants;
pub mod lifeguard;
mod network;
mod node;
mod oracle;
mod parallel;
mod queue;
mod serf_swarm;
mod setup;
mod shard;
mod slot;
pub mod svg;
mod swarm;
pub mod theory;
mod trace;
mod world;

pub use cluster::{Cluster, NodeId};
pub use dissemination::{Experiment, Happening, Measured, News, theory_for};
pub use faults::{Fault, Plan};
pub use network::{Link, Network, Traffic, address_of, node_at};
pub use node::{Node, Observation, ObservationKind, SerfNode, SwimNode};
pub use oracle::{Oracle, Truth, TruthState};
pub use serf_swarm::SerfSwarm;
pub use setup::{ClusterSpec, WARM_UP};
pub use slot::Counters;
pub use swarm::{Swarm, SwarmReport, Weather};
pub use world::{World, WorldConfig};

pub use crate::base::Mutation;

/// The commit of a report: `RUSERF_COMMIT`, which the scripts set.
fn commit() -> String {
    std::env::var("RUSERF_COMMIT").unwrap_or_else(|_| "unknown".to_owned())
}
