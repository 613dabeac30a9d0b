//! The running probes and the next target: the part of the failure detector that needs neither the
//! table nor the network.

use std::{collections::VecDeque, net::SocketAddr, sync::Arc, time::Duration};

use super::{round_trips::RoundTrips, row::Record};
use crate::{
    base::Instant,
    wire::{Incarnation, SeqNo},
};

/// The probe of the round-robin, of which at most one is running, and those of suspects.
#[derive(Debug, Default)]
pub(super) struct Probes {
    current: Option<Probe>,
    /// Probes that verify suspicions; each lasts an interval at most.
    verifying: Vec<Probe>,
    /// When the last [`VERIFIED_MAX`] of them began.
    begun: VecDeque<Instant>,
    /// How long acks take.
    pub(super) round_trips: RoundTrips,
    /// A tick occurred while a probe was running.
    held_back: bool,
}

/// A probe of one node.
#[derive(Debug)]
pub(super) struct Probe {
    pub(super) seq_no: SeqNo,
    pub(super) target: Arc<Record>,
    pub(super) incarnation: Incarnation,
    pub(super) addr: SocketAddr,
    pub(super) sent: Instant,
    /// Deadline of the direct ack.
    pub(super) ack_by: Instant,
    /// Deadline of any ack.
    pub(super) end: Instant,
    /// When it fails if most helpers have sent nacks, before its deadline.
    decide: Instant,
    /// Whether it verifies a suspicion.
    verifies: bool,
    /// Whether helpers were asked.
    indirect: bool,
    expected_nacks: usize,
    nacks: usize,
    tcp_contacted: bool,
    extended: bool,
}

/// The extended deadlines of a probe.
pub(super) struct Extended {
    pub(super) seq_no: SeqNo,
    /// Set while a direct ack is still expected.
    pub(super) ack_by: Option<Instant>,
    pub(super) end: Instant,
}

impl Probe {
    pub(super) fn new(
        seq_no: SeqNo,
        target: Arc<Record>,
        incarnation: Incarnation,
        addr: SocketAddr,
        sent: Instant,
        ack_by: Instant,
        end: Instant,
    ) -> Self {
        Self {
            seq_no,
            target,
            incarnation,
            addr,
            sent,
            ack_by,
            end,
            decide: Instant::FAR_FUTURE,
            verifies: false,
            indirect: false,
            expected_nacks: 0,
            nacks: 0,
            tcp_contacted: false,
            extended: false,
        }
    }

    pub(super) fn verifies(&self) -> bool {
        self.verifies
    }

    /// Whether most helpers report that they do not reach the target either: our own network works,
    /// in both directions, and that of the target does not.
    pub(super) fn is_founded(&self) -> bool {
        !self.tcp_contacted && self.nacks * 2 > self.expected_nacks
    }

    pub(super) fn is_indirect(&self) -> bool {
        self.indirect
    }

    /// Whether the target answered on the stream.
    pub(super) fn is_tcp_contacted(&self) -> bool {
        self.tcp_contacted
    }

    /// Change of the health score if the target did not answer: a nack from a helper shows that our
    /// own network works. Lifeguard, local health multiplier.
    pub(super) fn failure_delta(&self) -> i64 {
        match self.expected_nacks {
            0 => 1,
            expected => expected.saturating_sub(self.nacks) as i64,
        }
    }
}

impl Probes {
    /// Returns whether a probe is running; if so, the next one starts as soon as it ends.
    pub(super) fn hold_back(&mut self) -> bool {
        self.held_back |= self.current.is_some();
        self.current.is_some()
    }

    /// Returns and clears whether a tick was held back.
    pub(super) fn take_held_back(&mut self) -> bool {
        std::mem::take(&mut self.held_back)
    }

    pub(super) fn begin(&mut self, probe: Probe) {
        debug_assert!(self.current.is_none(), "one probe at a time");
        self.current = Some(probe);
    }

    /// Whether one more probe may verify a suspicion in this interval.
    pub(super) fn has_room(&self, now: Instant, interval: Duration) -> bool {
        self.begun.len() < VERIFIED_MAX
            || self.begun.front().is_some_and(|first| now >= *first + interval)
    }

