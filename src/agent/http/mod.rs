//! The agent over HTTP: a status page, metrics, health, members, events. Off unless configured; Go
//! has none.

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
