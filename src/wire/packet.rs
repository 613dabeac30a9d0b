//! The layers of a packet: label, encryption, CRC, compression.

use std::sync::Arc;

use super::{
    CodecConfig, CryptoError, DecodeError, Keyring, StreamCodec,
    cipher::NONCE_LEN,
    compress::{Compressor, Decompressor},
    crypto::{self, Seal, Sealer},
    label,
    limits::DATAGRAM_BYTES_MAX,
    message::kind,
};
use crate::base::Rng;

/// Decodes and encodes packets. Keeps key schedules, LZW tables and buffers, so that neither
/// direction allocates more than its output.
pub struct PacketCodec {
    config: Arc<CodecConfig>,
    compressor: Compressor,
    decompressor: Decompressor,
}

impl PacketCodec {
    /// Creates a codec.
    ///
    /// # Errors
    /// The label is longer than 255 bytes.
    pub fn build(config: CodecConfig) -> Result<Self, DecodeError> {
        label::validate(&config.label)?;
        Ok(Self {
            compressor: Compressor::new(config.compression),
            config: Arc::new(config),
            decompressor: Decompressor::new(),
        })
    }

    /// Removes label, encryption and CRC from a datagram. The result is a message for
    /// [`super::Message::decode`], possibly compound or compressed; it borrows from `datagram` or
    /// `buf`.
    ///
    /// # Errors
    /// Wrong or missing label, no matching key, plaintext where encryption is required, wrong
    /// checksum.
    pub fn open<'a>(
        &mut self,
        datagram: &'a [u8],
        buf: &'a mut Vec<u8>,
    ) -> Result<&'a [u8], DecodeError> {
        self.open_sealed(datagram, buf).map(|(message, _)| message)
    }

    /// Like [`PacketCodec::open`], and returns what identifies the packet if a key decrypted it.
    pub(crate) fn open_sealed<'a>(
        &mut self,
        datagram: &'a [u8],
        buf: &'a mut Vec<u8>,
    ) -> Result<(&'a [u8], Option<Seal>), DecodeError> {
        let config = &*self.config;
        let (got, payload) = label::split(datagram)?;
        label::check(&config.label, got)?;
        if config.keyring.is_empty() {
            return Ok((check_crc(payload)?, None));
        }
        buf.clear();
        buf.extend_from_slice(payload);
        match crypto::open(&config.keyring, &config.label, buf, Some(payload)) {
            Ok(plaintext) => {
                let message = check_crc(buf.get(plaintext).unwrap_or_default())?;
                Ok((message, crypto::seal_of(buf)))
            }
            Err(error) if config.verify_incoming => Err(error.into()),
            // The padding is only checked after a key has matched; the text is overwritten by then.
            Err(error @ CryptoError::Padding) => Err(error.into()),
            Err(_) => Ok((check_crc(payload)?, None)),
        }
    }

    /// Decompresses the body of a compress message (after its type byte) into `out`, replacing its
    /// content. A packet may decompress to at most [`super::limits::DATAGRAM_BYTES_MAX`] bytes.
    ///
    /// # Errors
    /// Unknown algorithm, malformed data, or too large.
    pub fn decompress(&mut self, body: &[u8], out: &mut Vec<u8>) -> Result<(), DecodeError> {
        self.decompressor.decompress(body, |_| DATAGRAM_BYTES_MAX, out)
    }

    /// Appends the datagram for `message`: compressed if that is shorter, with a CRC if `crc`,
    /// encrypted if there is a key, and labelled.
    pub fn seal(&mut self, rng: &mut Rng, message: &[u8], crc: bool, out: &mut Vec<u8>) {
        let mut nonce = [0; NONCE_LEN];
        if self.config.sealing_key().is_some() {
            rng.fill(&mut nonce);
        }
        self.seal_with_nonce(nonce, message, crc, out);
    }

    pub(super) fn seal_with_nonce(
        &mut self,
        nonce: [u8; NONCE_LEN],
        message: &[u8],
        crc: bool,
        out: &mut Vec<u8>,
    ) {
        let config = Arc::clone(&self.config);
        out.reserve(message.len() + 5 + self.overhead(true));
        label::encode(&config.label, out);
        match config.sealing_key() {
            None => self.wrap(message, crc, out),
            Some(cipher) => {
                let sealer = Sealer::begin(cipher, config.seal_version(), nonce, out);
                self.wrap(message, crc, out);
                sealer.finish(&config.label, out);
            }
        }
    }

    /// Bytes that the label and, if `encrypted`, encryption will add to a packet, computed as in
    /// Go: `net.go: encryptOverhead`, `label.go: labelOverhead`.
    pub fn overhead(&self, encrypted: bool) -> usize {
        let encryption = if encrypted { self.config.seal_version().overhead() } else { 0 };
        label::overhead(&self.config.label) + encryption
    }

    /// Length of the datagram for a message of `len` bytes that compression does not shorten.
    pub(crate) fn sealed_len(&self, len: usize) -> usize {
        let sealed = match self.config.sealing_key() {
            Some(_) => self.config.seal_version().sealed_len(len),
            None => len,
        };
        label::overhead(&self.config.label) + sealed
    }

    /// The current configuration.
    pub fn config(&self) -> &CodecConfig {
        &self.config
    }

    /// Replaces the keys. Open streams keep the old ones.
    pub fn set_keyring(&mut self, keyring: Keyring) {
        Arc::make_mut(&mut self.config).keyring = keyring;
    }

    /// Returns a cheap, immutable snapshot for one stream, which any task may use.
    pub fn stream_codec(&self) -> StreamCodec {
        StreamCodec::new(Arc::clone(&self.config))
    }

    /// Appends the message, compressed if that is shorter, preceded by its CRC.
    fn wrap(&mut self, message: &[u8], crc: bool, out: &mut Vec<u8>) {
        let start = out.len();
        if crc {
            out.extend_from_slice(&[kind::HAS_CRC, 0, 0, 0, 0]);
        }
        if !self.compressor.shorten(message, out) {
            out.extend_from_slice(message);
        }
        if !crc {
            return;
        }
        if let Some(([_, checksum @ ..], body)) =
            out.get_mut(start..).and_then(|packet| packet.split_first_chunk_mut::<CRC_LEN>())
        {
            *checksum = crc32fast::hash(body).to_be_bytes();
        }
    }
}

/// Checks and removes the CRC, if there is one. A truncated header is left for the dispatcher to
/// refuse.
pub(super) fn check_crc(packet: &[u8]) -> Result<&[u8], DecodeError> {
    match packet.split_first_chunk::<CRC_LEN>() {
        Some(([kind::HAS_CRC, expected @ ..], message)) => {
            let (got, expected) = (crc32fast::hash(message), u32::from_be_bytes(*expected));
            if got != expected {
                return Err(DecodeError::Checksum { got, expected });
            }
            Ok(message)
        }
        _ => Ok(packet),
    }
}

/// Type byte and checksum.
const CRC_LEN: usize = 5;
