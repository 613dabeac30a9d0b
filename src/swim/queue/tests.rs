//! Order, fairness and limits of a broadcast queue.

use proptest::prelude::*;

use super::*;

const TRANSMITS: u32 = 3;

fn own(queue: &mut BroadcastQueue, message: &'static str, op: u64) {
    queue.push(Bytes::from_static(message.as_bytes()), Some(OpId(op)));
}

fn peers(queue: &mut BroadcastQueue, message: impl AsRef<[u8]>) {
    queue.relay(message.as_ref());
}

fn take(queue: &mut BroadcastQueue, order: Order, overhead: usize, limit: usize) -> Vec<String> {
    let mut sent = Vec::new();
    let used = queue.take(order, overhead, limit, TRANSMITS, 1, &mut |message| {
        sent.push(String::from_utf8_lossy(message).into_owned());
    });
    assert_eq!(used, sent.iter().map(|message| message.len() + overhead).sum::<usize>());
    assert!(used <= limit);
    sent
}

fn about(queue: &mut BroadcastQueue, topic: &str, message: &'static str, op: Option<u64>) {
    let message = Bytes::from_static(message.as_bytes());
    queue.push_about(topic.into(), message, op.map(OpId));
}

fn ended(queue: &mut BroadcastQueue) -> Vec<(u64, Fate)> {
    queue.take_ended().map(|(op, fate)| (op.0, fate)).collect()
}

/// Asserts that the counted bytes are those of the items.
fn assert_counts(queue: &BroadcastQueue) {
    let relayed: usize = queue.relayed.iter().map(|(_, message)| bytes_of(message.len())).sum();
    let own: usize = queue.own.values().map(Item::bytes).sum();
    assert_eq!((queue.bytes, queue.own_bytes), (own + relayed, own));
    assert_eq!(queue.relayed.len(), queue.relayed.iter().count());
    let displaceable = queue.own.values().filter(|item| item.topic.is_none());
    let displaceable = displaceable.count();
    assert_eq!((queue.own_by_age.len(), queue.own_in_turn.len()), (displaceable, displaceable));
    for (key, item) in &queue.own {
        let known = item.topic.as_ref().map(|topic| queue.by_topic.get(topic));
        assert!(known.is_none_or(|known| known == Some(key)));
    }
    assert!(queue.own_by_age.values().all(|key| queue.own.contains_key(key)));
    assert!(queue.own_in_turn.values().all(|key| queue.own.contains_key(key)));
}

#[test]
fn messages_of_any_origin_are_served_in_go_order() {
    let mut queue = BroadcastQueue::default();
    own(&mut queue, "aaaa", 1);
    peers(&mut queue, "bbbbbbbb");
    peers(&mut queue, "cc");
    own(&mut queue, "dddd", 2);
    assert_eq!(take(&mut queue, Order::Longest, 2, 14), ["bbbbbbbb", "cc"]);
    assert_eq!(take(&mut queue, Order::Longest, 2, 14), ["dddd", "aaaa"]);
    assert_eq!(take(&mut queue, Order::Longest, 2, 14), ["bbbbbbbb", "cc"]);
    assert_counts(&queue);
}

#[test]
fn the_other_orders_serve_own_messages_and_the_shortest() {
    let mut queue = BroadcastQueue::default();
    for message in ["bb", "bbbb", "b", "c"] {
        peers(&mut queue, message);
    }
    own(&mut queue, "aaa", 1);
    assert_eq!(take(&mut queue, Order::Own, 0, 100), ["aaa"]);
    assert_eq!(take(&mut queue, Order::Shortest, 0, 4), ["b", "c", "bb"]);
    assert_eq!(take(&mut queue, Order::Shortest, 0, 4), ["bbbb"]);
    assert_eq!(take(&mut queue, Order::Shortest, 0, 1), ["b"]);
}

#[test]
fn waiting_operation_ends_at_the_last_transmit() {
    let mut queue = BroadcastQueue::default();
    own(&mut queue, "x", 7);
    for round in 1..=3 {
        assert!(ended(&mut queue).is_empty(), "ended before round {round}");
        take(&mut queue, Order::Longest, 3, 100);
    }
    assert_eq!(ended(&mut queue), [(7, Fate::Sent)]);
    assert_eq!(queue.len(), 0);
    assert_counts(&queue);
}

#[test]
fn no_message_takes_the_place_of_another() {
    let mut queue = BroadcastQueue::default();
    own(&mut queue, "old", 1);
    // The packet takes all queued items, and all are requeued.
    take(&mut queue, Order::Longest, 0, 3);
    own(&mut queue, "new", 2);
    let sent: Vec<_> = (0..5).flat_map(|_| take(&mut queue, Order::Longest, 0, 3)).collect();
    assert_eq!(sent, ["new", "new", "old", "new", "old"]);
    assert_eq!(ended(&mut queue), [(2, Fate::Sent), (1, Fate::Sent)]);
}

#[test]
fn pruning_drops_what_peers_sent_and_of_it_the_most_transmitted() {
    let mut queue = BroadcastQueue::default();
    peers(&mut queue, "p-old");
    take(&mut queue, Order::Longest, 0, 100);
    own(&mut queue, "a", 1);
    own(&mut queue, "bb", 2);
    peers(&mut queue, "p-long-and-new");
    peers(&mut queue, "p-new");
    queue.prune(4);
    assert!(!take(&mut queue, Order::Shortest, 0, 6).contains(&"p-old".to_owned()));
    queue.prune(2);
    assert_eq!(queue.relayed.len(), 0);
    assert!(ended(&mut queue).is_empty());
    queue.prune(1);
    assert_eq!(ended(&mut queue), [(1, Fate::Dropped)], "the oldest of our own");
    assert_counts(&queue);
}

