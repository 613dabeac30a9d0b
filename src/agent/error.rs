//! Errors of the agent; operators and scripts see their texts.

use super::log::VALID_LEVELS;
use crate::base::error_texts;

/// Why the agent does not start, or an RPC command fails.
#[derive(Debug)]
#[non_exhaustive]
pub enum AgentError {
    /// A configuration file cannot be read.
    Read {
        /// The file.
        path: String,
        /// The system's error.
        reason: String,
    },
    /// A configuration file has a mistake.
    Decode {
        /// The file.
        path: String,
        /// What is wrong, and where.
        reason: String,
    },
    /// A setting is invalid.
    Invalid(String),
    /// Settings exclude each other, or the tags or keyring file cannot be used. Go detects these
    /// before it starts the node.
    Setup(String),
    /// The node cannot be started with these settings.
    Start(String),
    /// The log level does not exist.
    LogLevel(String),
    /// The tags file cannot be written.
    File(String),
    /// The seeds resolve to no address.
    Seeds(String),
    /// The node refused the operation.
    Driver(crate::driver::Error),
    /// The RPC listener cannot be bound.
    Rpc(String),
    /// The HTTP listener cannot be bound.
    Http(String),
}

error_texts! {
    AgentError {
        Self::Read { path, reason } => "Error reading '{path}': {reason}";
        Self::Decode { path, reason } => "Error decoding '{path}': {reason}";
        Self::Invalid(text) => "{text}";
        Self::Setup(text) => "Failed to setup the Serf agent: {text}";
        Self::Start(text) => "Failed to start the Serf agent: Error creating Serf: {text}";
        Self::LogLevel(name) => "Invalid log level: {name}. Valid log levels are: {VALID_LEVELS}";
        Self::File(text) => "{text}";
        Self::Seeds(text) => "{text}";
        Self::Driver(error) => "{}", error.go_text();
        Self::Rpc(text) => "Error starting RPC listener: {text}";
        Self::Http(text) => "Error starting HTTP listener: {text}";
    }
}

// No `source`: the texts above contain it.
impl std::error::Error for AgentError {}

impl From<crate::driver::Error> for AgentError {
    fn from(error: crate::driver::Error) -> Self {
        Self::Driver(error)
    }
}
