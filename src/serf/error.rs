//! Errors of the Serf engine. Texts that Go clients compare are Go's.

use crate::{base::error_texts, swim, swim::ConfigError};

/// What went wrong with a call, by who is to blame.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    // The caller's fault: nothing has changed.
    /// The configuration cannot work.
    Config(ConfigError),
    /// What was given is too large to be sent.
    TooLarge {
        /// What is too large.
        what: Oversize,
        /// Its largest size in bytes.
        limit: usize,
        /// Its size in bytes.
        len: usize,
    },
    /// A key is not base64; the reason.
    InvalidKey(String),
    /// Queries need Serf protocol 4.
    ProtocolTooOld,

    // The wrong time: nothing has changed.
    /// The query was answered before.
    AlreadyAnswered,
    /// The query is over, or unknown.
    DeadlinePassed,
    /// A leave is under way.
    Leaving,
    /// The node leaves, has left or was shut down, and joins nobody any more.
    Left,
    /// The node was shut down.
    Shutdown,
    /// Too many joins are under way.
    TooManyJoins,
    /// No such node runs, on the virtual network.
    NotRunning,

    // Of peers and the network.
    /// The query names no address that an answer could be sent to.
    NoReturnAddress,
    /// A join contacted no address: what is wrong with each.
    Join(Vec<swim::JoinFailure>),
    /// A message was not sent out in time; here it has its effect all the same.
    NotSent(Broadcast),
    /// Too many messages waited, and one was dropped; here it has its effect all the same.
    Dropped(Broadcast),
    /// A peer failed an exchange; the reason.
    Peer(String),
}

/// What may be too large.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Oversize {
    /// Name and payload of a user event.
    UserEvent,
    /// A user event, encoded.
    EncodedUserEvent,
    /// A query, encoded.
    Query,
    /// An answer to a query, encoded.
    Response,
    /// An answer that is sent through another node, encoded.
    RelayedResponse,
    /// All tags, encoded.
    Tags,
}

/// What is gossiped on behalf of a caller who waits for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Broadcast {
    /// That this node leaves.
    Leave,
    /// That another member has left.
    ForceLeave,
    /// New tags.
    Tags,
}

error_texts! {
    Error {
        Self::Config(error) => "{error}";
        Self::TooLarge { what, limit, .. } =>
            "{} limit of {limit} bytes{}", what.exceeds(), what.when();
        Self::InvalidKey(reason) => "{reason}";
        Self::ProtocolTooOld => "Feature not supported";
        Self::AlreadyAnswered => "response already sent";
        Self::DeadlinePassed => "response is past the deadline";
        Self::Leaving => "Leave already in progress";
        Self::Left => "Serf can't Join after Leave or Shutdown";
        Self::Shutdown => "Leave called after Shutdown";
        Self::TooManyJoins => "too many joins are under way";
        Self::NotRunning => "the node is not running";
        Self::NoReturnAddress => "the query carries no valid address";
        Self::Join(failures) => "{}", swim::JoinFailure::list(failures);
        Self::NotSent(Broadcast::Leave) => "timeout waiting for leave broadcast";
        Self::NotSent(Broadcast::ForceLeave) => "timed out broadcasting node removal";
        Self::NotSent(Broadcast::Tags) => "timeout waiting for update broadcast";
        Self::Dropped(Broadcast::Leave) => "leave intent was dropped before it was sent";
        Self::Dropped(Broadcast::ForceLeave) => "node removal was dropped before it was sent";
        Self::Dropped(Broadcast::Tags) => "update was dropped before it was sent";
        Self::Peer(reason) => "{reason}";
    }
}

// No `source`: the texts above hold it already.
impl std::error::Error for Error {}

impl Error {
    /// Go's text where ours differs: Go blames a key query for every answer that fails, and lists
    /// the addresses of a join on several lines.
    #[doc(hidden)]
    pub fn go_text(&self) -> String {
        let of_answer = match self {
            Self::TooLarge { what, .. } => {
                matches!(what, Oversize::Response | Oversize::RelayedResponse)
            }
            Self::Join(failures) => return swim::JoinErrors(failures.clone()).to_string(),
            other => matches!(
                other,
                Self::AlreadyAnswered | Self::DeadlinePassed | Self::NoReturnAddress
            ),
        };
        let prefix = if of_answer { "failed to respond to key query: " } else { "" };
        format!("{prefix}{self}")
    }
}

impl Oversize {
    fn exceeds(self) -> &'static str {
        match self {
            Self::UserEvent => "user event exceeds configured",
            Self::EncodedUserEvent => "encoded user event exceeds configured",
            Self::Query => "query exceeds",
            Self::Response => "response exceeds",
            Self::RelayedResponse => "relayed response exceeds",
            Self::Tags => "Encoded length of tags exceeds",
        }
    }

    fn when(self) -> &'static str {
        match self {
            Self::UserEvent => " before encoding",
            Self::EncodedUserEvent => " after encoding",
            Self::Query | Self::Response | Self::RelayedResponse | Self::Tags => "",
        }
    }

    /// Refuses a length above the limit.
    pub(crate) fn check(self, len: usize, limit: usize) -> Result<(), Error> {
        if len > limit { Err(Error::TooLarge { what: self, limit, len }) } else { Ok(()) }
    }
}

impl From<swim::Error> for Error {
    fn from(error: swim::Error) -> Self {
        match error {
            swim::Error::Config(error) => Self::Config(error),
            swim::Error::Peer(reason) => Self::Peer(reason),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_that_fail_are_blamed_on_key_queries_as_go_does() {
        for (error, text, go) in [
            (
                Error::TooLarge { what: Oversize::Response, limit: 9, len: 10 },
                "response exceeds limit of 9 bytes",
                "failed to respond to key query: response exceeds limit of 9 bytes",
            ),
            (
                Error::DeadlinePassed,
                "response is past the deadline",
                "failed to respond to key query: response is past the deadline",
            ),
            (
                Error::AlreadyAnswered,
                "response already sent",
                "failed to respond to key query: response already sent",
            ),
            (Error::ProtocolTooOld, "Feature not supported", "Feature not supported"),
        ] {
            assert_eq!((error.to_string().as_str(), error.go_text().as_str()), (text, go));
        }
    }
}
