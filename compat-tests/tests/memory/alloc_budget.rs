//! No length that a peer announces takes memory before the bytes are there.
//!
//! Method: the allocator refuses, and so kills the test, once the whole process would hold more
//! than a case may take. This is stricter than bounding each single allocation.

use compat_tests::alone::in_own_process;
use ruserf::{
    base::Rng,
    msgpack::{self, Reader},
    wire::{
        CodecConfig, CompoundParts, Keyring, Message, PacketCodec, PushPull, Role, StreamCodec,
        StreamDecoder, StreamMessage, UserHeader,
    },
};

use super::ALLOCATOR;

#[test]
fn memory_taken_is_bounded_by_bytes_received() {
    in_own_process(module_path!(), "memory_taken_is_bounded_by_bytes_received", every_case);
}

/// One after the other, as the allocator is shared by all threads.
fn every_case() {
    hostile_packets();
    hostile_streams();
    hostile_values();
    decompression_bombs();
    honest_streams();
    allocator_is_armed();
}

fn hostile_packets() {
    let mut codec = codec(b"");
    let (mut buf, mut unpacked) = (Vec::new(), Vec::new());
    for frame in hostile_frames() {
        within(budget(frame.len()), || {
            let Ok(message) = codec.open(&frame, &mut buf) else { return };
            match Message::decode(message) {
                Ok(Message::Compound(body)) => {
                    for part in CompoundParts::parse(body).into_iter().flatten().flatten() {
                        let _ = Message::decode(part);
                    }
                }
                Ok(Message::Compress(body)) => {
                    let _ = codec.decompress(body, &mut unpacked);
                }
                Ok(_) | Err(_) => {}
            }
        });
    }
}

fn hostile_streams() {
    let mut rng = Rng::from_u64(1);
    for key in [&[][..], &[7; 16]] {
        let stream = codec(key).stream_codec();
        for frame in hostile_frames() {
            for role in [Role::Acceptor, Role::Dialer] {
                let _ = feed(&stream, role, &frame, 1);
                let mut sealed = Vec::new();
                stream.seal(&mut rng, Role::Acceptor, &frame, &mut sealed);
                let _ = feed(&stream, role, &sealed, 1);
            }
        }
        // A frame of 20 MiB of which five bytes arrive.
        let _ = feed(&stream, Role::Acceptor, b"\x0a\x01\x40\0\0", 1);
    }
}

fn hostile_values() {
    for frame in hostile_frames() {
        let body = &frame[1..];
        within(budget(frame.len()), || {
            let _ = Reader::new(body).skip();
            let _ = Reader::new(body).bytes();
            let _ = msgpack::Scanner::new().advance(body);
            let _ = msgpack::from_slice::<Vec<u64>>(body);
            let _ = msgpack::from_slice::<String>(body);
        });
    }
}

fn decompression_bombs() {
    let mut rng = Rng::from_u64(1);
    let mut packer =
        PacketCodec::build(CodecConfig { compression: true.into(), ..config(b"") }).unwrap();
    let mut bomb = vec![8];
    bomb.resize(8 << 20, 0);
    let mut packet = Vec::new();
    packer.seal(&mut rng, &bomb, false, &mut packet);
    drop(bomb);
    let mut unpacked = Vec::new();
    let Ok(Message::Compress(body)) = Message::decode(&packet) else { panic!("incompressible") };
    within(2 * 64 * 1024 + 64, || {
        assert!(packer.decompress(body, &mut unpacked).is_err());
    });
    let unpacked_max = 100 * packet.len() + 64 * 1024;
    let stream = packer.stream_codec();
    within(64 * 1024 + 2 * (packet.len() + unpacked_max), || {
        let mut decoder = StreamDecoder::new(stream.clone(), Role::Acceptor);
        assert!(decoder.feed(&packet).is_err());
    });
}