#[test]
fn too_many_bytes_drop_the_largest_of_peers_and_the_oldest_of_ours() {
    let mut queue = BroadcastQueue::default();
    own(&mut queue, "ours", 1);
    peers(&mut queue, "small");
    take(&mut queue, Order::Longest, 0, 100);
    let mut dropped = 0;
    for n in 0..20_000_usize {
        peers(&mut queue, vec![b'x'; 500 + n % 900]);
        dropped += queue.shed();
        assert!(queue.bytes <= BYTES_MAX);
    }
    assert!(dropped > 5_000);
    assert_counts(&queue);
    let longest = queue.relayed.iter().map(|(key, _)| key.1.0).max();
    assert!(longest < Some(1_200), "the largest went first: {longest:?}");
    assert!(queue.relayed.iter().any(|(_, message)| message == b"small"));
    assert_eq!(queue.own.len(), 1);
    for n in 0..20_000 {
        let op = Some(OpId(100 + n));
        queue.push(vec![b'y'; 1_000 + (n % 7) as usize].into(), op);
        queue.shed();
    }
    assert_eq!(queue.relayed.len(), 0);
    assert_counts(&queue);
    let ended = ended(&mut queue);
    let numbers: Vec<_> = [1].into_iter().chain(100..100 + ended.len() as u64 - 1).collect();
    assert_eq!(ended.iter().map(|(op, _)| *op).collect::<Vec<_>>(), numbers);
    assert!(ended.iter().all(|(_, fate)| *fate == Fate::Dropped));
}

#[test]
fn a_newer_message_about_a_node_replaces_the_queued_one() {
    let mut queue = BroadcastQueue::default();
    about(&mut queue, "n", "old", Some(1));
    take(&mut queue, Order::Longest, 0, 100);
    about(&mut queue, "n", "new", None);
    about(&mut queue, "m", "other", Some(2));
    assert_eq!(ended(&mut queue), [(1, Fate::Sent)]);
    assert_counts(&queue);
    assert_eq!(take(&mut queue, Order::Longest, 0, 100), ["other", "new"]);
    let waiting: Vec<_> = queue.iter().collect();
    assert_eq!(waiting, [(1, &b"other"[..]), (1, b"new")]);
    // Its number is limited by its topics, and it is never dropped.
    queue.prune(0);
    assert_eq!(queue.len(), 2);
    take(&mut queue, Order::Longest, 0, 100);
    take(&mut queue, Order::Longest, 0, 100);
    assert!(queue.is_empty() && queue.by_topic.is_empty());
}

#[test]
fn transmit_limit_is_go_s() {
    let table = [(0, 0), (1, 4), (9, 4), (10, 8), (99, 8), (100, 12), (999, 12), (1000, 16)];
    for (n, limit) in table {
        assert_eq!(retransmit_limit(4, n), limit, "n = {n}");
    }
}

proptest! {
    #[test]
    fn nothing_exceeds_the_limit_and_everything_is_sent_often_enough(
        lengths in prop::collection::vec(1_usize..60, 1..40),
        limit in 70_usize..200,
        transmits in 1_u32..5,
        topics in any::<bool>(),
    ) {
        let mut queue = BroadcastQueue::default();
        for (index, len) in lengths.iter().enumerate() {
            let message = vec![index as u8; *len];
            match topics {
                true => queue.push_about(index.to_string().into(), message.into(), None),
                false => queue.relay(&message),
            }
        }
        let mut sent = vec![0; lengths.len()];
        for _ in 0..lengths.len() * transmits as usize {
            let mut total = 0;
            queue.take(Order::Longest, 2, limit, transmits, 1, &mut |message| {
                total += message.len() + 2;
                sent[usize::from(message[0])] += 1;
            });
            prop_assert!(total <= limit);
        }
        prop_assert!(sent.iter().all(|times| *times == transmits));
        prop_assert_eq!(queue.len(), 0);
    }
}

#[test]
fn a_packet_for_several_nodes_is_as_many_transmits() {
    let mut queue = BroadcastQueue::default();
    own(&mut queue, "aa", 1);
    peers(&mut queue, "bb");
    let mut sent = 0;
    let mut emit = |_: &[u8]| sent += 1;
    queue.take(Order::Longest, 0, 4, TRANSMITS, 2, &mut emit);
    assert_eq!(queue.iter().map(|(transmits, _)| transmits).collect::<Vec<_>>(), [2, 2]);
    queue.take(Order::Longest, 0, 4, TRANSMITS, 2, &mut emit);
    assert!(queue.is_empty(), "of the last two one is more than need be");
    assert_eq!((sent, ended(&mut queue)), (4, vec![(1, Fate::Sent)]));
}

#[test]
fn own_messages_leave_in_turn_and_the_oldest_first() {
    let mut queue = BroadcastQueue::default();
    for (op, message) in ["a", "bbbb", "cc", "dd"].into_iter().enumerate() {
        own(&mut queue, message, op as u64);
    }
    peers(&mut queue, "ppp");
    assert_eq!(take(&mut queue, Order::OwnOldest, 0, 4), ["a", "cc"], "what fits of the oldest");
    assert_eq!(take(&mut queue, Order::OwnOldest, 0, 7), ["bbbb", "dd", "a"]);
    assert_counts(&queue);
    assert_eq!(take(&mut queue, Order::OwnOldest, 0, 100), ["bbbb", "cc", "dd", "a"]);
    // This one was sent for the last time.
    assert_eq!(queue.own_len(), 3);
    assert_eq!(take(&mut queue, Order::Longest, 0, 100), ["ppp", "bbbb", "dd", "cc"]);
    assert_eq!((queue.own_len(), queue.own_bytes), (0, 0));
    assert_counts(&queue);
}
