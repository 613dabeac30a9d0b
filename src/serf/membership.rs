//! Applies intents and notifications to the members.

use std::sync::Arc;

use tracing::{debug, error, info, warn};

use super::{
    LamportTime, Member, MemberEventKind, MemberStatus, Tags,
    context::Context,
    coordinates::Coordinates,
    effects::{Action, Timer},
    intents::{IntentKind, RecentIntents},
    members::Members,
    remembered::Remembered,
};
use crate::{
    base::{Instant, mutated},
    swim::{NodeStateKind, NodeView},
};

pub(crate) struct Membership {
    pub(crate) table: Members,
    /// Intents about members that are still unknown.
    pub(crate) intents: RecentIntents,
    /// Former members, and addresses that a join succeeded with.
    pub(crate) remembered: Remembered,
    pub(crate) coordinates: Coordinates,
    /// Our record, used until the layer below announces us.
    own: Arc<Member>,
    /// Whether [`Action::BroadcastJoin`] is queued.
    pub(crate) refuting: bool,
    /// The last decoded meta and its tags: clusters have few distinct ones.
    last_tags: Option<(Arc<[u8]>, Tags)>,
}

impl Membership {
    pub(crate) fn new(own: Member, coordinates: Coordinates, hash_seed: u64) -> Self {
        Self {
            table: Members::new(hash_seed),
            intents: RecentIntents::default(),
            remembered: Remembered::default(),
            coordinates,
            own: Arc::new(own),
            refuting: false,
            last_tags: None,
        }
    }

    /// The layer below reports that a node is alive. Go: `serf/serf.go:handleNodeJoin`.
    pub(crate) fn handle_node_join(&mut self, cx: &mut Context, node: &NodeView<'_>) {
        let mut member = self.member_of(cx, node);
        match self.table.get(node.name) {
            None => {
                let mut ltime = LamportTime(0);
                if let Some(intent) = self.intents.get(node.name) {
                    ltime = intent.ltime;
                    if intent.kind == IntentKind::Leave {
                        member.status = MemberStatus::Leaving;
                    }
                }
                self.table.insert(Arc::new(member), ltime);
            }
            Some(entry) => {
                if entry.member.status == MemberStatus::Failed
                    && cx.now.since(entry.leave_time) < cx.config.flap_timeout
                {
                    cx.stats.member_flap += 1;
                }
                self.table.replace(Arc::new(member), Instant::ZERO);
            }
        }
        let Some(entry) = self.table.get(node.name) else { return };
        let member = entry.member.clone();
        cx.stats.member_join += 1;
        self.remembered.forget(&member.name);
        info!(target: "serf", "EventMemberJoin: {} {}", member.name, ip_text(&member));
        cx.emit_member(MemberEventKind::Join, member);
    }

    /// The layer below reports that a node died or left. Go: `serf/serf.go:handleNodeLeave`.
    pub(crate) fn handle_node_leave(&mut self, cx: &mut Context, node: &NodeView<'_>) {
        if mutated!(cx.config.swim, DeathsIgnored) {
            return;
        }
        let Some(entry) = self.table.get(node.name) else { return };
        let (status, kind) = match entry.member.status {
            MemberStatus::Leaving if mutated!(cx.config.swim, LeaveIsFailure) => {
                (MemberStatus::Failed, MemberEventKind::Failed)
            }
            MemberStatus::Leaving => (MemberStatus::Left, MemberEventKind::Leave),
            // Its leave intent has not arrived. Go reports a failure.
            MemberStatus::Alive if node.state == NodeStateKind::Left => {
                (MemberStatus::Left, MemberEventKind::Leave)
            }
            MemberStatus::Alive => (MemberStatus::Failed, MemberEventKind::Failed),
            status @ (MemberStatus::None | MemberStatus::Left | MemberStatus::Failed) => {
                if cx.logs.details.admit(cx.now) {
                    warn!(target: "serf", "Bad state when leave: {}", status.number());
                }
                return;
            }
        };
        let member = Arc::new(Member { status, ..Member::clone(&entry.member) });
        self.table.replace(member.clone(), cx.now);
        let addr = ip_text(&member);
        if kind == MemberEventKind::Leave {
            cx.stats.member_left += 1;
            info!(target: "serf", "EventMemberLeave: {} {addr}", member.name);
        } else {
            cx.stats.member_failed += 1;
            info!(target: "serf", "EventMemberFailed: {} {addr}", member.name);
        }
        cx.emit_member(kind, member);
    }

    /// The layer below reports changed meta. Go: `serf/serf.go:handleNodeUpdate`.
    pub(crate) fn handle_node_update(&mut self, cx: &mut Context, node: &NodeView<'_>) {
        if mutated!(cx.config.swim, UpdatesIgnored) {
            return;
        }
        let Some(entry) = self.table.get(node.name) else { return };
        let (status, leave_time) = (entry.member.status, entry.leave_time);
        let member = Arc::new(Member { status, ..self.member_of(cx, node) });
        self.table.replace(member.clone(), leave_time);
        cx.stats.member_update += 1;
        info!(target: "serf", "EventMemberUpdate: {}", member.name);
        cx.emit_member(MemberEventKind::Update, member);
    }

