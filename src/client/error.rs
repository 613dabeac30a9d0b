//! Errors of the client, with the texts of Go's client.

use crate::{base::error_texts, rpc::protocol::KeyResponse};

/// Why a call failed.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Error {
    /// The connection to the agent failed: Go's text, `dial tcp ...`.
    Dial(String),
    /// The agent refused the command, with this text. The connection remains usable.
    Agent(String),
    /// A key command failed on some members. The connection remains usable.
    Keys(Box<KeyFailure>),
    /// The connection is closed.
    Closed,
    /// The agent's response cannot be decoded.
    Decode(String),
}

/// A key command that did not succeed on every member.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct KeyFailure {
    /// The answers of the members, and the names of those that did not answer.
    pub response: KeyResponse,
    /// The agent's error.
    pub summary: String,
}

error_texts! {
    Error {
        Self::Dial(text) => "{text}";
        Self::Agent(text) => "{text}";
        Self::Keys(failure) => "{failure}";
        Self::Closed => "client closed";
        Self::Decode(error) => "failed to decode response: {error}";
    }
}

impl std::error::Error for Error {}

error_texts! {
    KeyFailure {
        Self { summary, .. } => "{summary}";
    }
}

impl std::error::Error for KeyFailure {}
