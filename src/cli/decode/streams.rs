//! Decodes connections: reorders TCP segments and decodes the messages of both ends.

use std::net::SocketAddr;

use super::{
    assembly::Assembly,
    describe::{self, Described},
    field::{Field, Fields},
    frame::Tcp,
    gossip::digest,
    recent::Recent,
    record::{Kind, Layer, Record, Seen, Sink},
};
use crate::{
    msgpack::{Reader, Value as _},
    wire::{
        Ack, CodecConfig, CryptoError, DecodeError, Keyring, Message, PacketCodec, Ping, Role,
        StreamDecoder, StreamError, StreamMessage, split_label,
    },
};

/// All tracked connections.
pub(super) struct Streams {
    connections: Recent<Pair, Connection>,
    keyring: Keyring,
    label: Option<Vec<u8>>,
    held: usize,
    pub(super) counts: Counts,
}

/// Counts of segments and connections.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts {
    pub(super) segments: u64,
    pub(super) bytes: u64,
    /// Segments without new bytes.
    pub(super) repeated: u64,
    /// Connections evicted by newer ones.
    pub(super) evicted: u64,
}

/// Both ends of a connection, in an order that does not depend on which one opened it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Pair {
    low: SocketAddr,
    high: SocketAddr,
}

#[derive(Default)]
struct Connection {
    /// Data sent by the lower address, and by the higher.
    sides: [Side; 2],
    /// Index of the end that opened it, if known.
    dialer: Option<usize>,
    /// Label in the dialer's header.
    label: Option<Vec<u8>>,
    /// Whether neither port is known for gossip: undecodable data is then ignored.
    unknown: bool,
    /// Whether it is not gossip.
    ignored: bool,
}

/// Data sent by one end.
#[derive(Default)]
struct Side {
    /// Sequence number of its first byte.
    first: Option<u32>,
    /// Whether that is the first byte of the connection.
    whole: bool,
    assembly: Assembly,
    state: State,
    /// Position of the end of its data, once known.
    end: Option<u64>,
    last: Option<Seen>,
}

#[derive(Default)]
enum State {
    /// Too few bytes so far to recognize the content.
    #[default]
    Nothing,
    Start(Vec<u8>),
    Reading(Box<StreamDecoder>),
    /// The message is complete; more bytes may follow.
    Done {
        surplus: u64,
    },
    Failed,
}

impl Side {
    fn held(&self) -> usize {
        self.assembly.held()
            + match &self.state {
                State::Start(bytes) => bytes.capacity(),
                State::Reading(decoder) => decoder.buffered(),
                State::Nothing | State::Done { .. } | State::Failed => 0,
            }
    }
}

impl Streams {
    pub(super) fn new(keyring: Keyring, label: Option<Vec<u8>>) -> Self {
        let connections = Recent::new(CONNECTIONS_MAX);
        Self { connections, keyring, label, held: 0, counts: Counts::default() }
    }

    /// Handles a segment; `known` says which of the two ports are gossip ports.
    pub(super) fn segment(
        &mut self,
        seen: Seen,
        known: (bool, bool),
        tcp: Tcp<'_>,
        sink: Sink<'_>,
    ) {
        let (pair, side) = Pair::of(seen.from, seen.to);
        self.counts.segments += 1;
        self.counts.bytes += tcp.data.len() as u64;
        let opens = tcp.syn && !tcp.ack;
        if opens && self.is_reused(&pair, side, tcp.seq) {
            self.finish(&pair, sink);
        }
        if self.connections.get_mut(&pair).is_none() {
            if tcp.data.is_empty() && !tcp.syn {
                return;
            }
            let connection =
                Connection { unknown: known == (false, false), ..Connection::default() };
            if let Some((pair, old)) = self.connections.insert(pair, connection) {
                self.counts.evicted += 1;
                self.close(&pair, old, "too many connections", sink);
            }
        }
        let Some(connection) = self.connections.get_mut(&pair) else { return };
        let before = connection.held();
        if tcp.syn {
            connection.dialer = Some(if opens { side } else { 1 - side });
        } else if connection.dialer.is_none() && known.0 != known.1 {
            connection.dialer = Some(if known.1 { side } else { 1 - side });
        }
        let codecs = Codecs { keyring: &self.keyring, label: self.label.as_deref() };
        let repeated = connection.take(side, seen, tcp, &codecs, sink);
        self.counts.repeated += u64::from(repeated);
        let (after, ended) = (connection.held(), tcp.rst || connection.ended());
        self.held = (self.held + after).saturating_sub(before);
        if ended {
            self.finish(&pair, sink);
        }
        while self.held > HELD_MAX
            && let Some((pair, old)) = self.connections.pop_oldest()
        {
            self.counts.evicted += 1;
            self.close(&pair, old, "too much waits at once", sink);
        }
    }

