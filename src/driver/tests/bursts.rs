//! Many datagrams at once.

use std::net::UdpSocket;

use super::*;
use crate::{
    serf::{LamportTime, Message, MsgpackTransform, TransformDelegate, UserEvent, message},
    wire::{Ping, SeqNo, encode_compound, kind},
};

/// Datagrams with ten new events each.
fn datagrams(count: u64) -> Vec<Vec<u8>> {
    let datagram = |first| {
        let event = |n: u64| {
            let payload = format!("{n:0>80}");
            let event = message::UserEvent {
                ltime: LamportTime(1 + n / 128),
                name: b"deploy",
                payload: payload.as_bytes().into(),
                coalesce: false,
            };
            let mut raw = vec![kind::USER];
            MsgpackTransform.encode_message(&Message::UserEvent(event), &mut raw);
            raw
        };
        let parts: Vec<_> = (first..first + 10).map(event).collect();
        let mut out = Vec::new();
        encode_compound(&parts, &mut out);
        out
    };
    (0..count).map(|n| datagram(10 * n)).collect()
}

/// Goal: all that the socket holds is taken, though it is more than the hand-off queues hold, and
/// a ping among it is answered.
#[tokio::test]
async fn a_burst_that_the_socket_holds_loses_nothing() {
    // Of the usual buffer of 208 KiB, doubled, a datagram of this size takes 2.3 KiB.
    const DATAGRAMS: u64 = 150;
    let builder = builder("a");
    let mut events = builder.subscribe(Subscribe::default());
    let a = builder.start().await.unwrap();
    let (peer, to) = (UdpSocket::bind("127.0.0.1:0").unwrap(), a.addresses().bound);
    peer.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    for datagram in datagrams(DATAGRAMS) {
        peer.send_to(&datagram, to).unwrap();
    }
    let mut ping = Vec::new();
    Ping { seq_no: SeqNo(7), node: b"a", ..Ping::default() }.encode(&mut ping);
    peer.send_to(&ping, to).unwrap();
    let mut payloads = Vec::new();
    while payloads.len() < 10 * DATAGRAMS as usize {
        let user = |event| match event {
            Event::User(UserEvent { payload, .. }) => Some(payload),
            Event::Lagged(count) => panic!("{count} were lost"),
            _ => None,
        };
        payloads.push(next_matching(&mut events, user).await);
    }
    payloads.sort();
    payloads.dedup();
    assert_eq!(payloads.len(), 10 * DATAGRAMS as usize);
    assert_eq!(a.counters().await.unwrap().get("memberlist.dropped.queue_full"), Some(0));
    assert!(peer.recv(&mut [0; 512]).unwrap() > 0, "an ack");
}
