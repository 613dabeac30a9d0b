//! The failure detector: each tick probes one node. Go: `state.go`, `probeNode`; SWIM §3,
//! Lifeguard's local health aware probe and buddy system.

use std::{net::SocketAddr, sync::Arc};

use tracing::{debug, error, info, warn};

use super::{
    Host, NodeStateKind, Output, StreamInput, Swim,
    claim::Source,
    probes::Probe,
    reach::Ended,
    row::{Record, Row},
    timer::Timer,
    under_way::{Stream, StreamPing},
};
use crate::{
    base::{Instant, PRINTABLE_BYTES_MAX, go_duration::GoDuration, mutated, printable_text},
    wire::{Incarnation, IndirectPing, SeqNo, StreamMessage, Suspect},
};

impl Swim {
    /// Probes the next node. If a probe is still running, the next one starts as soon as it ends,
    /// as Go's ticker buffers one tick. Go: `probe`.
    pub(super) fn probe_tick(&mut self, now: Instant, at: Instant, host: &mut dyn Host) {
        // The next tick keeps its phase, but missed ticks are not repeated.
        let interval = self.config.probe_interval;
        let next = if at + interval > now { at + interval } else { now + interval };
        self.timers.set(next, Timer::ProbeTick);
        if !self.probes.hold_back() {
            self.begin_probe(now, host);
        }
    }

    fn begin_probe(&mut self, now: Instant, host: &mut dyn Host) {
        let Some(slot) = self.next_probe_target(now) else { return };
        let Some(row) = self.table.get(slot) else { return };
        let Some(addr) = row.socket_addr() else { return };
        let (target, incarnation) = (Arc::clone(&row.record), row.incarnation);
        let suspected = row.state == NodeStateKind::Suspect;

        let mut interval = self.config.probe_interval;
        if self.config.lha_probe {
            interval = self.awareness.scale(interval);
        }
        if interval > self.config.probe_interval {
            self.stats.degraded_probe += 1;
        }
        let seq_no = self.next_seq_no();
        let (ack_by, end) = (now + self.ack_timeout(slot).min(interval), now + interval);
        if suspected && self.config.buddy_system {
            self.ping_suspect(addr, seq_no, &target, incarnation);
        } else {
            self.send_ping(addr, seq_no, target.name.as_bytes(), host);
        }
        if ack_by < end {
            self.timers.set(ack_by, Timer::ProbeAck(seq_no));
        }
        self.timers.set(end, Timer::ProbeEnd(seq_no));
        self.probes.begin(Probe::new(seq_no, target, incarnation, addr, now, ack_by, end));
    }

    /// Round-robin over the shuffled table; after a full round the table is reaped and reshuffled.
    fn next_probe_target(&mut self, now: Instant) -> Option<u32> {
        for _ in 0..=self.table.round_len() {
            let Some(slot) = self.table.next_in_round() else {
                self.reap(now);
                continue;
            };
            let is_live = |row: &Row| row.state.is_live();
            if slot != self.me && self.table.get(slot).is_some_and(is_live) {
                self.table.go_back_in_round(mutated!(self.config, StuckProbe).into());
                return Some(slot);
            }
        }
        None
    }

    fn reap(&mut self, now: Instant) {
        if mutated!(self.config, NeverReaps) {
            return;
        }
        let (keep, me) = (self.config.gossip_to_the_dead_time, self.config.name.clone());
        let Self { table, rng, .. } = self;
        table.reap(
            |row, changed_at| {
                matches!(row.state, NodeStateKind::Dead | NodeStateKind::Left)
                    && now - changed_at > keep
                    && row.record.name != me
            },
            rng,
        );
    }

    /// Piggybacks the suspicion on the ping, so that the target can refute at once.
    pub(super) fn ping_suspect(
        &mut self,
        to: SocketAddr,
        seq_no: SeqNo,
        target: &Record,
        incarnation: Incarnation,
    ) {
        let mut ping = self.builder.take_scratch();
        self.encode_ping(seq_no, target.name.as_bytes(), &mut ping);
        let mut suspect = self.builder.take_scratch();
        let me = Arc::clone(&self.config.name);
        Suspect { incarnation, node: target.name.as_bytes(), from: me.as_bytes() }
            .encode(&mut suspect);
        let crc = target.checks_crc();
        self.send_compound(to, &[&ping, &suspect], crc);
        self.builder.put_scratch(ping);
        self.builder.put_scratch(suspect);
    }

