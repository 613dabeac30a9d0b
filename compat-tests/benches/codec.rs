//! Speed of the codec; every name carries the size of what it handles.

use std::{hint::black_box, time::Duration};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use ruserf::{
    base::Rng,
    msgpack::Bin,
    wire::{
        Ack, Alive, CodecConfig, CompoundParts, Compression, Dead, Incarnation, IndirectPing,
        Keyring, Message, Nack, NodeState, PacketCodec, Ping, PushPull, Role, SeqNo, StreamDecoder,
        StreamMessage, Suspect, encode_compound,
    },
};

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_millis(1000));
    targets = messages, compound, lzw, encryption, push_pull
}
criterion_main!(benches);

fn messages(c: &mut Criterion) {
    let payload = [0x5a; 130];
    let meta = [0x6d; 60];
    let ping = Ping {
        seq_no: SeqNo(70_000),
        node: b"node-00042.example",
        source_addr: ADDR.into(),
        source_port: 7946,
        source_node: b"node-00001",
    };
    let indirect = IndirectPing {
        seq_no: SeqNo(70_000),
        target: ADDR.into(),
        port: 7946,
        node: b"node-00042",
        nack: true,
        source_addr: ADDR.into(),
        source_port: 7946,
        source_node: b"node-00001",
    };
    let ack = Ack { seq_no: SeqNo(70_000), payload: payload.as_slice().into() };
    let nack = Nack { seq_no: SeqNo(70_000) };
    let incarnation = Incarnation(3);
    let suspect = Suspect { incarnation, node: b"node-00042", from: b"node-00001" };
    let dead = Dead { incarnation, node: b"node-00042", from: b"node-00001" };
    let alive = alive(b"node-00042", &meta);
    message(c, "ping", &|out| ping.encode(out));
    message(c, "indirect_ping", &|out| indirect.encode(out));
    message(c, "ack", &|out| ack.encode(out));
    message(c, "nack", &|out| nack.encode(out));
    message(c, "suspect", &|out| suspect.encode(out));
    message(c, "dead", &|out| dead.encode(out));
    message(c, "alive", &|out| alive.encode(out));
}

fn message(c: &mut Criterion, name: &str, encode: &dyn Fn(&mut Vec<u8>)) {
    let mut encoded = Vec::new();
    encode(&mut encoded);
    let mut out = Vec::with_capacity(encoded.len());
    c.bench_function(&format!("encode_{name}/{}", encoded.len()), |b| {
        b.iter(|| {
            out.clear();
            encode(black_box(&mut out));
        });
    });
    c.bench_function(&format!("decode_{name}/{}", encoded.len()), |b| {
        b.iter(|| Message::decode(black_box(&encoded)).is_ok());
    });
}

fn compound(c: &mut Criterion) {
    let meta = [0x6d; 60];
    let names: Vec<_> = (0..10).map(|i| format!("node-{i:05}")).collect();
    let mut out = Vec::new();
    let mut parts: Vec<Vec<u8>> = vec![Vec::new(); 10];
    let mut build = |out: &mut Vec<u8>| {
        for (part, name) in parts.iter_mut().zip(&names) {
            part.clear();
            alive(name.as_bytes(), &meta).encode(part);
        }
        out.clear();
        encode_compound(&parts, out);
    };
    build(&mut out);
    let encoded = out.clone();
    c.bench_function(&format!("build_compound_of_10_alives/{}", encoded.len()), |b| {
        b.iter(|| build(black_box(&mut out)));
    });
    c.bench_function(&format!("split_and_decode_compound_of_10_alives/{}", encoded.len()), |b| {
        b.iter(|| {
            let Ok(Message::Compound(body)) = Message::decode(black_box(&encoded)) else {
                return 0;
            };
            let parts = CompoundParts::parse(body).into_iter().flatten().flatten();
            parts.filter(|part| Message::decode(part).is_ok()).count()
        });
    });
}

fn lzw(c: &mut Criterion) {
    let mut rows = Vec::new();
    let (mut names, mut meta) = (Vec::new(), Vec::new());
    table(10_000, &mut names, &mut meta);
    PushPull::encode(false, states(&names, &meta), b"", &mut rows);
    let mut group = c.benchmark_group("lzw");
    let mut rng = Rng::from_u64(2);
    let random: Vec<_> = (0..1_400).map(|_| rng.below(256) as u8).collect();
    let (mut plain, mut packet) = (codec(b"", Compression::Lzw), Vec::new());
    group.bench_function("compress/1400_random", |b| {
        b.iter(|| {
            packet.clear();
            plain.seal(&mut rng, black_box(&random), false, &mut packet);
        });
    });
    for len in [1_400, 65_536] {
        let message = &rows[..len];
        let mut codec = codec(b"", Compression::Lzw);
        let mut rng = Rng::from_u64(1);
        let (mut packet, mut back) = (Vec::new(), Vec::new());
        codec.seal(&mut rng, message, false, &mut packet);
        let Ok(Message::Compress(body)) = Message::decode(&packet) else {
            panic!("incompressible")
        };
        let body = body.to_vec();
        let ratio = len * 100 / packet.len();
        group.throughput(Throughput::Bytes(len as u64));
        group.bench_function(format!("compress/{len}_ratio_{ratio}"), |b| {
            b.iter(|| {
                packet.clear();
                codec.seal(&mut rng, black_box(message), false, &mut packet);
            });
        });
        group.bench_function(format!("decompress/{len}"), |b| {
            b.iter(|| codec.decompress(black_box(&body), &mut back).is_ok());
        });
        let mut theirs = weezl::encode::Encoder::new(weezl::BitOrder::Lsb, 8);
        let packed = theirs.encode(message).unwrap_or_default();
        let mut out = vec![0; 2 * len];
        group.bench_function(format!("weezl_compress/{len}"), |b| {
            b.iter(|| {
                theirs.reset();
                theirs.finish();
                theirs.encode_bytes(black_box(message), &mut out).consumed_out
            });
        });
        let mut theirs = weezl::decode::Decoder::new(weezl::BitOrder::Lsb, 8);
        group.bench_function(format!("weezl_decompress/{len}"), |b| {
            b.iter(|| {
                theirs.reset();
                let mut done = (0, 0);
                while done.1 < len {
                    let got = theirs.decode_bytes(black_box(&packed[done.0..]), &mut out[done.1..]);
                    done = (done.0 + got.consumed_in, done.1 + got.consumed_out);
                    assert!(got.consumed_in + got.consumed_out > 0);
                }
            });
        });
    }
    group.finish();
}

