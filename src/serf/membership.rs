//! The table of members, and what intents and notifications do to it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use tracing::{debug, info, warn};

use super::{
    LamportTime, Member, MemberEventKind, MemberStatus,
    intents::IntentKind,
    state::{Action, State, Timer},
};
use crate::{
    base::{Instant, mutated},
    swim::{NodeStateKind, NodeView},
};

/// All members by name, with those that are gone also in the order they went.
#[derive(Default)]
pub(crate) struct Members {
    table: BTreeMap<Arc<str>, Entry>,
    /// All names, in no particular order, for random picks.
    order: Vec<Arc<str>>,
    failed: BTreeSet<(Instant, Arc<str>)>,
    left: BTreeSet<(Instant, Arc<str>)>,
    alive: usize,
    generation: u64,
}

/// A member and when its status changed.
pub(crate) struct Entry {
    pub(crate) member: Arc<Member>,
    /// Member time of the newest intent that counted.
    pub(crate) status_ltime: LamportTime,
    /// When it left or failed.
    pub(crate) leave_time: Instant,
    /// Place in `order`.
    slot: usize,
}

impl Members {
    pub(crate) fn get(&self, name: &str) -> Option<&Entry> {
        self.table.get(name)
    }

    pub(crate) fn iter(&self) -> impl ExactSizeIterator<Item = &Entry> {
        self.table.values()
    }

    pub(crate) fn len(&self) -> usize {
        self.table.len()
    }

    /// Grows with each change of a record.
    #[cfg(feature = "agent")]
    pub(crate) fn generation(&self) -> u64 {
        self.generation
    }

    /// Members with status alive, ourselves included.
    pub(crate) fn alive_count(&self) -> usize {
        self.alive
    }

    /// Failed members, the longest failed first.
    pub(crate) fn failed(&self) -> &BTreeSet<(Instant, Arc<str>)> {
        &self.failed
    }

    /// Left members, the longest left first.
    pub(crate) fn left(&self) -> &BTreeSet<(Instant, Arc<str>)> {
        &self.left
    }

    /// The member at a place between 0 and [`Members::len`].
    pub(crate) fn at(&self, place: usize) -> Option<&Entry> {
        self.table.get(self.order.get(place)?)
    }

    /// Adds a member that is not in the table.
    fn insert(&mut self, member: Arc<Member>, status_ltime: LamportTime) {
        let name = member.name.clone();
        debug_assert!(!self.table.contains_key(&name), "member is added twice");
        self.generation += 1;
        self.count(&member, 1);
        let entry =
            Entry { member, status_ltime, leave_time: Instant::ZERO, slot: self.order.len() };
        self.order.push(name.clone());
        self.table.insert(name, entry);
    }

    /// Replaces a member's record, and with it its place in the lists. `leave_time` is kept if
    /// the member stays gone.
    fn replace(&mut self, member: Arc<Member>, leave_time: Instant) {
        let Some(entry) = self.table.get_mut(&member.name) else { return };
        self.generation += 1;
        let old = std::mem::replace(&mut entry.member, member.clone());
        let old_time = std::mem::replace(&mut entry.leave_time, leave_time);
        self.count(&old, -1);
        self.unlist(&old, old_time);
        self.count(&member, 1);
        match member.status {
            MemberStatus::Failed => {
                self.failed.insert((leave_time, member.name.clone()));
            }
            MemberStatus::Left => {
                self.left.insert((leave_time, member.name.clone()));
            }
            MemberStatus::None | MemberStatus::Alive | MemberStatus::Leaving => {}
        }
    }

    fn remove(&mut self, name: &str) -> Option<Entry> {
        let entry = self.table.remove(name)?;
        self.generation += 1;
        self.order.swap_remove(entry.slot);
        if let Some(moved) = self.order.get(entry.slot)
            && let Some(moved) = self.table.get_mut(moved)
        {
            moved.slot = entry.slot;
        }
        self.count(&entry.member, -1);
        self.unlist(&entry.member, entry.leave_time);
        Some(entry)
    }

    fn unlist(&mut self, member: &Member, leave_time: Instant) {
        match member.status {
            MemberStatus::Failed => {
                self.failed.remove(&(leave_time, member.name.clone()));
            }
            MemberStatus::Left => {
                self.left.remove(&(leave_time, member.name.clone()));
            }
            MemberStatus::None | MemberStatus::Alive | MemberStatus::Leaving => {}
        }
    }

    fn count(&mut self, member: &Member, by: isize) {
        if member.status == MemberStatus::Alive {
            self.alive = self.alive.saturating_add_signed(by);
        }
    }

