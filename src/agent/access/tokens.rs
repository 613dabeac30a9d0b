//! The tokens file: names, tokens and what they allow.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::Arc,
};

use ctutils::CtEq as _;
use serde::Deserialize;

use super::{Capabilities, Capability};
use crate::{
    agent::{AgentError, secrets},
    base::Secret,
};

/// One token.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::agent) struct Token {
    pub(super) name: String,
    secret: Secret,
    pub(super) allows: Capabilities,
}

/// The tokens of a file.
#[derive(Debug, Default)]
pub(super) struct Tokens(Vec<Arc<Token>>);

/// A token as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    token: Secret,
    allow: Vec<String>,
}

impl Tokens {
    /// Reads a file. `full` is the token that allows everything and none of these may equal.
    ///
    /// # Errors
    /// It cannot be read, others can read it, or it has a mistake.
    pub(super) fn read(path: &Path, full: &Secret) -> Result<Self, AgentError> {
        let shown = path.display();
        let fail = |text: String| AgentError::Invalid(format!("Invalid rpc_tokens_file: {text}"));
        let bytes = secrets::read_private(path, FILE_BYTES_MAX).map_err(fail)?;
        let fail = |text: String| fail(format!("{shown}: {text}"));
        let written: BTreeMap<String, Written> =
            serde_json::from_slice(&bytes).map_err(|error| fail(error.to_string()))?;
        if written.len() > TOKENS_MAX {
            return Err(fail(format!("more than {TOKENS_MAX} tokens")));
        }
        let mut seen = BTreeSet::from([full.expose().to_owned()]);
        let mut all = Vec::new();
        for (name, token) in written {
            let of = |text: &str| fail(format!("token '{name}' {text}"));
            if !is_name(&name) {
                return Err(fail(format!("{name:?} is no name of 1 to 64 letters, digits, . _ -")));
            }
            let secret = secrets::resolve("rpc_tokens_file", token.token.expose())?;
            if secret.expose().len() < TOKEN_BYTES_MIN {
                return Err(of("has less than 16 bytes"));
            }
            if !seen.insert(secret.expose().to_owned()) {
                return Err(of("is the same as another"));
            }
            let allows = Capabilities::parse(&token.allow).map_err(|unknown| {
                let known: Vec<_> = Capability::ALL.iter().map(|known| known.name()).collect();
                of(&format!("allows '{unknown}', which is none of {}", known.join(", ")))
            })?;
            all.push(Arc::new(Token { name, secret, allows }));
        }
        seen.into_iter().for_each(|text| drop(Secret::from(text)));
        Ok(Self(all))
    }

    /// The token that equals what was shown. All are compared, in constant time each: the time
    /// does not reveal where they differ.
    pub(super) fn find(&self, shown: &[u8]) -> Option<Arc<Token>> {
        let mut found = None;
        for token in &self.0 {
            if token.secret.expose().as_bytes().ct_eq(shown).to_bool() {
                found = Some(Arc::clone(token));
            }
        }
        found
    }

    /// Whether it has a token as it was.
    pub(super) fn has(&self, token: &Token) -> bool {
        self.0.iter().any(|known| **known == *token)
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
                "token 'a' has less than 16 bytes",
            ),
            (
                r#"{"a": {"token": "the full token of the agent", "allow": []}}"#,
                "token 'a' is the same as another",
            ),
            (
                r#"{"a": {"token": "0123456789abcdef", "allow": ["root"]}}"#,
                "token 'a' allows 'root', which is none of read, event, query, respond, tags, \
                 join, keys, leave, monitor, admin",
            ),
            (r#"{"a": {"token": "@/nonexistent", "allow": []}}"#, "no such file or directory"),
        ] {
            let error = Tokens::read(&file(&dir, text), &full).unwrap_err().to_string();
            assert!(error.starts_with("Invalid rpc_tokens_file: "), "{error}");
            assert!(error.contains(message), "{error}");
        }
    }

    #[test]
    fn tokens_are_found_as_a_whole_alone() {
        let dir = tempfile::tempdir().unwrap();
        let text = r#"{"a": {"token": "0123456789abcdef", "allow": ["read"]},
                       "b": {"token": "0123456789abcdefg", "allow": []}}"#;
        let tokens = Tokens::read(&file(&dir, text), &Secret::default()).unwrap();
        let name = |shown: &str| tokens.find(shown.as_bytes()).map(|token| token.name.clone());
        assert_eq!(name("0123456789abcdef").as_deref(), Some("a"));
        assert_eq!(name("0123456789abcdefg").as_deref(), Some("b"));
        for other in ["", "0123456789abcde", "0123456789abcdefgh"] {
            assert_eq!(name(other), None);
        }
    }
}
