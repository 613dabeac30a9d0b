//! The commands.

mod agent;
mod common;
mod completion;
mod decode;
mod doctor;
mod event;
mod force_leave;
mod info;
mod join;
mod keygen;
mod keys;
mod leave;
mod man;
mod members;
mod missing;
mod monitor;
mod query;
mod reachability;
mod rotate;
mod rtt;
#[cfg(feature = "sim")]
mod simulate;
mod tags;
mod top;
mod validate;
mod version;

pub(super) use version::VERSION;

use super::{CommandSpec, Failure, Flag, Kind, Parsed};
use common::{
    FORMAT, RPC, SPEC, block_on, connect, expression, failed, flag, key_outcome, print, secret,
    tags, until_interrupt, wants_json,
};
use keygen::generate as generate_key;
use keys::read_key;

/// All commands.
// Wrapped as a table, not one entry a line.
#[rustfmt::skip]
pub(super) const ALL: &[CommandSpec] = &[
    agent::AGENT, completion::COMPLETION, decode::DECODE, doctor::DEBUG, doctor::DOCTOR,
    event::EVENT, force_leave::FORCE_LEAVE, info::INFO, join::JOIN, keygen::KEYGEN, keys::KEYS,
    rotate::ROTATE, leave::LEAVE, man::MAN, members::MEMBERS, monitor::MONITOR, query::QUERY,
    reachability::REACHABILITY, rtt::RTT,
    #[cfg(feature = "sim")]
    simulate::SIMULATE,
    tags::TAGS, top::TOP, validate::VALIDATE, VERSION,
];
