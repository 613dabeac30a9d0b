//! Discovery on one network: answers queries about this node by multicast DNS, and queries for
//! others. Go: `cmd/serf/command/agent/mdns.go` over `hashicorp/mdns`.
//!
//! A node queries from a port of its own and answers directly to the querier's port, as Go's nodes
//! do: another program's socket on port 5353 cannot intercept such answers.

mod discover;
mod respond;
mod service;
mod socket;

pub(super) use respond::{check, start};
#[cfg(feature = "sim")]
pub use service::hosts;
