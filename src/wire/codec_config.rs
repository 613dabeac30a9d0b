//! What packets and streams are sealed with.

use super::{Compression, Keyring, cipher::Cipher, crypto::SealVersion};

/// What a node is configured to put around its messages.
#[derive(Clone, Debug, Default)]
pub struct CodecConfig {
    /// Cluster label, at most 255 bytes; empty: none.
    pub label: Vec<u8>,
    /// Keys; empty: no encryption.
    pub keyring: Keyring,
    /// Refuse plaintext while keys exist. Go: `GossipVerifyIncoming`, default true.
    pub verify_incoming: bool,
    /// Encrypt while keys exist. Go: `GossipVerifyOutgoing`, default true.
    pub verify_outgoing: bool,
    /// How what is sent is compressed. Compressed input is always accepted.
    pub compression: Compression,
    /// memberlist protocol version; 1 seals with the padded encryption version 0.
    pub protocol_version: u8,
}

impl CodecConfig {
    /// The cipher for what is sent, if it is to be encrypted.
    pub(super) fn sealing_key(&self) -> Option<&Cipher> {
        self.keyring.ciphers().next().filter(|_| self.verify_outgoing)
    }

    pub(super) fn seal_version(&self) -> SealVersion {
        SealVersion::of_protocol(self.protocol_version)
    }
}
