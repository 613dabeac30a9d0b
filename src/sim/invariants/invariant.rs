//! What a rule is.

use super::{View, Violation};
use crate::sim::{Oracle, SwimNode, World};

/// A rule.
pub trait Invariant {
    /// Looks at a scan in the middle of the run.
    fn check(&mut self, view: &View, oracle: &Oracle, world: &World<SwimNode>) -> Vec<Violation>;

    /// Looks at the scan after the recovery.
    fn check_end(
        &mut self,
        view: &View,
        oracle: &Oracle,
        world: &World<SwimNode>,
    ) -> Vec<Violation> {
        self.check(view, oracle, world)
    }

    /// Looks at a scan of the minute after the recovery.
    fn check_after(
        &mut self,
        view: &View,
        oracle: &Oracle,
        world: &World<SwimNode>,
    ) -> Vec<Violation> {
        self.check_end(view, oracle, world)
    }
}
