//! Validation of node names.

/// Validates a name before it enters the table: it must be text that cannot break a line of a file
/// or log.
pub(crate) fn check_name(name: &[u8]) -> Result<&str, &'static str> {
    if name.is_empty() || name.len() > NAME_BYTES_MAX {
        return Err("must have 1 to 255 bytes");
    }
    let name = std::str::from_utf8(name).map_err(|_| "is not UTF-8")?;
    if name.chars().any(char::is_control) {
        return Err("has control characters");
    }
    Ok(name)
}

/// Longest accepted name in bytes; a longer one would not fit the packets that contain it.
const NAME_BYTES_MAX: usize = 255;
