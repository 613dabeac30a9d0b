//! Errors of the client; the texts are what Go's client shows.

/// Why a call failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There is no connection to the agent: Go's text, `dial tcp ...`.
    #[error("{0}")]
    Dial(String),
    /// The agent refused; its text. The connection can be used on.
    #[error("{0}")]
    Agent(String),
    /// The connection is over.
    #[error("client closed")]
    Closed,
    /// The agent's answer makes no sense.
    #[error("failed to decode response: {0}")]
    Decode(String),
}
