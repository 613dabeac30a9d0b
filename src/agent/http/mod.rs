//! The agent's HTTP server: a status page, metrics, health, members and events. It runs only if
//! `http_addr` is set. Go's agent has none.

mod answer;
mod events;
mod flaps;
mod health;
mod members;
mod metrics;
mod page;
mod paths;
mod query;
mod server;
mod site;
mod watch;

pub(super) use server::serve;
pub(super) use site::Site;