    fn set_status_ltime(&mut self, name: &str, ltime: LamportTime) {
        if let Some(entry) = self.table.get_mut(name) {
            entry.status_ltime = ltime;
        }
    }
}

impl State {
    /// A node became alive for the layer below. Go: `serf/serf.go:handleNodeJoin`.
    pub(crate) fn handle_node_join(&mut self, now: Instant, node: &NodeView<'_>) {
        let mut member = self.member_of(node);
        match self.members.get(node.name) {
            None => {
                let mut ltime = LamportTime(0);
                if let Some(intent) = self.intents.get(node.name) {
                    ltime = intent.ltime;
                    if intent.kind == IntentKind::Leave {
                        member.status = MemberStatus::Leaving;
                    }
                }
                self.members.insert(Arc::new(member), ltime);
            }
            Some(entry) => {
                if entry.member.status == MemberStatus::Failed
                    && now.since(entry.leave_time) < self.config.flap_timeout
                {
                    self.stats.member_flap += 1;
                }
                self.members.replace(Arc::new(member), Instant::ZERO);
            }
        }
        let Some(entry) = self.members.get(node.name) else { return };
        let member = entry.member.clone();
        self.stats.member_join += 1;
        self.remembered.forget(&member.name);
        info!(target: "serf", "EventMemberJoin: {} {}", member.name, ip_text(&member));
        self.emit_member(now, MemberEventKind::Join, member);
    }

    /// A node died or left for the layer below. Go: `serf/serf.go:handleNodeLeave`.
    pub(crate) fn handle_node_leave(&mut self, now: Instant, node: &NodeView<'_>) {
        if mutated!(self.config.swim, DeathsIgnored) {
            return;
        }
        let Some(entry) = self.members.get(node.name) else { return };
        let (status, kind) = match entry.member.status {
            MemberStatus::Leaving if mutated!(self.config.swim, LeaveIsFailure) => {
                (MemberStatus::Failed, MemberEventKind::Failed)
            }
            MemberStatus::Leaving => (MemberStatus::Left, MemberEventKind::Leave),
            // Its intent has not come here. Go takes it for a failure.
            MemberStatus::Alive if node.state == NodeStateKind::Left => {
                (MemberStatus::Left, MemberEventKind::Leave)
            }
            MemberStatus::Alive => (MemberStatus::Failed, MemberEventKind::Failed),
            status @ (MemberStatus::None | MemberStatus::Left | MemberStatus::Failed) => {
                if self.logs.details.admit(self.now) {
                    warn!(target: "serf", "Bad state when leave: {}", status.number());
                }
                return;
            }
        };
        let member = Arc::new(Member { status, ..Member::clone(&entry.member) });
        self.members.replace(member.clone(), now);
        let addr = ip_text(&member);
        if kind == MemberEventKind::Leave {
            self.stats.member_left += 1;
            info!(target: "serf", "EventMemberLeave: {} {addr}", member.name);
        } else {
            self.stats.member_failed += 1;
            info!(target: "serf", "EventMemberFailed: {} {addr}", member.name);
        }
        self.emit_member(now, kind, member);
    }

    /// A node's meta changed. Go: `serf/serf.go:handleNodeUpdate`.
    pub(crate) fn handle_node_update(&mut self, now: Instant, node: &NodeView<'_>) {
        if mutated!(self.config.swim, UpdatesIgnored) {
            return;
        }
        let Some(entry) = self.members.get(node.name) else { return };
        let (status, leave_time) = (entry.member.status, entry.leave_time);
        let member = Arc::new(Member { status, ..self.member_of(node) });
        self.members.replace(member.clone(), leave_time);
        self.stats.member_update += 1;
        info!(target: "serf", "EventMemberUpdate: {}", member.name);
        self.emit_member(now, MemberEventKind::Update, member);
    }

