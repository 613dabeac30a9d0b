//! After the recovery no table lists a node as alive that never existed.
//!
//! Source: SWIM §3.3: what does not answer is declared dead, no matter which node announced it.

use super::{Invariant, Oracle, View, Violation};
use crate::{
    sim::{SwimNode, World},
    swim::NodeStateKind,
};

/// Implements the rule in the module documentation.
pub struct GhostsVanish;

impl Invariant for GhostsVanish {
    fn check(&mut self, _: &View, _: &Oracle, _: &World<SwimNode>) -> Vec<Violation> {
        Vec::new()
    }

    fn check_end(&mut self, view: &View, _: &Oracle, _: &World<SwimNode>) -> Vec<Violation> {
        view.strangers()
            .iter()
            .filter(|(_, state)| matches!(state, NodeStateKind::Alive | NodeStateKind::Suspect))
            .map(|(observer, state)| {
                let detail = format!("a name of no node is seen as {state:?}");
                view.violation("ghosts_vanish", *observer, *observer, detail)
            })
            .collect()
    }
}
