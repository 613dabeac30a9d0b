//! The layers of a packet: label, encryption, CRC, compression, compound.

use super::{Keyring, StreamCodec};
use crate::base::Rng;

/// What a node is configured to put around its messages.
#[derive(Clone, Default)]
pub struct CodecConfig {
    /// Cluster label, at most 255 bytes; empty: none.
    pub label: Vec<u8>,
    /// Whether a transport already strips the label of what arrives.
    pub skip_inbound_label_check: bool,
    /// Keys; empty: no encryption.
    pub keyring: Keyring,
    /// Refuse plaintext while keys exist. Go: `GossipVerifyIncoming`, default true.
    pub verify_incoming: bool,
    /// Encrypt while keys exist. Go: `GossipVerifyOutgoing`, default true.
    pub verify_outgoing: bool,
    /// Compress what is sent. Compressed input is always accepted.
    pub compression: bool,
    /// memberlist protocol version; 1 seals with the padded encryption version 0.
    pub protocol_version: u8,
}

/// Why bytes were refused. State never changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// Nothing where a message should begin.
    #[error("missing message type byte")]
    Empty,
}

/// Opens and seals packets. Keeps key schedules, LZW tables and buffers, so that neither
/// direction allocates beyond its output.
pub struct PacketCodec {
    config: CodecConfig,
}

impl PacketCodec {
    /// Prepares a codec.
    ///
    /// # Errors
    /// The label is longer than 255 bytes.
    pub fn build(config: CodecConfig) -> Result<Self, DecodeError> {
        Ok(Self { config })
    }

    /// Takes label, encryption and CRC off a datagram. The result is a message for
    /// [`super::Message::decode`], maybe compound or compressed; it borrows `datagram` or `buf`.
    ///
    /// # Errors
    /// Foreign or missing label, no key fits, plaintext while refused, wrong checksum.
    pub fn open<'a>(
        &mut self,
        datagram: &'a [u8],
        buf: &'a mut Vec<u8>,
    ) -> Result<&'a [u8], DecodeError> {
        let _ = (datagram, buf);
        todo!()
    }

    /// Unpacks the body of a compress message (after its type byte) into `out`, replacing it.
    /// A packet may unpack to at most [`super::limits::DATAGRAM_BYTES_MAX`] bytes.
    ///
    /// # Errors
    /// Unknown algorithm, broken LZW, too large.
    pub fn decompress(&mut self, body: &[u8], out: &mut Vec<u8>) -> Result<(), DecodeError> {
        let _ = (body, out);
        todo!()
    }

    /// Appends the datagram for `message`: compressed if smaller, with a CRC if asked, sealed if
    /// there is a key, labelled.
    pub fn seal(&mut self, rng: &mut Rng, message: &[u8], crc: bool, out: &mut Vec<u8>) {
        let _ = (rng, message, crc, out);
        todo!()
    }

    /// Bytes that label and, if `encrypted`, encryption will add to a packet (§8 of the spec).
    pub fn overhead(&self, encrypted: bool) -> usize {
        let _ = encrypted;
        todo!()
    }

    /// The configuration in force.
    pub fn config(&self) -> &CodecConfig {
        &self.config
    }

    /// Replaces the keys.
    pub fn set_keyring(&mut self, keyring: Keyring) {
        self.config.keyring = keyring;
    }

    /// A cheap, immutable snapshot for one stream, to be used on any task.
    pub fn stream_codec(&self) -> StreamCodec {
        todo!()
    }
}

/// Iterates over the messages of a compound body (after the type byte).
///
/// A truncated last part ends the iteration with an error after the whole ones, as in Go.
pub struct CompoundParts<'a> {
    rest: &'a [u8],
}

impl<'a> CompoundParts<'a> {
    /// Reads the count and the lengths.
    ///
    /// # Errors
    /// The count or the lengths are cut off: nothing is delivered.
    pub fn parse(body: &'a [u8]) -> Result<Self, DecodeError> {
        Ok(Self { rest: body })
    }
}

impl<'a> Iterator for CompoundParts<'a> {
    type Item = Result<&'a [u8], DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        let _ = self.rest;
        todo!()
    }
}
