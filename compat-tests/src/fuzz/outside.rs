//! Input from clients, operators and the local network: RPC, configuration, mDNS, filters.

use bytes::Bytes;
use ruserf::{
    agent::{FileConfig, Notices, Settings, mdns_hosts},
    base::Instant,
    rpc::{self, FrameReader, RpcError, protocol},
    serf::{Config, Engine, QueryParams},
};
use tokio::io::AsyncReadExt;

/// Frames of a connection are the same however they arrive, and their bodies decode or not.
pub fn rpc(input: &[u8]) {
    let whole = frames(input, input.len());
    assert_eq!(frames(input, input.len() / 2), whole);
    for frame in &whole.0 {
        let _ = rpc::decode::<protocol::RequestHeader>(frame);
        let _ = rpc::decode::<protocol::Handshake>(frame);
        let _ = rpc::decode::<protocol::Join>(frame);
        let _ = rpc::decode::<protocol::Query>(frame);
        let _ = rpc::decode::<protocol::Respond>(frame);
        let _ = rpc::decode::<protocol::MembersResponse>(frame);
        let _ = rpc::decode::<protocol::QueryEventRecord>(frame);
    }
}

/// The frames before the first error, and whether there was one.
fn frames(input: &[u8], cut: usize) -> (Vec<Vec<u8>>, bool) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let (first, second) = input.split_at(cut);
    let mut reader = FrameReader::new(first.chain(second));
    runtime.block_on(async {
        let mut frames = Vec::new();
        loop {
            match reader.next(FRAME_MAX).await {
                Ok(Some(frame)) => frames.push(frame.to_vec()),
                Ok(None) => return (frames, false),
                Err(RpcError::Io(error)) => panic!("{error}"),
                Err(_) => return (frames, true),
            }
        }
    })
}

/// A configuration file is decoded or refused, and what is decoded is valid or refused.
pub fn config(input: &[u8]) {
    let Ok(config) = FileConfig::decode(input) else { return };
    let _ = Settings::build(config, &mut Notices::default());
}

/// A tag's expression in a query: compiled and matched, or refused.
pub fn expression(input: &[u8]) {
    let Some((len, rest)) = input.split_first() else { return };
    let (value, expression) = rest.split_at(usize::from(*len).min(rest.len()));
    let value = String::from_utf8_lossy(&value[..value.len().min(100)]).into_owned();
    let mut config = Config::lan("self");
    config.swim.advertise_addr = vec![127, 0, 0, 1];
    config.tags = [("t".to_owned(), value)].into();
    let mut engine = Engine::build(config, Instant::ZERO, None).expect("short tags");
    let params = QueryParams::default().filter_tag("t", String::from_utf8_lossy(expression));
    let _ = engine.query(Instant::ZERO, "q", Bytes::new(), &params);
    while engine.poll_output().is_some() {}
}

/// An mDNS answer names no more addresses than it has bytes for.
pub fn mdns(input: &[u8]) {
    let hosts = mdns_hosts("cluster", input);
    assert!(hosts.len() <= input.len() / 4, "{} addresses in {} bytes", hosts.len(), input.len());
}

/// Largest frame.
const FRAME_MAX: usize = 64 * 1024;
