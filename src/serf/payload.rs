//! Payloads as values of serde types: MessagePack by rmp-serde, with named fields, as libraries in
//! other languages write it.

use std::any::type_name;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{Query, UserEvent};
use crate::{
    base::error_texts,
    msgpack::{DEPTH_MAX, Error, Reader},
};

/// A value cannot be converted to a payload, or a payload to a value.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PayloadError {
    /// The value cannot be encoded: caused by the caller.
    Encode {
        /// Type of the value.
        ty: &'static str,
        /// Why it cannot be encoded.
        reason: String,
    },
    /// The payload is not a value of the expected type: usually caused by the sender.
    Decode {
        /// The type that was expected.
        ty: &'static str,
        /// What is wrong with the payload.
        reason: String,
    },
}

error_texts! {
    PayloadError {
        Self::Encode { ty, reason } => "{ty} cannot be sent: {reason}";
        Self::Decode { ty, reason } => "the payload is not of type {ty}: {reason}";
    }
}

impl std::error::Error for PayloadError {}

/// Encodes a value as a payload: MessagePack, structs as maps keyed by field names.
///
/// # Errors
/// The value cannot be encoded, or is nested more than 16 levels deep.
pub fn to_payload<T: Serialize + ?Sized>(value: &T) -> Result<Bytes, PayloadError> {
    let failed = |reason| PayloadError::Encode { ty: type_name::<T>(), reason };
    let bytes = rmp_serde::to_vec_named(value).map_err(|error| failed(error.to_string()))?;
    is_one_value(&bytes).map_err(failed)?;
    Ok(bytes.into())
}

/// Decodes a payload into a value.
///
/// # Errors
/// The payload is not a value of this type.
pub fn from_payload<'a, T: Deserialize<'a>>(payload: &'a [u8]) -> Result<T, PayloadError> {
    let failed = |reason| PayloadError::Decode { ty: type_name::<T>(), reason };
    // Peers choose the bytes: after this check rmp-serde neither nests deeply nor leaves a
    // remainder.
    is_one_value(payload).map_err(failed)?;
    rmp_serde::from_slice(payload).map_err(|error| failed(error.to_string()))
}

/// Whether the bytes are a single value, not nested too deeply.
fn is_one_value(bytes: &[u8]) -> Result<(), String> {
    let mut reader = Reader::new(bytes);
    match reader.skip() {
        Ok(()) if reader.rest().is_empty() => Ok(()),
        Ok(()) => Err("more follows the value".to_owned()),
        Err(Error::Depth) => Err(format!("nested more than {DEPTH_MAX} levels deep")),
        Err(Error::Truncated) => Err("unexpected EOF".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

impl UserEvent {
    /// Decodes the payload of a value that [`Serf::send`](crate::Serf::send), or a program in
    /// another language, sent as MessagePack: structs as maps keyed by field names.
    ///
    /// # Errors
    /// The payload is not a value of this type.
    pub fn payload<'a, T: Deserialize<'a>>(&'a self) -> Result<T, PayloadError> {
        from_payload(&self.payload)
    }
}

impl Query {
    /// Decodes the payload, as [`UserEvent::payload`] does.
    ///
    /// # Errors
    /// The payload is not a value of this type.
    pub fn payload<'a, T: Deserialize<'a>>(&'a self) -> Result<T, PayloadError> {
        from_payload(&self.payload)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Deploy<'a> {
        version: &'a str,
        hosts: Vec<String>,
        canary: Option<u8>,
        stage: Stage,
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    enum Stage {
        Plan,
        Run { percent: u8 },
    }

    #[derive(Debug, Serialize, Deserialize)]
    struct Nested(Vec<Nested>);

    fn deploy(stage: Stage) -> Deploy<'static> {
        Deploy { version: "v2", hosts: vec!["a".into(), "b".into()], canary: None, stage }
    }

    #[test]
    fn values_come_back_and_text_is_borrowed() {
        for stage in [Stage::Plan, Stage::Run { percent: 5 }] {
            let value = deploy(stage);
            let payload = to_payload(&value).unwrap();
            assert_eq!(from_payload::<Deploy<'_>>(&payload).unwrap(), value);
        }
    }

    #[test]
    fn fields_have_names_for_other_languages() {
        let payload = to_payload(&BTreeMap::from([("a", 1)])).unwrap();
        assert_eq!(&*payload, b"\x81\xa1a\x01");
        let payload = to_payload(&deploy(Stage::Plan)).unwrap();
        assert!(
            payload.starts_with(b"\x84\xa7version\xa2v2\xa5hosts\x92\xa1a\xa1b"),
            "{payload:?}"
        );
    }

    #[test]
    fn what_does_not_fit_says_what_is_wrong() {
        let reason = |payload: &[u8]| from_payload::<Deploy<'_>>(payload).unwrap_err().to_string();
        let start = format!("the payload is not of type {}: ", type_name::<Deploy<'_>>());
        for (payload, end) in [
            (&b"v2"[..], "more follows the value"),
            (b"", "unexpected EOF"),
            (b"\x84\xa7version", "unexpected EOF"),
            (b"\x81\xa7version\xa2v2", "missing field `hosts`"),
            (&[0x91; 40], "nested more than 16 levels deep"),
        ] {
            assert_eq!(reason(payload), format!("{start}{end}"));
        }
        assert!(reason(b"\x81\xa7version\x01").contains("invalid type: integer `1`"));
    }

    #[test]
    fn what_nobody_could_read_is_not_sent() {
        let mut nested = Nested(Vec::new());
        for _ in 0..=DEPTH_MAX {
            nested = Nested(vec![nested]);
        }
        let error = to_payload(&nested).unwrap_err();
        assert!(matches!(error, PayloadError::Encode { .. }));
        assert!(error.to_string().ends_with("cannot be sent: nested more than 16 levels deep"));
    }
}
