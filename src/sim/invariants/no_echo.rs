//! An address that is no node's gets no more bytes than an adversary spent to have them sent.
//!
//! Source: a protocol over UDP that answers to an address in the message is a reflector; what it
//! sends there must not be worth the trouble.

use super::{Invariant, Oracle, View, Violation};
use crate::sim::{SwimNode, World};

/// See the module.
pub struct NoEcho;

impl Invariant for NoEcho {
    fn check(&mut self, view: &View, oracle: &Oracle, world: &World<SwimNode>) -> Vec<Violation> {
        let (sent, spent) = (world.counters_total().strange_bytes_sent, oracle.forged_bytes());
        if sent <= spent {
            return Vec::new();
        }
        let detail = format!("{sent} bytes to strangers for {spent} bytes forged");
        vec![view.violation("no_echo", 0, 0, detail)]
    }
}
