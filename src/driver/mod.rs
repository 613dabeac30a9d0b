//! Layer 4: one task owns the engine, on a thread of its own; handles send it commands.
//!
//! Nothing that an application, a peer or a disk does makes that task wait: each stream has a task,
//! files have a thread, and every queue is bounded with a documented policy.

mod advertise;
mod budget;
mod builder;
mod callers;
mod clock;
mod command;
mod error;
mod event;
#[cfg(test)]
mod faulty_disk;
mod file;
mod handle;
#[cfg(feature = "agent")]
mod heard;
mod inbox;
mod keyring_file;
mod keys;
mod lookup;
mod member_watch;
#[cfg(feature = "metrics")]
pub(crate) mod metric_table;
mod metrics;
mod node;
mod outbound;
mod panics;
#[cfg(feature = "payload")]
mod payload;
mod query_handle;
mod queue;
mod sending;
mod shared;
mod stream;
mod subscribers;
mod task;
mod tasks;
#[cfg(all(test, feature = "tokio"))]
mod tests;
mod writer;

pub use builder::Builder;
pub use clock::now;
pub use error::{Error, KeyFailure, StopReason};
pub use event::{Event, Query};
pub use file::{FileError, replace_file};
pub use handle::Serf;
pub use keyring_file::KeyringFileError;
pub use keys::KeyManager;
pub use member_watch::MemberWatch;
#[cfg(feature = "metrics")]
pub use metric_table::describe_metrics;
pub use query_handle::{QueryHandle, Response};
pub use queue::LagPolicy;
pub use shared::Addresses;
pub use subscribers::{EventStream, Subscribe};

#[cfg(feature = "agent")]
pub(crate) use advertise::has_private_ip;
#[cfg(feature = "agent")]
pub(crate) use heard::{HeardStream, Name};

#[cfg(feature = "agent")]
pub(crate) use crate::engine::{Limits, Timing};
pub(crate) use crate::{
    engine::{Config, Counters},
    serf::UserEventSpec,
};
