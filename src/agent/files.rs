//! The tags and keyring files.

use std::{collections::BTreeMap, fs, io, path::Path};

use rustix::fs::{Access, access};

use super::AgentError;
use crate::{
    base::{go_json, go_net},
    driver::replace_file,
    wire::Keyring,
};

/// Replaces a file atomically: it has either the old or the new contents, even after a crash.
///
/// # Errors
/// The file cannot be written.
pub(crate) fn replace(path: &Path, contents: &[u8]) -> Result<(), String> {
    replace_file(path, contents).map_err(|error| error.to_string())
}

/// Reads a tags file; `None` if it cannot be found: it does not exist, or the path leads nowhere or
/// through a directory that we may not enter.
pub(super) fn read_tags(path: &Path) -> Result<Option<BTreeMap<String, String>>, AgentError> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        // As Go, which starts without tags; the first attempt to write them reports the reason.
        Err(_) if fs::metadata(path).is_err() => return Ok(None),
        Err(error) => {
            let text = go_net::read_error_text(&path.display().to_string(), &error);
            return Err(AgentError::Setup(format!("Failed to read tags file: {text}")));
        }
    };
    // Null is treated as empty everywhere.
    let tags: Option<BTreeMap<String, Option<String>>> =
        serde_json::from_slice(&go_json::readable(&bytes)).map_err(|error| {
            let (text, is_eof) = (error.to_string(), error.is_eof());
            let text = go_json::decode_error(text, is_eof, "map[string]string");
            AgentError::Setup(format!("Failed to decode tags file: {text}"))
        })?;
    let tags = tags.unwrap_or_default().into_iter();
    Ok(Some(tags.map(|(name, value)| (name, value.unwrap_or_default())).collect()))
}

/// Writes a tags file.
pub(super) fn write_tags(path: &Path, tags: &BTreeMap<String, String>) -> Result<(), AgentError> {
    let fail = |reason: String| AgentError::File(format!("Failed to write tags file: {reason}"));
    let json = serde_json::to_vec_pretty(tags).map_err(|error| fail(error.to_string()))?;
    replace_file(path, &json).map_err(|error| fail(error.to_string()))
}

/// Reads a keyring file, the primary key first.
pub(super) fn read_keyring(path: &Path) -> Result<Keyring, AgentError> {
    Keyring::load(path).map_err(|error| AgentError::Setup(error.to_string()))
}

/// Whether a file can be opened for appending, or created.
pub(super) fn check_file(path: &Path) -> io::Result<()> {
    match fs::OpenOptions::new().read(true).append(true).open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => check_dir_of(path),
        opened => opened.map(drop),
    }
}

/// Whether a file can be replaced, overwritten or created.
pub(super) fn check_replaceable(path: &Path) -> io::Result<()> {
    check_file(path).or_else(|error| check_dir_of(path).map_err(|_| error))
}

/// Whether the directory of a path exists and files can be created in it.
pub(super) fn check_dir_of(path: &Path) -> io::Result<()> {
    let dir = path.parent().unwrap_or(Path::new(""));
    // The dot: a file of this name is no directory.
    Ok(access(dir.join("."), Access::WRITE_OK | Access::EXEC_OK)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_survive_and_the_mode_of_the_file_is_kept() {
        use std::os::unix::fs::PermissionsExt;

        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tags");
        assert_eq!(read_tags(&path).unwrap(), None);
        let circle = dir.path().join("circle");
        std::os::unix::fs::symlink("circle", &circle).unwrap();
        assert_eq!(read_tags(&circle).unwrap(), None);
        let error = read_tags(dir.path()).unwrap_err().to_string();
        let text =
            format!("Failed to read tags file: read {}: is a directory", dir.path().display());
        assert!(error.contains(&text), "{error}");
        let tags = BTreeMap::from([("b".to_owned(), "2".to_owned()), ("a".into(), "<1>".into())]);
        write_tags(&path, &tags).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "{\n  \"a\": \"<1>\",\n  \"b\": \"2\"\n}");
        let mode = || fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(), 0o600);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        write_tags(&path, &tags).unwrap();
        assert_eq!(mode(), 0o640);
        assert_eq!(read_tags(&path).unwrap(), Some(tags));
        for (text, value) in [(&b"{\"k\":null}"[..], Some("")), (b"null", None)] {
            fs::write(&path, text).unwrap();
            assert_eq!(read_tags(&path).unwrap().unwrap().get("k").map(String::as_str), value);
        }
        fs::write(&path, b"{\"k\":\"M\xfc\\ud800\"}").unwrap();
        assert_eq!(read_tags(&path).unwrap().unwrap()["k"], "M\u{fffd}\u{fffd}");
        for (text, message) in [
            ("", "unexpected end of JSON input"),
            ("[]", "json: cannot unmarshal array into Go value of type map[string]string"),
            ("{\"a\":true}", "json: cannot unmarshal bool into Go value of type string"),
            ("{\"a\":1.5}", "json: cannot unmarshal number into Go value of type string"),
        ] {
            fs::write(&path, text).unwrap();
            let error = read_tags(&path).unwrap_err().to_string();
            let wanted = "Failed to setup the Serf agent: Failed to decode tags file: ";
            assert_eq!(error, format!("{wanted}{message}"));
        }
    }

    #[test]
    fn keyring_mistakes_have_the_texts_of_go() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keys");
        let missing = read_keyring(&path).unwrap_err().to_string();
        let setup = "Failed to setup the Serf agent: ";
        assert_eq!(missing, format!("{setup}stat {}: no such file or directory", path.display()));
        for (text, message) in [
            ("[]", "Keyring file contains no keys"),
            ("null", "Keyring file contains no keys"),
            ("[null]", "Failed to restore keyring: empty primary key not allowed"),
            ("[\"!\"]", "Failed to decode key from keyring: illegal base64 data at input byte 0"),
            ("[\"AAAA\"]", "Failed to restore keyring: key size must be 16, 24 or 32 bytes"),
            ("[", "Failed to decode keyring file: unexpected end of JSON input"),
        ] {
            fs::write(&path, text).unwrap();
            let error = read_keyring(&path).unwrap_err().to_string();
            assert_eq!(error, format!("{setup}{message}"));
        }
    }
}
