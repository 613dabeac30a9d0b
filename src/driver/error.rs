//! Errors of the handle.

use super::{KeyFailure, KeyringFileError};
use crate::base::error_texts;

/// What went wrong with a call on a handle, by who is to blame. What peers do wrong never fails a
/// call: it is dropped and counted.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// The engine refused: mostly the caller's fault (a bad configuration, too large, at the wrong
    /// time), or nobody heard us in time, as the inner error says.
    Serf(crate::serf::Error),
    /// Some nodes refused a key operation or did not answer it; the others have done it.
    Keys(Box<KeyFailure>),
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
        Self::Keys(failure) => "{failure}";
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

/// A join that did not reach everyone. Go returns a count and an error together.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
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
