//! `serf top`: shows the cluster live in a terminal. Uses only the RPC, so it works with any agent.

mod feed;
mod members;
mod run;
mod screen;
mod state;

pub(super) use run::{Ask, End, run};
