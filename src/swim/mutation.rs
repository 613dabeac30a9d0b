//! For the simulator: bugs put into the engine on purpose, to prove that the rules find them.

use super::Swim;

/// A bug of a kind that was once real in a program of this family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(
    not(feature = "sim"),
    expect(unreachable_pub, reason = "public with the simulator only")
)]
pub enum Mutation {
    /// A refutation does not outbid the accusation (memberlist#358: the number wrapped).
    RefuteInVain,
    /// An alive message with a known incarnation is believed again (al8n/memberlist#197).
    StaleAlive,
    /// Broadcasts are never sent often enough (serf#606: endless rebroadcast).
    EndlessTransmits,
    /// An accuser raises the incarnation of the accused.
    OutbidOthers,
    /// Nothing is done when a suspicion runs out.
    NobodyDies,
}

impl Swim {
    /// Whether this bug is switched on; never outside of the simulator.
    pub(super) fn mutated(&self, mutation: Mutation) -> bool {
        #[cfg(feature = "sim")]
        {
            self.config.mutation == Some(mutation)
        }
        #[cfg(not(feature = "sim"))]
        {
            let _ = mutation;
            false
        }
    }
}