fn encryption(c: &mut Criterion) {
    let message = vec![0x5a; 1_400];
    let mut rng = Rng::from_u64(1);
    for bits in [128, 192, 256] {
        let mut codec = codec(&vec![7; bits / 8], Compression::None);
        let (mut packet, mut buf) = (Vec::new(), Vec::new());
        c.bench_function(&format!("seal_aes{bits}/1400"), |b| {
            b.iter(|| {
                packet.clear();
                codec.seal(&mut rng, black_box(&message), false, &mut packet);
            });
        });
        c.bench_function(&format!("open_aes{bits}/1400"), |b| {
            b.iter(|| codec.open(black_box(&packet), &mut buf).is_ok());
        });
        let ring = Keyring::build(&[vec![2; 32], vec![7; bits / 8]], &[1; 32]).unwrap_or_default();
        codec.set_keyring(ring);
        c.bench_function(&format!("open_aes{bits}_third_key_of_three/1400"), |b| {
            b.iter(|| codec.open(black_box(&packet), &mut buf).is_ok());
        });
    }
}

fn push_pull(c: &mut Criterion) {
    const ROWS: usize = 10_000;
    let (mut names, mut meta) = (Vec::new(), Vec::new());
    table(ROWS, &mut names, &mut meta);
    let mut out = Vec::new();
    PushPull::encode(false, states(&names, &meta), b"", &mut out);
    let message = out.clone();
    let size = format!("{ROWS}_rows_{}", message.len());
    let mut group = c.benchmark_group("push_pull");
    group.sample_size(20);
    group.bench_function(format!("encode/{size}"), |b| {
        b.iter(|| {
            out.clear();
            PushPull::encode(false, states(&names, &meta), b"", black_box(&mut out));
        });
    });
    let mut rng = Rng::from_u64(1);
    for (layers, compression, key) in [
        ("plain", Compression::None, &[][..]),
        ("compressed", Compression::Lzw, &[]),
        ("compressed_lz4", Compression::Lz4, &[]),
        ("compressed_aes256", Compression::Lzw, &[7; 32]),
    ] {
        let stream = codec(key, compression).stream_codec();
        let mut sent = Vec::new();
        stream.seal(&mut rng, Role::Dialer, &message, &mut sent);
        group.bench_function(format!("seal_{layers}/{size}"), |b| {
            b.iter(|| {
                sent.clear();
                stream.seal(&mut rng, Role::Dialer, black_box(&message), &mut sent);
            });
        });
        group.bench_function(format!("receive_and_walk_{layers}/{size}"), |b| {
            b.iter(|| {
                let mut decoder = StreamDecoder::new(stream.clone(), Role::Acceptor);
                let mut rows = 0;
                for chunk in sent.chunks(64 * 1024) {
                    if let Ok(Some(StreamMessage::PushPull(got))) = decoder.feed(chunk) {
                        rows = got.rows().flatten().count();
                    }
                }
                assert_eq!(rows, ROWS);
            });
        });
    }
    group.finish();
}

fn codec(key: &[u8], compression: Compression) -> PacketCodec {
    let config = CodecConfig {
        keyring: Keyring::build(&[], key).unwrap_or_default(),
        verify_incoming: true,
        verify_outgoing: true,
        compression,
        protocol_version: 2,
        ..CodecConfig::default()
    };
    PacketCodec::build(config).unwrap_or_else(|error| panic!("{error}"))
}

fn alive<'a>(node: &'a [u8], meta: &'a [u8]) -> Alive<'a> {
    Alive {
        incarnation: Incarnation(3),
        node,
        addr: ADDR.into(),
        port: 7946,
        meta: meta.into(),
        vsn: VSN.into(),
    }
}

fn table(rows: usize, names: &mut Vec<String>, meta: &mut Vec<Vec<u8>>) {
    for i in 0..rows {
        names.push(format!("node-{i:05}"));
        meta.push(format!("\u{7f}role=web,dc=dc{},rack=r{:03}", i % 3, i % 117).into_bytes());
    }
}

fn states<'a>(
    names: &'a [String],
    meta: &'a [Vec<u8>],
) -> impl ExactSizeIterator<Item = NodeState<'a>> {
    names.iter().zip(meta).map(|(name, meta)| NodeState {
        name: name.as_bytes(),
        addr: ADDR.into(),
        port: 7946,
        meta: Bin::from(meta.as_slice()),
        incarnation: Incarnation(7),
        state: 0,
        vsn: VSN.into(),
    })
}

const ADDR: &[u8] = &[10, 0, 0, 1];
const VSN: &[u8] = &[1, 5, 2, 2, 5, 4];
