//! Reads secrets from files, so that they need not be in the process list or the configuration.

use std::{fs::File, io::Read as _, path::PathBuf};

use zeroize::Zeroize as _;

use super::AgentError;
use crate::base::{Secret, go_net};

/// Resolves a secret: the text itself; the contents of a file for `@PATH`; a systemd credential for
/// `@credential:NAME`; the text after the first `@` for `@@…`. `what` names the setting in errors.
///
/// # Errors
/// The file cannot be read, or contains no secret.
pub fn resolve(what: &str, written: &str) -> Result<Secret, AgentError> {
    let Some(name) = written.strip_prefix('@') else { return Ok(written.into()) };
    if name.starts_with('@') {
        return Ok(name.into());
    }
    let path = match name.strip_prefix("credential:") {
        Some(name) => credential(name).map_err(|reason| fail(what, &reason))?,
        None => name.into(),
    };
    let shown = path.display();
    let reason = |error: std::io::Error| {
        fail(what, &format!("open {shown}: {}", go_net::error_text(&error)))
    };
    let mut bytes = Vec::new();
    let file = File::open(&path).map_err(reason)?;
    file.take(SECRET_BYTES_MAX).read_to_end(&mut bytes).map_err(reason)?;
    let text =
        std::str::from_utf8(&bytes).map(|text| Secret::from(text.trim_end_matches(['\r', '\n'])));
    bytes.zeroize();
    match text {
        Ok(secret) if !secret.is_empty() => Ok(secret),
        Ok(_) => Err(fail(what, &format!("{shown} is empty"))),
        Err(_) => Err(fail(what, &format!("{shown} is not text"))),
    }
}

fn credential(name: &str) -> Result<PathBuf, String> {
    if name.is_empty() || name.contains('/') || name == ".." {
        return Err(format!("'{name}' is no name of a credential"));
    }
    match std::env::var_os("CREDENTIALS_DIRECTORY") {
        Some(dir) => Ok(PathBuf::from(dir).join(name)),
        None => Err("no credentials: CREDENTIALS_DIRECTORY is not set".to_owned()),
    }
}

fn fail(what: &str, reason: &str) -> AgentError {
    AgentError::Invalid(format!("Invalid {what}: {reason}"))
}

/// Most bytes read from a file.
const SECRET_BYTES_MAX: u64 = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_literal_or_come_from_files() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        let at = format!("@{}", path.display());
        let read = |text: &str| resolve("rpc_auth", text).map(|secret| secret.expose().to_owned());
        assert_eq!(read("s3cret").unwrap(), "s3cret");
        assert_eq!(read("@@s3cret").unwrap(), "@s3cret");
        assert_eq!(read("").unwrap(), "");
        let missing = read(&at).unwrap_err().to_string();
        let shown = path.display();
        assert_eq!(missing, format!("Invalid rpc_auth: open {shown}: no such file or directory"));
        for (text, secret) in [("a b\n", "a b"), ("x\r\n", "x"), ("y", "y")] {
            std::fs::write(&path, text).unwrap();
            assert_eq!(read(&at).unwrap(), secret);
        }
        for text in [&b"\n"[..], b"", b"\xff"] {
            std::fs::write(&path, text).unwrap();
            assert!(read(&at).is_err(), "{text:?}");
        }
        for name in ["", "a/b", ".."] {
            assert!(read(&format!("@credential:{name}")).is_err(), "{name}");
        }
    }
}