    /// The running probe was acked, directly or through a helper.
    pub(super) fn probe_acked(
        &mut self,
        now: Instant,
        probe: &Probe,
        payload: &[u8],
        host: &mut dyn Host,
    ) {
        // Relayed and late acks do not measure the round trip.
        if !probe.is_indirect()
            && let Some(slot) = self.table.find(&probe.target.name)
            && let Some(row) = self.table.get(slot)
        {
            self.stats.round_trip.add(now - probe.sent);
            host.on_ping_complete(&row.view(), now - probe.sent, payload);
            self.note_round_trip(slot, now - probe.sent);
        }
        if probe.verifies() {
            return self.verified(now, probe, false);
        }
        self.stats.acked_probes += 1;
        self.finish_probe(now, probe.sent, HEALTHIER, host);
    }

    /// An ack arrived: from the target itself, though late, or through a helper.
    pub(super) fn note_reached(&mut self, now: Instant, from: SocketAddr, probe: &Probe) {
        if from == probe.addr {
            self.reach.fine(&probe.target.name);
        } else {
            self.reach.failed(now, &probe.target.name, probe.addr, Ended::Indirectly);
        }
    }

    /// No direct ack in time: asks helpers for indirect pings, and pings the node over a stream.
    pub(super) fn probe_indirectly(&mut self, now: Instant, seq_no: SeqNo, host: &mut dyn Host) {
        let Some(probe) = self.probes.go_indirect(now, seq_no) else { return };
        let (target, to, deadline) = (Arc::clone(&probe.target), probe.addr, probe.end);
        let (interval, waited) = (deadline - probe.sent, probe.ack_by - probe.sent);
        debug!(target: "memberlist", "Failed UDP ping: {} (timeout reached)", target.name);
        if mutated!(self.config, NoIndirect) {
            return;
        }
        if self.config.fast_detection {
            self.ping_again(now, seq_no, waited, host);
        }
        let (me, slot_of_target) = (self.me, self.table.find(&target.name));
        let helpers = {
            let Self { table, rng, config, .. } = self;
            table.sample(config.indirect_checks, false, rng, |slot, row| {
                slot != me && Some(slot) != slot_of_target && row.state == NodeStateKind::Alive
            })
        };
        for helper in helpers {
            self.ask_helper(helper, seq_no, &target, host);
        }
        if target.vsn.max() >= TCP_PING_VERSION && !self.config.disable_tcp_pings {
            let mut message = Vec::new();
            self.encode_ping(seq_no, target.name.as_bytes(), &mut message);
            let id = self.open_stream();
            let ping = StreamPing { seq_no, to, deadline, interval };
            self.streams.insert(id, Stream::Ping(ping));
            let message = message.into();
            self.outputs.push_back(Output::Open { id, to, message, reply: true, deadline });
        }
    }

    /// The ping by stream has ended. Go: `sendPingAndWaitForAck`.
    pub(super) fn end_stream_ping(&mut self, now: Instant, ping: &StreamPing, input: StreamInput) {
        let answered = stream_ping_answer(ping, input);
        self.probes.set_tcp_contacted(ping.seq_no, matches!(answered, Ok(true)));
        if let Err(reason) = answered
            && self.logs.probes.admit(now)
        {
            let timeout = match now >= ping.deadline {
                true => format!("timeout {}: ", GoDuration::from(ping.interval)),
                false => String::new(),
            };
            let reason = printable_text(&reason, 2 * PRINTABLE_BYTES_MAX);
            error!(target: "memberlist", "Failed fallback TCP ping: {timeout}{reason}");
        }
    }

