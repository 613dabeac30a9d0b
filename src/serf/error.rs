//! Errors of the Serf engine. Texts that Go clients compare are Go's.

/// What went wrong with a call.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The configuration cannot work.
    #[error("{0}")]
    Config(String),
    /// The call is not possible in this state.
    #[error("{0}")]
    State(&'static str),
    /// The caller's data does not fit or cannot be encoded.
    #[error("{0}")]
    Invalid(String),
    /// The layer below failed.
    #[error("{0}")]
    Swim(#[from] crate::swim::Error),
    /// A broadcast was not sent out in time.
    #[error("{0}")]
    Timeout(&'static str),
    /// Some nodes refused a key operation, or did not answer it.
    #[error("{0}")]
    Keys(String),
}
