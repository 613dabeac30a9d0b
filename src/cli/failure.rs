//! Errors of commands.

use super::ParseError;

/// Why a command failed, and what is printed.
#[derive(Debug)]
pub enum Failure {
    /// A message.
    Message(String),
    /// A message, and a hint at the likely cause on stderr.
    Hinted(String, &'static str),
    /// A message and the help text.
    Usage(String),
    /// The help text.
    Help,
    /// Nothing is printed here.
    Silent,
    /// The parser's error on stderr, the help text on stdout.
    Flags(ParseError),
    /// Nothing is printed here; the exit code is given.
    Code(u8),
}

impl From<crate::client::Error> for Failure {
    fn from(error: crate::client::Error) -> Self {
        Self::Message(error.to_string())
    }
}
