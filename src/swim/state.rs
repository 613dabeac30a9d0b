//! Applies alive, suspect and dead messages to the table. Go: `state.go`.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use tracing::{debug, error, info, warn};

use super::{
    Host, NodeStateKind, OpId, Swim,
    claim::{Source, Worth},
    host::NodeView,
    name::check_name,
    row::{Record, Row},
    suspicion::{Suspicion, suspicion_timeout},
    timer::Timer,
};
use crate::{
    base::{Instant, mutated, printable},
    wire::{
        Alive, Dead, Incarnation, RawAddr, Suspect, Vsn,
        limits::{META_BYTES_MAX, PUSH_PULL_ROWS_MAX},
    },
};

impl Swim {
    /// Handles an alive message or row. Go: `aliveNode`.
    pub(super) fn alive(
        &mut self,
        now: Instant,
        alive: &Alive<'_>,
        notify: Option<OpId>,
        source: Source,
        host: &mut dyn Host,
    ) {
        let Some((name, addr)) = self.admit(alive) else {
            self.stats.dropped_inadmissible += 1;
            return;
        };
        let mine = name == &*self.config.name;
        if self.leaving && mine {
            return;
        }
        if !self.understands(now, name, alive.vsn.as_slice(), mine) {
            return;
        }
        let full_vsn = Vsn::from_wire(alive.vsn.as_slice());
        if self.config.filter_alive && !self.passes_filter(now, alive, name, addr, full_vsn, host) {
            return;
        }

        let known = self.table.find(name);
        let mut reclaims = false;
        if let Some((slot, row)) = known.and_then(|slot| Some((slot, self.table.get(slot)?))) {
            if row.record.addr != addr || row.record.port != alive.port {
                if !self.addr_allowed(addr) {
                    return self.warn_cidr(now, name);
                }
                if !self.may_reclaim(now, slot, row) {
                    return self.conflict(now, name, addr, alive, host);
                }
                info!(
                    target: "memberlist",
                    "Updating address for left or failed node {name} from {}:{} to {}:{}",
                    row.record.addr, row.record.port, addr, alive.port
                );
                reclaims = true;
            }
        } else if !self.addr_allowed(addr) {
            return self.warn_cidr(now, name);
        } else if self.table.len() >= PUSH_PULL_ROWS_MAX {
            self.stats.dropped_inadmissible += 1;
            return;
        }
        let slot = match known {
            Some(slot) => slot,
            None => {
                let record = Record {
                    name: name.into(),
                    addr,
                    port: alive.port,
                    meta: alive.meta.as_slice().into(),
                    vsn: full_vsn.unwrap_or_default(),
                };
                self.table.insert(Arc::new(record), &mut self.rng)
            }
        };
        if mine && source != Source::Own {
            return self.alive_of_us(now, name, alive, source);
        }
        let first_word = known.is_none() && alive.incarnation.0 > 0;
        if !mine && !first_word && !self.is_news(now, slot, alive, source, reclaims) {
            return;
        }
        self.suspicions.remove(&slot);
        self.accept_alive(now, slot, alive, addr, full_vsn, notify, host);
    }

    /// Whether the versions in an alive message are valid and, for another node, compatible with
    /// ours.
    fn understands(&mut self, now: Instant, name: &str, vsn: &[u8], mine: bool) -> bool {
        if let [min, max, _, ..] = *vsn
            && (min == 0 || max == 0 || min > max)
        {
            if self.logs.alive.admit(now) {
                warn!(
                    target: "memberlist",
                    "Ignoring an alive message for '{name}' because protocol version(s) are \
                     wrong: {min} <= {max} should be >0"
                );
            }
            return false;
        }
        if mine || self.vsn.fits(Vsn::from_wire(vsn).unwrap_or_default()) {
            return true;
        }
        self.stats.dropped_inadmissible += 1;
        if self.logs.details.admit(now) {
            debug!(target: "memberlist", "Ignoring {name}: its versions are not ours");
        }
        false
    }

    /// Whether an alive message about another node is to be applied; if only the node itself may
    /// make the claim, it is asked.
    fn is_news(
        &mut self,
        now: Instant,
        slot: u32,
        alive: &Alive<'_>,
        source: Source,
        reclaims: bool,
    ) -> bool {
        let Some(row) = self.table.get(slot) else { return false };
        match self.weigh(row, alive, source, reclaims) {
            Worth::News => true,
            Worth::Doubtful => {
                self.check_later(now, slot);
                false
            }
            Worth::Old => alive.incarnation == row.incarnation && mutated!(self.config, StaleAlive),
        }
    }

