//! Layer 6: the agent: a node with configuration, RPC server, event handlers and log.

mod config;
mod core;
mod error;
mod files;
mod invoke;
mod log;
mod mdns;
mod notify;
mod run;
mod script;
mod server;
mod session;
mod settings;
mod stats;
mod stream;
mod syslog;
mod telemetry;
#[cfg(test)]
mod testing;
mod ui;

pub use config::{FileConfig, KEYS, Key, Shape};
pub use error::AgentError;
pub use run::run;
pub use script::{EventScript, Filter};
pub use settings::{Mdns, MdnsInterface, Profile, Settings};
