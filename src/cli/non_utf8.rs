//! Arguments and environment variables that are not UTF-8: passed on unchanged, or refused.

use std::{ffi::OsString, os::unix::ffi::OsStrExt as _};

use super::{Failure, Parsed};

/// Keeps the bytes of arguments that were parsed as text.
pub(super) fn keep(parsed: &mut Parsed, raw: &[OsString]) {
    // Commands that accept bytes use the bytes of the arguments after the flags.
    let after = raw.len() - parsed.positionals.len();
    let positionals = raw.get(after..).unwrap_or_default().iter();
    parsed.raw = positionals.map(|arg| arg.as_bytes().to_vec()).collect();
    parsed.non_utf8 = non_utf8(raw);
}

/// Arguments that are not UTF-8, including values after the `=` of a flag.
fn non_utf8(raw: &[OsString]) -> Vec<(String, Vec<u8>)> {
    let non_utf8 = raw.iter().map(|arg| arg.as_bytes()).filter(|arg| str::from_utf8(arg).is_err());
    let text = |bytes: &[u8]| (String::from_utf8_lossy(bytes).into_owned(), bytes.to_vec());
    let mut all = Vec::new();
    for arg in non_utf8 {
        all.push(text(arg));
        let value = arg.iter().position(|byte| *byte == b'=').and_then(|at| arg.get(at + 1..));
        all.extend(value.filter(|_| arg.starts_with(b"-")).map(text));
    }
    all.sort();
    all.dedup();
    all
}

/// Refuses arguments that would not be passed on unchanged.
pub(super) fn unchanged(command: &str, args: &Parsed) -> Result<(), Failure> {
    let is_non_utf8 = |text: &str| args.non_utf8.iter().any(|(known, _)| known == text);
    let twins = |text: &str| args.non_utf8.iter().filter(|(known, _)| known == text).count() > 1;
    for (flag, value) in &args.order {
        let is_path = ["config-file", "config-dir"].contains(flag);
        if is_non_utf8(value) && (!is_path || twins(value)) {
            return Err(Failure::Message(format!("Error: -{flag} is not UTF-8: '{value}'")));
        }
    }
    // Other commands accept bytes, or ignore the arguments.
    let takes_text = ["force-leave", "join", "rtt"].contains(&command);
    match args.positionals.iter().find(|arg| takes_text && is_non_utf8(arg)) {
        Some(arg) => Err(Failure::Message(format!("Error: An argument is not UTF-8: '{arg}'"))),
        None => Ok(()),
    }
}

/// Reads an environment variable. One that is not UTF-8 counts as invalid, not as missing.
pub(super) fn variable(name: &str) -> Option<String> {
    let value = std::env::var_os(name).filter(|value| !value.is_empty())?;
    Some(value.to_string_lossy().into_owned())
}
