//! Beacons: how fresh is what this node knows? One member sends a small user event now and then,
//! and all others measure how late it comes. docs/beacons.md explains the choices.

mod delays;
mod message;
mod run;
mod turns;

pub(super) use run::{is_hidden, run};
