//! Forgets members that are gone, and tries to reach failed ones.

use std::{sync::Arc, time::Duration};

use tracing::{debug, info};

use super::{
    MemberStatus, SerfState,
    context::Context,
    effects::Action,
    membership::{Membership, ip_text},
};
use crate::base::mutated;

impl Membership {
    /// Go: `serf/serf.go:handleReap`.
    pub(crate) fn reap(&mut self, cx: &mut Context) {
        if mutated!(cx.config.swim, TombstonesForever) {
            return;
        }
        let (failed, left) = (cx.config.reconnect_timeout, cx.config.tombstone_timeout);
        let expired = [
            self.expired(cx, MemberStatus::Failed, failed),
            self.expired(cx, MemberStatus::Left, left),
        ];
        for name in expired.into_iter().flatten() {
            let Some(entry) = self.table.get(&name) else { continue };
            let member = entry.member.clone();
            if member.status == MemberStatus::Failed {
                self.remembered.remember(cx.now, &member);
            }
            info!(target: "serf", "EventMemberReap: {name}");
            self.erase(cx, &name);
        }
        self.intents.expire(cx.now, cx.config.recent_intent_timeout);
        self.remembered.expire(cx.now);
    }

    /// Members with `status` whose timeout has expired. Stops at the first that has not, unless a
    /// delegate may change the timeouts.
    fn expired(&self, cx: &Context, status: MemberStatus, timeout: Duration) -> Vec<Arc<str>> {
        let list = match status {
            MemberStatus::Failed => self.table.failed(),
            MemberStatus::None
            | MemberStatus::Alive
            | MemberStatus::Leaving
            | MemberStatus::Left => self.table.left(),
        };
        let Some(delegate) = &cx.config.delegates.reconnect else {
            let over = list.iter().take_while(|(since, _)| cx.now.since(*since) > timeout);
            return over.map(|(_, name)| name.clone()).collect();
        };
        let over = list.iter().filter(|(since, name)| {
            let timeout = match self.table.get(name) {
                Some(entry) => delegate.reconnect_timeout(&entry.member, timeout),
                None => timeout,
            };
            cx.now.since(*since) > timeout
        });
        over.map(|(_, name)| name.clone()).collect()
    }

    /// Go: `serf/serf.go:reconnect`; here, reaped peers also count as failed.
    pub(crate) fn reconnect(&mut self, cx: &mut Context) {
        if cx.life == SerfState::Alive && !self.has_alive_others() {
            self.rejoin_seed(cx);
        }
        let failed = self.table.failed().len();
        let gone = failed + self.remembered.len();
        if gone == 0 || cx.life != SerfState::Alive {
            return;
        }
        let known = self.table.len().saturating_sub(failed + self.table.left().len());
        let chance = gone as f32 / known.max(1) as f32;
        if cx.rng.unit() as f32 > chance {
            debug!(target: "serf", "forgoing reconnect for random throttling");
            return;
        }
        let pick = cx.rng.below(gone);
        let target = match self.table.failed().iter().nth(pick) {
            Some((_, name)) => self.table.get(name).and_then(|entry| {
                info!(
                    target: "serf",
                    "attempting reconnect to {name} {}:{}",
                    ip_text(&entry.member), entry.member.port
                );
                Some((entry.member.addr()?, name.clone()))
            }),
            None => self.remembered.at(pick - failed).map(|(name, addr)| {
                info!(target: "serf", "attempting reconnect to {name} {addr}");
                (addr, name.clone())
            }),
        };
        if let Some((to, node)) = target {
            cx.effects.act(Action::Reconnect { to, node });
        }
    }

    /// No other member is alive although a join once succeeded: contacts the address of a join,
    /// where a node may know the others.
    fn rejoin_seed(&mut self, cx: &mut Context) {
        let pick = cx.rng.below(self.remembered.seeds().len());
        let Some(to) = self.remembered.seeds().get(pick).copied() else { return };
        info!(target: "serf", "attempting rejoin through {to}");
        cx.effects.act(Action::Reconnect { to, node: "".into() });
        cx.effects.act(Action::RejoinSeeds);
    }
}
