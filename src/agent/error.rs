//! Errors of the agent; the texts are what operators and scripts see.

use super::log::VALID_LEVELS;
use crate::base::error_texts;

/// Why the agent does not start, or a command of its RPC fails.
#[derive(Debug)]
#[non_exhaustive]
pub enum AgentError {
    /// A configuration file cannot be read.
    Read {
        /// The file.
        path: String,
        /// The system's reason.
        reason: String,
    },
    /// A configuration file has a mistake.
    Decode {
        /// The file.
        path: String,
        /// What and where.
        reason: String,
    },
    /// A setting cannot work.
    Invalid(String),
    /// There is no such log level.
    LogLevel(String),
    /// The tags or keyring file.
    File(String),
    /// The node refused.
    Driver(crate::driver::Error),
    /// The RPC's socket.
    Rpc(String),
    /// Nobody was contacted.
    Join(crate::driver::JoinError),
}

error_texts! {
    AgentError {
        Self::Read { path, reason } => "Error reading '{path}': {reason}";
        Self::Decode { path, reason } => "Error decoding '{path}': {reason}";
        Self::Invalid(text) => "{text}";
        Self::LogLevel(name) => "Invalid log level: {name}. Valid log levels are: {VALID_LEVELS}";
        Self::File(text) => "{text}";
        Self::Driver(error) => "{error}";
        Self::Rpc(text) => "Error starting RPC listener: {text}";
        Self::Join(error) => "{}", error.go_text();
    }
}

impl std::error::Error for AgentError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Driver(error) => Some(error),
            Self::Join(error) => Some(error),
            _ => None,
        }
    }
}

impl From<crate::driver::Error> for AgentError {
    fn from(error: crate::driver::Error) -> Self {
        Self::Driver(error)
    }
}

impl From<crate::driver::JoinError> for AgentError {
    fn from(error: crate::driver::JoinError) -> Self {
        Self::Join(error)
    }
}
