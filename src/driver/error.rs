//! Errors of the handle.

/// What went wrong with a call on a handle.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The engine refused; the caller's fault, or a peer's as the inner error says.
    #[error("{0}")]
    Serf(#[from] crate::serf::Error),
    /// The node was shut down.
    #[error("serf is shut down")]
    Shutdown,
    /// A socket or file failed: the environment's fault.
    #[error("{context}: {source}")]
    Io {
        /// What was tried.
        context: String,
        /// The system's reason.
        source: std::io::Error,
    },
}

/// A join that did not reach everyone. Go returns a count and an error together.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct JoinError {
    /// Nodes contacted.
    pub contacted: usize,
    /// Go's text of the collected errors.
    pub message: String,
}
