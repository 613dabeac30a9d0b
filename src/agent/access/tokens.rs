//! The tokens file: names, tokens or certificates, and what they allow.

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

/// One entry.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::agent) struct Entry {
    pub(super) name: String,
    of: Proof,
    pub(super) allows: Capabilities,
}

/// What a client shows.
#[derive(Debug, PartialEq, Eq)]
enum Proof {
    Token(Secret),
    /// A certificate with this name.
    Certificate(AltName),
}

/// The entries of a file.
#[derive(Debug, Default)]
pub(super) struct Tokens(Vec<Arc<Entry>>);

/// An entry as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    token: Option<Secret>,
    certificate: Option<String>,
    allow: Vec<String>,
}

impl Entry {
    /// The name of its certificate; empty: it has a token.
    pub(super) fn certificate(&self) -> &str {
        match &self.of {
            Proof::Token(_) => "",
            Proof::Certificate(name) => name.text(),
        }
    }
}

impl Tokens {
    /// Reads a file. `full` is the token that allows everything and none of these may equal;
    /// `certificates`: clients may have some.
    ///
    /// # Errors
    /// It cannot be read, others can read it, or it has a mistake.
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
                return Err(fail(format!("{name:?} is no name of 1 to 64 letters, digits, . _ -")));
            }
            let proof = match (entry.token, entry.certificate) {
                (Some(token), None) => {
                    let secret = secrets::resolve("rpc_tokens_file", token.expose())?;
                    seen.token(secret).map_err(of)?
                }
                (None, Some(text)) => seen.certificate(&text).map_err(of)?,
                _ => return Err(of("has to have either a token or a certificate")),
            };
            let allows = Capabilities::parse(&entry.allow).map_err(|unknown| {
                let known: Vec<_> = Capability::ALL.iter().map(|known| known.name()).collect();
                of(&format!("allows '{unknown}', which is none of {}", known.join(", ")))
            })?;
            all.push(Arc::new(Entry { name, of: proof, allows }));
        }
        Ok(Self(all))
    }

    /// The token that equals what was shown. All are compared, in constant time each: the time
    /// does not reveal where they differ.
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

    /// The entries of a certificate with these names.
    pub(super) fn of_certificate(&self, names: &BTreeSet<AltName>) -> Vec<Arc<Entry>> {
        let is_of = |entry: &&Arc<Entry>| match &entry.of {
            Proof::Token(_) => false,
            Proof::Certificate(name) => names.contains(name),
        };
        self.0.iter().filter(is_of).cloned().collect()
    }

    /// Whether it has an entry as it was.
    pub(super) fn has(&self, entry: &Entry) -> bool {
        self.0.iter().any(|known| **known == *entry)
    }
}

/// What the entries read so far have, so that none has the same.
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
            return Err("has a token of less than 16 bytes");
        }
        match self.tokens.insert(secret.expose().to_owned()) {
            true => Ok(Proof::Token(secret)),
            false => Err("has the same token as another"),
        }
    }

    fn certificate(&mut self, text: &str) -> Result<Proof, &'static str> {
        let name = AltName::parse(text).ok_or("names no certificate: a DNS name or a URI")?;
        if !self.certificates {
            return Err("has a certificate, but rpc_tls_client_ca is not set");
        }
        match self.names.insert(name.clone()) {
            true => Ok(Proof::Certificate(name)),
            false => Err("has the same certificate as another"),
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

/// Bytes of the file.
const FILE_BYTES_MAX: u64 = 256 << 10;
/// Tokens in it: each is compared when a client shows one.
const TOKENS_MAX: usize = 256;
/// Less can be guessed.
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
                r#""a b" is no name of 1 to 64 letters, digits, . _ -"#,
            ),
            (
                r#"{"a": {"token": "0123456789abcde", "allow": []}}"#,
                "entry 'a' has a token of less than 16 bytes",
            ),
            (
                r#"{"a": {"token": "the full token of the agent", "allow": []}}"#,
                "entry 'a' has the same token as another",
            ),
            (
                r#"{"a": {"token": "0123456789abcdef", "allow": ["root"]}}"#,
                "entry 'a' allows 'root', which is none of read, event, query, respond, tags, \
                 join, keys, leave, monitor, admin",
            ),
            (r#"{"a": {"token": "@/nonexistent", "allow": []}}"#, "no such file or directory"),
            (r#"{"a": {"allow": []}}"#, "entry 'a' has to have either a token or a certificate"),
            (
                r#"{"a": {"certificate": "a", "token": "0123456789abcdef", "allow": []}}"#,
                "entry 'a' has to have either a token or a certificate",
            ),
            (
                r#"{"a": {"certificate": "*.example", "allow": []}}"#,
                "entry 'a' names no certificate: a DNS name or a URI",
            ),
            (
                r#"{"a": {"certificate": "x.a", "allow": []},
                    "b": {"certificate": "X.A", "allow": []}}"#,
                "entry 'b' has the same certificate as another",
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
