//! Beacons measure how fresh this node's view of the cluster is: one member sends a small user
//! event periodically, and all others measure its delay. docs/beacons.md explains the choices.

mod delays;
mod message;
mod run;
mod turns;

pub(super) use run::{is_hidden, is_hidden_name, run};
