//! Encrypts and compresses what is sent over a connection.

use std::sync::Arc;

use crate::{
    base::Rng,
    wire::{
        CodecConfig, cipher::NONCE_LEN, compress::Compressor, crypto::Sealer, label,
        limits::LABEL_BYTES_MAX, message::kind,
    },
};

/// Which end of the connection this node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// This node connected: it writes the label header and expects none in the reply.
    Dialer,
    /// This node accepted: it expects the label header and writes none.
    Acceptor,
}

/// Immutable snapshot of label, keys and compression. `Clone` costs one reference count.
#[derive(Clone, Debug)]
pub struct StreamCodec {
    pub(super) config: Arc<CodecConfig>,
}

impl StreamCodec {
    pub(in crate::wire) fn new(config: Arc<CodecConfig>) -> Self {
        Self { config }
    }

    /// Whether there are keys.
    #[doc(hidden)]
    pub fn encrypts(&self) -> bool {
        !self.config.keyring.is_empty()
    }

    /// Whether both are clones of the same snapshot.
    #[doc(hidden)]
    pub fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.config, &other.config)
    }

    /// Appends the wire form of one plaintext `message` (type byte first): label header (dialer
    /// only), then the message, compressed and encrypted.
    pub fn seal(&self, rng: &mut Rng, role: Role, message: &[u8], out: &mut Vec<u8>) {
        let mut nonce = [0; NONCE_LEN];
        if self.config.sealing_key().is_some() {
            rng.fill(&mut nonce);
        }
        self.seal_with_nonce(nonce, role, message, out);
    }

    pub(in crate::wire) fn seal_with_nonce(
        &self,
        nonce: [u8; NONCE_LEN],
        role: Role,
        message: &[u8],
        out: &mut Vec<u8>,
    ) {
        let config = &*self.config;
        if role == Role::Dialer {
            label::encode(&config.label, out);
        }
        let mut compressor = Compressor::new(config.compression);
        let Some(cipher) = config.sealing_key() else {
            if !compressor.compress(message, out) {
                out.extend_from_slice(message);
            }
            return;
        };
        let mut compressed = Vec::new();
        let message = match compressor.compress(message, &mut compressed) {
            true => &compressed,
            false => message,
        };
        drop(compressor);
        let len = config.seal_version().sealed_len(message.len());
        out.reserve(FRAME_LEN + len);
        // Every sender keeps its state below the 20 MiB that peers accept.
        debug_assert!(u32::try_from(len).is_ok(), "frame of {len} bytes");
        let frame = frame(len as u32);
        out.extend_from_slice(&frame);
        let sealer = Sealer::begin(cipher, config.seal_version(), nonce, out);
        out.extend_from_slice(message);
        Aad::new(frame, &config.label).with(|aad| sealer.finish(aad, out));
    }
}

/// Additional authenticated data of a stream: the frame's first five bytes, then the label.
pub(super) struct Aad {
    bytes: [u8; FRAME_LEN + LABEL_BYTES_MAX],
    len: usize,
}

impl Aad {
    pub(super) fn new(frame: [u8; FRAME_LEN], label: &[u8]) -> Self {
        let mut bytes = [0; FRAME_LEN + LABEL_BYTES_MAX];
        let parts = frame.iter().chain(label);
        let len = bytes.iter_mut().zip(parts).map(|(to, from)| *to = *from).count();
        Self { bytes, len }
    }

    pub(super) fn with<T>(&self, use_aad: impl FnOnce(&[u8]) -> T) -> T {
        use_aad(self.bytes.get(..self.len).unwrap_or_default())
    }
}

fn frame(len: u32) -> [u8; FRAME_LEN] {
    let [a, b, c, d] = len.to_be_bytes();
    [kind::ENCRYPT, a, b, c, d]
}

/// Type byte and length of an encrypted frame.
pub(super) const FRAME_LEN: usize = 5;
