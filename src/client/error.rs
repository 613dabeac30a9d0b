//! Errors of the client, with the texts of Go's client.

use crate::base::error_texts;

/// Why a call failed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// There is no connection to the agent: Go's text, `dial tcp ...`.
    Dial(String),
    /// The agent refused, with this text. The connection remains usable.
    Agent(String),
    /// The connection is over.
    Closed,
    /// The agent's response cannot be decoded.
    Decode(String),
}

error_texts! {
    Error {
        Self::Dial(text) => "{text}";
        Self::Agent(text) => "{text}";
        Self::Closed => "client closed";
        Self::Decode(error) => "failed to decode response: {error}";
    }
}

impl std::error::Error for Error {}
