//! Files of all kinds of lines, against the simplest reading of them.

use std::collections::BTreeMap;

use proptest::{collection::vec, prelude::*, sample::select};

use super::*;

/// What a file says.
#[derive(Debug, Default, PartialEq)]
struct Read {
    alive: BTreeMap<String, String>,
    failed: BTreeMap<String, String>,
    clocks: [u64; 3],
    incarnation: u32,
    torn: bool,
}

/// Line by line, with maps of the standard library and without an eye on the time.
fn naive(file: &[u8], rejoin_after_leave: bool) -> Read {
    let mut read = Read::default();
    let mut alive = BTreeMap::new();
    for line in file.split_inclusive(|byte| *byte == b'\n') {
        let Some(line) = line.strip_suffix(b"\n") else {
            read.torn = true;
            break;
        };
        let after = |start: &str| line.strip_prefix(start.as_bytes());
        let clocks = ["clock: ", "event-clock: ", "query-clock: "];
        if let Some(peer) = after("alive: ") {
            if let Some(space) = peer.iter().rposition(|byte| *byte == b' ') {
                read.failed.remove(&lossy(&peer[..space]));
                alive.insert(peer[..space].to_vec(), peer[space + 1..].to_vec());
            }
        } else if let Some(name) = after("not-alive: ") {
            alive.remove(name);
        } else if let Some(which) =
            clocks.iter().position(|start| line.starts_with(start.as_bytes()))
        {
            let time = std::str::from_utf8(after(clocks[which]).unwrap()).ok();
            if let Some(time) = time.and_then(|time| time.parse().ok()) {
                read.clocks[which] = time;
            }
        } else if line == b"leave" && !rejoin_after_leave {
            alive.clear();
            read = Read { incarnation: read.incarnation, ..Read::default() };
        } else if let Some(text) = after("#") {
            let text = lossy(text);
            if let Some(number) = text.strip_prefix(INCARNATION) {
                read.incarnation = read.incarnation.max(number.parse().unwrap_or(0));
            } else if let Some(peer) = text.strip_prefix(FAILED) {
                if let Some((name, addr)) = peer.rsplit_once(' ') {
                    read.failed.insert(name.to_owned(), addr.to_owned());
                }
            } else if let Some(name) = text.strip_prefix(FORGOTTEN) {
                read.failed.remove(name);
            }
        }
    }
    read.alive = alive.iter().map(|(name, addr)| (lossy(name), lossy(addr))).collect();
    read
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn ours(file: &[u8], rejoin_after_leave: bool, seed: u64) -> Read {
    let Replay { alive, failed, clock, event_clock, query_clock, incarnation, torn } =
        Replay::read(file, rejoin_after_leave, seed);
    let map = |peers: &Peers| {
        let sorted: Vec<_> = peers.iter().map(NamedAddr::pair).collect();
        assert!(sorted.is_sorted_by(|one, next| one.0 < next.0), "{sorted:?}");
        sorted.into_iter().map(|(name, addr)| (name.to_owned(), addr.to_owned())).collect()
    };
    Read {
        alive: map(&alive),
        failed: map(&failed),
        clocks: [clock, event_clock, query_clock].map(|time| time.0),
        incarnation,
        torn,
    }
}

/// Names that are easily confused: around the bytes that are compared first, with zeros, spaces,
/// halves of characters, and text that is the same once it is replaced.
fn names() -> Vec<&'static [u8]> {
    vec![
        b"",
        b" ",
        b"a",
        b"a\0",
        b"a\0\0",
        b"a b",
        b"node-1",
        b"node-2",
        b"123456789012345",
        b"1234567890123456",
        b"1234567890123456\0",
        b"12345678901234567",
        b"12345678901234567890123456789012345678901",
        b"12345678901234567890123456789012345678902",
        b"\xff",
        b"\xfe",
        b"\xef\xbf\xbd",
        b"a\xc3",
        b"\xa9",
        "caf\u{e9}".as_bytes(),
    ]
}

fn line() -> impl Strategy<Value = Vec<u8>> {
    let starts: Vec<&[u8]> = vec![
        b"alive: ",
        b"alive: ",
        b"alive: ",
        b"not-alive: ",
        b"# ruserf failed: ",
        b"# ruserf forgotten: ",
        b"#",
        b"alive:",
        b"",
    ];
    let addrs: Vec<&[u8]> = vec![
        b" 10.0.0.1:7946",
        b" 10.0.123.123:17946",
        b" [::1]:7946",
        b" [2001:db8:1234:5678:9abc:def0:1234:5678]:65535",
        b" ",
        b"",
        b" \xa9",
        b" \xff:1",
    ];
    let numbers: Vec<&[u8]> = vec![
        b"0",
        b"7",
        b"007",
        b"+7",
        b"-7",
        b"7 ",
        b"",
        b"\xff",
        b"7:",
        b"7/",
        b"4294967295",
        b"9999999999999999999",
        b"18446744073709551615",
        b"18446744073709551616",
        b"00000000000000000000000000000009",
    ];
    let clocks: Vec<&[u8]> =
        vec![b"clock: ", b"event-clock: ", b"query-clock: ", b"# ruserf incarnation: ", b"clock:"];
    let peer = (select(starts), select(names()), select(addrs))
        .prop_map(|(start, name, addr)| [start, name, addr].concat());
    let clock = (select(clocks), select(numbers), any::<u32>(), any::<bool>()).prop_map(
        |(start, number, any, of_list)| match of_list {
            true => [start, number].concat(),
            false => [start, any.to_string().as_bytes()].concat(),
        },
    );
    let others: Vec<&[u8]> = vec![b"", b"leave ", b"coordinate: {}", b"\r", b"clock"];
    prop_oneof![
        16 => peer,
        4 => clock,
        1 => Just(b"leave".to_vec()),
        1 => select(others).prop_map(<[u8]>::to_vec),
        1 => vec(any::<u8>(), 0..40),
    ]
}

proptest! {
    #[test]
    fn a_file_says_what_its_lines_say(
        lines in vec(line(), 0..80),
        ended in any::<bool>(),
        rejoin in any::<bool>(),
        seed in any::<u64>(),
    ) {
        let mut file = lines.join(&b'\n');
        if ended {
            file.push(b'\n');
        }
        prop_assert_eq!(ours(&file, rejoin, seed), naive(&file, rejoin));
    }

    /// More members than the length of the file lets expect, in any order, that come and go.
    #[test]
    fn many_members_come_and_go(
        members in 1u32..2_000,
        steps in vec((any::<u32>(), 0u8..8), 0..4_000),
        seed in any::<u64>(),
    ) {
        let lines = steps.iter().enumerate().map(|(number, (member, what))| match what {
            0..3 => format!("not-alive: n{}\n", member % members),
            3 => format!("alive: a-name-with-the-same-start-{} {number}\n", member % members),
            _ => format!("alive: n{} {number}\n", member % members),
        });
        let file: String = lines.collect();
        prop_assert_eq!(ours(file.as_bytes(), false, seed), naive(file.as_bytes(), false));
    }
}
