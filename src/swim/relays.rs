//! Pings in flight for other nodes: how many, and which node asked.

use std::{
    hash::BuildHasher as _,
    net::{IpAddr, SocketAddr},
};

use crate::base::SeededHash;

/// Counts relayed pings, by requester too: each makes us send to an address that a peer chose, and
/// those who ask for many must not keep others from asking.
#[derive(Debug)]
pub(super) struct Relays {
    hash: SeededHash,
    under_way: usize,
    of_strangers: usize,
    /// By hash of the requester; empty until the first.
    shares: Vec<u8>,
}

/// Who wants a ping relayed.
#[derive(Clone, Copy, Debug, Hash)]
pub(super) enum Requester {
    /// A packet from the address of a member.
    Member(SocketAddr),
    /// Anything else; ports cost nothing.
    Stranger(IpAddr),
}

/// One relayed ping, to be given back.
#[derive(Clone, Copy, Debug)]
pub(super) struct Share {
    slot: usize,
    stranger: bool,
}

impl Relays {
    pub(super) fn new(seed: u64) -> Self {
        Self { hash: SeededHash(seed), under_way: 0, of_strangers: 0, shares: Vec::new() }
    }

    /// Room for one more, if there is.
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

    /// A ping was answered, or its time is over.
    pub(super) fn end(&mut self, share: Share) {
        self.under_way = self.under_way.saturating_sub(1);
        self.of_strangers = self.of_strangers.saturating_sub(usize::from(share.stranger));
        if let Some(count) = self.shares.get_mut(share.slot) {
            *count = count.saturating_sub(1);
        }
    }
}

/// Relayed pings under way at most.
const RELAYS_MAX: usize = 1024;
/// Of these, for packets that do not come from the address of a member.
const STRANGERS_RELAYS_MAX: usize = RELAYS_MAX / 2;
/// For one requester, or several of one hash. An honest one has one at a time.
const SHARE_MAX: u8 = 8;
const SHARES: usize = 1024;
