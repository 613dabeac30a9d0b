//! Reads secrets from files, so that they need not be in the process list or the configuration.

use std::{
    fs::File,
    io::Read as _,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use zeroize::{Zeroize as _, Zeroizing};

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

/// Reads a file that only the agent's user, root and a group may read, and the first two may write.
///
/// # Errors
/// It cannot be read, others can, or it is too large.
pub(super) fn read_private(path: &Path, max: u64) -> Result<Zeroizing<Vec<u8>>, String> {
    let shown = path.display();
    let reason = |error: std::io::Error| format!("open {shown}: {}", go_net::error_text(&error));
    let file = File::open(path).map_err(reason)?;
    let found = file.metadata().map_err(reason)?;
    let owner = found.uid();
    if owner != 0 && owner != rustix::process::geteuid().as_raw() {
        return Err(format!("{shown} belongs to another user (uid {owner})"));
    }
    if found.mode() & OTHERS != 0 {
        let mode = found.mode() & 0o777;
        return Err(format!("{shown} is open to others (mode {mode:04o}): chmod 600 or 640"));
    }
    let mut bytes = Zeroizing::new(Vec::new());
    file.take(max + 1).read_to_end(&mut bytes).map_err(reason)?;
    match u64::try_from(bytes.len()) {
        Ok(len) if len <= max => Ok(bytes),
        _ => Err(format!("{shown} is larger than {max} bytes")),
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

/// Writing by the group, and everything by others.
const OTHERS: u32 = 0o027;
/// Most bytes read from a file.
const SECRET_BYTES_MAX: u64 = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_others_may_read_or_the_group_may_write_are_refused() {
        use std::os::unix::fs::PermissionsExt as _;

        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        std::fs::write(&path, "0123456789").unwrap();
        for (mode, accepted) in
            [(0o600, true), (0o400, true), (0o640, true), (0o660, false), (0o644, false)]
        {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            let read = read_private(&path, 10);
            assert_eq!(read.is_ok(), accepted, "{mode:o}");
            if let Err(error) = read {
                let shown = path.display();
                let wanted = format!("{shown} is open to others (mode {mode:04o})");
                assert!(error.starts_with(&wanted), "{error}");
            }
        }
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        assert!(read_private(&path, 9).unwrap_err().ends_with("is larger than 9 bytes"));
    }

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
