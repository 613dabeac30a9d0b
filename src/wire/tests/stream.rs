//! Decodes valid, malformed, hostile and misdirected streams.

use crate::{
    base::Rng,
    msgpack,
    wire::{stream::StreamCodec, *},
};

#[test]
fn what_cannot_be_unwrapped_is_refused_with_gos_words() {
    let plain = Setup::default();
    let keyed = Setup { key: &[1; 16], ..Setup::default() };
    let ping = b"\0\x82\xa4Node\xa1a\xa5SeqNo\x01";
    let other_key = Setup { key: &[2; 16], ..Setup::default() }.sealed(ping);
    let encrypted = keyed.sealed(ping);
    let mut frame_too_large = b"\x0a\x01\x40\0\x01".to_vec();
    let mut version = encrypted.clone();
    version[5] = 7;
    for (setup, input, text) in [
        (plain, &encrypted, "remote state is encrypted and encryption is not configured"),
        (keyed, &ping.to_vec(), "encryption is configured but remote state is not encrypted"),
        (keyed, &other_key, "no installed keys could decrypt the message"),
        (keyed, &version, "unsupported encryption version 7"),
        (keyed, &b"\x0a\0\0\0\x02\x01\x02".to_vec(), "payload is too small to decrypt: 2"),
        (keyed, &b"\x0a\0\0\0\0".to_vec(), "cannot decrypt empty payload"),
        (keyed, &frame_too_large, "remote node state is larger than limit (20971521)"),
        (
            plain,
            &b"\x09\x82\xa4Algo\x01\xa3Buf\xa0".to_vec(),
            "cannot decompress unknown algorithm 1",
        ),
        (plain, &b"\x09\x82\xa4Algo\0\xa3Buf\xa2\x02\x03".to_vec(), "lzw: invalid code"),
        (
            plain,
            &b"\x09\x82\xa4Algo\0\xa3Buf\xa3\0\x03\x02".to_vec(),
            "decompressed message is empty",
        ),
    ] {
        let got = feed(setup, Role::Acceptor, input, 1).unwrap_err();
        assert!(matches!(got, StreamError::Refuse(_)), "{got:?}");
        assert_eq!(got.to_string(), text);
        // A dialer never answers an answer.
        let got = feed(setup, Role::Dialer, input, 3).unwrap_err();
        assert!(matches!(got, StreamError::Close(_)), "{got:?}");
    }
    frame_too_large[1..5].copy_from_slice(&(20 * 1024 * 1024u32).to_be_bytes());
    assert_eq!(feed(keyed, Role::Acceptor, &frame_too_large, 1), Ok(None));
}

#[test]
fn what_is_malformed_inside_is_closed_without_a_word() {
    let close = |input: &[u8]| match feed(Setup::default(), Role::Acceptor, input, 1) {
        Err(StreamError::Close(error) | StreamError::Body(_, error)) => error,
        got => panic!("{input:02x?}: {got:?}"),
    };
    for kind in [1, 2, 3, 4, 5, 7, 11, 12, 13, 244 - 1] {
        assert_eq!(close(&[kind]), DecodeError::UnsupportedType(kind));
    }
    assert_eq!(close(b"\xf4\0"), DecodeError::EmptyLabel);
    assert_eq!(close(b"\xf4\x01a"), DecodeError::ForeignLabel { got: b"a".to_vec() });
    assert_eq!(close(b"G"), DecodeError::ForeignProtocol(ForeignProtocol::Http(b'G')));
    assert_eq!(close(b"\x16"), DecodeError::ForeignProtocol(ForeignProtocol::Tls));
    // The position counts from the type byte on, over header and rows.
    let negative = |at| DecodeError::Msgpack(msgpack::Error::Negative { value: 255, at });
    assert_eq!(close(b"\0\x81\xa5SeqNo\xff"), negative(8));
    assert_eq!(close(b"\x06\x81\xa5Nodes\x01\x81\xa4Port\xff"), negative(15));
    let (expected, found) = (msgpack::Expected::Signed, 0xc1);
    let reserved = DecodeError::Msgpack(msgpack::Error::Type { expected, found, at: 8 });
    assert_eq!(close(b"\x06\x81\xa5Nodes\xc1"), reserved);
    let length = |what, got| DecodeError::Length { what, got };
    let (nodes, state) = ("number of nodes in header", "user state length");
    assert_eq!(close(b"\x06\x81\xa5Nodes\xff"), length(nodes, -1));
    assert_eq!(close(b"\x06\x81\xacUserStateLen\xfe"), length(state, -2));
    assert_eq!(close(b"\x08\x81\xaaUserMsgLen\xff"), length("user message length", -1));
    assert_eq!(close(b"\x06\x81\xa5Nodes\xd2\0\x10\0\x01"), length(nodes, 0x10_0001));
    let long = close(b"\x06\x81\xacUserStateLen\xd2\x01\x40\0\x01");
    assert_eq!(long, length(state, 0x0140_0001));
    let long = close(b"\x08\x81\xaaUserMsgLen\xd2\x01\x40\0\x01");
    assert_eq!(long, length("user message length", 0x0140_0001));
    // A row, a header and a compressed message that announce more than can arrive.
    assert!(matches!(
        close(b"\x06\x81\xa5Nodes\x01\x81\xa4Name\xdb\x7f\xff\xff\xff"),
        DecodeError::TooLarge { what: "push/pull", .. }
    ));
    assert!(matches!(
        close(b"\0\x81\xa4Node\xdb\0\x01\0\x01"),
        DecodeError::TooLarge { what: "ping", .. }
    ));
}