    /// Handles an alive message about ourselves: refutes it if it is not what we announced.
    fn alive_of_us(&mut self, now: Instant, name: &str, alive: &Alive<'_>, source: Source) {
        let Some(row) = self.table.get(self.me) else { return };
        let same = alive.incarnation == row.incarnation
            && alive.meta.as_slice() == &*row.record.meta
            && alive.vsn.as_slice() == row.record.vsn.as_slice();
        if alive.incarnation >= row.incarnation && !same {
            let what = format_args!("an alive message for '{name}'");
            self.outbid(now, alive.incarnation, source, what);
        }
    }

    /// Applies an accepted alive message. Go: the end of `aliveNode`.
    #[allow(clippy::too_many_arguments, reason = "one step of `alive`, cut off for its length")]
    fn accept_alive(
        &mut self,
        now: Instant,
        slot: u32,
        alive: &Alive<'_>,
        addr: RawAddr,
        vsn: Option<Vsn>,
        notify: Option<OpId>,
        host: &mut dyn Host,
    ) {
        let Some(row) = self.table.get(slot) else { return };
        let old_state = row.state;
        let meta_changed = *row.record.meta != *alive.meta.as_slice();
        let record = &row.record;
        let vsn = vsn.unwrap_or(record.vsn);
        let changed =
            meta_changed || record.addr != addr || record.port != alive.port || record.vsn != vsn;
        if changed {
            let meta = if meta_changed {
                Arc::from(alive.meta.as_slice())
            } else {
                Arc::clone(&record.meta)
            };
            let name = Arc::clone(&record.name);
            let record = Record { name, addr, port: alive.port, meta, vsn };
            self.table.set_record(slot, Arc::new(record));
        }
        let Some(row) = self.table.get_mut(slot) else { return };
        row.incarnation = alive.incarnation;
        let name = Arc::clone(&row.record.name);
        if self.config.zones && (meta_changed || !old_state.is_live()) {
            let zone = host.zone(&row.record.meta);
            self.table.set_zone(slot, zone);
        }
        if old_state != NodeStateKind::Alive {
            self.table.set_state(slot, NodeStateKind::Alive, now);
        }
        self.broadcast(name, notify, |out| alive.encode(out));
        self.stats.msg_alive += 1;
        let Some(row) = self.table.get(slot) else { return };
        if matches!(old_state, NodeStateKind::Dead | NodeStateKind::Left) {
            host.on_join(&row.view());
        } else if meta_changed {
            host.on_update(&row.view());
        }
    }

    /// Handles a suspect message, a failed probe, or a dead or suspect row. Go: `suspectNode`.
    pub(super) fn suspect(
        &mut self,
        now: Instant,
        node: &str,
        incarnation: Incarnation,
        from: &str,
        source: Source,
    ) {
        let Some(slot) = self.table.find(node) else { return };
        if slot == self.me {
            return self.accused(
                now,
                incarnation,
                format_args!("a suspect message (from: {})", printable(from)),
                source,
            );
        }
        let counts = self.is_evidence(now, slot, incarnation, false, source);
        if !counts && !mutated!(self.config, SuspectLowers) {
            return;
        }
        let Some(row) = self.table.get_mut(slot) else { return };
        let name = Arc::clone(&row.record.name);
        let message = Suspect { incarnation, node: node.as_bytes(), from: from.as_bytes() };
        if let Some(suspicion) = self.suspicions.get_mut(&slot) {
            // Go does not store it here, so an older alive message could end the suspicion.
            row.incarnation = incarnation;
            if !mutated!(self.config, NobodyConfirms) && suspicion.confirm(from) {
                let deadline = suspicion.deadline();
                self.timers.set(deadline.max(now), Timer::Suspicion(slot));
                self.broadcast(name, None, |out| message.encode(out));
            }
            return;
        }
        if row.state != NodeStateKind::Alive {
            // Go does not store it here, so an older alive message could resurrect the node.
            row.incarnation = incarnation;
            return;
        }
        row.incarnation = incarnation;
        self.broadcast(name, None, |out| message.encode(out));
        self.stats.msg_suspect += 1;
        self.table.set_state(slot, NodeStateKind::Suspect, now);
        self.start_suspicion(now, slot, from);
    }

