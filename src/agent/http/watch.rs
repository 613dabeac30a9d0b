//! Health problems of the last minute, in addition to the current state.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use serde::Serialize;
use tokio::time::{MissedTickBehavior, interval};

use crate::{agent::operations::Agent, driver::Counters};

/// Why an agent is not ready: an identifier for programs, and a text for people.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Reason {
    pub(super) reason: &'static str,
    pub(super) detail: String,
}

/// Counters of the last minute. Sampling ends when this value is dropped.
pub(super) struct Watch {
    looks: Arc<Mutex<Looks>>,
    looking: tokio::task::JoinHandle<()>,
}

impl Watch {
    pub(super) fn start(agent: Arc<Agent>) -> Self {
        let looks = Arc::<Mutex<Looks>>::default();
        let to = Arc::clone(&looks);
        let looking = tokio::spawn(async move {
            let mut ticks = interval(PAUSE);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                ticks.tick().await;
                let Ok(counters) = agent.serf.counters().await else { return };
                to.lock().unwrap_or_else(PoisonError::into_inner).take(&counters);
            }
        });
        Self { looks, looking }
    }

    /// Reasons for which the node is not ready.
    pub(super) fn reasons(&self) -> Vec<Reason> {
        self.looks.lock().unwrap_or_else(PoisonError::into_inner).reasons()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.looking.abort();
    }
}

/// Samples of the counters, the oldest first.
#[derive(Default)]
struct Looks(VecDeque<Look>);

#[derive(Clone, Copy)]
struct Look {
    acked: u64,
    tcp_only: u64,
    implausible: u64,
}

impl Looks {
    fn take(&mut self, counters: &Counters) {
        if self.0.len() >= LOOKS {
            self.0.pop_front();
        }
        self.0.push_back(Look {
            acked: counters.swim.acked_probes,
            tcp_only: counters.swim.tcp_only_probes,
            implausible: counters.serf.dropped_implausible,
        });
    }

    fn reasons(&self) -> Vec<Reason> {
        let (Some(first), Some(last)) = (self.0.front(), self.0.back()) else { return Vec::new() };
        let mut reasons = Vec::new();
        let (acked, tcp) = (last.acked - first.acked, last.tcp_only - first.tcp_only);
        if tcp >= TCP_PROBES_MIN && tcp > acked {
            let answered = acked + tcp;
            let detail = format!(
                "{tcp} of the last {answered} probes were answered over TCP only: UDP is blocked"
            );
            reasons.push(Reason { reason: "probes_need_tcp", detail });
        }
        // One forged message must not make a node unready; a peer whose clocks are refused sends
        // repeatedly.
        let looks = self.0.iter().zip(self.0.iter().skip(1));
        let refusing = looks.filter(|(before, after)| after.implausible > before.implausible);
        if refusing.count() >= REFUSING_MIN {
            let count = last.implausible - first.implausible;
            let detail = format!(
                "{count} messages of the last minute had Lamport times too far ahead to follow"
            );
            reasons.push(Reason { reason: "clock_refused", detail });
        }
        reasons
    }
}

/// Time between two samples.
const PAUSE: Duration = Duration::from_secs(5);
/// Number of samples: those of a minute and one before.
const LOOKS: usize = 13;
/// Least number of probes in a minute that needed TCP to report it.
const TCP_PROBES_MIN: u64 = 3;
/// Least number of intervals in a minute with refused clocks to report it.
const REFUSING_MIN: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;

    fn names(looks: &Looks) -> Vec<&'static str> {
        looks.reasons().into_iter().map(|reason| reason.reason).collect()
    }

    #[test]
    fn probes_that_need_tcp_are_a_reason_until_udp_is_back() {
        let (mut looks, mut counters) = (Looks::default(), Counters::default());
        assert!(names(&looks).is_empty());
        for _ in 0..LOOKS {
            counters.swim.acked_probes += 5;
            looks.take(&counters);
        }
        assert!(names(&looks).is_empty());
        for _ in 0..LOOKS {
            counters.swim.tcp_only_probes += 5;
            looks.take(&counters);
        }
        assert_eq!(names(&looks), ["probes_need_tcp"]);
        for _ in 0..LOOKS {
            counters.swim.acked_probes += 5;
            looks.take(&counters);
        }
        assert!(names(&looks).is_empty());
        assert_eq!(looks.0.len(), LOOKS);
    }

    #[test]
    fn a_clock_that_is_refused_for_long_is_a_reason_and_one_message_is_none() {
        let (mut looks, mut counters) = (Looks::default(), Counters::default());
        looks.take(&counters);
        counters.serf.dropped_implausible += 1_000;
        looks.take(&counters);
        assert!(names(&looks).is_empty());
        for _ in 0..REFUSING_MIN {
            counters.serf.dropped_implausible += 1;
            looks.take(&counters);
        }
        assert_eq!(names(&looks), ["clock_refused"]);
        for _ in 0..LOOKS {
            looks.take(&counters);
        }
        assert!(names(&looks).is_empty());
    }
}
