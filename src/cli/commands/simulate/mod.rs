//! `serf simulate`: sizes a cluster, reproduces a failure, repeats the published tables.

mod args;
mod command;
mod figures;
mod lifeguard;
mod parallel;
mod spread;
mod swarm;

pub(super) use command::SIMULATE;
