//! `serf doctor` and `serf debug`: find problems of an agent and its peers, with remedies.

mod bundle;
mod checks;
mod command;
mod evidence;
mod finding;
mod host;
mod log;
mod seeds;

pub(super) use bundle::DEBUG;
pub(super) use command::DOCTOR;
