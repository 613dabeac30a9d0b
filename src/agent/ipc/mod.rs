//! The agent's RPC server. Go: `cmd/serf/command/agent/ipc.go`.

mod admission;
mod answers;
mod commands;
mod events;
mod member_filter;
mod member_list;
mod outbox;
mod server;
mod session;
mod stream;

use super::{AgentError, Filter, core::Agent, log::Level, settings::RpcAddr};

pub(super) use server::{Listener, serve};
