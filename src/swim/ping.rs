//! Pings answered, relayed, and asked through the API. Go: `net.go`, `handlePing` and on.

use std::net::SocketAddr;

use tracing::{debug, warn};

use super::{Error, Host, OpId, OpResult, Output, Swim, table::RawAddr, timer::Timer};
use crate::{
    base::{Instant, printable},
    wire::{Ack, Bin, IndirectPing, Nack, Ping, SeqNo},
};

/// Relayed pings under way at most; each makes us send to an address that a peer chose.
const RELAYS_MAX: usize = 1024;

/// Who waits for an ack.
#[derive(Debug)]
pub(super) enum Handler {
    /// The running probe.
    Probe,
    /// A ping for somebody else.
    Relay {
        /// Where the answer goes.
        to: SocketAddr,
        /// Of the request.
        seq_no: SeqNo,
        /// Whether a nack is wanted.
        nack: bool,
    },
    /// [`Swim::start_ping`].
    Api {
        /// Of the caller.
        op: OpId,
        /// Whom.
        name: String,
        /// When the ping went out.
        sent: Instant,
    },
}

impl Swim {
    /// Pings an address; done with the round-trip time, or after a probe timeout with an error.
    /// Changes neither state nor health. Go: `Ping`.
    pub fn start_ping(
        &mut self,
        now: Instant,
        to: SocketAddr,
        name: &str,
        host: &mut dyn Host,
    ) -> OpId {
        let op = self.op();
        let seq_no = self.next_seq_no();
        self.handlers.insert(seq_no, Handler::Api { op, name: name.to_owned(), sent: now });
        self.timers.set(now + self.config.probe_timeout, Timer::Handler(seq_no));
        self.send_ping(to, seq_no, name.as_bytes(), host);
        op
    }

    pub(super) fn send_ping(
        &mut self,
        to: SocketAddr,
        seq_no: SeqNo,
        node: &[u8],
        host: &mut dyn Host,
    ) {
        let mut message = self.builder.take_scratch();
        self.encode_ping(seq_no, node, &mut message);
        self.send_with_gossip(to, &message, host);
        self.builder.put_scratch(message);
    }

    pub(super) fn encode_ping(&self, seq_no: SeqNo, node: &[u8], out: &mut Vec<u8>) {
        let Some(me) = self.table.get(self.me) else { return };
        let ping = Ping {
            seq_no,
            node,
            source_addr: me.record.addr.as_slice().into(),
            source_port: me.record.port,
            source_node: me.record.name.as_bytes(),
        };
        ping.encode(out);
    }

    /// Answers with an ack, and with gossip. Go: `handlePing`.
    pub(super) fn handle_ping(&mut self, from: SocketAddr, ping: &Ping<'_>, host: &mut dyn Host) {
        if !ping.node.is_empty() && ping.node != self.config.name.as_bytes() {
            warn!(
                target: "memberlist",
                "Got ping for unexpected node '{}' from={from}",
                printable(ping.node)
            );
            return;
        }
        let mut payload = self.builder.take_scratch();
        host.ack_payload(&mut payload);
        let bin = if payload.is_empty() { Bin::NIL } else { payload.as_slice().into() };
        let to = self.reply_to(ping.source_addr.as_slice(), ping.source_port, from);
        self.send_ack(to, Ack { seq_no: ping.seq_no, payload: bin }, host);
        self.builder.put_scratch(payload);
    }

    fn send_ack(&mut self, to: SocketAddr, ack: Ack<'_>, host: &mut dyn Host) {
        let mut message = self.builder.take_scratch();
        ack.encode(&mut message);
        self.send_with_gossip(to, &message, host);
        self.builder.put_scratch(message);
    }

    /// Pings a node for a peer that got no answer. Go: `handleIndirectPing`.
    pub(super) fn handle_indirect_ping(
        &mut self,
        now: Instant,
        from: SocketAddr,
        request: &IndirectPing<'_>,
        host: &mut dyn Host,
    ) {
        let target = RawAddr::from_wire(request.target.as_slice()).and_then(|addr| addr.ip());
        let Some(ip) = target else {
            self.stats.dropped_malformed += 1;
            return;
        };
        if self.relays >= RELAYS_MAX {
            self.stats.dropped_relays += 1;
            return;
        }
        self.relays += 1;
        let target = SocketAddr::new(ip, self.fix_port(request.port));
        let to = self.reply_to(request.source_addr.as_slice(), request.source_port, from);
        let seq_no = self.next_seq_no();
        let relay = Handler::Relay { to, seq_no: request.seq_no, nack: request.nack };
        self.handlers.insert(seq_no, relay);
        self.timers.set(now + self.config.probe_timeout, Timer::Handler(seq_no));
        self.send_ping(target, seq_no, request.node, host);
    }

    /// Whoever waits for this ack gets it; the sender does not matter. Go: `handleAck`.
    pub(super) fn handle_ack(&mut self, now: Instant, ack: &Ack<'_>, host: &mut dyn Host) {
        match self.handlers.remove(&ack.seq_no) {
            Some(Handler::Probe) => self.probe_acked(now, ack.payload.as_slice(), host),
            Some(Handler::Relay { to, seq_no, .. }) => {
                self.relays -= 1;
                self.send_ack(to, Ack { seq_no, payload: Bin::NIL }, host);
            }
            Some(Handler::Api { op, sent, .. }) => {
                let result = Ok(OpResult::Rtt(now - sent));
                self.outputs.push_back(Output::Done { op, result });
            }
            None => debug!(target: "memberlist", seq_no = ack.seq_no.0, "ack nobody waits for"),
        }
    }

    /// A helper got no answer either; it is itself alive, though. Go: `handleNack`.
    pub(super) fn handle_nack(&mut self, nack: Nack) {
        if matches!(self.handlers.get(&nack.seq_no), Some(Handler::Probe))
            && let Some(probe) = &mut self.probe
        {
            probe.nacks = (probe.nacks + 1).min(probe.expected_nacks);
        }
    }

    /// The time for an ack to a relayed or API ping is over.
    pub(super) fn expire_handler(&mut self, seq_no: SeqNo, host: &mut dyn Host) {
        match self.handlers.remove(&seq_no) {
            Some(Handler::Relay { to, seq_no, nack }) => {
                self.relays -= 1;
                if nack {
                    let mut message = self.builder.take_scratch();
                    Nack { seq_no }.encode(&mut message);
                    self.send_with_gossip(to, &message, host);
                    self.builder.put_scratch(message);
                }
            }
            Some(Handler::Api { op, name, .. }) => {
                let error = Error::Peer(format!("No response from node {name}"));
                self.outputs.push_back(Output::Done { op, result: Err(error) });
            }
            Some(Handler::Probe) => {
                self.handlers.insert(seq_no, Handler::Probe); // its own timers end it
            }
            None => {}
        }
    }
}
