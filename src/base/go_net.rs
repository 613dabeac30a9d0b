//! Addresses and system errors in the words of Go's `net` package.

use std::io;

use super::error_texts;

/// An address that [`split_host_port`] cannot split; the texts are Go's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddressError {
    /// The address as given.
    pub address: String,
    /// What is wrong with it.
    pub fault: AddressFault,
}

/// What is wrong with an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressFault {
    /// There is no port.
    MissingPort,
    /// The bracket of an IPv6 address is not closed.
    MissingBracket,
    /// An IPv6 address without brackets.
    TooManyColons,
    /// Unexpected `[`.
    OpeningBracket,
    /// Unexpected `]`.
    ClosingBracket,
}

error_texts! {
    AddressError {
        Self { address, fault } => "address {address}: {fault}";
    }
}

error_texts! {
    AddressFault {
        Self::MissingPort => "missing port in address";
        Self::MissingBracket => "missing ']' in address";
        Self::TooManyColons => "too many colons in address";
        Self::OpeningBracket => "unexpected '[' in address";
        Self::ClosingBracket => "unexpected ']' in address";
    }
}

impl std::error::Error for AddressError {}

/// Splits `host:port` or `[v6]:port` as Go's `net.SplitHostPort` does.
///
/// # Errors
/// See [`AddressFault`].
pub fn split_host_port(text: &str) -> Result<(&str, &str), AddressError> {
    let fail = |fault| Err(AddressError { address: text.to_owned(), fault });
    let Some(colon) = text.rfind(':') else { return fail(AddressFault::MissingPort) };
    let (host, rest) = if let Some(inner) = text.strip_prefix('[') {
        let Some(end) = inner.find(']') else { return fail(AddressFault::MissingBracket) };
        let (host, rest) = (inner.get(..end), inner.get(end + 1..).unwrap_or_default());
        // The last colon must directly follow the bracket.
        if rest.is_empty() || (end + 2 != colon && !rest.starts_with(':')) {
            return fail(AddressFault::MissingPort);
        }
        if end + 2 != colon {
            return fail(AddressFault::TooManyColons);
        }
        (host.unwrap_or_default(), rest)
    } else {
        let host = text.get(..colon).unwrap_or_default();
        if host.contains(':') {
            return fail(AddressFault::TooManyColons);
        }
        (host, text)
    };
    if host.contains('[') || rest.contains('[') {
        return fail(AddressFault::OpeningBracket);
    }
    if rest.contains(']') {
        return fail(AddressFault::ClosingBracket);
    }
    Ok((host, text.get(colon + 1..).unwrap_or_default()))
}

/// Joins a host and a port, with brackets around IPv6.
pub fn join_host_port(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// The operating system's error as Go words it, such as `connection refused` or `no such file or
/// directory`.
pub fn error_text(error: &io::Error) -> String {
    let text = error.to_string();
    if error.raw_os_error().is_none() {
        return text;
    }
    let text = text.split(" (os error").next().unwrap_or_default();
    let mut chars = text.chars();
    match chars.next() {
        Some(first) => first.to_lowercase().chain(chars).collect(),
        None => String::new(),
    }
}

/// Why a file cannot be read, as Go words it: a directory opens and fails only when it is read.
pub fn read_error_text(path: &str, error: &io::Error) -> String {
    let verb = if error.kind() == io::ErrorKind::IsADirectory { "read" } else { "open" };
    format!("{verb} {path}: {}", error_text(error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_split_as_in_go() {
        let good = [
            ("a:1", ("a", "1")),
            (":9000", ("", "9000")),
            ("[::1]:7946", ("::1", "7946")),
            ("h:", ("h", "")),
        ];
        for (text, parts) in good {
            assert_eq!(split_host_port(text), Ok(parts));
        }
        let bad = [
            ("bad", "address bad: missing port in address"),
            ("::1", "address ::1: too many colons in address"),
            ("[::1]", "address [::1]: missing port in address"),
            ("[::1", "address [::1: missing ']' in address"),
            ("a:b:c", "address a:b:c: too many colons in address"),
            ("a[:1", "address a[:1: unexpected '[' in address"),
        ];
        for (text, message) in bad {
            assert_eq!(split_host_port(text).unwrap_err().to_string(), message);
        }
    }

    #[test]
    fn system_errors_read_as_in_go() {
        for (code, text) in [(111, "connection refused"), (98, "address already in use")] {
            assert_eq!(error_text(&io::Error::from_raw_os_error(code)), text);
        }
    }
}
