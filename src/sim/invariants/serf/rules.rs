//! The set of rules for Serf engines.

use std::time::Duration;

use super::{
    AnswersOnce, ClockMonotone, EventAtLeastOnce, EventAtMostOnce, IntentsEnd, LeftIsNoFailure,
    MembersEqualTable, SerfInvariant, SnapshotReplays, TombstonesEnd,
};

/// All rules for the Serf engine; failed and left members are kept for at most `gone_max`.
pub fn all(gone_max: Duration) -> Vec<Box<dyn SerfInvariant>> {
    vec![
        Box::new(ClockMonotone::default()),
        Box::new(EventAtMostOnce),
        Box::new(EventAtLeastOnce::default()),
        Box::new(MembersEqualTable),
        Box::new(IntentsEnd::default()),
        Box::new(LeftIsNoFailure),
        Box::new(SnapshotReplays),
        Box::new(TombstonesEnd::new(gone_max)),
        Box::new(AnswersOnce),
    ]
}
