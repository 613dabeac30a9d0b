//! `serf decode` of a scenario's capture, compared with Go's reading of the same bytes.

use std::{net::SocketAddrV4, path::Path};

use compat_tests::{
    go,
    pcap::Pcap,
    process::{Kind, serf},
};
use serde_json::Value;

/// Writes the recorded packets and streams as a capture of `port`, decodes it with `serf decode`,
/// and returns each difference from Go's reading in `answers`: type, fields and layers of each
/// message, and messages that only one of them finds.
pub(crate) fn unlike_go(
    dir: &Path,
    port: u16,
    captures: &[Value],
    answers: &[Value],
) -> Vec<String> {
    let (pcap, file) = (wrapped(port, captures), dir.join("capture.pcap"));
    std::fs::write(&file, pcap.bytes()).expect("a file");
    let file = file.to_string_lossy();
    let keys: Vec<_> = super::captures::keys().iter().map(go::base64).collect();
    let mut args = vec!["decode", "-format", "json"];
    args.extend(keys.iter().flat_map(|key| ["-encrypt", key]));
    // Replies do not name the label, and their requests are put into connections of their own.
    let label = captures.iter().find_map(|capture| capture["label"].as_str()).unwrap_or_default();
    if !label.is_empty() {
        args.extend(["-label", label]);
    }
    args.push(&file);
    let said = serf(Kind::Ours, "", &args);
    let mut wrong = Vec::new();
    if said.code != Some(0) || said.err.contains(',') {
        // After a comma it counts what was not decoded.
        wrong.push(format!("serf decode: {:?} {}", said.code, said.err));
    }
    let mut records =
        said.out.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    for (capture, answer) in captures.iter().zip(answers) {
        for message in answer["messages"].as_array().into_iter().flatten() {
            let Some(record) = records.next() else {
                wrong.push(format!("no line for {message} of {capture}"));
                return wrong;
            };
            if let Some(problem) = record_unlike(&record, message, answer) {
                wrong.push(format!("{problem}:\n  {record}\n  {message}\n  {capture}"));
            }
        }
    }
    wrong.extend(records.map(|record| format!("Go finds no {record}")));
    wrong
}

/// The problem that a record names, or its difference from Go's reading: of the message, or of the
/// layers around it in the answer.
pub(crate) fn record_unlike(record: &Value, message: &Value, answer: &Value) -> Option<String> {
    let problem = record["problem"].as_str().map(str::to_owned);
    let problem = problem.or_else(|| layers_unlike(record, answer));
    problem.or_else(|| go_says::difference(record, message))
}

/// Each datagram, and each stream in a connection of its own.
fn wrapped(port: u16, captures: &[Value]) -> Pcap {
    let addr = |ip: [u8; 4], port| SocketAddrV4::new(ip.into(), port);
    let (ours, theirs) = (addr([10, 0, 0, 1], port), addr([10, 0, 0, 2], port));
    let mut pcap = Pcap::new();
    for (at, capture) in captures.iter().enumerate() {
        let bytes = hex::decode(capture["hex"].as_str().expect("hex")).expect("hex");
        let dialer = addr([10, 0, 0, 3], 10_000 + u16::try_from(at % 50_000).expect("small"));
        match (capture["kind"].as_str().expect("a kind"), capture["ours"] == true) {
            ("packet", true) => pcap.datagram(ours, theirs, &bytes),
            ("packet", false) => pcap.datagram(theirs, ours, &bytes),
            ("stream", _) => pcap.stream(dialer, ours, &bytes, &[]),
            _ => pcap.stream(dialer, ours, &[], &bytes),
        }
    }
    pcap
}

/// A layer of the message that Go does not find around its packet.
fn layers_unlike(record: &Value, answer: &Value) -> Option<String> {
    let layers = |value: &Value| value["layers"].as_array().cloned().unwrap_or_default();
    let (ours, go) = (layers(record), layers(answer));
    let strange = ours.iter().find(|layer| !go.contains(layer))?;
    Some(format!("layer {strange}, Go: {go:?}"))
}

#[path = "../../../src/cli/decode/tests/go.rs"]
mod go_says;
