//! Discovery on one network: answers about this node by multicast DNS, and questions for others.
//! Go: `cmd/serf/command/agent/mdns.go` over `hashicorp/mdns`.
//!
//! A node asks from a port of its own and answers straight to the asker's port: that is what Go's
//! nodes do, and a socket of another program on port 5353 cannot take such answers away.

mod discover;
mod respond;
mod service;
mod socket;

pub(super) use respond::{check, start};
#[cfg(feature = "sim")]
pub use service::hosts;
