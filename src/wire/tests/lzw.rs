//! Compares our codec with an independent implementation of the format.

use weezl::{BitOrder, decode, encode};

use crate::{
    base::Rng,
    wire::{
        DecodeError,
        compress::may_shrink,
        lzw::{Decoder, Encoder},
    },
};

#[test]
fn others_read_what_we_write_and_so_do_we() {
    // One codec for all messages, so that leftovers of an earlier one would be detected.
    let (mut encoder, mut decoder, mut back) = (Encoder::new(), Decoder::new(), Vec::new());
    for input in samples() {
        let mut packed = b"before".to_vec();
        assert!(encoder.encode(&input, usize::MAX, &mut packed));
        let packed = packed.strip_prefix(b"before").unwrap();
        let theirs = decode::Decoder::new(BitOrder::Lsb, 8).decode(packed).unwrap();
        assert_eq!(theirs, input);
        decoder.decode(packed, input.len(), &mut back).unwrap();
        assert_eq!(back, input);
    }
}

/// Both are Go's bytes: long inputs have only another way to look strings up.
#[test]
fn long_and_short_inputs_are_written_alike() {
    let mut encoder = Encoder::new();
    for input in samples() {
        let (mut long, mut short) = (b"before".to_vec(), b"before".to_vec());
        assert!(encoder.encode_as::<true>(&input, usize::MAX, &mut long));
        assert!(encoder.encode_as::<false>(&input, usize::MAX, &mut short));
        assert!(long == short, "{} bytes", input.len());
    }
}

#[test]
fn what_cannot_shrink_is_not_tried() {
    let mut rng = Rng::from_u64(2);
    for len in [128, 200, 1_400, 5_000, 70_000] {
        for _ in 0..100 {
            let random: Vec<_> = (0..len).map(|_| rng.below(256) as u8).collect();
            assert!(!may_shrink(&random), "{len} random bytes");
            let base64: Vec<_> = random.iter().map(|byte| byte & 0x3f).collect();
            assert!(may_shrink(&base64), "{len} of 64 kinds");
        }
    }
    assert!(may_shrink(&[7; 127]), "too short to be looked at");
}

#[test]
fn we_read_what_others_write() {
    let (mut decoder, mut back) = (Decoder::new(), Vec::new());
    for input in samples() {
        let packed = encode::Encoder::new(BitOrder::Lsb, 8).encode(&input).unwrap();
        decoder.decode(&packed, input.len(), &mut back).unwrap();
        assert_eq!(back, input);
    }
}

#[test]
fn output_limit_is_exact_and_checked_before_growth() {
    let mut packed = Vec::new();
    Encoder::new().encode(&[0; 100_000], usize::MAX, &mut packed);
    assert!(packed.len() < 700);
    let mut out = Vec::new();
    let mut decoder = Decoder::new();
    assert!(decoder.decode(&packed, 100_000, &mut out).is_ok());
    for limit in [0, 1, 999, 99_999] {
        let mut out = Vec::new();
        let error = decoder.decode(&packed, limit, &mut out).unwrap_err();
        assert_eq!(error, DecodeError::DecompressedTooLarge { limit });
        assert!(out.len() <= limit);
        assert!(out.capacity() <= limit + 16);
    }
}

#[test]
fn encoder_gives_up_at_its_budget_and_leaves_the_buffer() {
    let mut encoder = Encoder::new();
    for input in samples() {
        let mut whole = Vec::new();
        encoder.encode(&input, usize::MAX, &mut whole);
        let mut out = b"kept".to_vec();
        assert!(encoder.encode(&input, whole.len(), &mut out));
        assert_eq!(out[4..], whole);
        out.truncate(4);
        assert!(!encoder.encode(&input, whole.len() - 1, &mut out));
        assert_eq!(out, b"kept");
    }
}

#[test]
fn every_truncation_is_an_error_and_what_follows_the_end_is_ignored() {
    let mut packed = Vec::new();
    let input = b"a node, a node, another node".repeat(3);
    Encoder::new().encode(&input, usize::MAX, &mut packed);
    let (mut decoder, mut out) = (Decoder::new(), Vec::new());
    for cut in 0..packed.len() {
        let got = decoder.decode(&packed[..cut], 1000, &mut out);
        assert_eq!(got, Err(DecodeError::LzwTruncated), "{cut}");
    }
    packed.extend_from_slice(b"more");
    assert_eq!(decoder.decode(&packed, 1000, &mut out), Ok(()));
    assert_eq!(out, input);
}

#[test]
fn codes_that_are_not_assigned_are_refused() {
    let (mut decoder, mut out) = (Decoder::new(), Vec::new());
    // Nine bits each: the first code a string; a clear code, then the same; one too far ahead.
    for codes in [&[258][..], &[256, 258], &[256, 97, 259], &[256, 97, 256, 258], &[511]] {
        let packed = pack(codes);
        assert_eq!(decoder.decode(&packed, 1000, &mut out), Err(DecodeError::LzwCode), "{codes:?}");
    }
    assert_eq!(decoder.decode(&pack(&[97, 258, 257]), 1000, &mut out), Ok(()));
    assert_eq!(out, b"aaa");
}

fn pack(codes: &[u32]) -> Vec<u8> {
    let bits = codes.iter().rev().fold(0u128, |bits, &code| bits << 9 | u128::from(code));
    bits.to_le_bytes()[..(codes.len() * 9).div_ceil(8)].to_vec()
}

fn samples() -> Vec<Vec<u8>> {
    let mut rng = Rng::from_u64(1);
    let mut samples = vec![Vec::new(), vec![7], vec![0; 5], vec![0; 300_000]];
    // Lengths around each change of width and around the full table.
    for len in [253, 254, 255, 256, 509, 1400, 3836, 3837, 3838, 3839, 3840, 3841, 7700, 70_000] {
        for kinds in [1, 2, 16, 200, 256] {
            samples.push((0..len).map(|_| rng.below(kinds) as u8).collect());
        }
    }
    // The newest code is used at once, also when the table is exactly full.
    for noise in 3700..3840 {
        let mut sample: Vec<_> = (0..noise).map(|_| rng.below(256) as u8).collect();
        sample.resize(noise + 20_000, 0);
        samples.push(sample);
    }
    let text = b"Addr Incarnation Meta Name node-00042 Port State Vsn ".repeat(3000);
    samples.push(text);
    samples
}
