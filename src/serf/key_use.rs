//! Tracks the age and use of the primary key.
//!
//! AES-GCM with random nonces is only safe for about 2^32 messages a key (NIST SP 800-38D), summed
//! over all nodes. A node counts only its own and assumes that its peers send as many.

use std::time::Duration;

use tracing::warn;

use crate::{base::Instant, wire::Keyring};

/// Age of the primary key in this process, and the warnings already logged.
#[derive(Debug)]
pub(crate) struct KeyUse {
    since: Instant,
    warned: u64,
}

impl KeyUse {
    pub(crate) fn new(now: Instant) -> Self {
        Self { since: now, warned: 0 }
    }

    /// Handles a replaced keyring.
    pub(crate) fn changed(&mut self, now: Instant, before: &Keyring, after: &Keyring) {
        if before.keys().next() != after.keys().next() {
            *self = Self::new(now);
        }
    }

    /// How long this process has used the primary key.
    pub(crate) fn age(&self, now: Instant) -> Duration {
        now.since(self.since)
    }

    /// Logs a warning when the cluster has used half of the key's safe messages, and at each
    /// doubling.
    pub(crate) fn check(&mut self, keyring: &Keyring, members: usize) {
        let Some(all) = Self::worrying(keyring, members) else { return };
        if all < self.warned.saturating_mul(2) {
            return;
        }
        self.warned = all;
        warn!(
            target: "serf",
            "The encryption key has encrypted about {all} messages of all members; rotate it \
             (serf keys rotate) before it are {MESSAGES_MAX}"
        );
    }

    /// Estimate of the messages that all members have encrypted with the primary key, if it is half
    /// of what is safe or more.
    pub(crate) fn worrying(keyring: &Keyring, members: usize) -> Option<u64> {
        let all = keyring.messages().saturating_mul(members.max(1) as u64);
        (all >= MESSAGES_WARNING).then_some(all)
    }
}

/// Messages that a key with random nonces may safely encrypt.
const MESSAGES_MAX: u64 = 1 << 32;
/// First warning: at 1,000 messages a second of each node, in a cluster of 100, hours are left.
const MESSAGES_WARNING: u64 = 1 << 31;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_warning_comes_at_half_of_what_a_key_is_good_for_and_at_each_doubling() {
        let mut key_use = KeyUse::new(Instant::ZERO);
        let ring = Keyring::build(&[], &[1; 16]).unwrap();
        let mut warned_at = |messages: u64| {
            ring.set_messages(messages);
            key_use.check(&ring, 4);
            key_use.warned
        };
        assert_eq!(warned_at((1 << 29) - 1), 0);
        assert_eq!(warned_at(1 << 29), 1 << 31);
        assert_eq!(warned_at((1 << 30) - 1), 1 << 31);
        assert_eq!(warned_at(1 << 30), 1 << 32);
        assert_eq!(KeyUse::worrying(&ring, 4), Some(1 << 32));
        assert_eq!(KeyUse::worrying(&ring, 1), None);
    }

    #[test]
    fn the_age_is_that_of_the_primary_key() {
        let at = |s| Instant::ZERO + Duration::from_secs(s);
        let mut key_use = KeyUse::new(at(0));
        let one = Keyring::build(&[], &[1; 16]).unwrap();
        let mut two = one.clone();
        two.add_key(&[2; 16]).unwrap();
        key_use.changed(at(5), &one, &two);
        assert_eq!(key_use.age(at(7)), Duration::from_secs(7));
        let before = two.clone();
        two.use_key(&[2; 16]).unwrap();
        key_use.changed(at(8), &before, &two);
        assert_eq!(key_use.age(at(9)), Duration::from_secs(1));
    }
}