    fn ask_helper(&mut self, helper: u32, seq_no: SeqNo, target: &Record, host: &mut dyn Host) {
        let (Some(row), Some(me)) = (self.table.get(helper), self.table.get(self.me)) else {
            return;
        };
        let Some(to) = row.socket_addr() else { return };
        let nack = self.config.lha_probe && row.record.vsn.max() >= NACK_VERSION;
        if nack {
            self.probes.expect_nack(seq_no);
        }
        let request = IndirectPing {
            seq_no,
            target: target.addr.as_slice().into(),
            port: target.port,
            node: target.name.as_bytes(),
            nack,
            source_addr: me.record.addr.as_slice().into(),
            source_port: me.record.port,
            source_node: me.record.name.as_bytes(),
        };
        let mut message = Vec::new();
        request.encode(&mut message);
        self.send_with_gossip(to, &message, host);
    }

    /// The running probe has reached its deadline.
    pub(super) fn end_probe(&mut self, now: Instant, seq_no: SeqNo, host: &mut dyn Host) {
        let Some(probe) = self.probes.take_over(now, seq_no) else { return };
        if probe.verifies() {
            let founded = probe.is_founded() && probe.is_indirect();
            return self.verified(now, &probe, founded);
        }
        let name = &probe.target.name;
        if probe.is_tcp_contacted() {
            self.stats.tcp_only_probes += 1;
            self.reach.failed(now, name, probe.addr, Ended::ByTcp);
            warn!(
                target: "memberlist",
                "Was able to connect to {name} over TCP but UDP probes failed, \
                 network may be misconfigured"
            );
            return self.finish_probe(now, probe.sent, HEALTHIER, host);
        }
        self.stats.failed_probes += 1;
        self.reach.failed(now, name, probe.addr, Ended::Unanswered);
        info!(target: "memberlist", "Suspect {name} has failed, no acks received");
        let me = Arc::clone(&self.config.name);
        let outbid = u32::from(mutated!(self.config, OutbidOthers));
        let incarnation = Incarnation(probe.incarnation.0.saturating_add(outbid));
        self.suspect(now, name, incarnation, &me, Source::Own);
        if self.config.fast_detection {
            self.note_own_failure(now, &probe);
        }
        self.finish_probe(now, probe.sent, probe.failure_delta(), host);
    }

    fn finish_probe(&mut self, now: Instant, sent: Instant, delta: i64, host: &mut dyn Host) {
        self.stats.probe_time.add(now - sent);
        if self.config.lha_probe {
            self.awareness.apply(delta);
        }
        if self.probes.take_held_back() {
            self.begin_probe(now, host);
        }
    }

    /// Extends the running probe by a probe timeout from now, once: this process was not running
    /// when the ack may have arrived.
    pub(super) fn extend_probe(&mut self, now: Instant) {
        self.forget_evidence(now);
        let Some(extended) = self.probes.extend(now, self.config.probe_timeout) else { return };
        if let Some(ack_by) = extended.ack_by {
            self.timers.set(ack_by, Timer::ProbeAck(extended.seq_no));
        }
        self.timers.set(extended.end, Timer::ProbeEnd(extended.seq_no));
    }
}

/// Whether the target has answered a ping by stream. That it cannot be reached is no error: a dead
/// node cannot.
pub(super) fn stream_ping_answer(ping: &StreamPing, input: StreamInput) -> Result<bool, String> {
    let StreamPing { seq_no, to, .. } = *ping;
    let unexpected = |kind: u8| Err(format!("unexpected msgType ({kind}) from ping from={to}"));
    match input {
        StreamInput::Message(StreamMessage::Ack { seq_no: acked }) if acked == seq_no => Ok(true),
        StreamInput::Message(StreamMessage::Ack { seq_no: SeqNo(acked) }) => {
            let pinged = seq_no.0;
            Err(format!("sequence number from ack ({acked}) doesn't match ping ({pinged})"))
        }
        StreamInput::Message(other) => unexpected(other.type_byte()),
        StreamInput::Broken(error) => match error.invalid_type() {
            Some(kind) => unexpected(kind),
            None => Err(error.to_string()),
        },
        StreamInput::Failed { connected: true, error } => Err(error),
        StreamInput::Failed { connected: false, .. }
        | StreamInput::Sent
        | StreamInput::Accepted { .. } => Ok(false),
    }
}

/// Change of the health score for an acked probe.
const HEALTHIER: i64 = -1;
/// Lowest memberlist protocol that answers pings on a stream.
const TCP_PING_VERSION: u8 = 3;
/// Lowest memberlist protocol that sends nacks.
const NACK_VERSION: u8 = 4;
