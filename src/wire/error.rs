//! Why bytes from a peer were refused.

use crate::base::error_texts;
use crate::msgpack;

/// Why bytes were refused. A refusal never changes state. All of these are caused by the sender; a
/// cluster during a key rotation or label migration sees the "incompatible peer" ones in normal
/// operation.
///
/// Errors that can be sent to the peer as an error reply have Go's texts.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DecodeError {
    // Malformed input.
    /// The message is empty.
    Empty,
    /// A body or header is not the expected MessagePack.
    Msgpack(msgpack::Error),
    /// The input ends before the message does.
    Truncated,
    /// The input ends before a part of the message begins.
    End,
    /// A type that does not exist or is not allowed here.
    UnsupportedType(u8),
    /// A compound ends after its type byte.
    CompoundCount,
    /// The lengths of a compound are truncated.
    CompoundLengths,
    /// The bodies of a compound are truncated; the complete ones were delivered.
    CompoundTruncated {
        /// Number of parts lost.
        missing: usize,
    },
    /// CRC mismatch.
    Checksum {
        /// As computed from the message.
        got: u32,
        /// As stated in the packet.
        expected: u32,
    },
    /// A label header without a label.
    EmptyLabel,
    /// A truncated label header.
    TruncatedLabel,
    /// The LZW data contains an invalid code.
    LzwCode,
    /// The LZW data ends without its end code.
    LzwTruncated,
    /// The LZ4 data is not a block of the size it states.
    Lz4Block,
    /// A stream message decompressed to nothing.
    DecompressedEmpty,
    /// A length of a stream that is negative or exceeds its limit.
    Length {
        /// The field.
        what: &'static str,
        /// The value sent by the peer.
        got: i64,
    },

    // Too large.
    /// An encrypted frame, a push/pull or a user message exceeds its limit.
    TooLarge {
        /// The kind of object.
        what: &'static str,
        /// The value sent by the peer.
        got: u64,
    },
    /// The decompressed size exceeds the limit.
    DecompressedTooLarge {
        /// Largest size in bytes.
        limit: usize,
    },

    // Incompatible peer.
    /// The cluster label differs (or is missing, or unexpected).
    ForeignLabel {
        /// The peer's label; empty: none.
        got: Vec<u8>,
    },
    /// An unknown compression algorithm.
    UnknownAlgorithm(u8),
    /// Encryption that is broken or of another cluster.
    Crypto(CryptoError),
    /// The first byte belongs to another protocol, such as that of a scraper, a browser or a port
    /// scanner.
    ForeignProtocol(ForeignProtocol),

    // Caller misuse.
    /// A label of more than 255 bytes in the configuration.
    LabelTooLong {
        /// Its length.
        len: usize,
    },
}

error_texts! {
    DecodeError {
        Self::Empty => "missing message type byte";
        Self::Msgpack(error) => "{error}";
        Self::Truncated => "unexpected EOF";
        Self::End => "EOF";
        Self::UnsupportedType(kind) => "msg type ({kind}) not supported";
        Self::CompoundCount => "missing compound length byte";
        Self::CompoundLengths => "truncated len slice";
        Self::CompoundTruncated { missing } => "Compound request had {missing} truncated messages";
        Self::Checksum { got, expected } =>
            "Got invalid checksum for UDP packet: {got:x}, {expected:x}";
        Self::EmptyLabel => "label header cannot be empty when present";
        Self::TruncatedLabel => "cannot decode label; packet has been truncated";
        Self::LzwCode => "lzw: invalid code";
        Self::Lz4Block => "lz4: invalid block";
        Self::LzwTruncated => "unexpected EOF";
        Self::DecompressedEmpty => "decompressed message is empty";
        Self::Length { what, got } => "{what} ({got}) exceeds limit";
        Self::TooLarge { what, got } => "{what} is larger than limit ({got})";
        Self::DecompressedTooLarge { limit } =>
            "decompressed message is larger than limit ({limit})";
        Self::ForeignLabel { got } =>
            "discarding input with unacceptable label {:?}", String::from_utf8_lossy(got);
        Self::UnknownAlgorithm(algo) => "cannot decompress unknown algorithm {algo}";
        Self::Crypto(error) => "{error}";
        Self::ForeignProtocol(protocol) =>
            "this is {protocol}, not gossip: something is misdirected to the gossip port";
        Self::LabelTooLong { len } => "could not use label: too long ({len} bytes, at most 255)";
    }
}

impl std::error::Error for DecodeError {}

impl From<msgpack::Error> for DecodeError {
    fn from(error: msgpack::Error) -> Self {
        Self::Msgpack(error)
    }
}

impl From<CryptoError> for DecodeError {
    fn from(error: CryptoError) -> Self {
        Self::Crypto(error)
    }
}

impl DecodeError {
    /// Whether it is Go's `io.EOF`.
    pub(crate) fn is_end(&self) -> bool {
        matches!(self, Self::End | Self::Msgpack(msgpack::Error::Truncated))
    }

    pub(super) fn unsupported(kind: u8) -> Self {
        match ForeignProtocol::guess(kind) {
            Some(protocol) => Self::ForeignProtocol(protocol),
            None => Self::UnsupportedType(kind),
        }
    }
}

/// Why an encrypted payload was refused; the texts are Go's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CryptoError {
    /// The payload is empty.
    Empty,
    /// An encryption version above 1.
    UnsupportedVersion(u8),
    /// Shorter than an empty message would be.
    TooSmall(usize),
    /// No key of the ring matches: another cluster, a rotated key, or a forged packet.
    NoKeyFits,
    /// A key matches but the padding is invalid. Go crashes here.
    Padding,
    /// An encrypted stream reached a node without keys.
    NotConfigured,
    /// A plaintext stream reached a node that requires encryption.
    PlaintextRefused,
}

error_texts! {
    CryptoError {
        Self::Empty => "cannot decrypt empty payload";
        Self::UnsupportedVersion(version) => "unsupported encryption version {version}";
        Self::TooSmall(len) => "payload is too small to decrypt: {len}";
        Self::NoKeyFits => "no installed keys could decrypt the message";
        Self::Padding => "decrypted payload has invalid padding";
        Self::NotConfigured => "remote state is encrypted and encryption is not configured";
        Self::PlaintextRefused => "encryption is configured but remote state is not encrypted";
    }
}

impl std::error::Error for CryptoError {}

/// A protocol whose clients often connect to the gossip port by mistake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ForeignProtocol {
    /// A request in HTTP/1, with its first byte.
    Http(u8),
    /// A TLS handshake.
    Tls,
}

impl ForeignProtocol {
    /// Guesses the protocol from a first byte that is not a message type.
    pub(super) fn guess(first: u8) -> Option<Self> {
        match first {
            // GET, POST and PUT and PATCH and PRI, HEAD, OPTIONS, DELETE, CONNECT, TRACE.
            b'G' | b'P' | b'H' | b'O' | b'D' | b'C' | b'T' => Some(Self::Http(first)),
            TLS_HANDSHAKE => Some(Self::Tls),
            _ => None,
        }
    }

    /// The byte by which it was recognized.
    pub(crate) fn first_byte(self) -> u8 {
        match self {
            Self::Http(first) => first,
            Self::Tls => TLS_HANDSHAKE,
        }
    }
}

impl std::fmt::Display for ForeignProtocol {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Http(_) => "HTTP",
            Self::Tls => "TLS",
        })
    }
}

const TLS_HANDSHAKE: u8 = 0x16;
