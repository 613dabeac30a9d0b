//! `serf keys rotate`: a new key for the whole cluster, in steps that can be interrupted anywhere.

mod cluster;
mod command;
mod report;
mod saved;
mod steps;

pub(super) use command::ROTATE;
