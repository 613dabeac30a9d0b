//! Why bytes from a peer were refused.

use crate::msgpack;

/// Why bytes were refused. State never changed. Each of these is the sender's doing; a cluster
/// during key rotation or label migration sees the "incompatible peer" ones in normal operation.
///
/// The texts of those that can become an error reply on a stream are Go's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    // Malformed input.
    /// Nothing where a message should begin.
    #[error("missing message type byte")]
    Empty,
    /// A body or header that is not the MessagePack expected.
    #[error(transparent)]
    Msgpack(#[from] msgpack::Error),
    /// The input ends before the message does.
    #[error("unexpected EOF")]
    Truncated,
    /// A type that does not exist or may not stand here.
    #[error("msg type ({0}) not supported")]
    UnsupportedType(u8),
    /// Nothing after a compound's type byte.
    #[error("missing compound length byte")]
    CompoundCount,
    /// A compound's lengths are cut off.
    #[error("truncated len slice")]
    CompoundLengths,
    /// A compound's bodies are cut off; the whole ones before were given.
    #[error("compound request had {missing} truncated messages")]
    CompoundTruncated {
        /// Parts that are lost.
        missing: usize,
    },
    /// CRC mismatch.
    #[error("got invalid checksum for UDP packet: {got:#x}, {expected:#x}")]
    Checksum {
        /// As computed over the message.
        got: u32,
        /// As the packet says.
        expected: u32,
    },
    /// Label header without a label.
    #[error("label header cannot be empty when present")]
    EmptyLabel,
    /// Label header cut off.
    #[error("cannot decode label; input has been truncated")]
    TruncatedLabel,
    /// The LZW data holds a code that means nothing.
    #[error("lzw: invalid code")]
    LzwCode,
    /// The LZW data ends without its end code.
    #[error("lzw: unexpected EOF")]
    LzwTruncated,
    /// A stream was compressed to nothing.
    #[error("decompressed message is empty")]
    DecompressedEmpty,
    /// A length below zero.
    #[error("{what} has a negative length ({got})")]
    NegativeLength {
        /// The field.
        what: &'static str,
        /// As the peer says.
        got: i64,
    },

    // Too large.
    /// An encrypted frame, a push/pull or a user message above its limit.
    #[error("{what} is larger than limit ({got})")]
    TooLarge {
        /// What is too large.
        what: &'static str,
        /// As the peer says.
        got: u64,
    },
    /// Unpacks to more than the limit.
    #[error("decompressed message is larger than limit ({limit})")]
    DecompressedTooLarge {
        /// Largest size in bytes.
        limit: usize,
    },

    // Incompatible peer.
    /// The cluster label is another one (or missing, or unexpected).
    #[error("discarding input with unacceptable label {:?}", String::from_utf8_lossy(.got))]
    ForeignLabel {
        /// The peer's label; empty: none.
        got: Vec<u8>,
    },
    /// A label header where the transport already removed one.
    #[error("unexpected double label header")]
    DoubleLabel,
    /// A compression algorithm other than LZW.
    #[error("cannot decompress unknown algorithm {0}")]
    UnknownAlgorithm(u8),
    /// Broken or foreign encryption.
    #[error(transparent)]
    Crypto(#[from] CryptoError),
    /// The first byte is that of another protocol: a scraper, a browser, a port scanner.
    #[error("this is {0}, not gossip: something is misdirected to the gossip port")]
    ForeignProtocol(ForeignProtocol),

    // Caller misuse.
    /// A label of more than 255 bytes in the configuration.
    #[error("could not use label: too long ({len} bytes, at most 255)")]
    LabelTooLong {
        /// Its length.
        len: usize,
    },
}

impl DecodeError {
    pub(super) fn unsupported(kind: u8) -> Self {
        match ForeignProtocol::guess(kind) {
            Some(protocol) => Self::ForeignProtocol(protocol),
            None => Self::UnsupportedType(kind),
        }
    }
}

/// Why an encrypted payload was refused; the texts are Go's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CryptoError {
    /// No bytes at all.
    #[error("cannot decrypt empty payload")]
    Empty,
    /// An encryption version above 1.
    #[error("unsupported encryption version {0}")]
    UnsupportedVersion(u8),
    /// Shorter than an empty message would be.
    #[error("payload is too small to decrypt: {0}")]
    TooSmall(usize),
    /// No key of the ring fits: another cluster, a rotated key, or a forged packet.
    #[error("no installed keys could decrypt the message")]
    NoKeyFits,
    /// A key fits but the padding is impossible. Go crashes here.
    #[error("decrypted payload has invalid padding")]
    Padding,
    /// An encrypted stream at a node without keys.
    #[error("remote state is encrypted and encryption is not configured")]
    NotConfigured,
    /// A plaintext stream at a node that demands encryption.
    #[error("encryption is configured but remote state is not encrypted")]
    PlaintextRefused,
}

/// A protocol that is often pointed at the gossip port by mistake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ForeignProtocol {
    /// A request in HTTP/1.
    Http,
    /// A TLS handshake.
    Tls,
}

impl ForeignProtocol {
    /// Judges by the first byte, which is no message type.
    pub(super) fn guess(first: u8) -> Option<Self> {
        match first {
            // GET, POST and PUT and PATCH and PRI, HEAD, OPTIONS, DELETE, CONNECT, TRACE.
            b'G' | b'P' | b'H' | b'O' | b'D' | b'C' | b'T' => Some(Self::Http),
            0x16 => Some(Self::Tls),
            _ => None,
        }
    }
}

impl std::fmt::Display for ForeignProtocol {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Http => "HTTP",
            Self::Tls => "TLS",
        })
    }
}
