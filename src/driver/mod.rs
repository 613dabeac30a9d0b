//! Layer 4: tokio. One task owns the engine; handles send it commands.

mod handle;

pub use handle::{
    Builder, Error, EventStream, JoinError, KeyManager, KeyOutcome, LagPolicy, QueryHandle, Serf,
    Subscribe,
};
