//! Layer 4: tokio. One task owns the engine; handles send it commands.
//!
//! The engine's task never waits for anything but the next input: packets that the socket does
//! not take are dropped like packets that the network loses, subscribers have bounded queues,
//! files are written by a thread of their own, and each stream has a task that seals and opens.

mod advertise;
mod builder;
mod core;
mod files;
mod handle;
mod join;
mod run;
mod streams;
mod subscribe;
#[cfg(test)]
mod tests;

pub use builder::Builder;
pub use files::replace_file;
pub use handle::{Error, KeyManager, KeyOutcome, QueryHandle, Serf};
pub use join::{JoinError, Resolver, SystemResolver};
pub use subscribe::{EventStream, LagPolicy, Subscribe};