    /// Reports the messages that remained incomplete.
    pub(super) fn end(&mut self, sink: Sink<'_>) {
        while let Some((pair, connection)) = self.connections.pop_oldest() {
            self.close(&pair, connection, "the capture ends", sink);
        }
    }

    /// Whether a SYN starts another connection between the same ports.
    fn is_reused(&mut self, pair: &Pair, side: usize, seq: u32) -> bool {
        let first = self
            .connections
            .get_mut(pair)
            .and_then(|connection| connection.sides.get(side).map(|side| side.first));
        first.is_some_and(|first| first.is_some_and(|first| first != seq.wrapping_add(1)))
    }

    fn finish(&mut self, pair: &Pair, sink: Sink<'_>) {
        if let Some(connection) = self.connections.remove(pair) {
            self.close(pair, connection, "the connection ends", sink);
        }
    }

    fn close(&mut self, pair: &Pair, connection: Connection, why: &str, sink: Sink<'_>) {
        self.held = self.held.saturating_sub(connection.held());
        if connection.ignored || connection.unknown {
            return;
        }
        for side in &connection.sides {
            let Some(seen) = side.last else { continue };
            let got = side.assembly.taken();
            let problem = match (&side.state, side.assembly.missing()) {
                (State::Failed | State::Done { surplus: 0 }, None) => continue,
                (State::Nothing, None) => continue,
                (State::Done { surplus }, None) => format!("{surplus} bytes after the message"),
                (_, Some(missing)) => {
                    format!("{why}; {missing} bytes are missing after the first {got}")
                }
                (State::Start(_) | State::Reading(_), None) => {
                    format!("{why} after {got} bytes, inside the message")
                }
            };
            debug_assert_eq!(Pair::of(seen.from, seen.to).0, *pair);
            let fields = Fields::default().with("received", Field::Uint(got));
            sink(&Record {
                seen,
                layers: &[],
                kind: Kind::Incomplete,
                bytes: usize::try_from(got).unwrap_or(usize::MAX),
                digest: 0,
                fields,
                problem: Some(problem),
            });
        }
    }
}

impl Pair {
    /// Returns the pair, and the index of `from` in it.
    fn of(from: SocketAddr, to: SocketAddr) -> (Self, usize) {
        match from <= to {
            true => (Self { low: from, high: to }, 0),
            false => (Self { low: to, high: from }, 1),
        }
    }
}

/// Parameters for decoding streams.
struct Codecs<'c> {
    keyring: &'c Keyring,
    label: Option<&'c [u8]>,
}

impl Codecs<'_> {
    fn decoder(&self, label: &[u8], role: Role) -> Option<StreamDecoder> {
        let codec = PacketCodec::build(CodecConfig {
            label: label.to_vec(),
            keyring: self.keyring.clone(),
            verify_incoming: false,
            ..CodecConfig::default()
        });
        Some(StreamDecoder::new(codec.ok()?.stream_codec(), role).observing())
    }
}

impl Connection {
    fn held(&self) -> usize {
        self.sides.iter().map(Side::held).sum()
    }

    fn ended(&self) -> bool {
        let ended = |side: &Side| side.end.is_some_and(|end| side.assembly.taken() >= end);
        self.sides.iter().all(ended)
    }

