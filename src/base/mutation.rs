//! Deliberate bugs in the engines, which prove that the simulator's invariants detect them.

/// Returns whether a bug is enabled: `mutated!(config, Bug)` with the membership engine's
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
        /// A deliberate bug, of a kind that an implementation of this protocol has had or could
        /// have.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Mutation {
            $($(#[$doc])* $name,)+
        }

        impl Mutation {
            /// All bugs.
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
    /// Broadcasts about nodes never reach their transmit limit (serf#606: endless rebroadcast).
    EndlessTransmits,
    /// An accuser raises the incarnation of the accused.
    OutbidOthers,
    /// A suspicion that times out has no effect.
    NobodyDies,
    /// A suspicion times out after a millisecond, which leaves no time to refute.
    HastySuspicion,
    /// Confirmations do not shorten a suspicion.
    NobodyConfirms,
    /// A suspect message may lower an incarnation.
    SuspectLowers,
    /// The probe list does not advance.
    StuckProbe,
    /// A ping without an ack is followed neither by indirect pings nor by a stream ping.
    NoIndirect,
    /// The gossip timer sends nothing.
    SilentGossip,
    /// Dead nodes stay in the table for ever.
    NeverReaps,
    /// Rows of a push/pull are ignored.
    MergeNothing,
    /// Any sender can move a live node to another address.
    NamesMove,
    /// A broadcast does not replace the queued one about the same node.
    KeepsOldNews,
    /// A push/pull sets the event clock back.
    ClockFallsBack,
    /// The clocks of a snapshot are not restored.
    ClockLost,
    /// A known event is delivered again.
    EventTwice,
    /// A user event is not gossiped by its sender.
    EventKeptBack,
    /// A push/pull carries no recent events.
    EventsLeftOut,
    /// A member stays alive when its node dies.
    DeathsIgnored,
    /// Changed tags of a member are not applied.
    UpdatesIgnored,
    /// A known intent is gossiped again (serf#606).
    IntentLoop,
    /// A graceful leave is reported as a failure.
    LeaveIsFailure,
    /// The snapshot keeps departed members as alive.
    SnapshotForgets,
    /// Failed and left members are never reaped.
    TombstonesForever,
    /// Duplicate answers of a node to a query are delivered.
    AnswersTwice,
}
