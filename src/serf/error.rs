//! Errors of the Serf engine. Texts that Go clients compare are identical to Go's.

use crate::{base::error_texts, swim, swim::ConfigError};

/// Why a call failed, grouped by who caused it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    // Caused by the caller: nothing has changed.
    /// The configuration is invalid.
    Config(ConfigError),
    /// A message is too large to be sent.
    TooLarge {
        /// The kind of message.
        what: Oversize,
        /// Its largest size in bytes.
        limit: usize,
        /// Its size in bytes.
        len: usize,
    },
    /// A key is not valid base64, with the reason.
    InvalidKey(String),
    /// Queries need Serf protocol 4.
    ProtocolTooOld,

    // Not possible at this time: nothing has changed.
    /// The query was answered before.
    AlreadyAnswered,
    /// The deadline of the query has passed, or the query is unknown.
    DeadlinePassed,
    /// A leave is under way.
    Leaving,
    /// The node is leaving, has left or was shut down, and cannot join.
    Left,
    /// The node was shut down.
    Shutdown,
    /// Too many joins are under way.
    TooManyJoins,
    /// No such node runs, in the simulated network.
    NotRunning,

    // Caused by peers or the network.
    /// The query contains no address for an answer.
    NoReturnAddress,
    /// A join contacted no address; one failure for each.
    Join(Vec<swim::JoinFailure>),
    /// A message was not sent in time; it has taken effect on this node.
    NotSent(Broadcast),
    /// A queue was full and a message was dropped; it has taken effect on this node.
    Dropped(Broadcast),
    /// An exchange with a peer failed, with the reason.
    Peer(String),
}

/// Kinds of messages with a size limit.
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
    /// An answer relayed by another node, encoded.
    RelayedResponse,
    /// All tags, encoded.
    Tags,
}

/// A broadcast that a caller waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Broadcast {
    /// This node's leave.
    Leave,
    /// Another member's leave.
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

// No `source`: the texts above contain it.
impl std::error::Error for Error {}

impl Error {
    /// Go's text where ours differs: Go attributes every failed answer to a key query, and lists
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

    /// Fails if `len` exceeds the limit.
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
