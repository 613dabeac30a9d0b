//! Decides which member sends beacons.
//!
//! A member that receives beacons of an alive member with a lower name does not send. A member that
//! has received none for three intervals and a random part of one starts to send; the random part
//! makes it unlikely that several start at once. A member that receives beacons of a higher name
//! starts to send, too. So after a while only the member with the lowest name sends, without a
//! message or a tag to elect it; in a partitioned cluster, one in each part.

use std::{sync::Arc, time::Duration};

use crate::base::{Instant, Rng};

/// How a beacon of another member changes who sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    None,
    /// We were the sender, and are not any more.
    Yielded,
}

pub(super) struct Turns {
    own: Arc<str>,
    interval: Duration,
    rng: Rng,
    next: Instant,
    is_sender: bool,
}

impl Turns {
    pub(super) fn new(own: Arc<str>, interval: Duration, now: Instant, mut rng: Rng) -> Self {
        // Wait for beacons of others first.
        let next = now + interval + interval.mul_f64(rng.unit());
        Self { own, interval, rng, next, is_sender: false }
    }

    /// When to call [`Self::is_due`] next.
    pub(super) fn next(&self) -> Instant {
        self.next
    }

    /// Whether this node is the sender.
    pub(super) fn is_sender(&self) -> bool {
        self.is_sender
    }

    /// Processes a beacon of an alive member.
    pub(super) fn hear(&mut self, name: &str, now: Instant) -> Change {
        let bit = self.interval.mul_f64(self.rng.unit());
        if name < &*self.own {
            self.next = now + self.interval * SILENT_INTERVALS + bit;
            return match std::mem::take(&mut self.is_sender) {
                true => Change::Yielded,
                false => Change::None,
            };
        }
        if name > &*self.own && !self.is_sender {
            self.next = self.next.min(now + bit);
        }
        Change::None
    }

    /// Whether to send a beacon now.
    pub(super) fn is_due(&mut self, now: Instant) -> bool {
        if now < self.next {
            return false;
        }
        self.is_sender = true;
        // After a suspension of the machine, missed beacons are not sent.
        self.next = (self.next + self.interval).max(now + self.interval / 2);
        true
    }
}

/// Number of intervals without a beacon after which another member starts to send.
pub(super) const SILENT_INTERVALS: u32 = 3;

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_secs(10);
    const STEP: Duration = Duration::from_millis(100);

    /// Members that hear each other 300 ms later, in parts, and who has sent when.
    struct Cluster {
        now: Instant,
        members: Vec<(String, Turns)>,
        under_way: Vec<(Instant, usize)>,
        sent: Vec<(Instant, usize)>,
    }

    impl Cluster {
        fn new(count: usize) -> Self {
            let now = Instant::ZERO;
            let member = |n: usize| {
                let name = format!("node-{n:03}");
                let rng = Rng::from_u64(n as u64);
                (name.clone(), Turns::new(name.as_str().into(), INTERVAL, now, rng))
            };
            let members = (0..count).map(member).collect();
            Self { now, members, under_way: Vec::new(), sent: Vec::new() }
        }

        /// How often each member sends in so many intervals. `part` maps a member to its part of
        /// the network; in part 0 no member hears another.
        fn run(&mut self, intervals: u32, part: impl Fn(usize) -> usize) -> Vec<usize> {
            let (end, before) = (self.now + INTERVAL * intervals, self.sent.len());
            while self.now < end {
                self.now += STEP;
                let (now, came) = (self.now, Duration::from_millis(300));
                for (_, from) in self.under_way.extract_if(.., |(at, _)| *at <= now) {
                    let name = self.members[from].0.clone();
                    for (to, (_, turns)) in self.members.iter_mut().enumerate() {
                        if to != from && part(to) == part(from) && part(to) > 0 {
                            turns.hear(&name, now);
                        }
                    }
                }
                for (n, (_, turns)) in self.members.iter_mut().enumerate() {
                    if part(n) > 0 && turns.is_due(now) {
                        self.sent.push((now, n));
                        self.under_way.push((now + came, n));
                    }
                }
            }
            self.sent[before..].iter().map(|(_, n)| *n).collect()
        }
    }

    #[test]
    fn the_lowest_name_is_left_over_and_few_send_meanwhile() {
        let mut cluster = Cluster::new(300);
        let first = cluster.run(10, |_| 1);
        // Some begin at once, within the 300 ms that a beacon takes.
        assert!(first.len() < 60, "{}", first.len());
        assert!(cluster.run(10, |_| 1).iter().all(|n| *n == 0));
        assert_eq!(cluster.run(100, |_| 1).len(), 100);
    }

    #[test]
    fn the_next_one_takes_over_and_each_part_of_a_cluster_has_one() {
        let mut cluster = Cluster::new(20);
        cluster.run(10, |_| 1);
        // The lowest is gone.
        let silent = |n: usize| usize::from(n > 0);
        cluster.run(8, silent);
        assert_eq!(cluster.run(20, silent), [1; 20]);
        // It comes back, and is heard by all.
        cluster.run(8, |_| 1);
        assert_eq!(cluster.run(20, |_| 1), [0; 20]);
        let halves = |n: usize| 1 + n % 2;
        cluster.run(8, halves);
        let mut both = cluster.run(20, halves);
        both.sort_unstable();
        assert_eq!(both, [[0; 20], [1; 20]].concat());
        cluster.run(2, |_| 1);
        assert_eq!(cluster.run(20, |_| 1), [0; 20]);
        assert_eq!(cluster.members.iter().filter(|(_, turns)| turns.is_sender()).count(), 1);
    }

    #[test]
    fn a_pause_of_the_machine_is_followed_by_one_beacon() {
        let mut turns = Turns::new("a".into(), INTERVAL, Instant::ZERO, Rng::from_u64(1));
        let late = Instant::ZERO + INTERVAL * 1_000;
        assert!(turns.is_due(late) && !turns.is_due(late));
        assert_eq!(turns.next(), late + INTERVAL / 2);
        assert_eq!(turns.hear("b", late), Change::None);
        assert_eq!(turns.hear("a", late), Change::None);
        assert_eq!(turns.hear("B", late), Change::Yielded);
        assert_eq!(turns.hear("B", late), Change::None);
    }
}
