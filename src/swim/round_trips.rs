//! How long acks take, by peer: an overdue ack is noticed after a few round trips.

use std::time::Duration;

/// Round trips of all peers and of each. Van Jacobson's estimator, as in RFC 6298.
#[derive(Debug, Default)]
pub(super) struct RoundTrips {
    all: Estimate,
    /// By slot of the table. That of a slot whose node was replaced is off by at most the limits of
    /// the time-out, until the first ack.
    peers: Vec<Estimate>,
}

/// Smoothed round trip and its mean deviation, in microseconds; zero before the first.
#[derive(Clone, Copy, Debug, Default)]
struct Estimate {
    smoothed: u32,
    deviation: u32,
}

impl RoundTrips {
    pub(super) fn add(&mut self, slot: u32, time: Duration) {
        self.all.add(time);
        let slot = slot as usize;
        if self.peers.len() <= slot {
            self.peers.resize(slot + 1, Estimate::default());
        }
        if let Some(peer) = self.peers.get_mut(slot) {
            peer.add(time);
        }
    }

    /// After this time the ack of a peer is overdue; `None` before the first of anybody. A peer
    /// whose own is not known is taken for one of all.
    pub(super) fn timeout(&self, slot: u32) -> Option<Duration> {
        let peer = self.peers.get(slot as usize).and_then(|peer| peer.timeout());
        peer.or_else(|| self.all.timeout())
    }
}

impl Estimate {
    fn add(&mut self, time: Duration) {
        let time = u32::try_from(time.as_micros()).unwrap_or(MICROS_MAX).clamp(1, MICROS_MAX);
        if self.smoothed == 0 {
            *self = Self { smoothed: time, deviation: time / 2 };
            return;
        }
        self.deviation = (3 * self.deviation + self.smoothed.abs_diff(time)) / 4;
        self.smoothed = ((7 * self.smoothed + time) / 8).max(1);
    }

    fn timeout(self) -> Option<Duration> {
        let micros = u64::from(self.smoothed) + 4 * u64::from(self.deviation);
        (self.smoothed > 0).then(|| Duration::from_micros(micros))
    }
}

/// Longest round trip that is stored, so that the sums fit.
const MICROS_MAX: u32 = 100_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_timeout_follows_the_peer_and_others_are_guessed_from_all() {
        let ms = Duration::from_millis;
        let mut trips = RoundTrips::default();
        assert_eq!(trips.timeout(3), None);
        trips.add(3, ms(40));
        // RFC 6298: the first deviation is half of the round trip.
        assert_eq!(trips.timeout(3), Some(ms(120)));
        assert_eq!(trips.timeout(9), Some(ms(120)));
        for _ in 0..100 {
            trips.add(3, ms(40));
            trips.add(5, ms(2));
        }
        assert!(trips.timeout(3).unwrap() < ms(41));
        assert!(trips.timeout(5).unwrap() < ms(3));
        assert!(trips.timeout(9).unwrap() > ms(41), "of any of them");
        trips.add(5, Duration::MAX);
        assert!(trips.timeout(5).unwrap() < ms(120_000));
    }
}