    /// Adds a segment to one side; returns whether it contained nothing new.
    fn take(
        &mut self,
        index: usize,
        seen: Seen,
        tcp: Tcp<'_>,
        codecs: &Codecs<'_>,
        sink: Sink<'_>,
    ) -> bool {
        let Some(side) = self.sides.get_mut(index) else { return false };
        let seq = if tcp.syn { tcp.seq.wrapping_add(1) } else { tcp.seq };
        let first = *side.first.get_or_insert(seq);
        side.whole |= tcp.syn;
        let taken = side.assembly.taken();
        // Signed distance from the next byte, within half of the sequence numbers.
        let distance = seq.wrapping_sub(first.wrapping_add(taken as u32)) as i32;
        let at = taken.checked_add_signed(i64::from(distance));
        let skipped = if at.is_none() { distance.unsigned_abs() as usize } else { 0 };
        let (at, data) = (at.unwrap_or(0), tcp.data.get(skipped..).unwrap_or_default());
        if tcp.fin {
            side.end = Some(at + data.len() as u64);
        }
        if data.is_empty() || self.ignored || matches!(side.state, State::Failed) {
            return !tcp.data.is_empty() && skipped > 0;
        }
        side.last = Some(seen);
        let fresh = match side.assembly.insert(at, data) {
            Ok(fresh) => fresh,
            Err(_) => {
                let taken = side.assembly.taken();
                side.assembly = Assembly::default();
                side.state = State::Failed;
                if !self.unknown {
                    let problem = format!("bytes after the first {taken} never came");
                    emit(seen, &[], Described::failed(Kind::Incomplete, problem), (0, 0), sink);
                }
                return false;
            }
        };
        while let Some(bytes) = self.sides.get_mut(index).and_then(|side| side.assembly.take()) {
            self.feed(index, seen, bytes, codecs, sink);
        }
        fresh == 0
    }

    fn feed(
        &mut self,
        index: usize,
        seen: Seen,
        bytes: Vec<u8>,
        codecs: &Codecs<'_>,
        sink: Sink<'_>,
    ) {
        let Some(side) = self.sides.get_mut(index) else { return };
        match &mut side.state {
            State::Nothing => {
                side.state = State::Start(bytes);
                self.start(index, seen, codecs, sink);
            }
            State::Start(before) => {
                before.extend_from_slice(&bytes);
                self.start(index, seen, codecs, sink);
            }
            State::Reading(_) => self.read(index, seen, &bytes, codecs.keyring, sink),
            State::Done { surplus } => *surplus += bytes.len() as u64,
            State::Failed => {}
        }
    }

    /// Recognizes the content of a side by its first bytes.
    fn start(&mut self, index: usize, seen: Seen, codecs: &Codecs<'_>, sink: Sink<'_>) {
        let Some(side) = self.sides.get_mut(index) else { return };
        let State::Start(start) = &side.state else { return };
        let replies = matches!(start.first(), Some(&(ACK | ERROR)));
        let dialer = *self.dialer.get_or_insert(if replies { 1 - index } else { index });
        let (label, rest) = match split_label(start) {
            Ok((label, rest)) if dialer == index => (label.to_vec(), rest),
            Ok(_) => {
                let label = self.label.as_deref().or(codecs.label).unwrap_or_default();
                (label.to_vec(), start.as_slice())
            }
            Err(DecodeError::TruncatedLabel) => return,
            Err(error) => return self.fail(index, seen, &error, sink),
        };
        let wanted = codecs.label.is_none_or(|wanted| wanted == label);
        match (self.unknown, plausible(rest)) {
            (true, None) => return,
            (true, Some(false)) => return self.ignore(),
            _ if !wanted => return self.ignore(),
            _ => {}
        }
        let role = if dialer == index { Role::Acceptor } else { Role::Dialer };
        let Some(decoder) = codecs.decoder(&label, role) else { return self.ignore() };
        let start = start.clone();
        side.state = State::Reading(Box::new(decoder));
        if dialer == index {
            self.label = Some(label);
        }
        self.read(index, seen, &start, codecs.keyring, sink);
    }

    fn ignore(&mut self) {
        self.ignored = true;
        self.sides = <[Side; 2]>::default();
    }

    fn fail(&mut self, index: usize, seen: Seen, error: &DecodeError, sink: Sink<'_>) {
        if self.unknown {
            return self.ignore();
        }
        let mut layers = Vec::new();
        layers.extend(self.label.clone().filter(|label| !label.is_empty()).map(Layer::Label));
        let Some(side) = self.sides.get_mut(index) else { return };
        side.state = State::Failed;
        let (kind, problem) = match error {
            _ if !side.whole => (Kind::Incomplete, "its beginning was not captured".to_owned()),
            DecodeError::Crypto(CryptoError::NotConfigured | CryptoError::NoKeyFits) => {
                (Kind::Encrypted, "no key opens it".to_owned())
            }
            error => (Kind::Undecodable, error.to_string()),
        };
        emit(seen, &layers, Described::failed(kind, problem), (0, 0), sink);
    }

