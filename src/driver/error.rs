//! Errors of the handle.

use crate::base::error_texts;

/// What went wrong with a call on a handle.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// The engine refused; the caller's fault, or a peer's as the inner error says.
    Serf(crate::serf::Error),
    /// The node was shut down.
    Shutdown,
    /// A socket or file failed: the environment's fault.
    Io {
        /// What was tried.
        context: String,
        /// The system's reason.
        source: std::io::Error,
    },
}

error_texts! {
    Error {
        Self::Serf(error) => "{error}";
        Self::Shutdown => "serf is shut down";
        Self::Io { context, source } => "{context}: {source}";
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Serf(error) => Some(error),
            Self::Io { source, .. } => Some(source),
            Self::Shutdown => None,
        }
    }
}

impl From<crate::serf::Error> for Error {
    fn from(error: crate::serf::Error) -> Self {
        Self::Serf(error)
    }
}

/// A join that did not reach everyone. Go returns a count and an error together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinError {
    /// Nodes contacted.
    pub contacted: usize,
    /// Go's text of the collected errors.
    pub message: String,
}

error_texts! {
    JoinError {
        Self { message, .. } => "{message}";
    }
}

impl std::error::Error for JoinError {}
