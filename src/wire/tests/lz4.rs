//! LZ4 instead of LZW: correctness, and limits on hostile peers.

use crate::{
    base::Rng,
    msgpack::{Value, Writer},
    wire::{message::kind, *},
};

fn codec(compression: Compression) -> PacketCodec {
    PacketCodec::build(CodecConfig { compression, ..CodecConfig::default() }).unwrap()
}

/// The body of a compress message.
fn body(algo: u8, claimed: u32, block: &[u8]) -> Vec<u8> {
    let packed = [&claimed.to_le_bytes(), block].concat();
    let mut out = Vec::new();
    Compress { algo, buf: packed.as_slice().into() }.encode(&mut Writer::new(&mut out));
    out
}

fn unpacked(body: &[u8]) -> Result<Vec<u8>, DecodeError> {
    let mut out = vec![9; 3];
    codec(Compression::Lz4).decompress(body, &mut out).map(|()| out)
}

#[test]
fn a_packet_shrinks_and_any_node_with_the_feature_reads_it() {
    let message = [&[kind::USER][..], &[7; 1_000]].concat();
    let mut packet = Vec::new();
    codec(Compression::Lz4).seal(&mut Rng::from_u64(1), &message, false, &mut packet);
    assert!(packet.len() < 100, "{} bytes", packet.len());
    for reader in [Compression::None, Compression::Lzw, Compression::Lz4] {
        let mut out = Vec::new();
        let Ok(Message::Compress(body)) = Message::decode(&packet) else {
            panic!("not compressed")
        };
        codec(reader).decompress(body, &mut out).unwrap();
        assert_eq!(out, message, "{reader:?}");
    }
}

#[test]
fn what_does_not_shrink_goes_out_as_it_is() {
    let message: Vec<u8> = (0..200_u32).map(|n| (n * 167 % 251) as u8).collect();
    let mut packet = Vec::new();
    codec(Compression::Lz4).seal(&mut Rng::from_u64(1), &message, false, &mut packet);
    assert_eq!(packet, message);
}

#[test]
fn lies_about_the_size_are_refused_before_memory_is_taken() {
    let block = lz4_flex::block::compress(&[7; 1_000]);
    assert_eq!(unpacked(&body(b'4', 1_000, &block)), Ok(vec![7; 1_000]));
    for claimed in [0, 1, 999, 1_001, 5_000] {
        assert_eq!(unpacked(&body(b'4', claimed, &block)), Err(DecodeError::Lz4Block), "{claimed}");
    }
    // A datagram never decompresses to more, whatever its block contains.
    let limit = limits::DATAGRAM_BYTES_MAX;
    for claimed in [limit as u32 + 1, u32::MAX] {
        let error = unpacked(&body(b'4', claimed, &block));
        assert_eq!(error, Err(DecodeError::DecompressedTooLarge { limit }), "{claimed}");
    }
    assert_eq!(unpacked(&body(b'4', 60_000, &[0; 10])), Err(DecodeError::Lz4Block));
    for len in 0..block.len() {
        let error = unpacked(&body(b'4', 1_000, &block[..len]));
        assert_eq!(error, Err(DecodeError::Lz4Block), "cut at {len}");
    }
    assert_eq!(unpacked(&body(1, 1_000, &block)), Err(DecodeError::UnknownAlgorithm(1)));
}

#[test]
fn broken_blocks_never_panic() {
    let mut rng = Rng::from_u64(1);
    let block = lz4_flex::block::compress(&(0..600_u32).map(|n| (n / 7) as u8).collect::<Vec<_>>());
    for _ in 0..20_000 {
        let mut broken = block.clone();
        for _ in 0..=rng.below(3) {
            let at = rng.below(broken.len());
            broken[at] = rng.below(256) as u8;
        }
        if let Ok(out) = unpacked(&body(b'4', 600, &broken)) {
            assert_eq!(out.len(), 600);
        }
    }
}
