//! Errors of the client; the texts are what Go's client shows.

use crate::base::error_texts;

/// Why a call failed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// There is no connection to the agent: Go's text, `dial tcp ...`.
    Dial(String),
    /// The agent refused; its text. The connection can be used on.
    Agent(String),
    /// The connection is over.
    Closed,
    /// The agent's answer makes no sense.
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
