//! The failure detector: one node a tick is asked for a sign of life. Go: `state.go`, `probeNode`;
//! SWIM §3, Lifeguard's local health aware probe and buddy system.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use tracing::{debug, info, warn};

use super::{
    Host, NodeStateKind, Output, Swim,
    incarnation::Source,
    ping::Handler,
    streams::Stream,
    table::{Record, Row},
    timer::Timer,
};
use crate::{
    base::{Instant, mutated},
    wire::{Incarnation, IndirectPing, SeqNo, Suspect},
};

/// Peers from this memberlist protocol on answer a ping on a stream.
const TCP_PING_VERSION: u8 = 3;
/// Peers from this memberlist protocol on send nacks.
const NACK_VERSION: u8 = 4;

/// The probe under way.
#[derive(Debug)]
pub(super) struct Probe {
    seq_no: SeqNo,
    target: Arc<Record>,
    incarnation: Incarnation,
    addr: SocketAddr,
    sent: Instant,
    /// The direct ack should be here.
    ack_by: Instant,
    /// An ack at all should be here.
    end: Instant,
    /// The helpers were asked.
    indirect: bool,
    pub(super) expected_nacks: usize,
    pub(super) nacks: usize,
    tcp_contacted: bool,
    extended: bool,
}

impl Swim {
    /// Goes on to the next node, unless a probe is still running: then it follows that one at
    /// once, as Go's ticker holds one tick back. Go: `probe`.
    pub(super) fn probe_tick(&mut self, now: Instant, at: Instant, host: &mut dyn Host) {
        // The next tick keeps the rhythm, but ticks that were missed are not made up for.
        let interval = self.config.probe_interval;
        let next = if at + interval > now { at + interval } else { now + interval };
        self.timers.set(next, Timer::ProbeTick);
        if self.probe.is_some() {
            self.probe_pending = true;
            return;
        }
        self.begin_probe(now, host);
    }

    fn begin_probe(&mut self, now: Instant, host: &mut dyn Host) {
        self.probe_pending = false;
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
        self.handlers.insert(seq_no, Handler::Probe);
        let (ack_by, end) = (now + self.config.probe_timeout.min(interval), now + interval);
        if suspected && self.config.buddy_system {
            self.ping_suspect(addr, seq_no, &target, incarnation);
        } else {
            self.send_ping(addr, seq_no, target.name.as_bytes(), host);
        }
        if ack_by < end {
            self.timers.set(ack_by, Timer::ProbeAck(seq_no));
        }
        self.timers.set(end, Timer::ProbeEnd(seq_no));
        self.probe = Some(Probe {
            seq_no,
            target,
            incarnation,
            addr,
            sent: now,
            ack_by,
            end,
            indirect: false,
            expected_nacks: 0,
            nacks: 0,
            tcp_contacted: false,
            extended: false,
        });
    }

