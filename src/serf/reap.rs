//! Forgetting members that are gone, and trying to reach those that failed.

use std::{sync::Arc, time::Duration};

use tracing::{debug, info};

use super::{
    MemberStatus,
    membership::ip_text,
    state::{Action, State},
};
use crate::base::{Instant, mutated};

impl State {
    /// Go: `serf/serf.go:handleReap`.
    pub(crate) fn reap(&mut self, now: Instant) {
        if mutated!(self.config.swim, TombstonesForever) {
            return;
        }
        let config = &self.config;
        let (failed, left) = (config.reconnect_timeout, config.tombstone_timeout);
        let expired = [
            self.expired(now, MemberStatus::Failed, failed),
            self.expired(now, MemberStatus::Left, left),
        ];
        for name in expired.into_iter().flatten() {
            let Some(entry) = self.members.get(&name) else { continue };
            let member = entry.member.clone();
            if member.status == MemberStatus::Failed {
                self.remembered.remember(now, &member);
            }
            info!(target: "serf", "EventMemberReap: {name}");
            self.erase(now, &name);
        }
        self.intents.expire(now, self.config.recent_intent_timeout);
        self.remembered.expire(now);
    }

    /// Members of a list whose timeout is over. Looks at no others, unless a delegate may
    /// change the timeout of any.
    fn expired(&self, now: Instant, status: MemberStatus, timeout: Duration) -> Vec<Arc<str>> {
        let list = match status {
            MemberStatus::Failed => self.members.failed(),
            MemberStatus::None
            | MemberStatus::Alive
            | MemberStatus::Leaving
            | MemberStatus::Left => self.members.left(),
        };
        let Some(delegate) = &self.config.delegates.reconnect else {
            let over = list.iter().take_while(|(since, _)| now.since(*since) > timeout);
            return over.map(|(_, name)| name.clone()).collect();
        };
        let over = list.iter().filter(|(since, name)| {
            let timeout = match self.members.get(name) {
                Some(entry) => delegate.reconnect_timeout(&entry.member, timeout),
                None => timeout,
            };
            now.since(*since) > timeout
        });
        over.map(|(_, name)| name.clone()).collect()
    }

    /// Go: `serf/serf.go:reconnect`; peers that were reaped count as failed here.
    pub(crate) fn reconnect(&mut self) {
        if self.life == super::SerfState::Alive && !self.has_alive_members() {
            self.rejoin_seed();
        }
        let failed = self.members.failed().len();
        let gone = failed + self.remembered.len();
        if gone == 0 || self.life != super::SerfState::Alive {
            return;
        }
        let known = self.members.len().saturating_sub(failed + self.members.left().len());
        let chance = gone as f32 / known.max(1) as f32;
        if self.rng.unit() as f32 > chance {
            debug!(target: "serf", "forgoing reconnect for random throttling");
            return;
        }
        let pick = self.rng.below(gone);
        let target = match self.members.failed().iter().nth(pick) {
            Some((_, name)) => self.members.get(name).and_then(|entry| {
                info!(
                    target: "serf",
                    "attempting reconnect to {name} {}:{}",
                    ip_text(&entry.member), entry.member.port
                );
                Some((entry.member.socket_addr()?, name.clone()))
            }),
            None => self.remembered.at(pick - failed).map(|(name, addr)| {
                info!(target: "serf", "attempting reconnect to {name} {addr}");
                (addr, name.clone())
            }),
        };
        if let Some((to, node)) = target {
            self.actions.push_back(Action::Reconnect { to, node });
        }
    }

    /// We are alone though a join once succeeded: whoever is there now may know the others.
    fn rejoin_seed(&mut self) {
        let pick = self.rng.below(self.remembered.seeds().len());
        let Some(to) = self.remembered.seeds().get(pick).copied() else { return };
        info!(target: "serf", "attempting rejoin through {to}");
        self.actions.push_back(Action::Reconnect { to, node: "".into() });
        self.actions.push_back(Action::RejoinSeeds);
    }
}
