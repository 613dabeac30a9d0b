//! Settings of the packet and stream codecs.

use super::{Compression, Keyring, cipher::Cipher, crypto::SealVersion};

/// Label, encryption and compression of a node's messages.
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
    /// Compression of outgoing messages. Compressed input is always accepted.
    pub compression: Compression,
    /// memberlist protocol version; version 1 encrypts with the padded encryption version 0.
    pub protocol_version: u8,
}

impl CodecConfig {
    /// The cipher for outgoing messages, if they are to be encrypted.
    pub(super) fn sealing_key(&self) -> Option<&Cipher> {
        self.keyring.ciphers().next().filter(|_| self.verify_outgoing)
    }

    pub(super) fn seal_version(&self) -> SealVersion {
        SealVersion::of_protocol(self.protocol_version)
    }
}
