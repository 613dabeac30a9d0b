//! Peers whose Lamport clocks are so far ahead that their messages are dropped: whether to follow.
//!
//! A forged time must not make the clocks useless, so a leap is not believed. But Go believes any,
//! and a Go node that was lied to stamps all it says with such times: whoever does not follow is
//! deaf to it for good. So members are asked, and followed if it is true.

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc, time::Duration};

use tracing::{debug, warn};

use super::{
    LamportTime, MemberStatus,
    message::PushPull,
    state::{Action, State, Timer},
};
use crate::{base::Instant, swim::Exchange};

/// Members that were found ahead.
#[derive(Default)]
pub(crate) struct Ahead {
    /// Since when, by name.
    members: BTreeMap<Arc<str>, Instant>,
    next_asking: Instant,
    /// Whether following was announced.
    said: bool,
}

/// What of a peer's clocks was taken over.
pub(crate) struct Adopted {
    pub(crate) event_clock: bool,
}

impl State {
    /// A message from the far future was dropped: some members are asked for their clocks.
    pub(crate) fn note_implausible(&mut self, now: Instant, ltime: LamportTime) {
        self.stats.dropped_implausible += 1;
        debug!(target: "serf", ltime = ltime.0, "dropping message from the far future");
        if now < self.ahead.next_asking {
            return;
        }
        self.ahead.next_asking = now + ASKING_PAUSE;
        let mut asked = Vec::new();
        for _ in 0..ASKED * 3 {
            let members = self.members.len();
            let Some(entry) = self.members.at(self.rng.below(members)) else { break };
            let name = entry.member.name.clone();
            if asked.len() < ASKED && !asked.contains(&name) {
                self.ask_clocks(&name);
                asked.push(name);
            }
        }
    }

    /// Asks a member for its clocks.
    pub(crate) fn ask_clocks(&mut self, name: &Arc<str>) {
        let Some(entry) = self.members.get(name) else { return };
        let to = entry.member.socket_addr();
        let other = entry.member.status == MemberStatus::Alive && *name != self.name;
        if let (Some(to), true) = (to, other) {
            self.actions.push_back(Action::Sync { to, node: name.clone() });
        }
    }

    /// Takes over the clocks that came with a push/pull, as far as they are believed.
    pub(crate) fn adopt_clocks(
        &mut self,
        now: Instant,
        remote: &PushPull<'_>,
        exchange: Exchange,
    ) -> Adopted {
        let jump_max = self.config.lamport_jump_max;
        let clocks = [
            (self.clock, remote.ltime),
            (self.event_clock, remote.event_ltime),
            (self.query_clock, remote.query_ltime),
        ];
        let leap = clocks.iter().find(|(clock, time)| !clock.is_plausible(*time, jump_max));
        let follow_max = match leap {
            None => 0,
            Some(_) if exchange.ours && exchange.join => JOINED_MAX,
            Some(_) if exchange.ours && self.is_ahead(now, exchange.peer) => FOLLOWED_MAX,
            Some((_, time)) => {
                self.note_implausible(now, *time);
                0
            }
        };
        if let Some((clock, time)) = leap {
            self.log_leap(clock.time(), *time, exchange, follow_max);
        } else if exchange.ours && !self.ahead.members.is_empty() {
            let name = self.name_of(exchange.peer);
            name.map(|name| self.ahead.members.remove(&name));
        }
        self.clock.adopt(remote.ltime, jump_max, follow_max);
        self.query_clock.adopt(remote.query_ltime, jump_max, follow_max);
        let event_clock = self.event_clock.adopt(remote.event_ltime, jump_max, follow_max);
        Adopted { event_clock }
    }

    /// Notes that a member is ahead; gives whether that is enough to follow: another one is, too,
    /// or it has been for a while, or there is no other.
    fn is_ahead(&mut self, now: Instant, peer: SocketAddr) -> bool {
        let Some(name) = self.name_of(peer) else { return false };
        let members = &self.members;
        let alive = |name: &Arc<str>| {
            members.get(name).is_some_and(|entry| entry.member.status == MemberStatus::Alive)
        };
        self.ahead.members.retain(|name, _| alive(name));
        if !self.ahead.members.contains_key(&name) && self.ahead.members.len() < MEMBERS_MAX {
            self.ahead.members.insert(name.clone(), now);
            self.timers.set(now + CONSISTENT, Timer::AskClocks(name.clone()));
        }
        let others = self.members.alive_count().saturating_sub(1);
        let long = |since: &Instant| now.since(*since) >= CONSISTENT;
        self.ahead.members.len() >= others.min(2) || self.ahead.members.get(&name).is_some_and(long)
    }

    fn name_of(&self, peer: SocketAddr) -> Option<Arc<str>> {
        let mut members = self.members.iter().map(|entry| &entry.member);
        members
            .find(|member| {
                member.status == MemberStatus::Alive && member.socket_addr() == Some(peer)
            })
            .map(|member| member.name.clone())
    }

    fn log_leap(&mut self, ours: LamportTime, time: LamportTime, from: Exchange, follow_max: u64) {
        let (peer, ours, time) = (from.peer, ours.0, time.0);
        if time > follow_max {
            if follow_max > 0 || !from.ours {
                debug!(target: "serf", "refusing a Lamport time of {peer}: {time}, ours is {ours}");
            }
        } else if ours > 1 && !std::mem::replace(&mut self.ahead.said, true) {
            warn!(
                target: "serf",
                "The Lamport clock of {peer} is far ahead ({time}, ours is {ours}): following it. \
                 Somebody may have forged a time. Events and queries that were dropped before are \
                 lost, those from now on are not"
            );
        }
    }
}

/// Members asked at a time.
const ASKED: usize = 3;
/// Between two times of asking.
const ASKING_PAUSE: Duration = Duration::from_secs(2);
/// A member that is ahead so long is followed alone.
const CONSISTENT: Duration = Duration::from_secs(5);
/// Members found ahead that are remembered.
const MEMBERS_MAX: usize = 64;
/// Highest clock that is taken over from whom we joined: half of the range, so that the clocks
/// never run out.
const JOINED_MAX: u64 = u64::MAX / 2;
/// Highest clock that other members are followed to. Lower, so that a cluster that was driven
/// there can go on for long before those that join it later refuse its clocks.
const FOLLOWED_MAX: u64 = JOINED_MAX - (1 << 60);
