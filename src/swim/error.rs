//! Errors of the membership engine.

use crate::base::error_texts;

/// What a caller or the configuration did wrong, or what a peer refused.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// The configuration cannot work.
    Config(String),
    /// An exchange with a peer failed; the text goes to logs and operators as Go's does.
    Peer(String),
    /// A broadcast was not sent out in time.
    BroadcastTimeout(&'static str),
}

error_texts! {
    Error {
        Self::Config(text) => "{text}";
        Self::Peer(text) => "{text}";
        Self::BroadcastTimeout(what) => "timeout waiting for {what} broadcast";
    }
}

impl std::error::Error for Error {}
