//! `serf top`: the cluster in a terminal, live. Asks over the RPC alone, so that any agent will do.

mod feed;
mod members;
mod run;
mod screen;
mod state;

pub(super) use run::{Ask, End, run};
