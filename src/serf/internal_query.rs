//! Queries between members that are hidden from the application. Go: `serf/internal_query.go`.

use std::fmt;

use bytes::Bytes;

use super::QueryId;

/// A query whose name begins with `_serf_`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum InternalQuery {
    /// Checks whether the node is reachable: the ack is the whole answer.
    Ping,
    /// Asks for the record of the node whose name is contested.
    Conflict,
    /// Lists or changes keys.
    Key(KeyVerb),
}

/// Operation of a key query on the keyring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KeyVerb {
    Install,
    Use,
    Remove,
    List,
}

/// An internal query that arrived.
pub(crate) struct InternalRequest {
    pub(crate) id: QueryId,
    pub(crate) kind: InternalQuery,
    pub(crate) payload: Bytes,
}

/// Omits the payload, which may contain a key.
impl fmt::Debug for InternalRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InternalRequest").field("kind", &self.kind).finish_non_exhaustive()
    }
}

impl InternalQuery {
    /// Parses a query name: `None` if it belongs to the application; an error (the name without the
    /// prefix) if it is an unknown internal query.
    pub(crate) fn parse(name: &[u8]) -> Option<Result<Self, &[u8]>> {
        let name = name.strip_prefix(PREFIX.as_bytes())?;
        let known = ALL.into_iter().find(|query| query.rest().as_bytes() == name);
        Some(known.ok_or(name))
    }

    /// The full name.
    pub(crate) fn name(self) -> String {
        format!("{PREFIX}{}", self.rest())
    }

    /// The name without the prefix.
    pub(crate) fn rest(self) -> &'static str {
        match self {
            Self::Ping => "ping",
            Self::Conflict => "conflict",
            Self::Key(KeyVerb::Install) => "install-key",
            Self::Key(KeyVerb::Use) => "use-key",
            Self::Key(KeyVerb::Remove) => "remove-key",
            Self::Key(KeyVerb::List) => "list-keys",
        }
    }
}

const ALL: [InternalQuery; 6] = [
    InternalQuery::Ping,
    InternalQuery::Conflict,
    InternalQuery::Key(KeyVerb::Install),
    InternalQuery::Key(KeyVerb::Use),
    InternalQuery::Key(KeyVerb::Remove),
    InternalQuery::Key(KeyVerb::List),
];
/// Prefix of internal names. Go: `InternalQueryPrefix`.
pub(crate) const PREFIX: &str = "_serf_";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_name_is_parsed_back_and_no_other_is_taken() {
        for query in ALL {
            assert_eq!(InternalQuery::parse(query.name().as_bytes()), Some(Ok(query)));
        }
        for unknown in ["", "remove", "remove-keys", "Install-key", "ping "] {
            let name = format!("{PREFIX}{unknown}");
            let parsed = InternalQuery::parse(name.as_bytes());
            assert_eq!(parsed, Some(Err(unknown.as_bytes())), "{unknown}");
        }
        assert_eq!(InternalQuery::parse(b"serf_ping"), None);
    }
}
