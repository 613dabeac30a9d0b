//! Layer 6: the agent: a node with configuration, RPC server, event handlers and log.

mod access;
mod audit;
mod beacons;
mod check;
mod config;
mod descriptors;
mod error;
mod faults;
mod files;
mod handlers;
mod http;
mod invoke;
mod ipc;
mod links;
mod log;
mod losses;
mod mark;
mod mdns;
mod notify;
mod operations;
mod reload;
mod retry;
mod run;
mod sandbox;
mod script;
mod secrets;
mod seeds;
mod settings;
mod signals;
mod stats;
mod telemetry;
#[cfg(test)]
mod testing;
mod tls;

pub use check::{Verdict, check};
pub use config::{FileConfig, KEYS, Key, Origin, Shape, parse_tags};
pub use error::AgentError;
pub(crate) use files::replace as replace_file;
#[cfg(feature = "sim")]
pub use mdns::hosts as mdns_hosts;
pub use run::run;
pub use script::{EventScript, Filter};
pub use secrets::resolve as resolve_secret;
pub use seeds::{Trust, find as find_seeds};
pub use settings::{Notices, Settings};
#[cfg(feature = "agent-tls")]
pub(crate) use tls::client_config as client_tls;
