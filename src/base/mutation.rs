//! Bugs put into the engines on purpose, to prove that the simulator's rules find them.

/// Whether a bug is switched on: `mutated!(config, Bug)` with the membership engine's
/// configuration. Without the feature `sim` it is the constant `false`.
macro_rules! mutated {
    ($config:expr, $bug:ident) => {{
        #[cfg(feature = "sim")]
        {
            $config.mutation == Some($crate::base::Mutation::$bug)
        }
        #[cfg(not(feature = "sim"))]
        {
            false
        }
    }};
}
pub(crate) use mutated;

/// Declares the bugs and the list of all of them.
#[cfg(feature = "sim")]
macro_rules! mutations {
    ($($(#[$doc:meta])* $name:ident,)+) => {
        /// A bug, each of a kind that some program of this family had or could have.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Mutation {
            $($(#[$doc])* $name,)+
        }

        impl Mutation {
            /// Every bug there is.
            pub const ALL: &[Self] = &[$(Self::$name,)+];
        }
    };
}

#[cfg(feature = "sim")]
mutations! {
    /// A refutation does not exceed the accusation (memberlist#358: the number wrapped).
    RefuteInVain,
    /// An alive message with a known incarnation is accepted again (al8n/memberlist#197).
    StaleAlive,
    /// Broadcasts of nodes are never sent often enough (serf#606: endless rebroadcast).
    EndlessTransmits,
    /// An accuser raises the incarnation of the accused.
    OutbidOthers,
    /// Nothing is done when a suspicion times out.
    NobodyDies,
    /// A suspicion times out after a millisecond: no time to refute.
    HastySuspicion,
    /// Confirmations do not shorten a suspicion.
    NobodyConfirms,
    /// A suspect message may lower an incarnation.
    SuspectLowers,
    /// The probe list does not advance.
    StuckProbe,
    /// Neither helpers nor a stream are asked when a ping is not acked.
    NoIndirect,
    /// The gossip timer sends nothing.
    SilentGossip,
    /// Dead nodes stay in the table for ever.
    NeverReaps,
    /// Rows of a push/pull are ignored.
    MergeNothing,
    /// A node in use can be moved to another address by anybody.
    NamesMove,
    /// A broadcast does not replace the queued one about the same node.
    KeepsOldNews,
    /// A push/pull sets the event clock back.
    ClockFallsBack,
    /// The clocks of a snapshot are not restored.
    ClockLost,
    /// An event that is known is delivered again.
    EventTwice,
    /// A user event is not gossiped by its sender.
    EventKeptBack,
    /// A push/pull carries no recent events.
    EventsLeftOut,
    /// A member stays alive when its node dies.
    DeathsIgnored,
    /// Changed tags of a member are not taken over.
    UpdatesIgnored,
    /// An intent that is known is gossiped on (serf#606).
    IntentLoop,
    /// A graceful leave is reported as a failure.
    LeaveIsFailure,
    /// Members that are gone stay in the snapshot as alive.
    SnapshotForgets,
    /// Failed and left members are never reaped.
    TombstonesForever,
    /// A node's second answer to a query is delivered too.
    AnswersTwice,
}
