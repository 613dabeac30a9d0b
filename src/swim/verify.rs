//! Faster detection: verifies suspicions by probes of its own, and shortens those that its own
//! evidence supports. Local: the messages are those of every probe.
//!
//! A suspicion lasts long so that a node that was accused by mistake has time to refute. Most such
//! mistakes are made by nodes that are themselves cut off or starved. A failed probe of which most
//! helpers report that they do not reach the node either (by a nack) cannot be such a mistake: the
//! requests and the nacks have passed our own network. So several of them in a row are worth more
//! than the accusation of one other node, and a suspicion that has them may end sooner.

use std::{sync::Arc, time::Duration};

use super::{Host, NodeStateKind, Swim, claim::Source, probes::Probe, timer::Timer};
use crate::{base::Instant, wire::SeqNo};

impl Swim {
    /// How long the direct ack of a node is awaited until helpers are asked.
    pub(super) fn ack_timeout(&self, slot: u32) -> Duration {
        let longest = self.config.probe_timeout;
        if !self.config.fast_detection {
            return longest;
        }
        let Some(usual) = self.probes.round_trips.timeout(slot) else { return longest };
        self.awareness.scale(usual.max(longest / ACK_TIMEOUT_MIN_PARTS)).min(longest)
    }

    pub(super) fn note_round_trip(&mut self, slot: u32, time: Duration) {
        if self.config.fast_detection {
            self.probes.round_trips.add(slot, time);
        }
    }

    /// Beside the helpers, pings the node itself once more: one datagram may have been lost. The
    /// probe is decided as soon as the helpers must have answered; they send nacks after their own
    /// probe timeout.
    pub(super) fn ping_again(
        &mut self,
        now: Instant,
        seq_no: SeqNo,
        waited: Duration,
        host: &mut dyn Host,
    ) {
        let decide = now + self.config.probe_timeout + waited;
        self.probes.decide_at(decide, seq_no);
        self.timers.set(decide, Timer::ProbeEnd(seq_no));
        if let Some(probe) = self.probes.get(seq_no) {
            let (to, target) = (probe.addr, Arc::clone(&probe.target));
            self.send_ping(to, seq_no, target.name.as_bytes(), host);
        }
    }

    /// Called when a suspicion begins. Our own is verified; one of another node only with a
    /// probability at which about [`VERIFIERS`] nodes of the cluster verify it.
    pub(super) fn verify_some(&mut self, now: Instant, slot: u32, ours: bool) {
        if self.config.fast_detection && (ours || self.rng.below(self.table.len()) < VERIFIERS) {
            self.verify_soon(now, slot);
        }
    }

    /// Verifies a suspicion, a random time from now so that not all do so at once.
    fn verify_soon(&mut self, now: Instant, slot: u32) {
        let wait = (self.config.probe_interval / 2).mul_f64(self.rng.unit());
        if let Some(suspicion) = self.suspicions.get_mut(&slot)
            && !suspicion.is_verified()
        {
            suspicion.verify_at(now + wait);
            self.timers.set(now + wait, Timer::Verify(slot));
        }
    }

    /// The next probe of a suspect.
    pub(super) fn verify(&mut self, now: Instant, slot: u32, host: &mut dyn Host) {
        let interval = self.config.probe_interval;
        let Some(row) = self.table.get(slot) else { return };
        let Some(suspicion) = self.suspicions.get_mut(&slot) else { return };
        let changed_at = self.table.changed_at(slot);
        let lasts = row.state == NodeStateKind::Suspect && changed_at == suspicion.started;
        if !lasts || !suspicion.is_due(now) {
            return;
        }
        let next = now + interval.max(suspicion.round_gap());
        suspicion.verify_at(next);
        self.timers.set(next, Timer::Verify(slot));
        let Some(addr) = row.socket_addr() else { return };
        if !self.probes.has_room(now, interval) {
            return;
        }
        suspicion.count_round();
        let (target, incarnation) = (Arc::clone(&row.record), row.incarnation);
        let seq_no = self.next_seq_no();
        let (ack_by, end) = (now + self.ack_timeout(slot).min(interval), now + interval);
        self.timers.set(ack_by, Timer::ProbeAck(seq_no));
        self.timers.set(end, Timer::ProbeEnd(seq_no));
        if self.config.buddy_system {
            self.ping_suspect(addr, seq_no, &target, incarnation);
        } else {
            self.send_ping(addr, seq_no, target.name.as_bytes(), host);
        }
        self.probes.verify(Probe::new(seq_no, target, incarnation, addr, now, ack_by, end));
    }

    /// A probe of a suspect has ended. Without evidence the suspicion takes its usual time.
    pub(super) fn verified(&mut self, now: Instant, probe: &Probe, founded: bool) {
        if founded {
            let me = Arc::clone(&self.config.name);
            self.suspect(now, &probe.target.name, probe.incarnation, &me, Source::Own);
        }
        self.add_evidence(now, probe, founded);
    }

    /// A probe of the round-robin has failed. If another node began the suspicion, it is now ours
    /// as well.
    pub(super) fn note_own_failure(&mut self, now: Instant, probe: &Probe) {
        self.add_evidence(now, probe, probe.is_founded());
        if let Some(slot) = self.table.find(&probe.target.name) {
            self.verify_soon(now, slot);
        }
    }

    fn add_evidence(&mut self, now: Instant, probe: &Probe, founded: bool) {
        let Some(slot) = self.table.find(&probe.target.name) else { return };
        let Some(suspicion) = self.suspicions.get_mut(&slot) else { return };
        // What was seen before a refutation is no evidence for the next suspicion.
        let newest = self.table.get(slot).is_some_and(|row| row.incarnation <= probe.incarnation);
        if suspicion.add_evidence(founded && newest) {
            self.timers.set(suspicion.deadline().max(now), Timer::Suspicion(slot));
        }
    }

    /// This process was not running: what it saw meanwhile is no evidence.
    pub(super) fn forget_evidence(&mut self, now: Instant) {
        if !self.config.fast_detection {
            return;
        }
        self.probes.stop_verifying();
        let Self { suspicions, timers, .. } = self;
        for (slot, suspicion) in suspicions {
            if suspicion.add_evidence(false) {
                timers.set(suspicion.deadline().max(now), Timer::Suspicion(*slot));
            }
        }
    }
}

/// The shortest wait for a direct ack is this part of the probe timeout: 50 ms in a LAN.
const ACK_TIMEOUT_MIN_PARTS: u32 = 10;
/// How many nodes of a cluster verify a suspicion of another, on average.
const VERIFIERS: usize = 8;
