//! Reads keys from base64 and from keyring files. A keyring file is a JSON list of base64 keys with
//! the primary first. Go: `cmd/serf/command/agent/agent.go:loadKeyringFile`.

use std::{fs, io, path::Path};

use crate::{
    base::{error_texts, go_base64, go_json, go_net},
    wire::{Keyring, KeyringError},
};

/// Why a keyring could not be read. The texts are those of Go's agent.
#[derive(Debug)]
#[non_exhaustive]
pub enum KeyringFileError {
    /// The file does not exist, or its metadata cannot be read.
    Stat {
        /// The file.
        path: String,
        /// The system's reason.
        source: io::Error,
    },
    /// The file cannot be read.
    Read {
        /// The file.
        path: String,
        /// The system's reason.
        source: io::Error,
    },
    /// The file is not a JSON list of strings.
    Json(String),
    /// A key is not base64.
    Base64(String),
    /// The list is empty.
    NoKeys,
    /// A key has a wrong length.
    Key(KeyringError),
}

error_texts! {
    KeyringFileError {
        Self::Stat { path, source } => "stat {path}: {}", go_net::error_text(source);
        Self::Read { path, source } =>
            "Failed to read keyring file: {}", go_net::read_error_text(path, source);
        Self::Json(reason) => "Failed to decode keyring file: {reason}";
        Self::Base64(reason) => "Failed to decode key from keyring: {reason}";
        Self::NoKeys => "Keyring file contains no keys";
        Self::Key(error) => "Failed to restore keyring: {error}";
    }
}

// No `source`: the texts above contain it.
impl std::error::Error for KeyringFileError {}

impl KeyringFileError {
    /// Whether the file does not exist.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Stat { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }
}

impl Keyring {
    /// Creates a keyring from base64 keys, as printed by `serf keygen`, the primary first.
    ///
    /// # Errors
    /// A key is not base64, there is no key, or a key does not have 16, 24 or 32 bytes.
    pub fn from_base64<I>(keys: I) -> Result<Self, KeyringFileError>
    where
        I: IntoIterator<Item: AsRef<str>>,
    {
        let keys: Result<Vec<_>, _> =
            keys.into_iter().map(|key| go_base64::decode(key.as_ref())).collect();
        let keys = keys.map_err(KeyringFileError::Base64)?;
        let primary = keys.first().ok_or(KeyringFileError::NoKeys)?;
        Self::build(&keys, primary).map_err(KeyringFileError::Key)
    }

    /// Reads a keyring file of Go's agent or ours. Blocks; intended for the start of a program.
    ///
    /// # Errors
    /// The file cannot be read, or contains no keys; see [`KeyringFileError::is_not_found`].
    pub fn load(path: impl AsRef<Path>) -> Result<Self, KeyringFileError> {
        let path = path.as_ref();
        let shown = || path.display().to_string();
        fs::metadata(path).map_err(|source| KeyringFileError::Stat { path: shown(), source })?;
        let bytes =
            fs::read(path).map_err(|source| KeyringFileError::Read { path: shown(), source })?;
        // As in Go, null is treated as empty, as the list and as a key.
        let keys: Option<Vec<Option<String>>> = serde_json::from_slice(&go_json::readable(&bytes))
            .map_err(|error| {
                let (text, is_eof) = (error.to_string(), error.is_eof());
                KeyringFileError::Json(go_json::decode_error(text, is_eof, "[]string"))
            })?;
        Self::from_base64(keys.unwrap_or_default().into_iter().map(Option::unwrap_or_default))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_keyring_file_is_read_with_the_primary_first() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keys");
        assert!(Keyring::load(&path).unwrap_err().is_not_found());
        let keys = ["CAgICAgICAgICAgICAgICA==", "BwcHBwcHBwcHBwcHBwcHBw=="];
        fs::write(&path, serde_json::to_vec(&keys).unwrap()).unwrap();
        let ring = Keyring::load(&path).unwrap();
        assert_eq!(ring.keys().collect::<Vec<_>>(), [[8; 16], [7; 16]]);
        let same = Keyring::from_base64(keys).unwrap();
        assert_eq!(same.keys().collect::<Vec<_>>(), ring.keys().collect::<Vec<_>>());
    }

    #[test]
    fn mistakes_are_in_the_words_of_go() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keys");
        let missing = Keyring::load(&path).unwrap_err().to_string();
        assert_eq!(missing, format!("stat {}: no such file or directory", path.display()));
        let directory = Keyring::load(dir.path()).unwrap_err().to_string();
        let shown = dir.path().display();
        assert_eq!(directory, format!("Failed to read keyring file: read {shown}: is a directory"));
        for (text, message) in [
            ("[]", "Keyring file contains no keys"),
            ("[\"!\"]", "Failed to decode key from keyring: illegal base64 data at input byte 0"),
            ("[\"AAAA\"]", "Failed to restore keyring: key size must be 16, 24 or 32 bytes"),
            ("[", "Failed to decode keyring file: unexpected end of JSON input"),
            (
                "{}",
                "Failed to decode keyring file: \
                 json: cannot unmarshal object into Go value of type []string",
            ),
            (
                "[1]",
                "Failed to decode keyring file: \
                 json: cannot unmarshal number into Go value of type string",
            ),
        ] {
            fs::write(&path, text).unwrap();
            assert_eq!(Keyring::load(&path).unwrap_err().to_string(), message);
        }
    }
}
