//! Joins and leaves in a small cluster are sent to each node directly.
//!
//! Gossip sends a message a fixed number of times to random nodes, including recently dead ones. In
//! a small cluster it sometimes misses a node, which then mistakes a leave for a failure or learns
//! of a join only by the next push/pull.

use std::{net::SocketAddr, sync::Arc};

use super::Swim;
use crate::wire::{Dead, kind};

impl Swim {
    /// Sends a user message to each live node, if there are few.
    pub fn send_user_to_few(&mut self, message: &[u8]) {
        let mut framed = self.builder.take_scratch();
        framed.push(kind::USER);
        framed.extend_from_slice(message);
        self.send_to_few(&framed);
        self.builder.put_scratch(framed);
    }

    /// Sends our join to each live node, if there are few.
    pub(super) fn send_alive_to_few(&mut self) {
        let Some(row) = self.table.get(self.me) else { return };
        let (record, incarnation) = (Arc::clone(&row.record), row.incarnation);
        let mut message = self.builder.take_scratch();
        record.alive(incarnation).encode(&mut message);
        self.send_to_few(&message);
        self.builder.put_scratch(message);
    }

    /// Sends our leave to each live node, if there are few.
    pub(super) fn send_leave_to_few(&mut self) {
        let Some(row) = self.table.get(self.me) else { return };
        let (record, incarnation) = (Arc::clone(&row.record), row.incarnation);
        let mut message = self.builder.take_scratch();
        let (node, from) = (record.name.as_bytes(), record.name.as_bytes());
        Dead { incarnation, node, from }.encode(&mut message);
        self.send_to_few(&message);
        self.builder.put_scratch(message);
    }

    fn send_to_few(&mut self, message: &[u8]) {
        let most = self.config.direct_notices_max;
        // This node may be among the live ones, or may have left already.
        if self.table.live_len() > most + 1 {
            return;
        }
        let others = self.live_others();
        if others.len() <= most {
            for (to, crc) in others {
                self.send_compound(to, &[message], crc);
            }
        }
    }

    fn live_others(&self) -> Vec<(SocketAddr, bool)> {
        let others = self.table.rows().filter(|row| row.state.is_live());
        let others = others.filter(|row| row.record.name != self.config.name);
        others.filter_map(|row| Some((row.socket_addr()?, row.record.checks_crc()))).collect()
    }
}