    /// Starts a probe that verifies a suspicion.
    pub(super) fn verify(&mut self, probe: Probe) {
        self.begun.push_back(probe.sent);
        if self.begun.len() > VERIFIED_MAX {
            self.begun.pop_front();
        }
        self.verifying.push(Probe { verifies: true, ..probe });
    }

    /// Ends all probes that verify suspicions, without a result.
    pub(super) fn stop_verifying(&mut self) {
        self.verifying.clear();
    }

    /// Ends and returns the probe that this ack is for.
    pub(super) fn take_acked(&mut self, seq_no: SeqNo) -> Option<Probe> {
        self.take_if(|probe| probe.seq_no == seq_no)
    }

    fn take_if(&mut self, ends: impl Fn(&Probe) -> bool) -> Option<Probe> {
        if let Some(probe) = self.current.take_if(|probe| ends(probe)) {
            return Some(probe);
        }
        let place = self.verifying.iter().position(ends)?;
        Some(self.verifying.swap_remove(place))
    }

    pub(super) fn get(&self, seq_no: SeqNo) -> Option<&Probe> {
        self.current.iter().chain(&self.verifying).find(|probe| probe.seq_no == seq_no)
    }

    fn find(&mut self, seq_no: SeqNo) -> Option<&mut Probe> {
        self.current.iter_mut().chain(&mut self.verifying).find(|probe| probe.seq_no == seq_no)
    }

    /// Ends and returns the probe if it has reached its deadline; timers set before an extension
    /// have no effect.
    pub(super) fn take_over(&mut self, now: Instant, seq_no: SeqNo) -> Option<Probe> {
        let over = |probe: &Probe| now >= probe.end || (now >= probe.decide && probe.is_founded());
        self.take_if(|probe| probe.seq_no == seq_no && over(probe))
    }

    /// Sets when the probe fails if most helpers have sent nacks by then.
    pub(super) fn decide_at(&mut self, at: Instant, seq_no: SeqNo) {
        if let Some(probe) = self.find(seq_no) {
            probe.decide = at;
        }
    }

    /// Marks the probe as indirect and returns it, if helpers are to be asked now.
    pub(super) fn go_indirect(&mut self, now: Instant, seq_no: SeqNo) -> Option<&Probe> {
        let probe = self.find(seq_no)?;
        if now < probe.ack_by || probe.indirect {
            return None;
        }
        probe.indirect = true;
        Some(probe)
    }

    /// Counts a helper that sends nacks.
    pub(super) fn expect_nack(&mut self, seq_no: SeqNo) {
        if let Some(probe) = self.find(seq_no) {
            probe.expected_nacks += 1;
        }
    }

    /// Counts a nack: the helper got no ack either but is itself alive.
    pub(super) fn count_nack(&mut self, seq_no: SeqNo) {
        if let Some(probe) = self.find(seq_no) {
            probe.nacks = (probe.nacks + 1).min(probe.expected_nacks);
        }
    }

    /// Records whether the stream ping was answered.
    pub(super) fn set_tcp_contacted(&mut self, seq_no: SeqNo, contacted: bool) {
        if let Some(probe) = self.find(seq_no) {
            probe.tcp_contacted = contacted;
        }
    }

    /// Extends the probe, once: the direct ack is due `grace` from now, any ack after twice that
    /// time.
    pub(super) fn extend(&mut self, now: Instant, grace: Duration) -> Option<Extended> {
        let probe = self.current.as_mut().filter(|probe| !probe.extended)?;
        probe.extended = true;
        let awaits_ack = !probe.indirect && probe.ack_by < probe.end;
        if awaits_ack {
            probe.ack_by = probe.ack_by.max(now + grace);
        }
        probe.end = probe.end.max(now + grace.saturating_mul(2));
        probe.decide = Instant::FAR_FUTURE;
        let ack_by = awaits_ack.then_some(probe.ack_by);
        Some(Extended { seq_no: probe.seq_no, ack_by, end: probe.end })
    }
}