    fn read(&mut self, index: usize, seen: Seen, bytes: &[u8], keyring: &Keyring, sink: Sink<'_>) {
        let Some(side) = self.sides.get_mut(index) else { return };
        let State::Reading(decoder) = &mut side.state else { return };
        let message = match decoder.feed(bytes) {
            Ok(None) => return,
            Ok(Some(message)) => message,
            Err(
                StreamError::Close(error)
                | StreamError::Refuse(error)
                | StreamError::Body(_, error),
            ) => return self.fail(index, seen, &error, sink),
            // Only a driver makes it.
            Err(StreamError::Lost(..)) => return,
        };
        let mut layers = Vec::new();
        let noted = decoder.seen().cloned().unwrap_or_default();
        if self.dialer == Some(index) {
            layers.extend(self.label.clone().filter(|label| !label.is_empty()).map(Layer::Label));
        }
        layers.extend(noted.sealed.map(Layer::from));
        if noted.compressed {
            layers.push(Layer::Compress);
        }
        side.state = State::Done { surplus: noted.surplus as u64 };
        self.unknown = false;
        message_of(seen, &layers, &message, &noted.header, keyring, sink);
    }
}

/// Reports the message of a stream; `header` is the MessagePack value at its start.
fn message_of(
    seen: Seen,
    layers: &[Layer],
    message: &StreamMessage,
    header: &[u8],
    keyring: &Keyring,
    sink: Sink<'_>,
) {
    let small = |message: Option<Message<'_>>, sink: Sink<'_>| {
        if let Some(described) = message.and_then(|message| describe::memberlist(message, header)) {
            emit(seen, layers, described, (1 + header.len(), digest(header)), sink);
        }
    };
    match message {
        StreamMessage::Ping { .. } => {
            small(Ping::decode(&mut Reader::new(header)).ok().map(Message::Ping), sink);
        }
        StreamMessage::Ack { .. } => {
            small(Ack::decode(&mut Reader::new(header)).ok().map(Message::Ack), sink);
        }
        StreamMessage::PushPull(state) => {
            let bytes = 1 + header.len() + state.rows.len() + state.user_state.len();
            let described = describe::push_pull(state, keyring);
            emit(seen, layers, described, (bytes, digest(&state.rows)), sink);
        }
        StreamMessage::User(user) => {
            let described = describe::user(user, keyring);
            emit(seen, layers, described, (1 + header.len() + user.len(), digest(user)), sink);
        }
        StreamMessage::Error(text) => {
            let described = describe::error_reply(text.clone());
            emit(seen, layers, described, (1 + header.len(), digest(header)), sink);
        }
    }
}

fn emit(
    seen: Seen,
    layers: &[Layer],
    described: Described<'_>,
    (bytes, digest): (usize, u64),
    sink: Sink<'_>,
) {
    let Described { kind, fields, problem } = described;
    sink(&Record { seen, layers, kind, bytes, digest, fields, problem });
}

/// Whether the bytes after the label can be gossip; `None` if there are too few.
fn plausible(bytes: &[u8]) -> Option<bool> {
    match bytes {
        [] => None,
        [ENCRYPT, rest @ ..] if rest.len() < 5 => None,
        // A plausible length and version.
        [ENCRYPT, high, _, _, _, version, ..] => Some(*high <= 1 && *version <= 1),
        [PING | ACK | PUSH_PULL | USER | COMPRESS | ERROR] => None,
        [PING | ACK | PUSH_PULL | USER | COMPRESS | ERROR, second, ..] => {
            Some(second & 0xf0 == 0x80)
        }
        _ => Some(false),
    }
}

const PING: u8 = 0;
const ACK: u8 = 2;
const PUSH_PULL: u8 = 6;
const USER: u8 = 8;
const COMPRESS: u8 = 9;
const ENCRYPT: u8 = 10;
const ERROR: u8 = 13;
/// Most connections tracked at a time; the oldest are evicted.
const CONNECTIONS_MAX: usize = 4096;
/// Most pending bytes of all connections.
const HELD_MAX: usize = 128 * 1024 * 1024;
