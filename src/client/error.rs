//! Errors of the client, with the texts of Go's client.

use crate::{base::error_texts, rpc::protocol::KeyResponse};

/// Why a call failed.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Error {
    /// There is no connection to the agent: Go's text, `dial tcp ...`.
    Dial(String),
    /// The agent refused, with this text. The connection remains usable.
    Agent(String),
    /// A key command failed at some members. The connection remains usable.
    Keys(Box<KeyFailure>),
    /// The connection is over.
    Closed,
    /// The agent's response cannot be decoded.
    Decode(String),
}

/// A key command that did not succeed at every member.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct KeyFailure {
    /// What each member answered, and who is missing.
    pub response: KeyResponse,
    /// The agent's error.
    pub summary: String,
}

error_texts! {
    Error {
        Self::Dial(text) => "{text}";
        Self::Agent(text) => "{text}";
        Self::Keys(failure) => "{}", failure.summary;
        Self::Closed => "client closed";
        Self::Decode(error) => "failed to decode response: {error}";
    }
}

impl std::error::Error for Error {}
