//! The layers around a message (label, encryption, CRC, compression), for `serf decode`.

use super::{
    CryptoError, DecodeError, Keyring,
    crypto::{self, Sealed},
    label,
    packet::check_crc,
};

/// The layers of a packet, outermost first, as far as they can be decoded.
#[derive(Debug)]
pub(crate) struct Layers<'a> {
    /// The label, not compared with anything; empty: none.
    pub(crate) label: &'a [u8],
    /// Encryption, if a key decrypted it.
    pub(crate) sealed: Option<Sealed>,
    /// Whether there was a valid checksum.
    pub(crate) crc: bool,
    /// The message, or why it cannot be reached.
    pub(crate) message: Result<&'a [u8], DecodeError>,
}

impl<'a> Layers<'a> {
    /// Decodes all layers that are present. Any label is accepted. What no key decrypts is treated
    /// as plaintext, and the caller finds out whether it is a message.
    pub(crate) fn open(keyring: &Keyring, datagram: &'a [u8], buf: &'a mut Vec<u8>) -> Self {
        let (label, payload) = match label::split(datagram) {
            Ok(split) => split,
            Err(error) => {
                return Self { label: &[], sealed: None, crc: false, message: Err(error) };
            }
        };
        buf.clear();
        buf.extend_from_slice(payload);
        let (sealed, inner) = match crypto::open_sealed(keyring, label, buf, Some(payload)) {
            Ok((plaintext, sealed)) => (Some(sealed), buf.get(plaintext).unwrap_or_default()),
            Err(error @ CryptoError::Padding) => {
                return Self { label, sealed: None, crc: false, message: Err(error.into()) };
            }
            Err(_) => (None, payload),
        };
        let message = check_crc(inner);
        let crc = message.as_ref().is_ok_and(|message| message.len() < inner.len());
        Self { label, sealed, crc, message }
    }
}

/// Splits off the label header of a packet or of a dialer's stream.
///
/// # Errors
/// The header is truncated or empty.
pub(crate) fn split_label(input: &[u8]) -> Result<(&[u8], &[u8]), DecodeError> {
    label::split(input)
}
