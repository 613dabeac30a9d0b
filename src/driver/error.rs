//! Errors of the handle.

use super::{KeyFailure, KeyringFileError};
use crate::{
    base::error_texts,
    swim::{JoinErrors, JoinFailure},
};

/// What went wrong with a call on a handle, by who is to blame. What peers do wrong never fails a
/// call: it is dropped and counted.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// The engine refused: mostly the caller's fault (a bad configuration, too large, at the wrong
    /// time), or nobody heard us in time, as the inner error says.
    Serf(crate::serf::Error),
    /// A join contacted nobody.
    Join(JoinError),
    /// Some nodes refused a key operation or did not answer it; the others have done it.
    Keys(Box<KeyFailure>),
    /// The node was not started within a runtime: the caller's fault.
    NoRuntime,
    /// A value cannot be a payload: the caller's fault.
    #[cfg(feature = "payload")]
    Payload(crate::serf::PayloadError),
    /// A keyring file cannot be used.
    Keyring(KeyringFileError),
    /// The node was shut down, by a call, a lost name vote or the end of its runtime.
    Shutdown,
    /// The snapshot cannot be read or written: the environment's fault.
    Snapshot(std::io::Error),
    /// A socket or another file failed: the environment's fault.
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
        Self::Join(error) => "{error}";
        Self::Keys(failure) => "{failure}";
        Self::NoRuntime => "a node must be started within a tokio runtime, or be given another";
        #[cfg(feature = "payload")]
        Self::Payload(error) => "{error}";
        Self::Keyring(error) => "{error}";
        Self::Shutdown => "serf is shut down";
        Self::Snapshot(source) => "Failed to setup snapshot: failed to open snapshot: {source}";
        Self::Io { context, source } => "{context}: {source}";
    }
}

// No `source`: the texts above hold it already.
impl std::error::Error for Error {}

impl From<crate::serf::Error> for Error {
    fn from(error: crate::serf::Error) -> Self {
        Self::Serf(error)
    }
}

/// Why a node has stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StopReason {
    /// [`Serf::shutdown`](crate::driver::Serf::shutdown) was called, or the last handle was
    /// dropped.
    Shutdown,
    /// Another node has the same name, and the cluster voted for it.
    NameConflict,
    /// The engine, or a delegate that it called, panicked: a bug. The last state of the files was
    /// not written.
    Panic,
    /// The runtime that the node lived in ended.
    Aborted,
}

/// A join that contacted nobody.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum JoinError {
    /// Each address and what is wrong with it, in the order in which they were asked.
    Unreachable(JoinErrors),
    /// The node has left, was shut down, or has too many joins under way.
    Refused(&'static str),
}

impl JoinError {
    /// What is wrong with each address; empty if none was asked.
    pub fn failures(&self) -> &[JoinFailure] {
        match self {
            Self::Unreachable(errors) => &errors.0,
            Self::Refused(_) => &[],
        }
    }

    /// Go's text, of several lines, which its agent sends and logs.
    pub fn go_text(&self) -> String {
        match self {
            Self::Unreachable(errors) => errors.to_string(),
            Self::Refused(text) => (*text).to_owned(),
        }
    }
}

impl std::fmt::Display for JoinError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unreachable(JoinErrors(failures)) if failures.is_empty() => {
                f.write_str("there was no address to join")
            }
            Self::Unreachable(JoinErrors(failures)) => {
                for (place, failure) in failures.iter().enumerate() {
                    let separator = if place == 0 { "" } else { "; " };
                    write!(f, "{separator}{failure}")?;
                }
                Ok(())
            }
            Self::Refused(text) => f.write_str(text),
        }
    }
}

impl std::error::Error for JoinError {}

impl From<JoinError> for Error {
    fn from(error: JoinError) -> Self {
        Self::Join(error)
    }
}

impl From<KeyringFileError> for Error {
    fn from(error: KeyringFileError) -> Self {
        Self::Keyring(error)
    }
}
