//! `serf simulate`: sizes a cluster, reproduces failures, repeats published experiments.

mod args;
mod command;
mod figures;
mod joins;
mod lifeguard;
mod parallel;
mod spread;
mod stops;
mod swarm;

pub(super) use command::SIMULATE;
