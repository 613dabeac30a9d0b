//! The agent over HTTP: metrics, health, members, events. Off unless configured; Go has none.

mod answer;
mod events;
mod health;
mod members;
mod metrics;
mod query;
mod server;
mod site;

pub(super) use server::serve;
pub(super) use site::Site;