    fn start_suspicion(&mut self, now: Instant, slot: u32, from: &str) {
        let (config, n) = (&self.config, self.table.len());
        let min = suspicion_timeout(config.suspicion_mult, n, config.probe_interval);
        let max = min.saturating_mul(config.suspicion_max_timeout_mult);
        let (min, max) = match mutated!(config, HastySuspicion) {
            false => (min, max),
            true => (Duration::from_millis(1), Duration::from_millis(1)),
        };
        let mut wanted = config.suspicion_mult.saturating_sub(2);
        if n.saturating_sub(2) < wanted as usize || !config.lha_suspicion {
            wanted = 0;
        }
        let suspicion = Suspicion::new(now, from, wanted, min, max);
        self.timers.set(suspicion.deadline(), Timer::Suspicion(slot));
        self.suspicions.insert(slot, suspicion);
        self.verify_some(now, slot, from == &*self.config.name);
    }

    /// Declares the node dead if its time to refute has expired. Go: the timer function in
    /// `suspectNode`.
    pub(super) fn expire_suspicion(&mut self, now: Instant, slot: u32, host: &mut dyn Host) {
        let Some(suspicion) = self.suspicions.get(&slot) else { return };
        if suspicion.deadline() > now || mutated!(self.config, NobodyDies) {
            return; // a timer set before the suspicion was replaced
        }
        let (confirmations, wanted) = (suspicion.confirmations(), suspicion.wanted());
        let (started, has_evidence) = (suspicion.started, suspicion.has_evidence());
        self.suspicions.remove(&slot);
        let Some(row) = self.table.get(slot) else { return };
        if row.state != NodeStateKind::Suspect || self.table.changed_at(slot) != started {
            return;
        }
        let (name, incarnation) = (Arc::clone(&row.record.name), row.incarnation);
        if wanted > 0 && confirmations < wanted && !has_evidence {
            self.stats.degraded_timeout += 1;
        }
        info!(
            target: "memberlist",
            "Marking {name} as failed, suspect timeout reached ({confirmations} peer confirmations)"
        );
        let me = Arc::clone(&self.config.name);
        self.dead(now, &name, incarnation, &me, None, Source::Own, host);
    }

    /// Handles a claim that we are suspect or dead.
    fn accused(
        &mut self,
        now: Instant,
        incarnation: Incarnation,
        what: std::fmt::Arguments<'_>,
        source: Source,
    ) {
        let Some(row) = self.table.get(self.me) else { return };
        if incarnation >= row.incarnation && row.state == NodeStateKind::Alive {
            self.outbid(now, incarnation, source, what);
        }
    }

    /// Handles a dead message, a leave, or the end of a suspicion. Go: `deadNode`.
    #[allow(clippy::too_many_arguments, reason = "the message, its origin, the accuser to notify")]
    pub(super) fn dead(
        &mut self,
        now: Instant,
        node: &str,
        incarnation: Incarnation,
        from: &str,
        notify: Option<OpId>,
        source: Source,
        host: &mut dyn Host,
    ) {
        let Some(slot) = self.table.find(node) else { return };
        if slot == self.me && source != Source::Own {
            return self.accused(
                now,
                incarnation,
                format_args!("a dead message (from: {})", printable(from)),
                source,
            );
        }
        if !self.is_evidence(now, slot, incarnation, node == from, source) {
            return;
        }
        let Some(row) = self.table.get_mut(slot) else { return };
        self.suspicions.remove(&slot);
        if matches!(row.state, NodeStateKind::Dead | NodeStateKind::Left) {
            row.incarnation = incarnation;
            return;
        }
        row.incarnation = incarnation;
        let name = Arc::clone(&row.record.name);
        let message = Dead { incarnation, node: node.as_bytes(), from: from.as_bytes() };
        self.broadcast(name, notify, |out| message.encode(out));
        self.stats.msg_dead += 1;
        let state = if node == from { NodeStateKind::Left } else { NodeStateKind::Dead };
        self.table.set_state(slot, state, now);
        if let Some(row) = self.table.get(slot) {
            host.on_leave(&row.view());
        }
    }

    /// Raises our incarnation above the accusation and broadcasts it. Go: `refute`.
    ///
    /// The largest incarnation is not exceeded.
    pub(super) fn refute(&mut self, accused: Incarnation) {
        if !mutated!(self.config, RefuteInVain) {
            let above = self.incarnation.max(accused).0.saturating_add(1);
            self.raise_to(Incarnation(above));
        }
        self.stats.refutes += 1;
        if self.config.lha_probe {
            self.awareness.apply(1);
        }
        let Some(row) = self.table.get_mut(self.me) else { return };
        row.incarnation = self.incarnation;
        let record = Arc::clone(&row.record);
        let alive = record.alive(self.incarnation);
        self.broadcast(Arc::clone(&record.name), None, |out| alive.encode(out));
    }

