//! For the simulator: what a push/pull says of many rows together.

use super::{NodeStateKind, row::Row};
use crate::wire::{PushPullBuilder, Versions};

/// What a push/pull says of all rows of a page.
#[derive(Clone, Debug, Default)]
pub(super) struct Digest {
    pub(super) bytes: usize,
    pub(super) rows: usize,
    /// Rows of suspected nodes.
    pub(super) suspects: usize,
    pub(super) versions: Versions,
}

impl Digest {
    pub(super) fn of<'a>(rows: impl Iterator<Item = &'a Row>) -> Self {
        let mut digest = Self::default();
        let mut encoded = PushPullBuilder::with_capacity(0);
        for row in rows {
            let wire = row.to_wire();
            encoded.push(&wire);
            digest.rows += 1;
            digest.suspects += usize::from(row.state == NodeStateKind::Suspect);
            digest.versions.add(wire.is_alive(), wire.vsn.as_slice());
        }
        digest.bytes = encoded.rows_bytes();
        digest
    }
}
