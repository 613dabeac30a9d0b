//! The tokens file: JSON with a token or a certificate's name, and the capabilities, of each entry.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::Arc,
};

use ctutils::CtEq as _;
use serde::Deserialize;

use super::{Capabilities, Capability};
use crate::{
    agent::{AgentError, secrets, tls::AltName},
    base::Secret,
};

/// An entry of the file.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::agent) struct Entry {
    pub(super) name: String,
    of: Proof,
    pub(super) allows: Capabilities,
}

/// What a client must prove to get the rights of an entry.
#[derive(Debug, PartialEq, Eq)]
enum Proof {
    Token(Secret),
    /// A verified certificate with this name.
    Certificate(AltName),
}

/// All entries of the file.
#[derive(Debug, Default)]
pub(super) struct Tokens(Vec<Arc<Entry>>);

/// An entry in the file's JSON.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    token: Option<Secret>,
    certificate: Option<String>,
    allow: Vec<String>,
}

impl Entry {
    /// The name of the certificate; empty if the entry has a token.
    pub(super) fn certificate(&self) -> &str {
        match &self.of {
            Proof::Token(_) => "",
            Proof::Certificate(name) => name.text(),
        }
    }
}

impl Tokens {
    /// Reads and validates a file. No token in it may equal `full`, the token `rpc_auth`.
    /// `certificates`: whether any listener verifies certificates of clients.
    ///
    /// # Errors
    /// The file cannot be read, other users can read it, or its content is invalid.
    pub(super) fn read(path: &Path, full: &Secret, certificates: bool) -> Result<Self, AgentError> {
        let shown = path.display();
        let fail = |text: String| AgentError::Invalid(format!("Invalid rpc_tokens_file: {text}"));
        let bytes = secrets::read_private(path, FILE_BYTES_MAX).map_err(fail)?;
        let fail = |text: String| fail(format!("{shown}: {text}"));
        let written: BTreeMap<String, Written> =
            serde_json::from_slice(&bytes).map_err(|error| fail(error.to_string()))?;
        if written.len() > TOKENS_MAX {
            return Err(fail(format!("more than {TOKENS_MAX} tokens")));
        }
        let mut seen = Seen::new(full, certificates);
        let mut all = Vec::new();
        for (name, entry) in written {
            let of = |text: &str| fail(format!("entry '{name}' {text}"));
            if !is_name(&name) {
                let rule = "1 to 64 letters, digits, '.', '_', '-'";
                return Err(fail(format!("{name:?} is not a valid name ({rule})")));
            }
            let proof = match (entry.token, entry.certificate) {
                (Some(token), None) => {
                    let secret = secrets::resolve("rpc_tokens_file", token.expose())?;
                    seen.token(secret).map_err(of)?
                }
                (None, Some(text)) => seen.certificate(&text).map_err(of)?,
                _ => return Err(of("must have either a token or a certificate")),
            };
            let allows = Capabilities::parse(&entry.allow).map_err(|unknown| {
                let known: Vec<_> = Capability::ALL.iter().map(|known| known.name()).collect();
                let known = known.join(", ");
                of(&format!("has an unknown capability '{unknown}': not one of {known}"))
            })?;
            all.push(Arc::new(Entry { name, of: proof, allows }));
        }
        Ok(Self(all))
    }

    /// Finds a token by its secret. Compares with all tokens, with each in constant time, so that
    /// the duration reveals nothing about them.
    pub(super) fn find(&self, shown: &[u8]) -> Option<Arc<Entry>> {
        let mut found = None;
        for entry in &self.0 {
            if let Proof::Token(secret) = &entry.of
                && secret.expose().as_bytes().ct_eq(shown).to_bool()
            {
                found = Some(Arc::clone(entry));
            }
        }
        found
    }

    /// The entries of a certificate that has these names.
    pub(super) fn of_certificate(&self, names: &BTreeSet<AltName>) -> Vec<Arc<Entry>> {
        let is_of = |entry: &&Arc<Entry>| match &entry.of {
            Proof::Token(_) => false,
            Proof::Certificate(name) => names.contains(name),
        };
        self.0.iter().filter(is_of).cloned().collect()
    }

    /// Whether the file still has this entry, unchanged.
    pub(super) fn has(&self, entry: &Entry) -> bool {
        self.0.iter().any(|known| **known == *entry)
    }
}

/// The tokens and names of the entries read so far, to refuse duplicates.
struct Seen {
    tokens: BTreeSet<String>,
    names: BTreeSet<AltName>,
    /// Whether clients may have certificates.
    certificates: bool,
}

impl Seen {
    fn new(full: &Secret, certificates: bool) -> Self {
        let tokens = BTreeSet::from([full.expose().to_owned()]);
        Self { tokens, names: BTreeSet::new(), certificates }
    }

