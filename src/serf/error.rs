//! Errors of the Serf engine. Texts that Go clients compare are Go's.

use crate::base::error_texts;

/// What went wrong with a call.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// The configuration cannot work.
    Config(String),
    /// The call is not possible in this state.
    State(&'static str),
    /// The caller's data does not fit or cannot be encoded.
    Invalid(String),
    /// The layer below failed.
    Swim(crate::swim::Error),
    /// A broadcast was not sent out in time.
    Timeout(&'static str),
    /// The query is over, or unknown.
    PastDeadline,
    /// A join contacted no address; Go's text with the reason of each address.
    Join(crate::swim::JoinErrors),
    /// Some nodes refused a key operation, or did not answer it.
    Keys(String),
}

error_texts! {
    Error {
        Self::Config(text) => "{text}";
        Self::State(text) => "{text}";
        Self::Invalid(text) => "{text}";
        Self::Swim(error) => "{error}";
        Self::Timeout(text) => "{text}";
        Self::PastDeadline => "failed to respond to key query: response is past the deadline";
        Self::Join(errors) => "{errors}";
        Self::Keys(text) => "{text}";
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Swim(error) => Some(error),
            _ => None,
        }
    }
}

impl From<crate::swim::Error> for Error {
    fn from(error: crate::swim::Error) -> Self {
        Self::Swim(error)
    }
}
