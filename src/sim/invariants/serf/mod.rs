//! Invariants of the Serf engines, each in its own file with its source.

mod answers_once;
mod clock_monotone;
mod event_at_least_once;
mod event_at_most_once;
mod intents_end;
mod invariant;
mod left_is_no_failure;
mod members_equal_table;
mod rules;
mod snapshot_replays;
mod tombstones_end;
mod truth;

pub use answers_once::AnswersOnce;
pub use clock_monotone::ClockMonotone;
pub use event_at_least_once::EventAtLeastOnce;
pub use event_at_most_once::EventAtMostOnce;
pub use intents_end::IntentsEnd;
pub use invariant::SerfInvariant;
use invariant::violation;
pub use left_is_no_failure::LeftIsNoFailure;
pub use members_equal_table::MembersEqualTable;
pub use rules::all;
pub use snapshot_replays::SnapshotReplays;
pub use tombstones_end::TombstonesEnd;
pub use truth::{Sent, SerfTruth};
