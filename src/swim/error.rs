//! Errors of the membership engine.

/// What a caller or the configuration did wrong, or what a peer refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The configuration cannot work.
    #[error("{0}")]
    Config(String),
    /// An exchange with a peer failed; the text goes to logs and operators as Go's does.
    #[error("{0}")]
    Peer(String),
    /// A broadcast was not sent out in time.
    #[error("timeout waiting for {0} broadcast")]
    BroadcastTimeout(&'static str),
}
