//! Decides whether to adopt the Lamport clocks of peers whose messages are too far ahead.
//!
//! A forged time must not make the clocks useless, so a large jump is not adopted at once. Go,
//! however, adopts any time: a Go node that received a forged one stamps all its messages with such
//! times, and a node that does not adopt them would drop all its messages from then on. So some
//! members are asked for their clocks, which are adopted if they are really ahead.

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc, time::Duration};

use tracing::{debug, warn};

use super::{
    LamportTime, MemberStatus,
    context::Context,
    effects::{Action, Timer},
    members::Members,
    message::PushPull,
};
use crate::{base::Instant, swim::Exchange};

/// Members whose clocks were found ahead.
#[derive(Default)]
pub(crate) struct Ahead {
    /// Name of each member and since when it has been ahead.
    members: BTreeMap<Arc<str>, Instant>,
    next_asking: Instant,
    /// Whether the adoption was logged.
    logged: bool,
}

/// Which of a peer's clocks were adopted.
pub(crate) struct Adopted {
    pub(crate) event_clock: bool,
}

impl Ahead {
    /// A message from the far future was dropped: asks some members for their clocks.
    pub(crate) fn note_implausible(
        &mut self,
        cx: &mut Context,
        members: &Members,
        ours: LamportTime,
        time: LamportTime,
    ) {
        cx.stats.dropped_implausible += 1;
        if cx.logs.clocks.admit(cx.now) {
            let (time, ours) = (time.0, ours.0);
            warn!(
                target: "serf",
                "Refusing a Lamport time that is far ahead ({time}, ours is {ours})"
            );
        }
        if cx.now < self.next_asking {
            return;
        }
        self.next_asking = cx.now + ASKING_PAUSE;
        let mut asked = Vec::new();
        for _ in 0..ASKED * 3 {
            let Some(entry) = members.at(cx.rng.below(members.len())) else { break };
            let name = entry.member.name.clone();
            if asked.len() < ASKED && !asked.contains(&name) {
                ask_clocks(cx, members, &name);
                asked.push(name);
            }
        }
    }

    /// Adopts the clocks of a push/pull, as far as they are plausible.
    pub(crate) fn adopt_clocks(
        &mut self,
        cx: &mut Context,
        members: &Members,
        remote: &PushPull<'_>,
        exchange: Exchange,
    ) -> Adopted {
        let jump_max = cx.config.lamport_jump_max;
        let clocks = [
            (cx.clocks.member, remote.ltime),
            (cx.clocks.event, remote.event_ltime),
            (cx.clocks.query, remote.query_ltime),
        ];
        let leap = clocks.iter().find(|(clock, time)| !clock.is_plausible(*time, jump_max));
        let follow_max = match leap {
            None => 0,
            Some(_) if exchange.ours && exchange.join => JOINED_MAX,
            Some(_) if exchange.ours && self.is_ahead(cx, members, exchange.peer) => FOLLOWED_MAX,
            Some((clock, time)) => {
                self.note_implausible(cx, members, clock.time(), *time);
                0
            }
        };
        if let Some((clock, time)) = leap {
            self.log_leap(clock.time(), *time, exchange, follow_max);
        } else if exchange.ours && !self.members.is_empty() {
            name_of(members, exchange.peer).map(|name| self.members.remove(&name));
        }
        cx.clocks.member.adopt(remote.ltime, jump_max, follow_max);
        cx.clocks.query.adopt(remote.query_ltime, jump_max, follow_max);
        let event_clock = cx.clocks.event.adopt(remote.event_ltime, jump_max, follow_max);
        Adopted { event_clock }
    }

    /// Records that a member is ahead; returns whether its clocks are to be adopted: another member
    /// is ahead, too, or this one has been for a while, or there is no other member.
    fn is_ahead(&mut self, cx: &mut Context, members: &Members, peer: SocketAddr) -> bool {
        let Some(name) = name_of(members, peer) else { return false };
        let alive = |name: &Arc<str>| {
            members.get(name).is_some_and(|entry| entry.member.status == MemberStatus::Alive)
        };
        self.members.retain(|name, _| alive(name));
        if !self.members.contains_key(&name) && self.members.len() < MEMBERS_MAX {
            self.members.insert(name.clone(), cx.now);
            cx.start_timer(CONSISTENT, Timer::AskClocks(name.clone()));
        }
        let others = members.alive_count().saturating_sub(1);
        let long = |since: &Instant| cx.now.since(*since) >= CONSISTENT;
        self.members.len() >= others.min(2) || self.members.get(&name).is_some_and(long)
    }

    fn log_leap(&mut self, ours: LamportTime, time: LamportTime, from: Exchange, follow_max: u64) {
        let (peer, ours, time) = (from.peer, ours.0, time.0);
        if time > follow_max {
            if follow_max > 0 || !from.ours {
                debug!(target: "serf", "refusing a Lamport time of {peer}: {time}, ours is {ours}");
            }
        } else if ours > 1 && !std::mem::replace(&mut self.logged, true) {
            warn!(
                target: "serf",
                "The Lamport clock of {peer} is far ahead ({time}, ours is {ours}): following it. \
                 Somebody may have forged a time. Events and queries that were dropped before are \
                 lost, those from now on are not"
            );
        }
    }
}

/// Asks a member for its clocks.
pub(crate) fn ask_clocks(cx: &mut Context, members: &Members, name: &Arc<str>) {
    let Some(entry) = members.get(name) else { return };
    let to = entry.member.addr();
    let other = entry.member.status == MemberStatus::Alive && *name != cx.name;
    if let (Some(to), true) = (to, other) {
        cx.effects.act(Action::Sync { to, node: name.clone() });
    }
}

fn name_of(members: &Members, peer: SocketAddr) -> Option<Arc<str>> {
    let mut members = members.iter().map(|entry| &entry.member);
    members
        .find(|member| member.is_alive() && member.addr() == Some(peer))
        .map(|member| member.name.clone())
}

/// Number of members asked at a time.
const ASKED: usize = 3;
/// Pause between two rounds of asking.
const ASKING_PAUSE: Duration = Duration::from_secs(2);
/// After this time the clocks of a single member that is ahead are adopted.
const CONSISTENT: Duration = Duration::from_secs(5);
/// Most members recorded as ahead.
const MEMBERS_MAX: usize = 64;
/// Highest clock adopted from the peer that we joined: half of the range, so that the clocks never
/// run out.
const JOINED_MAX: u64 = u64::MAX / 2;
/// Highest clock adopted from other members. It is lower, so that a cluster driven to it can run
/// for long before nodes that join later refuse its clocks.
const FOLLOWED_MAX: u64 = JOINED_MAX - (1 << 60);
