//! How commands fail.

use super::ParseError;

/// Why a command failed, and what is printed then.
#[derive(Debug)]
pub enum Failure {
    /// This message.
    Message(String),
    /// This message, and a hint at the likely reason on stderr.
    Hinted(String, &'static str),
    /// This message and the help text.
    Usage(String),
    /// The help text.
    Help,
    /// Nothing more.
    Silent,
    /// The parser's error on stderr, the help text on stdout.
    Flags(ParseError),
    /// Nothing more; the exit code is given.
    Code(u8),
}

impl From<crate::client::Error> for Failure {
    fn from(error: crate::client::Error) -> Self {
        Self::Message(error.to_string())
    }
}
