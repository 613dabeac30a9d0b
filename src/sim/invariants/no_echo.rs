//! An address outside the cluster receives no more bytes than an adversary sent to cause them.
//!
//! Source: a protocol over UDP that answers to an address in the message is a reflector; it must
//! not amplify.

use super::{Invariant, Oracle, View, Violation};
use crate::sim::{SwimNode, World};

/// Implements the rule in the module documentation.
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
