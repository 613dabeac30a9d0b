//! Decodes datagrams: their layers and messages.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use super::{
    describe::{self, Described},
    field::{Field, Fields},
    record::{Kind, Layer, Record, Seen, Sink},
};
use crate::{
    msgpack::Reader,
    wire::{
        CodecConfig, CompoundParts, DecodeError, Keyring, Layers, Message, PacketCodec, Sealed,
        limits::{DATAGRAM_BYTES_MAX, PACKET_DEPTH_MAX},
    },
};

/// Decodes datagrams.
pub(super) struct Gossip {
    keyring: Keyring,
    /// If set, only packets with this label are decoded.
    label: Option<Vec<u8>>,
    codec: PacketCodec,
    buf: Vec<u8>,
}

/// Whether a packet contained gossip.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Gossip,
    Other,
}

impl Gossip {
    /// # Errors
    /// The label is too long.
    pub(super) fn build(keyring: Keyring, label: Option<Vec<u8>>) -> Result<Self, DecodeError> {
        // Labels and keys are checked separately; this codec only decompresses.
        let codec = PacketCodec::build(CodecConfig {
            label: label.clone().unwrap_or_default(),
            ..CodecConfig::default()
        })?;
        Ok(Self { keyring, label, codec, buf: Vec::new() })
    }

    /// Passes the messages of a datagram to `sink`. If its port is not `known` for gossip, only
    /// data that cannot be anything else is decoded.
    pub(super) fn open(
        &mut self,
        seen: Seen,
        data: &[u8],
        missing: usize,
        known: bool,
        sink: Sink<'_>,
    ) -> Verdict {
        let Self { keyring, label, codec, buf } = self;
        let opened = Layers::open(keyring, data, buf);
        if label.as_ref().is_some_and(|label| label != opened.label) {
            return Verdict::Other;
        }
        let mut layers = Vec::new();
        if !opened.label.is_empty() {
            layers.push(Layer::Label(opened.label.to_vec()));
        }
        layers.extend(opened.sealed.map(Layer::from));
        if opened.crc {
            layers.push(Layer::Crc);
        }
        let payload = match layers.first() {
            Some(Layer::Label(label)) => data.get(2 + label.len()..).unwrap_or_default(),
            _ => data,
        };
        let message = match opened.message {
            Ok(message) => message,
            Err(error) if known => {
                failed(seen, &layers, payload, missing, &error, sink);
                return Verdict::Gossip;
            }
            Err(_) => return Verdict::Other,
        };
        let mut walk = Walk { seen, keyring, codec, layers, budget: Budget::new(), found: 0 };
        if opened.sealed.is_none() {
            // Encrypted messages have no recognizable form, so the first pass determines it.
            let mut clean = true;
            walk.message(message, 0, &mut |record| {
                clean &= record.problem.is_none() && record.kind != Kind::User;
            });
            let sealed = looks_sealed(payload) && !clean;
            if !known && (!clean || walk.found == 0) {
                return Verdict::Other;
            }
            if sealed {
                failed(seen, &walk.layers, payload, missing, &DecodeError::Truncated, sink);
                return Verdict::Gossip;
            }
            (walk.budget, walk.found) = (Budget::new(), 0);
        }
        walk.message(message, 0, sink);
        Verdict::Gossip
    }
}

/// Reports a datagram that could not be decoded.
fn failed(
    seen: Seen,
    layers: &[Layer],
    payload: &[u8],
    missing: usize,
    error: &DecodeError,
    sink: Sink<'_>,
) {
    let (kind, problem) = match (missing, looks_sealed(payload)) {
        (0, true) => (Kind::Encrypted, "no key opens it".to_owned()),
        (0, false) => (Kind::Undecodable, error.to_string()),
        (missing, _) => {
            (Kind::Incomplete, format!("the capture has all but {missing} bytes of it"))
        }
    };
    let fields = match kind {
        // The encrypted bytes are not useful.
        Kind::Encrypted => Fields::default().with("received", Field::Uint(payload.len() as u64)),
        _ => Fields::default().with("payload", Field::Bytes(payload.into())),
    };
    let problem = Some(problem);
    let (bytes, digest) = (payload.len(), digest(payload));
    sink(&Record { seen, layers, kind, bytes, digest, fields, problem });
}

/// Whether a payload may be encrypted: a version, a nonce and a tag around a whole message.
pub(super) fn looks_sealed(payload: &[u8]) -> bool {
    match payload.first() {
        Some(0) => payload.len() >= 45 && (payload.len() - 29).is_multiple_of(16),
        Some(1) => payload.len() >= 30,
        _ => false,
    }
}