    fn token(&mut self, secret: Secret) -> Result<Proof, &'static str> {
        if secret.expose().len() < TOKEN_BYTES_MIN {
            return Err("has a token shorter than 16 bytes");
        }
        match self.tokens.insert(secret.expose().to_owned()) {
            true => Ok(Proof::Token(secret)),
            false => Err("has the same token as another entry"),
        }
    }

    fn certificate(&mut self, text: &str) -> Result<Proof, &'static str> {
        let name = AltName::parse(text)
            .ok_or("has an invalid certificate name: it must be a DNS name or a URI")?;
        if !self.certificates {
            return Err("has a certificate, but rpc_tls_client_ca is not set");
        }
        match self.names.insert(name.clone()) {
            true => Ok(Proof::Certificate(name)),
            false => Err("has the same certificate as another entry"),
        }
    }
}

impl Drop for Seen {
    fn drop(&mut self) {
        std::mem::take(&mut self.tokens).into_iter().for_each(|text| drop(Secret::from(text)));
    }
}

fn is_name(name: &str) -> bool {
    (1..=64).contains(&name.len())
        && name.bytes().all(|c| c.is_ascii_alphanumeric() || b"._-".contains(&c))
}

/// Most bytes of the file.
const FILE_BYTES_MAX: u64 = 256 << 10;
/// Most tokens in the file: an authentication is compared with each of them.
const TOKENS_MAX: usize = 256;
/// Shorter tokens could be guessed.
const TOKEN_BYTES_MIN: usize = 16;

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt as _, path::PathBuf};

    use super::*;

    fn file(dir: &tempfile::TempDir, text: &str) -> PathBuf {
        let path = dir.path().join("tokens.json");
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        path
    }

    #[test]
    fn mistakes_in_the_tokens_file_are_refused_and_name_the_token() {
        let dir = tempfile::tempdir().unwrap();
        let full = Secret::from("the full token of the agent");
        for (text, message) in [
            ("[]", "invalid type: sequence, expected a map"),
            (r#"{"a": {"token": "0123456789abcdef"}}"#, "missing field `allow`"),
            (r#"{"a": {"token": "0123456789abcdef", "allow": [], "x": 1}}"#, "unknown field `x`"),
            (
                r#"{"a b": {"token": "0123456789abcdef", "allow": []}}"#,
                r#""a b" is not a valid name (1 to 64 letters, digits, '.', '_', '-')"#,
            ),
            (
                r#"{"a": {"token": "0123456789abcde", "allow": []}}"#,
                "entry 'a' has a token shorter than 16 bytes",
            ),
            (
                r#"{"a": {"token": "the full token of the agent", "allow": []}}"#,
                "entry 'a' has the same token as another entry",
            ),
            (
                r#"{"a": {"token": "0123456789abcdef", "allow": ["root"]}}"#,
                "entry 'a' has an unknown capability 'root': not one of read, event, query, \
                 respond, tags, join, keys, leave, monitor, admin",
            ),
            (r#"{"a": {"token": "@/nonexistent", "allow": []}}"#, "no such file or directory"),
            (r#"{"a": {"allow": []}}"#, "entry 'a' must have either a token or a certificate"),
            (
                r#"{"a": {"certificate": "a", "token": "0123456789abcdef", "allow": []}}"#,
                "entry 'a' must have either a token or a certificate",
            ),
            (
                r#"{"a": {"certificate": "*.example", "allow": []}}"#,
                "entry 'a' has an invalid certificate name: it must be a DNS name or a URI",
            ),
            (
                r#"{"a": {"certificate": "x.a", "allow": []},
                    "b": {"certificate": "X.A", "allow": []}}"#,
                "entry 'b' has the same certificate as another entry",
            ),
        ] {
            let error = Tokens::read(&file(&dir, text), &full, true).unwrap_err().to_string();
            assert!(error.starts_with("Invalid rpc_tokens_file: "), "{error}");
            assert!(error.contains(message), "{error}");
        }
        let text = r#"{"a": {"certificate": "x.a", "allow": []}}"#;
        assert!(Tokens::read(&file(&dir, text), &full, true).is_ok());
        let error = Tokens::read(&file(&dir, text), &full, false).unwrap_err().to_string();
        let wanted = "entry 'a' has a certificate, but rpc_tls_client_ca is not set";
        assert!(error.ends_with(wanted), "{error}");
    }

    #[test]
    fn tokens_are_found_as_a_whole_alone() {
        let dir = tempfile::tempdir().unwrap();
        let text = r#"{"a": {"token": "0123456789abcdef", "allow": ["read"]},
                       "b": {"token": "0123456789abcdefg", "allow": []}}"#;
        let tokens = Tokens::read(&file(&dir, text), &Secret::default(), false).unwrap();
        let name = |shown: &str| tokens.find(shown.as_bytes()).map(|token| token.name.clone());
        assert_eq!(name("0123456789abcdef").as_deref(), Some("a"));
        assert_eq!(name("0123456789abcdefg").as_deref(), Some("b"));
        for other in ["", "0123456789abcde", "0123456789abcdefgh"] {
            assert_eq!(name(other), None);
        }
    }
}
