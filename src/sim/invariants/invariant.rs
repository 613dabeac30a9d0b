//! The interface of a rule.

use super::{View, Violation};
use crate::sim::{Oracle, SwimNode, World};

/// A rule that is checked on scans of all views.
pub trait Invariant {
    /// Checks a scan during the run.
    fn check(&mut self, view: &View, oracle: &Oracle, world: &World<SwimNode>) -> Vec<Violation>;

    /// Checks the scan after the recovery.
    fn check_end(
        &mut self,
        view: &View,
        oracle: &Oracle,
        world: &World<SwimNode>,
    ) -> Vec<Violation> {
        self.check(view, oracle, world)
    }

    /// Checks a scan of the minute after the recovery.
    fn check_after(
        &mut self,
        view: &View,
        oracle: &Oracle,
        world: &World<SwimNode>,
    ) -> Vec<Violation> {
        self.check_end(view, oracle, world)
    }
}
