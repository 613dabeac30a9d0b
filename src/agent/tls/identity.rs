//! Who a client is by its certificate.

use std::collections::BTreeSet;

/// A verified certificate.
#[derive(Clone, Debug, Default)]
pub(in crate::agent) struct Identity {
    /// What it is called in the log. No authority has to vouch for it.
    pub(in crate::agent) shown: String,
    /// The names for which its authority vouches. A handshake bounds how many there are.
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
    /// The DNS name of one host; `None`: a wildcard.
    pub(in crate::agent) fn dns(name: &str) -> Option<Self> {
        (!name.contains('*')).then(|| Self::Dns(name.to_ascii_lowercase()))
    }

    /// A name as it is written: one with a colon is a URI. `None`: no certificate has it.
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

    /// The name.
    pub(in crate::agent) fn text(&self) -> &str {
        match self {
            Self::Dns(text) | Self::Uri(text) => text,
        }
    }
}

/// Of a DNS name, and of a URI.
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
