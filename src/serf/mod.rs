//! Layer 3: the Serf engine on top of [`crate::swim`], as one value without I/O.

#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing))]

mod admission;
mod ahead;
mod asked;
mod broadcasts;
mod build;
mod chunk;
mod coalesce;
mod config;
mod conflict;
mod context;
mod coordinate;
mod coordinates;
mod counters;
mod delegate;
mod delivery;
mod effects;
mod engine;
mod error;
mod event;
mod event_ring;
mod filter;
mod host;
mod intents;
mod internal_query;
mod key_use;
mod keys;
mod lamport;
mod logs;
mod member;
mod members;
mod membership;
pub mod message;
mod output;
#[cfg(feature = "payload")]
mod payload;
mod peers;
mod query;
mod query_parts;
mod reap;
mod received;
mod regex;
mod remembered;
mod replay;
mod ring;
mod roster;
#[cfg(feature = "serde")]
mod serialize;
mod snapshot;
mod state;
mod transform;
mod user_event;

#[cfg(all(feature = "driver", not(target_family = "wasm")))]
pub(crate) use build::check_config;
pub use config::Config;
pub use context::NameCounts;
pub use coordinate::Coordinate;
pub use counters::{Sizes, Stats};
pub use delegate::{
    AliveDelegate, CompositeDelegate, ConflictDelegate, Delegates, MergeDelegate, ReconnectDelegate,
};
pub use engine::Engine;
pub use error::{Broadcast, Error, Oversize};
pub use event::{
    Event, EventName, MemberEvent, MemberEventKind, Query, QueryId, UserEvent, UserEventSpec,
};
#[cfg(feature = "agent")]
pub(crate) use internal_query::InternalQuery;
pub use keys::KeyRefusal;
pub use member::{LamportTime, Member, MemberStatus, Tags, TagsIter, UnknownStatus};
pub use message::{Filter, Message};
pub use output::{
    Completion, KeyOp, KeyResponse, OldEvents, Output, Prune, QueryParams, QueryUpdate, SerfState,
    SnapshotOp,
};
#[cfg(feature = "payload")]
pub use payload::{PayloadError, from_payload, to_payload};
#[cfg(feature = "agent")]
pub(crate) use regex::{Allowance, Regex};
#[cfg(feature = "agent")]
pub(crate) use roster::Place;
#[cfg(all(feature = "driver", not(target_family = "wasm")))]
pub(crate) use roster::Roster;
#[cfg(any(test, feature = "sim"))]
pub use transform::assert_transform_conforms;
pub use transform::{LpeTransform, MsgpackTransform, TransformDelegate, TransformError};
#[cfg(all(feature = "driver", not(target_family = "wasm")))]
pub(crate) use user_event::EventGroup;
