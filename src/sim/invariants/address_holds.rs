//! No message moves a running node to another address.
//!
//! Source: memberlist/state.go: aliveNode (an alive message from another address about a node that
//! is not dead or left is a conflict and changes nothing).

use super::{Invariant, Oracle, View, Violation};
use crate::{
    sim::{SwimNode, World},
    swim::NodeStateKind,
};

/// Implements the rule in the module documentation.
pub struct AddressHolds;

impl Invariant for AddressHolds {
    fn check(&mut self, view: &View, oracle: &Oracle, world: &World<SwimNode>) -> Vec<Violation> {
        view.rows()
            .filter(|(_, subject, row)| {
                oracle.is_up(*subject)
                    && matches!(row.state, NodeStateKind::Alive | NodeStateKind::Suspect)
                    && row.addr.is_some_and(|addr| addr != world.address(*subject))
            })
            .map(|(observer, subject, row)| {
                let detail = format!("is held to be at {:?}", row.addr);
                view.violation("address_holds", observer, subject, detail)
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::{super::testing::*, *};
    use crate::{sim::address_of, swim::NodeStateKind::Alive};

    #[test]
    fn another_address_is_found() {
        let (oracle, world) = (Oracle::new(2), empty_world());
        let view = |of| {
            let mut about = row(Alive, 1);
            about.as_mut().unwrap().addr = Some(address_of(of, 0));
            View::from_rows(0, vec![vec![None, about], vec![None, None]])
        };
        assert!(AddressHolds.check(&view(1), &oracle, &world).is_empty());
        assert_eq!(AddressHolds.check(&view(0), &oracle, &world).len(), 1);
    }
}
