//! Parses the addresses of a join and formats its errors. Go: `memberlist.go`, `resolveAddr`;
//! `util.go`, `ensurePort`, `hasPort`.

use std::fmt;

/// One entry of a join: `[name "/"] host [":" port]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinEntry {
    /// Name of the node, if given.
    pub name: Option<String>,
    /// Host name or IP literal, without brackets.
    pub host: String,
    /// Port; the default port if the entry has none.
    pub port: u16,
}

impl JoinEntry {
    /// Parses an entry.
    ///
    /// # Errors
    /// An empty name or host, or an invalid port; the text is for operators.
    pub fn parse(entry: &str, default_port: u16) -> Result<Self, String> {
        let (name, rest) = match entry.split_once('/') {
            Some(("", _)) => return Err("empty node name provided".into()),
            Some((name, rest)) => (Some(name.to_owned()), rest),
            None => (None, entry),
        };
        let (host, port) = if has_port(rest) {
            let (host, port) = rest.rsplit_once(':').unwrap_or((rest, ""));
            (host, parse_port(port)?)
        } else {
            (rest, default_port)
        };
        let host = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
        if host.is_empty() {
            return Err("lookup : no such host".to_owned());
        }
        Ok(Self { name, host: host.to_owned(), port })
    }
}

/// Parses a port with the error texts of Go's `strconv.ParseUint`, which accepts digits only.
fn parse_port(text: &str) -> Result<u16, String> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let reason = if digits { "value out of range" } else { "invalid syntax" };
    let port = text.parse().ok().filter(|_| digits);
    port.ok_or_else(|| format!("strconv.ParseUint: parsing \"{text}\": {reason}"))
}

/// In a bracketed address the port follows the bracket; another address has a port if it contains
/// exactly one colon, so that a bare IPv6 address needs no brackets.
fn has_port(host: &str) -> bool {
    if host.starts_with('[') {
        return host.rfind(':') > host.rfind(']');
    }
    host.matches(':').count() == 1
}

/// An address of a join that could not be contacted.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct JoinFailure {
    /// The entry as given, or one of its addresses.
    pub address: String,
    /// What went wrong.
    pub reason: String,
    /// Whether the host name could not be resolved.
    pub unresolved: bool,
}

impl JoinFailure {
    /// All failures on one line.
    pub(crate) fn list(failures: &[Self]) -> String {
        if failures.is_empty() {
            return "there was no address to join".to_owned();
        }
        failures.iter().map(Self::to_string).collect::<Vec<_>>().join("; ")
    }
}

impl fmt::Display for JoinFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = if self.unresolved { "resolve" } else { "join" };
        write!(f, "failed to {what} {}: {}", self.address, self.reason)
    }
}

/// The failed entries of a join; the text is that of Go's multi-error.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JoinErrors(pub Vec<JoinFailure>);

impl JoinErrors {
    /// Adds a host name that could not be resolved.
    pub fn unresolved(&mut self, entry: &str, error: &dyn fmt::Display) {
        let (address, reason) = (entry.to_owned(), error.to_string());
        self.0.push(JoinFailure { address, reason, unresolved: true });
    }

    /// Adds an address that could not be contacted.
    pub fn unreachable(&mut self, addr: &dyn fmt::Display, error: &dyn fmt::Display) {
        let (address, reason) = (addr.to_string(), error.to_string());
        self.0.push(JoinFailure { address, reason, unresolved: false });
    }

    /// Whether there are no failures.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for JoinErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.len() {
            1 => f.write_str("1 error occurred:\n")?,
            n => writeln!(f, "{n} errors occurred:")?,
        }
        for error in &self.0 {
            writeln!(f, "\t* {error}")?;
        }
        f.write_str("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_parse_as_go_parses_them() {
        let table = [
            ("10.0.0.1", None, "10.0.0.1", 7946),
            ("10.0.0.1:80", None, "10.0.0.1", 80),
            ("a/10.0.0.1:80", Some("a"), "10.0.0.1", 80),
            ("::1", None, "::1", 7946),
            ("[::1]", None, "::1", 7946),
            ("[::1]:80", None, "::1", 80),
            ("a/[fe80::1%eth0]:80", Some("a"), "fe80::1%eth0", 80),
            ("db.example", None, "db.example", 7946),
        ];
        for (entry, name, host, port) in table {
            let name = name.map(str::to_owned);
            let expected = JoinEntry { name, host: host.into(), port };
            assert_eq!(JoinEntry::parse(entry, 7946), Ok(expected), "{entry}");
        }
        for entry in ["/1.2.3.4", ":80", "", "a/", "1.2.3.4:x", "1.2.3.4:70000"] {
            assert!(JoinEntry::parse(entry, 7946).is_err(), "{entry}");
        }
    }

    #[test]
    fn errors_are_listed_as_go_lists_them() {
        let mut errors = JoinErrors::default();
        errors.unreachable(&"127.0.0.1:1", &"refused");
        assert_eq!(
            errors.to_string(),
            "1 error occurred:\n\t* failed to join 127.0.0.1:1: refused\n\n"
        );
        errors.unresolved("x", &"no such host");
        assert!(errors.to_string().starts_with("2 errors occurred:\n\t* failed to join"));
    }
}
