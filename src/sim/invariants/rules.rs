//! The sets of rules.

use super::{
    AddressHolds, Bounded, DetectedInTime, GhostsVanish, IncarnationMonotone, Invariant,
    NewsInTime, NoEcho, NoFalseFailure, NoRebroadcastLoop, NoResurrection, OwnIncarnation,
    ReachedIsUnsuspected, ReapedInTime, Steady, UndisturbedAlive, ViewAgreement,
};
use crate::swim::Config;

/// The rules that hold under any faults.
pub fn all(config: &Config) -> Vec<Box<dyn Invariant>> {
    vec![
        Box::new(IncarnationMonotone::default()),
        Box::new(OwnIncarnation),
        Box::new(NoResurrection::default()),
        Box::new(NoFalseFailure),
        Box::new(ViewAgreement),
        Box::new(Bounded),
        Box::new(NoRebroadcastLoop::default()),
        Box::new(UndisturbedAlive),
        Box::new(AddressHolds),
        Box::new(ReapedInTime::new(config)),
        Box::new(Steady),
        Box::new(NoEcho),
        Box::new(GhostsVanish),
    ]
}

/// Additional rules for runs without excusing faults: see
/// [`Plan::draw_calm`](crate::sim::Plan::draw_calm).
pub fn calm(config: &Config, nodes: u32) -> Vec<Box<dyn Invariant>> {
    vec![
        Box::new(DetectedInTime::new(config, nodes)),
        Box::new(NewsInTime::new(config, nodes)),
        Box::new(ReachedIsUnsuspected),
    ]
}
