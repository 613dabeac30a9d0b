//! The identity of a client from its certificate.

use std::collections::BTreeSet;

/// The names of a verified certificate.
#[derive(Clone, Debug, Default)]
pub(in crate::agent) struct Identity {
    /// For the log only: it may be the common name, which name constraints do not cover.
    pub(in crate::agent) shown: String,
    /// The names that authenticate the client. TLS limits the size of a certificate, and so their
    /// number.
    pub(in crate::agent) names: BTreeSet<AltName>,
}

/// A subject alternative name. Names of different kinds are never equal: an authority may be
/// constrained in one kind alone.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::agent) enum AltName {
    /// In lower case.
    Dns(String),
    Uri(String),
}

impl AltName {
    /// A DNS name; `None` if it is a wildcard, which names no single host.
    pub(in crate::agent) fn dns(name: &str) -> Option<Self> {
        (!name.contains('*')).then(|| Self::Dns(name.to_ascii_lowercase()))
    }

    /// Parses a name of the tokens file. With a colon it is a URI. `None` if no certificate can
    /// have it.
    pub(in crate::agent) fn parse(text: &str) -> Option<Self> {
        let is_uri = text.contains(':');
        let is_fit = |c: u8| c.is_ascii_alphanumeric() || b".-_".contains(&c);
        match text.len() {
            1..=URI_BYTES_MAX if is_uri && text.bytes().all(|c| c.is_ascii_graphic()) => {
                Some(Self::Uri(text.to_owned()))
            }
            1..=DNS_BYTES_MAX if !is_uri && text.bytes().all(is_fit) => Self::dns(text),
            _ => None,
        }
    }

    /// The name without its kind.
    pub(in crate::agent) fn text(&self) -> &str {
        match self {
            Self::Dns(text) | Self::Uri(text) => text,
        }
    }
}

/// Most bytes of a DNS name, and of a URI.
const DNS_BYTES_MAX: usize = 253;
const URI_BYTES_MAX: usize = 2048;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_a_colon_is_a_uri_and_wildcards_are_refused() {
        let dns = |name: &str| Some(AltName::Dns(name.to_owned()));
        assert_eq!(AltName::parse("Ops.Example"), dns("ops.example"));
        let uri = "spiffe://Example/ops";
        assert_eq!(AltName::parse(uri), Some(AltName::Uri(uri.to_owned())));
        for text in ["", "*.example", "a b", "ops,web", "spiffe://a b", &"a".repeat(254)] {
            assert_eq!(AltName::parse(text), None, "{text}");
        }
        assert_eq!(AltName::dns("*.example"), None);
    }
}
