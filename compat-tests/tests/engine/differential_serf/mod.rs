//! The Serf engine beside Go's serf, in virtual time: the same steps, and after each of them the
//! same members, clocks, events and messages.
//!
//! What both show is read from outside, the same way on both sides: an empty push/pull asks for
//! the state, and a ping's ack carries whatever waits to be gossiped, in its order.
//! `SEED=n` runs one generated script again.

mod excluded;
mod expressions;
mod generated;
mod members;
mod ours;
mod pair;
mod queries;
mod snapshots;
mod step;
mod user_events;
mod view;