    /// Handles a leave intent; returns whether to gossip it. Go:
    /// `serf/serf.go:handleNodeLeaveIntent`.
    pub(crate) fn handle_leave_intent(
        &mut self,
        cx: &mut Context,
        ltime: LamportTime,
        name: &str,
        prune: bool,
    ) -> bool {
        cx.clocks.member.witness(ltime);
        let Some(entry) = self.table.get(name) else {
            self.remembered.forget(name);
            return self.intents.upsert(cx.now, name, IntentKind::Leave, ltime);
        };
        if ltime <= entry.status_ltime {
            return mutated!(cx.config.swim, IntentLoop);
        }
        if *name == *cx.name && cx.life == super::SerfState::Alive {
            if cx.logs.details.admit(cx.now) {
                debug!(target: "serf", "Refuting an older leave intent");
            }
            // One announcement refutes all copies received at the same time.
            if !std::mem::replace(&mut self.refuting, true) {
                cx.effects.act(Action::BroadcastJoin);
            }
            return false;
        }
        let (member, leave_time) = (entry.member.clone(), entry.leave_time);
        // Always, even if nothing else changes; otherwise two nodes would rebroadcast for ever.
        self.table.set_status_ltime(name, ltime);
        match member.status {
            MemberStatus::Alive => {
                let leaving = Member { status: MemberStatus::Leaving, ..Member::clone(&member) };
                self.table.replace(Arc::new(leaving), leave_time);
            }
            MemberStatus::Failed => {
                // The time of the failure is kept for the tombstone timeout.
                let left =
                    Arc::new(Member { status: MemberStatus::Left, ..Member::clone(&member) });
                self.table.replace(left.clone(), leave_time);
                info!(
                    target: "serf",
                    "EventMemberLeave (forced): {} {}", left.name, ip_text(&left)
                );
                cx.emit_member(MemberEventKind::Leave, left);
            }
            MemberStatus::Leaving | MemberStatus::Left => {}
            MemberStatus::None => return false,
        }
        if prune {
            self.handle_prune(cx, name);
        }
        true
    }

    /// Handles a join intent; returns whether to gossip it. Go:
    /// `serf/serf.go:handleNodeJoinIntent`.
    pub(crate) fn handle_join_intent(
        &mut self,
        cx: &mut Context,
        ltime: LamportTime,
        name: &str,
    ) -> bool {
        cx.clocks.member.witness(ltime);
        let Some(entry) = self.table.get(name) else {
            let news = self.intents.upsert(cx.now, name, IntentKind::Join, ltime);
            if news {
                // A pruned member that is still alive announces itself only here.
                cx.effects.act(Action::Recheck(name.into()));
            }
            return news;
        };
        if ltime <= entry.status_ltime {
            return false;
        }
        let member = entry.member.clone();
        self.table.set_status_ltime(name, ltime);
        if member.status == MemberStatus::Leaving {
            let alive = Member { status: MemberStatus::Alive, ..Member::clone(&member) };
            self.table.replace(Arc::new(alive), Instant::ZERO);
        }
        true
    }

    /// Erases a member, after a delay if it is leaving. Go: `serf/serf.go:handlePrune`, which
    /// sleeps with the table locked; here only the erasure is delayed.
    fn handle_prune(&mut self, cx: &mut Context, name: &str) {
        let Some(entry) = self.table.get(name) else { return };
        if entry.member.status == MemberStatus::Leaving {
            let wait = cx.config.broadcast_timeout + cx.config.leave_propagate_delay;
            let name = entry.member.name.clone();
            cx.start_timer(wait, Timer::Prune(name));
            return;
        }
        self.finish_prune(cx, name);
    }

    /// The delay of a prune is over: erases the member, unless it has refuted meanwhile, as the
    /// layer below would never announce it again.
    pub(crate) fn finish_prune(&mut self, cx: &mut Context, name: &str) {
        let Some(entry) = self.table.get(name) else { return };
        let member = entry.member.clone();
        match member.status {
            MemberStatus::Leaving | MemberStatus::Left => {}
            MemberStatus::None | MemberStatus::Alive | MemberStatus::Failed => return,
        }
        info!(
            target: "serf",
            "EventMemberReap (forced): {} {}", member.name, ip_text(&member)
        );
        self.erase(cx, name);
    }

    /// Forgets a member and reports it as reaped. Go: `serf/serf.go:eraseNode`.
    pub(crate) fn erase(&mut self, cx: &mut Context, name: &str) {
        let Some(entry) = self.table.remove(name) else { return };
        self.coordinates.forget(name);
        cx.emit_member(MemberEventKind::Reap, entry.member);
    }

    /// Whether another member has the status alive. Go: `hasAliveMembers`.
    pub(crate) fn has_alive_others(&self) -> bool {
        let own = self.table.get(&self.own.name).map(|entry| entry.member.status);
        self.table.alive_count() > usize::from(own == Some(MemberStatus::Alive))
    }

    /// Our own record; before the layer below has announced us, a record with our name and tags.
    pub(crate) fn local(&self) -> &Arc<Member> {
        self.table.get(&self.own.name).map_or(&self.own, |entry| &entry.member)
    }

    /// The record of a node, with status alive.
    pub(crate) fn member_of(&mut self, cx: &mut Context, node: &NodeView<'_>) -> Member {
        Member {
            name: node.name.clone(),
            addr: node.addr.into(),
            port: node.port,
            tags: self.decode_tags(cx, node.meta),
            status: MemberStatus::Alive,
            vsn: node.vsn,
        }
    }

    /// Decodes the tags of a node's meta; consecutive equal metas share memory.
    fn decode_tags(&mut self, cx: &mut Context, meta: &Arc<[u8]>) -> Tags {
        if let Some((last, tags)) = &self.last_tags
            && last == meta
        {
            return tags.clone();
        }
        let (tags, error) = cx.config.transform.decode_tags(meta);
        if let Some(error) = error
            && cx.logs.messages.admit(cx.now)
        {
            error!(target: "serf", "Failed to decode tags: {error}");
        }
        self.last_tags = Some((meta.clone(), tags.clone()));
        tags
    }
}

/// A member's address as Go prints an IP in its logs.
pub(crate) fn ip_text(member: &Member) -> String {
    member.addr().map_or_else(|| "<nil>".to_owned(), |addr| addr.ip().to_string())
}
