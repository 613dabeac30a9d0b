mod oracle;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::*;

#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Sample {
    seq: u64,
    name: String,
    #[serde(with = "as_bytes")]
    blob: Vec<u8>,
    num: i64,
    ok: bool,
    ratio: f64,
    list: Vec<u32>,
    tags: BTreeMap<String, String>,
    inner: Option<Box<Sample>>,
}

#[test]
fn integers_take_the_shortest_form_of_their_signedness() {
    let uint = |value| written(|writer| writer.uint(value));
    let int = |value| written(|writer| writer.int(value));
    assert_eq!(uint(127), "7f");
    assert_eq!(uint(128), "cc80");
    assert_eq!(uint(256), "cd0100");
    assert_eq!(uint(65_536), "ce00010000");
    assert_eq!(uint(1 << 32), "cf0000000100000000");
    assert_eq!(int(127), "7f");
    assert_eq!(int(128), "d10080");
    assert_eq!(int(32_768), "d200008000");
    assert_eq!(int(1 << 31), "d30000000080000000");
    assert_eq!(int(-1), "ff");
    assert_eq!(int(-32), "e0");
    assert_eq!(int(-33), "d0df");
    assert_eq!(int(-129), "d1ff7f");
}

#[test]
fn strings_and_bytes_are_old_raw_in_gossip_and_new_families_in_rpc() {
    let write = |dialect, len: usize, bytes: bool| {
        let mut out = Vec::new();
        let mut writer = Writer::with_dialect(&mut out, dialect);
        let text = vec![b'x'; len];
        if bytes {
            writer.bytes(Some(&text))
        } else {
            writer.str(&text)
        }
        let header = out.len() - len;
        hex::encode(&out[..header])
    };
    assert_eq!(write(Dialect::Gossip, 31, false), "bf");
    assert_eq!(write(Dialect::Gossip, 32, false), "da0020");
    assert_eq!(write(Dialect::Gossip, 32, true), "da0020");
    assert_eq!(write(Dialect::Gossip, 65_536, true), "db00010000");
    assert_eq!(write(Dialect::Rpc, 31, false), "bf");
    assert_eq!(write(Dialect::Rpc, 32, false), "d920");
    assert_eq!(write(Dialect::Rpc, 256, false), "da0100");
    assert_eq!(write(Dialect::Rpc, 3, true), "c403");
    assert_eq!(write(Dialect::Rpc, 256, true), "c50100");
}

#[test]
fn serde_structs_come_out_with_sorted_keys_and_come_back() {
    #[derive(Serialize)]
    #[serde(rename_all = "PascalCase")]
    struct Header {
        seq: u64,
        error: String,
    }
    let header = Header { seq: 7, error: String::new() };
    let encoded = to_vec(&header, Dialect::Rpc).unwrap();
    assert_eq!(encoded, b"\x82\xa5Error\xa0\xa3Seq\x07");

    for dialect in [Dialect::Gossip, Dialect::Rpc] {
        let value = sample();
        let encoded = to_vec(&value, dialect).unwrap();
        assert_eq!(from_slice::<Sample>(&encoded), Ok(value));
        for cut in 0..encoded.len() {
            assert_eq!(from_slice::<Sample>(&encoded[..cut]), Err(Error::Truncated), "{cut}");
        }
    }
}

#[test]
fn serde_takes_what_go_takes() {
    let decode = |hex: &str| from_slice::<Sample>(&hex::decode(hex).unwrap());
    let nothing = Sample::default();
    assert_eq!(decode("c0"), Ok(Sample::default()));
    assert_eq!(decode("80"), Ok(Sample::default()));
    assert_eq!(decode("90"), Ok(Sample::default()));
    // Nil for a number, a string, a list, a map, bytes.
    assert_eq!(decode("85a3536571c0a44e616d65c0a44c697374c0a454616773c0a4426c6f62c0"), Ok(nothing));
    // An array in declaration order, short, then one too long.
    let short = decode("92d10005a161").unwrap();
    assert_eq!((short.seq, short.name.as_str()), (5, "a"));
    let long = decode("9a01a0a00201cb0000000000000000908080d60501020304").unwrap();
    assert_eq!((long.seq, long.num, long.ok), (1, 2, true));
    // Signed for unsigned, bin for a string, unknown keys, integers for a float, 1 for true.
    let odd = decode("86a3536571d10003a44e616d65c401ff035a6564c0a4526174696f02a24f6b01");
    assert!(odd.is_err(), "a number is no key");
    let odd = decode("85a3536571d10003a44e616d65c401ffa35a656493c0c0c0a5526174696f02a24f6b01");
    let odd = odd.unwrap();
    assert_eq!((odd.seq, odd.name.as_str(), odd.ratio, odd.ok), (3, "\u{fffd}", 2.0, true));
    assert_eq!(decode("81a3536571ff"), Err(Error::Negative { value: 255, at: 6 }));
}

#[test]
fn nesting_beyond_the_limit_is_refused_everywhere() {
    for depth in 0..40 {
        let mut input = vec![0x91; depth];
        input.push(1);
        let fits = depth <= DEPTH_MAX;
        assert_eq!(Reader::new(&input).skip().is_ok(), fits, "{depth}");
        assert_eq!(from_slice::<serde::de::IgnoredAny>(&input).is_ok(), fits, "{depth}");
        // One level more, for the struct around an unknown value.
        assert_eq!(Scanner::new().advance(&input).is_ok(), depth <= DEPTH_MAX + 1, "{depth}");
    }
    let mut input = Vec::new();
    for _ in 0..40 {
        input.extend_from_slice(b"\x81\xa5Inner");
    }
    input.push(0xc0);
    assert_eq!(from_slice::<Sample>(&input), Err(Error::Depth));
}

#[test]
fn scanner_finds_the_end_whatever_the_pieces() {
    let mut input = to_vec(&sample(), Dialect::Rpc).unwrap();
    let len = input.len();
    input.extend_from_slice(b"trailing");
    for piece in 1..input.len() {
        let mut scanner = Scanner::new();
        let mut end = None;
        let mut fed = 0;
        while end.is_none() {
            assert!(scanner.len_min() <= len as u64);
            fed = (fed + piece).min(input.len());
            end = scanner.advance(&input[..fed]).unwrap();
        }
        assert_eq!(end, Some(len));
        assert!(fed < len + piece);
    }
}

#[test]
fn huge_lengths_allocate_nothing_and_are_truncated() {
    for input in [&b"\xdb\xff\xff\xff\xff"[..], b"\xdd\xff\xff\xff\xff", b"\xc6\xff\xff\xff\xff"] {
        assert_eq!(Reader::new(input).bytes(), Err(Error::Truncated));
        assert_eq!(Reader::new(input).skip(), Err(Error::Truncated));
        assert_eq!(Scanner::new().advance(input), Ok(None));
    }
    assert_eq!(from_slice::<Vec<u64>>(b"\xdd\xff\xff\xff\xff\x01"), Err(Error::Truncated));
}

fn sample() -> Sample {
    Sample {
        seq: u64::MAX,
        name: "n".repeat(40),
        blob: vec![0, 255, 3],
        num: -70_000,
        ok: true,
        ratio: 0.5,
        list: vec![1, 300, 70_000],
        tags: [("role".into(), "web".into()), ("dc".into(), "x".repeat(300))].into(),
        inner: Some(Box::default()),
    }
}

fn written(write: impl FnOnce(&mut Writer<'_>)) -> String {
    let mut out = Vec::new();
    write(&mut Writer::new(&mut out));
    hex::encode(out)
}
