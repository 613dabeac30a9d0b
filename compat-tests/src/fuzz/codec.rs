//! Bytes to typed messages and back: packets, messages, streams, values.

use ruserf::{
    msgpack::{self, Bin, Reader, Scanner},
    wire::{
        CodecConfig, CompoundParts, Keyring, Message, PacketCodec, Role, StreamCodec,
        StreamDecoder, StreamError, StreamMessage,
    },
};

/// A datagram goes through all layers of nodes with and without label and key.
pub fn packet(datagram: &[u8]) {
    let mut buf = Vec::new();
    for (label, key, verify_incoming) in
        [("", &[][..], true), ("dc1", &[], true), ("", KEY, true), ("dc1", KEY, false)]
    {
        let mut codec = codec(label, key, verify_incoming);
        let Ok(opened) = codec.open(datagram, &mut buf).map(<[u8]>::to_vec) else { continue };
        dispatch(&mut codec, &opened, 0);
    }
}

/// A message that decodes is the same after another round.
pub fn message(input: &[u8]) {
    let Ok(decoded) = Message::decode(input) else { return };
    let mut encoded = Vec::new();
    match &decoded {
        Message::Ping(ping) => ping.encode(&mut encoded),
        Message::IndirectPing(ping) => ping.encode(&mut encoded),
        Message::Ack(ack) => ack.encode(&mut encoded),
        Message::Suspect(suspect) => suspect.encode(&mut encoded),
        Message::Alive(alive) => alive.encode(&mut encoded),
        Message::Dead(dead) => dead.encode(&mut encoded),
        Message::Nack(nack) => nack.encode(&mut encoded),
        Message::Compound(_) | Message::User(_) | Message::Compress(_) => return,
    }
    let again = Message::decode(&encoded);
    assert_eq!(again.map(without_empty_source), Ok(without_empty_source(decoded)));
}

/// A stream means the same however it is cut into pieces.
pub fn stream(input: &[u8]) {
    for (label, key) in [("", &[][..]), ("", KEY), ("dc1", KEY)] {
        let codec = codec(label, key, true).stream_codec();
        for role in [Role::Acceptor, Role::Dialer] {
            let whole = feed(&codec, role, input, input.len().max(1));
            if let Outcome::Message(StreamMessage::PushPull(push_pull)) = &whole {
                assert!(push_pull.rows().all(|row| row.is_ok()));
                assert_eq!(push_pull.rows().count(), push_pull.row_count);
            }
            for piece in [1, 3, 64] {
                assert_eq!(feed(&codec, role, input, piece), whole, "pieces of {piece}");
            }
        }
    }
}

/// The scanner, the reader and serde agree on where a value ends.
pub fn value(input: &[u8]) {
    let mut reader = Reader::new(input);
    let skipped = reader.skip();
    let mut scanner = Scanner::new();
    let mut scanned = Ok(None);
    for end in 0..=input.len() {
        scanned = scanner.advance(&input[..end]);
        if scanned != Ok(None) {
            break;
        }
    }
    match skipped {
        Ok(()) => assert_eq!(scanned, Ok(Some(reader.position()))),
        Err(msgpack::Error::Truncated) => assert_eq!(scanned, Ok(None)),
        // The scanner goes one level deeper.
        Err(_) => {}
    }
    let mut reader = Reader::new(input);
    if msgpack::from_reader::<serde_json::Value>(&mut reader).is_ok() {
        assert_eq!(scanned, Ok(Some(reader.position())));
    }
    let _ = msgpack::from_slice::<Vec<String>>(input);
}

fn dispatch(codec: &mut PacketCodec, input: &[u8], depth: usize) {
    if depth == ruserf::wire::limits::PACKET_DEPTH_MAX {
        return;
    }
    match Message::decode(input) {
        Ok(Message::Compound(body)) => {
            for part in CompoundParts::parse(body).into_iter().flatten().flatten() {
                dispatch(codec, part, depth + 1);
            }
        }
        Ok(Message::Compress(body)) => {
            let mut unpacked = Vec::new();
            if codec.decompress(body, &mut unpacked).is_ok() {
                dispatch(codec, &unpacked, depth + 1);
            }
        }
        Ok(_) | Err(_) => {}
    }
}

/// Go omits an empty source address, which then reads as nil.
fn without_empty_source(mut message: Message<'_>) -> Message<'_> {
    if let Message::Ping(ruserf::wire::Ping { source_addr, .. })
    | Message::IndirectPing(ruserf::wire::IndirectPing { source_addr, .. }) = &mut message
        && source_addr.as_slice().is_empty()
    {
        *source_addr = Bin::NIL;
    }
    message
}

/// What comes of a stream: a message, an error that is answered, or neither. Whether a broken
/// value is refused at once or when it is whole depends on the pieces.
#[derive(Debug, PartialEq)]
enum Outcome {
    Message(StreamMessage),
    Refused,
    Nothing,
}

fn feed(codec: &StreamCodec, role: Role, input: &[u8], piece: usize) -> Outcome {
    let mut decoder = StreamDecoder::new(codec.clone(), role);
    for bytes in input.chunks(piece) {
        match decoder.feed(bytes) {
            Ok(None) => {}
            Ok(Some(message)) => return Outcome::Message(message),
            Err(StreamError::Refuse(_)) => return Outcome::Refused,
            Err(_) => return Outcome::Nothing,
        }
    }
    Outcome::Nothing
}

fn codec(label: &str, key: &[u8], verify_incoming: bool) -> PacketCodec {
    let keyring = Keyring::build(&[], key).expect("a key of the right size");
    let config = CodecConfig {
        label: label.into(),
        keyring,
        verify_incoming,
        verify_outgoing: true,
        compression: true.into(),
        ..CodecConfig::default()
    };
    PacketCodec::build(config).expect("a short label")
}

/// The key of Go's vectors.
const KEY: &[u8] = b"0123456789abcdef";
