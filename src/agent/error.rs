//! Errors of the agent; the texts are what operators and scripts see.

/// Why the agent does not start, or a command of its RPC fails.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AgentError {
    /// A configuration file cannot be read.
    #[error("Error reading '{path}': {reason}")]
    Read {
        /// The file.
        path: String,
        /// The system's reason.
        reason: String,
    },
    /// A configuration file has a mistake.
    #[error("Error decoding '{path}': {reason}")]
    Decode {
        /// The file.
        path: String,
        /// What and where.
        reason: String,
    },
    /// A setting cannot work.
    #[error("{0}")]
    Invalid(String),
    /// The tags or keyring file.
    #[error("{0}")]
    File(String),
    /// The node refused.
    #[error("{0}")]
    Driver(#[from] crate::driver::Error),
    /// The RPC's socket.
    #[error("Error starting RPC listener: {0}")]
    Rpc(String),
    /// Nobody was contacted.
    #[error("{0}")]
    Join(#[from] crate::driver::JoinError),
}