/// Decodes one datagram recursively.
struct Walk<'w> {
    seen: Seen,
    keyring: &'w Keyring,
    codec: &'w mut PacketCodec,
    layers: Vec<Layer>,
    budget: Budget,
    found: usize,
}

/// Limits on the work for a datagram.
struct Budget {
    unpacked: usize,
    parts: usize,
}

impl Budget {
    fn new() -> Self {
        Self { unpacked: UNPACKED_BYTES_MAX, parts: PARTS_MAX }
    }
}

impl Walk<'_> {
    fn message(&mut self, message: &[u8], depth: usize, sink: Sink<'_>) {
        if depth > PACKET_DEPTH_MAX {
            return self.undecodable(message, "nested too deeply".to_owned(), sink);
        }
        let body = message.get(1..).unwrap_or_default();
        match Message::decode(message) {
            Err(error) => self.undecodable(message, error.to_string(), sink),
            Ok(Message::Compound(body)) => self.compound(message, body, depth, sink),
            Ok(Message::Compress(body)) => self.compressed(message, body, depth, sink),
            Ok(Message::User(user)) => {
                let described = describe::user(user, self.keyring);
                self.emit(message, described, sink);
            }
            Ok(decoded) => {
                if let Some(described) = describe::memberlist(decoded, body) {
                    self.emit(message, described, sink);
                }
            }
        }
    }

    fn compound(&mut self, message: &[u8], body: &[u8], depth: usize, sink: Sink<'_>) {
        let parts = match CompoundParts::parse(body) {
            Ok(parts) => parts,
            Err(error) => return self.undecodable(message, error.to_string(), sink),
        };
        let count = usize::from(body.first().copied().unwrap_or_default());
        let mut used = 1 + 2 * count;
        for (at, part) in parts.enumerate() {
            let Some(left) = self.budget.parts.checked_sub(1) else {
                return self.undecodable(message, "too many parts".to_owned(), sink);
            };
            self.budget.parts = left;
            match part {
                Ok(part) => {
                    used += part.len();
                    self.layers.push(Layer::Compound { part: at + 1, parts: count });
                    self.message(part, depth + 1, sink);
                    self.layers.pop();
                }
                Err(error) => return self.undecodable(message, error.to_string(), sink),
            }
        }
        let surplus = body.len().saturating_sub(used);
        if surplus > 0 || count == 0 {
            let problem = format!("compound of {count} messages and {surplus} bytes after them");
            self.undecodable(message, problem, sink);
        }
    }

    fn compressed(&mut self, message: &[u8], body: &[u8], depth: usize, sink: Sink<'_>) {
        let mut unpacked = Vec::new();
        if let Err(error) = self.codec.decompress(body, &mut unpacked) {
            return self.undecodable(message, error.to_string(), sink);
        }
        let Some(left) = self.budget.unpacked.checked_sub(unpacked.len()) else {
            return self.undecodable(message, "unpacks to too much".to_owned(), sink);
        };
        self.budget.unpacked = left;
        self.layers.push(Layer::Compress);
        self.message(&unpacked, depth + 1, sink);
        self.layers.pop();
        let mut reader = Reader::new(body);
        if reader.skip().is_ok() && !reader.rest().is_empty() {
            let problem = format!("{} bytes after a compressed message", reader.rest().len());
            self.undecodable(reader.rest(), problem, sink);
        }
    }

    fn emit(&mut self, message: &[u8], described: Described<'_>, sink: Sink<'_>) {
        let Described { kind, fields, problem } = described;
        let (seen, layers) = (self.seen, self.layers.as_slice());
        let (bytes, digest) = (message.len(), digest(message));
        self.found += 1;
        sink(&Record { seen, layers, kind, bytes, digest, fields, problem });
    }

    fn undecodable(&mut self, message: &[u8], problem: String, sink: Sink<'_>) {
        let fields = Fields::default().with("payload", Field::Bytes(message.into()));
        self.emit(
            message,
            Described { kind: Kind::Undecodable, fields, problem: Some(problem) },
            sink,
        );
    }
}

impl From<Sealed> for Layer {
    fn from(sealed: Sealed) -> Self {
        Self::Encrypt { version: sealed.version, key: sealed.key + 1 }
    }
}

/// A hash of a message, to detect repetitions.
pub(super) fn digest(message: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    message.hash(&mut hasher);
    hasher.finish()
}

/// Most bytes that one datagram may decompress to.
const UNPACKED_BYTES_MAX: usize = 4 * DATAGRAM_BYTES_MAX;
/// Most parts of one datagram, including those in nested compounds.
const PARTS_MAX: usize = 512;
