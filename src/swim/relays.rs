//! Limits the pings in flight for other nodes, in total and by requester.

use std::{
    hash::BuildHasher as _,
    net::{IpAddr, SocketAddr},
};

use crate::base::SeededHash;

/// Counts relayed pings, in total and by requester: each makes this node send to an address that a
/// peer chose, and a requester with many must not block the others.
#[derive(Debug)]
pub(super) struct Relays {
    hash: SeededHash,
    under_way: usize,
    of_strangers: usize,
    /// Pings by hash of the requester; empty until the first request.
    shares: Vec<u8>,
}

/// Who requested a relayed ping.
#[derive(Clone, Copy, Debug, Hash)]
pub(super) enum Requester {
    /// A packet from a member's address.
    Member(SocketAddr),
    /// Any other sender, by IP only, as ports can be chosen freely.
    Stranger(IpAddr),
}

/// The slot of one relayed ping, to be returned at its end.
#[derive(Clone, Copy, Debug)]
pub(super) struct Share {
    slot: usize,
    stranger: bool,
}

impl Relays {
    pub(super) fn new(seed: u64) -> Self {
        Self { hash: SeededHash(seed), under_way: 0, of_strangers: 0, shares: Vec::new() }
    }

    /// Reserves a slot, if there is one.
    pub(super) fn begin(&mut self, requester: Requester) -> Option<Share> {
        let stranger = matches!(requester, Requester::Stranger(_));
        let full =
            self.under_way >= RELAYS_MAX || (stranger && self.of_strangers >= STRANGERS_RELAYS_MAX);
        if full {
            return None;
        }
        self.shares.resize(SHARES, 0);
        let slot = self.hash.hash_one(requester) as usize % SHARES;
        let share = self.shares.get_mut(slot).filter(|share| **share < SHARE_MAX)?;
        *share += 1;
        self.under_way += 1;
        self.of_strangers += usize::from(stranger);
        Some(Share { slot, stranger })
    }

    /// Releases the slot of a ping that was answered or has expired.
    pub(super) fn end(&mut self, share: Share) {
        self.under_way = self.under_way.saturating_sub(1);
        self.of_strangers = self.of_strangers.saturating_sub(usize::from(share.stranger));
        if let Some(count) = self.shares.get_mut(share.slot) {
            *count = count.saturating_sub(1);
        }
    }
}

/// Most relayed pings in flight.
const RELAYS_MAX: usize = 1024;
/// Most of these for packets that do not come from a member's address.
const STRANGERS_RELAYS_MAX: usize = RELAYS_MAX / 2;
/// Most for one requester, or for all that share its hash. A well-behaved requester has one at a
/// time; with `fast_detection` a few, as it verifies up to eight suspicions.
const SHARE_MAX: u8 = 8;
const SHARES: usize = 1024;