#[test]
fn cuts_behind_a_label_are_those_without_one() {
    let plain = Setup::default();
    let labelled = Setup { label: "lab", ..plain };
    let user = b"\x08\x81\xaaUserMsgLen\x03abc";
    let cut = |setup: Setup, input: &[u8], failure: Option<&str>| {
        let mut decoder = StreamDecoder::new(setup.codec(), Role::Acceptor);
        assert_eq!(decoder.feed(input), Ok(None));
        (decoder.part(), decoder.cut().text(failure.map(str::to_owned)))
    };
    for failure in [None, Some("i/o timeout")] {
        for len in 1..user.len() {
            let behind = [b"\xf4\x03lab", &user[..len]].concat();
            let expected = cut(plain, &user[..len], failure);
            assert_eq!(cut(labelled, &behind, failure), expected, "{len}");
        }
    }
    let text = |len: usize, failure| cut(plain, &user[..len], failure).1;
    assert_eq!(text(14, None), "EOF");
    assert_eq!(text(15, None), "unexpected EOF");
    // The decoder has read the headers of the map and of the key.
    let timeout = Some("i/o timeout");
    assert_eq!(text(9, timeout), "msgpack decode error [pos 2]: i/o timeout");
    assert_eq!(text(15, timeout), "i/o timeout");
}

#[test]
fn compression_inside_compression_is_closed() {
    let setup = Setup { compression: true, ..Setup::default() };
    let twice = setup.sealed(&setup.sealed(b"\0\x80"));
    let got = feed(setup, Role::Acceptor, &twice, 5);
    assert_eq!(got, Err(StreamError::Close(DecodeError::UnsupportedType(9))));
}

#[test]
fn decompression_bomb_is_refused_before_it_is_unpacked() {
    let setup = Setup { compression: true, ..Setup::default() };
    let mut bomb = vec![8];
    bomb.resize(10_000_000, 0);
    let sealed = setup.sealed(&bomb);
    let mut decoder = StreamDecoder::new(setup.codec(), Role::Acceptor);
    let error = decoder.feed(&sealed).unwrap_err();
    let StreamError::Refuse(DecodeError::DecompressedTooLarge { limit }) = error else {
        panic!("{error:?}")
    };
    assert!(limit < 101 * sealed.len() + 64 * 1024);
    // A realistic table of nearly identical rows stays far below the limit.
    let mut honest = Vec::new();
    let rows: Vec<_> =
        (0..5000).map(|i| (format!("node-{i:05}"), [10, 0, (i >> 8) as u8, i as u8])).collect();
    let states = rows.iter().map(|(name, addr)| NodeState {
        name: name.as_bytes(),
        addr: addr.as_slice().into(),
        port: 7946,
        vsn: [1u8, 5, 2, 2, 5, 4].as_slice().into(),
        ..NodeState::default()
    });
    PushPull::encode(true, states, b"", &mut honest);
    let sealed = setup.sealed(&honest);
    let ratio = honest.len() / sealed.len();
    assert!(ratio < 20, "{ratio}");
    let got = feed(setup, Role::Acceptor, &sealed, 1 << 20).unwrap().unwrap();
    let StreamMessage::PushPull(got) = got else { panic!("{got:?}") };
    assert_eq!(got.rows().count(), 5000);
}

#[test]
fn whole_content_that_ends_early_is_an_error_and_not_awaited() {
    let setup = Setup { key: &[1; 32], ..Setup::default() };
    for message in
        [&b"\0\x82\xa4Node"[..], b"\x06\x81\xa5Nodes\x02\x80", b"\x08\x81\xaaUserMsgLen\x05abc"]
    {
        let got = feed(setup, Role::Acceptor, &setup.sealed(message), 1);
        assert!(matches!(got, Err(StreamError::Body(..))), "{got:?}");
        // In plaintext the rest may still arrive.
        assert_eq!(feed(Setup::default(), Role::Acceptor, message, 1), Ok(None));
    }
    assert_eq!(
        feed(setup, Role::Acceptor, &setup.sealed(b""), 1),
        Err(StreamError::Close(DecodeError::Empty))
    );
}

#[test]
fn reply_has_no_label_header_but_its_encryption_covers_the_label() {
    let setup = Setup { label: "dc1", key: &[1; 16], compression: true };
    let mut sealed = Vec::new();
    let message = b"\x0d\x81\xa5Error\xa4boom";
    setup.codec().seal(&mut Rng::from_u64(1), Role::Acceptor, message, &mut sealed);
    assert_eq!(sealed[0], 10);
    let got = feed(setup, Role::Dialer, &sealed, 2);
    assert_eq!(got, Ok(Some(StreamMessage::Error("boom".into()))));
    let foreign = Setup { label: "dc2", ..setup };
    let got = feed(foreign, Role::Dialer, &sealed, 2);
    assert_eq!(got, Err(StreamError::Close(CryptoError::NoKeyFits.into())));
}