/// Most probes that verify suspicions in a probe interval.
const VERIFIED_MAX: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{RawAddr, Vsn};

    fn at(millis: u64) -> Instant {
        Instant::ZERO + Duration::from_millis(millis)
    }

    fn running_probe() -> Probes {
        let target = Record {
            name: "a".into(),
            addr: RawAddr::default(),
            port: 1,
            meta: [].into(),
            vsn: Vsn::default(),
        };
        let addr = "10.0.0.1:1".parse().unwrap();
        let (target, incarnation) = (Arc::new(target), Incarnation(1));
        let mut probes = Probes::default();
        assert!(!probes.hold_back());
        let probe = Probe::new(SeqNo(7), target, incarnation, addr, at(0), at(500), at(1_000));
        probes.begin(probe);
        probes
    }

    #[test]
    fn deadlines_are_moved_once_and_older_timers_do_nothing() {
        let mut probes = running_probe();
        assert!(probes.extend(at(900), Duration::from_millis(500)).is_some());
        assert!(probes.extend(at(950), Duration::from_millis(500)).is_none());
        assert!(probes.go_indirect(at(500), SeqNo(7)).is_none());
        assert!(probes.take_over(at(1_000), SeqNo(7)).is_none());
        assert!(probes.go_indirect(at(1_400), SeqNo(7)).is_some());
        assert!(probes.go_indirect(at(1_400), SeqNo(7)).is_none(), "helpers are asked once");
        assert!(probes.take_over(at(1_900), SeqNo(6)).is_none(), "of another probe");
        assert!(probes.take_over(at(1_900), SeqNo(7)).is_some());
    }

    #[test]
    fn missing_nacks_are_what_a_failure_costs() {
        let mut probes = running_probe();
        probes.count_nack(SeqNo(7));
        assert_eq!(probes.current.as_ref().unwrap().failure_delta(), 1, "none was expected");
        (0..3).for_each(|_| probes.expect_nack(SeqNo(7)));
        probes.count_nack(SeqNo(7));
        probes.count_nack(SeqNo(8));
        assert_eq!(probes.current.as_ref().unwrap().failure_delta(), 2);
        (0..9).for_each(|_| probes.count_nack(SeqNo(7)));
        assert_eq!(probes.take_acked(SeqNo(7)).unwrap().failure_delta(), 0);
    }

    #[test]
    fn probes_of_suspects_are_bounded_in_each_interval_and_run_beside_the_other() {
        let interval = Duration::from_secs(1);
        let mut probes = running_probe();
        let of = |probes: &Probes, seq_no, sent| {
            let Probe { target, incarnation, addr, .. } = probes.current.as_ref().unwrap();
            let (ack_by, end) = (sent + interval / 2, sent + interval);
            Probe::new(SeqNo(seq_no), Arc::clone(target), *incarnation, *addr, sent, ack_by, end)
        };
        for n in 0..VERIFIED_MAX as u32 {
            assert!(probes.has_room(at(10), interval));
            let probe = of(&probes, 100 + n, at(u64::from(n)));
            probes.verify(probe);
            assert!(probes.take_acked(SeqNo(100 + n)).is_some(), "an answer frees no place");
        }
        assert!(!probes.has_room(at(999), interval));
        assert!(probes.has_room(at(1_000), interval), "the first is an interval ago");
        let probe = of(&probes, 200, at(1_000));
        probes.verify(probe);
        assert!(!probes.has_room(at(1_000), interval));
        // Most helpers report that they do not reach it: it fails before its end.
        assert!(probes.go_indirect(at(1_500), SeqNo(200)).is_some());
        (0..3).for_each(|_| probes.expect_nack(SeqNo(200)));
        probes.decide_at(at(1_800), SeqNo(200));
        probes.count_nack(SeqNo(200));
        assert!(probes.take_over(at(1_800), SeqNo(200)).is_none(), "one of three");
        probes.count_nack(SeqNo(200));
        assert!(probes.take_over(at(1_799), SeqNo(200)).is_none());
        assert!(probes.take_over(at(1_800), SeqNo(200)).is_some());
        assert!(probes.take_acked(SeqNo(7)).is_some());
    }

    #[test]
    fn a_tick_during_a_probe_is_held_back_once() {
        let mut probes = running_probe();
        assert!(probes.hold_back() && probes.hold_back());
        assert!(probes.take_acked(SeqNo(1)).is_none());
        assert!(probes.take_acked(SeqNo(7)).is_some());
        assert!(probes.take_held_back());
        assert!(!probes.take_held_back());
    }
}
