//! The layers around a message (label, encryption, CRC, compression), for `serf decode`.

use super::{
    CryptoError, DecodeError, Keyring,
    crypto::{self, Sealed},
    label,
    packet::check_crc,
};

/// The layers of a packet, outermost first, as far as they could be taken off.
#[derive(Debug)]
pub(crate) struct Layers<'a> {
    /// Label, whatever it is; empty: none.
    pub(crate) label: &'a [u8],
    /// Encryption, if a key opened it.
    pub(crate) sealed: Option<Sealed>,
    /// Whether there was a checksum, and it is right.
    pub(crate) crc: bool,
    /// The message, or why it is not reached.
    pub(crate) message: Result<&'a [u8], DecodeError>,
}

impl<'a> Layers<'a> {
    /// Takes off what is there. Any label will do; what no key opens is taken for plaintext, and
    /// what is no message then is for the caller to find.
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

/// Splits the label off what a dialer or a sender of packets wrote.
///
/// # Errors
/// The header is cut off or empty.
pub(crate) fn split_label(input: &[u8]) -> Result<(&[u8], &[u8]), DecodeError> {
    label::split(input)
}
