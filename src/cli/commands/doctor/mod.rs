//! `serf doctor` and `serf debug`: what is wrong with an agent and its peers, and what to do.

mod bundle;
mod checks;
mod command;
mod evidence;
mod finding;
mod host;
mod log;

pub(super) use bundle::DEBUG;
pub(super) use command::DOCTOR;
