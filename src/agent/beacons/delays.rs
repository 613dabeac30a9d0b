//! Measures the delays of beacons.

use std::{collections::VecDeque, time::Duration};

use super::message::Beacon;

/// Delays by sender. Clocks of two machines cannot be compared, so a delay is relative to the
/// fastest of the sender's last beacons, whose delay is zero.
#[derive(Default)]
pub(super) struct Delays {
    /// The most recently heard sender comes first.
    senders: VecDeque<Sender>,
}

struct Sender {
    run: u64,
    number: u64,
    /// Our time of arrival minus the sender's time of sending, for the last beacons.
    offsets: VecDeque<i64>,
}

impl Delays {
    /// Returns the delay of a beacon that arrived `now_ms` milliseconds after our own start; `None`
    /// if a later one of its sender has already arrived.
    pub(super) fn take(&mut self, beacon: &Beacon, now_ms: u64) -> Option<Duration> {
        let known = self.senders.iter().position(|sender| sender.run == beacon.run);
        let mut sender = known.and_then(|at| self.senders.remove(at)).unwrap_or(Sender {
            run: beacon.run,
            number: 0,
            offsets: VecDeque::new(),
        });
        let is_new = sender.offsets.is_empty() || beacon.number > sender.number;
        let delay = is_new.then(|| sender.take(beacon, now_ms));
        self.senders.push_front(sender);
        self.senders.truncate(SENDERS_MAX);
        delay
    }
}

impl Sender {
    fn take(&mut self, beacon: &Beacon, now_ms: u64) -> Duration {
        self.number = beacon.number;
        let offset = i64::try_from(now_ms).unwrap_or(i64::MAX) - beacon.sent_ms as i64;
        self.offsets.push_front(offset);
        self.offsets.truncate(WINDOW);
        let best = self.offsets.iter().copied().min().unwrap_or(offset);
        Duration::from_millis(offset.abs_diff(best))
    }
}

/// Number of last beacons whose fastest is the reference: few, so that the drift of clocks and
/// suspended machines have no lasting effect.
pub(super) const WINDOW: usize = 16;
/// Most senders remembered. Usually there is one, or one in each part of a partitioned cluster.
const SENDERS_MAX: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    fn beacon(run: u64, number: u64, sent_ms: u64) -> Beacon {
        Beacon { run, number, sent_ms, sender: "a".into() }
    }

    fn millis(delay: Option<Duration>) -> Option<u128> {
        delay.map(|delay| delay.as_millis())
    }

    #[test]
    fn a_delay_is_what_a_beacon_took_longer_than_the_fastest_whatever_the_clocks() {
        for ours in [0_u64, 5_000_000] {
            let mut delays = Delays::default();
            let mut take = |number, sent, took| {
                millis(delays.take(&beacon(1, number, 1_000_000 + sent), ours + sent + took))
            };
            assert_eq!(take(1, 0, 300), Some(0));
            assert_eq!(take(2, 10_000, 900), Some(600));
            assert_eq!(take(3, 20_000, 100), Some(0));
            assert_eq!(take(5, 40_000, 7_100), Some(7_000));
            // Superfluous, and twice.
            assert_eq!(take(4, 30_000, 20_000), None);
            assert_eq!(take(5, 40_000, 7_200), None);
            // What is slow for long is what is usual.
            for number in 6..6 + WINDOW as u64 {
                take(number, number * 10_000, 2_000);
            }
            assert_eq!(take(50, 500_000, 2_100), Some(100));
        }
    }

    #[test]
    fn senders_have_clocks_of_their_own_and_few_are_remembered() {
        let mut delays = Delays::default();
        assert_eq!(millis(delays.take(&beacon(1, 9, 0), 1_000)), Some(0));
        assert_eq!(millis(delays.take(&beacon(2, 1, 900_000), 2_000)), Some(0));
        assert_eq!(millis(delays.take(&beacon(1, 10, 0), 2_500)), Some(1_500));
        for run in 0..1_000 {
            delays.take(&beacon(run, u64::MAX, 0), u64::MAX);
        }
        assert_eq!(delays.senders.len(), SENDERS_MAX);
        assert!(delays.senders.iter().all(|sender| sender.offsets.len() <= WINDOW));
    }
}
