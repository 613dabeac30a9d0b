//! The task that sends and receives beacons.

use std::{sync::Arc, time::Duration};

use rand::{TryRng as _, rngs::SysRng};
use tokio::time::{MissedTickBehavior, interval, sleep};
use tracing::{info, warn};

use super::{
    delays::Delays,
    message::{Beacon, NAME, is_beacon},
    turns::{Change, Turns},
};
use crate::{
    agent::operations::Agent,
    base::{Instant, LogLimit, Rng, printable, printable_text},
    driver::{self, Event, LagPolicy, Name, Subscribe},
    serf::MemberStatus,
};

/// Sends beacons while this node is the sender and measures those of others, until the node stops.
pub(in crate::agent) async fn run(agent: Arc<Agent>, between: Duration) {
    let mut seed = [0; 32];
    if SysRng.try_fill_bytes(&mut seed).is_err() {
        warn!(target: "agent", "No beacons: the system has no random bytes");
        return;
    }
    let options = Subscribe { capacity: QUEUE, policy: LagPolicy::DropNewest };
    let mut events = agent.serf.subscribe(options);
    let mut beacons = Beacons::new(agent, between, Rng::from_seed(seed));
    let mut looks = interval(LOOK);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let wait = beacons.turns.next().since(driver::now());
        tokio::select! {
            event = events.recv() => match event {
                Some(event) => beacons.hear(&event).await,
                None => return,
            },
            () = sleep(wait) => beacons.send().await,
            _ = looks.tick() => beacons.look(),
        }
    }
}

/// Whether an event is hidden from handlers, streams and the log: it is a beacon, and beacons are
/// enabled here.
pub(in crate::agent) fn is_hidden(agent: &Agent, event: &Event) -> bool {
    agent.settings.beacon_interval.is_some() && is_beacon(event)
}

/// The same of an event's name.
pub(in crate::agent) fn is_hidden_name(agent: &Agent, name: &Name) -> bool {
    agent.settings.beacon_interval.is_some() && matches!(name, Name::User(name) if &**name == NAME)
}

struct Beacons {
    agent: Arc<Agent>,
    between: Duration,
    began: Instant,
    run: u64,
    sent: u64,
    /// When the last beacon of another member arrived.
    heard: Instant,
    turns: Turns,
    delays: Delays,
    lines: LogLimit,
}

impl Beacons {
    fn new(agent: Arc<Agent>, between: Duration, mut rng: Rng) -> Self {
        let (now, run) = (driver::now(), rng.u64());
        let turns = Turns::new(Arc::clone(agent.serf.name()), between, now, rng);
        Self {
            agent,
            between,
            began: now,
            run,
            sent: 0,
            heard: now,
            turns,
            delays: Delays::default(),
            lines: LogLimit::new("late beacons"),
        }
    }

    fn clock_ms(&self, now: Instant) -> u64 {
        u64::try_from(now.since(self.began).as_millis()).unwrap_or(u64::MAX)
    }

    async fn hear(&mut self, event: &Event) {
        let Some(beacon) = Beacon::of(event) else { return };
        // Our own, or one of another node with our name, of which one will be shut down.
        if beacon.run == self.run || beacon.sender == **self.agent.serf.name() {
            return;
        }
        let now = driver::now();
        let Some(delay) = self.delays.take(&beacon, self.clock_ms(now)) else { return };
        self.heard = now;
        metrics::histogram!("agent.beacon.delay").record(delay.as_secs_f64() * 1e3);
        if delay > late_after(self.between) {
            metrics::counter!("agent.beacon.late").increment(1);
            self.warn(&beacon, delay, now);
        }
        // A beacon of a member that is not alive has no influence on who sends.
        let sender = self.agent.serf.member(&beacon.sender).await;
        if sender.is_some_and(|member| member.status == MemberStatus::Alive)
            && self.turns.hear(&beacon.sender, now) == Change::Yielded
        {
            let name = printable(&beacon.sender);
            info!(target: "agent", "Beacons: {name} sends them now");
        }
    }

    fn warn(&mut self, beacon: &Beacon, delay: Duration, now: Instant) {
        let name = printable(&beacon.sender);
        if self.lines.admit(now) {
            let seconds = delay.as_secs_f64();
            warn!(target: "agent", "Beacon of {name} came {seconds:.1} s late: this view was old");
        }
    }

    async fn send(&mut self) {
        let (now, was_sender) = (driver::now(), self.turns.is_sender());
        if !self.turns.is_due(now) {
            return;
        }
        if !was_sender {
            let silence = now.since(self.heard).as_secs();
            info!(target: "agent", "Beacons: sending them, none came for {silence} s");
        }
        self.sent += 1;
        let beacon = Beacon {
            run: self.run,
            number: self.sent,
            sent_ms: self.clock_ms(now),
            sender: self.agent.serf.name().to_string(),
        };
        match self.agent.serf.user_event(NAME, beacon.encode()).await {
            Ok(()) => metrics::counter!("agent.beacon.sent").increment(1),
            Err(error) => {
                let error = printable_text(&error, ERROR_BYTES_MAX);
                warn!(target: "agent", "Beacon not sent: {error}");
            }
        }
    }

    /// Reports the age of the newest beacon.
    fn look(&mut self) {
        let now = driver::now();
        let age = if self.turns.is_sender() { Duration::ZERO } else { now.since(self.heard) };
        metrics::gauge!("agent.beacon.age").set(age.as_secs_f64() * 1e3);
        if let Some(count) = self.lines.take_suppressed(now) {
            warn!(target: "agent", "Left out {count} lines about {}", self.lines.about);
        }
    }
}

/// The delay above which a beacon is late.
fn late_after(between: Duration) -> Duration {
    (between / 2).max(LATE_MIN)
}

/// Gossip takes one or two seconds in large clusters.
const LATE_MIN: Duration = Duration::from_secs(2);
/// Interval between reports of the age.
const LOOK: Duration = Duration::from_secs(1);
/// Most events queued for this task, which handles each quickly.
const QUEUE: usize = 4_096;
const ERROR_BYTES_MAX: usize = 512;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn late_is_half_an_interval_and_two_seconds_at_least() {
        for (between, late) in [(1, 2), (4, 2), (10, 5), (60, 30)] {
            assert_eq!(late_after(Duration::from_secs(between)), Duration::from_secs(late));
        }
    }
}
