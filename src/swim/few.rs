//! What the few nodes of a small cluster are told one by one.
//!
//! Gossip sends a message a fixed number of times to random nodes, the lately dead among them. Of
//! a few nodes it misses one now and then: that one takes a leave for a failure, or hears of a
//! join only at the next push/pull.

use std::{net::SocketAddr, sync::Arc};

use super::{NodeStateKind, Swim, packets::USER};
use crate::wire::Dead;

impl Swim {
    /// Sends a user message to each live node, if there are only a few.
    pub fn send_user_to_few(&mut self, message: &[u8]) {
        let mut framed = self.builder.take_scratch();
        framed.push(USER);
        framed.extend_from_slice(message);
        self.send_to_few(&framed);
        self.builder.put_scratch(framed);
    }

    /// We have joined.
    pub(super) fn tell_few_of_us(&mut self) {
        let Some(row) = self.table.get(self.me) else { return };
        let (record, incarnation) = (Arc::clone(&row.record), row.incarnation);
        let mut message = self.builder.take_scratch();
        record.alive(incarnation).encode(&mut message);
        self.send_to_few(&message);
        self.builder.put_scratch(message);
    }

    /// We leave.
    pub(super) fn tell_few_of_leave(&mut self) {
        let Some(row) = self.table.get(self.me) else { return };
        let (record, incarnation) = (Arc::clone(&row.record), row.incarnation);
        let mut message = self.builder.take_scratch();
        let (node, from) = (record.name.as_bytes(), record.name.as_bytes());
        Dead { incarnation, node, from }.encode(&mut message);
        self.send_to_few(&message);
        self.builder.put_scratch(message);
    }

    fn send_to_few(&mut self, message: &[u8]) {
        let most = self.config.told_directly_max;
        // We may be one of the live, or have left already.
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
        let live = |state| matches!(state, NodeStateKind::Alive | NodeStateKind::Suspect);
        let others = self.table.rows().filter(|row| live(row.state));
        let others = others.filter(|row| row.record.name != self.config.name);
        others.filter_map(|row| Some((row.socket_addr()?, row.record.checks_crc()))).collect()
    }
}
