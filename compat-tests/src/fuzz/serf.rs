//! Serf's decoders and its snapshot.

use ruserf::{
    base::Instant,
    serf::{Config, Engine, LpeTransform, MsgpackTransform, Output, SnapshotOp, TransformDelegate},
};

/// The first byte says which transform and which kind of value, the rest is the value. What is
/// read is written so that it is read again as the same.
pub fn serf(input: &[u8]) {
    let Some((kind, input)) = input.split_first() else { return };
    let transform: &dyn TransformDelegate =
        if kind & 1 == 0 { &MsgpackTransform } else { &LpeTransform };
    let mut out = Vec::new();
    match kind / 2 % 5 {
        0 => {
            let Ok(message) = transform.decode_message(input) else { return };
            transform.encode_message(&message, &mut out);
            let again = transform.decode_message(&out).expect("what we write we read");
            let mut twice = Vec::new();
            transform.encode_message(&again, &mut twice);
            assert_eq!(out, twice);
        }
        1 => {
            let (tags, _) = transform.decode_tags(input);
            transform.encode_tags(5, &tags, &mut out);
            assert_eq!(transform.decode_tags(&out).0, tags);
        }
        2 => {
            let Ok(filter) = transform.decode_filter(input) else { return };
            transform.encode_filter(&filter, &mut out);
            transform.decode_filter(&out).expect("what we write we read");
        }
        3 => {
            let Ok(coordinate) = transform.decode_coordinate(input) else { return };
            transform.encode_coordinate(&coordinate, &mut out);
            transform.decode_coordinate(&out).expect("what we write we read");
        }
        _ => snapshot(input),
    }
}

/// A snapshot that was read and rewritten says the same, and rewritten again is the same file.
fn snapshot(file: &[u8]) {
    let (peers, rewritten) = replay(file);
    let (again, twice) = replay(rewritten.as_bytes());
    assert_eq!(peers, again);
    assert_eq!(rewritten, twice);
}

fn replay(file: &[u8]) -> (Vec<(String, std::net::SocketAddr)>, String) {
    let mut config = Config::lan("self");
    config.swim.advertise_addr = vec![127, 0, 0, 1];
    let mut engine =
        Engine::build(config, Instant::ZERO, Some(file)).expect("no snapshot is refused");
    engine.rewrite_snapshot();
    let mut text = String::new();
    while let Some(output) = engine.poll_output() {
        if let Output::Snapshot(SnapshotOp::Replace(lines)) = output {
            text = lines;
        }
    }
    let mut peers: Vec<_> =
        engine.previous_peers().map(|(name, addr)| (name.to_owned(), addr)).collect();
    peers.sort();
    (peers, text)
}
