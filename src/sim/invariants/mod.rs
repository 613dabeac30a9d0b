//! Invariants of the membership engines, each in its own file with its source.
//!
//! The swarm scans all views every few seconds of virtual time ([`View`]) and passes each scan to
//! all rules. Safety rules must hold in every scan; liveness rules are checked at the end, after
//! the faults have stopped and the cluster has had time to recover.

mod address_holds;
mod bounded;
mod detected_in_time;
mod ghosts_vanish;
mod incarnation_monotone;
mod invariant;
mod news_in_time;
mod no_echo;
mod no_false_failure;
mod no_rebroadcast_loop;
mod no_resurrection;
mod own_incarnation;
mod reached_is_unsuspected;
mod reaped_in_time;
mod rules;
pub mod serf;
mod steady;
#[cfg(test)]
mod testing;
mod undisturbed_alive;
mod view;
mod view_agreement;

pub use address_holds::AddressHolds;
pub use bounded::Bounded;
pub use detected_in_time::DetectedInTime;
pub use ghosts_vanish::GhostsVanish;
pub use incarnation_monotone::IncarnationMonotone;
pub use invariant::Invariant;
pub use news_in_time::NewsInTime;
pub use no_echo::NoEcho;
pub use no_false_failure::NoFalseFailure;
pub use no_rebroadcast_loop::NoRebroadcastLoop;
pub use no_resurrection::NoResurrection;
pub use own_incarnation::OwnIncarnation;
pub use reached_is_unsuspected::ReachedIsUnsuspected;
pub use reaped_in_time::ReapedInTime;
pub use rules::{all, calm};
pub use steady::Steady;
pub use undisturbed_alive::UndisturbedAlive;
use view::many_late;
pub use view::{Row, View, Violation};
pub use view_agreement::ViewAgreement;

use super::Oracle;
