//! A deterministic simulator for the unchanged production engines: virtual time, a seeded network,
//! faults, and invariants.
//!
//! [`Cluster`] runs Serf engines on a virtual network, for tests of programs built on them: the
//! network can be partitioned and lose or delay packets; nodes can crash, stall and return.
//!
//! A run is reproduced by its seed: nothing in it depends on the machine, on real time or on the
//! number of threads.

mod cluster;
mod dissemination;
mod faults;
mod forge;
#[doc(hidden)]
pub mod invariants;
mod joins;
#[doc(hidden)]
pub mod lifeguard;
mod network;
mod node;
mod oracle;
mod parallel;
mod post;
mod queue;
mod serf_swarm;
mod setup;
mod shard;
mod slot;
mod stops;
#[doc(hidden)]
pub mod svg;
mod swarm;
#[doc(hidden)]
pub mod theory;
mod trace;
mod world;

pub use cluster::{Cluster, NodeId};
#[doc(hidden)]
pub use dissemination::{Experiment, Happening, Measured, News, theory_for};
#[doc(hidden)]
pub use faults::{Fault, Plan};
#[doc(hidden)]
pub use joins::{Formed, JoinStorm};
pub use network::{Link, Network, Traffic};
#[doc(hidden)]
pub use network::{address_of, node_at};
#[doc(hidden)]
pub use node::{Node, Observation, ObservationKind, SerfNode, SwimNode};
#[doc(hidden)]
pub use oracle::{Oracle, Truth, TruthState};
#[doc(hidden)]
pub use serf_swarm::SerfSwarm;
#[doc(hidden)]
pub use setup::{ClusterSpec, WARM_UP};
#[doc(hidden)]
pub use slot::Counters;
#[doc(hidden)]
pub use stops::{Stop, Stops, StopsMeasured};
#[doc(hidden)]
pub use swarm::{Swarm, SwarmReport, Weather};
#[doc(hidden)]
pub use world::{World, WorldConfig};

#[doc(hidden)]
pub use crate::base::Mutation;
pub use crate::serf::assert_transform_conforms;