    /// Somebody says that a member leaves; gives whether to gossip it on.
    /// Go: `serf/serf.go:handleNodeLeaveIntent`.
    pub(crate) fn handle_leave_intent(
        &mut self,
        now: Instant,
        ltime: LamportTime,
        name: &str,
        prune: bool,
    ) -> bool {
        self.clock.witness(ltime);
        let Some(entry) = self.members.get(name) else {
            self.remembered.forget(name);
            return self.intents.upsert(now, name, IntentKind::Leave, ltime);
        };
        if ltime <= entry.status_ltime {
            return mutated!(self.config.swim, IntentLoop);
        }
        if *name == *self.name && self.life == super::SerfState::Alive {
            if self.logs.details.admit(self.now) {
                debug!(target: "serf", "Refuting an older leave intent");
            }
            // One announcement answers all copies that came with this one.
            if !std::mem::replace(&mut self.refuting, true) {
                self.actions.push_back(Action::BroadcastJoin);
            }
            return false;
        }
        let (member, leave_time) = (entry.member.clone(), entry.leave_time);
        // Always, also when nothing else changes: or two nodes rebroadcast for ever.
        self.members.set_status_ltime(name, ltime);
        match member.status {
            MemberStatus::Alive => {
                let leaving = Member { status: MemberStatus::Leaving, ..Member::clone(&member) };
                self.members.replace(Arc::new(leaving), leave_time);
            }
            MemberStatus::Failed => {
                // The time of the failure stays: it counts for the tombstone.
                let left =
                    Arc::new(Member { status: MemberStatus::Left, ..Member::clone(&member) });
                self.members.replace(left.clone(), leave_time);
                info!(
                    target: "serf",
                    "EventMemberLeave (forced): {} {}", left.name, ip_text(&left)
                );
                self.emit_member(now, MemberEventKind::Leave, left);
            }
            MemberStatus::Leaving | MemberStatus::Left => {}
            MemberStatus::None => return false,
        }
        if prune {
            self.handle_prune(now, name);
        }
        true
    }

    /// Somebody says that a member joined; gives whether to gossip it on.
    /// Go: `serf/serf.go:handleNodeJoinIntent`.
    pub(crate) fn handle_join_intent(
        &mut self,
        now: Instant,
        ltime: LamportTime,
        name: &str,
    ) -> bool {
        self.clock.witness(ltime);
        let Some(entry) = self.members.get(name) else {
            let news = self.intents.upsert(now, name, IntentKind::Join, ltime);
            if news {
                // A pruned member that lives on says so here, and nowhere else.
                self.actions.push_back(Action::Recheck(name.into()));
            }
            return news;
        };
        if ltime <= entry.status_ltime {
            return false;
        }
        let member = entry.member.clone();
        self.members.set_status_ltime(name, ltime);
        if member.status == MemberStatus::Leaving {
            let alive = Member { status: MemberStatus::Alive, ..Member::clone(&member) };
            self.members.replace(Arc::new(alive), Instant::ZERO);
        }
        true
    }

    /// Go: `serf/serf.go:handlePrune`, which sleeps with the table locked while the member is
    /// leaving. Here the erasing waits, and nothing else does.
    fn handle_prune(&mut self, now: Instant, name: &str) {
        let Some(entry) = self.members.get(name) else { return };
        if entry.member.status == MemberStatus::Leaving {
            let wait = self.config.broadcast_timeout + self.config.leave_propagate_delay;
            let name = entry.member.name.clone();
            self.timers.set(now + wait, Timer::Prune(name));
            return;
        }
        self.finish_prune(now, name);
    }

    /// The wait of a prune is over. A member that has refuted meanwhile stays: the layer below
    /// would never announce it again.
    pub(crate) fn finish_prune(&mut self, now: Instant, name: &str) {
        let Some(entry) = self.members.get(name) else { return };
        let member = entry.member.clone();
        match member.status {
            MemberStatus::Leaving | MemberStatus::Left => {}
            MemberStatus::None | MemberStatus::Alive | MemberStatus::Failed => return,
        }
        info!(
            target: "serf",
            "EventMemberReap (forced): {} {}", member.name, ip_text(&member)
        );
        self.erase(now, name);
    }

    /// Forgets a member and tells the application. Go: `serf/serf.go:eraseNode`.
    pub(crate) fn erase(&mut self, now: Instant, name: &str) {
        let Some(entry) = self.members.remove(name) else { return };
        self.forget_coordinate(name);
        self.emit_member(now, MemberEventKind::Reap, entry.member);
    }

    /// Whether anybody else has status alive. Go: `hasAliveMembers`.
    pub(crate) fn has_alive_members(&self) -> bool {
        let own = self.members.get(&self.name).map(|entry| entry.member.status);
        self.members.alive_count() > usize::from(own == Some(MemberStatus::Alive))
    }

    /// Our own record; before the layer below announced us, one with our name and tags.
    pub(crate) fn local_member(&self) -> &Arc<Member> {
        self.members.get(&self.name).map_or(&self.unannounced, |entry| &entry.member)
    }

    /// The record of a node, alive.
    pub(crate) fn member_of(&mut self, node: &NodeView<'_>) -> Member {
        Member {
            name: node.name.clone(),
            addr: node.addr.into(),
            port: node.port,
            tags: self.decode_tags(node.meta),
            status: MemberStatus::Alive,
            vsn: node.vsn,
        }
    }
}

/// An address as Go prints an IP in its logs.
pub(crate) fn ip_text(member: &Member) -> String {
    member.socket_addr().map_or_else(|| "<nil>".to_owned(), |addr| addr.ip().to_string())
}
