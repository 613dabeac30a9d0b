//! Label, encryption, CRC, compound: what is accepted, and which error refuses the rest.

use crate::{base::Rng, wire::*};

#[test]
fn label_must_be_ours_exactly() {
    type Case = (&'static [u8], &'static [u8], Result<&'static [u8], DecodeError>);
    let cases: [Case; 7] = [
        (b"dc1", b"\xf4\x03dc1\x0b\x80", Ok(b"\x0b\x80")),
        (b"", b"\x0b\x80", Ok(b"\x0b\x80")),
        (b"dc1", b"\x0b\x80", Err(DecodeError::ForeignLabel { got: vec![] })),
        (b"", b"\xf4\x01a\x0b\x80", Err(DecodeError::ForeignLabel { got: b"a".into() })),
        (b"dc1", b"\xf4\x00\x0b\x80", Err(DecodeError::EmptyLabel)),
        (b"dc1", b"\xf4\x04dc1", Err(DecodeError::TruncatedLabel)),
        (b"dc1", b"\xf4", Err(DecodeError::TruncatedLabel)),
    ];
    for (label, datagram, expected) in cases {
        let config = CodecConfig { label: label.into(), ..CodecConfig::default() };
        let mut buf = Vec::new();
        let got = PacketCodec::build(config).unwrap().open(datagram, &mut buf).map(<[u8]>::to_vec);
        assert_eq!(got, expected.map(<[u8]>::to_vec), "{datagram:02x?}");
    }
    let config = CodecConfig { label: vec![b'x'; 256], ..CodecConfig::default() };
    assert_eq!(PacketCodec::build(config).err(), Some(DecodeError::LabelTooLong { len: 256 }));
}

#[test]
fn packet_of_another_key_is_refused_and_plaintext_only_if_we_insist() {
    let mut rng = Rng::from_u64(1);
    let message = b"\x0b\x81\xa5SeqNo\x01";
    let mut theirs = codec(&[&[1; 16]], true);
    let mut sealed = Vec::new();
    theirs.seal(&mut rng, message, true, &mut sealed);

    for (keys, verify, datagram, expected) in [
        (&[[1; 16]][..], true, &sealed[..], Ok(&message[..])),
        (&[[2; 16], [3; 16], [1; 16]], true, &sealed, Ok(message)),
        (&[[2; 16]], true, &sealed, Err(CryptoError::NoKeyFits)),
        (&[[2; 16]], true, message, Err(CryptoError::UnsupportedVersion(11))),
        (&[[2; 16]], true, b"", Err(CryptoError::Empty)),
        (&[[2; 16]], true, &sealed[..28], Err(CryptoError::TooSmall(28))),
        (&[[2; 16]], true, &[0; 44], Err(CryptoError::TooSmall(44))),
        (&[[2; 16]], true, &[0; 45], Err(CryptoError::NoKeyFits)),
        (&[[2; 16]], false, message, Ok(message)),
        (&[], true, message, Ok(message)),
    ] {
        let keys: Vec<&[u8]> = keys.iter().map(<[u8; 16]>::as_slice).collect();
        let mut ours = codec(&keys, verify);
        let mut buf = b"leftover".to_vec();
        let got = ours.open(datagram, &mut buf).map(<[u8]>::to_vec);
        assert_eq!(got, expected.map(<[u8]>::to_vec).map_err(DecodeError::Crypto));
    }
}

#[test]
fn plaintext_is_sent_while_outgoing_is_not_to_be_verified() {
    let mut codec = PacketCodec::build(CodecConfig {
        keyring: Keyring::build(&[], &[1; 32]).unwrap(),
        verify_outgoing: false,
        ..CodecConfig::default()
    })
    .unwrap();
    let mut out = Vec::new();
    codec.seal(&mut Rng::from_u64(1), b"\x08hello", false, &mut out);
    assert_eq!(out, b"\x08hello");
}

#[test]
fn padding_that_a_key_holder_forged_is_refused() {
    use crate::wire::crypto::{self, SealVersion, Sealer};

    let ring = Keyring::build(&[], &[1; 16]).unwrap();
    for (text, expected) in [
        (&b"0123456789abcde\x00"[..], Err(CryptoError::Padding)),
        (b"0123456789abcde\x11", Err(CryptoError::Padding)),
        (b"0123456789abcde\xff", Err(CryptoError::Padding)),
        (b"0123456789abcde\x10", Ok(0)),
        (b"0123456789abcde\x01", Ok(15)),
    ] {
        let mut out = Vec::new();
        let cipher = ring.ciphers().next().unwrap();
        // Encrypted without padding, then declared as padded.
        let sealer = Sealer::begin(cipher, SealVersion::Plain, [9; 12], &mut out);
        out.extend_from_slice(text);
        sealer.finish(b"", &mut out);
        out[0] = 0;
        assert_eq!(crypto::open(&ring, b"", &mut out, None).map(|range| range.len()), expected);
    }
}

#[test]
fn checksum_is_verified_when_present_only() {
    let mut codec = codec(&[], true);
    let mut packet = Vec::new();
    codec.seal(&mut Rng::from_u64(1), b"\x08hello", true, &mut packet);
    let mut buf = Vec::new();
    assert_eq!(codec.open(&packet, &mut buf), Ok(&b"\x08hello"[..]));
    packet[9] ^= 1;
    assert!(matches!(codec.open(&packet, &mut buf), Err(DecodeError::Checksum { .. })));
    // A truncated header is left to the dispatcher, to which the type is unknown.
    assert_eq!(codec.open(&packet[..4], &mut buf), Ok(&packet[..4]));
    assert_eq!(Message::decode(&packet[..4]), Err(DecodeError::UnsupportedType(12)));
}

#[test]
fn overhead_is_what_sealing_adds_at_most() {
    let mut rng = Rng::from_u64(1);
    for (protocol_version, label, encryption) in [(1, "", 45), (2, "dc1", 29), (5, "", 29)] {
        let mut codec = PacketCodec::build(CodecConfig {
            label: label.into(),
            keyring: Keyring::build(&[], &[1; 24]).unwrap(),
            verify_outgoing: true,
            protocol_version,
            ..CodecConfig::default()
        })
        .unwrap();
        let label = if label.is_empty() { 0 } else { 2 + label.len() };
        assert_eq!(codec.overhead(false), label);
        assert_eq!(codec.overhead(true), label + encryption);
        for len in 1..40 {
            let mut out = Vec::new();
            codec.seal(&mut rng, &vec![8; len], false, &mut out);
            assert!(out.len() <= len + codec.overhead(true));
        }
    }
}

#[test]
fn keyring_follows_gos_rules() {
    let (a, b, c) = ([1; 16], [2; 24], [3; 32]);
    assert!(Keyring::build(&[], &[]).unwrap().is_empty());
    assert_eq!(Keyring::build(&[a.to_vec()], &[]).err(), Some(KeyringError::EmptyPrimary));
    assert_eq!(Keyring::build(&[], &[1; 15]).err(), Some(KeyringError::KeySize));
    let mut ring = Keyring::build(&[a.to_vec(), b.to_vec(), a.to_vec()], &b).unwrap();
    let keys = |ring: &Keyring| ring.keys().map(<[u8]>::to_vec).collect::<Vec<_>>();
    assert_eq!(keys(&ring), [b.to_vec(), a.to_vec()]);
    ring.add_key(&c).unwrap();
    ring.add_key(&a).unwrap();
    assert_eq!(ring.add_key(&[0; 17]), Err(KeyringError::KeySize));
    assert_eq!(keys(&ring), [b.to_vec(), a.to_vec(), c.to_vec()]);
    assert_eq!(ring.use_key(&[9; 16]), Err(KeyringError::NotInKeyring));
    ring.use_key(&c).unwrap();
    assert_eq!(keys(&ring), [c.to_vec(), b.to_vec(), a.to_vec()]);
    assert_eq!(ring.remove_key(&c), Err(KeyringError::RemovingPrimary));
    ring.remove_key(&[9; 16]).unwrap();
    ring.remove_key(&b).unwrap();
    assert_eq!(keys(&ring), [c.to_vec(), a.to_vec()]);
    assert_eq!(ring.primary(), Some(&c[..]));
    assert_eq!(format!("{ring:?}"), "Keyring { len: 2, .. }");
    let mut empty = Keyring::default();
    assert_eq!(empty.remove_key(&a), Ok(()));
    empty.add_key(&a).unwrap();
    assert_eq!(empty.primary(), Some(&a[..]));
}

#[test]
fn compound_gives_what_is_whole() {
    let parse = |body: &[u8]| {
        CompoundParts::parse(body).map(|parts| parts.map(|p| p.map(<[u8]>::to_vec)).collect())
    };
    let parts: Vec<_> = vec![Ok(b"ab".to_vec()), Ok(b"".to_vec()), Ok(b"c".to_vec())];
    assert_eq!(parse(b"\x03\0\x02\0\0\0\x01abc"), Ok(parts));
    assert_eq!(parse(b"\x00"), Ok(vec![]));
    assert_eq!(parse(b"\x01\0\x01xtrailing"), Ok(vec![Ok(b"x".to_vec())]));
    assert_eq!(parse(b""), Err(DecodeError::CompoundCount));
    assert_eq!(parse(b"\x02\0\x01\0"), Err(DecodeError::CompoundLengths));
    let truncated = Err(DecodeError::CompoundTruncated { missing: 2 });
    assert_eq!(parse(b"\x03\0\x02\0\x03\0\x01abc"), Ok(vec![Ok(b"ab".to_vec()), truncated]));
}

#[test]
fn what_is_no_packet_is_named() {
    assert_eq!(Message::decode(b""), Err(DecodeError::Empty));
    for kind in [6, 10, 12, 13, 14, 243, 244, 255] {
        let unsupported = Err(DecodeError::UnsupportedType(kind));
        assert_eq!(Message::decode(&[kind, 0x80]), unsupported);
    }
    let http = Err(DecodeError::ForeignProtocol(ForeignProtocol::Http(b'G')));
    assert_eq!(Message::decode(b"GET / HTTP/1.1"), http);
    let tls = Err(DecodeError::ForeignProtocol(ForeignProtocol::Tls));
    assert_eq!(Message::decode(b"\x16\x03\x01\x02\0"), tls);
}

fn codec(keys: &[&[u8]], verify_incoming: bool) -> PacketCodec {
    let mut keyring = Keyring::default();
    for key in keys {
        keyring.add_key(key).unwrap();
    }
    PacketCodec::build(CodecConfig {
        keyring,
        verify_incoming,
        verify_outgoing: true,
        protocol_version: 5,
        ..CodecConfig::default()
    })
    .unwrap()
}