    /// Round-robin over the shuffled table; a full round reaps and shuffles it anew.
    fn next_probe_target(&mut self, now: Instant) -> Option<u32> {
        for _ in 0..=self.table.len() {
            let Some(slot) = self.table.at(self.probe_at) else {
                self.reap(now);
                self.probe_at = 0;
                continue;
            };
            self.probe_at += 1;
            let probed =
                |row: &Row| matches!(row.state, NodeStateKind::Alive | NodeStateKind::Suspect);
            if slot != self.me && self.table.get(slot).is_some_and(probed) {
                self.probe_at -= usize::from(mutated!(self.config, StuckProbe));
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
            |row| {
                matches!(row.state, NodeStateKind::Dead | NodeStateKind::Left)
                    && now - row.state_change > keep
                    && row.record.name != me
            },
            rng,
        );
    }

    /// Tells the target of the suspicion along with the ping, so that it can refute at once.
    fn ping_suspect(
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

    /// An ack for the running probe, direct or relayed.
    pub(super) fn probe_acked(&mut self, now: Instant, payload: &[u8], host: &mut dyn Host) {
        let Some(probe) = self.probe.take() else { return };
        // Relayed and late acks say nothing about the round trip.
        if !probe.indirect
            && let Some(row) =
                self.table.find(&probe.target.name).and_then(|slot| self.table.get(slot))
        {
            host.on_ping_complete(now, &row.view(), now - probe.sent, payload);
        }
        self.finish_probe(now, probe.sent, -1, host);
    }

    /// No direct ack in time: ask helpers, and the node itself over a stream.
    pub(super) fn probe_indirectly(&mut self, now: Instant, seq_no: SeqNo, host: &mut dyn Host) {
        let Some(mut probe) = self.probe.take_if(|probe| probe.seq_no == seq_no) else { return };
        if now < probe.ack_by || probe.indirect {
            self.probe = Some(probe); // the deadline was moved
            return;
        }
        probe.indirect = true;
        debug!(
            target: "memberlist",
            "Failed UDP ping: {} (timeout reached)", probe.target.name
        );
        let target = self.table.find(&probe.target.name);
        if mutated!(self.config, NoIndirect) {
            self.probe = Some(probe);
            return;
        }
        let me = self.me;
        let helpers = {
            let Self { table, rng, config, .. } = self;
            table.sample(config.indirect_checks, false, rng, |slot, row| {
                slot != me && Some(slot) != target && row.state == NodeStateKind::Alive
            })
        };
        for helper in helpers {
            self.ask_helper(helper, &mut probe, host);
        }
        let speaks_tcp = probe.target.vsn.get(1).is_some_and(|max| *max >= TCP_PING_VERSION);
        if speaks_tcp && !self.config.disable_tcp_pings {
            let mut message = Vec::new();
            self.encode_ping(seq_no, probe.target.name.as_bytes(), &mut message);
            let id = self.open_stream();
            self.streams.insert(id, Stream::Ping { seq_no });
            let (to, deadline) = (probe.addr, probe.end);
            let message = message.into();
            self.outputs.push_back(Output::Open { id, to, message, reply: true, deadline });
        }
        self.probe = Some(probe);
    }

    fn ask_helper(&mut self, helper: u32, probe: &mut Probe, host: &mut dyn Host) {
        let (Some(row), Some(me)) = (self.table.get(helper), self.table.get(self.me)) else {
            return;
        };
        let Some(to) = row.socket_addr() else { return };
        let nack =
            self.config.lha_probe && row.record.vsn.get(1).is_some_and(|max| *max >= NACK_VERSION);
        probe.expected_nacks += usize::from(nack);
        let request = IndirectPing {
            seq_no: probe.seq_no,
            target: probe.target.addr.as_slice().into(),
            port: probe.target.port,
            node: probe.target.name.as_bytes(),
            nack,
            source_addr: me.record.addr.as_slice().into(),
            source_port: me.record.port,
            source_node: me.record.name.as_bytes(),
        };
        let mut message = Vec::new();
        request.encode(&mut message);
        self.send_with_gossip(to, &message, host);
    }

    /// The stream ping was answered, or not.
    pub(super) fn tcp_ping_done(&mut self, seq_no: SeqNo, contacted: bool) {
        if let Some(probe) = &mut self.probe
            && probe.seq_no == seq_no
        {
            probe.tcp_contacted = contacted;
        }
    }

    /// The time of the running probe is over.
    pub(super) fn end_probe(&mut self, now: Instant, seq_no: SeqNo, host: &mut dyn Host) {
        let Some(probe) = self.probe.take_if(|p| p.seq_no == seq_no && now >= p.end) else {
            return;
        };
        self.handlers.remove(&seq_no);
        let name = &probe.target.name;
        if probe.tcp_contacted {
            self.stats.tcp_only_probes += 1;
            warn!(
                target: "memberlist",
                "Was able to connect to {name} over TCP but UDP probes failed, \
                 network may be misconfigured"
            );
            return self.finish_probe(now, probe.sent, -1, host);
        }
        self.stats.failed_probes += 1;
        let missing = probe.expected_nacks.saturating_sub(probe.nacks);
        let delta = if probe.expected_nacks > 0 { missing as i64 } else { 1 };
        info!(target: "memberlist", "Suspect {name} has failed, no acks received");
        let me = Arc::clone(&self.config.name);
        let outbid = u32::from(mutated!(self.config, OutbidOthers));
        let incarnation = Incarnation(probe.incarnation.0.saturating_add(outbid));
        self.suspect(now, name, incarnation, &me, Source::Own);
        self.finish_probe(now, probe.sent, delta, host);
    }

    fn finish_probe(&mut self, now: Instant, sent: Instant, delta: i64, host: &mut dyn Host) {
        self.stats.probe_time.add(now - sent);
        if self.config.lha_probe {
            self.awareness.apply(delta);
        }
        if self.probe_pending {
            self.begin_probe(now, host);
        }
    }

    /// Gives the running probe a probe timeout from now, once: we were not there to hear the ack.
    pub(super) fn extend_probe(&mut self, now: Instant) {
        let grace = self.config.probe_timeout;
        let Some(probe) = &mut self.probe else { return };
        if std::mem::replace(&mut probe.extended, true) {
            return;
        }
        let seq_no = probe.seq_no;
        let later = |at: Instant, by: Duration| at.max(now + by);
        if !probe.indirect && probe.ack_by < probe.end {
            probe.ack_by = later(probe.ack_by, grace);
            self.timers.set(probe.ack_by, Timer::ProbeAck(seq_no));
        }
        probe.end = later(probe.end, grace.saturating_mul(2));
        self.timers.set(probe.end, Timer::ProbeEnd(seq_no));
    }
}
