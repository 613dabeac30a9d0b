//! Rows and worlds for unit tests of the rules.

use super::Row;
use crate::{
    sim::{Network, SwimNode, World, WorldConfig},
    swim::NodeStateKind,
};

pub(crate) fn row(state: NodeStateKind, incarnation: u32) -> Option<Row> {
    Some(Row { state, incarnation, digest: 1, addr: None })
}

pub(crate) fn empty_world() -> World<SwimNode> {
    World::new(WorldConfig::default(), Network::new(Default::default()))
}
