//! Layer 3: the Serf engine above [`crate::swim`], as one value without I/O.

mod config;
mod coordinate;
mod engine;
mod error;
mod event;
mod member;
mod output;

pub use config::{Config, Delegates, MergeDelegate, ReconnectDelegate};
pub use coordinate::Coordinate;
pub use engine::Engine;
pub use error::Error;
pub use event::{Event, MemberEvent, MemberEventKind, Query, QueryId, UserEvent};
pub use member::{LamportTime, Member, MemberStatus, Tags};
pub use output::{
    Completion, KeyOp, KeyResponse, Output, QueryParams, QueryUpdate, SerfState, SnapshotOp,
};