    /// Another address claims the name of a live node: reports the conflict. Go: the conflict
    /// branch of `aliveNode`.
    fn conflict(
        &mut self,
        now: Instant,
        name: &str,
        addr: RawAddr,
        alive: &Alive<'_>,
        host: &mut dyn Host,
    ) {
        let Some(row) = self.table.find(name).and_then(|slot| self.table.get(slot)) else { return };
        if self.logs.conflicts.admit(now) {
            let record = &row.record;
            error!(
                target: "memberlist",
                "Conflicting address for {name}. Mine: {}:{} Theirs: {}:{} Old state: {}",
                record.addr, record.port, addr, alive.port, row.state.to_wire()
            );
        }
        let meta = Arc::from(alive.meta.as_slice());
        let other = NodeView {
            name: &row.record.name,
            addr: addr.as_slice(),
            port: alive.port,
            meta: &meta,
            vsn: Vsn::from_wire(alive.vsn.as_slice()).unwrap_or_default(),
            incarnation: alive.incarnation,
            state: NodeStateKind::Alive,
        };
        host.on_conflict(&row.view(), &other);
    }

    /// Whether another address may take over the name. Go: `canReclaim` in `aliveNode`.
    fn may_reclaim(&self, now: Instant, slot: u32, row: &Row) -> bool {
        let after = self.config.dead_node_reclaim_time;
        match row.state {
            NodeStateKind::Left => true,
            NodeStateKind::Dead => !after.is_zero() && now - self.table.changed_at(slot) > after,
            NodeStateKind::Alive | NodeStateKind::Suspect => mutated!(self.config, NamesMove),
        }
    }

    /// Validates the name and address of an alive message before they enter the table.
    fn admit<'a>(&self, alive: &'a Alive<'_>) -> Option<(&'a str, RawAddr)> {
        let name = check_name(alive.node)
            .inspect_err(|reason| debug!(target: "memberlist", reason, "inadmissible name"))
            .ok()?;
        let addr = RawAddr::from_wire(alive.addr.as_slice())?;
        (alive.meta.as_slice().len() <= META_BYTES_MAX).then_some((name, addr))
    }

    fn passes_filter(
        &mut self,
        now: Instant,
        alive: &Alive<'_>,
        name: &str,
        addr: RawAddr,
        vsn: Option<Vsn>,
        host: &mut dyn Host,
    ) -> bool {
        let Some(vsn) = vsn else {
            if self.logs.alive.admit(now) {
                warn!(
                    target: "memberlist",
                    "ignoring alive message for '{name}': Vsn is not present"
                );
            }
            return false;
        };
        let (name, meta) = (Arc::from(name), Arc::from(alive.meta.as_slice()));
        let view = NodeView {
            name: &name,
            addr: addr.as_slice(),
            port: alive.port,
            meta: &meta,
            vsn,
            incarnation: alive.incarnation,
            state: NodeStateKind::Alive,
        };
        let verdict = host.check_alive(&view);
        if let Err(reason) = &verdict
            && self.logs.alive.admit(now)
        {
            let reason = printable(reason);
            warn!(target: "memberlist", "ignoring alive message for '{name}': {reason}");
        }
        verdict.is_ok()
    }

    fn warn_cidr(&mut self, now: Instant, name: &str) {
        if self.logs.alive.admit(now) {
            warn!(target: "memberlist", "Rejected IP of node {name}: not in the allowed networks");
        }
    }

    /// Go: `Config.IPAllowed`. An empty address never matches a network.
    pub(super) fn addr_allowed(&self, addr: RawAddr) -> bool {
        let allowed = &self.config.cidrs_allowed;
        allowed.is_empty()
            || addr.ip().is_some_and(|ip| allowed.iter().any(|cidr| cidr.contains(ip)))
    }

    /// Queues a message about a node; replaces the previous one about it.
    fn broadcast(
        &mut self,
        name: Arc<str>,
        notify: Option<OpId>,
        encode: impl FnOnce(&mut Vec<u8>),
    ) {
        let mut message = self.builder.take_scratch();
        encode(&mut message);
        let name = match mutated!(self.config, KeepsOldNews) {
            false => name,
            true => format!("{name} {}", self.rng.u64()).into(),
        };
        self.queue.push_about(name, Bytes::copy_from_slice(&message), notify);
        self.builder.put_scratch(message);
        self.end_broadcasts();
    }
}
