//! What the node table stores about a node.

use std::{net::SocketAddr, sync::Arc};

use super::{NodeStateKind, NodeView};
use crate::wire::{Alive, Incarnation, NodeState, RawAddr, Vsn};

/// What a node announces about itself. Immutable and shared: a change creates a new record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) name: Arc<str>,
    pub(super) addr: RawAddr,
    pub(super) port: u16,
    pub(super) meta: Arc<[u8]>,
    pub(super) vsn: Vsn,
}

impl Record {
    /// The node's announcement as a message.
    pub(super) fn alive(&self, incarnation: Incarnation) -> Alive<'_> {
        Alive {
            incarnation,
            node: self.name.as_bytes(),
            addr: self.addr.as_slice().into(),
            port: self.port,
            meta: (&*self.meta).into(),
            vsn: self.vsn.as_slice().into(),
        }
    }

    pub(super) fn bytes(&self) -> usize {
        self.name.len() + self.meta.len()
    }

    /// Whether the node checks the CRC of packets.
    pub(super) fn checks_crc(&self) -> bool {
        self.vsn.max() >= CRC_VERSION
    }
}

/// A row of the table. Nodes that know the same of a node have equal rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) record: Arc<Record>,
    pub(super) incarnation: Incarnation,
    pub(super) state: NodeStateKind,
}

impl Row {
    pub(super) fn view(&self) -> NodeView<'_> {
        NodeView {
            name: &self.record.name,
            addr: self.record.addr.as_slice(),
            port: self.record.port,
            meta: &self.record.meta,
            vsn: self.record.vsn,
            incarnation: self.incarnation,
            state: self.state,
        }
    }

    /// The row for a push/pull.
    pub(super) fn to_wire(&self) -> NodeState<'_> {
        NodeState {
            name: self.record.name.as_bytes(),
            addr: self.record.addr.as_slice().into(),
            port: self.record.port,
            meta: (&*self.record.meta).into(),
            incarnation: self.incarnation,
            state: self.state.to_wire(),
            vsn: self.record.vsn.as_slice().into(),
        }
    }

    pub(super) fn socket_addr(&self) -> Option<SocketAddr> {
        self.record.addr.socket_addr(self.record.port)
    }
}

/// Lowest memberlist protocol that checks CRCs.
const CRC_VERSION: u8 = 5;
