//! The agent's RPC server. Go: `cmd/serf/command/agent/ipc.go`.

mod accepted;
mod admission;
mod answers;
mod audited;
mod commands;
mod events;
mod listener;
mod member_filter;
mod member_list;
mod outbox;
mod server;
mod session;
mod shared;
mod stream;

use super::{Filter, access::Holder, log::Level, operations::Agent, settings::RpcAddr};

pub(super) use accepted::Accepted;
pub(super) use admission::{Admission, Origin, Pass};
pub(super) use answers::Share;
pub(super) use events::RING_EVENTS;
pub(super) use listener::{Listener, Service, Taken};
pub(super) use member_filter::MemberFilter;
pub(super) use member_list::Listing;
pub(super) use server::serve;
pub(super) use shared::Shared;
