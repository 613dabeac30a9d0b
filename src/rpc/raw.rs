//! Bytes of others in JSON of ours.

use std::fmt::Write as _;

use serde::{Serialize, Serializer};

/// Serializes bytes as text, or as `{"hex": …}` if they are not UTF-8: nothing is lost.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Raw<'a>(pub(crate) &'a [u8]);

impl Serialize for Raw<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match std::str::from_utf8(self.0) {
            Ok(text) => serializer.serialize_str(text),
            Err(_) => {
                let hex = self.0.iter().fold(String::new(), |mut hex, byte| {
                    let _ = write!(hex, "{byte:02x}");
                    hex
                });
                serializer.collect_map([("hex", hex)])
            }
        }
    }
}