/// What is honest takes no more than twice its size either.
fn honest_streams() {
    let mut rng = Rng::from_u64(1);
    let mut user = Vec::new();
    UserHeader { user_msg_len: 4 << 20 }.encode(&mut user);
    user.resize(user.len() + (4 << 20), 1);
    let mut push_pull = Vec::new();
    PushPull::encode(true, std::iter::empty(), &user, &mut push_pull);
    for key in [&[][..], &[7; 32]] {
        let stream = codec(key).stream_codec();
        for message in [&user, &push_pull] {
            let mut sealed = Vec::new();
            stream.seal(&mut rng, Role::Dialer, message, &mut sealed);
            let got = feed(&stream, Role::Acceptor, &sealed, 1460);
            assert!(matches!(got, Some(StreamMessage::User(_) | StreamMessage::PushPull(_))));
        }
    }
}

/// The limit itself must bite, or the rest proves nothing.
fn allocator_is_armed() {
    within(1000, || {
        let mut bytes: Vec<u8> = Vec::new();
        assert!(bytes.try_reserve_exact(1001).is_err());
        assert!(bytes.try_reserve_exact(900).is_ok());
    });
}

/// Each message, cut short after a length that promises far more than follows.
fn hostile_frames() -> Vec<Vec<u8>> {
    let lengths: [&[u8]; 12] = [
        b"\xdb\xff\xff\xff\xff",
        b"\xdb\x01\0\0\0",
        b"\xda\xff\xff",
        b"\xc6\xff\xff\xff\xff",
        b"\xc9\xff\xff\xff\xff\x01",
        b"\xdd\xff\xff\xff\xff",
        b"\xdd\xff\xff\xff\xff\x01\x02\x03",
        b"\xdc\xff\xff",
        b"\xdf\xff\xff\xff\xff",
        b"\xdf\x7f\xff\xff\xff\xa1k",
        b"\xce\xff\xff\xff\xff",
        b"\xd3\x7f\xff\xff\xff\xff\xff\xff\xff",
    ];
    let keys = [
        "Addr",
        "Algo",
        "Buf",
        "Error",
        "From",
        "Meta",
        "Name",
        "Node",
        "Nodes",
        "Payload",
        "SeqNo",
        "SourceAddr",
        "Target",
        "UserMsgLen",
        "UserStateLen",
        "Vsn",
        "Unknown",
    ];
    let mut frames = Vec::new();
    for kind in 0..=13 {
        for length in lengths {
            frames.push([&[kind], length].concat());
            for key in keys {
                let key = [&[0xa0 | key.len() as u8], key.as_bytes()].concat();
                frames.push([&[kind, 0x81], &key[..], length].concat());
                // The same in the first row of a push/pull.
                if kind == 6 {
                    let header = b"\x06\x81\xa5Nodes\xd2\0\x10\0\0\x81";
                    frames.push([header, &key[..], length].concat());
                }
            }
        }
    }
    // A million rows of which one arrives; a compound of 255 parts without them.
    frames.push(b"\x06\x81\xa5Nodes\xd2\0\x10\0\0\xc0".to_vec());
    frames.push([&[7, 255], &[0xff; 510][..]].concat());
    frames
}

/// Feeds in pieces, each of which may only take memory for what has arrived.
fn feed(codec: &StreamCodec, role: Role, input: &[u8], piece: usize) -> Option<StreamMessage> {
    let mut decoder = StreamDecoder::new(codec.clone(), role);
    let before = ALLOCATOR.allocated();
    let mut fed = 0;
    for bytes in input.chunks(piece) {
        fed += bytes.len();
        let held = ALLOCATOR.allocated() - before;
        let fed = within(budget(fed) - held, || decoder.feed(bytes)).ok()?;
        if fed.is_some() {
            return fed;
        }
    }
    None
}

fn budget(frame: usize) -> usize {
    64 * 1024 + 2 * frame
}

/// Runs `act` while no more than `bytes` beyond what is in use may be allocated.
fn within<T>(bytes: usize, act: impl FnOnce() -> T) -> T {
    ALLOCATOR.set_limit(ALLOCATOR.allocated() + bytes).unwrap();
    let result = act();
    ALLOCATOR.set_limit(usize::MAX).unwrap();
    result
}

fn codec(key: &[u8]) -> PacketCodec {
    PacketCodec::build(config(key)).unwrap()
}

fn config(key: &[u8]) -> CodecConfig {
    CodecConfig {
        keyring: Keyring::build(&[], key).unwrap(),
        verify_outgoing: true,
        ..CodecConfig::default()
    }
}