#[test]
fn bytes_after_the_message_are_ignored() {
    let mut decoder = StreamDecoder::new(Setup::default().codec(), Role::Acceptor);
    let got = decoder.feed(b"\x08\x81\xaaUserMsgLen\x02hi and more").unwrap();
    assert_eq!(got, Some(StreamMessage::User("hi".into())));
    assert_eq!(decoder.feed(b"more"), Ok(None));
    assert_eq!(decoder.buffered(), 0);
}

#[test]
fn message_is_unpacked_only_with_the_memory_that_is_granted() {
    let setup = Setup { compression: true, ..Setup::default() };
    let text: Vec<u8> = (0..50_000_u32).map(|at| (at % 97) as u8).collect();
    let mut message = b"\x08\x81\xaaUserMsgLen\xcd\xc3\x50".to_vec();
    message.extend_from_slice(&text);
    // Bytes after the message are dropped, in both layers.
    message.extend_from_slice(&[0; 10_000]);
    let mut sealed = setup.sealed(&message);
    sealed.extend_from_slice(&[0; 1000]);
    let mut decoder = StreamDecoder::new(setup.codec(), Role::Acceptor);
    for piece in sealed.chunks(100) {
        let room = decoder.room(piece.len());
        assert!(matches!(decoder.push(piece), Ok(Decoded::More | Decoded::Packed)));
        assert!(decoder.buffered() <= room);
    }
    assert!(decoder.buffered() < 2 * sealed.len());
    for too_little in [0, 100, 49_000, 50_000] {
        assert_eq!(decoder.unpack(too_little), Ok(Decoded::Packed));
    }
    let got = decoder.unpack(70_000).unwrap();
    let Decoded::Message(message) = got else { panic!("{got:?}") };
    assert_eq!(message.held_bytes(), 50_000);
    assert_eq!(message, StreamMessage::User(text.into()));
    assert_eq!(decoder.unpack(70_000), Ok(Decoded::More), "it is over");
}

/// Feeds 300 KB byte by byte: examining everything again for each byte would take hours.
#[test]
fn byte_by_byte_is_not_quadratic() {
    let long = vec![b'x'; 100_000];
    let mut message = Vec::new();
    let mut rows: Vec<_> = (0..1000)
        .map(|i| NodeState { incarnation: Incarnation(i), name: b"n", ..NodeState::default() })
        .collect();
    rows.push(NodeState { meta: Bin::from(long.as_slice()), ..NodeState::default() });
    PushPull::encode(false, rows.iter().cloned(), &long, &mut message);
    // A row with an unknown field of many small values.
    let mut unknown = b"\x81\xa1?\xdd\0\0\x40\0".to_vec();
    unknown.resize(unknown.len() + 0x4000, 1);
    let header_end = message.iter().position(|&byte| byte == 0x87).unwrap();
    message.splice(header_end..header_end, unknown);
    let count = message.windows(2).position(|pair| pair == [0xd1, 0x03]).unwrap();
    message[count..count + 3].copy_from_slice(&[0xd1, 0x03, 0xea]);
    for setup in [Setup::default(), Setup { key: &[1; 16], compression: true, label: "l" }] {
        let sealed = setup.sealed(&message);
        let got = feed(setup, Role::Acceptor, &sealed, 1).unwrap().unwrap();
        let StreamMessage::PushPull(got) = got else { panic!("{got:?}") };
        assert_eq!(got.row_count, 1002);
        let decoded: Vec<_> = got.rows().skip(1).map(Result::unwrap).collect();
        assert_eq!(decoded, rows);
        assert_eq!(got.user_state, long);
    }
}

#[derive(Clone, Copy, Default)]
struct Setup {
    label: &'static str,
    key: &'static [u8],
    compression: bool,
}

impl Setup {
    fn codec(self) -> StreamCodec {
        PacketCodec::build(CodecConfig {
            label: self.label.into(),
            keyring: Keyring::build(&[], self.key).unwrap(),
            verify_incoming: true,
            verify_outgoing: true,
            compression: self.compression.into(),
            protocol_version: 5,
        })
        .unwrap()
        .stream_codec()
    }

    fn sealed(self, message: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        self.codec().seal(&mut Rng::from_u64(1), Role::Dialer, message, &mut out);
        out
    }
}

fn feed(
    setup: Setup,
    role: Role,
    input: &[u8],
    piece: usize,
) -> Result<Option<StreamMessage>, StreamError> {
    let mut decoder = StreamDecoder::new(setup.codec(), role);
    for bytes in input.chunks(piece) {
        if let Some(message) = decoder.feed(bytes)? {
            return Ok(Some(message));
        }
    }
    Ok(None)
}
